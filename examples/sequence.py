"""Sequences: a recurrent network reads a digit row by row, and says what it was when the last row has been seen.

LSTM or GRU over 8 rows of 8 pixels, then a linear layer over its last state; cross entropy, Adam, gradients clipped together.
The names of the parameters are PyTorch's, so weights come from there as they are.

    python examples/sequence.py --cell gru
    python examples/sequence.py --weights net.pth        start from torch.save(net.state_dict(), "net.pth")
"""

from __future__ import annotations

from pathlib import Path

import click
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data, nn, optim

BATCH, ROWS, COLUMNS, HIDDEN = 32, 8, 8, 64
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class RowReader(nn.Module):
    def __init__(self, cell: str = "lstm") -> None:
        super().__init__()
        self.rnn = CELLS[cell](COLUMNS, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, 10)

    def forward(self, images: gc.Tensor) -> gc.Tensor:
        """Scores (N, 10) of images (N, 1, rows, columns)."""
        outputs, _ = self.rnn(images.squeeze(1))  # one output a row; time is unrolled while the graph is declared
        return self.fc(outputs[:, -1])


def declare(cell: str = "lstm", seed: int = 0, weights: Path | None = None) -> tuple[gc.Function, gc.Function]:
    """(train_step, predict), from random weights, or from those of a file."""
    gc.manual_seed(seed)
    net = RowReader(cell)
    if weights is not None:
        net.load_state_dict(weights)
    x = gc.placeholder((BATCH, 1, ROWS, COLUMNS), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    gradients = nn.utils.clip_grad_norm(optimizer.gradients(loss), 1.0)
    return gc.function([x, y], loss, updates=optimizer.updates(gradients)), gc.function([x], net(x).argmax(1))


train_step, predict = declare()


def run(cell: str = "lstm", epochs: int = 15, seed: int = 0, quiet: bool = True, weights: Path | None = None) -> Result:
    """Train and evaluate."""
    step, guess = declare(cell, seed, weights)
    program = gc.compile(train_step=step, predict=guess, name=cell)
    learn, test = data.Digits(train=True), data.Digits(train=False)
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    losses, steps = train(program, loader, epochs, quiet)
    return Result(losses, steps, accuracy(program, test, BATCH), program)


@click.command()
@options(epochs=15)
@click.option("--cell", type=click.Choice(sorted(CELLS)), default="lstm", show_default=True)
@click.option(
    "--weights", type=click.Path(exists=True, path_type=Path), help="Start from these: .safetensors, or .pth of PyTorch."
)
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, cell: str, weights: Path | None) -> None:
    """Train a recurrent network to read digits row by row."""
    result = run(cell, epochs, seed, quiet, weights)
    click.echo(f"{cell.upper()}: accuracy on the test digits {result.accuracy:.4f}")
    if plot_file:
        plot({cell.upper(): result.losses}, plot_file)


if __name__ == "__main__":
    main()
