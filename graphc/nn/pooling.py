"""Pooling layers.

In: window geometry. Out: modules without parameters that call the function of the same name.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional
from .functional.convolution import Size
from .module import Module


class _MaxPool(Module):
    rank = 0

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[self.rank - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class MaxPool1d(_MaxPool):
    rank = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of (N, C, H, W)."""

    rank = 2


class MaxPool3d(_MaxPool):
    rank = 3


class _AvgPool(Module):
    rank = 0

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[self.rank - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    rank = 1


class AvgPool2d(_AvgPool):
    """The average of each window of (N, C, H, W)."""

    rank = 2


class AvgPool3d(_AvgPool):
    rank = 3


class _Adaptive(Module):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_Adaptive):
    """Averages over windows chosen so that the result has `output_size`."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool2d(_Adaptive):
    """Maxima over equal windows."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_max_pool2d(x, self.output_size)


class Upsample(Module):
    """Each element repeated; mode "nearest" with a whole scale factor."""

    def __init__(self, scale_factor: int) -> None:
        super().__init__()
        self.scale_factor = scale_factor

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate_nearest(x, self.scale_factor)

    def extra_repr(self) -> str:
        return f"scale_factor={self.scale_factor}, mode='nearest'"
