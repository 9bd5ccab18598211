"""Sequences of several lengths in one tensor, with the names of torch.nn.utils.rnn.

In: padded tensors and lengths, which may be numbers a program gets. Out: what RNN, LSTM and GRU take instead of a tensor.
Nothing is packed in memory, since shapes are static: lengths mask the steps behind the end of each sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...dtype import int64
from ...errors import ShapeError
from ...ir.location import here
from ...tensor import Tensor, as_tensor, cat, stack, where
from ...tensor.creation import arange, full


class PackedSequence(NamedTuple):
    """data: (L, N, ...), whatever the layout it came in. lengths: (N,) integers."""

    data: Tensor
    lengths: Tensor


def pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L, N, ...), or (N, L, ...) with batch_first, of which only the first `lengths` steps count, in any order."""
    counts = as_tensor(lengths).to(int64)
    data = input.transpose(0, 1) if batch_first else input
    if counts.shape != (data.shape[1],):
        raise ShapeError(f"pack_padded_sequence: {data.shape[1]} sequences need as many lengths, got {counts.shape}", here())
    return PackedSequence(data, counts)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """(the sequences with padding_value behind their ends, their lengths). All L steps come back, the longest or not."""
    data, lengths = sequence
    steps = data.shape[0]
    if total_length is not None and total_length != steps:
        raise ShapeError(f"pad_packed_sequence: total_length {total_length} is not the {steps} steps that were packed", here())
    inside = arange(steps).unsqueeze(1) < lengths
    padded = where(inside.reshape((*inside.shape, *(1,) * (data.ndim - 2))), data, padding_value).to(data.dtype)
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Tensors (length, ...) of several lengths as one: (longest, N, ...), or (N, longest, ...) with batch_first."""
    if padding_side not in ("left", "right"):
        raise ShapeError(f"pad_sequence: padding_side is 'left' or 'right', not {padding_side!r}", here())
    longest = max((s.shape[0] for s in sequences), default=0)
    rows = []
    for s in sequences:
        rest = full((longest - s.shape[0], *s.shape[1:]), padding_value, s.dtype)
        rows.append(cat([s, rest] if padding_side == "right" else [rest, s]))
    return stack(rows, 0 if batch_first else 1)


__all__ = ["PackedSequence", "pack_padded_sequence", "pad_packed_sequence", "pad_sequence"]
