"""Tensors made of nothing: ranges, zeros, identity, one-hot.

In: static sizes and dtypes. Out: constants that cost no memory: a broadcast number or an iota. `*_like` takes shape and
dtype from a tensor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtype import DType, bool_, dtype, float32, float64, int64
from ..errors import DTypeError, ShapeError
from ..ir.location import here
from ..ir.types import TensorType
from ..ir.values import full as full_value
from ..ir.values import make
from .core import Number, as_number, cast_value, sizes
from .elementwise import where
from .tensor import Tensor, as_tensor, constant

_dtype = dtype  # where an argument is named dtype


def full(shape: Any, fill_value: Number, dtype: Any = None) -> Tensor:
    """A tensor of one number; the dtype follows the number unless given."""
    number = as_number(fill_value)
    kind = _dtype(dtype) if dtype is not None else _kind_of(number)
    return Tensor(full_value(TensorType(kind, sizes((shape,), "full")), number))


def _kind_of(number: Number) -> DType:
    return bool_ if isinstance(number, bool) else int64 if isinstance(number, int) else float32


def zeros(*shape: Any, dtype: Any = float32) -> Tensor:
    return full(sizes(shape, "zeros"), 0, dtype)


def ones(*shape: Any, dtype: Any = float32) -> Tensor:
    return full(sizes(shape, "ones"), 1, dtype)


def full_like(x: Tensor, fill_value: Number, dtype: Any = None) -> Tensor:
    return full(x.shape, fill_value, dtype or x.dtype)


def zeros_like(x: Tensor, dtype: Any = None) -> Tensor:
    return full_like(x, 0, dtype)


def ones_like(x: Tensor, dtype: Any = None) -> Tensor:
    return full_like(x, 1, dtype)


def empty(*size: Any, dtype: Any = float32) -> Tensor:
    """Zeros: a graph has no memory that could be left as it is."""
    return full(sizes(size, "empty"), 0, dtype)


def empty_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Zeros of the shape and dtype of x."""
    return full_like(x, 0, dtype)


def arange(start: Number, end: Number | None = None, step: Number = 1, dtype: Any = None) -> Tensor:
    """start, start + step, ... below `end`; int64 for ints, float32 when any is a float."""
    first, last = (0, start) if end is None else (start, end)
    if step == 0:
        raise ShapeError("arange: the step must not be 0", here())
    count = max(0, math.ceil((last - first) / step))
    kind = _dtype(dtype) if dtype is not None else _kind_of(first + last + step)
    working = kind if kind.is_int or (kind.is_float and kind.bits >= 32) else float32
    grid = Tensor(make("iota", dtype=working, shape=(count,), axis=0))
    scaled = grid if step == 1 else grid * step
    return (scaled if first == 0 else scaled + first).to(kind)


def linspace(start: Any, end: Any, steps: int, dtype: Any = float32) -> Tensor:
    """`steps` numbers from start to end, both included, evenly spaced."""
    if steps < 0:
        raise ShapeError(f"linspace: the number of steps must not be negative, got {steps}", here())
    kind = _dtype(dtype)
    if not kind.is_float:
        return linspace(start, end, steps, float64).to(kind)
    start, end = (x.to(kind) if isinstance(x, Tensor) else x for x in (start, end))
    grid = arange(steps, dtype=kind)
    step = (end - start) / max(steps - 1, 1)
    return where(grid < steps / 2, start + grid * step, end - (steps - 1 - grid) * step)


def logspace(start: float, end: float, steps: int, base: float = 10.0, dtype: Any = float32) -> Tensor:
    """base**x for `steps` numbers x from start to end, both included, evenly spaced."""
    return (float(base) ** linspace(start, end, steps, float64)).to(dtype)


def eye(n: int, m: int | None = None, dtype: Any = float32) -> Tensor:
    """Ones on the diagonal of an n x m matrix."""
    shape = (n, n if m is None else m)
    rows, columns = (make("iota", dtype=int64, shape=shape, axis=d) for d in (0, 1))
    return Tensor(cast_value(make("eq", rows, columns), _dtype(dtype)))


def tril_indices(row: int, col: int, offset: int = 0, dtype: Any = int64) -> Tensor:
    """[2, count]: rows and columns of the elements on and below a diagonal of a row x col matrix."""
    return constant(np.array(np.tril_indices(row, offset, col)), dtype)


def triu_indices(row: int, col: int, offset: int = 0, dtype: Any = int64) -> Tensor:
    """[2, count]: rows and columns of the elements on and above a diagonal of a row x col matrix."""
    return constant(np.array(np.triu_indices(row, offset, col)), dtype)


def one_hot(x: Any, num_classes: int, dtype: Any = int64) -> Tensor:
    """A last dimension of `num_classes` with a 1 where it equals x; a label out of range gives zeros."""
    labels = as_tensor(x)
    if not labels.dtype.is_int:
        raise DTypeError(f"one_hot: labels must be integers, not {labels.dtype}", here())
    return (labels.unsqueeze(-1) == arange(num_classes).to(labels.dtype)).to(dtype)


def meshgrid(*tensors: Tensor, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinate grids of vectors, given one by one or as a list; "xy" exchanges the first two dimensions."""
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        return meshgrid(*tensors[0], indexing=indexing)
    if indexing not in ("ij", "xy"):
        raise ShapeError(f"meshgrid: indexing is 'ij' or 'xy', not {indexing!r}", here())
    shape = tuple(t.numel() for t in tensors)
    grids = [t.reshape((1,) * i + (-1,) + (1,) * (len(shape) - 1 - i)).broadcast_to(shape) for i, t in enumerate(tensors)]
    return tuple(g.transpose(0, 1) if indexing == "xy" and len(shape) > 1 else g for g in grids)
