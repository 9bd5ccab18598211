"""Pooling windows: `reduce_window` and the three ops that differentiate its maximum.

In: a value and, for every dimension (1 where nothing is windowed), window, stride, padding and dilation. Out: one element
per window position. `window_argmax` names the chosen element of each window by its flat offset inside the window;
`window_scatter` adds cotangents up at the chosen elements and `window_gather` reads them, each the transpose of the other,
so the maximum can be differentiated any number of times. Averages are sums divided by counts and no primitive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..dtype import DType, bool_, dtype, int32, int64, uint8
from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, all_of, as_index, call, cast, const, ravel, select, unravel
from ..ir.kernel import COMBINES
from ..ir.op import Index, Op, Pointwise, Reader, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, full, make
from .geometry import Padding, Sweep
from .shape import pad

_COMBINES = {"max": "max", "sum": "add"}  # kind -> key of COMBINES
_NOWHERE = 2**31 - 1  # greater than any offset inside a window

# ------------------------------------------------------------------------------------------------------------ builders


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
    return make("reduce_window", x, **_attrs(window, strides, padding, dilation), kind=kind)


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
    return make("window_argmax", x, **_attrs(window, strides, padding, dilation))


def window_scatter(dy: Value, offsets: Value, *, shape: Sequence[int], **attrs: Any) -> Value:
    """A tensor of `shape` with the sum of `dy` at the elements that `offsets` (from window_argmax) chose."""
    return make("window_scatter", dy, offsets, shape=tuple(shape), **attrs)


def window_gather(x: Value, offsets: Value, **attrs: Any) -> Value:
    """The element of `x` that `offsets` chose in each window; 0 where the offset leaves `x` or the window."""
    return make("window_gather", x, offsets, **attrs)


def _attrs(window: Sequence[int], strides: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    return {
        "window": tuple(window),
        "strides": tuple(strides or window),
        "padding": tuple((low, high) for low, high in padding or [(0, 0)] * len(window)),
        "dilation": tuple(dilation or [1] * len(window)),
    }


# ---------------------------------------------------------------------------------------------------------- type rules


def _sweeps(shape: Sequence[int], attrs: dict[str, Any]) -> list[Sweep]:
    """The geometry of each dimension."""
    return [Sweep(*row) for row in zip(shape, *(attrs[k] for k in ("window", "strides", "padding", "dilation")), strict=True)]


def _positions(op: str, x: TensorType, attrs: dict[str, Any]) -> tuple[int, ...]:
    """The shape of the result: how often each dimension's window fits."""
    for name in ("window", "strides", "padding", "dilation"):
        if len(attrs[name]) != x.rank:
            raise ShapeError(f"{op} of {x}: {name}={attrs[name]} needs {x.rank} entries, one per dimension")
        if name != "padding" and min(attrs[name], default=1) < 1:
            raise ShapeError(f"{op} of {x}: each entry of {name}={attrs[name]} must be at least 1")
    if prod(attrs["window"]) >= _NOWHERE:
        raise ShapeError(f"{op} of {x}: a window of {prod(attrs['window'])} elements; it must have fewer than {_NOWHERE}")
    sweeps = _sweeps(x.shape, attrs)
    for i, sweep in enumerate(sweeps):
        if sweep.count == 0:
            raise ShapeError(
                f"{op} of {x}: in dimension {i} the window spans {sweep.span} elements and the padded operand has "
                f"{sweep.padded}; pad by at least {sweep.span - sweep.padded} more or shrink the window"
            )
    return tuple(sweep.count for sweep in sweeps)


def _infer_reduce(x: TensorType, *, kind: str, **attrs: Any) -> TensorType:
    if kind not in _COMBINES:
        raise ShapeError(f"reduce_window of kind {kind!r}; expected one of {', '.join(_COMBINES)}")
    if x.dtype.is_bool:
        raise DTypeError(f"reduce_window takes numbers, got {x}; cast it first")
    return x.with_shape(_positions("reduce_window", x, attrs))


