"""Indexing, gathering, scattering, sorting.

In: Python index expressions, integer tensors and arrays. Out: slices, reversals, gathers and scatters. Negative indices
count from the end. Indices known at build time are checked; those a program computes are clamped into range when read
and dropped when written, so that no memory outside the tensor is ever touched.
"""

from __future__ import annotations

from operator import index as as_int
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..dtype import int64
from ..errors import DTypeError, ShapeError
from ..ir.kernel import COMBINES
from ..ir.location import here
from ..ir.values import Value, make
from ..ops.index import argsort, gather, scatter
from ..ops.top import first_in_order
from .core import Core, axis, broadcast_shapes, cast_value, sizes
from .elementwise import where
from .products import Products
from .reductions import Extreme
from .shapes import reshape_value

if TYPE_CHECKING:
    from .tensor import Tensor

_MODES = {"sum": "add", "add": "add", "amax": "max", "amin": "min", "set": "set"}


class Indexing(Products):
    """Methods that choose elements by position."""

    def __getitem__(self, key: Any) -> Tensor:
        """Elements by ints, slices (negative steps too), None, ..., and integer tensors or arrays (numpy's rules)."""
        parts = _expand_ellipsis(key if isinstance(key, tuple) else (key,), self.ndim, self.shape)
        basic, arrays = _split_key(self, parts)
        result = self.wrap(basic)
        if not arrays:
            return result
        return _gather_axes(result, {d: index_tensor(result, d, a) for d, a in arrays.items()})

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise ShapeError(
            "a symbolic tensor cannot be assigned to in place; build the new value with gc.where, x.masked_fill, "
            "x.index_put, x.select_scatter, x.scatter or gc.cat, and give new values of variables as updates= of gc.function",
            here(),
        )

    def __iter__(self) -> Any:
        if not self.shape:
            raise ShapeError("iteration over a 0-d tensor", here())
        return iter(self.unbind(0))

    def gather(self, dim: int, index: Any) -> Tensor:
        """result[i][j]... = self[index[i][j]...][j]... for dim 0, and so on (torch.gather)."""
        if not self.ndim:
            return self.reshape(1).gather(dim, self.lift(index).reshape(-1)).reshape(self.lift(index).shape)
        return self.wrap(gather(self.value, *self._coordinates("gather", dim, index), axes=range(self.ndim)))

    def _coordinates(self, name: str, dim: int, index: Any) -> list[Value]:
        """For every dimension the position that each element of `index` reads or writes."""
        chosen = self.lift(index)
        d = axis(dim, self.ndim, name)
        if chosen.ndim != self.ndim or not chosen.dtype.is_int:
            raise ShapeError(
                f"{name}: index of type {chosen.value.type} must be an integer tensor of the {self.ndim} dimensions of "
                f"{self.shape}",
                here(),
            )
        if any(n > m for i, (n, m) in enumerate(zip(chosen.shape, self.shape, strict=True)) if i != d):
            raise ShapeError(f"{name}: index of shape {chosen.shape} reaches beyond {self.shape} outside dimension {d}", here())
        grid = [make("iota", dtype=int64, shape=chosen.shape, axis=i) for i in range(self.ndim)]
        grid[d] = cast_value(chosen.value, int64)
        return grid

    def scatter(self, dim: int, index: Any, src: Any, reduce: str = "set") -> Tensor:
        """This tensor with the elements that `index` names along `dim` replaced by those of `src`, a tensor or a number.

        The last one written wins. reduce: "add" and "multiply" combine with what is there, as do "amax" and "amin".
        """
        if not self.ndim:
            return self.reshape(1).scatter(dim, self.lift(index).reshape(1), self.lift(src).reshape(1), reduce).reshape(())
        if reduce not in (*_MODES, "multiply", "prod"):
            raise ShapeError(f"scatter: reduce is one of {', '.join(_MODES)}, multiply, not {reduce!r}", here())
        grid = self._coordinates("scatter", dim, index)
        shape = grid[0].shape
        updates = self.lift(src).to(self.dtype)
        if updates.ndim == self.ndim and all(n >= m for n, m in zip(updates.shape, shape, strict=True)):
            updates = updates[tuple(slice(0, n) for n in shape)]
        updates = updates.broadcast_to(shape)
        if reduce not in _MODES:
            return self * self._gathered_product(axis(dim, self.ndim, "scatter"), self.wrap(grid[dim]), updates)
        every = range(self.ndim)
        return self.wrap(scatter(self.value, updates.value, *grid, axes=every, mode=_MODES[reduce]))

    def _gathered_product(self, d: int, index: Tensor, updates: Tensor) -> Tensor:
        """For each element of this tensor the product of the updates that go there: a comparison with every index."""
        place = self.wrap(make("iota", dtype=int64, shape=(self.shape[d],), axis=0))
        place = place.reshape((-1,) + (1,) * (self.ndim - d))
        hit = where(index.unsqueeze(d) == place, updates.unsqueeze(d), 1).prod(d + 1, dtype=self.dtype)
        rest = tuple(n - m for n, m in zip(self.shape, hit.shape, strict=True))
        low = (0,) * self.ndim
        return self.wrap(make("pad", hit.value, low=low, high=rest, interior=low, value=1)) if any(rest) else hit

    def scatter_add(self, dim: int, index: Any, src: Any) -> Tensor:
        """This tensor with the elements of `src` added where `index` says."""
        return self.scatter(dim, index, src, "add")

    def scatter_reduce(self, dim: int, index: Any, src: Any, reduce: str, include_self: bool = True) -> Tensor:
        """This tensor with the "sum", "prod", "mean", "amax" or "amin" of elements of `src` where `index` says.

        The elements of this tensor take part, unless include_self is False.
        """
        neutral = {"sum": "add", "mean": "add", "prod": "mul", "amax": "max", "amin": "min"}
        if reduce not in neutral:
            raise ShapeError(f"scatter_reduce: reduce is one of {', '.join(neutral)}, not {reduce!r}", here())
        kept = self.wrap(self.value)
        hits = (self * 0).to(int64).scatter_add(dim, index, 1)
        if not include_self:
            kept = where(hits > 0, COMBINES[neutral[reduce]](self.dtype), self).to(self.dtype)
        result = kept.scatter(dim, index, src, "add" if reduce == "mean" else reduce)
        if reduce != "mean":
            return result
        count = (hits + 1 if include_self else where(hits == 0, 1, hits)).to(self.dtype)
        return result / count if self.dtype.is_float else result // count

    def take_along_dim(self, indices: Any, dim: int | None = None) -> Tensor:
        """gather whose index broadcasts with this tensor elsewhere and may count from the end; without `dim`, of the
        flattened tensor."""
        index = self.lift(indices)
        if dim is None:
            return self.flatten().take_along_dim(index.flatten(), 0)
        d = axis(dim, self.ndim, "take_along_dim")
        index = index_tensor(self, d, index)
        spread = [tuple(1 if i == d else n for i, n in enumerate(x.shape)) for x in (self, index)]
        shape = broadcast_shapes(*spread)
        if index.ndim != self.ndim or shape is None:
            raise ShapeError(f"take_along_dim: an index of {index.shape} does not fit {self.shape} outside {dim}", here())
        wide = [x.broadcast_to((*shape[:d], x.shape[d], *shape[d + 1 :])) for x in (self, index)]
        return wide[0].gather(d, wide[1])

    def index_select(self, dim: int, index: Any) -> Tensor:
        """The slices along `dim` that a 1-d (or 0-d) index names."""
        if not self.ndim:
            return self.reshape(1).index_select(dim, self.lift(index).reshape(1)).reshape(())
        d = axis(dim, self.ndim, "index_select")
        chosen = index_tensor(self, d, index)
        if chosen.ndim > 1:
            raise ShapeError(f"index_select: the index must have 1 dimension, got {chosen.shape}", here())
        chosen = chosen.reshape(-1)
        return _gather_axes(self, {d: chosen})

    def take(self, index: Any) -> Tensor:
        """Elements of the flattened tensor."""
        return self.flatten()[self.lift(index)]

    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
        """The order of the elements along `dim`, always stable; NaN comes last."""
        d = axis(dim, max(self.ndim, 1), "argsort")
        if not self.ndim:
            return self.wrap(self.value).to(int64) * 0
        return self.wrap(argsort(self.value, d, bool(descending)))

    def sort(self, dim: int = -1, descending: bool = False, stable: bool = True) -> Extreme:
        """(sorted values, their indices), always stable; NaN comes last."""
        order = self.argsort(dim, descending)
        return Extreme(self.gather(dim, order), order)

    def msort(self) -> Tensor:
        """The values in order along the first dimension."""
        return self.sort(0).values

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extreme:
        """The k largest (smallest) elements along `dim` and their indices, in order."""
        if not self.ndim:
            return Extreme(*(x.reshape(()) for x in self.reshape(1).topk(k, dim, largest)))
        d = axis(dim, self.ndim, "topk")
        (k,) = sizes([k], "topk")
        if not 0 <= k <= self.shape[d]:
            raise ShapeError(f"topk: k = {k} is not within 0 to {self.shape[d]}, dimension {dim} of {self.shape}", here())
        order = self.wrap(first_in_order(self.value, d, k, bool(largest)))
        return Extreme(self.gather(d, order), order)

    def tril(self, diagonal: int = 0) -> Tensor:
        """The part on and below a diagonal of the last two dimensions, zero elsewhere."""
        return where(self._triangle("tril", diagonal), self, 0).to(self.dtype)

    def triu(self, diagonal: int = 0) -> Tensor:
        """The part on and above a diagonal of the last two dimensions, zero elsewhere."""
        return where(self._triangle("triu", diagonal), self, 0).to(self.dtype)

    def _triangle(self, name: str, diagonal: int) -> Tensor:
        if self.ndim < 2:
            raise ShapeError(f"{name}: takes at least 2 dimensions, got {self.shape}", here())
        rows, columns = (self.wrap(make("iota", dtype=int64, shape=self.shape[-2:], axis=d)) for d in (0, 1))
        return columns - rows <= diagonal if name == "tril" else columns - rows >= diagonal


