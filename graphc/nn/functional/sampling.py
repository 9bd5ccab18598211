"""Images sampled at computed places: affine_grid and grid_sample.

In: an image (N, C, spatial...) and a grid of places in -1 to 1, last dimension (x, y[, z]). Out: the image there. Places
outside are zero, the border's, or reflected. The corners around each place are gathered and weighted.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

from ...errors import GraphcError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, stack, where
from ...tensor.creation import linspace, ones
from ...tensor.products import einsum
from .resize import cubic_far, cubic_near


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The places that each output element of `size` (N, C, spatial...) reads under the affine maps theta."""
    spatial = tuple(size)[2:]
    if theta.shape != (size[0], len(spatial), len(spatial) + 1):
        wanted = (size[0], len(spatial), len(spatial) + 1)
        raise ShapeError(f"affine_grid: theta must have shape {wanted}, got {theta.shape}", here())
    lines = [linspace(-1, 1, n, dtype=theta.dtype) * (1 if align_corners or n == 1 else (n - 1) / n) for n in spatial]
    lines = [line if n > 1 else line * 0 for line, n in zip(lines, spatial, strict=True)]
    axes = [line.reshape((-1,) + (1,) * (len(spatial) - 1 - i)).broadcast_to(spatial) for i, line in enumerate(lines)]
    places = stack([*axes[::-1], ones(spatial, dtype=theta.dtype)], -1)
    return einsum("...j,nij->n...i", places, theta)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The input at the places of the grid: bilinear (trilinear), nearest, or bicubic."""
    rank = input.ndim - 2
    if rank not in (2, 3) or grid.ndim != input.ndim or grid.shape[-1] != rank or grid.shape[0] != input.shape[0]:
        raise ShapeError(
            f"grid_sample: takes (N, C, H, W) with a grid (N, H', W', 2), or (N, C, D, H, W) with (N, D', H', W', 3); got "
            f"{input.shape} and {grid.shape}",
            here(),
        )
    if mode not in _WEIGHTS or padding_mode not in ("zeros", "border", "reflection") or (mode == "bicubic" and rank == 3):
        raise GraphcError(
            f"grid_sample: mode is one of {', '.join(_WEIGHTS)} (bicubic for images only), padding_mode 'zeros', 'border' or "
            f"'reflection', not {mode!r} and {padding_mode!r}",
            here(),
        )
    sizes, align = input.shape[2:], bool(align_corners)
    places = [_unnormalised(grid[..., rank - 1 - i], n, align) for i, n in enumerate(sizes)]
    if mode != "bicubic":
        places = [_placed(p, n, padding_mode, align) for p, n in zip(places, sizes, strict=True)]
    taps = [_WEIGHTS[mode](p) for p in places]  # for each dimension the (index, weight) pairs around the place
    flat = input.flatten(2)
    total: Any = 0
    for corner in product(*taps):
        total = total + _corner(flat, corner, sizes, padding_mode, align, mode == "bicubic")
    return total


def _corner(flat: Tensor, corner: Any, sizes: tuple[int, ...], border: str, align: bool, late: bool) -> Tensor:
    """One neighbour of every place, times its weight."""
    index: Any = 0
    factor: Any = 1
    for (place, weight), n in zip(corner, sizes, strict=True):
        at = _placed(place, n, border, align) if late else place
        inside = (at >= 0) & (at <= n - 1)
        index = index * n + where(inside, at, 0).to("int64")
        factor = factor * (where(inside, weight, 0) if border == "zeros" else weight)
    n, c, _ = flat.shape
    chosen = index.flatten(1).unsqueeze(1).expand(n, c, prod(index.shape[1:]))
    return flat.gather(2, chosen).reshape((n, c, *index.shape[1:])) * factor.unsqueeze(1)


def _unnormalised(g: Tensor, n: int, align: bool) -> Tensor:
    return (g + 1) * ((n - 1) / 2) if align else ((g + 1) * n - 1) / 2


def _placed(p: Tensor, n: int, border: str, align: bool) -> Tensor:
    """Places brought inside; with zeros they stay, and their weights will be 0."""
    if border == "zeros":
        return p
    if border == "reflection":
        low, span = (0.0, n - 1) if align else (-0.5, n)
        if span == 0:
            return p * 0
        distance = (p - low).abs()
        turns = (distance / span).floor().detach()
        rest = distance - turns * span
        p = where((turns % 2) == 0, rest, span - rest) + low
    return where(p <= 0, 0, where(p >= n - 1, n - 1, p))


def _linear(p: Tensor) -> list[tuple[Tensor, Tensor]]:
    first = p.floor().detach()
    part = p - first
    return [(first, 1 - part), (first + 1, part)]


def _nearest(p: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(p.round().detach(), 1 + 0 * p.detach())]


def _cubic(p: Tensor) -> list[tuple[Tensor, Tensor]]:
    first = p.floor().detach()
    part = p - first
    weights = [cubic_far(1 + part), cubic_near(part), cubic_near(1 - part), cubic_far(2 - part)]
    return [(first + k - 1, weight) for k, weight in enumerate(weights)]


_WEIGHTS = {"bilinear": _linear, "nearest": _nearest, "bicubic": _cubic}

__all__ = ["affine_grid", "grid_sample"]