def _infer_argmax(x: TensorType, **attrs: Any) -> TensorType:
    if x.dtype.is_bool:
        raise DTypeError(f"window_argmax takes numbers, got {x}; cast it first")
    return TensorType(_offset_type(attrs["window"]), _positions("window_argmax", x, attrs))


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
    expected = _positions(op, x, attrs)
    if not shape == offsets.shape == expected:
        raise ShapeError(f"{op}: the windows over {x} have {list(expected)} positions; got {list(shape)} and offsets {offsets}")


# ---------------------------------------------------------------------------------------------------------- references


def _taps(shape: Sequence[int], attrs: dict[str, Any]) -> Iterator[tuple[int, np.ndarray, tuple[np.ndarray, ...]]]:
    """For each tap of the window, row-major: its flat offset, which window positions see an element of x through it,
    and the (clamped) index of this element for every position."""
    sweeps = _sweeps(shape, attrs)
    for flat, tap in enumerate(product(*map(range, attrs["window"]))):
        lines = [sweep.place(np.arange(sweep.count), k) for sweep, k in zip(sweeps, tap, strict=True)]
        inside = [(line >= 0) & (line < n) for line, n in zip(lines, shape, strict=True)]
        places = np.ix_(*(line.clip(0, max(n - 1, 0)) for line, n in zip(lines, shape, strict=True)))
        yield flat, _all(inside), places


def _all(lines: list[np.ndarray]) -> np.ndarray:
    """The outer conjunction of one bool line per dimension."""
    return np.asarray(reduce(np.logical_and, np.meshgrid(*lines, indexing="ij", sparse=True), np.True_))


def _counts(shape: Sequence[int], attrs: dict[str, Any]) -> tuple[int, ...]:
    return tuple(s.count for s in _sweeps(shape, attrs))


def _reference_reduce(x: np.ndarray, *, kind: str, **attrs: Any) -> np.ndarray:
    wide, fold = dtype(x.dtype).accumulator, np.maximum if kind == "max" else np.add
    neutral = np.array(COMBINES[_COMBINES[kind]](wide)).astype(wide.numpy)
    result = np.full(_counts(x.shape, attrs), neutral)
    for _, inside, places in _taps(x.shape, attrs) if x.size else ():
        result = fold(result, np.where(inside, x[places].astype(wide.numpy), neutral))
    return result.astype(x.dtype)


def _reference_argmax(x: np.ndarray, **attrs: Any) -> np.ndarray:
    best = np.zeros(_counts(x.shape, attrs), dtype(x.dtype).accumulator.numpy)
    offsets = np.full(best.shape, _NOWHERE, np.int32)
    for flat, inside, places in _taps(x.shape, attrs) if x.size else ():
        element = x[places].astype(best.dtype)
        better = inside & ((offsets == _NOWHERE) | (element > best) | ((element != element) & (best == best)))
        best, offsets = np.where(better, element, best), np.where(better, np.int32(flat), offsets)
    return np.where(offsets == _NOWHERE, np.int32(0), offsets).astype(_offset_type(attrs["window"]).numpy)


def _reference_scatter(dy: np.ndarray, offsets: np.ndarray, *, shape: tuple[int, ...], **attrs: Any) -> np.ndarray:
    result = np.zeros(shape, dtype(dy.dtype).accumulator.numpy)
    for flat, inside, places in _taps(shape, attrs) if result.size else ():
        chosen = inside & (offsets == flat)
        np.add.at(result, places, np.where(chosen, dy, 0).astype(result.dtype))
    return result.astype(dy.dtype)


def _reference_gather(x: np.ndarray, offsets: np.ndarray, **attrs: Any) -> np.ndarray:
    result = np.zeros(offsets.shape, x.dtype)
    for flat, inside, places in _taps(x.shape, attrs) if x.size else ():
        result = np.where(inside & (offsets == flat), x[places], result)
    return result


# ------------------------------------------------------------------------------------------------------------ elements


def _inside(places: Sequence[Expr], shape: Sequence[int]) -> Expr | None:
    """The condition that a place lies within `shape`; None where it always does."""
    return all_of(*(bound for place, n in zip(places, shape, strict=True) for bound in (place >= 0, place < n)))


def _place(node: Value, index: Index, tap: Index) -> Index:
    """The element of x under a tap of the window at position `index`."""
    sweeps = _sweeps(node.operands[0].shape, node.attrs)
    return tuple(sweep.place(i, k) for sweep, i, k in zip(sweeps, index, tap, strict=True))


