"""Elements by place, in other words: what is composed of indexing, gather and scatter.

In: tensors, integer tensors and static places. Out: copies, as always: a method that PyTorch calls a write gives the
tensor with the write done. Writes to rows that indices name are one scatter of rows; all others are one into the
flattened tensor, at the places that the same selection picks from the numbers of all elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..dtype import int64
from ..errors import DTypeError, ShapeError
from ..ir.location import here
from ..ir.values import make
from ..ops.index import scatter
from .core import Core, axis, broadcast_shapes, sizes
from .elementwise import where
from .indexing import index_tensor, of_one_shape
from .scans import Scans
from .shapes import stack

if TYPE_CHECKING:
    from .tensor import Tensor


class Positions(Scans):
    """Methods that read or write at named places."""

    __hash__ = Core.__hash__

    def _numbered(self) -> Tensor:
        """The position of each element in the flattened tensor."""
        return self.wrap(make("iota", dtype=int64, shape=(self.numel(),), axis=0)).reshape(self.shape)

    def _write(self, name: str, choose: Callable[[Tensor], Tensor], source: Any, mode: str = "set") -> Tensor:
        """This tensor with `source` written over (added to, ...) the elements that `choose` selects."""
        places, new = choose(self._numbered()), self.lift(source).to(self.dtype)
        if broadcast_shapes(new.shape, places.shape) != places.shape:
            raise ShapeError(f"{name}: a source of shape {new.shape} does not fit the {places.shape} chosen elements", here())
        updates = new.broadcast_to(places.shape).flatten()
        flat = scatter(self.flatten().value, updates.value, places.flatten().value, axes=(0,), mode=mode)
        return self.wrap(flat).reshape(self.shape)

    # Along one dimension.
    def select(self, dim: int, index: int) -> Tensor:
        """One slice along `dim`, without it."""
        d = axis(dim, self.ndim, "select")
        return self[(slice(None),) * d + (index,)]

    def select_scatter(self, src: Any, dim: int, index: int) -> Tensor:
        """This tensor with its slice `index` along `dim` replaced."""
        d = axis(dim, self.ndim, "select_scatter")
        return self._index_write("select_scatter", d, np.array([index]), self.lift(src).unsqueeze(d))

    def slice_scatter(self, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
        """This tensor with self[start:end:step] along `dim` replaced."""
        places = np.arange(self.shape[axis(dim, self.ndim, "slice_scatter")])[start:end:step]
        return self._index_write("slice_scatter", dim, places, src)

    def diagonal_scatter(self, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """This tensor with a diagonal replaced."""
        return self._write("diagonal_scatter", lambda p: p.diagonal(offset, dim1, dim2), src)

    def _index_write(self, name: str, dim: int, index: Any, source: Any, mode: str = "set") -> Tensor:
        """A write to the slices along `dim` that a 1-d (or 0-d) index names."""
        if not self.ndim:
            return self.reshape(1)._index_write(name, dim, index, source, mode).reshape(())
        d = axis(dim, self.ndim, name)
        return self._rows_written(name, {d: index_tensor(self, d, index).reshape(-1)}, source, mode)

    def _rows_written(self, name: str, chosen: dict[int, Tensor], source: Any, mode: str) -> Tensor:
        """A write to what indices of one shape select along neighbouring dimensions; they stay where those were."""
        axes, new = tuple(chosen), self.lift(source).to(self.dtype)
        indices = [index.value for index in chosen.values()]
        shape = (*self.shape[: axes[0]], *indices[0].shape, *self.shape[axes[-1] + 1 :])
        if broadcast_shapes(new.shape, shape) != shape:
            raise ShapeError(f"{name}: a source of shape {new.shape} does not fit the {shape} chosen elements", here())
        updates = new.broadcast_to(shape).value
        return self.wrap(scatter(self.value, updates, *indices, axes=axes, mode=mode, lead=axes[0]))

    def index_fill(self, dim: int, index: Any, value: Any) -> Tensor:
        """This tensor with the slices along `dim` that `index` names filled with one value."""
        if not self.ndim:
            return self.reshape(1).index_fill(dim, index, value).reshape(())
        d, new = axis(dim, self.ndim, "index_fill"), self.lift(value).to(self.dtype)
        if new.ndim:
            raise ShapeError(f"index_fill: the value must be a number or a 0-d tensor, got {new.shape}", here())
        nowhere = self.lift(np.zeros(self.shape[d], bool))
        filled = nowhere._index_write("index_fill", 0, index, True)
        return where(filled.reshape((-1,) + (1,) * (self.ndim - 1 - d)), new, self)

    def index_copy(self, dim: int, index: Any, source: Any) -> Tensor:
        """This tensor with the slices along `dim` that `index` names replaced by those of `source`."""
        return self._index_write("index_copy", dim, index, source)

    def index_add(self, dim: int, index: Any, source: Any, alpha: float = 1) -> Tensor:
        """This tensor with the slices of `source`, times alpha, added to those along `dim` that `index` names."""
        added = self.lift(source)
        return self._index_write("index_add", dim, index, added if alpha == 1 else added * alpha, "add")

    def index_reduce(self, dim: int, index: Any, source: Any, reduce: str, include_self: bool = True) -> Tensor:
        """scatter_reduce ("prod", "mean", "amax", "amin") of the slices of `source` into those that `index` names."""
        if not self.ndim:
            return self.reshape(1).index_reduce(dim, index, self.lift(source).reshape(1), reduce, include_self).reshape(())
        if include_self and reduce in ("amax", "amin"):
            return self._index_write("index_reduce", dim, index, source, reduce.removeprefix("a"))
        d, new = axis(dim, self.ndim, "index_reduce"), self.lift(source)
        column = self.lift(index).reshape((-1,) + (1,) * (self.ndim - 1 - d))
        return self.scatter_reduce(dim, column.broadcast_to(new.shape), new, reduce, include_self)

    def repeat_interleave(self, repeats: Any, dim: int | None = None) -> Tensor:
        """Each element `repeats` times in a row; a list names a static count for each slice along `dim`."""
        if dim is None:
            return self.flatten().repeat_interleave(repeats, 0)
        d = axis(dim, self.ndim, "repeat_interleave")
        if isinstance(repeats, tuple | list | np.ndarray):
            counts = np.asarray(repeats)
            if counts.shape not in ((1,), (self.shape[d],)) or counts.dtype.kind not in "iu" or counts.min(initial=0) < 0:
                raise ShapeError(f"repeat_interleave: expected {self.shape[d]} counts >= 0, got {repeats!r}", here())
            return self[(slice(None),) * d + (np.repeat(np.arange(self.shape[d]), counts),)]
        times = sizes((repeats,), "repeat_interleave")[0]
        wide = self.unsqueeze(d + 1).expand(*self.shape[: d + 1], times, *self.shape[d + 1 :])
        return wide.flatten(d, d + 1)

    # Anywhere.
    def index_put(self, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Tensor:
        """This tensor with self[indices] replaced by (or, to accumulate, increased by) `values`; integer indices."""
        key, mode = tuple(indices), "add" if accumulate else "set"
        if not key or not all(isinstance(part, Core | np.ndarray | list) for part in key) or len(key) > self.ndim:
            return self._write("index_put", lambda p: p[key], values, mode)
        places = of_one_shape({d: index_tensor(self, d, part) for d, part in enumerate(key)})
        return self._rows_written("index_put", places, values, mode)

    def put(self, index: Any, source: Any, accumulate: bool = False) -> Tensor:
        """This tensor with elements of the flattened tensor replaced (or increased)."""
        new = self.lift(source).reshape(self.lift(index).shape)
        return self._write("put", lambda p: p.take(index), new, "add" if accumulate else "set")

    def masked_scatter(self, mask: Any, source: Any) -> Tensor:
        """This tensor with the elements where the mask holds replaced, in order, by the first ones of `source`."""
        shape = broadcast_shapes(self.shape, self.lift(mask).shape)
        if shape is None:
            raise ShapeError(f"masked_scatter: a mask of {self.lift(mask).shape} does not fit {self.shape}", here())
        chosen = self.lift(mask).broadcast_to(shape)
        new = self.lift(source).to(self.dtype).flatten()
        if not new.numel():
            return self.broadcast_to(shape)
        place = chosen.flatten().cumsum(0).reshape(shape) - 1
        return where(chosen, new[where(place < 0, 0, place)], self)

    def nonzero_static(self, *, size: int, fill_value: int = -1) -> Tensor:
        """The [size, ndim] positions of the first `size` elements that are not 0, in order; behind them `fill_value`.

        In place of `nonzero`, whose shape depends on values.
        """
        flat = (self != 0).flatten()
        wanted = min(size, flat.numel())
        places = (~flat).argsort(0).narrow(0, 0, wanted)
        found = self.wrap(make("iota", dtype=int64, shape=(wanted,), axis=0)) < flat.sum()
        rows = [where(found, p, fill_value) for p in places.unravel_index(self.shape)]
        table = stack(rows, 1) if rows else places.reshape(wanted, 1)[:, :0]
        rest = make("pad", table.value, low=(0, 0), high=(size - wanted, 0), interior=(0, 0), value=fill_value)
        return self.wrap(rest) if size > wanted else table

    # What PyTorch has, and a static shape cannot have.
    def _unknown_shape(self, name: str, instead: str) -> NoReturn:
        raise ShapeError(f"{name}: the shape of its result depends on values, and shapes are static here; {instead}", here())

    def masked_select(self, mask: Any) -> NoReturn:
        """Refused: see `where`, `masked_fill`, or products with the mask."""
        self._unknown_shape("masked_select", "use gc.where(mask, x, other), x.masked_fill(~mask, value), or sum x * mask")

    def nonzero(self, *, as_tuple: bool = False) -> NoReturn:
        """Refused: see `nonzero_static`."""
        self._unknown_shape("nonzero", "use x.nonzero_static(size=...), or gc.where(x != 0, a, b)")

    def argwhere(self) -> NoReturn:
        """Refused: see `nonzero_static`."""
        self._unknown_shape("argwhere", "use x.nonzero_static(size=...)")

    def unique(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: see `sort` and `bincount`."""
        self._unknown_shape("unique", "use x.sort(), or x.bincount(minlength=...) of integers")

    def unravel_index(self, shape: Any) -> tuple[Tensor, ...]:
        """Positions in a flattened tensor of `shape` as one tensor per dimension."""
        extents = sizes((shape,) if not isinstance(shape, int) else ((shape,),), "unravel_index")
        if not self.dtype.is_int:
            raise DTypeError(f"unravel_index: positions are integers, not {self.dtype}", here())
        places = self.to(int64)
        return tuple(places // prod(extents[d + 1 :]) % n for d, n in enumerate(extents))

    # Diagonals and windows.
    def diag_embed(self, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
        """Matrices, in dimensions dim1 and dim2 of the result, with the last dimension as their diagonal, zero elsewhere."""
        if not self.ndim:
            raise ShapeError("diag_embed: takes at least 1 dimension, got a 0-d tensor", here())
        a, b = axis(dim1, self.ndim + 1, "diag_embed"), axis(dim2, self.ndim + 1, "diag_embed")
        if a == b:
            raise ShapeError(f"diag_embed: dim1 and dim2 are both dimension {a}", here())
        shift, n = abs(offset), self.shape[-1] + abs(offset)
        low = (0,) * (self.ndim - 1) + (shift if offset > 0 else 0,)
        high = (0,) * (self.ndim - 1) + (shift if offset < 0 else 0,)
        wide = self.wrap(make("pad", self.value, low=low, high=high, interior=(0,) * self.ndim, value=0)) if shift else self
        rows, columns = (self.wrap(make("iota", dtype=int64, shape=(n, n), axis=d)) for d in (0, 1))
        matrix = where(columns - rows == offset, wide.unsqueeze(-2), 0).to(self.dtype)
        order = list(range(self.ndim - 1))
        for position, source in sorted(((a, self.ndim - 1), (b, self.ndim))):
            order.insert(position, source)
        return matrix.permute(order)

    def diag(self, diagonal: int = 0) -> Tensor:
        """The matrix with a vector as its diagonal, or the diagonal of a matrix."""
        if self.ndim not in (1, 2):
            raise ShapeError(f"diag: takes 1 or 2 dimensions, got {self.shape}; see diagonal and diag_embed", here())
        return self.diag_embed(diagonal) if self.ndim == 1 else self.diagonal(diagonal)

    def diagflat(self, offset: int = 0) -> Tensor:
        """The matrix with the flattened tensor as its diagonal."""
        return self.flatten().diag_embed(offset)

    def trace(self) -> Tensor:
        """The sum of the diagonal of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f"trace: takes a matrix, got {self.shape}", here())
        return self.diagonal().sum()

    def unfold(self, dimension: int, size: int, step: int) -> Tensor:
        """Windows of `size` along a dimension, every `step`: the dimension counts them, a new last one holds each."""
        if not self.ndim:
            return self.reshape(1).unfold(0, size, step).squeeze(0)
        d = axis(dimension, self.ndim, "unfold")
        if not 0 <= size <= self.shape[d] or step < 1:
            raise ShapeError(f"unfold: windows of {size} every {step} do not fit dimension {d} of {self.shape}", here())
        count = (self.shape[d] - size) // step + 1
        windows, taps = (self.wrap(make("iota", dtype=int64, shape=(count, size), axis=i)) for i in (0, 1))
        return self[(slice(None),) * d + (windows * step + taps,)].movedim(d + 1, -1)

    def rot90(self, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
        """Turned k times by 90 degrees, from the first of two dimensions towards the second."""
        a, b = (axis(d, self.ndim, "rot90") for d in dims)
        turned = self.flip(a, b) if k % 4 == 2 else self.wrap(self.value)
        return turned if k % 2 == 0 else self.flip(b).transpose(a, b) if k % 4 == 1 else self.flip(a).transpose(a, b)
