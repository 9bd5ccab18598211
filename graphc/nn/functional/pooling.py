"""Pooling and resizing as functions, with PyTorch's layouts (N, C, spatial...).

In: tensors and static windows. Out: maxima or averages over windows. Averages that do not count the padding divide by
counts known when the graph is built.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...ir.location import here
from ...ir.values import make
from ...tensor import Tensor
from ...tensor.products import dot
from .convolution import Size, per_axis


class _Window:
    """Sizes, strides and padding (low, high) of the spatial dimensions; ceil mode only adds to the high padding."""

    def __init__(self, name: str, x: Tensor, rank: int, size: Any, stride: Any, pad: Any, dilation: Any, ceil: bool) -> None:
        self.size = per_axis(size, rank, f"{name}: kernel_size")
        self.stride = self.size if stride is None else per_axis(stride, rank, f"{name}: stride")
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

    def reduce(self, x: Tensor, kind: str) -> Tensor:
        lead = (1,) * (x.ndim - len(self.size))
        zero = tuple((0, 0) for _ in lead)
        value = make(
            "reduce_window",
            x.value,
            window=lead + self.size,
            strides=lead + self.stride,
            padding=zero + tuple(zip(self.pad, self.high, strict=True)),
            dilation=lead + self.dilation,
            kind=kind,
        )
        return x.wrap(value)


def _check_rank(name: str, x: Tensor, rank: int) -> None:
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(f"{name}: takes (N, C, {', '.join('DHW'[3 - rank :])}) or without N, got {x.shape}", here())


def _max_pool(rank: int, x: Tensor, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Tensor:
    _check_rank(f"max_pool{rank}d", x, rank)
    return _Window(f"max_pool{rank}d", x, rank, size, stride, padding, dilation, ceil_mode).reduce(x, "max")


def max_pool1d(
    x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1, ceil_mode: bool = False
) -> Tensor:
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1, ceil_mode: bool = False
) -> Tensor:
    """The largest element of each window; padding never wins, and the gradient goes to the first maximum."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(
    x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1, ceil_mode: bool = False
) -> Tensor:
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode)


def _avg_pool(
    rank: int, x: Tensor, size: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool, divisor: Any
) -> Tensor:
    name = f"avg_pool{rank}d"
    _check_rank(name, x, rank)
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
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window."""
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    return _avg_pool(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _adaptive(rank: int, x: Tensor, output_size: Any, name: str) -> tuple[int, ...]:
    _check_rank(name, x, rank)
    given = output_size if isinstance(output_size, tuple | list) else (output_size,) * rank
    return tuple(n if size is None else size for n, size in zip(x.shape[-rank:], given, strict=True))


def _adaptive_avg_pool(rank: int, x: Tensor, output_size: Any) -> Tensor:
    """Equal windows are an average pool, one window a mean; other sizes are products with averaging matrices."""
    sizes = _adaptive(rank, x, output_size, f"adaptive_avg_pool{rank}d")
    spatial = x.shape[-rank:]
    if all(size == 1 for size in sizes):
        return x.mean(tuple(range(-rank, 0)), keepdim=True)
    if all(size and n % size == 0 for n, size in zip(spatial, sizes, strict=True)):
        return _avg_pool(rank, x, tuple(n // s for n, s in zip(spatial, sizes, strict=True)), None, 0, False, True, None)
    for i, (n, size) in enumerate(zip(spatial, sizes, strict=True)):
        d = x.ndim - rank + i
        matrix = x.lift(_averaging(n, size).astype(x.dtype.numpy))
        x = x.wrap(dot(x.value, matrix.value, ((d,), (1,)))).movedim(-1, d)
    return x


def _averaging(n: int, size: int) -> np.ndarray:
    """Row i averages elements floor(i n / size) to ceil((i + 1) n / size)."""
    matrix = np.zeros((size, n))
    for i in range(size):
        start, stop = i * n // size, -(-(i + 1) * n // size)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def adaptive_avg_pool1d(x: Tensor, output_size: Any) -> Tensor:
    return _adaptive_avg_pool(1, x, output_size)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Averages over windows chosen so that the result has `output_size`."""
    return _adaptive_avg_pool(2, x, output_size)


def adaptive_max_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Maxima over equal windows; `output_size` must divide the input."""
    sizes = _adaptive(2, x, output_size, "adaptive_max_pool2d")
    if any(n % size for n, size in zip(x.shape[-2:], sizes, strict=True)):
        raise ShapeError(f"adaptive_max_pool2d: {sizes} does not divide the spatial dimensions of {x.shape}", here())
    return max_pool2d(x, tuple(n // size for n, size in zip(x.shape[-2:], sizes, strict=True)))


def interpolate_nearest(x: Tensor, scale_factor: int) -> Tensor:
    """Each spatial element repeated `scale_factor` times in every spatial dimension."""
    for d in range(2, x.ndim):
        x = x.repeat_interleave(scale_factor, d)
    return x


__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "interpolate_nearest",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]
