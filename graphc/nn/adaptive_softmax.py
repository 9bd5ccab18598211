"""The adaptive softmax: class scores in two steps, frequent classes first.

In: features and labels sorted by frequency, rarest last. Out: log probabilities of the labels, or of all classes. Grave
et al., "Efficient softmax approximation for GPUs" (https://arxiv.org/abs/1609.04309), as torch.nn.AdaptiveLogSoftmaxWithLoss.
Shapes are static, so every cluster is computed for every row: what is saved here is parameters, not time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..errors import GraphcError, ShapeError
from ..ir.location import here
from ..tensor import Tensor, cat, where
from .containers import ModuleList, Sequential
from .linear import Linear
from .module import Module


class ASMoutput(NamedTuple):
    """What the forward pass gives: the log probability of each label, and the mean loss."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Scores of the classes below cutoffs[0], and of one cluster between each two cutoffs and behind the last.

    div_value: by how much the features of a cluster are fewer than those of the one before. Raises GraphcError for cutoffs
    that do not increase between 1 and n_classes - 1.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        bounds = [0, *cutoffs, n_classes]
        if not cutoffs or any(a >= b for a, b in pairwise(bounds)):
            raise GraphcError(f"cutoffs {list(cutoffs)} must increase between 1 and {n_classes - 1}", here())
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = cutoffs[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            narrow = int(in_features // div_value ** (i + 1))
            self.tail.append(Sequential(Linear(in_features, narrow, False, dtype), Linear(narrow, high - low, False, dtype)))

    def forward(self, input_: Tensor, target_: Tensor) -> ASMoutput:
        """(the log probability of each target, minus their mean) of input (N, in_features) and labels (N,), or without N."""
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1 or input_.shape[:-1] != target_.shape:
            raise ShapeError(f"takes (N, features) and (N,), or without N; got {input_.shape} and {target_.shape}", here())
        if not target_.ndim:
            output, loss = self(input_.unsqueeze(0), target_.unsqueeze(0))
            return ASMoutput(output.squeeze(0), loss)
        head, found, place = self.head(input_).log_softmax(1), input_.new_zeros(target_.shape), target_
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            here_ = (target_ >= low) & (target_ < high)
            inside = where(here_, target_ - low, 0)
            scores = self.tail[i](input_).log_softmax(1)
            found = where(here_, scores.gather(1, inside.unsqueeze(1)).squeeze(1), found)
            place = where(here_, self.shortlist_size + i, place)
        output = found + head.gather(1, place.unsqueeze(1)).squeeze(1)
        return ASMoutput(output, -output.mean())

    def log_prob(self, input: Tensor) -> Tensor:
        """The log probabilities (N, n_classes) of all classes."""
        head = self.head(input).log_softmax(1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            parts.append(cluster(input).log_softmax(1) + head[:, self.shortlist_size + i].unsqueeze(1))
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class (N,) of each row."""
        return self.log_prob(input).argmax(1)
