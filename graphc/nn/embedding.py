"""Tables of vectors as layers: Embedding and EmbeddingBag.

In: numbers of rows and columns. Out: modules with PyTorch's parameter `weight`, normal at first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GraphcError, ShapeError
from ..ir.location import here
from ..tensor import Tensor
from . import functional, init
from .linear import empty
from .module import Module


class _Table(Module):
    def _fill(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None, max_norm: Any, dtype: Any) -> None:
        name = type(self).__name__
        if max_norm is not None:
            raise GraphcError(f"{name}: max_norm would change the weight in place and is not supported", here())
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ShapeError(f"{name}: padding_idx {padding_idx} is not one of {num_embeddings} rows", here())
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = init.normal_(empty((num_embeddings, embedding_dim), dtype))
        if self.padding_idx is not None:
            self.weight.initial[self.padding_idx] = 0

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, **options: Any) -> Any:
        """A table that starts as the given matrix; frozen, it is a buffer and not trained."""
        table = np.asarray(embeddings)
        if table.ndim != 2:
            raise ShapeError(f"{cls.__name__}.from_pretrained: takes a matrix, got {table.shape}", here())
        layer = cls(*table.shape, **options)
        layer.weight.initial = table
        if freeze:
            layer.register_buffer("weight", table)
        return layer


class Embedding(_Table):
    """A table of vectors by integer index; weight (num_embeddings, embedding_dim). padding_idx: a row of zeros that is
    not trained."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self._fill(num_embeddings, embedding_dim, padding_idx, max_norm, dtype)
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse

    def forward(self, input: Tensor) -> Tensor:
        frequency = self.scale_grad_by_freq
        return functional.embedding(input, self.weight, self.padding_idx, scale_grad_by_freq=frequency)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        text += "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        text += ", scale_grad_by_freq=True" if self.scale_grad_by_freq else ""
        return text + (", sparse=True" if self.sparse else "")


class EmbeddingBag(_Table):
    """Means, sums or maxima of rows of a table, per bag."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self._fill(num_embeddings, embedding_dim, padding_idx, max_norm, dtype)
        self.scale_grad_by_freq, self.mode, self.include_last_offset = scale_grad_by_freq, mode, include_last_offset

    def forward(self, input: Tensor, offsets: Any = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return functional.embedding_bag(
            input,
            self.weight,
            offsets,
            scale_grad_by_freq=self.scale_grad_by_freq,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        text += ", scale_grad_by_freq=True" if self.scale_grad_by_freq else ""
        text += f", mode={self.mode!r}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
