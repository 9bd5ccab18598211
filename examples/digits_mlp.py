"""The basics: a network of two layers learns handwritten digits with one compiled training step.

Flatten -> Linear 784-128 -> ReLU -> Linear 128-10, cross entropy, SGD with momentum, on 28 x 28 images.

    python examples/digits_mlp.py                    train, and evaluate on digits never trained on
    python examples/digits_mlp.py --export out       also write the program and the data for examples/digits.c
    graphc compile examples/digits_mlp.py -o out     this file is a model, too: it binds `train_step` and `predict`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from training import Result, accuracy, options, plot, train

import graphc as gc
from graphc import data, nn, optim

BATCH = 64


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 128), nn.Linear(128, 10)

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return self.fc2(gc.relu(self.fc1(x.flatten(1))))


def declare(seed: int = 0) -> tuple[gc.Function, gc.Function]:
    """(train_step, predict): symbolic, nothing has run."""
    gc.manual_seed(seed)
    net = Net()
    x = gc.placeholder((BATCH, 1, 28, 28), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    return gc.function([x, y], loss, updates=optimizer.minimize(loss)), gc.function([x], net(x).argmax(1))


train_step, predict = declare()


def run(epochs: int = 40, seed: int = 0, quiet: bool = True, export: Path | None = None) -> Result:
    """Train and evaluate; with `export`, write what the C program needs, and what it should print."""
    step, guess = declare(seed)
    program = gc.compile(train_step=step, predict=guess, name="digits")
    learn, test = data.Digits(train=True, size=28), data.Digits(train=False, size=28)
    if export is not None:
        export.mkdir(parents=True, exist_ok=True)
        program.save(export / "digits.so")  # the state it has now: untrained
        write_data(export / "digits.bin", learn, test, order(len(learn), epochs, seed))
    loader = data.DataLoader(learn, BATCH, shuffle=True, drop_last=True, seed=seed)
    losses, steps = train(program, loader, epochs, quiet)
    share = accuracy(program, test, BATCH)
    if export is not None:
        (export / "losses_python.txt").write_text(report(steps, round(share * len(test)), len(test)))
    return Result(losses, steps, share, program)


# ------------------------------------------------------------------------------------------ the data, for programs in C


def order(count: int, epochs: int, seed: int) -> np.ndarray:
    """int64[steps, BATCH]: the samples of each step, as the loader takes them."""
    loader = data.DataLoader(data.TensorDataset(np.arange(count)), BATCH, shuffle=True, drop_last=True, seed=seed)
    return np.stack([numbers for _ in range(epochs) for (numbers,) in loader])


def write_data(path: Path, learn: data.TensorDataset, test: data.TensorDataset, steps: np.ndarray) -> None:
    """int64 counts of training samples, test samples and steps; images and labels of both; the samples of each step."""
    counts = np.array([len(learn), len(test), len(steps)], np.int64)
    path.write_bytes(b"".join(np.ascontiguousarray(a).tobytes() for a in (counts, *learn.arrays, *test.arrays, steps)))


def report(losses: Sequence[float], right: int, total: int) -> str:
    """What examples/digits.c prints: every bit of every loss."""
    rows = [f"step {i} loss {loss.hex()}" for i, loss in enumerate(losses, 1)]
    return "\n".join([*rows, f"{right} of {total} test digits are right\n"])


@click.command()
@options(epochs=40)
@click.option("--export", type=click.Path(path_type=Path), help="Folder for digits.so, digits.h and the data of digits.c.")
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool, export: Path | None) -> None:
    """Train a small network on handwritten digits."""
    result = run(epochs, seed, quiet, export)
    click.echo(f"MLP: accuracy on the test digits {result.accuracy:.4f}")
    if plot_file:
        plot({"MLP": result.losses}, plot_file)


if __name__ == "__main__":
    main()
