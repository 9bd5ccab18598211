"""Parameters: variables that an optimiser trains and a module names.

In: an initial array, or a tensor of constants and random numbers. Out: a variable; `Module.__setattr__` gives it the
qualified name that PyTorch's state_dict uses.
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, Variable
from ..tensor.numbers import numbers


class Parameter(Variable):
    """A variable that belongs to the parameters of the module it is assigned to.

    requires_grad: whether optimisers train it; what is False when an optimiser makes its updates stays as it is.
    """

    def __init__(self, data: Any, name: str = "parameter", dtype: Any = None, requires_grad: bool = True) -> None:
        super().__init__(_start(data), name, dtype)
        self.requires_grad = requires_grad

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Set whether optimisers train it."""
        self.requires_grad = requires_grad
        return self


class Buffer(Variable):
    """A variable that belongs to a module's state and is not trained: running statistics, tables."""

    def __init__(self, data: Any, persistent: bool = True, name: str = "buffer", dtype: Any = None) -> None:
        super().__init__(_start(data), name, dtype)
        self.persistent = persistent


def _start(data: Any) -> Any:
    """The numbers of a tensor, such as gc.randn(3) or another parameter; other data as they are."""
    return data.initial if isinstance(data, Variable) else numbers(data) if isinstance(data, Tensor) else data