def _expand_ellipsis(key: tuple[Any, ...], rank: int, shape: tuple[int, ...]) -> list[Any]:
    """The key with one entry per dimension, plus the Nones."""
    named = sum(1 for k in key if k is not None and k is not Ellipsis)
    if sum(1 for k in key if k is Ellipsis) > 1 or named > rank:
        raise ShapeError(f"index {key!r} names more dimensions than {shape} has, or ... twice", here())
    fill = [slice(None)] * (rank - named)
    at = next((i for i, k in enumerate(key) if k is Ellipsis), None)
    return [*key, *fill] if at is None else [*key[:at], *fill, *key[at + 1 :]]


def _split_key(x: Indexing, parts: list[Any]) -> tuple[Value, dict[int, Any]]:
    """Slices, ints and Nones applied; what is left are arrays, by dimension of the result."""
    start, stop, stride, reverse = [], [], [], []
    shape: list[int] = []
    arrays: dict[int, Any] = {}
    d = 0
    for part in parts:
        if part is None:
            shape.append(1)
            continue
        n = x.shape[d]
        first, last, step, backward, kept = _span(part, n, d, x.shape)
        if not isinstance(part, slice) and kept:
            arrays[len(shape)] = part
        start.append(first)
        stop.append(last)
        stride.append(step)
        if backward:
            reverse.append(d)
        if kept:
            shape.append(len(range(first, last, step)))
        d += 1
    value = x.value
    if (start, stop, stride) != ([0] * d, list(x.shape), [1] * d):
        value = make("slice", value, start=tuple(start), stop=tuple(stop), stride=tuple(stride))
    if reverse:
        value = make("reverse", value, axes=tuple(reverse))
    return reshape_value(value, tuple(shape)), arrays


