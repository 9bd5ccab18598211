"""Activations as functions of tensors, with PyTorch's names and defaults.

In: a float tensor. Out: a tensor of its shape. Definitions: https://pytorch.org/docs/stable/nn.functional.html. `inplace`
is taken for the sake of ported programs and has no meaning: a symbolic tensor lies nowhere.
"""

from __future__ import annotations

from typing import Any

from ...errors import GraphcError
from ...ir.location import here
from ...tensor import Tensor, where
from ...tensor.creation import one_hot
from ...tensor.functions import gelu, logsigmoid, sigmoid, softplus, tanh
from ...tensor.precision import rounded_once
from ...tensor.random import rand


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); NaN stays."""
    return input.relu()


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return input.silu()


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """`value` where x is not above the threshold."""
    return where(input <= threshold, value, input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return where(input > 0, input, input * negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """leaky_relu with a learned slope: one, or one per channel (dimension 1)."""
    slope = weight if weight.numel() == 1 or input.ndim < 2 else weight.reshape((-1,) + (1,) * (input.ndim - 2))
    scaled = input * (slope.reshape(()) if slope.numel() == 1 else slope)
    return where(input > 0, input, scaled)


def rrelu(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Tensor:
    """leaky_relu with a slope drawn for each element; with their mean unless training."""
    if lower > upper:
        raise GraphcError(f"rrelu: lower {lower} lies above upper {upper}", here())
    slope: Any = lower + (upper - lower) * rand(input.shape, dtype=input.dtype) if training else (lower + upper) / 2
    return where(input >= 0, input, input * slope)


@rounded_once
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return where(input > 0, input, alpha * where(input > 0, 0, input).expm1())


@rounded_once
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return where(input > 0, input, alpha * where(input > 0, 0, input / alpha).expm1())


@rounded_once
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    return 1.0507009873554805 * elu(input, 1.6732632423543772)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    return hardtanh(input, 0.0, 6.0)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Clamped; the gradient at the bounds is 0."""
    return where(input <= min_val, min_val, where(input >= max_val, max_val, input))


@rounded_once
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    return relu6(input + 3) / 6


@rounded_once
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    return input * hardsigmoid(input)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 between -lambd and lambd."""
    return where(input.abs() <= lambd, 0, input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Moved towards 0 by lambd, and 0 where that would pass it."""
    if lambd < 0:
        raise GraphcError(f"softshrink: lambd must not be negative, got {lambd}", here())
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0))


@rounded_once
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    return input * softplus(input).tanh()


@rounded_once
def softsign(input: Tensor) -> Tensor:
    return input / (1 + input.abs())


@rounded_once
def tanhshrink(input: Tensor) -> Tensor:
    return input - input.tanh()


def _axis(input: Tensor, dim: int | None) -> int:
    """PyTorch's choice where the user made none."""
    return dim if dim is not None else 0 if input.ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) over its sum along `dim`."""
    return _along(input, dim, "softmax", dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """The logarithm of softmax."""
    return _along(input, dim, "log_softmax", dtype)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax of -x."""
    return _along(-input, dim, "softmax", dtype)


def _along(input: Tensor, dim: int | None, name: str, dtype: Any) -> Tensor:
    if not input.ndim:
        return getattr(input.reshape(1), name)(0, dtype).reshape(())
    return getattr(input, name)(_axis(input, dim), dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of a categorical distribution that has a gradient; `hard` is one-hot forward and soft backward."""
    noise = -(-(1 - rand(logits.shape, dtype=logits.dtype)).log() + eps).log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    d = dim % logits.ndim
    chosen = one_hot(soft.argmax(d), logits.shape[d], soft.dtype).movedim(-1, d)
    return chosen - soft.detach() + soft


@rounded_once
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half times the sigmoid of the second."""
    if input.size(dim) % 2:
        raise GraphcError(f"glu: dimension {dim} of {input.shape} must be even", here())
    a, b = input.chunk(2, dim)
    return a * b.sigmoid()


@rounded_once
def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """x over its p-norm along `dim`."""
    return input / input.norm(p, dim, keepdim=True).clamp(min=eps)


__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "normalize",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
]
