"""Dropout as modules.

In: a probability. Out: modules that do nothing in eval mode; in training each call of the compiled function draws anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from ..tensor import Tensor
from . import functional
from .functional.dropout import check_probability
from .module import Module


class Dropout(Module):
    """In training, elements zeroed with probability p and the others divided by 1 - p."""

    function: ClassVar[Callable[..., Tensor]] = staticmethod(functional.dropout)

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(type(self).__name__, p)
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Whole channels of (N, C, L) zeroed."""

    function = staticmethod(functional.dropout1d)


class Dropout2d(Dropout):
    """Whole channels of (N, C, H, W) zeroed."""

    function = staticmethod(functional.dropout2d)


class Dropout3d(Dropout):
    """Whole channels of (N, C, D, H, W) zeroed."""

    function = staticmethod(functional.dropout3d)


class AlphaDropout(Dropout):
    """Dropout that keeps the mean and variance of selu's output."""

    function = staticmethod(functional.alpha_dropout)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout of whole channels."""

    function = staticmethod(functional.feature_alpha_dropout)
