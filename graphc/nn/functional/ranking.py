"""Distances, and losses of pairs and triplets.

In: vectors along one dimension. Out: distances or losses per vector, reduced. Norms have gradient 0 where they are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import GraphcError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, where
from ...tensor.core import broadcast_shapes
from ...tensor.precision import rounded_once
from .loss import reduced


def _together(name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the shape to which they broadcast."""
    shape = broadcast_shapes(a.shape, b.shape)
    if shape is None:
        raise ShapeError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast", here())
    return a.broadcast_to(shape), b.broadcast_to(shape)


@rounded_once
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`."""
    a, b = _together("cosine_similarity", x1, x2)
    return (a * b).sum(dim) / (a.norm(2, dim).clamp(min=eps) * b.norm(2, dim).clamp(min=eps))


@rounded_once
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


@rounded_once
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norms of the differences of all pairs of rows, first row first."""
    if input.ndim != 2:
        raise ShapeError(f"pdist: takes a matrix, got {input.shape}", here())
    first, second = np.triu_indices(input.shape[0], 1)
    return (input.index_select(0, first) - input.index_select(0, second)).norm(p, -1)


@rounded_once
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos where the label is 1, max(0, cos - margin) where it is -1."""
    dim = target.ndim
    squares = [(x * x).sum(dim) + 1e-12 for x in (input1, input2)]
    cosine = (input1 * input2).sum(dim) / (squares[0] * squares[1]).sqrt()
    loss = where(target == 1, 1 - cosine, 0) + where(target == -1, (cosine - margin).clamp(min=0), 0)
    return reduced(loss, reduction)


@rounded_once
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """max(0, -y (x1 - x2) + margin): with label 1, x1 should rank higher."""
    if not input1.ndim == input2.ndim == target.ndim:
        shapes = f"{input1.shape}, {input2.shape} and {target.shape}"
        raise ShapeError(f"margin_ranking_loss: {shapes} must have the same number of dimensions", here())
    return reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d being pairwise_distance."""
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda a, b: pairwise_distance(a, b, p, eps),
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


@rounded_once
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """triplet_margin_loss with any distance; `swap` takes the positive as anchor where that is nearer to the negative."""
    if not anchor.ndim == positive.ndim == negative.ndim:
        shapes = f"{anchor.shape}, {positive.shape} and {negative.shape}"
        raise ShapeError(f"a triplet loss: {shapes} must have the same number of dimensions", here())
    if margin <= 0:
        raise GraphcError(f"a triplet loss: the margin must be positive, got {margin}", here())
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((margin + near - far).clamp(min=0), reduction)


__all__ = [
    "cosine_embedding_loss",
    "cosine_similarity",
    "margin_ranking_loss",
    "pairwise_distance",
    "pdist",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
