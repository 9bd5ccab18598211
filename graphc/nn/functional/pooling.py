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
from .convolution import Size, per_axis


class _Window:
    """Sizes, strides and padding (low, high) of the spatial dimensions; ceil mode only adds to the high padding."""

    def __init__(self, name: str, x: Tensor, rank: int, size: Any, stride: Any, pad: Any, dilation: Any, ceil: bool) -> None:
        self.size = per_axis(size, rank, f"{name}: kernel_size")
        self.stride = self.size if stride in (None, ()) else per_axis(stride, rank, f"{name}: stride")
        self.pad = per_axis(pad, rank, f"{name}: padding")
        self.dilation = per_axis(dilation, rank, f"{name}: dilation")
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
        if 0 in x.shape[: x.ndim - len(self.size)]:
            return zeros((*x.shape[: x.ndim - len(self.size)], *self._counts(x)), dtype=x.dtype)
        return x.wrap(make("reduce_window", x.value, **self._attrs(x), kind=kind))

    def _counts(self, x: Tensor) -> tuple[int, ...]:
        """How many windows fit in each spatial dimension."""
        spatial = x.shape[x.ndim - len(self.size) :]
        geometry = zip(spatial, self.size, self.stride, self.pad, self.high, self.dilation, strict=True)
        return tuple((n + low + high - d * (k - 1) - 1) // s + 1 for n, k, s, low, high, d in geometry)

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


def check_rank(name: str, x: Tensor, rank: int) -> None:
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(f"{name}: takes (N, C, {', '.join('DHW'[3 - rank :])}) or without N, got {x.shape}", here())


def _max_pool(rank: int, x: Tensor, size: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, indices: bool) -> Any:
    check_rank(f"max_pool{rank}d", x, rank)
    window = _Window(f"max_pool{rank}d", x, rank, size, stride, padding, dilation, ceil)
    pooled = window.reduce(x, "max")
    return (pooled, window.chosen(x)) if indices else pooled


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """max_pool2d of 1 spatial dimension."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window; padding never wins, and the gradient goes to the first maximum."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """max_pool2d of 3 spatial dimensions."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _unpool(rank: int, x: Tensor, indices: Tensor, size: Any, stride: Any, padding: Any, output_size: Any) -> Tensor:
    name = f"max_unpool{rank}d"
    check_rank(name, x, rank)
    if indices.shape != x.shape:
        raise ShapeError(f"{name}: the indices {indices.shape} must have the shape of the input {x.shape}", here())
    kernel, pads = per_axis(size, rank, f"{name}: kernel_size"), per_axis(padding, rank, f"{name}: padding")
    strides = kernel if stride is None else per_axis(stride, rank, f"{name}: stride")
    lead, spatial = x.shape[:-rank], x.shape[-rank:]
    full = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(spatial, strides, pads, kernel, strict=True))
    if output_size is not None:
        full = tuple(output_size)[-rank:]
    target = zeros((*lead, prod(full)), dtype=x.dtype)
    flat = target.scatter(-1, indices.reshape((*lead, -1)), x.reshape((*lead, -1)))
    return flat.reshape((*lead, *full))


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros, with the elements at the places that max_pool1d named."""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros, with the elements at the places that max_pool2d named."""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros, with the elements at the places that max_pool3d named."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _avg_pool(
    rank: int, x: Tensor, size: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool, divisor: Any
) -> Tensor:
    name = f"avg_pool{rank}d"
    check_rank(name, x, rank)
    window = _Window(name, x, rank, size, stride, padding, 1, ceil_mode)
    total = window.reduce(x, "sum")
    if divisor is not None:
        return total / divisor
    counts = _counts(window, x.shape[-rank:], include)
    if (counts == counts.flat[0]).all():
        return total / float(counts.flat[0])
    return total / x.lift(counts.astype(x.dtype.numpy))


def _counts(window: _Window, shape: tuple[int, ...], include: bool) -> np.ndarray:
    """How many elements each window averages: those inside the input, with its padding if `include`."""
    result = np.ones((), np.float64)
    for i, n in enumerate(shape):
        pad, high, size, stride = window.pad[i], window.high[i], window.size[i], window.stride[i]
        first = np.arange(0, n + pad + high - size + 1, stride) - pad
        low, end = (-pad, n + pad) if include else (0, n)
        result = np.multiply.outer(result, np.minimum(first + size, end) - np.maximum(first, low))
    return result


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _lp_pool(rank: int, x: Tensor, norm_type: float, size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    """The p-th root of the sum of p-th powers of each window; its gradient at 0 is 0."""
    check_rank(f"lp_pool{rank}d", x, rank)
    window = _Window(f"lp_pool{rank}d", x, rank, size, stride, 0, 1, ceil_mode)
    total = window.reduce(x**norm_type, "sum")
    if ceil_mode:  # a cut window counts as much as a whole one, as PyTorch's average times the size does
        counts = _counts(window, x.shape[-rank:], True)
        total = total * x.lift((prod(window.size) / counts).astype(x.dtype.numpy))
    zero = total == 0
    return where(zero, 0, where(zero, 1, total) ** (1.0 / norm_type))


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """The p-th root of the sum of p-th powers in each window."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """The p-th root of the sum of p-th powers in each window."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """The p-th root of the sum of p-th powers in each window."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


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
