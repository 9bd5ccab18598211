"""Maxima over windows whose starts are drawn at random, as functions.

In: a tensor (N, C, spatial...) or without N, a window, and the size of the result or its share of the input's. Out: the
largest element of each window. Graham, "Fractional max-pooling" (https://arxiv.org/abs/1412.6071): window i of a dimension
starts at floor((i + u) a) - floor(u a), a = (n - window) / (windows - 1), one u in [0, 1) for each channel and dimension.
"""

from __future__ import annotations

from typing import Any

from ...dtype import int64
from ...errors import ShapeError
from ...ir.location import here
from ...tensor import Tensor, where
from ...tensor.creation import arange
from ...tensor.random import rand
from .ranks import Size, check_rank, for_ranks, per_axis


def fractional_max_pool(
    rank: int,
    input: Tensor,
    kernel_size: Size,
    output_size: Size | None = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The largest element of each window of (N, C, {space}), or without N; either output_size or output_ratio is given.

    return_indices: also its place in the flattened {space}. _random_samples: (N, C, {rank}) in [0, 1) instead of drawn ones.
    """
    name, x = f"fractional_max_pool{rank}d", input
    check_rank(name, x, rank)
    if x.ndim == rank + 1:
        lifted = x.unsqueeze(0)
        found = fractional_max_pool(rank, lifted, kernel_size, output_size, output_ratio, True, _random_samples)
        return tuple(t.squeeze(0) for t in found) if return_indices else found[0].squeeze(0)
    windows, spatial = per_axis(kernel_size, rank, f"{name}: kernel_size"), x.shape[2:]
    counts = _counts(name, spatial, windows, output_size, output_ratio)
    draws = rand((*x.shape[:2], rank), dtype=x.dtype) if _random_samples is None else _random_samples[: x.shape[0]]
    if draws.shape != (*x.shape[:2], rank):
        raise ShapeError(f"{name}: _random_samples must be {(*x.shape[:2], rank)}, got {draws.shape}", here())
    place: Any = 0
    for d in range(rank):  # [N, C, counts..., windows...], in row-major order of the plane
        draw = draws[..., rank - 1 - d if rank == 2 else d]  # of a plane PyTorch draws the columns first
        start = _starts(draw, spatial[d], counts[d], windows[d])
        tap = arange(windows[d]).reshape((-1,) + (1,) * (rank - 1 - d))
        spread = (*x.shape[:2], *(n if i == d else 1 for i, n in enumerate(counts)), *(1,) * rank)
        place = place * spatial[d] + start.reshape(spread) + tap
    flat, places = x.flatten(2), place.reshape((*x.shape[:2], *counts, -1))
    seen = flat.gather(2, places.flatten(2)).reshape(places.shape)
    best = seen.argmax(-1, keepdim=True)
    chosen = places.gather(-1, best).squeeze(-1)
    pooled = flat.gather(2, chosen.flatten(2)).reshape(chosen.shape)
    return (pooled, chosen) if return_indices else pooled


def _counts(name: str, spatial: tuple[int, ...], windows: tuple[int, ...], size: Any, ratio: Any) -> tuple[int, ...]:
    """How many windows there are in each dimension."""
    if (size is None) == (ratio is None):
        raise ShapeError(f"{name}: needs either output_size or output_ratio", here())
    rank = len(spatial)
    if size is not None:
        counts = per_axis(size, rank, f"{name}: output_size")
    else:
        shares = tuple(ratio) if isinstance(ratio, tuple | list) else (ratio,) * rank
        if len(shares) != rank or not all(0 < share < 1 for share in shares):
            raise ShapeError(f"{name}: output_ratio must be between 0 and 1, for 1 or {rank} dimensions, not {ratio}", here())
        counts = tuple(int(n * share) for n, share in zip(spatial, shares, strict=True))
    if any(c < 1 or c + k - 1 > n for n, k, c in zip(spatial, windows, counts, strict=True)):
        raise ShapeError(f"{name}: {counts} windows of {windows} do not fit {spatial}", here())
    return counts


def _starts(draw: Tensor, n: int, count: int, window: int) -> Tensor:
    """[N, C, count]: where each window starts; the last one ends at the border."""
    number = arange(count)
    step = (n - window) / (count - 1) if count > 1 else 0.0
    at = draw.unsqueeze(-1)
    start = ((number.to(draw.dtype) + at) * step).to(int64) - (at * step).to(int64)
    return where(number == count - 1, n - window, start)


_, fractional_max_pool2d, fractional_max_pool3d = for_ranks(fractional_max_pool)

__all__ = ["fractional_max_pool2d", "fractional_max_pool3d"]
