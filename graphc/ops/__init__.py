"""The primitive ops: importing this package fills the registry `graphc.ir.op.OPS`. One file a family."""

from . import elementwise, reduce, shape, source

__all__ = ["elementwise", "reduce", "shape", "source"]
