"""Activations as functions of tensors, with PyTorch's names and defaults.

In: a float tensor. Out: a tensor of its shape. Definitions: https://pytorch.org/docs/stable/nn.functional.html.
"""

from __future__ import annotations

from typing import Any

from ...errors import GraphcError
from ...ir.location import here
from ...tensor import Tensor, where
from ...tensor.functions import gelu, log_softmax, logsigmoid, relu, sigmoid, silu, softmax, softplus, tanh
from ...tensor.random import rand


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    return where(x > 0, x, x * negative_slope)


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """leaky_relu with a learned slope: one, or one per channel (dimension 1)."""
    slope = weight if weight.numel() == 1 or x.ndim < 2 else weight.reshape((-1,) + (1,) * (x.ndim - 2))
    return where(x > 0, x, x * slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return where(x > 0, x, alpha * where(x > 0, 0, x).expm1())


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return where(x > 0, x, alpha * where(x > 0, 0, x / alpha).expm1())


def selu(x: Tensor) -> Tensor:
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def relu6(x: Tensor) -> Tensor:
    return hardtanh(x, 0.0, 6.0)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Clamped; the gradient at the bounds is 0."""
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


def hardsigmoid(x: Tensor) -> Tensor:
    return relu6(x + 3) / 6


def hardswish(x: Tensor) -> Tensor:
    return x * hardsigmoid(x)


def mish(x: Tensor) -> Tensor:
    return x * softplus(x).tanh()


def softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def tanhshrink(x: Tensor) -> Tensor:
    return x - x.tanh()


def softmin(x: Tensor, dim: int) -> Tensor:
    return (-x).softmax(dim)


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half times the sigmoid of the second."""
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()


def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x over its p-norm along `dim`."""
    return x / x.norm(p, dim, keepdim=True).clamp(min=eps)


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Elements zeroed with probability p, the others divided by 1 - p; x itself unless training."""
    return _drop(x, x.shape, p, training)


def dropout1d(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Whole channels (the first two dimensions name them) zeroed with probability p."""
    return _drop(x, x.shape[:2] + (1,) * (x.ndim - 2), p, training)


dropout2d = dropout3d = dropout1d


def _drop(x: Tensor, shape: tuple[int, ...], p: Any, training: bool) -> Tensor:
    if not 0 <= p <= 1:
        raise GraphcError(f"dropout: the probability must be between 0 and 1, not {p}", here())
    if not training or p == 0:
        return x
    return where(rand(shape) < p, 0, x / (1 - p)) if p < 1 else x * 0


__all__ = [
    "celu",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "gelu",
    "glu",
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
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softsign",
    "tanh",
    "tanhshrink",
]
