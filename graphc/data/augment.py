"""Transforms at random: crops, flips, rotations, colours.

In: an image, of Pillow's or an array. Out: the same kind. Each transform has its own `seed` (default: that of
`gc.manual_seed`). Inside of a loader, what it does to a sample depends on that, the epoch and the sample alone, so it is the
same with any number of workers, and after resuming.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import GraphcError
from .draws import Draws
from .image import ImageTransform, cut, pair

Range = float | Sequence[float]


class RandomTransform(ImageTransform):
    """Base class: a subclass defines `alter`."""

    def __init__(self, seed: int | None) -> None:
        self.draws = Draws(type(self).__name__, seed)

    def apply(self, image: Any, on: Any) -> Any:
        return self.alter(image, on, self.draws.next())

    def alter(self, image: Any, on: Any, rng: np.random.Generator) -> Any:
        """The transform, in words of `on`, with random numbers of `rng`."""
        raise NotImplementedError


class RandomCrop(RandomTransform):
    """A random (height, width) of an image, after `padding` zeros on each side."""

    def __init__(
        self, size: int | Sequence[int], padding: int = 0, pad_if_needed: bool = False, *, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.size, self.padding, self.pad_if_needed = pair(size), padding, pad_if_needed

    def alter(self, image: Any, on: Any, rng: np.random.Generator) -> Any:
        image = on.pad(image, self.padding, self.padding)
        if self.pad_if_needed:
            lacking = (max(0, size - n) for n, size in zip(on.size(image), self.size, strict=True))
            image = on.pad(image, *lacking)
        room = [n - size for n, size in zip(on.size(image), self.size, strict=True)]
        top, left = (int(rng.integers(0, n + 1)) if n >= 0 else -1 for n in room)
        return cut(image, on, top, left, self.size)


class RandomResizedCrop(RandomTransform):
    """A random part of the image, of `scale` times its area and an aspect (width / height) in `ratio`, resized to `size`.

    Where no such part is found in ten attempts, the largest one in the middle with an aspect in `ratio`.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        self.size, self.scale, self.ratio = pair(size), (scale[0], scale[1]), (ratio[0], ratio[1])
        if not 0 < self.scale[0] <= self.scale[1] or not 0 < self.ratio[0] <= self.ratio[1]:
            raise GraphcError(f"RandomResizedCrop: scale {scale} and ratio {ratio} must be positive ranges (low, high)")

    def alter(self, image: Any, on: Any, rng: np.random.Generator) -> Any:
        return on.resize(on.crop(image, *self._part(on.size(image), rng)), *self.size)

    def _part(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        height, width = size
        low, high = map(math.log, self.ratio)
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        h, w = min(height, max(1, round(width / aspect))), min(width, max(1, round(height * aspect)))
        return (height - h) // 2, (width - w) // 2, h, w


class _RandomFlip(RandomTransform):
    def __init__(self, p: float = 0.5, seed: int | None = None) -> None:
        super().__init__(seed)
        if not 0 <= p <= 1:
            raise GraphcError(f"{type(self).__name__}: p must be a probability, not {p}")
        self.p = p


class RandomHorizontalFlip(_RandomFlip):
    """Left and right exchanged with probability p."""

    def alter(self, image: Any, on: Any, rng: np.random.Generator) -> Any:
        return on.flip_horizontal(image) if rng.random() < self.p else image


class RandomVerticalFlip(_RandomFlip):
    """Top and bottom exchanged with probability p."""

    def alter(self, image: Any, on: Any, rng: np.random.Generator) -> Any:
        return on.flip_vertical(image) if rng.random() < self.p else image


class RandomRotation(RandomTransform):
    """Turned about its centre by a random angle within +-degrees, or in (low, high) (nearest pixel, zeros outside)."""

    def __init__(self, degrees: Range, seed: int | None = None) -> None:
        super().__init__(seed)
        self.low, self.high = (-abs(degrees), abs(degrees)) if isinstance(degrees, int | float) else degrees

    def alter(self, image: Any, on: Any, rng: np.random.Generator) -> Any:
        return on.rotate(image, rng.uniform(self.low, self.high))


class ColorJitter(RandomTransform):
    """Brightness, contrast, saturation and hue changed at random, in random order.

    brightness, contrast, saturation: v for a factor in [max(0, 1 - v), 1 + v], or (low, high). hue: v <= 0.5 for a turn in
    [-v, v] of the circle of hues, or (low, high).
    """

    def __init__(
        self, brightness: Range = 0, contrast: Range = 0, saturation: Range = 0, hue: Range = 0, *, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        factors = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        self.ranges = {name: _range(name, value, 1, (0, math.inf)) for name, value in factors.items()}
        self.ranges["hue"] = _range("hue", hue, 0, (-0.5, 0.5))

    def alter(self, image: Any, on: Any, rng: np.random.Generator) -> Any:
        names = list(self.ranges)
        for at in rng.permutation(len(names)).tolist():
            low, high = self.ranges[names[at]]
            value = rng.uniform(low, high)
            if low != high:
                image = getattr(on, names[at])(image, value)
        return image


def _range(name: str, value: Range, centre: float, bounds: tuple[float, float]) -> tuple[float, float]:
    single = isinstance(value, int | float)
    low, high = (max(bounds[0], centre - value), centre + value) if single else value  # type: ignore[operator,misc]
    if not bounds[0] <= low <= high <= bounds[1] or (single and value < 0):  # type: ignore[operator]
        raise GraphcError(f"ColorJitter: {name}={value} must be a positive number or a range within {bounds}")
    return float(low), float(high)
