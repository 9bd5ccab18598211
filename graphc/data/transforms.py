"""Transforms of samples: scaling, cropping, flipping, rotation, colours, normalisation.

In: Pillow images, or numpy arrays: height x width (x channels) until `ToTensor`, channels x height x width after it.
Out: of Pillow images Pillow images, of arrays arrays; `ToTensor` makes arrays of both. Random transforms (in augment.py) draw
from a generator of their own, started from `seed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, GraphcError, ShapeError
from .augment import (
    ColorJitter,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
)
from .image import ImageTransform, cut, pair
from .planes import rotate


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
        if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.floating):
            kind = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise DTypeError(f"Normalize: takes floats, got {kind}; put ToTensor() before it")
        if x.ndim < 3 or any(len(v) not in (1, x.shape[-3]) for v in (self.mean, self.std)):
            raise ShapeError(f"Normalize: {len(self.mean)} channels do not fit an array of {x.shape}; expected (C, H, W)")
        return (x - self.mean[:, None, None]) / self.std[:, None, None]

    def __repr__(self) -> str:
        return f"Normalize({self.mean.tolist()}, {self.std.tolist()})"


class Resize(ImageTransform):
    """Bilinear interpolation to (height, width); one number is the length of the shorter side, and the aspect is kept."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size

    def apply(self, image: Any, on: Any) -> Any:
        height, width = on.size(image)
        if isinstance(self.size, int):
            short = min(height, width)
            return on.resize(image, self.size * height // short, self.size * width // short)
        return on.resize(image, *pair(self.size))


class CenterCrop(ImageTransform):
    """The middle (height, width) of an image."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = pair(size)

    def apply(self, image: Any, on: Any) -> Any:
        top, left = ((n - size) // 2 for n, size in zip(on.size(image), self.size, strict=True))
        return cut(image, on, top, left, self.size)


class Grayscale(ImageTransform):
    """Brightness instead of colours, in 1 or 3 equal channels."""

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise GraphcError(f"Grayscale: gives 1 or 3 channels, not {num_output_channels}")
        self.channels = num_output_channels

    def apply(self, image: Any, on: Any) -> Any:
        return on.grayscale(image, self.channels)


__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Grayscale",
    "Lambda",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
    "rotate",
]
