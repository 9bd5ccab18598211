"""Multi-head attention.

In: sizes and options. Out: a module with PyTorch's parameter names. Masks: bool means "may not be attended to" in
`attn_mask` and `key_padding_mask`, as in torch.nn.MultiheadAttention; floats are added to the scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.location import here
from ..tensor import Tensor
from . import functional, init
from .linear import Linear, check_sizes, empty
from .module import Module


class MultiheadAttention(Module):
    """Attention of several heads; returns (result, attention weights, averaged over heads unless told otherwise, or None).

    kdim, vdim: other widths of keys and values. Inputs are (L, N, E), or (N, L, E) with batch_first, or (L, E).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes((embed_dim, num_heads))
        if num_heads < 1 or embed_dim % num_heads:
            raise ShapeError(f"MultiheadAttention: {embed_dim} features do not divide into {num_heads} heads", here())
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.head_dim, self.add_zero_attn = embed_dim // num_heads, add_zero_attn
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self._same_width = self.kdim == self.vdim == embed_dim
        widths = {"q": embed_dim, "k": self.kdim, "v": self.vdim}
        for name, width in widths.items():
            shape = None if self._same_width else (embed_dim, width)
            weight = None if shape is None else init.xavier_uniform_(empty(shape, dtype))
            self.register_parameter(f"{name}_proj_weight", weight)
        joined = init.xavier_uniform_(empty((3 * embed_dim, embed_dim), dtype)) if self._same_width else None
        self.register_parameter("in_proj_weight", joined)
        self.register_parameter("in_proj_bias", empty((3 * embed_dim,), dtype) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        if bias:
            init.zeros_(self.out_proj.bias)
        for name in ("bias_k", "bias_v"):
            value = init.xavier_normal_(empty((1, 1, embed_dim), dtype)) if add_bias_kv else None
            self.register_parameter(name, value)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        batch_first = self.batch_first and query.ndim == 3
        if batch_first:
            moved = {x: x.transpose(0, 1) for x in (query, key, value)}
            query, key, value = moved[query], moved[key], moved[value]
        result, weights = functional.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            self.training,
            key_padding_mask,
            need_weights,
            attn_mask,
            not self._same_width,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return result.transpose(0, 1) if batch_first else result, weights


def causal_mask(size: int) -> np.ndarray:
    """True above the diagonal: positions that may not be attended to."""
    return np.triu(np.ones((size, size), np.bool_), 1)
