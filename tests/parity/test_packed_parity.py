"""Sequences of several lengths, written as PyTorch's programs write them, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import compare, normal, torch

import graphc as gc
from graphc import nn
from graphc.errors import ShapeError

LENGTHS = [5, 2, 3]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_pack_run_unpack(kind: str, batch_first: bool) -> None:
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    theirs = getattr(torch.nn, kind)(4, 6, **options).double()
    ours = getattr(nn, kind)(4, 6, **options).to("float64")
    ours.load_state_dict(theirs.state_dict())

    def run(lib: Any, net: Any, x: Any) -> Any:
        rnn = lib.utils.rnn
        packed = rnn.pack_padded_sequence(x, LENGTHS, batch_first=batch_first, enforce_sorted=False)
        output, state = net(packed)
        padded, lengths = rnn.pad_packed_sequence(output, batch_first=batch_first, padding_value=-1.0)
        return (padded, lengths, *(state if isinstance(state, tuple) else (state,)))

    x = normal(3, 5, 4) if batch_first else normal(5, 3, 4)
    compare(lambda t: run(nn, ours, t), lambda t: run(torch.nn, theirs, t), x)


@pytest.mark.parametrize("batch_first", [False, True])
def test_pad_sequence(batch_first: bool) -> None:
    def run(lib: Any) -> Any:
        return lambda *xs: lib.utils.rnn.pad_sequence(list(xs), batch_first, padding_value=2.0)

    compare(run(nn), run(torch.nn), normal(3, 2), normal(1, 2), normal(4, 2))


def test_refusals() -> None:
    x = gc.placeholder((5, 3, 4))
    with pytest.raises(ShapeError, match="3 sequences need as many lengths"):
        nn.utils.rnn.pack_padded_sequence(x, [5, 2])
    packed = nn.utils.rnn.pack_padded_sequence(x, np.array(LENGTHS))
    with pytest.raises(ShapeError, match="total_length 7"):
        nn.utils.rnn.pad_packed_sequence(packed, total_length=7)
    with pytest.raises(ShapeError, match="'left' or 'right'"):
        nn.utils.rnn.pad_sequence([x], padding_side="middle")
