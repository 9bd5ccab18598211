"""Layers that are linear maps of features: Linear and Bilinear.

In: sizes. Out: modules with PyTorch's parameter names, shapes and initial distributions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtype import dtype as dtype_of
from ..errors import ShapeError
from ..ir.location import here
from ..tensor import Tensor
from . import functional, init
from .module import Module
from .parameter import Parameter


def check_sizes(sizes: tuple[Any, ...]) -> None:
    """Refuse sizes of a layer that are no whole numbers, or negative."""
    if not all(isinstance(n, int | np.integer) and n >= 0 for n in sizes):
        raise ShapeError(
            f"a layer's sizes are whole numbers, and none is negative, not ({', '.join(map(repr, sizes))})", here()
        )


def empty(shape: tuple[int, ...], dtype: Any) -> Parameter:
    """A parameter of zeros, to be filled by `init`."""
    check_sizes(shape)
    return Parameter(np.zeros(shape, dtype_of(dtype).numpy))


class Linear(Module):
    """y = x W^T + b over the last dimension; weight (out, in), both uniform within 1 / sqrt(in)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = "float32") -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = empty((out_features, in_features), dtype)
        self.register_parameter("bias", empty((out_features,), dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(self.in_features, 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """y_k = x1 W_k x2 + b_k."""

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, dtype: Any = "float32"
    ) -> None:
        super().__init__()
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        bound = 1 / math.sqrt(in1_features)
        self.weight = init.uniform_(empty((out_features, in1_features, in2_features), dtype), -bound, bound)
        self.register_parameter("bias", init.uniform_(empty((out_features,), dtype), -bound, bound) if bias else None)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return functional.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"
