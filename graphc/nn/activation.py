"""Activations as modules.

In: the function's options, as attributes. Out: modules that call the function of the same name; `repr` shows the options
as PyTorch does. `inplace` is taken for the sake of ported programs and has no meaning here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..dtype import dtype as dtype_of
from ..errors import ShapeError
from ..ir.location import here
from ..tensor import Tensor
from . import functional
from .module import Module
from .parameter import Parameter


class _Activation(Module):
    """A function of one tensor and of options, which are attributes."""

    function: ClassVar[Callable[..., Tensor]]
    hidden: ClassVar[tuple[str, ...]] = ()  # options that repr leaves out

    def __init__(self, **options: Any) -> None:
        super().__init__()
        for name, value in options.items():
            setattr(self, name, value)
        self._options = tuple(options)

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, **{name: getattr(self, name) for name in self._options})

    def extra_repr(self) -> str:
        shown = {name: getattr(self, name) for name in self._options if name not in self.hidden}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if name != "inplace" or value)


class _InPlace(_Activation):
    """An activation whose only option is `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class ReLU(_InPlace):
    """max(x, 0)."""

    function = staticmethod(functional.relu)


class ReLU6(_InPlace):
    """x between 0 and 6."""

    function = staticmethod(functional.relu6)


class SELU(_InPlace):
    """elu with the scale and alpha that keep mean 0 and variance 1."""

    function = staticmethod(functional.selu)


class SiLU(_InPlace):
    """x * sigmoid(x)."""

    function = staticmethod(functional.silu)


class Mish(_InPlace):
    """x * tanh(softplus(x))."""

    function = staticmethod(functional.mish)


class Hardswish(_InPlace):
    """x * hardsigmoid(x)."""

    function = staticmethod(functional.hardswish)
    hidden = ("inplace",)


class Hardsigmoid(_InPlace):
    """relu6(x + 3) / 6."""

    function = staticmethod(functional.hardsigmoid)
    hidden = ("inplace",)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(functional.sigmoid)


class LogSigmoid(_Activation):
    """log(sigmoid(x))."""

    function = staticmethod(functional.logsigmoid)


class Tanh(_Activation):
    function = staticmethod(functional.tanh)


class Tanhshrink(_Activation):
    """x - tanh(x)."""

    function = staticmethod(functional.tanhshrink)


class Softsign(_Activation):
    """x / (1 + |x|)."""

    function = staticmethod(functional.softsign)


class GELU(_Activation):
    """x times the normal distribution function of x, or its tanh approximation."""

    function = staticmethod(functional.gelu)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(approximate=approximate)


class LeakyReLU(_Activation):
    """x, and x times a small slope below 0."""

    function = staticmethod(functional.leaky_relu)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(negative_slope=negative_slope, inplace=inplace)


class ELU(_Activation):
    """x, and alpha (exp(x) - 1) below 0."""

    function = staticmethod(functional.elu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha, inplace=inplace)


class CELU(ELU):
    """x, and alpha (exp(x / alpha) - 1) below 0."""

    function = staticmethod(functional.celu)


class Hardtanh(_Activation):
    """x between two bounds."""

    function = staticmethod(functional.hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(min_val=min_val, max_val=max_val, inplace=inplace)


class Threshold(_Activation):
    """x, and a value where x is not above the threshold."""

    function = staticmethod(functional.threshold)

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(threshold=threshold, value=value, inplace=inplace)


class Softplus(_Activation):
    """log(1 + exp(beta x)) / beta."""

    function = staticmethod(functional.softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class Hardshrink(_Activation):
    """x, and 0 between -lambd and lambd."""

    function = staticmethod(functional.hardshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(Hardshrink):
    """x moved towards 0 by lambd."""

    function = staticmethod(functional.softshrink)


class RReLU(_Activation):
    """LeakyReLU with a slope drawn anew for each element in training."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__(lower=lower, upper=upper, inplace=inplace)

    def forward(self, input: Tensor) -> Tensor:
        return functional.rrelu(input, self.lower, self.upper, self.training)


class PReLU(Module):
    """leaky_relu with learned slopes: one, or one per channel."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: Any = "float32") -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, init, dtype_of(dtype).numpy))

    def forward(self, input: Tensor) -> Tensor:
        return functional.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Softmax(_Activation):
    """exp(x) over its sum along `dim`."""

    function = staticmethod(functional.softmax)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__(dim=dim)


class LogSoftmax(Softmax):
    """The logarithm of softmax."""

    function = staticmethod(functional.log_softmax)


class Softmin(Softmax):
    """softmax of -x."""

    function = staticmethod(functional.softmin)


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: takes (N, C, H, W) or (C, H, W), got {input.shape}", here())
        return functional.softmax(input, -3)


class GLU(_Activation):
    """The first half along `dim` times the sigmoid of the second."""

    function = staticmethod(functional.glu)

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim=dim)
