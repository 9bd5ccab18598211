"""Transforms of samples: scaling, cropping, flipping, rotation, normalisation.

In: Pillow images, or numpy arrays: height x width (x channels) until `ToTensor`, channels x height x width after it.
Out: numpy arrays. Random transforms draw from a generator of their own, started from `seed`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..config import default_seed
from ..errors import DTypeError, GraphcError, ShapeError


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, x: Any) -> Any:
        for transform in self.transforms:
            x = transform(x)
        return x

    def __repr__(self) -> str:
        return "Compose(" + ", ".join(map(repr, self.transforms)) + ")"


class Lambda:
    """Any function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, x: Any) -> Any:
        return self.function(x)


class ToTensor:
    """An image (H, W) or (H, W, C) as float32 (C, H, W); uint8 is scaled to [0, 1]."""

    def __call__(self, image: Any) -> np.ndarray:
        array = np.asarray(image)
        if array.ndim not in (2, 3):
            raise ShapeError(f"ToTensor: takes an image (H, W) or (H, W, C), got {array.shape}")
        planes = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        scale = 255 if array.dtype == np.uint8 else 1
        return np.ascontiguousarray(planes, np.float32) / np.float32(scale)

    def __repr__(self) -> str:
        return "ToTensor()"


class Normalize:
    """(x - mean) / std per channel of (C, H, W) or (N, C, H, W)."""

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = (np.atleast_1d(np.asarray(v, np.float32)) for v in (mean, std))
        if (self.std == 0).any():
            raise GraphcError(f"Normalize: the standard deviation must not be 0, got {std}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if not np.issubdtype(x.dtype, np.floating):
            raise DTypeError(f"Normalize: takes floats, got {x.dtype}; put ToTensor() before it")
        if x.ndim < 3 or any(len(v) not in (1, x.shape[-3]) for v in (self.mean, self.std)):
            raise ShapeError(f"Normalize: {len(self.mean)} channels do not fit an array of {x.shape}; expected (C, H, W)")
        return (x - self.mean[:, None, None]) / self.std[:, None, None]

    def __repr__(self) -> str:
        return f"Normalize({self.mean.tolist()}, {self.std.tolist()})"


class _Image:
    """A transform of the height and width of arrays and Pillow images, in either layout."""

    def __call__(self, image: Any) -> np.ndarray:
        array = np.asarray(image)
        if array.ndim == 3 and array.shape[-1] in (1, 3, 4) and array.shape[0] not in (1, 3, 4):
            return np.moveaxis(self.apply(np.moveaxis(array, -1, 0)), 0, -1)
        if array.ndim < 2:
            raise ShapeError(f"{type(self).__name__}: takes an image, got an array of {array.shape}")
        return self.apply(array)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The transform of the last two dimensions."""
        raise NotImplementedError


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


class Resize(_Image):
    """Bilinear interpolation to (height, width), pixel centres aligned at halves; no smoothing when it shrinks."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair(size)

    def apply(self, x: np.ndarray) -> np.ndarray:
        result = x.astype(np.float32)
        for axis, size in zip((-2, -1), self.size, strict=True):
            result = _interpolate(result, axis, size)
        return np.rint(result).astype(x.dtype) if x.dtype == np.uint8 else result.astype(x.dtype)


def _interpolate(x: np.ndarray, axis: int, size: int) -> np.ndarray:
    n = x.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * (n / size) - 0.5, 0, n - 1)
    low = np.floor(position).astype(np.int64)
    weight = (position - low).astype(np.float32)
    weight = weight.reshape((-1, 1)) if axis == -2 else weight
    return np.take(x, low, axis) * (1 - weight) + np.take(x, np.minimum(low + 1, n - 1), axis) * weight


class CenterCrop(_Image):
    """The middle (height, width) of an image."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair(size)

    def apply(self, x: np.ndarray) -> np.ndarray:
        top, left = ((n - size) // 2 for n, size in zip(x.shape[-2:], self.size, strict=True))
        return _crop(x, top, left, self.size)


def _crop(x: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    if top < 0 or left < 0:
        raise ShapeError(f"crop: an image of {x.shape[-2:]} holds no part of {size}")
    return x[..., top : top + size[0], left : left + size[1]]


class _Random(_Image):
    def __init__(self, seed: int | None) -> None:
        self.rng = np.random.default_rng(default_seed() if seed is None else seed)


class RandomCrop(_Random):
    """A random (height, width) of an image, after `padding` zeros on each side."""

    def __init__(self, size: int | Sequence[int], padding: int = 0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.size, self.padding = _pair(size), padding

    def apply(self, x: np.ndarray) -> np.ndarray:
        x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(self.padding, self.padding)] * 2)
        room = [n - size for n, size in zip(x.shape[-2:], self.size, strict=True)]
        top, left = (int(self.rng.integers(0, n + 1)) if n >= 0 else -1 for n in room)
        return _crop(x, top, left, self.size)


class RandomHorizontalFlip(_Random):
    """Left and right exchanged with probability p."""

    def __init__(self, p: float = 0.5, seed: int | None = None) -> None:
        super().__init__(seed)
        self.p = p

    def apply(self, x: np.ndarray) -> np.ndarray:
        return x[..., ::-1] if self.rng.random() < self.p else x


class RandomRotation(_Random):
    """Turned about its centre by a random angle within +-degrees (nearest pixel, zeros outside)."""

    def __init__(self, degrees: float, seed: int | None = None) -> None:
        super().__init__(seed)
        self.degrees = degrees

    def apply(self, x: np.ndarray) -> np.ndarray:
        return rotate(x, self.rng.uniform(-self.degrees, self.degrees))


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
