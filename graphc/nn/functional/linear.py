"""Linear maps as functions: linear, bilinear, embedding, attention.

In: tensors with PyTorch's layouts (weights are out x in). Out: tensors; a shape that does not fit is explained with the
layer's name, where the input came from, and the layer that would fit.
"""

from __future__ import annotations

import math
from math import prod

from ...errors import DTypeError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, Variable, einsum, where
from ...tensor.core import cast_value, result_type
from ...tensor.creation import one_hot, ones
from ...tensor.products import dot
from .activation import dropout


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, over the last dimension of x; weight is (out, in)."""
    if weight.ndim not in (1, 2):
        raise ShapeError(f"linear: the weight must be (out, in), got {weight.shape}", here())
    if not x.ndim or x.shape[-1] != weight.shape[-1]:
        raise ShapeError(_misfit(x, weight), here())
    kind = result_type((x, weight))
    a, b = cast_value(x.value, kind), cast_value(weight.value, kind)
    product = x.wrap(dot(a, b, ((x.ndim - 1,), (weight.ndim - 1,))))
    return product if bias is None else product + bias


def _misfit(x: Tensor, weight: Tensor) -> str:
    wanted, out = weight.shape[-1], weight.shape[0] if weight.ndim > 1 else 1
    name = f" ({weight.name})" if isinstance(weight, Variable) else ""
    made = f", made at {x.location}," if x.location else ""
    size = prod(x.shape[1:])
    message = (
        f"linear: the weight{name} of shape {weight.shape} takes {wanted} features, but the input{made} has shape {x.shape}"
    )
    source = x.value.operands[0] if x.value.op.name == "reshape" else None
    if x.ndim == 2 and source is not None and len(source.shape) > 2:
        features = " * ".join(str(n) for n in source.shape[1:])
        at = f" (made at {source.location})" if source.location else ""
        return f"{message}: it was flattened from {source.shape}{at}, {features} = {size} features; use Linear({size}, {out})"
    if x.ndim > 2 and size == wanted:
        return f"{message}; flatten it first: x.flatten(1), or nn.Flatten() before the layer"
    if x.ndim > 2:
        return (
            f"{message}, so {x.shape[-1]} in its last dimension; flattened by x.flatten(1) or nn.Flatten() it would have "
            f"{size}: use Linear({size}, {out}) after it"
        )
    last = x.shape[-1] if x.ndim else 1
    return f"{message}; use Linear({last}, {out}), or give the layer before it {wanted} outputs"


def bilinear(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1 weight[k] x2 for each output k."""
    result = einsum("...i,kij,...j->...k", x1, weight, x2)
    return result if bias is None else result + bias


def embedding(x: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of `weight` by integer index; the row `padding_idx` gets no gradient."""
    if not x.dtype.is_int:
        raise DTypeError(f"embedding: indices must be integers, not {x.dtype}; use x.long()", here())
    rows = weight.index_select(0, x.flatten()).reshape((*x.shape, *weight.shape[1:]))
    if padding_idx is None:
        return rows
    return where((x == padding_idx % weight.shape[0]).unsqueeze(-1), rows.detach(), rows)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(query key^T / sqrt(width) + mask) value; a bool mask is true where attention is allowed."""
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.mT
    if is_causal:
        scores = where(ones(scores.shape[-2:], dtype="bool").tril(), scores, -math.inf)
    if attn_mask is not None:
        scores = where(attn_mask, scores, -math.inf) if attn_mask.dtype.is_bool else scores + attn_mask
    return dropout(scores.softmax(-1), dropout_p) @ value


__all__ = ["bilinear", "embedding", "linear", "one_hot", "scaled_dot_product_attention"]
