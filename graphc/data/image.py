"""What all transforms of images share: one definition for Pillow images and for arrays in either layout.

In: an image. Out: the same kind of image. A transform is written once, against functions that exist twice, in `planes` for
arrays and in `pillow` for Pillow images; which of the two modules it gets (`on`) is decided here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import ShapeError
from . import planes

CHANNELS = (1, 3, 4)


class ImageTransform:
    """Base class: a subclass defines `apply`."""

    def __call__(self, image: Any) -> Any:
        if is_pillow(image):
            return self.apply(image, import_module("graphc.data.pillow"))
        array = np.asarray(image)
        if array.ndim == 3 and array.shape[-1] in CHANNELS and array.shape[0] not in CHANNELS:
            return np.moveaxis(self.apply(np.moveaxis(array, -1, 0), planes), 0, -1)
        if array.ndim < 2:
            raise ShapeError(f"{type(self).__name__}: takes an image, got an array of {array.shape}")
        return self.apply(array, planes)

    def apply(self, image: Any, on: Any) -> Any:
        """The transform, in words of `on`."""
        raise NotImplementedError


def is_pillow(image: Any) -> bool:
    """Whether it is an image of Pillow's, which is loaded then."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of what may be one number for both."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def cut(image: Any, on: Any, top: int, left: int, size: tuple[int, int]) -> Any:
    """A part; negative places say that there is none of that size."""
    if top < 0 or left < 0:
        raise ShapeError(f"crop: an image of {on.size(image)} holds no part of {size}")
    return on.crop(image, top, left, *size)
