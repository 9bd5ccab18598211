"""What transforms do to arrays: the last two dimensions are height and width, colours stand before them.

In: uint8 in 0 .. 255, or floats, where 1 is full brightness. Out: arrays of the same dtype. `graphc.data.pillow` has the same
functions for Pillow images.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..errors import ShapeError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's mode L


def size(x: np.ndarray) -> tuple[int, int]:
    """(height, width)"""
    return x.shape[-2], x.shape[-1]


def crop(x: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A part, which lies inside."""
    return x[..., top : top + height, left : left + width]


def pad(x: np.ndarray, vertical: int, horizontal: int) -> np.ndarray:
    """Zeros on each side."""
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(vertical, vertical), (horizontal, horizontal)])


def flip_horizontal(x: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    return x[..., ::-1]


def flip_vertical(x: np.ndarray) -> np.ndarray:
    """Top and bottom exchanged."""
    return x[..., ::-1, :]


def rotate(x: np.ndarray, degrees: float) -> np.ndarray:
    """The last two dimensions turned counter-clockwise about their centre (nearest pixel, zeros outside)."""
    height, width = x.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows, columns = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    source_rows = np.rint(cos * rows + sin * columns + (height - 1) / 2).astype(np.int64)
    source_columns = np.rint(cos * columns - sin * rows + (width - 1) / 2).astype(np.int64)
    inside = (source_rows >= 0) & (source_rows < height) & (source_columns >= 0) & (source_columns < width)
    picked = x[..., source_rows.clip(0, height - 1), source_columns.clip(0, width - 1)]
    return np.where(inside, picked, np.zeros((), x.dtype))


def resize(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres aligned at halves; where it shrinks, every pixel has its share (a triangle filter)."""
    result = x.astype(np.float32)
    for axis, length in ((-2, height), (-1, width)):
        grows = length >= x.shape[axis]
        result = _interpolate(result, axis, length) if grows else _shrink(result, axis, length)
    return _as(x.dtype, result)


def _interpolate(x: np.ndarray, axis: int, length: int) -> np.ndarray:
    n = x.shape[axis]
    position = np.clip((np.arange(length) + 0.5) * (n / length) - 0.5, 0, n - 1)
    low = np.floor(position).astype(np.int64)
    weight = (position - low).astype(np.float32)
    weight = weight.reshape((-1, 1)) if axis == -2 else weight
    return np.take(x, low, axis) * (1 - weight) + np.take(x, np.minimum(low + 1, n - 1), axis) * weight


def _shrink(x: np.ndarray, axis: int, length: int) -> np.ndarray:
    n = x.shape[axis]
    scale = n / length
    centres = (np.arange(length) + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(n) - centres[:, None]) / scale)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return weights @ x if axis == -2 else x @ weights.T


def grayscale(x: np.ndarray, channels: int) -> np.ndarray:
    """Brightness in 1 or 3 equal channels."""
    return np.repeat(_as(x.dtype, _luma(x)), channels, axis=-3)


def _luma(x: np.ndarray) -> np.ndarray:
    if x.ndim < 3 or x.shape[-3] not in (1, 3):
        raise ShapeError(f"colours: takes images of 1 or 3 channels, got an array of {x.shape}")
    floats = x.astype(np.float32)
    return floats if x.shape[-3] == 1 else np.tensordot(floats, LUMA, (-3, 0))[..., None, :, :]


def brightness(x: np.ndarray, factor: float) -> np.ndarray:
    """0 is black, 1 as it was."""
    return _blend(x, np.zeros((), np.float32), factor)


def contrast(x: np.ndarray, factor: float) -> np.ndarray:
    """0 is the mean brightness everywhere, 1 as it was."""
    return _blend(x, _luma(x).mean((-3, -2, -1), keepdims=True), factor)


def saturation(x: np.ndarray, factor: float) -> np.ndarray:
    """0 is grey, 1 as it was."""
    return _blend(x, _luma(x), factor)


def hue(x: np.ndarray, turn: float) -> np.ndarray:
    """Colours moved around the circle of hues by `turn` of its length."""
    _luma(x)  # refuses what has no colours
    if x.shape[-3] == 1:
        return x
    top = _top(x.dtype)
    red, green, blue = np.moveaxis(x.astype(np.float32) / top, -3, 0)
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    safe = np.where(chroma > 0, chroma, 1)
    sixth = np.select(
        [value == red, value == green], [(green - blue) / safe % 6, (blue - red) / safe + 2], (red - green) / safe + 4
    )
    sixth = sixth + 6 * turn
    # A channel is full within a sixth of its own hue, empty from two sixths on: red at 0, green at 2, blue at 4.
    channel: Callable[[float], np.ndarray] = lambda at: value - chroma * np.clip(np.abs((sixth - at + 3) % 6 - 3) - 1, 0, 1)  # noqa: E731
    return _as(x.dtype, np.stack([channel(0), channel(2), channel(4)], -3) * top)


def _blend(x: np.ndarray, other: np.ndarray, factor: float) -> np.ndarray:
    mixed = np.float32(factor) * x.astype(np.float32) + np.float32(1 - factor) * other
    return _as(x.dtype, np.clip(mixed, 0, _top(x.dtype)))


def _top(dtype: np.dtype) -> float:
    return 255 if dtype == np.uint8 else 1


def _as(dtype: np.dtype, x: np.ndarray) -> np.ndarray:
    return np.rint(x).astype(dtype) if np.issubdtype(dtype, np.integer) else x.astype(dtype)
