"""Ops that fold elements along axes.

In: a tensor and the axes to fold (a sorted tuple; they leave the shape). Out: sums, products, extremes, any, all, and
the positions of extremes. f16 and bf16 accumulate in f32 and round once. The order of a fold is free, so float results
may differ in the last bits between targets; min and max give NaN if any element is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np

from ..dtype import DTYPES, FLOATS, INTS, DType, bool_, int64, uint8
from ..dtype import dtype as dtype_of
from ..errors import DTypeError, ShapeError
from ..ir.op import Expand, Gradient, Op, Reduction, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, full, like, make
from .elementwise import cast, select
from .shape import broadcast, iota, pad, reshape, reverse, slice_, transpose

# ------------------------------------------------------------------------------------------------------------ builders


def _fold(name: str, x: Value, axes: Sequence[int]) -> Value:
    return make(name, x, axes=tuple(sorted(axes))) if axes else x


def reduce_sum(x: Value, axes: Sequence[int]) -> Value:
    """The sum along `axes`."""
    return _fold("reduce_sum", x, axes)


def reduce_prod(x: Value, axes: Sequence[int]) -> Value:
    """The product along `axes`."""
    return _fold("reduce_prod", x, axes)


def reduce_max(x: Value, axes: Sequence[int]) -> Value:
    """The greatest element along `axes`."""
    return _fold("reduce_max", x, axes)


def reduce_min(x: Value, axes: Sequence[int]) -> Value:
    """The least element along `axes`."""
    return _fold("reduce_min", x, axes)


def reduce_any(x: Value, axes: Sequence[int]) -> Value:
    """Whether any bool along `axes` is true."""
    return _fold("reduce_any", x, axes)


def reduce_all(x: Value, axes: Sequence[int]) -> Value:
    """Whether all bools along `axes` are true."""
    return _fold("reduce_all", x, axes)


def argmax(x: Value, axis: int) -> Value:
    """The int64 position of the first greatest element along `axis`; the first NaN if there is one."""
    return make("argmax", x, axis=axis)


def argmin(x: Value, axis: int) -> Value:
    """The int64 position of the first least element along `axis`; the first NaN if there is one."""
    return make("argmin", x, axis=axis)


def restore(x: Value, shape: Sequence[int], axes: Sequence[int]) -> Value:
    """`x`, whose shape is `shape` without `axes`, repeated along them."""
    return broadcast(x, shape, tuple(i for i in range(len(shape)) if i not in axes))


# ---------------------------------------------------------------------------------------------------------- type rules


def _without(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(extent for i, extent in enumerate(shape) if i not in axes)


def _check(name: str, x: TensorType, axes: tuple[int, ...], admits: Sequence[DType], empty: bool) -> None:
    if x.dtype not in admits:
        raise DTypeError(f"{name} is not defined for {x}; expected an element type of {', '.join(map(str, admits))}")
    if list(axes) != sorted(set(axes)) or any(not 0 <= axis < x.rank for axis in axes):
        raise ShapeError(f"{name} of {x} along {axes}; expected distinct increasing dimensions below {x.rank}")
    if not empty and any(x.shape[axis] == 0 for axis in axes):
        raise ShapeError(f"{name} of {x} along {axes}: there is no extreme of no elements; expected extents of at least 1")


def _infer_fold(name: str, admits: Sequence[DType], empty: bool) -> Callable[..., TensorType]:
    def infer(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
        _check(name, x, axes, admits, empty)
        return x.with_shape(_without(x.shape, axes))

    return infer


def _infer_position(name: str) -> Callable[..., TensorType]:
    def infer(x: TensorType, *, axis: int) -> TensorType:
        _check(name, x, (axis,), DTYPES, empty=False)
        return TensorType(int64, _without(x.shape, (axis,)))

    return infer


# ----------------------------------------------------------------------------------------------------------- gradients


def _gradient_extreme(node: Value, ct: Value) -> list[Value | None]:
    """Elements equal to the extreme share its cotangent evenly."""
    (x,), axes = node.operands, node.attrs["axes"]
    hit = make("eq", x, restore(node, x.shape, axes))
    count = reduce_sum(select(hit, like(x, 1), like(x, 0)), axes)
    return [select(hit, restore(ct / count, x.shape, axes), like(x, 0))]


def _gradient_prod(node: Value, ct: Value) -> list[Value | None]:
    """The cotangent times the product of all other elements; made of products alone, it is right to any order with
    any number of zeros."""
    (x,), axes = node.operands, node.attrs["axes"]
    kept = tuple(i for i in range(len(x.shape)) if i not in axes)
    perm = (*kept, *axes)
    moved = transpose(x, perm)
    rows = reshape(moved, (prod(node.shape), prod(x.shape[axis] for axis in axes)))
    others = transpose(reshape(_products_of_others(rows), moved.shape), tuple(perm.index(i) for i in range(len(perm))))
    return [restore(ct, x.shape, axes) * others]


def _products_of_others(x: Value) -> Value:
    """[rows, n] -> [rows, n]: the product of each row's elements but this one.

    Pairs are multiplied up a binary tree; coming down, an element's others are its pair's others times its neighbour.
    """
    rows, n = x.shape
    if n <= 1:
        return full(x.type, 1)
    half = (n + 1) // 2
    pairs = reshape(pad(x, (0, 0), (0, n % 2), value=1), (rows, half, 2))
    left, right = (slice_(pairs, (0, 0, i), (rows, half, i + 1)) for i in (0, 1))
    above = _products_of_others(reshape(left * right, (rows, half)))
    below = broadcast(above, pairs.shape, (0, 1)) * reverse(pairs, (2,))
    return slice_(reshape(below, (rows, 2 * half)), (0, 0), (rows, n))


def _expand_position(best: str) -> Callable[[Value], Value]:
    def rule(node: Value) -> Value:
        (x,), axis = node.operands, node.attrs["axis"]
        x = cast(x, uint8) if x.dtype.is_bool else x
        hit = make("eq", x, restore(make(best, x, axes=(axis,)), x.shape, (axis,)))
        if x.dtype.is_float:
            hit = make("or", hit, make("isnan", x))
        place = iota(int64, x.shape, axis)
        return reduce_min(select(hit, place, like(place, x.shape[axis])), (axis,))

    return rule


# ---------------------------------------------------------------------------------------------------------- references


def _folded(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Floats fold in f64, so that the reference is correctly rounded; integers wrap in their own type."""

    def reference(x: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
        source = dtype_of(x.dtype)
        with np.errstate(all="ignore"):
            wide = x.astype(np.float64) if source.is_float else x
            return np.asarray(function(wide, axis=axes)).astype(source.numpy)

    return reference


def _wrapping(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda x, axis: function(x, axis=axis, dtype=x.dtype)


def _position(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda x, *, axis: np.asarray(function(x.astype(np.float64) if dtype_of(x.dtype).is_float else x, axis=axis))


# ------------------------------------------------------------------------------------------------------------- records

_SHAPE = (3, 4, 5)


def _numbers(dtype: DType, shape: tuple[int, ...] = _SHAPE) -> np.ndarray:
    """Small numbers of both signs in no order, all different in a float type."""
    n = prod(shape)
    spread = np.arange(1, n + 1) * 0.6180339887 % 1 * 3 - 1.2
    return np.array((spread if dtype.is_float else spread * 40).reshape(shape)).astype(dtype.numpy)


def _samples(admits: Sequence[DType], smooth: bool) -> Callable[[], Iterator[Sample]]:
    def samples() -> Iterator[Sample]:
        for dtype in admits:
            for axes in ((0,), (1,), (2,), (0, 2), (0, 1, 2)):
                yield Sample((_numbers(dtype),), {"axes": axes}, smooth=smooth and dtype.bits == 64)
        if admits is not _BOOLS:
            x = _numbers(FLOATS[-1], (2, 7))
            x[0, 2], x[1, 1], x[1, 5] = np.nan, np.inf, -0.0
            yield from (Sample((x,), {"axes": axes}, smooth=False) for axes in ((0,), (1,)))

    return samples


def _position_samples() -> Iterator[Sample]:
    for dtype in DTYPES:
        yield from (Sample((_numbers(dtype),), {"axis": axis}) for axis in (0, 1, 2))
    ties = np.array([[1, np.nan, 3, np.nan], [2, 5, 5, -0.0], [-np.inf, -np.inf, 0.0, -0.0]], np.float32)
    yield from (Sample((ties,), {"axis": axis}) for axis in (0, 1))


_NUMBERS, _BOOLS = FLOATS + INTS, (bool_,)


def _reduction(
    name: str,
    combine: str,
    function: Callable[..., np.ndarray],
    gradient: Gradient | str,
    doc: str,
    admits: Sequence[DType] = _NUMBERS,
    empty: bool = True,
) -> None:
    infer, samples = _infer_fold(name, admits, empty), _samples(admits, not isinstance(gradient, str))
    register(Op(name, infer, _folded(function), gradient, Reduction(combine), samples, doc))


def _gradient_sum(node: Value, ct: Value) -> list[Value | None]:
    return [restore(ct, node.operands[0].shape, node.attrs["axes"])]


_reduction("reduce_sum", "add", _wrapping(np.sum), _gradient_sum, "The sum along `axes`; integers wrap.")
_reduction("reduce_prod", "mul", _wrapping(np.prod), _gradient_prod, "The product along `axes`; integers wrap.")
_reduction("reduce_max", "max", np.max, _gradient_extreme, "The greatest element along `axes`, or NaN.", empty=False)
_reduction("reduce_min", "min", np.min, _gradient_extreme, "The least element along `axes`, or NaN.", empty=False)
_reduction("reduce_any", "or", np.any, "its result is bool", "Whether any is true along `axes`.", _BOOLS)
_reduction("reduce_all", "and", np.all, "its result is bool", "Whether all are true along `axes`.", _BOOLS)

register(
    Op(
        "argmax",
        infer=_infer_position("argmax"),
        reference=_position(np.argmax),
        gradient="its result is an integer",
        lower=Expand(_expand_position("reduce_max")),
        samples=_position_samples,
        doc="The position of the first greatest element along `axis`; NaN counts as greatest.",
    )
)
register(
    Op(
        "argmin",
        infer=_infer_position("argmin"),
        reference=_position(np.argmin),
        gradient="its result is an integer",
        lower=Expand(_expand_position("reduce_min")),
        samples=_position_samples,
        doc="The position of the first least element along `axis`; NaN counts as least.",
    )
)