def _read(node: Value, index: Index, tap: Index, reader: Reader) -> tuple[Expr, Expr | None]:
    place = _place(node, index, tap)
    guard = _inside(place, node.operands[0].shape)
    return reader.read(0, place, guard), guard


def _element_reduce(node: Value, index: Index, reader: Reader) -> Expr:
    combine = _COMBINES[node.attrs["kind"]]
    wide = node.dtype.accumulator if combine == "add" else node.dtype

    def term(tap: Index) -> Expr:
        element, guard = _read(node, index, tap, reader)
        return cast(_or(guard, element, COMBINES[combine](node.dtype)), wide)

    return cast(reader.reduce(combine, node.attrs["window"], wide, term), node.dtype)


def _or(guard: Expr | None, element: Expr, otherwise: float) -> Expr:
    return element if guard is None else select(guard, element, otherwise)


def _element_argmax(node: Value, index: Index, reader: Reader) -> Expr:
    x = node.operands[0].type

    def value(tap: Index) -> Expr:
        element, guard = _read(node, index, tap, reader)
        return _or(guard, element, COMBINES["max"](x.dtype))

    greatest = reader.reduce("max", node.attrs["window"], x.dtype, value)

    def place(tap: Index) -> Expr:
        element, guard = _read(node, index, tap, reader)
        chosen = element.equals(greatest)
        if x.dtype.is_float:
            chosen = call("or", chosen, call("isnan", element))
        return select(_both(guard, chosen), _flat(tap, node.attrs["window"]), _NOWHERE)

    first = reader.reduce("min", node.attrs["window"], int32, place)
    return cast(select(first.equals(_NOWHERE), 0, first), node.dtype)


def _both(guard: Expr | None, condition: Expr) -> Expr:
    return all_of(guard, condition) or const(True, bool_)


def _flat(tap: Index, window: Sequence[int]) -> Expr:
    flat = ravel(map(as_index, tap), tuple(window))
    return const(flat.low, int32) if flat.low == flat.high else cast(flat, int32)


def _element_scatter(node: Value, index: Index, reader: Reader) -> Expr:
    wide, attrs = node.dtype.accumulator, node.attrs
    ways = [sweep.meetings(as_index(i)) for i, sweep in zip(index, _sweeps(node.shape, attrs), strict=True)]

    def term(step: Index) -> Expr:
        meetings = [meet(as_index(j)) for (_, meet), j in zip(ways, step, strict=True)]
        tap, position = tuple(m[0] for m in meetings), tuple(m[1] for m in meetings)
        guard = all_of(*(m[2] for m in meetings), _inside(position, node.operands[0].shape))
        chosen = _both(guard, cast(reader.read(1, position, guard), int32).equals(_flat(tap, attrs["window"])))
        return cast(select(chosen, reader.read(0, position, chosen), 0), wide)

    return cast(reader.reduce("add", [n for n, _ in ways], wide, term), node.dtype)


def _element_gather(node: Value, index: Index, reader: Reader) -> Expr:
    window = node.attrs["window"]
    flat = as_index(cast(reader.read(1, index), int64))
    place = _place(node, index, unravel(flat, window))
    guard = all_of(flat >= 0, flat < prod(window), _inside(place, node.operands[0].shape))
    return _or(guard, reader.read(0, place, guard), 0)


# ----------------------------------------------------------------------------------------------------------- gradients


def _window_attrs(node: Value) -> dict[str, Any]:
    return {name: node.attrs[name] for name in ("window", "strides", "padding", "dilation")}


def _gradient_reduce(node: Value, ct: Value) -> list[Value | None]:
    """max: the cotangent goes to the first greatest element.    sum: each element collects the windows that saw it."""
    (x,) = node.operands
    attrs = _window_attrs(node)
    if x.type.size == 0:
        return [full(x.type, 0)]
    if node.attrs["kind"] == "max":
        return [window_scatter(ct, window_argmax(x, **attrs), shape=x.shape, **attrs)]
    nothing, ones = (0,) * x.type.rank, (1,) * x.type.rank
    spaced = pad(ct, nothing, nothing, tuple(s - 1 for s in attrs["strides"]), 0)
    padding = tuple(s.input_padding for s in _sweeps(x.shape, attrs))
    return [make("reduce_window", spaced, **(attrs | {"strides": ones, "padding": padding}), kind="sum")]


