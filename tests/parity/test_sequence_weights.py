"""Weights that PyTorch saved start the sequence example, and give PyTorch's scores."""

from __future__ import annotations

import numpy as np
import pytest
import sequence

import graphc as gc

torch = pytest.importorskip("torch")


class RowReader(torch.nn.Module):
    """sequence.RowReader, with torch in place of graphc."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
        self.rnn = kind(sequence.COLUMNS, sequence.HIDDEN, batch_first=True)
        self.fc = torch.nn.Linear(sequence.HIDDEN, 10)

    def forward(self, images):
        return self.fc(self.rnn(images.squeeze(1))[0][:, -1])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_state_of_pytorch_is_taken_as_it_is(cell: str, tmp_path) -> None:
    torch.manual_seed(0)
    theirs, ours = RowReader(cell), sequence.RowReader(cell)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    ours.load_state_dict(tmp_path / "net.pth")
    images = np.random.default_rng(0).random((5, 1, sequence.ROWS, sequence.COLUMNS), np.float32)
    x = gc.placeholder(images.shape, gc.float32, name="x")
    scores = gc.compile(scores=gc.function([x], ours(x))).scores(images)
    np.testing.assert_allclose(scores, theirs(torch.tensor(images)).detach().numpy(), rtol=1e-5, atol=1e-6)
    _, predict = sequence.declare(cell, weights=tmp_path / "net.pth")
    batch = np.resize(images, (sequence.BATCH, 1, sequence.ROWS, sequence.COLUMNS))
    assert (gc.compile(predict=predict).predict(batch)[:5] == scores.argmax(1)).all()
