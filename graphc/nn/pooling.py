"""Pooling layers.

In: window geometry, or an output size. Out: modules without parameters that call the function of the same name.
"""

from __future__ import annotations

from typing import Any

from ..errors import GraphcError
from ..ir.location import here
from ..tensor import Tensor
from .functional.adaptive import adaptive_avg_pool, adaptive_max_pool
from .functional.fractional import fractional_max_pool
from .functional.pooling import avg_pool, avg_pool1d, lp_pool, max_pool, max_unpool
from .functional.ranks import Size
from .module import Module


class _Pool(Module):
    rank = 0
    shown: tuple[str, ...] = ()  # attributes that repr names

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


class _MaxPool(_Pool):
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.return_indices, self.ceil_mode = padding, dilation, return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation)
        return max_pool(self.rank, input, *geometry, self.ceil_mode, self.return_indices)


class MaxPool1d(_MaxPool):
    """The largest element of each window of (N, C, L)."""

    rank = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of (N, C, H, W)."""

    rank = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window of (N, C, D, H, W)."""

    rank = 3


class _MaxUnpool(_Pool):
    shown = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        each = [(n,) * self.rank if isinstance(n, int) else tuple(n) for n in (kernel_size, stride or kernel_size, padding)]
        self.kernel_size, self.stride, self.padding = each

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return max_unpool(self.rank, input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool):
    """Zeros, with the elements where MaxPool1d found them."""

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """Zeros, with the elements where MaxPool2d found them."""

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """Zeros, with the elements where MaxPool3d found them."""

    rank = 3


class AvgPool1d(_Pool):
    """The average of each window of (N, C, L)."""

    rank = 1
    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        given = (kernel_size, kernel_size if stride is None else stride, padding)
        self.kernel_size, self.stride, self.padding = ((n,) if isinstance(n, int) else tuple(n) for n in given)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        geometry = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return avg_pool1d(input, *geometry, self.count_include_pad)


class _AvgPool(_Pool):
    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        geometry = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return avg_pool(self.rank, input, *geometry, self.count_include_pad, self.divisor_override)


class AvgPool2d(_AvgPool):
    """The average of each window of (N, C, H, W)."""

    rank = 2


class AvgPool3d(_AvgPool):
    """The average of each window of (N, C, D, H, W)."""

    rank = 3


class _LPPool(_Pool):
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return lp_pool(self.rank, input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """The p-norm of each window of (N, C, L)."""

    rank = 1


class LPPool2d(_LPPool):
    """The p-norm of each window of (N, C, H, W)."""

    rank = 2


class LPPool3d(_LPPool):
    """The p-norm of each window of (N, C, D, H, W)."""

    rank = 3


class _AdaptiveAvgPool(_Pool):
    shown = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return adaptive_avg_pool(self.rank, input, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Averages over windows chosen so that the result has `output_size`."""

    rank = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Averages over windows chosen so that the result has `output_size`."""

    rank = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Averages over windows chosen so that the result has `output_size`."""

    rank = 3


class _AdaptiveMaxPool(_Pool):
    shown = ("output_size",)

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        return adaptive_max_pool(self.rank, input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima over windows chosen so that the result has `output_size`."""

    rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima over windows chosen so that the result has `output_size`."""

    rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima over windows chosen so that the result has `output_size`."""

    rank = 3


class _FractionalMaxPool(_Pool):
    shown = ("kernel_size", "output_size", "output_ratio")

    def __init__(
        self,
        kernel_size: Size,
        output_size: Size | None = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            raise GraphcError(f"{type(self).__name__}: needs either output_size or output_ratio", here())
        self.kernel_size, self.output_size, self.output_ratio = kernel_size, output_size, output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, input: Tensor) -> Any:
        sizes = (self.output_size, self.output_ratio)
        return fractional_max_pool(self.rank, input, self.kernel_size, *sizes, self.return_indices, self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """Maxima of windows of (N, C, H, W) that start at random places, so that the result has output_size, or output_ratio times
    the input's."""

    rank = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """Maxima of windows of (N, C, D, H, W) that start at random places."""

    rank = 3
