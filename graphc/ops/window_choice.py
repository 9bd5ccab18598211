"""Which element of each window is the greatest: the three ops that differentiate the maximum.

In: a value and, for every dimension, window, stride, padding and dilation. Out: `window_argmax` names the chosen element of
each window by its flat offset inside the window; `window_scatter` adds cotangents up at the chosen elements and
`window_gather` reads them, each the transpose of the other, so the maximum can be differentiated any number of times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from ..dtype import DType, bool_, dtype, int32, int64, uint8
from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, all_of, as_index, call, cast, const, ravel, select, unravel
from ..ir.kernel import COMBINES
from ..ir.op import Index, Reader, Sample
from ..ir.types import TensorType
from ..ir.values import Value, make
from .geometry import Padding
from .window_geometry import (
    NOWHERE,
    check_positions,
    counts,
    geometry_of,
    inside_of,
    meetings,
    or_else,
    place_under,
    read_under,
    register_pointwise,
    sample_arrays,
    taps,
    window_attrs,
)


def window_argmax(
    x: Value,
    *,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Sequence[Padding] | None = None,
    dilation: Sequence[int] | None = None,
) -> Value:
    """Offset, row-major inside the window, of the first element of `x` that is NaN or the maximum: uint8 where all offsets in a
    window fit, else int32.

    Padding is never chosen; a window wholly in padding gives 0.
    """
    return make("window_argmax", x, **window_attrs(window, strides, padding, dilation))


def window_scatter(dy: Value, offsets: Value, *, shape: Sequence[int], **attrs: Any) -> Value:
    """A tensor of `shape` with the sum of `dy` at the elements that `offsets` (from window_argmax) chose."""
    return make("window_scatter", dy, offsets, shape=tuple(shape), **attrs)


def window_gather(x: Value, offsets: Value, **attrs: Any) -> Value:
    """The element of `x` that `offsets` chose in each window; 0 where the offset leaves `x` or the window."""
    return make("window_gather", x, offsets, **attrs)


# ---------------------------------------------------------------------------------------------------------- type rules


def _infer_argmax(x: TensorType, **attrs: Any) -> TensorType:
    if x.dtype.is_bool:
        raise DTypeError(f"window_argmax takes numbers, got {x}; cast it first")
    return TensorType(_offset_type(attrs["window"]), check_positions("window_argmax", x, attrs))


def _offset_type(window: Sequence[int]) -> DType:
    """What holds the offsets inside a window, which a backward pass keeps, in as few bytes as may be."""
    return uint8 if prod(window) <= 256 else int32


def _infer_scatter(dy: TensorType, offsets: TensorType, *, shape: tuple[int, ...], **attrs: Any) -> TensorType:
    result = dy.with_shape(shape)
    _check_offsets("window_scatter", result, dy.shape, offsets, attrs)
    return result


def _infer_gather(x: TensorType, offsets: TensorType, **attrs: Any) -> TensorType:
    _check_offsets("window_gather", x, offsets.shape, offsets, attrs)
    return x.with_shape(offsets.shape)


def _check_offsets(op: str, x: TensorType, shape: tuple[int, ...], offsets: TensorType, attrs: dict[str, Any]) -> None:
    if offsets.dtype not in (uint8, int32):
        raise DTypeError(f"{op} takes the uint8 or int32 offsets of window_argmax, got {offsets}")
    if x.dtype.is_bool:
        raise DTypeError(f"{op} takes numbers, got {x}; cast it first")
    expected = check_positions(op, x, attrs)
    if not shape == offsets.shape == expected:
        raise ShapeError(f"{op}: the windows over {x} have {list(expected)} positions; got {list(shape)} and offsets {offsets}")


# ---------------------------------------------------------------------------------------------------------- references


def _reference_argmax(x: np.ndarray, **attrs: Any) -> np.ndarray:
    best = np.zeros(counts(x.shape, attrs), dtype(x.dtype).accumulator.numpy)
    offsets = np.full(best.shape, NOWHERE, np.int32)
    for flat, inside, places in taps(x.shape, attrs) if x.size else ():
        element = x[places].astype(best.dtype)
        better = inside & ((offsets == NOWHERE) | (element > best) | ((element != element) & (best == best)))
        best, offsets = np.where(better, element, best), np.where(better, np.int32(flat), offsets)
    return np.where(offsets == NOWHERE, np.int32(0), offsets).astype(_offset_type(attrs["window"]).numpy)


def _reference_scatter(dy: np.ndarray, offsets: np.ndarray, *, shape: tuple[int, ...], **attrs: Any) -> np.ndarray:
    result = np.zeros(shape, dtype(dy.dtype).accumulator.numpy)
    for flat, inside, places in taps(shape, attrs) if result.size else ():
        chosen = inside & (offsets == flat)
        np.add.at(result, places, np.where(chosen, dy, 0).astype(result.dtype))
    return result.astype(dy.dtype)


def _reference_gather(x: np.ndarray, offsets: np.ndarray, **attrs: Any) -> np.ndarray:
    result = np.zeros(offsets.shape, x.dtype)
    for flat, inside, places in taps(x.shape, attrs) if x.size else ():
        result = np.where(inside & (offsets == flat), x[places], result)
    return result


# ------------------------------------------------------------------------------------------------------------ elements


def _element_argmax(node: Value, index: Index, reader: Reader) -> Expr:
    x = node.operands[0].type

    def value(tap: Index) -> Expr:
        element, guard = read_under(node, index, tap, reader)
        return or_else(guard, element, COMBINES["max"](x.dtype))

    greatest = reader.reduce("max", node.attrs["window"], x.dtype, value)

    def place(tap: Index) -> Expr:
        element, guard = read_under(node, index, tap, reader)
        chosen = element.equals(greatest)
        if x.dtype.is_float:
            chosen = call("or", chosen, call("isnan", element))
        return select(_both(guard, chosen), _flat(tap, node.attrs["window"]), NOWHERE)

    first = reader.reduce("min", node.attrs["window"], int32, place)
    return cast(select(first.equals(NOWHERE), 0, first), node.dtype)


def _both(guard: Expr | None, condition: Expr) -> Expr:
    return all_of(guard, condition) or const(True, bool_)


def _flat(tap: Index, window: Sequence[int]) -> Expr:
    flat = ravel(map(as_index, tap), tuple(window))
    return const(flat.low, int32) if flat.low == flat.high else cast(flat, int32)


def _element_scatter(node: Value, index: Index, reader: Reader) -> Expr:
    extents, meet = meetings(node, index)
    wide = node.dtype.accumulator

    def term(step: Index) -> Expr:
        tap, position, guard = meet(step)
        chosen = _both(guard, cast(reader.read(1, position, guard), int32).equals(_flat(tap, node.attrs["window"])))
        return cast(select(chosen, reader.read(0, position, guard), 0), wide)

    return cast(reader.reduce("add", extents, wide, term), node.dtype)


def _element_gather(node: Value, index: Index, reader: Reader) -> Expr:
    window = node.attrs["window"]
    flat = as_index(cast(reader.read(1, index), int64))
    place = place_under(node, index, unravel(flat, window))
    guard = all_of(flat >= 0, flat < prod(window), inside_of(place, node.operands[0].shape))
    return or_else(guard, reader.read(0, place, guard), 0)


# ----------------------------------------------------------------------------------------------------------- gradients


def _gradient_scatter(node: Value, ct: Value) -> list[Value | None]:
    """dx = sum of dy at the chosen elements      ddy = the chosen elements of ct."""
    return [window_gather(ct, node.operands[1], **geometry_of(node)), None]


def _gradient_gather(node: Value, ct: Value) -> list[Value | None]:
    """y = the chosen elements of x      dx = sum of ct at the chosen elements."""
    x, offsets = node.operands
    return [window_scatter(ct, offsets, shape=x.shape, **geometry_of(node)), None]


# ------------------------------------------------------------------------------------------------------------- samples


def _samples_argmax() -> Iterator[Sample]:
    for x, attrs in sample_arrays():
        yield Sample((x,), attrs)
        yield Sample((np.round(x.astype(np.float64) / 4).astype(x.dtype),), attrs)  # ties


def _samples_scatter() -> Iterator[Sample]:
    for x, attrs in sample_arrays():
        offsets = _reference_argmax(x, **attrs)
        dy = np.arange(offsets.size).reshape(offsets.shape).astype(x.dtype)
        yield Sample((dy, offsets), attrs | {"shape": x.shape})


def _samples_gather() -> Iterator[Sample]:
    for x, attrs in sample_arrays():
        yield Sample((x, _reference_argmax(x, **attrs)), attrs)


register_pointwise("window_argmax", "Where in each window the first maximum is.",
          _infer_argmax, _reference_argmax, "its result is an integer", _element_argmax, _samples_argmax)  # fmt: skip
register_pointwise("window_scatter", "Add up at the chosen element of each window.",
          _infer_scatter, _reference_scatter, _gradient_scatter, _element_scatter, _samples_scatter)  # fmt: skip
register_pointwise("window_gather", "Read the chosen element of each window.",
          _infer_gather, _reference_gather, _gradient_gather, _element_gather, _samples_gather)  # fmt: skip
