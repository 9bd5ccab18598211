"""Multi-head attention and the layers of a transformer.

In: sizes and options. Out: modules with PyTorch's parameter names. Masks: bool means "may not be attended to" in
`attn_mask` and `key_padding_mask`, as in torch.nn.MultiheadAttention; floats are added to the scores.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.location import here
from ..tensor import Tensor, where
from . import functional, init
from .activation import Dropout
from .containers import ModuleList
from .linear import Linear, empty
from .module import Module
from .normalization import LayerNorm


class MultiheadAttention(Module):
    """Attention of several heads; returns (result, attention weights averaged over heads, or None)."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ShapeError(f"MultiheadAttention: {embed_dim} features do not divide into {num_heads} heads", here())
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.in_proj_weight = init.xavier_uniform_(empty((3 * embed_dim, embed_dim), dtype))
        self.register_parameter("in_proj_bias", empty((3 * embed_dim,), dtype) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        if bias:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        inputs = [x if self.batch_first else x.transpose(0, 1) for x in (query, key, value)]
        q, k, v = (self._heads(x) for x in self._projected(inputs, query is key and key is value))
        scores = (q * (1 / math.sqrt(self.embed_dim // self.num_heads))) @ k.mT
        for mask in (attn_mask, None if key_padding_mask is None else key_padding_mask.unsqueeze(1).unsqueeze(1)):
            if mask is not None:
                scores = where(mask, -math.inf, scores) if mask.dtype.is_bool else scores + mask
        weights = functional.dropout(scores.softmax(-1), self.dropout, self.training)
        joined = (weights @ v).transpose(1, 2).flatten(2)
        result = self.out_proj(joined)
        return result if self.batch_first else result.transpose(0, 1), weights.mean(1) if need_weights else None

    def _projected(self, inputs: list[Tensor], same: bool) -> tuple[Tensor, ...]:
        if same:
            return functional.linear(inputs[0], self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return tuple(functional.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))

    def _heads(self, x: Tensor) -> Tensor:
        """(N, L, E) as (N, heads, L, E / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"


class TransformerEncoderLayer(Module):
    """Self-attention and a feed-forward block, each with a residual and a layer norm."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, True, batch_first, dtype)
        self.linear1, self.linear2 = (
            Linear(d_model, dim_feedforward, True, dtype),
            Linear(dim_feedforward, d_model, True, dtype),
        )
        self.norm1, self.norm2 = LayerNorm(d_model, layer_norm_eps), LayerNorm(d_model, layer_norm_eps)
        self.dropout, self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.activation, self.norm_first = activation, norm_first

    def forward(self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None) -> Tensor:
        x = src
        if self.norm_first:
            x = x + self._attend(self.norm1(x), src_mask, src_key_padding_mask)
            return x + self._feed(self.norm2(x))
        x = self.norm1(x + self._attend(x, src_mask, src_key_padding_mask))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        return self.dropout1(self.self_attn(x, x, x, padding, False, mask)[0])

    def _feed(self, x: Tensor) -> Tensor:
        activate = functional.gelu if self.activation == "gelu" else functional.relu
        return self.dropout2(self.linear2(self.dropout(activate(self.linear1(x)))))


class TransformerEncoder(Module):
    """A stack of encoder layers built by `layer()`, and an optional norm."""

    def __init__(self, layers: list[Module], norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList(layers)
        self.norm = norm

    def forward(self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


def causal_mask(size: int) -> np.ndarray:
    """True above the diagonal: positions that may not be attended to."""
    return np.triu(np.ones((size, size), np.bool_), 1)


__all__ = ["MultiheadAttention", "TransformerEncoder", "TransformerEncoderLayer", "causal_mask"]
