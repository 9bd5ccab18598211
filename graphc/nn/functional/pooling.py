"""Pooling and resizing as functions, with PyTorch's layouts (N, C, spatial...).

In: tensors and static windows. Out: maxima or averages over windows. Averages that do not count the padding divide by
counts known when the graph is built.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np

from ...dtype import int64
from ...errors import ShapeError
from ...ir.location import here
from ...ir.values import make
from ...tensor import Tensor, where
from ...tensor.creation import zeros
from ...tensor.precision import rounded_once
from .ranks import Size, check_rank, for_ranks, per_axis


class _Window:
    """Sizes, strides and padding (low, high) of the spatial dimensions; ceil mode only adds to the high padding."""

    def __init__(self, name: str, x: Tensor, rank: int, size: Any, stride: Any, pad: Any, dilation: Any, ceil: bool) -> None:
        self.size = per_axis(size, rank, f"{name}: kernel_size")
        self.stride = self.size if stride in (None, ()) else per_axis(stride, rank, f"{name}: stride")
        self.pad = per_axis(pad, rank, f"{name}: padding")
        self.dilation = per_axis(dilation, rank, f"{name}: dilation")
        if min(*self.size, *self.stride, *self.dilation) < 1:
            sizes = f"kernel_size {self.size}, stride {self.stride} and dilation {self.dilation}"
            raise ShapeError(f"{name}: {sizes} must be at least 1", here())
        if any(2 * p > k for p, k in zip(self.pad, self.size, strict=True)):
            raise ShapeError(f"{name}: padding {self.pad} must be at most half of the kernel {self.size}", here())
        self.high = tuple(self._high(n, i, ceil, name, x) for i, n in enumerate(x.shape[-rank:]))

    def _high(self, n: int, i: int, ceil: bool, name: str, x: Tensor) -> int:
        span, pad, stride = self.dilation[i] * (self.size[i] - 1) + 1, self.pad[i], self.stride[i]
        room = n + 2 * pad - span
        if room < 0:
            raise ShapeError(
                f"{name}: the window spans {span} but spatial dimension {i} of the input {x.shape} with padding {pad} has "
                f"{n + 2 * pad}; use a smaller window or larger images",
                here(),
            )
        count = math.ceil(room / stride) if ceil else room // stride
        if ceil and count * stride >= n + pad:  # the last window must start inside the input or its left padding
            count -= 1
        return max(pad, count * stride + span - n - pad)

    def _attrs(self, x: Tensor) -> dict[str, Any]:
        lead = (1,) * (x.ndim - len(self.size))
        zero = tuple((0, 0) for _ in lead)
        return {
            "window": lead + self.size,
            "strides": lead + self.stride,
            "padding": zero + tuple(zip(self.pad, self.high, strict=True)),
            "dilation": lead + self.dilation,
        }

    def reduce(self, x: Tensor, kind: str) -> Tensor:
        return x.wrap(make("reduce_window", x.value, **self._attrs(x), kind=kind))

    def chosen(self, x: Tensor) -> Tensor:
        """The place of each window's first maximum, counted within the spatial dimensions of x (int64)."""
        rank, lead = len(self.size), x.ndim - len(self.size)
        offset = x.wrap(make("window_argmax", x.value, **self._attrs(x))).to(int64)
        place: Any = 0
        for i in range(rank):
            tap = (offset // prod(self.size[i + 1 :])) % self.size[i]
            start = x.wrap(make("iota", dtype=int64, shape=offset.shape, axis=lead + i)) * self.stride[i] - self.pad[i]
            place = place * x.shape[lead + i] + start + tap * self.dilation[i]
        return place


def max_pool(
    rank: int,
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of (N, C, {space}), or without N; the windows are `stride`, or their size, apart.

    Padding never wins, and the gradient goes to the first maximum. return_indices: also its place in the flattened {space}.
    """
    name = f"max_pool{rank}d"
    check_rank(name, input, rank)
    window = _Window(name, input, rank, kernel_size, stride, padding, dilation, ceil_mode)
    pooled = window.reduce(input, "max")
    return (pooled, window.chosen(input)) if return_indices else pooled


def max_unpool(
    rank: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros, with the elements of (N, C, {space}) at the places that max_pool{rank}d named; as large as its input was, or
    output_size."""
    name, x = f"max_unpool{rank}d", input
    check_rank(name, x, rank)
    if indices.shape != x.shape:
        raise ShapeError(f"{name}: the indices {indices.shape} must have the shape of the input {x.shape}", here())
    kernel, pads = per_axis(kernel_size, rank, f"{name}: kernel_size"), per_axis(padding, rank, f"{name}: padding")
    strides = kernel if stride is None else per_axis(stride, rank, f"{name}: stride")
    lead, spatial = x.shape[:-rank], x.shape[-rank:]
    full = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(spatial, strides, pads, kernel, strict=True))
    if output_size is not None:
        full = tuple(output_size)[-rank:]
    target = zeros((*lead, prod(full)), dtype=x.dtype)
    flat = target.scatter(-1, indices.flatten(-rank), x.flatten(-rank))
    return flat.reshape((*lead, *full))


@rounded_once
def avg_pool(
    rank: int,
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window of (N, C, {space}), or without N, or its sum over divisor_override."""
    name = f"avg_pool{rank}d"
    check_rank(name, input, rank)
    window = _Window(name, input, rank, kernel_size, stride, padding, 1, ceil_mode)
    total = window.reduce(input, "sum")
    if divisor_override is not None:
        return total / divisor_override
    counts = _counts(window, input.shape[-rank:], count_include_pad)
    if (counts == counts.flat[0]).all():
        return total / float(counts.flat[0])
    return total / input.lift(counts.astype(input.dtype.numpy))


def _counts(window: _Window, shape: tuple[int, ...], include: bool) -> np.ndarray:
    """How many elements each window averages: those inside the input, with its padding if `include`."""
    result = np.ones((), np.float64)
    for i, n in enumerate(shape):
        pad, high, size, stride = window.pad[i], window.high[i], window.size[i], window.stride[i]
        first = np.arange(0, n + pad + high - size + 1, stride) - pad
        low, end = (-pad, n + pad) if include else (0, n)
        result = np.multiply.outer(result, np.minimum(first + size, end) - np.maximum(first, low))
    return result


@rounded_once
def lp_pool(
    rank: int, input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """The p-th root of the sum of p-th powers in each window of (N, C, {space}), or without N; its gradient at 0 is 0."""
    name = f"lp_pool{rank}d"
    check_rank(name, input, rank)
    window = _Window(name, input, rank, kernel_size, stride, 0, 1, ceil_mode)
    total = window.reduce(input**norm_type, "sum")
    if ceil_mode:  # a cut window counts as much as a whole one, as PyTorch's average times the size does
        counts = _counts(window, input.shape[-rank:], True)
        total = total * input.lift((prod(window.size) / counts).astype(input.dtype.numpy))
    zero = total == 0
    return where(zero, 0, where(zero, 1, total) ** (1.0 / norm_type))


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The average of each window of (N, C, L), or without N; unlike the others it takes no divisor_override."""
    return avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


_, avg_pool2d, avg_pool3d = for_ranks(avg_pool)
lp_pool1d, lp_pool2d, lp_pool3d = for_ranks(lp_pool)
max_pool1d, max_pool2d, max_pool3d = for_ranks(max_pool)
max_unpool1d, max_unpool2d, max_unpool3d = for_ranks(max_unpool)

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]
