"""Padding layers of 1 to 3 spatial dimensions.

In: one width, or (low, high) pairs from the last dimension on. Out: modules without parameters around functional.pad.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ShapeError
from ..ir.location import here
from ..tensor import Tensor
from . import functional
from .module import Module


class _Pad(Module):
    rank = 0
    mode = "constant"
    value = 0.0

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.rank) if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 2 * self.rank:
            raise ShapeError(
                f"{type(self).__name__}: padding is one int or {2 * self.rank}, (low, high) from the last dimension on; got "
                f"{padding}",
                here(),
            )

    def forward(self, input: Tensor) -> Tensor:
        if self.mode != "constant" and input.ndim not in (self.rank + 1, self.rank + 2):
            raise ShapeError(
                f"{type(self).__name__}: takes {self.rank + 1} or {self.rank + 2} dimensions, got {input.shape}", here()
            )
        return functional.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A value around (N, C, L)."""

    rank = 1


class ConstantPad2d(_ConstantPad):
    """A value around (N, C, H, W)."""

    rank = 2


class ConstantPad3d(_ConstantPad):
    """A value around (N, C, D, H, W)."""

    rank = 3


class ZeroPad1d(_Pad):
    """Zeros around (N, C, L)."""

    rank = 1


class ZeroPad2d(_Pad):
    """Zeros around (N, C, H, W)."""

    rank = 2


class ZeroPad3d(_Pad):
    """Zeros around (N, C, D, H, W)."""

    rank = 3


class ReflectionPad1d(_Pad):
    """A mirror image, without the border element itself, around (N, C, L)."""

    rank, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """A mirror image, without the border element itself, around (N, C, H, W)."""

    rank, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """A mirror image, without the border element itself, around (N, C, D, H, W)."""

    rank, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The border element around (N, C, L)."""

    rank, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The border element around (N, C, H, W)."""

    rank, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The border element around (N, C, D, H, W)."""

    rank, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """The other end around (N, C, L)."""

    rank, mode = 1, "circular"


class CircularPad2d(_Pad):
    """The other end around (N, C, H, W)."""

    rank, mode = 2, "circular"


class CircularPad3d(_Pad):
    """The other end around (N, C, D, H, W)."""

    rank, mode = 3, "circular"