def _span(part: Any, n: int, d: int, shape: tuple[int, ...]) -> tuple[int, int, int, bool, bool]:
    """(start, stop, positive step, reversed?, dimension kept?) of one entry of a key."""
    if isinstance(part, slice):
        if isinstance(part.step, int) and part.step == 0:
            raise ShapeError(f"the step of the slice of dimension {d} of {shape} must not be 0", here())
        chosen = range(n)[part]
        if not chosen:
            return 0, 0, 1, False, True
        low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
        return low, high + 1, abs(chosen.step), chosen.step < 0, True
    if isinstance(part, Core | np.ndarray | list):
        return 0, n, 1, False, True
    if isinstance(part, bool | np.bool_) or not hasattr(part, "__index__"):
        raise DTypeError(
            f"index {part!r}: expected ints, slices, None, ..., or integer tensors; see gc.where for masks", here()
        )
    i = as_int(part)
    if not -n <= i < n:
        raise ShapeError(f"index {i} is out of range for dimension {d} of {shape}", here())
    return i % n, i % n + 1, 1, False, False


def index_tensor(x: Indexing, d: int, index: Any) -> Tensor:
    """An int64 index into dimension `d`, counted from the front."""
    n = x.shape[d]
    if not isinstance(index, Core):
        array = np.asarray(index)
        if array.dtype.kind in "iu" or not array.size:
            if array.size and (array.min() < -n or array.max() >= n):
                raise ShapeError(f"index array reaches from {array.min()} to {array.max()}; dimension {d} has {n}", here())
            return x.lift(np.where(array < 0, array + n, array).astype(np.int64))
    chosen = x.lift(index)
    if not chosen.dtype.is_int:
        raise DTypeError(
            f"an index must be an integer tensor, not {chosen.dtype}; the shape of a masked selection is not known when the "
            "graph is built: use gc.where(mask, x, other), x.masked_fill(mask, value), or sum x * mask; a mask that is an "
            "array already becomes an index by np.flatnonzero(mask)",
            here(),
        )
    chosen = chosen.to(int64)
    return where(chosen < 0, chosen + n, chosen)


def of_one_shape(chosen: dict[int, Tensor]) -> dict[int, Tensor]:
    """The indices of dimensions, broadcast together."""
    shape = broadcast_shapes(*(t.shape for t in chosen.values()))
    if shape is None:
        raise ShapeError(f"index tensors of shapes {', '.join(str(t.shape) for t in chosen.values())} do not broadcast", here())
    return {d: t.broadcast_to(shape) for d, t in chosen.items()}


def _gather_axes(x: Indexing, chosen: dict[int, Tensor]) -> Tensor:
    """x indexed at several dimensions by tensors that broadcast together; numpy's place for the new dimensions."""
    dims, places = tuple(chosen), (t.value for t in of_one_shape(chosen).values())
    adjacent = dims == tuple(range(dims[0], dims[0] + len(dims)))
    return x.wrap(gather(x.value, *places, axes=dims, lead=dims[0] if adjacent else 0))
