"""Tensors whose numbers are known when the graph is built: what a parameter may start from.

In: a tensor of constants and random draws alone, such as 0.02 * gc.randn(3, 4). Out: its numbers, by the numpy references of
its ops; draws come from the generator that `gc.manual_seed` seeds, so two evaluations of one tensor differ.
"""

from __future__ import annotations

import numpy as np

from ..config import generator
from ..errors import GraphError
from ..ir.location import here
from ..ir.values import Value, topological
from .core import Core
from .random import COUNTER, SEED


def numbers(x: Core) -> np.ndarray:
    """The numbers of `x`. Raises GraphError where it depends on a placeholder or on a variable."""
    arrays: dict[Value, np.ndarray] = {}
    for value in topological([x.value]):
        if value is SEED.value:
            arrays[value] = np.asarray(generator().integers(2**63), np.int64)
        elif value.op.name == "placeholder" or (value.op.name == "variable" and value is not COUNTER.value):
            raise GraphError(
                f"{x!r} depends on {value.attrs['info'].name or 'a placeholder'} and has no numbers yet; start from an array, "
                "or from a tensor of constants and random numbers",
                here(),
            )
        else:
            operands = (arrays[operand] for operand in value.operands)
            arrays[value] = COUNTER.initial if value is COUNTER.value else value.op.reference(*operands, **value.attrs)
    return np.asarray(arrays[x.value])
