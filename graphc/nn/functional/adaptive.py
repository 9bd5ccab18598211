"""Pooling to a given output size, whatever the input size, as functions.

In: a tensor (N, C, spatial...) and an output size, None where an extent stays. Out: output i of a dimension averages or
maximises elements floor(i n / size) to ceil((i + 1) n / size). Equal windows are plain pooling; others are products with
averaging matrices, or maxima over gathered windows.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...ir.location import here
from ...tensor import Tensor
from ...tensor.precision import rounded_once
from ...tensor.products import dot
from .pooling import avg_pool, max_pool
from .ranks import check_rank, for_ranks


def _sizes(rank: int, x: Tensor, output_size: Any, name: str) -> tuple[int, ...]:
    check_rank(name, x, rank)
    given = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,) * rank
    if len(given) != rank:
        raise ShapeError(f"{name}: output_size {output_size} must be one number or {rank}", here())
    sizes = tuple(n if size is None else size for n, size in zip(x.shape[-rank:], given, strict=True))
    if any(size and not n for n, size in zip(x.shape[-rank:], sizes, strict=True)):
        raise ShapeError(f"{name}: there are no elements in {x.shape} to pool to {sizes}", here())
    return sizes


def _even(x: Tensor, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The extents of the windows, if all are equal and do not overlap."""
    spatial = x.shape[x.ndim - len(sizes) :]
    if all(size and n % size == 0 for n, size in zip(spatial, sizes, strict=True)):
        return tuple(n // size for n, size in zip(spatial, sizes, strict=True))
    return None


def _windows(n: int, size: int) -> list[tuple[int, int]]:
    return [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]


@rounded_once
def adaptive_avg_pool(rank: int, input: Tensor, output_size: Any) -> Tensor:
    """Averages over windows of (N, C, {space}), or without N, chosen so that the result has `output_size` (None keeps one)."""
    x = input
    sizes = _sizes(rank, x, output_size, f"adaptive_avg_pool{rank}d")
    if all(size == 1 for size in sizes):
        return x.mean(tuple(range(-rank, 0)), keepdim=True)
    window = _even(x, sizes)
    if window is not None:
        return avg_pool(rank, x, window)
    for d, size in enumerate(sizes, x.ndim - rank):
        matrix = x.lift(_averaging(x.shape[d], size).astype(x.dtype.numpy))
        x = x.wrap(dot(x.value, matrix.value, ((d,), (1,)))).movedim(-1, d)
    return x


def _averaging(n: int, size: int) -> np.ndarray:
    """Row i averages window i."""
    matrix = np.zeros((size, n))
    for row, (start, stop) in zip(matrix, _windows(n, size), strict=True):
        row[start:stop] = 1 / (stop - start)
    return matrix


def adaptive_max_pool(rank: int, input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima over windows of (N, C, {space}), or without N, chosen so that the result has `output_size` (None keeps one).

    return_indices: also the place of each in the flattened {space}.
    """
    x = input
    sizes = _sizes(rank, x, output_size, f"adaptive_max_pool{rank}d")
    window = _even(x, sizes)
    if window is not None:
        return max_pool(rank, x, window, return_indices=return_indices)
    places = _places(x.shape[-rank:], sizes)
    flat = x.flatten(x.ndim - rank)
    candidates = flat.index_select(-1, places.reshape(-1)).unflatten(-1, places.shape)
    table = x.lift(places).broadcast_to(candidates.shape)
    chosen = table.gather(-1, candidates.argmax(-1, keepdim=True)).squeeze(-1)
    pooled = flat.gather(-1, chosen).unflatten(-1, sizes)
    return (pooled, chosen.unflatten(-1, sizes)) if return_indices else pooled


def _places(spatial: tuple[int, ...], sizes: tuple[int, ...]) -> np.ndarray:
    """For each output the flat places of its window, in order; short windows repeat their last element."""
    places = np.zeros((1, 1), np.int64)
    for n, size in zip(spatial, sizes, strict=True):
        windows = _windows(n, size)
        widest = max((stop - start for start, stop in windows), default=0)
        line = np.array([[min(start + k, stop - 1) for k in range(widest)] for start, stop in windows], np.int64)
        line = line.reshape(size, widest)
        grid = places[:, None, :, None] * n + line[None, :, None, :]
        places = grid.reshape(prod(grid.shape[:2]), prod(grid.shape[2:]))
    return places


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = for_ranks(adaptive_avg_pool)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = for_ranks(adaptive_max_pool)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
]
