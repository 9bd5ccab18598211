"""Tables of vectors as functions: embedding, bags of embeddings, one-hot.

In: integer indices and a weight (rows, width). Out: rows, or their sums, means and maxima per bag. Limiting the norm of
rows (max_norm) is refused: it would change the weight in place, which the optimiser's update does here.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import DTypeError, GraphcError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, as_tensor, where
from ...tensor.creation import arange, one_hot


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` by integer index; the row `padding_idx` gets no gradient.

    scale_grad_by_freq: gradients are divided by how often an index occurs.
    """
    _check("embedding", input, weight, max_norm, padding_idx)
    rows = weight.index_select(0, input.flatten()).reshape((*input.shape, *weight.shape[1:]))
    if scale_grad_by_freq:
        flat = input.flatten()
        often = (flat.unsqueeze(1) == flat).sum(1).reshape((*input.shape, 1)).to(weight.dtype)
        rows = rows.detach() + (rows - rows.detach()) / often
    if padding_idx is None:
        return rows
    return where((input == padding_idx % weight.shape[0]).unsqueeze(-1), rows.detach(), rows)


def _check(name: str, input: Tensor, weight: Tensor, max_norm: float | None, padding_idx: int | None) -> None:
    if not input.dtype.is_int:
        raise DTypeError(f"{name}: indices must be integers, not {input.dtype}; use x.long()", here())
    if weight.ndim != 2:
        raise ShapeError(f"{name}: the weight must be (rows, width), got {weight.shape}", here())
    if padding_idx is not None and not -weight.shape[0] <= padding_idx < weight.shape[0]:
        raise ShapeError(f"{name}: padding_idx {padding_idx} is not one of the {weight.shape[0]} rows of the weight", here())
    if max_norm is not None:
        raise GraphcError(
            f"{name}: max_norm would change the weight in place; limit the rows where you update them, or multiply the "
            "result by a function of its norm",
            here(),
        )


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The mean, sum or max of rows per bag: rows of a 2-d index, or what lies between offsets of a 1-d one."""
    _check("embedding_bag", input, weight, max_norm, padding_idx)
    if mode not in ("mean", "sum", "max"):
        raise GraphcError(f"embedding_bag: mode is 'mean', 'sum' or 'max', not {mode!r}", here())
    if per_sample_weights is not None and mode != "sum":
        raise GraphcError(f"embedding_bag: per_sample_weights need mode='sum', not {mode!r}", here())
    member = _members(input, offsets, include_last_offset)
    flat = input.flatten()
    if padding_idx is not None:
        member = member & (flat != padding_idx % weight.shape[0])
    rows = embedding(flat, weight, padding_idx, scale_grad_by_freq=scale_grad_by_freq)
    if mode == "max":
        top = where(member.unsqueeze(2), rows, -math.inf).amax(1)
        return where(member.any(1).unsqueeze(1), top, 0)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape((-1, 1))
    sums = member.to(rows.dtype) @ rows
    counts = member.sum(1, keepdim=True)
    return sums if mode == "sum" else sums / where(counts < 1, 1, counts)


def _members(input: Tensor, offsets: Any, include_last: bool) -> Tensor:
    """(bags, indices): whether an index belongs to a bag."""
    if input.ndim == 2:
        if offsets is not None:
            raise ShapeError("embedding_bag: a 2-d input has a bag per row and takes no offsets", here())
        bags, size = input.shape
        return (arange(bags).unsqueeze(1) * size <= arange(bags * size)) & (
            arange(bags * size) < (arange(bags).unsqueeze(1) + 1) * size
        )
    if input.ndim != 1 or offsets is None:
        raise ShapeError(f"embedding_bag: takes a 2-d input, or a 1-d one with offsets; got {input.shape}", here())
    starts = as_tensor(offsets).to("int64")
    place = arange(input.shape[0])
    bag = (starts.unsqueeze(1) <= place).sum(0) - 1
    return arange(starts.shape[0] - include_last).unsqueeze(1) == bag


__all__ = ["embedding", "embedding_bag", "one_hot"]
