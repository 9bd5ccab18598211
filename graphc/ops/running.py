"""Where running maxima along an axis come from.

In: integers (floats by their `sort_key`) and an axis. Out: for each element the position of the greatest so far, of equal
ones the last.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..dtype import DTYPES, int64
from ..errors import DTypeError
from ..ir.expr import Array, Var, const, load, select, temp
from ..ir.kernel import For, Kernel, Let, Local, Store
from ..ir.op import Loops, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .nth import sort_keys
from .order import check_axis, walk


def running_extreme(x: Value, axis: int, smallest: bool = False) -> Value:
    """int64 positions along `axis` of the greatest (or smallest) element up to each one; NaN is both."""
    return make("argcummax", sort_keys(x, smallest), axis=axis)


def _infer(keys: TensorType, *, axis: int) -> TensorType:
    check_axis("argcummax", keys, axis)
    if not keys.dtype.is_int:
        raise DTypeError(f"argcummax of {keys}; expected integers")
    return keys.with_dtype(int64)


def _reference(keys: np.ndarray, *, axis: int) -> np.ndarray:
    places = np.arange(keys.shape[axis]).reshape([-1 if d == axis else 1 for d in range(keys.ndim)])
    found = np.where(keys == np.maximum.accumulate(keys, axis), places, 0)
    return np.asarray(np.maximum.accumulate(found, axis))


def _kernel(node: Value) -> Kernel:
    keys, found = node.operands[0].type, walk(node)
    source, out = Array("keys", keys.dtype, keys.size), Array("out", int64, keys.size)
    best, place = Array("best", keys.dtype, found.together), Array("place", int64, found.together)
    lane, clear = found.lane, Var("clear", found.together)
    key, passed = temp("key", keys.dtype), temp("place", int64)
    known = load(best, lane)
    step = (
        Let(key, load(source, found.at, found.guard)),
        Let(passed, select(key < known, load(place, lane), found.i)),
        Store(best, lane, select(key < known, known, key)),
        Store(place, lane, passed),
        Store(out, found.at, passed, found.guard),
    )
    lowest = 0 if keys.dtype.kind == "u" else -(2 ** (keys.dtype.bits - 1))
    start = (Store(best, clear, const(lowest, keys.dtype)), Store(place, clear, const(0, int64)))
    body = (Local(best), Local(place), found.lanes(clear, *start), For(found.i, (found.lanes(lane, *step),)))
    return Kernel("argcummax", (source, out), found.task, body)


def _samples() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for d in DTYPES:
        if d.is_int:
            keys = rng.integers(max(np.iinfo(d.numpy).min, -3), 4, (2, 5, 3)).astype(d.numpy)
            yield from (Sample((keys,), {"axis": axis}) for axis in range(3))
    yield Sample((rng.integers(-90, 90, (4, 37)).astype(np.int32),), {"axis": 0})
    yield Sample((rng.integers(-90, 90, (33, 5)).astype(np.int32),), {"axis": 1})
    yield Sample((np.full((2, 9), np.iinfo(np.int64).min),), {"axis": 1})


register(
    Op(
        name="argcummax",
        infer=_infer,
        reference=_reference,
        gradient="its result is an integer",
        lower=Loops(_kernel),
        samples=_samples,
        doc="The position of the greatest integer up to each along an axis, the last of equal ones.",
    )
)
