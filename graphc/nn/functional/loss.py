"""Losses of a prediction and a target of its shape, with PyTorch's names, argument order and reductions.

In: predictions and targets. Out: a scalar ("mean", "sum") or a loss per element ("none"). Losses of classes are in
class_loss, losses of pairs and triplets in ranking.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import GraphcError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, as_tensor, where
from ...tensor.core import broadcast_shapes
from ...tensor.precision import rounded_once

_EXACT = 40.0  # from here on softplus(x) is x


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """A loss per element as its mean, its sum, or itself."""
    if reduction not in ("mean", "sum", "none"):
        raise GraphcError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}", here())
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def same_shape(name: str, x: Tensor, target: Tensor) -> None:
    """PyTorch only warns here; a silent broadcast in a loss is a mistake nobody finds."""
    if x.shape != target.shape:
        lines = "".join(f"; {t.shape} was made at {t.location}" for t in (x, target) if t.location)
        raise ShapeError(f"{name}: the prediction {x.shape} and the target {target.shape} must have one shape{lines}", here())


def _weighted(loss: Tensor, weight: Any, reduction: str) -> Tensor:
    """Elements times their weights; the mean is over the sum of weights."""
    if weight is None:
        return reduced(loss, reduction)
    factor = as_tensor(weight)
    same_shape("the weight of a loss", loss, factor)
    return (loss * factor).sum() / factor.sum() if reduction == "mean" else reduced(loss * factor, reduction)


@rounded_once
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Any = None) -> Tensor:
    """(x - target) squared."""
    same_shape("mse_loss", input, target)
    difference = input - target
    return _weighted(difference * difference, weight, reduction)


@rounded_once
def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Any = None) -> Tensor:
    """|x - target|."""
    same_shape("l1_loss", input, target)
    return _weighted((input - target).abs(), weight, reduction)


@rounded_once
def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Quadratic below beta, linear above, with slope 1."""
    same_shape("smooth_l1_loss", input, target)
    if beta < 0:
        raise GraphcError(f"smooth_l1_loss: beta must not be negative, got {beta}", here())
    if beta == 0:
        return l1_loss(input, target, reduction)
    size = (input - target).abs()
    return reduced(where(size < beta, size * size * (0.5 / beta), size - 0.5 * beta), reduction)


@rounded_once
def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    """Quadratic below delta, linear above, with slope delta."""
    same_shape("huber_loss", input, target)
    if delta <= 0:
        raise GraphcError(f"huber_loss: delta must be positive, got {delta}", here())
    size = (input - target).abs()
    return _weighted(where(size < delta, size * size * 0.5, delta * (size - 0.5 * delta)), weight, reduction)


@rounded_once
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Any = None, reduction: str = "mean") -> Tensor:
    """Of probabilities; logarithms are kept above -100."""
    same_shape("binary_cross_entropy", input, target)
    yes, no = (p.log().clamp(min=-100) for p in (input, 1 - input))
    loss = -(target * yes + (1 - target) * no)
    return reduced(loss if weight is None else loss * weight, reduction)


@rounded_once
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Of logits x: (1 - y) x + softplus(-x), without overflow or cancellation."""
    same_shape("binary_cross_entropy_with_logits", input, target)
    yes, factor = (target, 1) if pos_weight is None else (pos_weight * target, 1 + (pos_weight - 1) * target)
    positive = input > 0
    over, under = where(positive, input, 0), where(positive, 0, -input)
    loss = (1 - target) * over + yes * under + factor * (-(over + under)).exp().log1p()
    return reduced(loss if weight is None else loss * weight, reduction)


@rounded_once
def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log target - x), x being log probabilities; "batchmean" divides by the batch size."""
    same_shape("kl_div", input, target)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        zero = target == 0
        loss = where(zero, 0, target * where(zero, 1, target).log()) - target * input
    if reduction == "batchmean":
        return loss.sum() / (input.shape[0] if input.ndim else 1)
    return reduced(loss, reduction)


@rounded_once
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """Of a rate (its logarithm if log_input) and a count; `full` adds Stirling's approximation of log(target!)."""
    same_shape("poisson_nll_loss", input, target)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        large = target > 1
        count = where(large, target, 1).to(input.dtype)
        loss = loss + where(large, count * count.log() - count + 0.5 * (2 * math.pi * count).log(), 0)
    return reduced(loss, reduction)


@rounded_once
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Of a mean and a variance, which is kept above eps; `full` adds the constant."""
    variance = as_tensor(var).to(input.dtype)
    if variance.ndim and variance.shape != input.shape:
        if variance.shape == input.shape[:-1]:
            variance = variance.unsqueeze(-1)
        elif broadcast_shapes(variance.shape, input.shape) != input.shape:
            raise ShapeError(
                f"gaussian_nll_loss: the variance {variance.shape} must have the shape of the input {input.shape}, or leave "
                "out its last dimension, or broadcast to it",
                here(),
            )
    variance = variance + (variance.clamp(min=eps) - variance).detach()  # the gradient passes where the bound holds
    difference = input - target
    loss = 0.5 * (variance.log() + difference * difference / variance)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


@rounded_once
def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-y x)) for labels y of 1 and -1."""
    same_shape("soft_margin_loss", input, target)
    return reduced((-target * input).softplus(threshold=_EXACT), reduction)


@rounded_once
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """x where the label is 1, max(0, margin - x) where it is -1."""
    far = where(target != 1, (margin - input).clamp(min=0), 0)
    return reduced(far + where(target != -1, input, 0), reduction)


@rounded_once
def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Any = None, reduction: str = "mean") -> Tensor:
    """The mean over classes (the last dimension) of a binary cross entropy of logits."""
    same_shape("multilabel_soft_margin_loss", input, target)
    loss = -(target * input.logsigmoid() + (1 - target) * (-input).logsigmoid())
    return reduced((loss if weight is None else loss * weight).mean(-1), reduction)


__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "multilabel_soft_margin_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
]
