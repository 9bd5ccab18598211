"""Dropout as functions: elements or whole channels zeroed, or set to what keeps mean and variance of selu.

In: a tensor and a probability. Out: the tensor itself unless training; random bits come from the program's counter.
"""

from __future__ import annotations

from ...errors import GraphcError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, where
from ...tensor.random import rand

_SELU_LIMIT = -1.7580993408473766  # selu of minus infinity


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Elements zeroed with probability p, the others divided by 1 - p; x itself unless training."""
    return _drop(input, input.shape, p, training)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, L) or (C, L) zeroed with probability p."""
    _check_rank("dropout1d", input, (2, 3))
    return _drop(input, _channels(input, batched=input.ndim == 3), p, training)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, H, W), or of (N, C, L) as PyTorch has it, zeroed with probability p."""
    return _drop(input, _channels(input), p, training)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, D, H, W) or (C, D, H, W) zeroed with probability p."""
    return _drop(input, _channels(input, batched=input.ndim != 4), p, training)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Elements set to selu's limit with probability p, then scaled so that mean and variance stay."""
    return _alpha(input, input.shape, p, training)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """alpha_dropout of whole channels of (N, C, ...)."""
    return _alpha(input, _channels(input), p, training)


def _channels(input: Tensor, batched: bool = True) -> tuple[int, ...]:
    lead = 2 if batched else 1
    return input.shape[:lead] + (1,) * (input.ndim - lead)


def _check_rank(name: str, input: Tensor, ranks: tuple[int, ...]) -> None:
    if input.ndim not in ranks:
        raise ShapeError(f"{name}: takes {' or '.join(map(str, ranks))} dimensions, got {input.shape}", here())


def check_probability(name: str, p: float) -> None:
    if not isinstance(p, int | float) or not 0 <= p <= 1:
        raise GraphcError(f"{name}: the probability must be between 0 and 1, not {p!r}", here())


def _drop(input: Tensor, shape: tuple[int, ...], p: float, training: bool) -> Tensor:
    check_probability("dropout", p)
    if not training or p == 0:
        return input
    return where(rand(shape) < p, 0, input / (1 - p)) if p < 1 else input * 0


def _alpha(input: Tensor, shape: tuple[int, ...], p: float, training: bool) -> Tensor:
    check_probability("alpha_dropout", p)
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0
    scale = ((1 - p) * (1 + p * _SELU_LIMIT**2)) ** -0.5
    return where(rand(shape) < p, _SELU_LIMIT, input) * scale - scale * _SELU_LIMIT * p


__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]
