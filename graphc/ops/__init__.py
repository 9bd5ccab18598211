"""The primitive ops: importing this package fills the registry `graphc.ir.op.OPS`. One file a family."""

from . import (
    contract,
    convolve,
    elementwise,
    index,
    nth,
    order,
    random,
    reduce,
    running,
    shape,
    softmax,
    source,
    top,
    window,
    window_choice,
    winograd,
)

__all__ = [
    "contract",
    "convolve",
    "elementwise",
    "index",
    "nth",
    "order",
    "random",
    "reduce",
    "running",
    "shape",
    "softmax",
    "source",
    "top",
    "window",
    "window_choice",
    "winograd",
]
