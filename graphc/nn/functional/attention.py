"""Attention as functions.

In: queries, keys, values, masks. Out: weighted sums of values. A bool mask of scaled_dot_product_attention is true where
attention is allowed; one of multi_head_attention_forward is true where it is not (as in PyTorch). Floats are added to
the scores.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import GraphcError, ShapeError
from ...ir.location import here
from ...ops.softmax import softmax
from ...tensor import Tensor, as_tensor, cat, where
from ...tensor.creation import ones, zeros
from .dropout import dropout
from .linear import linear
from .padding import pad


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key^T / sqrt(width) + mask) value; zeros where nothing may be attended to.

    enable_gqa: keys and values have fewer heads (dimension -3), each serving as many queries.
    """
    if is_causal and attn_mask is not None:
        raise GraphcError("scaled_dot_product_attention: give attn_mask or is_causal, not both", here())
    if enable_gqa:
        key, value = (x.repeat_interleave(query.size(-3) // x.size(-3), -3) for x in (key, value))
    scores = (query * (1 / math.sqrt(query.shape[-1] or 1) if scale is None else scale)) @ key.mT
    if is_causal:
        attn_mask = ones(scores.shape[-2:], dtype="bool").tril()
    if attn_mask is None:
        return dropout(scores.softmax(-1), dropout_p) @ value
    scores = where(attn_mask, scores, -math.inf) if attn_mask.dtype.is_bool else scores + attn_mask
    return dropout(_masked_softmax(scores), dropout_p) @ value


def _masked_softmax(scores: Tensor) -> Tensor:
    """softmax of the last dimension; rows of -inf become 0."""
    return scores.wrap(softmax(scores.value, scores.ndim - 1, masked=True))


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads over (L, N, E), or (L, E): (result, weights or None)."""
    if query.ndim == 2:
        rest = locals() | {"key_padding_mask": None if key_padding_mask is None else key_padding_mask.unsqueeze(0)}
        lifted = {x: x.unsqueeze(1) for x in (query, key, value)}
        result, weights = multi_head_attention_forward(
            **rest | {"query": lifted[query], "key": lifted[key], "value": lifted[value]}
        )
        return result.squeeze(1), None if weights is None else weights.squeeze(0)
    _check_embedding(query, embed_dim_to_check, num_heads)
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    projected = _projected([query, key, value], in_proj_weight, in_proj_bias, separate)
    masks = _masks(attn_mask, key_padding_mask, query.shape[1], num_heads)
    k, v = (_appended(x, bias) for x, bias in zip(projected[1:], (bias_k, bias_v), strict=True))
    q, k, v = (_heads(x, num_heads) for x in (projected[0], k, v))
    k, v = (_given_or(static, x, num_heads) for static, x in ((static_k, k), (static_v, v)))
    if add_zero_attn:
        k, v = (cat([x, zeros((*x.shape[:2], 1, x.shape[3]), dtype=x.dtype)], 2) for x in (k, v))
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.mT
    for mask in masks:
        scores = _mask(scores, mask)
    weights = dropout(scores.softmax(-1), dropout_p, training)
    joined = (weights @ v).permute(2, 0, 1, 3).flatten(2)
    result = linear(joined, out_proj_weight, out_proj_bias)
    if not need_weights:
        return result, None
    return result, weights.mean(1) if average_attn_weights else weights


def _check_embedding(query: Tensor, width: int, heads: int) -> None:
    if query.ndim != 3 or query.shape[-1] != width:
        raise ShapeError(f"attention: takes (L, N, {width}) or (L, {width}), got {query.shape}", here())
    if width % heads:
        raise ShapeError(f"attention: {width} features do not divide into {heads} heads", here())


def _projected(inputs: list[Tensor], weight: Any, bias: Tensor | None, separate: Any) -> list[Tensor]:
    """Queries, keys and values; one product where all three have one source."""
    if separate is None and inputs[0] is inputs[1] and inputs[1] is inputs[2]:
        return list(linear(inputs[0], weight, bias).chunk(3, -1))
    weights = weight.chunk(3) if separate is None else separate
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return [linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]


def _appended(x: Tensor, bias: Tensor | None) -> Tensor:
    """One more position, the same for each sample."""
    return x if bias is None else cat([x, bias.expand(1, x.shape[1], -1)], 0)


def _heads(x: Tensor, heads: int) -> Tensor:
    """(L, N, E) as (N, heads, L, E / heads)."""
    return x.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)


def _given_or(static: Tensor | None, x: Tensor, heads: int) -> Tensor:
    """Heads computed before, (N heads, L, E / heads), in place of x."""
    return x if static is None else static.unflatten(0, (-1, heads))


def _masks(attn_mask: Any, padding: Any, batch: int, heads: int) -> list[Tensor]:
    """Masks that broadcast to (N, heads, L, S)."""
    masks = []
    if attn_mask is not None:
        mask = as_tensor(attn_mask)
        masks.append(mask.unflatten(0, (batch, heads)) if mask.ndim == 3 else mask)
    if padding is not None:
        masks.append(as_tensor(padding).unsqueeze(1).unsqueeze(1))
    return masks


def _mask(scores: Tensor, mask: Tensor) -> Tensor:
    """The mask applied to the scores; positions appended behind it are free."""
    more = scores.shape[-1] - mask.shape[-1]
    if more > 0 and mask.shape[-1] != 1:
        mask = pad(mask, (0, more))
    return where(mask, -math.inf, scores) if mask.dtype.is_bool else scores + mask


__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]
