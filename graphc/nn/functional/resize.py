"""Resizing as a function: nearest, linear, cubic and area interpolation of 1 to 3 spatial dimensions.

In: (N, C, spatial...) and a static size or factor. Out: each dimension in turn is gathered (nearest), or multiplied by a
matrix of weights known when the graph is built (linear, cubic). Coordinates are PyTorch's: with align_corners the corner
elements meet, otherwise the corners of the image.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...dtype import float32, uint8
from ...errors import DTypeError, GraphcError, ShapeError
from ...ir.location import here
from ...tensor import Tensor
from ...tensor.products import dot
from .adaptive import adaptive_avg_pool

_RANKS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
_MODES = ("nearest", "nearest-exact", "area", *_RANKS)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """The spatial dimensions in another size: `size`, or floor(extent * scale_factor).

    mode: nearest, nearest-exact, linear (1 spatial dimension), bilinear or bicubic (2), trilinear (3), area. Averages of
    uint8 are computed in float32 and rounded.
    """
    _check(input, mode, align_corners, antialias)
    rank = input.ndim - 2
    sizes, scales = _sizes(input, size, scale_factor, bool(recompute_scale_factor))
    if mode == "area":
        return adaptive_avg_pool(rank, input, sizes)
    if mode in _RANKS and input.dtype is uint8:
        smooth = interpolate(input.to(float32), size, scale_factor, mode, align_corners, recompute_scale_factor)
        return smooth.round().to(uint8)
    x = input
    for d, (out, scale) in enumerate(zip(sizes, scales, strict=True), 2):
        step = _step(x.shape[d], out, scale, bool(align_corners))
        if mode.startswith("nearest"):
            x = _gathered(x, d, _nearest(x.shape[d], out, step, mode == "nearest-exact"))
        elif out != x.shape[d] or step != 1:
            weights = _cubic if mode == "bicubic" else _linear
            matrix = weights(x.shape[d], _coordinates(out, step, bool(align_corners)))
            x = x.wrap(dot(x.value, x.lift(matrix.astype(x.dtype.numpy)).value, ((d,), (1,)))).movedim(-1, d)
    return x


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """interpolate, under its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Bilinear with align_corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


def _check(input: Tensor, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in _MODES:
        raise GraphcError(f"interpolate: mode is one of {', '.join(_MODES)}, not {mode!r}", here())
    if not 3 <= input.ndim <= 5 or input.ndim - 2 != _RANKS.get(mode, input.ndim - 2):
        raise ShapeError(
            f"interpolate: mode {mode!r} takes (N, C, and {_RANKS.get(mode, '1 to 3')} spatial dimensions), got {input.shape}",
            here(),
        )
    if mode in _RANKS and not (input.dtype.is_float or input.dtype is uint8):
        raise DTypeError(f"interpolate: mode {mode!r} is defined on floats and uint8, not {input.dtype}; use .float()", here())
    if align_corners and mode not in _RANKS:
        raise GraphcError(f"interpolate: align_corners has no meaning in mode {mode!r}; leave it out", here())
    if antialias:
        raise GraphcError("interpolate: antialias=True is not implemented; average first, for example by mode='area'", here())


def _sizes(input: Tensor, size: Any, factor: Any, recompute: bool) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """(sizes, factors that define coordinates; None where the sizes do)."""
    rank = input.ndim - 2
    if (size is None) == (factor is None):
        raise GraphcError("interpolate: give size or scale_factor, and not both", here())
    given = size if factor is None else factor
    each = tuple(given) if isinstance(given, tuple | list) else (given,) * rank
    if len(each) != rank:
        raise ShapeError(f"interpolate: {given} must be one number or {rank}, one for each spatial dimension", here())
    none: tuple[float | None, ...] = (None,) * rank
    if factor is None:
        sizes, scales = each, none
    else:
        sizes = tuple(math.floor(n * float(f)) for n, f in zip(input.shape[2:], each, strict=True))
        scales = none if recompute else tuple(float(f) for f in each)
    if min(sizes) < 1 or min(input.shape[2:]) < 1:
        raise ShapeError(f"interpolate: {input.shape} cannot become {sizes}: extents must be positive", here())
    return tuple(map(int, sizes)), scales


def _step(n: int, out: int, scale: float | None, align: bool) -> float:
    """The distance in the input between neighbours of the output."""
    if align:
        return (n - 1) / (out - 1) if out > 1 else 0.0
    return n / out if scale is None else 1 / scale


def _nearest(n: int, out: int, step: float, exact: bool) -> np.ndarray:
    positions = np.floor((np.arange(out) + (0.5 if exact else 0.0)).astype(np.float32) * np.float32(step))
    return np.minimum(positions.astype(np.int64), n - 1)


def _gathered(x: Tensor, d: int, index: np.ndarray) -> Tensor:
    """x at known positions along d; whole factors are repetitions."""
    n = x.shape[d]
    if len(index) % n == 0 and (index == np.repeat(np.arange(n), len(index) // n)).all():
        return x.repeat_interleave(len(index) // n, d)
    return x.index_select(d, index)


def _coordinates(out: int, step: float, align: bool) -> np.ndarray:
    """Where each element of the output lies in the input."""
    positions = np.arange(out, dtype=np.float64)
    return positions * step if align else (positions + 0.5) * step - 0.5


def _spread(n: int, first: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """A matrix with each row's weights at first, first + 1, ...; beyond the border they go to the border element."""
    matrix = np.zeros((len(first), n))
    for k, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(len(first)), np.clip(first + k, 0, n - 1)), weight)
    return matrix


def _linear(n: int, at: np.ndarray) -> np.ndarray:
    at = np.maximum(at, 0)
    first = np.floor(at).astype(np.int64)
    part = at - first
    return _spread(n, first, [1 - part, part])


def cubic_near(t: Any) -> Any:
    """Keys' cubic convolution with a = -0.75 at distances up to 1, of arrays or tensors."""
    return (1.25 * t - 2.25) * t * t + 1


def cubic_far(t: Any) -> Any:
    """The same at distances from 1 to 2."""
    return ((-0.75 * t + 3.75) * t - 6) * t + 3


def _cubic(n: int, at: np.ndarray) -> np.ndarray:
    first = np.floor(at).astype(np.int64)
    part = at - first
    return _spread(n, first - 1, [cubic_far(1 + part), cubic_near(part), cubic_near(1 - part), cubic_far(2 - part)])


__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]
