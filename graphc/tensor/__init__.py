"""Symbolic tensors: the class in layers, what makes tensors, and the methods as functions."""

from .core import no_grad, result_type
from .elementwise import where
from .products import einsum
from .shapes import cat, stack
from .tensor import (
    Tensor,
    Variable,
    as_tensor,
    attach_update,
    constant,
    from_numpy,
    is_tensor,
    placeholder,
    stop_gradient,
    variable,
)

__all__ = [
    "Tensor",
    "Variable",
    "as_tensor",
    "attach_update",
    "cat",
    "constant",
    "einsum",
    "from_numpy",
    "is_tensor",
    "no_grad",
    "placeholder",
    "result_type",
    "stack",
    "stop_gradient",
    "variable",
    "where",
]