def _gradient_scatter(node: Value, ct: Value) -> list[Value | None]:
    """dx = sum of dy at the chosen elements      ddy = the chosen elements of ct."""
    return [window_gather(ct, node.operands[1], **_window_attrs(node)), None]


def _gradient_gather(node: Value, ct: Value) -> list[Value | None]:
    """y = the chosen elements of x      dx = sum of ct at the chosen elements."""
    x, offsets = node.operands
    return [window_scatter(ct, offsets, shape=x.shape, **_window_attrs(node)), None]


# ------------------------------------------------------------------------------------------------------------- samples

# element types, x shape, window, strides, padding, dilation; the last two have windows wholly in padding
_TYPES = ("float32", "float64", "float16", "bfloat16", "int32")
_CASES: tuple[tuple[Any, ...], ...] = (
    (_TYPES[:1], (2, 6, 4), (1, 2, 2), (1, 2, 2), ((0, 0), (0, 0), (0, 0)), (1, 1, 1)),
    (_TYPES, (7, 5), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1)),
    (_TYPES[:1], (8, 3), (2, 2), (3, 2), ((1, 0), (-1, 1)), (3, 1)),
    (_TYPES[:1], (5, 2, 6), (3, 1, 3), (1, 1, 2), ((2, 0), (0, 0), (2, 2)), (1, 1, 2)),
    (_TYPES[:1], (9,), (3,), (2,), ((-2, -1),), (2,)),
    (_TYPES[:1], (), (), (), (), ()),
    (_TYPES[4:], (3, 2), (2, 1), (1, 1), ((3, 0), (0, 1)), (1, 1)),
    (_TYPES[4:], (4, 3), (2, 2), (2, 3), ((0, 2), (2, 2)), (1, 2)),
)


def _arrays() -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    rng = np.random.default_rng(0)
    for names, shape, *attrs in _CASES:
        given = dict(zip(("window", "strides", "padding", "dilation"), attrs, strict=True))
        for name in names:
            yield np.asarray(3 * rng.standard_normal(shape)).astype(dtype(name).numpy), given


def _samples_reduce() -> Iterator[Sample]:
    for x, attrs in _arrays():
        yield from (Sample((x,), attrs | {"kind": kind}) for kind in _COMBINES)


def _samples_argmax() -> Iterator[Sample]:
    for x, attrs in _arrays():
        yield Sample((x,), attrs)
        yield Sample((np.round(x.astype(np.float64) / 4).astype(x.dtype),), attrs)  # ties


def _samples_scatter() -> Iterator[Sample]:
    for x, attrs in _arrays():
        offsets = _reference_argmax(x, **attrs)
        dy = np.arange(offsets.size).reshape(offsets.shape).astype(x.dtype)
        yield Sample((dy, offsets), attrs | {"shape": x.shape})


def _samples_gather() -> Iterator[Sample]:
    for x, attrs in _arrays():
        yield Sample((x, _reference_argmax(x, **attrs)), attrs)


def _register(name: str, doc: str, infer: Any, reference: Any, gradient: Any, element: Any, samples: Any) -> None:
    register(Op(name, infer, reference, gradient, Pointwise(element, heavy=1), samples, doc))


_register("reduce_window", "The maximum or sum of each window.",
          _infer_reduce, _reference_reduce, _gradient_reduce, _element_reduce, _samples_reduce)  # fmt: skip
_register("window_argmax", "Where in each window the first maximum is.",
          _infer_argmax, _reference_argmax, "its result is an integer", _element_argmax, _samples_argmax)  # fmt: skip
_register("window_scatter", "Add up at the chosen element of each window.",
          _infer_scatter, _reference_scatter, _gradient_scatter, _element_scatter, _samples_scatter)  # fmt: skip
_register("window_gather", "Read the chosen element of each window.",
          _infer_gather, _reference_gather, _gradient_gather, _element_gather, _samples_gather)  # fmt: skip
