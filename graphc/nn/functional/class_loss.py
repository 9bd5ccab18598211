"""Losses of classes: cross entropy, its negative log likelihood, and margins between the right class and others.

In: scores per class (dimension 1, or 0 without a batch) and labels. Out: a scalar, or a loss per label. The class of a
target is chosen by comparing an iota with the labels, a mask and a sum: it fuses, and differentiates without a scatter.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import DTypeError, GraphcError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, where
from ...tensor.creation import arange
from ...tensor.precision import rounded_once
from .linear import linear
from .loss import reduced, same_shape


@rounded_once
def nll_loss(input: Tensor, target: Tensor, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Minus the log probability (dimension 1 of x; 0 without a batch) of the target class."""
    return _class_loss(input, target, weight, ignore_index, reduction, 0.0)


@rounded_once
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """nll_loss of log_softmax(x); the target holds class indices, or class probabilities of the shape of x.

    weight: one factor per class; the mean is then weighted. ignore_index: a label that does not count. A label that is no
    class adds 0 to the sum and counts in the mean; it is no error, for compiled code checks no values.
    """
    if not 0 <= label_smoothing <= 1:
        raise GraphcError(f"cross_entropy: label_smoothing must be between 0 and 1, not {label_smoothing}", here())
    log_probability = input.log_softmax(1 if input.ndim > 1 else 0)
    if target.dtype.is_float:
        _check_probabilities(input, target)
        return _soft_loss(log_probability, target, weight, reduction, label_smoothing)
    return _class_loss(log_probability, target, weight, ignore_index, reduction, label_smoothing)


def _class_loss(x: Tensor, target: Tensor, weight: Any, ignore_index: int, reduction: str, smoothing: float) -> Tensor:
    d = 1 if x.ndim > 1 else 0
    _check_classes(x, target, d)
    classes = arange(x.shape[d]).to(target.dtype).reshape((-1,) + (1,) * (x.ndim - d - 1))
    chosen = target.unsqueeze(d) == classes
    factor = None if weight is None else x.lift(weight).reshape(classes.shape)
    weighted = x if factor is None else x * factor
    loss = -where(chosen, weighted, 0).sum(d)
    if smoothing:
        loss = (1 - smoothing) * loss - (smoothing / x.shape[d]) * weighted.sum(d)
    counts = target != ignore_index
    loss = where(counts, loss, 0)
    if reduction != "mean":
        return reduced(loss, reduction)
    if factor is None:
        total = counts.to(x.dtype)
    else:
        total = where(chosen & counts.unsqueeze(d), factor, 0).sum(d)
    return loss.sum() / total.sum()


def _check_classes(x: Tensor, target: Tensor, d: int) -> None:
    if not target.dtype.is_int:
        raise DTypeError(f"the target of a class loss must be integers, not {target.dtype}; use .long()", here())
    expected = x.shape[:d] + x.shape[d + 1 :]
    if not x.ndim or target.shape != expected:
        raise ShapeError(
            f"the prediction {x.shape} has {x.shape[d] if x.ndim else 0} classes in dimension {d}, so the target must have "
            f"shape {expected}, not {target.shape}",
            here(),
        )


def _check_probabilities(x: Tensor, target: Tensor) -> None:
    if target.ndim < x.ndim:
        raise DTypeError(
            f"cross_entropy: a target of shape {target.shape} holds classes, and these must be integers, not {target.dtype}: "
            f"use .long(); probabilities of classes have the shape of the prediction, {x.shape}",
            here(),
        )


def _soft_loss(x: Tensor, target: Tensor, weight: Any, reduction: str, smoothing: float) -> Tensor:
    same_shape("cross_entropy", x, target)
    d = 1 if x.ndim > 1 else 0
    if smoothing:
        target = target * (1 - smoothing) + smoothing / x.shape[d]
    if weight is not None:
        x = x * x.lift(weight).reshape((-1,) + (1,) * (x.ndim - d - 1))
    loss = -(x * target).sum(d)
    return reduced(loss, reduction) if reduction != "mean" else loss.sum() / float(math.prod(loss.shape))


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy of a linear layer, whose weight is (classes, outputs..., in). `options` choose how PyTorch divides the
    work into chunks and have no meaning here."""
    rows = math.prod(linear_weight.shape[:-1])
    bias = None if linear_bias is None else linear_bias.reshape((rows,))
    logits = linear(input, linear_weight.reshape((rows, linear_weight.shape[-1])), bias)
    logits = logits.reshape((*input.shape[:-1], *linear_weight.shape[:-1]))
    return cross_entropy(logits, target, weight, -100 if ignore_index is None else ignore_index, reduction, label_smoothing)


@rounded_once
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """sum over wrong classes of max(0, margin - x[y] + x[i])^p, over the number of classes."""
    if p not in (1, 2):
        raise GraphcError(f"multi_margin_loss: p must be 1 or 2, not {p}", here())
    x, batched = (input, True) if input.ndim == 2 else (input.reshape((1, -1)), False)
    labels = target.reshape((-1,))
    _check_classes(x, labels, 1)
    right = labels.unsqueeze(1) == arange(x.shape[1]).to(labels.dtype)
    chosen = where(right, x, 0).sum(1, keepdim=True)
    room = (margin - chosen + x).clamp(min=0)
    loss = where(right, 0, room if p == 1 else room * room)
    if weight is not None:
        loss = loss * where(right, x.lift(weight), 0).sum(1, keepdim=True)
    each = loss.sum(1) / x.shape[1]
    return reduced(each if batched or target.ndim else each.reshape(()), reduction)


@rounded_once
def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """sum over right classes j and wrong i of max(0, 1 - x[j] + x[i]), over the number of classes.

    target: class indices, ended by -1, in the shape of the input.
    """
    same_shape("multilabel_margin_loss", input, target)
    if input.ndim != 2:
        return multilabel_margin_loss(input.reshape((1, -1)), target.reshape((1, -1)), "sum")
    counts = (target < 0).cumsum(1) == 0
    right = ((target.unsqueeze(2) == arange(input.shape[1]).to(target.dtype)) & counts.unsqueeze(2)).any(1)
    chosen = input.gather(1, where(counts, target, 0))
    room = (1 - chosen.unsqueeze(2) + input.unsqueeze(1)).clamp(min=0)
    loss = where(counts.unsqueeze(2) & ~right.unsqueeze(1), room, 0)
    return reduced(loss.sum((1, 2)) / input.shape[1], reduction)


__all__ = ["cross_entropy", "linear_cross_entropy", "multi_margin_loss", "multilabel_margin_loss", "nll_loss"]
