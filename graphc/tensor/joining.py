"""Functions of several tensors: joined along a dimension, brought to one shape, combined.

In: tensors (arrays and numbers are lifted to constants). Out: one tensor, or as many as came in. `cat` and `stack`, which
the methods need too, are in shapes.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import ShapeError
from ..ir.location import here
from .core import broadcast_shapes as _broadcast_shapes
from .core import common_shape, numpy_names, sizes
from .creation import zeros
from .shapes import cat, stack
from .tensor import Tensor, as_tensor


def _several(tensors: Sequence[Any]) -> list[Tensor]:
    """The arguments of f(a, b) or f([a, b])."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], tuple | list) else tensors
    return [as_tensor(t) for t in given]


def _each(function: Callable[[Tensor], Tensor], tensors: Sequence[Any]) -> Any:
    """The function of one tensor, or a tuple of those of several."""
    if len(tensors) == 1 and not isinstance(tensors[0], tuple | list):
        return function(as_tensor(tensors[0]))
    return tuple(map(function, _several(tensors)))


@numpy_names
def concat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """cat."""
    return cat(_several([tensors]), dim)


concatenate = concat


def atleast_1d(*tensors: Any) -> Any:
    """Numbers as vectors of one element; others as they are."""
    return _each(lambda t: t if t.ndim else t.reshape(1), tensors)


def atleast_2d(*tensors: Any) -> Any:
    """Vectors as one row; others with at least 2 dimensions."""
    return _each(lambda t: t if t.ndim > 1 else t.reshape(1, -1), tensors)


def atleast_3d(*tensors: Any) -> Any:
    """Vectors as (1, n, 1), matrices as (n, m, 1); others with at least 3 dimensions."""
    return _each(lambda t: t if t.ndim > 2 else atleast_2d(t).unsqueeze(-1), tensors)


def hstack(tensors: Sequence[Any]) -> Tensor:
    """Joined along the columns (vectors: along their only dimension)."""
    parts = [atleast_1d(t) for t in tensors]
    return cat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Tensor:
    """Joined along the rows; vectors are rows."""
    return cat([atleast_2d(t) for t in tensors], 0)


row_stack = vstack


def dstack(tensors: Sequence[Any]) -> Tensor:
    """Joined along the third dimension."""
    return cat([atleast_3d(t) for t in tensors], 2)


def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Joined along the columns; vectors are columns."""
    return cat([t if t.ndim > 1 else t.reshape(-1, 1) for t in _several([tensors])], 1)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape to which tensors of these shapes broadcast. Raises ShapeError when there is none."""
    found = _broadcast_shapes(*(sizes((s,) if not isinstance(s, int) else ((s,),), "broadcast_shapes") for s in shapes))
    if found is None:
        raise ShapeError(f"broadcast_shapes: {', '.join(map(str, shapes))} do not broadcast", here())
    return found


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All in the shape to which they broadcast."""
    parts = _several(tensors)
    shape = common_shape("broadcast_tensors", parts)
    return tuple(t.broadcast_to(shape) for t in parts)


def block_diag(*tensors: Any) -> Tensor:
    """The matrix with these matrices along its diagonal, zero elsewhere; vectors are rows."""
    parts = [atleast_2d(t) for t in _several(tensors)]
    if any(t.ndim > 2 for t in parts):
        raise ShapeError(f"block_diag: takes at most 2 dimensions, got {', '.join(str(t.shape) for t in parts)}", here())
    width, rows, before = sum(t.shape[1] for t in parts), [], 0
    for t in parts:
        n, m = t.shape
        after = width - before - m
        rows.append(cat([zeros((n, before), dtype=t.dtype), t, zeros((n, after), dtype=t.dtype)], 1))
        before += m
    return cat(rows, 0)


def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of elements of vectors, one in each row; of a single vector, the vector."""
    parts = _several(tensors)
    if any(t.ndim != 1 for t in parts):
        raise ShapeError(f"cartesian_prod: takes vectors, got {', '.join(str(t.shape) for t in parts)}", here())
    if len(parts) == 1:
        return parts[0]
    shape = tuple(t.shape[0] for t in parts)
    spread = [t.reshape((-1,) + (1,) * (len(parts) - 1 - i)).broadcast_to(shape) for i, t in enumerate(parts)]
    return stack([t.flatten() for t in spread], 1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, in order, one in each row."""
    x = as_tensor(input)
    if x.ndim != 1 or r < 0:
        raise ShapeError(f"combinations: takes a vector and r >= 0, got {x.shape} and {r}", here())
    choose: Callable[..., Iterable[tuple[int, ...]]]
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(x.shape[0]), r))
    return x[[i for row in rows for i in row]].reshape(len(rows), r) if rows and r else x[:0].reshape(0, r) if r else x[:0]
