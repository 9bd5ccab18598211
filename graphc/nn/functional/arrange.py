"""Functions that only move elements between channels and space.

In: (N, C, spatial...) tensors and static factors. Out: reshapes and transposes; patches for `unfold`, and their sum back
into images for `fold`, its transpose.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...ir.location import here
from ...tensor import Tensor, cat
from ...tensor.creation import zeros
from .padding import pad
from .ranks import per_axis


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) as (..., C, H r, W r)."""
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ShapeError(f"pixel_shuffle: the channels of {input.shape} do not divide by {r} * {r}", here())
    *lead, c, h, w = input.shape
    n = len(lead)
    split = input.reshape((*lead, c // (r * r), r, r, h, w))
    moved = split.permute((*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return moved.reshape((*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) as (..., C r^2, H, W)."""
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-2] % r or input.shape[-1] % r:
        raise ShapeError(f"pixel_unshuffle: height and width of {input.shape} do not divide by {r}", here())
    *lead, c, h, w = input.shape
    n = len(lead)
    split = input.reshape((*lead, c, h // r, r, w // r, r))
    moved = split.permute((*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return moved.reshape((*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, ...) dealt out: those of each group become each groups-th."""
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ShapeError(f"channel_shuffle: the channels of {input.shape} do not divide into {groups} groups", here())
    n, c, *rest = input.shape
    return input.reshape((n, groups, c // groups, *rest)).transpose(1, 2).reshape(input.shape)


class _Patches:
    """Where windows lie in a padded image."""

    def __init__(self, name: str, image: tuple[int, ...], kernel: Any, dilation: Any, padding: Any, stride: Any) -> None:
        self.kernel, self.dilation, self.padding, self.stride = (
            per_axis(value, 2, f"{name}: {what}")
            for value, what in ((kernel, "kernel_size"), (dilation, "dilation"), (padding, "padding"), (stride, "stride"))
        )
        self.padded = tuple(n + 2 * p for n, p in zip(image, self.padding, strict=True))
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        self.counts = tuple((n - s) // t + 1 for n, s, t in zip(self.padded, spans, self.stride, strict=True))
        if min(self.counts) < 1:
            raise ShapeError(f"{name}: the kernel spans {tuple(spans)}, but the padded image is {self.padded}", here())

    def offsets(self) -> list[tuple[int, ...]]:
        """The first element that each kernel position reads."""
        return [(i * self.dilation[0], j * self.dilation[1]) for i, j in np.ndindex(*self.kernel)]


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The patches of (N, C, H, W), as columns: (N, C KH KW, patches)."""
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.ndim != 4:
        raise ShapeError(f"unfold: takes (N, C, H, W) or (C, H, W), got {input.shape}", here())
    patches = _Patches("unfold", input.shape[2:], kernel_size, dilation, padding, stride)
    x = pad(input, (patches.padding[1],) * 2 + (patches.padding[0],) * 2)
    parts = []
    for offset in patches.offsets():
        window = tuple(slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(offset, patches.counts, patches.stride, strict=True))
        parts.append(x[(slice(None), slice(None), *window)].unsqueeze(2))
    return cat(parts, 2).reshape((input.shape[0], input.shape[1] * len(parts), prod(patches.counts)))


def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Patches (N, C KH KW, patches) summed into images (N, C, H, W)."""
    if input.ndim == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    image = per_axis(output_size, 2, "fold: output_size")
    patches = _Patches("fold", image, kernel_size, dilation, padding, stride)
    n, window = input.shape[0], prod(patches.kernel)
    if input.ndim != 3 or input.shape[1] % window or input.shape[2] != prod(patches.counts):
        raise ShapeError(
            f"fold: takes (N, C * {window}, {prod(patches.counts)}) for images of {image}, got {input.shape}", here()
        )
    grid = input.reshape((n, -1, window, *patches.counts))
    rows, columns = (
        np.add.outer(np.arange(c) * s, np.arange(k) * d)
        for c, s, k, d in zip(patches.counts, patches.stride, patches.kernel, patches.dilation, strict=True)
    )
    split = grid.reshape((n, grid.shape[1], *patches.kernel, *patches.counts)).permute(0, 1, 4, 2, 5, 3)
    index = rows[:, :, None, None] * patches.padded[1] + columns
    flat = np.broadcast_to(index.reshape(-1), (n, grid.shape[1], index.size))
    target = zeros((n, grid.shape[1], prod(patches.padded)), dtype=input.dtype)
    summed = target.scatter_add(2, flat.astype(np.int64), split.reshape(flat.shape)).reshape((n, -1, *patches.padded))
    return pad(summed, (-patches.padding[1],) * 2 + (-patches.padding[0],) * 2)


__all__ = ["channel_shuffle", "fold", "pixel_shuffle", "pixel_unshuffle", "unfold"]
