"""Loss functions, with PyTorch's names, argument order and reductions.

In: predictions and targets. Out: a scalar ("mean", "sum") or a loss per element ("none"). The class of a target is
chosen by comparing an iota with the labels, a mask and a sum: it fuses, and differentiates without a scatter.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import DTypeError, GraphcError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, where
from ...tensor.creation import arange


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise GraphcError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}", here())
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _same_shape(name: str, x: Tensor, target: Tensor) -> None:
    """PyTorch only warns here; a silent broadcast in a loss is a mistake nobody finds."""
    if x.shape != target.shape:
        lines = "".join(f"; {t.shape} was made at {t.location}" for t in (x, target) if t.location)
        raise ShapeError(f"{name}: the prediction {x.shape} and the target {target.shape} must have one shape{lines}", here())


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x - target) squared."""
    _same_shape("mse_loss", x, target)
    difference = x - target
    return _reduced(difference * difference, reduction)


def l1_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x - target|."""
    _same_shape("l1_loss", x, target)
    return _reduced((x - target).abs(), reduction)


def smooth_l1_loss(x: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Quadratic below beta, linear above, with slope 1."""
    _same_shape("smooth_l1_loss", x, target)
    if beta == 0:
        return l1_loss(x, target, reduction)
    size = (x - target).abs()
    return _reduced(where(size < beta, size * size * (0.5 / beta), size - 0.5 * beta), reduction)


def huber_loss(x: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Quadratic below delta, linear above, with slope delta."""
    _same_shape("huber_loss", x, target)
    size = (x - target).abs()
    return _reduced(where(size < delta, size * size * 0.5, delta * (size - 0.5 * delta)), reduction)


def binary_cross_entropy(x: Tensor, target: Tensor, weight: Any = None, reduction: str = "mean") -> Tensor:
    """Of probabilities; logarithms are kept above -100."""
    _same_shape("binary_cross_entropy", x, target)
    yes, no = (p.log().clamp(min=-100) for p in (x, 1 - x))
    loss = -(target * yes + (1 - target) * no)
    return _reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    x: Tensor, target: Tensor, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Of logits: (1 - y) x + softplus(-x), which never overflows."""
    _same_shape("binary_cross_entropy_with_logits", x, target)
    factor = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    loss = (1 - target) * x + factor * (-x).softplus()
    return _reduced(loss if weight is None else loss * weight, reduction)


def kl_div(x: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log target - x), x being log probabilities; "batchmean" divides by the batch size."""
    _same_shape("kl_div", x, target)
    if log_target:
        loss = target.exp() * (target - x)
    else:
        loss = where(target == 0, 0, target * where(target == 0, 1, target).log()) - target * x
    return loss.sum() / x.shape[0] if reduction == "batchmean" else _reduced(loss, reduction)


def nll_loss(x: Tensor, target: Tensor, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Minus the log probability (dimension 1 of x; 0 without a batch) of the target class."""
    return _class_loss(x, target, weight, ignore_index, reduction, 0.0)


def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """nll_loss of log_softmax(x); the target holds class indices, or class probabilities of the shape of x.

    weight: one factor per class; the mean is then weighted. ignore_index: a label that does not count.
    """
    if not 0 <= label_smoothing <= 1:
        raise GraphcError(f"cross_entropy: label_smoothing must be between 0 and 1, not {label_smoothing}", here())
    log_probability = x.log_softmax(1 if x.ndim > 1 else 0)
    if target.dtype.is_float:
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
        return _reduced(loss, reduction)
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


def _soft_loss(x: Tensor, target: Tensor, weight: Any, reduction: str, smoothing: float) -> Tensor:
    _same_shape("cross_entropy", x, target)
    d = 1 if x.ndim > 1 else 0
    if smoothing:
        target = target * (1 - smoothing) + smoothing / x.shape[d]
    if weight is not None:
        x = x * x.lift(weight).reshape((-1,) + (1,) * (x.ndim - d - 1))
    loss = -(x * target).sum(d)
    return _reduced(loss, reduction) if reduction != "mean" else loss.sum() / max(1, math.prod(loss.shape))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`."""
    norms = [x.norm(2, dim).clamp(min=eps) for x in (x1, x2)]
    return (x1 * x2).sum(dim) / (norms[0] * norms[1])


__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_similarity",
    "cross_entropy",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
]
