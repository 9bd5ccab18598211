"""Connectionist temporal classification (Graves et al. 2006) as a function.

In: log probabilities (T, N, C), labels (N, S) or all in a row, lengths. Out: minus the log probability of all ways to
write the labels, with blanks between and repetitions. The forward recursion is unrolled over time, in logarithms with a
finite floor in place of log 0, so that its gradient is finite.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...ir.location import here
from ...tensor import Tensor, as_tensor, cat, where
from ...tensor.core import Core
from ...tensor.creation import arange, full
from .loss import reduced

_NEVER = -1e30  # the logarithm of 0: far below any sum of logarithms, and finite


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """The loss of each sequence; "mean" divides it by its number of labels first.

    zero_infinity: sequences too short for their labels cost 0 instead of infinity.
    """
    if log_probs.ndim == 2:
        end, count = (as_tensor(_array(n)).reshape((1,)) for n in (input_lengths, target_lengths))
        labels = targets.reshape((1, -1))
        loss = ctc_loss(log_probs.unsqueeze(1), labels, end, count, blank, "none", zero_infinity)
        each = loss / where(count < 1, 1, count) if reduction == "mean" else loss
        return each.reshape(())
    if log_probs.ndim != 3:
        raise ShapeError(f"ctc_loss: takes log probabilities (T, N, C) or (T, C), got {log_probs.shape}", here())
    batch = log_probs.shape[1]
    ends, counts = (as_tensor(_array(n)).to("int64") for n in (input_lengths, target_lengths))
    for what, n in (("input_lengths", ends), ("target_lengths", counts)):
        if n.shape != (batch,):
            raise ShapeError(f"ctc_loss: {what} must have shape ({batch},), one for each sequence, not {n.shape}", here())
    longest = targets.shape[-1] if isinstance(target_lengths, Core) else max(map(int, _array(target_lengths)), default=0)
    labels = _padded(targets, counts, batch, longest)
    loss = -_log_likelihood(log_probs, labels, ends, counts, blank)
    impossible = loss > -0.1 * _NEVER
    loss = where(impossible, 0 if zero_infinity else math.inf, loss)
    if reduction == "mean":
        return (loss / where(counts < 1, 1, counts)).mean()
    return reduced(loss, reduction)


def _array(lengths: Any) -> Any:
    return lengths if isinstance(lengths, Core) else np.asarray(lengths, np.int64)


def _padded(targets: Tensor, counts: Tensor, batch: int, longest: int) -> Tensor:
    """Labels as (N, S); beyond a sequence's length they are anything."""
    labels = targets.to("int64")
    if labels.ndim == 2:
        return labels[:, :longest]
    starts = (counts.cumsum(0) - counts).unsqueeze(1)
    if not labels.numel():
        return full((batch, longest), 0, "int64")
    return labels[starts + arange(longest)]


def _log_likelihood(log_probs: Tensor, labels: Tensor, ends: Tensor, counts: Tensor, blank: int) -> Tensor:
    time, batch, _ = log_probs.shape
    states = 2 * labels.shape[1] + 1
    blanks = full((batch, labels.shape[1], 1), blank, "int64")
    symbols = cat([cat([blanks, labels.unsqueeze(2)], 2).reshape((batch, -1)), full((batch, 1), blank, "int64")], 1)
    # A label may follow the one before it without a blank if it differs.
    skip = symbols != cat([symbols[:, :2], symbols[:, :-2]], 1)[:, :states]
    skip = skip & (symbols != blank) & (arange(states) > 1)
    emitted = log_probs.gather(2, symbols.unsqueeze(0).expand(time, batch, states))
    never = full((batch, states), _NEVER, log_probs.dtype)
    alpha = where(arange(states) < 2, emitted[0], never)
    for t in range(1, time):
        one = cat([never[:, :1], alpha[:, :-1]], 1)
        two = where(skip, cat([never[:, :2], alpha[:, :-2]], 1)[:, :states], never)
        moved = _add_logs(alpha, one, two) + emitted[t]
        alpha = where((ends > t).unsqueeze(1), moved, alpha)
    last = 2 * counts.unsqueeze(1)
    final = where((arange(states) == last) | (arange(states) == last - 1), alpha, never)
    return final.logsumexp(1)


def _add_logs(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    top = a.maximum(b).maximum(c).detach()
    return ((a - top).exp() + (b - top).exp() + (c - top).exp()).log() + top


__all__ = ["ctc_loss"]
