"""Numbers from one element type to another: the meaning of the op cast, shared by every op that makes numbers.

In: an array, or a kernel expression, and the wanted element type. Out: the same numbers in it, the same on every target
and even where numpy differs.
"""

from __future__ import annotations

import numpy as np

from ..dtype import DType
from ..dtype import dtype as dtype_of
from ..ir.expr import Expr, cast


def convert(x: np.ndarray, dtype: DType) -> np.ndarray:
    """`x` in `dtype`. To bool: x != 0. Float to integer truncates, saturates, and sends NaN to 0, on every target.
    Anything to a 16-bit float is rounded to f32 first. Integer to integer wraps."""
    if dtype_of(x.dtype).accumulator is not dtype_of(x.dtype):
        x = x.astype(np.float32)
    with np.errstate(all="ignore"):
        if dtype.is_bool:
            return np.asarray(x != 0)
        if dtype.is_int and x.dtype.kind == "f":
            return _saturate(x.astype(np.float64), dtype.numpy)
        return x.astype(dtype.accumulator.numpy).astype(dtype.numpy)


def _saturate(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    below, above = x < low, x >= float(high)
    result = np.asarray(np.where(below | above | np.isnan(x), 0, x).astype(dtype))
    result[below], result[above] = low, high
    return result


def convert_expr(x: Expr, dtype: DType) -> Expr:
    """`convert` as a kernel expression."""
    if x.dtype is dtype:
        return x
    return x.differs(0) if dtype.is_bool else cast(cast(x, dtype.accumulator), dtype)
