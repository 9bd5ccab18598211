"""Ops that cut tensors and join them: slice, pad, concat.

In: values and one attribute entry per dimension. Out: records, and builders that return their operand itself when
nothing would change. Padding is general (edges, between neighbours, negative to crop), so that slices with strides and
pads are each other's gradient. Imported from `shape`, which holds the other ops that only move elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite, prod
from numbers import Integral
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, all_of, as_index, lift, select
from ..ir.op import Index, Op, Pointwise, Reader, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .convert import convert

# ------------------------------------------------------------------------------------------------------------ builders


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


# ---------------------------------------------------------------------------------------------------------- type rules


def check_entries(op: str, x: TensorType, **attrs: Sequence[int]) -> None:
    """Each of `attrs` has one entry per dimension of `x`, an int."""
    for name, attr in attrs.items():
        if not all(isinstance(entry, Integral) for entry in attr):
            raise ShapeError(f"{op} of {x}: {name} must be ints, got {tuple(attr)}")
        if len(attr) != x.rank:
            raise ShapeError(f"{op} of {x} needs {x.rank} entries in {name}, one per dimension; got {tuple(attr)}")


def check_axis(op: str, rank: int, axis: int) -> None:
    """`axis` is one of `rank` dimensions."""
    if not 0 <= axis < rank:
        raise ShapeError(f"{op} along dimension {axis} of a tensor with {rank} dimensions; expected 0 <= dimension < {rank}")


def _infer_slice(x: TensorType, *, start: tuple[int, ...], stop: tuple[int, ...], stride: tuple[int, ...]) -> TensorType:
    check_entries("slice", x, start=start, stop=stop, stride=stride)
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
    check_entries("pad", x, low=low, high=high, interior=interior)
    if any(i < 0 for i in interior):
        raise ShapeError(f"pad of {x} with interior {interior}; expected no negative entry")
    shape = tuple(a + _span(n, i) + b for n, a, b, i in zip(x.shape, low, high, interior, strict=True))
    if any(extent < 0 for extent in shape):
        raise ShapeError(f"pad of {x} by low {low} and high {high} crops more than there is: the result would be {list(shape)}")
    if not x.dtype.is_float and not (isfinite(value) and convert(np.array(value), x.dtype) == value):
        raise DTypeError(f"pad of {x} with {value}, which {x.dtype} cannot hold")
    return x.with_shape(shape)


def _infer_concat(*xs: TensorType, axis: int) -> TensorType:
    if not xs:
        raise ShapeError("concat needs at least one tensor")
    first = xs[0]
    check_axis("concat", first.rank, axis)
    for x in xs[1:]:
        if x.dtype is not first.dtype:
            raise DTypeError(f"concat of {first} with {x}: the element types must be equal; cast one of them")
        if x.rank != first.rank or any(a != b for i, (a, b) in enumerate(zip(x.shape, first.shape, strict=True)) if i != axis):
            raise ShapeError(f"concat of {first} with {x} along dimension {axis}: all other dimensions must be equal")
    return first.with_shape((*first.shape[:axis], sum(x.shape[axis] for x in xs), *first.shape[axis + 1 :]))


# ------------------------------------------------------------------------------------------------- elements, references


def _element_slice(node: Value, index: Index, reader: Reader) -> Expr:
    return reader.read(0, tuple(i * s + a for i, a, s in zip(index, node.attrs["start"], node.attrs["stride"], strict=True)))


def _element_pad(node: Value, index: Index, reader: Reader) -> Expr:
    guards: list[Expr | None] = []
    source: list[Expr] = []
    attrs = node.attrs
    for i, n, low, interior in zip(index, node.operands[0].shape, attrs["low"], attrs["interior"], strict=True):
        place, step = as_index(i) - low, interior + 1
        guards += [place >= 0, place < n * step]
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


def _pad(x: np.ndarray, *, low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...], value: float) -> np.ndarray:
    spans = [_span(n, i) for n, i in zip(x.shape, interior, strict=True)]
    spread = np.full(
        [max(a, 0) + s + max(b, 0) for s, a, b in zip(spans, low, high, strict=True)], np.array(value).astype(x.dtype)
    )
    inside = zip(spans, low, interior, strict=True)
    spread[tuple(slice(max(a, 0), max(a, 0) + s, i + 1) for s, a, i in inside)] = x
    ends = zip(spread.shape, low, high, strict=True)
    return spread[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, a, b in ends)]


# ----------------------------------------------------------------------------------------------------------- gradients


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


def ramp(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """All different numbers, from -2."""
    return (np.arange(prod(shape)) - 2).astype(dtype).reshape(shape)


def each(*attrs: dict[str, Any], shape: tuple[int, ...] = (2, 3, 4)) -> Iterator[Sample]:
    """A float and an integer sample of `shape` for each of `attrs`."""
    for dtype in (np.float32, np.int16):
        yield from (Sample((ramp(*shape, dtype=dtype),), a) for a in attrs)


register(
    Op(
        "slice",
        infer=_infer_slice,
        reference=lambda x, *, start, stop, stride: x[tuple(map(slice, start, stop, stride))],
        gradient=_gradient_slice,
        lower=Pointwise(_element_slice, view=True),
        samples=lambda: each(
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
        samples=lambda: each(
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
            Sample((ramp(2, 3), ramp(2, 1), ramp(2, 0), ramp(2, 4)), {"axis": 1}),
            Sample((ramp(2, 3), ramp(5, 3)), {"axis": 0}),
            Sample((ramp(2, 3, dtype=np.int64), ramp(4, 3, dtype=np.int64)), {"axis": 0}),
        ],
        doc="The operands one after another along an axis.",
    )
)
