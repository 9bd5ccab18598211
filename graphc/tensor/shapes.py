"""Tensors that move elements: reshape, permute, broadcast, join, split, pad.

In: a tensor and static sizes. Out: the same elements elsewhere. Names and defaults are PyTorch's; views and copies do
not differ here, because nothing is in memory yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ..errors import ShapeError
from ..ir.location import here
from ..ir.values import Value, make
from .core import Core, axes, axis, broadcast_shapes, broadcast_value, cast_value, result_type, sizes

if TYPE_CHECKING:
    from .tensor import Tensor


class Shapes(Core):
    """Methods that change the shape or the order of elements."""

    def reshape(self, *shape: Any) -> Tensor:
        """The elements in row-major order in another shape; one extent may be -1."""
        return self.wrap(reshape_value(self.value, self._resolved(sizes(shape, "reshape"))))

    view = reshape

    def _resolved(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if shape.count(-1) > 1:
            raise ShapeError(f"reshape: at most one extent may be -1, got {shape}", here())
        known = prod(n for n in shape if n != -1)
        full = tuple(self.numel() // known if n == -1 and known else n for n in shape)
        if prod(full) != self.numel() or min(full, default=0) < 0:
            raise ShapeError(
                f"reshape: {self.shape} has {self.numel()} elements and cannot become {shape}, which has "
                + (f"a multiple of {known}" if -1 in shape else f"{known}"),
                here(),
            )
        return full

    def reshape_as(self, other: Tensor) -> Tensor:
        return self.reshape(other.shape)

    view_as = reshape_as

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Dimensions start_dim to end_dim (included) as one."""
        if not self.shape:
            return self.reshape(1)
        start, end = axis(start_dim, self.ndim, "flatten"), axis(end_dim, self.ndim, "flatten")
        if start > end:
            raise ShapeError(f"flatten: start_dim {start_dim} lies behind end_dim {end_dim}", here())
        return self.reshape((*self.shape[:start], prod(self.shape[start : end + 1]), *self.shape[end + 1 :]))

    def unflatten(self, dim: int, sizes_: Sequence[int]) -> Tensor:
        """One dimension as several; one extent may be -1."""
        d = axis(dim, self.ndim, "unflatten")
        known = prod(n for n in sizes_ if n != -1)
        inner = tuple(self.shape[d] // known if n == -1 and known else n for n in sizes_)
        return self.reshape((*self.shape[:d], *inner, *self.shape[d + 1 :]))

    def permute(self, *dims: Any) -> Tensor:
        """Dimensions in another order: result dimension i is dimension dims[i]."""
        order = tuple(axis(d, self.ndim, "permute") for d in sizes(dims, "permute"))
        if sorted(order) != list(range(self.ndim)):
            raise ShapeError(f"permute: {dims} does not name each of the {self.ndim} dimensions once", here())
        return self.wrap(transpose_value(self.value, order))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two dimensions exchanged."""
        a, b = axis(dim0, self.ndim, "transpose"), axis(dim1, self.ndim, "transpose")
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self.permute(order)

    swapaxes = transpose

    def movedim(self, source: int, destination: int) -> Tensor:
        a, b = axis(source, self.ndim, "movedim"), axis(destination, self.ndim, "movedim")
        order = [d for d in range(self.ndim) if d != a]
        order.insert(b, a)
        return self.permute(order)

    moveaxis = movedim

    def t(self) -> Tensor:
        """The transpose of a matrix."""
        if self.ndim > 2:
            raise ShapeError(f"t: takes at most 2 dimensions, got {self.shape}; use .mT or .permute", here())
        return self.permute(tuple(reversed(range(self.ndim))))

    @property
    def T(self) -> Tensor:
        return self.permute(tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Tensor:
        return self.transpose(-1, -2)

    def contiguous(self) -> Tensor:
        return self.wrap(self.value)

    def squeeze(self, dim: Any = None) -> Tensor:
        """Dimensions of extent 1 left out: all, or those of `dim` that have it."""
        chosen = axes(dim, self.ndim, "squeeze")
        return self.reshape(tuple(n for d, n in enumerate(self.shape) if n != 1 or d not in chosen))

    def unsqueeze(self, dim: int) -> Tensor:
        """A dimension of extent 1 put in at `dim`."""
        d = axis(dim, self.ndim + 1, "unsqueeze")
        return self.reshape((*self.shape[:d], 1, *self.shape[d:]))

    def broadcast_to(self, *shape: Any) -> Tensor:
        """Extents of 1 stretched, dimensions added in front."""
        wanted = sizes(shape, "broadcast_to")
        if broadcast_shapes(self.shape, wanted) != wanted:
            raise ShapeError(f"broadcast_to: {self.shape} does not stretch to {wanted}", here())
        return self.wrap(broadcast_value(self.value, wanted))

    def expand(self, *shape: Any) -> Tensor:
        """Like broadcast_to; -1 keeps an extent."""
        wanted = sizes(shape, "expand")
        first = len(wanted) - self.ndim
        return self.broadcast_to(tuple(self.shape[i - first] if n == -1 and i >= first else n for i, n in enumerate(wanted)))

    def expand_as(self, other: Tensor) -> Tensor:
        return self.broadcast_to(other.shape)

    def repeat(self, *counts: Any) -> Tensor:
        """The tensor laid out `counts` times in each dimension (numpy: tile)."""
        times = sizes(counts, "repeat")
        if len(times) < self.ndim or min(times, default=0) < 0:
            raise ShapeError(f"repeat: {times} must name a count >= 0 for each of the dimensions of {self.shape}", here())
        shape = (1,) * (len(times) - self.ndim) + self.shape
        split = self.reshape(tuple(n for size in shape for n in (1, size)))
        wide = split.broadcast_to(tuple(n for count, size in zip(times, shape, strict=True) for n in (count, size)))
        return wide.reshape(tuple(count * size for count, size in zip(times, shape, strict=True)))

    def repeat_interleave(self, repeats: int, dim: int | None = None) -> Tensor:
        """Each element `repeats` times in a row."""
        if dim is None:
            return self.flatten().repeat_interleave(repeats, 0)
        d = axis(dim, self.ndim, "repeat_interleave")
        wide = self.unsqueeze(d + 1).expand(*self.shape[: d + 1], repeats, *self.shape[d + 1 :])
        return wide.flatten(d, d + 1)

    def flip(self, *dims: Any) -> Tensor:
        """The order of elements reversed along `dims`."""
        chosen = axes(sizes(dims, "flip"), self.ndim, "flip")
        return self.wrap(make("reverse", self.value, axes=chosen)) if chosen else self.wrap(self.value)

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """`length` elements from `start` along `dim`."""
        d = axis(dim, self.ndim, "narrow")
        if not (0 <= start and 0 <= length and start + length <= self.shape[d]):
            raise ShapeError(f"narrow: {start} to {start + length} is not within dimension {dim} of {self.shape}", here())
        return self.wrap(narrow_value(self.value, d, start, start + length))

    def roll(self, shifts: int, dims: int) -> Tensor:
        """Elements moved along a dimension; what leaves at the end comes in at the start."""
        d = axis(dims, self.ndim, "roll")
        size = self.shape[d]
        shift = shifts % size if size else 0
        if not shift:
            return self.wrap(self.value)
        parts = narrow_value(self.value, d, size - shift, size), narrow_value(self.value, d, 0, size - shift)
        return self.wrap(make("concat", *parts, axis=d))

    def split(self, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Pieces of `split_size` (the last may be smaller), or of the listed sizes."""
        d = axis(dim, self.ndim, "split")
        size = self.shape[d]
        if isinstance(split_size, tuple | list):
            pieces = list(sizes(split_size, "split"))
            if sum(pieces) != size or min(pieces, default=0) < 0:
                raise ShapeError(f"split: sizes {pieces} must add up to {size}, dimension {dim} of {self.shape}", here())
        elif split_size < 1:
            raise ShapeError(f"split: the size of a piece must be positive, not {split_size}", here())
        else:
            pieces = [min(split_size, size - start) for start in range(0, size, split_size)] or [0]
        starts = [sum(pieces[:i]) for i in range(len(pieces))]
        return tuple(self.narrow(d, start, n) for start, n in zip(starts, pieces, strict=True))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` pieces of equal size (the last may be smaller)."""
        if chunks < 1:
            raise ShapeError(f"chunk: the number of pieces must be positive, not {chunks}", here())
        return self.split(max(1, -(-self.size(dim) // chunks)), dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices along a dimension, without it."""
        d = axis(dim, self.ndim, "unbind")
        return tuple(self.narrow(d, i, 1).squeeze(d) for i in range(self.shape[d]))


def reshape_value(value: Value, shape: tuple[int, ...]) -> Value:
    return value if value.shape == shape else make("reshape", value, shape=shape)


def transpose_value(value: Value, perm: tuple[int, ...]) -> Value:
    return value if perm == tuple(range(len(perm))) else make("transpose", value, perm=perm)


def narrow_value(value: Value, d: int, start: int, stop: int) -> Value:
    """value[start:stop] along dimension d."""
    if (start, stop) == (0, value.shape[d]):
        return value
    starts, stops = [0] * len(value.shape), list(value.shape)
    starts[d], stops[d] = start, stop
    return make("slice", value, start=tuple(starts), stop=tuple(stops), stride=(1,) * len(starts))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing dimension; all other extents are equal, dtypes are promoted."""
    if not tensors:
        raise ShapeError("cat: needs at least one tensor", here())
    anchor = next((t for t in tensors if isinstance(t, Core)), None)
    if anchor is None:
        raise ShapeError("cat: none of the given objects is a tensor; join arrays with numpy, or use gc.constant", here())
    parts = [anchor.lift(t) for t in tensors]
    d = axis(dim, parts[0].ndim, "cat")
    for part in parts:
        if part.ndim != parts[0].ndim or any(
            a != b for i, (a, b) in enumerate(zip(part.shape, parts[0].shape, strict=True)) if i != d
        ):
            shapes = ", ".join(str(p.shape) for p in parts)
            raise ShapeError(f"cat: shapes {shapes} must agree in all dimensions but {d}", here())
    kind = result_type(parts)
    values = [cast_value(part.value, kind) for part in parts]
    return anchor.wrap(values[0] if len(values) == 1 else make("concat", *values, axis=d))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    if not tensors:
        raise ShapeError("stack: needs at least one tensor", here())
    if len({t.shape for t in tensors}) > 1:
        raise ShapeError(f"stack: shapes {', '.join(str(t.shape) for t in tensors)} must be equal", here())
    d = axis(dim, tensors[0].ndim + 1, "stack")
    return cat([t.unsqueeze(d) for t in tensors], d)
