"""The examples that read sequences: each reaches what it promises on data that it was not trained on."""

from __future__ import annotations

import numpy as np
import pytest
import sequence
from click.testing import CliRunner

import graphc as gc
from graphc.nn.module import StateError

CELLS = sorted(sequence.CELLS)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_of_digits_are_read(cell: str) -> None:
    result = sequence.run(cell)
    assert result.accuracy >= 0.95
    assert np.isfinite(result.steps).all() and result.losses[-1] < 0.1 < result.losses[0]


@pytest.mark.parametrize("cell", CELLS)
def test_training_goes_on_from_weights_on_disk(cell: str, tmp_path) -> None:
    trained = sequence.run(cell, epochs=2)
    weights = {name: trained.program.state[name] for name in sequence.RowReader(cell).state_dict()}
    path = tmp_path / "net.safetensors"
    gc.save_state(weights, path)
    assert sequence.run(cell, epochs=1, weights=path).losses[0] < 0.8 * trained.losses[0]
    other = CELLS[1 - CELLS.index(cell)]
    with pytest.raises(gc.GraphcError, match=r"rnn\.weight_ih_l0 has shape"):
        sequence.declare(other, weights=path)
    del weights["fc.bias"]
    gc.save_state(weights, path)
    with pytest.raises(StateError, match=r"missing: fc\.bias"):
        sequence.declare(cell, weights=path)


def test_the_command_prints_the_accuracy_and_plots(tmp_path) -> None:
    done = CliRunner().invoke(sequence.main, ["--cell", "gru", "--epochs", "2", "--plot", str(tmp_path / "loss.png")])
    assert done.exit_code == 0, done.output
    assert "epoch   2  loss" in done.output and "GRU: accuracy on the test digits" in done.output
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
