"""Symbolic tensors: the class in layers, what makes tensors, and the methods as functions."""

from .core import result_type
from .elementwise import where
from .products import einsum
from .shapes import cat, stack
from .tensor import Tensor, Variable, as_tensor, attach_update, constant, placeholder, stop_gradient, variable

__all__ = [
    "Tensor",
    "Variable",
    "as_tensor",
    "attach_update",
    "cat",
    "constant",
    "einsum",
    "placeholder",
    "result_type",
    "stack",
    "stop_gradient",
    "variable",
    "where",
]
