"""Convolution layers.

In: channels, kernel size and geometry. Out: modules with PyTorch's parameter names, shapes and initial distributions.
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import GraphcError, ShapeError
from ..ir.location import here
from ..tensor import Tensor
from . import functional, init
from .functional.convolution import conv, conv_transpose
from .functional.ranks import Size, per_axis
from .linear import check_sizes, empty
from .module import Module

_BORDERS = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
_NAMED = ("same", "valid")


class _Conv(Module):
    """What convolutions of 1 to 3 spatial dimensions share."""

    rank = 0
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_sizes((in_channels, out_channels, groups))
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(f"{name}: {in_channels} and {out_channels} channels do not divide into {groups} groups", here())
        if padding_mode not in _BORDERS:
            raise GraphcError(f"{name}: padding_mode is one of {', '.join(_BORDERS)}, not {padding_mode!r}", here())
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size = per_axis(kernel_size, self.rank, f"{name}: kernel_size")
        self.stride = per_axis(stride, self.rank, f"{name}: stride")
        self.dilation = per_axis(dilation, self.rank, f"{name}: dilation")
        where = f"{name}: padding, where it is not 'same' or 'valid',"
        self.padding = padding if isinstance(padding, str) and padding in _NAMED else per_axis(padding, self.rank, where)
        out, into = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = empty((out, into // groups, *self.kernel_size), dtype)
        self.register_parameter("bias", empty((out_channels,), dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(init.fans(self.weight)[0], 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        x = input
        padding: Size | str = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._bordered(x), 0
        return conv(self.rank, x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _bordered(self, x: Tensor) -> Tensor:
        """The input with its padding put on by `functional.pad`, because it is not zeros."""
        sides: list[int] = []
        for i in reversed(range(self.rank)):
            total = self.dilation[i] * (self.kernel_size[i] - 1)
            if isinstance(self.padding, str):
                sides += [total // 2, total - total // 2] if self.padding == "same" else [0, 0]
            else:
                sides += [self.padding[i]] * 2
        return functional.pad(x, sides, mode=_BORDERS[self.padding_mode])

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        one, zero = (1,) * self.rank, (0,) * self.rank
        shown: dict[str, tuple[Any, Any]] = {"padding": (self.padding, zero), "dilation": (self.dilation, one)}
        if self.transposed:
            shown["output_padding"] = (self.output_padding, zero)
        shown["groups"] = (self.groups, 1)
        text += "".join(f", {name}={value}" for name, (value, default) in shown.items() if value != default)
        text += "" if self.bias is not None else ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class Conv1d(_Conv):
    """The cross-correlation over (N, C, L)."""

    rank = 1


class Conv2d(_Conv):
    """The cross-correlation over (N, C, H, W); weight (out, in / groups, KH, KW)."""

    rank = 2


class Conv3d(_Conv):
    """The cross-correlation over (N, C, D, H, W)."""

    rank = 3


class _ConvTransposed(_Conv):
    """The transpose of a convolution; weight (in, out / groups, kernel...)."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        dtype: Any = "float32",
    ) -> None:
        if padding_mode != "zeros":
            raise GraphcError(f"{type(self).__name__}: padding_mode must be 'zeros', not {padding_mode!r}", here())
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, "zeros", dtype)
        self.output_padding = per_axis(output_padding, self.rank, f"{type(self).__name__}: output_padding")

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._extra(input, tuple(output_size))
        geometry = (self.stride, self.padding, extra, self.groups, self.dilation)
        return conv_transpose(self.rank, input, self.weight, self.bias, *geometry)  # type: ignore[arg-type]

    def _extra(self, input: Tensor, size: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives spatial dimensions of `size`."""
        spatial, wanted = input.shape[-self.rank :], size[-self.rank :]
        padding = per_axis(self.padding, self.rank, "padding")
        smallest = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(spatial, self.stride, padding, self.dilation, self.kernel_size, strict=True)
        )
        extra = tuple(w - n for w, n in zip(wanted, smallest, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            top = tuple(n + s - 1 for n, s in zip(smallest, self.stride, strict=True))
            raise ShapeError(f"{type(self).__name__}: output_size {wanted} must lie between {smallest} and {top}", here())
        return extra


class ConvTranspose1d(_ConvTransposed):
    """Upsamples (N, C, L)."""

    rank = 1


class ConvTranspose2d(_ConvTransposed):
    """Upsamples (N, C, H, W)."""

    rank = 2


class ConvTranspose3d(_ConvTransposed):
    """Upsamples (N, C, D, H, W)."""

    rank = 3
