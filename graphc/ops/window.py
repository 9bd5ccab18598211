"""Pooling windows: `reduce_window`, and `window_spread`, which differentiates its sum.

In: a value and, for every dimension (1 where nothing is windowed), window, stride, padding and dilation. Out: one element
per window position; or, of one element per window position, its sum over all windows that hold an element of what they swept.
How the maximum is differentiated is in `window_choice`. Averages are sums divided by counts and no primitive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from ..dtype import dtype
from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, cast
from ..ir.kernel import COMBINES
from ..ir.op import Index, Reader, Sample
from ..ir.types import TensorType
from ..ir.values import Value, full, make
from .geometry import Padding
from .window_choice import window_argmax, window_scatter
from .window_geometry import (
    check_positions,
    counts,
    geometry_of,
    meetings,
    or_else,
    read_under,
    register_pointwise,
    sample_arrays,
    taps,
    window_attrs,
)

_COMBINES = {"max": "max", "sum": "add"}  # kind -> key of COMBINES


def reduce_window(
    x: Value,
    *,
    window: Sequence[int],
    kind: str,
    strides: Sequence[int] | None = None,
    padding: Sequence[Padding] | None = None,
    dilation: Sequence[int] | None = None,
) -> Value:
    """The maximum or sum of `x` in each window; strides default to the window, as in PyTorch's pooling.

    Padding holds the neutral element of `kind`. Definition: https://openxla.org/xla/operation_semantics#reducewindow
    """
    return make("reduce_window", x, **window_attrs(window, strides, padding, dilation), kind=kind)


def window_spread(dy: Value, *, shape: Sequence[int], **attrs: Any) -> Value:
    """A tensor of `shape` with the sum of `dy` over all windows that hold an element: the transpose of reduce_window's sum."""
    return make("window_spread", dy, shape=tuple(shape), **attrs)


# ---------------------------------------------------------------------------------------------------------- type rules


def _infer_reduce(x: TensorType, *, kind: str, **attrs: Any) -> TensorType:
    if kind not in _COMBINES:
        raise ShapeError(f"reduce_window of kind {kind!r}; expected one of {', '.join(_COMBINES)}")
    if x.dtype.is_bool:
        raise DTypeError(f"reduce_window takes numbers, got {x}; cast it first")
    return x.with_shape(check_positions("reduce_window", x, attrs))


def _infer_spread(dy: TensorType, *, shape: tuple[int, ...], **attrs: Any) -> TensorType:
    result = dy.with_shape(shape)
    if dy.dtype.is_bool:
        raise DTypeError(f"window_spread takes numbers, got {dy}; cast it first")
    expected = check_positions("window_spread", result, attrs)
    if dy.shape != expected:
        raise ShapeError(f"window_spread: the windows over {result} have {list(expected)} positions; got {list(dy.shape)}")
    return result


# ---------------------------------------------------------------------------------------------------------- references


def _reference_reduce(x: np.ndarray, *, kind: str, **attrs: Any) -> np.ndarray:
    wide, fold = dtype(x.dtype).accumulator, np.maximum if kind == "max" else np.add
    neutral = np.array(COMBINES[_COMBINES[kind]](wide)).astype(wide.numpy)
    result = np.full(counts(x.shape, attrs), neutral)
    for _, inside, places in taps(x.shape, attrs) if x.size else ():
        result = fold(result, np.where(inside, x[places].astype(wide.numpy), neutral))
    return result.astype(x.dtype)


def _reference_spread(dy: np.ndarray, *, shape: tuple[int, ...], **attrs: Any) -> np.ndarray:
    result = np.zeros(shape, dtype(dy.dtype).accumulator.numpy)
    for _, inside, places in taps(shape, attrs) if result.size else ():
        np.add.at(result, places, np.where(inside, dy, 0).astype(result.dtype))
    return result.astype(dy.dtype)


# ------------------------------------------------------------------------------------------------------------ elements


def _element_reduce(node: Value, index: Index, reader: Reader) -> Expr:
    combine = _COMBINES[node.attrs["kind"]]
    wide = node.dtype.accumulator if combine == "add" else node.dtype

    def term(tap: Index) -> Expr:
        element, guard = read_under(node, index, tap, reader)
        return cast(or_else(guard, element, COMBINES[combine](node.dtype)), wide)

    return cast(reader.reduce(combine, node.attrs["window"], wide, term), node.dtype)


def _element_spread(node: Value, index: Index, reader: Reader) -> Expr:
    extents, meet = meetings(node, index)
    wide = node.dtype.accumulator

    def term(step: Index) -> Expr:
        _, position, guard = meet(step)
        return cast(or_else(guard, reader.read(0, position, guard), 0), wide)

    return cast(reader.reduce("add", extents, wide, term), node.dtype)


# ----------------------------------------------------------------------------------------------------------- gradients


def _gradient_reduce(node: Value, ct: Value) -> list[Value | None]:
    """max: the cotangent goes to the first greatest element.    sum: each element collects the windows that saw it."""
    (x,) = node.operands
    attrs = geometry_of(node)
    if x.type.size == 0:
        return [full(x.type, 0)]
    if node.attrs["kind"] == "max":
        return [window_scatter(ct, window_argmax(x, **attrs), shape=x.shape, **attrs)]
    return [window_spread(ct, shape=x.shape, **attrs)]


def _gradient_spread(node: Value, ct: Value) -> list[Value | None]:
    """y = each element's sum of the windows of x that hold it      dx = sum of ct in each window."""
    return [reduce_window(ct, kind="sum", **geometry_of(node))]


# ------------------------------------------------------------------------------------------------------------- samples


def _samples_reduce() -> Iterator[Sample]:
    for x, attrs in sample_arrays():
        yield from (Sample((x,), attrs | {"kind": kind}) for kind in _COMBINES)


def _samples_spread() -> Iterator[Sample]:
    for x, attrs in sample_arrays():
        dy = np.arange(prod(counts(x.shape, attrs))).reshape(counts(x.shape, attrs)).astype(x.dtype)
        yield Sample((dy,), attrs | {"shape": x.shape})


register_pointwise("reduce_window", "The maximum or sum of each window.",
          _infer_reduce, _reference_reduce, _gradient_reduce, _element_reduce, _samples_reduce)  # fmt: skip
register_pointwise("window_spread", "Add up at all elements of each window.",
          _infer_spread, _reference_spread, _gradient_spread, _element_spread, _samples_spread)  # fmt: skip
