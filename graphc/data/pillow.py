"""What transforms do to Pillow images, and how image files are read.

In: `PIL.Image.Image`. Out: the same; Pillow does the work. The functions are those of `graphc.data.planes`. Importing this
module needs Pillow and says so.
"""

from __future__ import annotations

from os import PathLike
from typing import IO

import numpy as np

from ..errors import GraphcError

try:
    from PIL import Image, ImageEnhance, ImageOps, UnidentifiedImageError
except ImportError:
    raise GraphcError(
        "reading and changing image files needs Pillow, which is not installed: pip install 'graphc[vision]'"
    ) from None

Picture = Image.Image


def read(path: str | PathLike[str], mode: str = "RGB") -> Picture:
    """The image in a file, whole, in a mode of Pillow's. Raises GraphcError with the file and the offset of what is broken."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise GraphcError(f"cannot read the image {path}: {error.strerror}") from error
    with file:
        try:
            with Image.open(file) as image:
                return image.convert(mode)
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and others
            kind = "is no image, or" if isinstance(error, UnidentifiedImageError) else "is an image that"
            raise GraphcError(f"{path} {kind} is broken near offset {_offset(file)}: {error}") from error


def _offset(file: IO[bytes]) -> int:
    try:
        return file.tell()
    except ValueError:  # a decoder closed it
        return 0


def size(image: Picture) -> tuple[int, int]:
    """(height, width)"""
    return image.height, image.width


def crop(image: Picture, top: int, left: int, height: int, width: int) -> Picture:
    """A part, which lies inside."""
    return image.crop((left, top, left + width, top + height))


def pad(image: Picture, vertical: int, horizontal: int) -> Picture:
    """Black on each side."""
    return ImageOps.expand(image, (horizontal, vertical))


def flip_horizontal(image: Picture) -> Picture:
    """Left and right exchanged."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def flip_vertical(image: Picture) -> Picture:
    """Top and bottom exchanged."""
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def rotate(image: Picture, degrees: float) -> Picture:
    """Turned counter-clockwise about the centre (nearest pixel, black outside)."""
    return image.rotate(degrees)


def resize(image: Picture, height: int, width: int) -> Picture:
    """Bilinear; where it shrinks, every pixel has its share."""
    return image.resize((width, height), Image.Resampling.BILINEAR)


def grayscale(image: Picture, channels: int) -> Picture:
    """Brightness in 1 or 3 equal channels."""
    gray = image.convert("L")
    return gray if channels == 1 else Image.merge("RGB", (gray,) * 3)


def brightness(image: Picture, factor: float) -> Picture:
    """0 is black, 1 as it was."""
    return ImageEnhance.Brightness(image).enhance(factor)


def contrast(image: Picture, factor: float) -> Picture:
    """0 is the mean brightness everywhere, 1 as it was."""
    return ImageEnhance.Contrast(image).enhance(factor)


def saturation(image: Picture, factor: float) -> Picture:
    """0 is grey, 1 as it was."""
    return ImageEnhance.Color(image).enhance(factor)


def hue(image: Picture, turn: float) -> Picture:
    """Colours moved around the circle of hues by `turn` of its length."""
    if image.mode in ("1", "L", "I", "F"):
        return image
    h, s, v = image.convert("HSV").split()
    moved = (np.asarray(h).astype(np.int64) + round(turn * 256)) % 256
    return Image.merge("HSV", (Image.fromarray(moved.astype(np.uint8)), s, v)).convert(image.mode)
