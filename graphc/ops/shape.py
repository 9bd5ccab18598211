"""Ops that move elements without computing: reshape, transpose, broadcast, slice, pad, concat, reverse, and iota.

In: values and static attributes. Out: records, and builders that return their operand itself when nothing would change.
Element rules say from which operand index an element comes, so a view costs nothing once fused. Attributes are
normalised tuples (no negative axes, no None); the builders and Tensor methods take the friendlier forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from ..dtype import DTYPES, DType
from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, all_of, as_index, lift, ravel, select, unravel
from ..ir.op import Index, Op, Pointwise, Reader, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .elementwise import convert, convert_expr

# ------------------------------------------------------------------------------------------------------------ builders


def reshape(x: Value, shape: Sequence[int]) -> Value:
    """The same elements in row-major order, in another shape."""
    return x if tuple(shape) == x.shape else make("reshape", x, shape=tuple(shape))


def transpose(x: Value, perm: Sequence[int]) -> Value:
    """Result dimension i is operand dimension perm[i]."""
    return x if tuple(perm) == tuple(range(x.type.rank)) else make("transpose", x, perm=tuple(perm))


def broadcast(x: Value, shape: Sequence[int], dims: Sequence[int]) -> Value:
    """Operand dimension i becomes result dimension dims[i]; extents of 1 and missing dimensions are repeated."""
    return x if tuple(shape) == x.shape else make("broadcast", x, shape=tuple(shape), dims=tuple(dims))


def slice_(x: Value, start: Sequence[int], stop: Sequence[int], stride: Sequence[int] | None = None) -> Value:
    """x[start:stop:stride] in every dimension, with 0 <= start <= stop <= extent and stride > 0."""
    stride = tuple(stride) if stride is not None else (1,) * x.type.rank
    if not any(start) and tuple(stop) == x.shape and all(s == 1 for s in stride):
        return x
    return make("slice", x, start=tuple(start), stop=tuple(stop), stride=stride)


def pad(
    x: Value, low: Sequence[int], high: Sequence[int], interior: Sequence[int] | None = None, value: bool | int | float = 0
) -> Value:
    """`interior` values between neighbours, then low and high values at the ends (negative ones crop)."""
    interior = tuple(interior) if interior is not None else (0,) * x.type.rank
    if not (any(low) or any(high) or any(interior)):
        return x
    return make("pad", x, low=tuple(low), high=tuple(high), interior=interior, value=value)


def concat(xs: Sequence[Value], axis: int) -> Value:
    """`xs` one after another along `axis`."""
    return xs[0] if len(xs) == 1 else make("concat", *xs, axis=axis)


def reverse(x: Value, axes: Sequence[int]) -> Value:
    """`x` with the order along `axes` turned round."""
    axes = tuple(sorted(axis for axis in axes if not 0 <= axis < x.type.rank or x.shape[axis] != 1))
    return make("reverse", x, axes=axes) if axes else x


def iota(dtype: DType, shape: Sequence[int], axis: int) -> Value:
    """Each element is its own position along `axis`."""
    return make("iota", dtype=dtype, shape=tuple(shape), axis=axis)


def expand_dims(x: Value, axes: Sequence[int]) -> Value:
    """`x` with extents of 1 at the places `axes` of the result."""
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in axes else next(rest) for i in range(x.type.rank + len(axes))))


# ---------------------------------------------------------------------------------------------------------- type rules


def _extents(op: str, x: TensorType, **attrs: Sequence[int]) -> None:
    for name, attr in attrs.items():
        if len(attr) != x.rank:
            raise ShapeError(f"{op} of {x} needs {x.rank} entries in {name}, one per dimension; got {tuple(attr)}")


def _axis(op: str, rank: int, axis: int) -> None:
    if not 0 <= axis < rank:
        raise ShapeError(f"{op} along dimension {axis} of a tensor with {rank} dimensions; expected 0 <= dimension < {rank}")


def _nonnegative(op: str, shape: Sequence[int]) -> None:
    if any(extent < 0 for extent in shape):
        raise ShapeError(f"{op} to the shape {tuple(shape)}, which has a negative extent")


def _infer_reshape(x: TensorType, *, shape: tuple[int, ...]) -> TensorType:
    _nonnegative("reshape", shape)
    if prod(shape) != x.size:
        raise ShapeError(f"cannot reshape {x} with {x.size} elements to {list(shape)} with {prod(shape)}; they must be equal")
    return x.with_shape(shape)


def _infer_transpose(x: TensorType, *, perm: tuple[int, ...]) -> TensorType:
    if sorted(perm) != list(range(x.rank)):
        raise ShapeError(f"transpose of {x} by {perm}: expected each of the dimensions {tuple(range(x.rank))} once")
    return x.with_shape(tuple(x.shape[i] for i in perm))


def _infer_broadcast(x: TensorType, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> TensorType:
    _nonnegative("broadcast", shape)
    _extents("broadcast", x, dims=dims)
    if any(not 0 <= d < len(shape) for d in dims) or any(a >= b for a, b in pairwise(dims)):
        raise ShapeError(f"broadcast of {x} to {list(shape)}: dims {dims} must increase within 0..{len(shape) - 1}")
    for i, d in enumerate(dims):
        if x.shape[i] not in (1, shape[d]):
            raise ShapeError(
                f"cannot broadcast {x} to {list(shape)}: dimension {i} has extent {x.shape[i]}, expected 1 or {shape[d]}"
            )
    return x.with_shape(shape)


def _infer_slice(x: TensorType, *, start: tuple[int, ...], stop: tuple[int, ...], stride: tuple[int, ...]) -> TensorType:
    _extents("slice", x, start=start, stop=stop, stride=stride)
    for i, (a, b, s, extent) in enumerate(zip(start, stop, stride, x.shape, strict=True)):
        if not (0 <= a <= b <= extent and s > 0):
            raise ShapeError(
                f"slice {a}:{b}:{s} of dimension {i} of {x}; expected 0 <= start <= stop <= {extent} and a positive stride"
            )
    return x.with_shape(tuple(-(-(b - a) // s) for a, b, s in zip(start, stop, stride, strict=True)))


def _span(extent: int, interior: int) -> int:
    """Length of `extent` elements with `interior` values between neighbours."""
    return extent + max(extent - 1, 0) * interior


def _infer_pad(
    x: TensorType, *, low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...], value: bool | int | float
) -> TensorType:
    _extents("pad", x, low=low, high=high, interior=interior)
    if any(i < 0 for i in interior):
        raise ShapeError(f"pad of {x} with interior {interior}; expected no negative entry")
    shape = tuple(a + _span(n, i) + b for n, a, b, i in zip(x.shape, low, high, interior, strict=True))
    if any(extent < 0 for extent in shape):
        raise ShapeError(f"pad of {x} by low {low} and high {high} crops more than there is: the result would be {list(shape)}")
    if not x.dtype.is_float and (value != value or value != int(value) or convert(np.array(value), x.dtype) != value):
        raise DTypeError(f"pad of {x} with {value}, which {x.dtype} cannot hold")
    return x.with_shape(shape)


def _infer_concat(*xs: TensorType, axis: int) -> TensorType:
    if not xs:
        raise ShapeError("concat needs at least one tensor")
    first = xs[0]
    _axis("concat", first.rank, axis)
    for x in xs[1:]:
        if x.dtype is not first.dtype:
            raise DTypeError(f"concat of {first} with {x}: the element types must be equal; cast one of them")
        if x.rank != first.rank or any(a != b for i, (a, b) in enumerate(zip(x.shape, first.shape, strict=True)) if i != axis):
            raise ShapeError(f"concat of {first} with {x} along dimension {axis}: all other dimensions must be equal")
    return first.with_shape((*first.shape[:axis], sum(x.shape[axis] for x in xs), *first.shape[axis + 1 :]))


def _infer_reverse(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    for axis in axes:
        _axis("reverse", x.rank, axis)
    return x


def _infer_iota(*, dtype: DType, shape: tuple[int, ...], axis: int) -> TensorType:
    if dtype.is_bool:
        raise DTypeError("iota counts; it has no bool form")
    _nonnegative("iota", shape)
    _axis("iota", len(shape), axis)
    return TensorType(dtype, shape)


# ------------------------------------------------------------------------------------------------- elements, references


def _element_reshape(node: Value, index: Index, reader: Reader) -> Expr:
    return reader.read(0, unravel(ravel(map(as_index, index), node.shape), node.operands[0].shape))


def _element_transpose(node: Value, index: Index, reader: Reader) -> Expr:
    source = dict(zip(node.attrs["perm"], index, strict=True))
    return reader.read(0, tuple(source[i] for i in range(len(index))))


def _element_broadcast(node: Value, index: Index, reader: Reader) -> Expr:
    extents = node.operands[0].shape
    return reader.read(0, tuple(as_index(0) if n == 1 else index[d] for n, d in zip(extents, node.attrs["dims"], strict=True)))


def _element_slice(node: Value, index: Index, reader: Reader) -> Expr:
    return reader.read(0, tuple(i * s + a for i, a, s in zip(index, node.attrs["start"], node.attrs["stride"], strict=True)))


def _element_pad(node: Value, index: Index, reader: Reader) -> Expr:
    guards: list[Expr | None] = []
    source: list[Expr] = []
    attrs = node.attrs
    for i, n, low, interior in zip(index, node.operands[0].shape, attrs["low"], attrs["interior"], strict=True):
        place, step = as_index(i) - low, interior + 1
        guards += [place >= 0, place < _span(n, interior)]
        if interior:
            guards.append((place % step).equals(0))
        source.append(place // step)
    guard = all_of(*guards)
    element = reader.read(0, tuple(source), guard)
    return element if guard is None else select(guard, element, lift(attrs["value"], node.dtype))


def _element_concat(node: Value, index: Index, reader: Reader) -> Expr:
    axis, result, first = node.attrs["axis"], None, 0
    for number, x in enumerate(node.operands):
        extent = x.shape[axis]
        if extent == 0:
            continue
        place = as_index(index[axis]) - first
        guard = all_of(place >= 0, place < extent)
        element = reader.read(number, (*index[:axis], place, *index[axis + 1 :]), guard)
        result = element if result is None else select(index[axis] >= first, element, result)
        first += extent
    assert result is not None, "an element of an empty concat was asked for"
    return result


def _element_reverse(node: Value, index: Index, reader: Reader) -> Expr:
    axes = node.attrs["axes"]
    return reader.read(0, tuple(node.shape[i] - 1 - as_index(x) if i in axes else x for i, x in enumerate(index)))


def _element_iota(node: Value, index: Index, reader: Reader) -> Expr:
    return convert_expr(index[node.attrs["axis"]], node.dtype)


def _broadcast(x: np.ndarray, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> np.ndarray:
    aligned = x.reshape([x.shape[dims.index(d)] if d in dims else 1 for d in range(len(shape))])
    return np.broadcast_to(aligned, shape)


def _pad(x: np.ndarray, *, low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...], value: float) -> np.ndarray:
    spans = [_span(n, i) for n, i in zip(x.shape, interior, strict=True)]
    spread = np.full(
        [max(a, 0) + s + max(b, 0) for s, a, b in zip(spans, low, high, strict=True)], np.array(value).astype(x.dtype)
    )
    inside = zip(spans, low, interior, strict=True)
    spread[tuple(slice(max(a, 0), max(a, 0) + s, i + 1) for s, a, i in inside)] = x
    ends = zip(spread.shape, low, high, strict=True)
    return spread[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, a, b in ends)]


def _iota(*, dtype: DType, shape: tuple[int, ...], axis: int) -> np.ndarray:
    places = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(convert(places, dtype), shape)


# ----------------------------------------------------------------------------------------------------------- gradients


def _gradient_transpose(node: Value, ct: Value) -> list[Value | None]:
    perm = node.attrs["perm"]
    return [transpose(ct, tuple(perm.index(i) for i in range(len(perm))))]


def _gradient_broadcast(node: Value, ct: Value) -> list[Value | None]:
    (x,), dims = node.operands, node.attrs["dims"]
    same = {d for n, d in zip(x.shape, dims, strict=True) if n == node.shape[d]}
    axes = tuple(d for d in range(len(node.shape)) if d not in same)
    return [reshape(make("reduce_sum", ct, axes=axes) if axes else ct, x.shape)]


def _gradient_slice(node: Value, ct: Value) -> list[Value | None]:
    (x,), start, stride = node.operands, node.attrs["start"], node.attrs["stride"]
    interior = tuple(s - 1 for s in stride)
    spans = (_span(n, i) for n, i in zip(node.shape, interior, strict=True))
    high = tuple(extent - a - s for extent, a, s in zip(x.shape, start, spans, strict=True))
    return [pad(ct, start, high, interior)]


def _gradient_pad(node: Value, ct: Value) -> list[Value | None]:
    attrs = node.attrs
    cropped = pad(ct, tuple(-a for a in attrs["low"]), tuple(-b for b in attrs["high"]))
    return [slice_(cropped, (0,) * len(cropped.shape), cropped.shape, tuple(i + 1 for i in attrs["interior"]))]


def _gradient_concat(node: Value, ct: Value) -> list[Value | None]:
    axis, first, parts = node.attrs["axis"], 0, list[Value | None]()
    for x in node.operands:
        start = tuple(first if i == axis else 0 for i in range(len(ct.shape)))
        first += x.shape[axis]
        parts.append(slice_(ct, start, tuple(first if i == axis else n for i, n in enumerate(ct.shape))))
    return parts


# ------------------------------------------------------------------------------------------------------------- records


def _ramp(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return (np.arange(prod(shape)) - 2).astype(dtype).reshape(shape)


def _each(*attrs: dict[str, Any], shape: tuple[int, ...] = (2, 3, 4)) -> Iterator[Sample]:
    for dtype in (np.float32, np.int16):
        yield from (Sample((_ramp(*shape, dtype=dtype),), a) for a in attrs)


register(
    Op(
        "reshape",
        infer=_infer_reshape,
        reference=lambda x, *, shape: x.reshape(shape),
        gradient=lambda node, ct: [reshape(ct, node.operands[0].shape)],
        lower=Pointwise(_element_reshape, view=True),
        samples=lambda: _each({"shape": (4, 6)}, {"shape": (24,)}, {"shape": (3, 1, 2, 2, 2)}, {"shape": (8, 3)}),
        doc="The same elements in row-major order, in another shape.",
    )
)
register(
    Op(
        "transpose",
        infer=_infer_transpose,
        reference=lambda x, *, perm: x.transpose(perm),
        gradient=_gradient_transpose,
        lower=Pointwise(_element_transpose, view=True),
        samples=lambda: _each({"perm": (2, 0, 1)}, {"perm": (1, 0, 2)}, {"perm": (0, 1, 2)}),
        doc="Result dimension i is operand dimension perm[i].",
    )
)
register(
    Op(
        "broadcast",
        infer=_infer_broadcast,
        reference=_broadcast,
        gradient=_gradient_broadcast,
        lower=Pointwise(_element_broadcast, view=True),
        samples=lambda: [
            *_each({"shape": (2, 3, 4), "dims": (0, 1)}, {"shape": (5, 2, 3), "dims": (1, 2)}, shape=(2, 3)),
            *_each({"shape": (4, 3, 2), "dims": (1, 2)}, {"shape": (3, 2), "dims": (0, 1)}, shape=(3, 1)),
            *_each({"shape": (2, 3), "dims": ()}, shape=()),
        ],
        doc="Operand dimension i becomes result dimension dims[i]; extents of 1 and missing dimensions are repeated.",
    )
)
register(
    Op(
        "slice",
        infer=_infer_slice,
        reference=lambda x, *, start, stop, stride: x[tuple(map(slice, start, stop, stride))],
        gradient=_gradient_slice,
        lower=Pointwise(_element_slice, view=True),
        samples=lambda: _each(
            {"start": (1, 2), "stop": (4, 6), "stride": (1, 1)},
            {"start": (0, 1), "stop": (5, 6), "stride": (2, 3)},
            {"start": (2, 0), "stop": (2, 7), "stride": (1, 4)},
            shape=(5, 7),
        ),
        doc="x[start:stop:stride] in every dimension, within bounds, with positive strides.",
    )
)
register(
    Op(
        "pad",
        infer=_infer_pad,
        reference=_pad,
        gradient=_gradient_pad,
        lower=Pointwise(_element_pad, view=True),
        samples=lambda: _each(
            {"low": (1, 0), "high": (2, 3), "interior": (0, 0), "value": 0},
            {"low": (0, 2), "high": (1, 0), "interior": (1, 2), "value": -7},
            {"low": (-1, 1), "high": (1, -2), "interior": (0, 1), "value": 5},
            {"low": (-2, 0), "high": (-2, -1), "interior": (1, 0), "value": 1},
            shape=(3, 5),
        ),
        doc="`interior` values between neighbours, then low and high values at the ends; negative ones crop.",
    )
)
register(
    Op(
        "concat",
        infer=_infer_concat,
        reference=lambda *xs, axis: np.concatenate(xs, axis),
        gradient=_gradient_concat,
        lower=Pointwise(_element_concat, view=True),
        samples=lambda: [
            Sample((_ramp(2, 3), _ramp(2, 1), _ramp(2, 0), _ramp(2, 4)), {"axis": 1}),
            Sample((_ramp(2, 3), _ramp(5, 3)), {"axis": 0}),
            Sample((_ramp(2, 3, dtype=np.int64), _ramp(4, 3, dtype=np.int64)), {"axis": 0}),
        ],
        doc="The operands one after another along an axis.",
    )
)
register(
    Op(
        "reverse",
        infer=_infer_reverse,
        reference=lambda x, *, axes: np.flip(x, axes),
        gradient=lambda node, ct: [reverse(ct, node.attrs["axes"])],
        lower=Pointwise(_element_reverse, view=True),
        samples=lambda: _each({"axes": (0,)}, {"axes": (0, 2)}, {"axes": (1, 2)}),
        doc="The order along `axes` turned round.",
    )
)
register(
    Op(
        "iota",
        infer=_infer_iota,
        reference=_iota,
        gradient="it has no operands",
        lower=Pointwise(_element_iota),
        samples=lambda: [Sample((), {"dtype": d, "shape": (3, 4, 2), "axis": axis}) for d in DTYPES[1:] for axis in (0, 1)],
        doc="Each element is its own position along `axis`, in the element type's own arithmetic (small integers wrap).",
    )
)
