"""Tensors that move elements: reshape, permute, broadcast, join, split, pad.

In: a tensor and static sizes. Out: the same elements elsewhere. Names and defaults are PyTorch's; views and copies do
not differ here, because nothing is in memory yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import prod
from typing import TYPE_CHECKING, Any

from ..dtype import int64
from ..errors import GraphError, ShapeError
from ..ir.location import here
from ..ir.values import Value, make
from .core import Core, F, axes, axis, broadcast_shapes, broadcast_value, cast_value, numpy_names, origins, result_type, sizes

if TYPE_CHECKING:
    from .tensor import Tensor


def _named(name: str) -> Callable[[F], F]:
    """Of a method f(self, *extents): they may come as one keyword, too."""

    def decorate(method: F) -> F:
        @wraps(method)
        def renamed(self: Any, *args: Any, **kwargs: Any) -> Any:
            return method(self, kwargs.pop(name), **kwargs) if name in kwargs else method(self, *args, **kwargs)

        return renamed  # type: ignore[return-value]

    return decorate


class Shapes(Core):
    """Methods that change the shape or the order of elements."""

    @_named("shape")
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
            wanted = f"a multiple of {known}" if -1 in shape else f"{known}"
            raise ShapeError(
                f"reshape: {self.shape} has {self.numel()} elements and cannot become {shape}, which has {wanted}"
                + origins((self,)),
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

    @_named("dims")
    def permute(self, *dims: Any) -> Tensor:
        """Dimensions in another order: result dimension i is dimension dims[i]."""
        order = tuple(axis(d, self.ndim, "permute") for d in sizes(dims, "permute"))
        if sorted(order) != list(range(self.ndim)):
            raise ShapeError(f"permute: {dims} does not name each of the {self.ndim} dimensions once", here())
        return self.wrap(transpose_value(self.value, order))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two dimensions exchanged."""
        rank = max(self.ndim, 1)  # PyTorch lets a 0-d tensor pass for one with a single element
        a, b = axis(dim0, rank, "transpose"), axis(dim1, rank, "transpose")
        order = list(range(rank))
        order[a], order[b] = order[b], order[a]
        return self.permute(order[: self.ndim])

    swapaxes = transpose

    def movedim(self, source: Any, destination: Any) -> Tensor:
        """One dimension, or several, at other places; the rest keeps its order."""
        several = [tuple(d) if isinstance(d, tuple | list) else (d,) for d in (source, destination)]
        old, new = ([axis(d, self.ndim, "movedim") for d in dims] for dims in several)
        if len(old) != len(new) or len(set(old)) != len(old) or len(set(new)) != len(new):
            raise ShapeError(f"movedim: {source} and {destination} must name as many dimensions, each once", here())
        order = [d for d in range(self.ndim) if d not in old]
        for place, d in sorted(zip(new, old, strict=True)):
            order.insert(place, d)
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

    @property
    def H(self) -> Tensor:
        """The transpose of a matrix; numbers are real here."""
        return self.t()

    @property
    def mH(self) -> Tensor:
        return self.mT

    def adjoint(self) -> Tensor:
        """The last two dimensions exchanged; numbers are real here."""
        return self.mT

    def contiguous(self) -> Tensor:
        return self.wrap(self.value)

    clone = contiguous  # tensors are values: nobody can change one in place

    def squeeze(self, dim: Any = None) -> Tensor:
        """Dimensions of extent 1 left out: all, or those of `dim` that have it."""
        chosen = axes(dim, self.ndim, "squeeze")
        return self.reshape(tuple(n for d, n in enumerate(self.shape) if n != 1 or d not in chosen))

    def unsqueeze(self, dim: int) -> Tensor:
        """A dimension of extent 1 put in at `dim`."""
        d = axis(dim, self.ndim + 1, "unsqueeze")
        return self.reshape((*self.shape[:d], 1, *self.shape[d:]))

    @_named("size")
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

    @_named("dims")
    def flip(self, *dims: Any) -> Tensor:
        """The order of elements reversed along `dims`."""
        chosen = axes(sizes(dims, "flip"), self.ndim, "flip")
        return self.wrap(make("reverse", self.value, axes=chosen)) if chosen else self.wrap(self.value)

    def narrow(self, dim: int, start: Any, length: int) -> Tensor:
        """`length` elements from `start` along `dim`; a start that is a tensor gives slices clamped into range."""
        d = axis(dim, self.ndim, "narrow")
        if isinstance(start, Core):
            steps = self.wrap(make("iota", dtype=int64, shape=(length,), axis=0))
            return self.wrap(self.value).index_select(d, start + steps)
        if not (0 <= start and 0 <= length and start + length <= self.shape[d]):
            raise ShapeError(f"narrow: {start} to {start + length} is not within dimension {dim} of {self.shape}", here())
        return self.wrap(narrow_value(self.value, d, start, start + length))

    def roll(self, shifts: Any, dims: Any = None) -> Tensor:
        """Elements moved along dimensions; what leaves at the end comes in at the start. No dims: of the flattened tensor."""
        if dims is None:
            return self.flatten().roll(shifts, 0).reshape(self.shape)
        pairs = [tuple(n) if isinstance(n, tuple | list) else (n,) for n in (shifts, dims)]
        if len(pairs[0]) != len(pairs[1]):
            raise ShapeError(f"roll: {shifts} shifts for the dimensions {dims}; expected one for each", here())
        value = self.value
        for shift, dim in zip(*pairs, strict=True):
            d = axis(dim, self.ndim, "roll")
            size = self.shape[d]
            start = -shift % size if size else 0
            if start:
                parts = narrow_value(value, d, start, size), narrow_value(value, d, 0, start)
                value = make("concat", *parts, axis=d)
        return self.wrap(value)

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """A diagonal of two dimensions, as the last dimension; `offset` > 0 lies above the main one, < 0 below."""
        a, b = axis(dim1, self.ndim, "diagonal"), axis(dim2, self.ndim, "diagonal")
        if a == b:
            raise ShapeError(f"diagonal: dim1 and dim2 are both dimension {a} of {self.shape}", here())
        rows, columns = self.shape[a], self.shape[b]
        count = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
        first = offset if offset >= 0 else -offset * columns
        flat = self.movedim((a, b), (-2, -1)).flatten(-2)
        if not count:
            return flat.narrow(-1, 0, 0)
        start, stride = (0,) * (self.ndim - 2), (1,) * (self.ndim - 2)
        stop = (*flat.shape[:-1], first + (count - 1) * (columns + 1) + 1)
        return self.wrap(make("slice", flat.value, start=(*start, first), stop=stop, stride=(*stride, columns + 1)))

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
        """At most `chunks` pieces of equal size (the last may be smaller); of nothing, so many that are empty."""
        if chunks < 1:
            raise ShapeError(f"chunk: the number of pieces must be positive, not {chunks}", here())
        size = self.size(dim)
        return self.split(-(-size // chunks) if size else (0,) * chunks, dim)

    def split_with_sizes(self, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Pieces of the listed sizes."""
        return self.split(tuple(split_sizes), dim)

    def tensor_split(self, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """That many pieces, the first ones larger by one where they must; or the pieces between listed positions."""
        d = axis(dim, self.ndim, "tensor_split")
        size = self.shape[d]
        if isinstance(indices_or_sections, tuple | list):
            cuts = [slice(i).indices(size)[1] for i in sizes(indices_or_sections, "tensor_split")]
        else:
            count = sizes((indices_or_sections,), "tensor_split")[0]
            if count < 1:
                raise ShapeError(f"tensor_split: the number of pieces must be positive, not {count}", here())
            cuts = [i * (size // count) + min(i, size % count) for i in range(1, count)]
        ends = zip([0, *cuts], [*cuts, size], strict=True)
        return tuple(self.narrow(d, min(low, size), max(0, high - low)) for low, high in ends)

    def _split_along(self, name: str, dim: int, rank: int, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if self.ndim < rank:
            raise ShapeError(f"{name}: takes at least {rank} dimensions, got {self.shape}", here())
        if isinstance(indices_or_sections, int) and (indices_or_sections < 1 or self.shape[dim] % indices_or_sections):
            raise ShapeError(f"{name}: dimension {dim} of {self.shape} has no {indices_or_sections} equal pieces", here())
        return self.tensor_split(indices_or_sections, dim)

    def hsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """tensor_split along the columns (of a vector: along its only dimension)."""
        return self._split_along("hsplit", min(1, self.ndim - 1), 1, indices_or_sections)

    def vsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """tensor_split along the rows."""
        return self._split_along("vsplit", 0, 2, indices_or_sections)

    def dsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """tensor_split along the third dimension."""
        return self._split_along("dsplit", 2, 3, indices_or_sections)

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


@numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing dimension; all other extents are equal, dtypes are promoted."""
    parts = _listed("cat", tensors)
    parts = [p for p in parts if p.shape != (0,)] or parts[:1]  # as PyTorch: a vector of nothing joins anything
    d = axis(dim, parts[0].ndim, "cat")
    for part in parts:
        if part.ndim != parts[0].ndim or any(
            a != b for i, (a, b) in enumerate(zip(part.shape, parts[0].shape, strict=True)) if i != d
        ):
            shapes = ", ".join(str(p.shape) for p in parts)
            raise ShapeError(f"cat: shapes {shapes} must agree in all dimensions but {d}{origins(parts)}", here())
    kind = result_type(parts)
    values = [cast_value(part.value, kind) for part in parts]
    return parts[0].wrap(values[0] if len(values) == 1 else make("concat", *values, axis=d))


@numpy_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    parts = _listed("stack", tensors)
    if len({t.shape for t in parts}) > 1:
        raise ShapeError(f"stack: shapes {', '.join(str(t.shape) for t in parts)} must be equal{origins(parts)}", here())
    d = axis(dim, parts[0].ndim + 1, "stack")
    return cat([t.unsqueeze(d) for t in parts], d)


def _listed(name: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors to be joined; numbers and arrays among them become constants."""
    if isinstance(tensors, Core):
        raise GraphError(f"{name}: takes a list of tensors, not a single one; write {name}([x, y])", here())
    anchor = next((t for t in tensors if isinstance(t, Core)), None)
    if anchor is None and tensors:
        raise ShapeError(f"{name}: none of the given objects is a tensor; join arrays with numpy, or use gc.constant", here())
    if anchor is None:
        raise ShapeError(f"{name}: needs at least one tensor", here())
    return [anchor.lift(t) for t in tensors]
