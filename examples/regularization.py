"""Overfitting, seen and treated with L1, L2 and dropout.

Of the 200 digits to learn from, every tenth has a wrong label. Left alone, a network with 19000 parameters gets to know each
picture, wrong labels too: their loss goes to zero, while that of other pictures falls and then rises for good. Each remedy
keeps the two closer together, and makes more of the test digits right; L1 also takes most weights of the first layer to zero.

    python examples/regularization.py
    python examples/regularization.py --plot curves.png
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure
from rich.progress import track
from training import options

import graphc as gc
from graphc import data, nn, optim
from graphc.runtime.program import Program

SAMPLES = 200
SMALL = 1e-3  # a weight below this counts as zero
F = nn.functional


@dataclass(frozen=True)
class Remedy:
    """Weights of the two penalties, and the probability of dropping a hidden unit."""

    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.0


REMEDIES = {"none": Remedy(), "L1": Remedy(l1=1e-3), "L2": Remedy(l2=2e-3), "dropout": Remedy(dropout=0.5)}


@dataclass
class Result:
    """What was seen on both parts of the data, without penalties and dropout, and the program.

    The losses before each epoch and at the end, the accuracies at the end, the share of weights of the first layer below SMALL.
    """

    train: list[float]
    test: list[float]
    train_accuracy: float
    test_accuracy: float
    zeros: float
    program: Program

    @property
    def gap(self) -> float:
        """How much worse the network is, at the end, on what it has not seen."""
        return self.test[-1] - self.train[-1]


def few_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Digits to learn from, every tenth one called by the next number, and digits to test with, all right."""
    learn, test = (data.Digits(train=part).arrays for part in (True, False))
    images, labels = learn[0][:SAMPLES], learn[1][:SAMPLES].copy()
    labels[::10] = (labels[::10] + 1) % 10
    return {"train": (images, labels), "test": (test[0], test[1])}


def compiled(remedy: Remedy, parts: dict[str, tuple[np.ndarray, np.ndarray]], seed: int) -> Program:
    """`train_step`, and for each part of the data a function of its name: (loss, accuracy)."""
    gc.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(remedy.dropout), nn.Linear(256, 10))
    inputs = {
        name: (gc.placeholder(x.shape, gc.float32, name="x"), gc.placeholder(y.shape, gc.int64, name="y"))
        for name, (x, y) in parts.items()
    }
    x, y = inputs["train"]
    weights = [p for p in net.parameters() if p.ndim > 1]
    loss = F.cross_entropy(net(x), y)
    loss = loss + remedy.l1 * nn.utils.l1_penalty(weights) + remedy.l2 * nn.utils.l2_penalty(weights)
    functions = {"train_step": gc.function([x, y], loss, updates=optim.Adam(net.parameters(), lr=3e-3).minimize(loss))}
    net.eval()
    for name, (x, y) in inputs.items():
        logits = net(x)
        right = (logits.argmax(1) == y).float().mean()
        functions[name] = gc.function([x, y], (F.cross_entropy(logits, y), right))
    return gc.compile(**functions, name="regularization")


def run(remedy: Remedy, epochs: int = 200, seed: int = 0) -> Result:
    """Train with all samples in one batch; look at both parts of the data before each epoch and at the end."""
    parts = few_digits()
    program = compiled(remedy, parts, seed)
    curves: dict[str, list[float]] = {name: [] for name in parts}
    for epoch in range(epochs + 1):
        seen = {name: getattr(program, name)(*part) for name, part in parts.items()}
        for name, (loss, _) in seen.items():
            curves[name].append(float(loss))
        if epoch < epochs:
            program.train_step(*parts["train"])
    zeros = float((abs(program.state["1.weight"]) < SMALL).mean())
    return Result(curves["train"], curves["test"], float(seen["train"][1]), float(seen["test"][1]), zeros, program)


def plot(results: dict[str, Result], path: Path) -> None:
    """The losses on both parts of the data, one picture for each remedy."""
    figure = Figure(figsize=(3.2 * len(results), 3), layout="constrained")
    for axes, (name, result) in zip(figure.subplots(1, len(results), sharey=True), results.items(), strict=True):
        axes.plot(result.train, label="training")
        axes.plot(result.test, label="test")
        axes.set(title=name, xlabel="epoch", yscale="log")
    figure.axes[0].set_ylabel("loss")
    figure.axes[0].legend()
    figure.savefig(path)
    click.echo(f"curves written to {path}")


@click.command()
@options(epochs=200)
def main(epochs: int, seed: int, plot_file: Path | None, quiet: bool) -> None:
    """Overfit few digits, then do it again with each remedy."""
    names = track(REMEDIES, "training", disable=quiet, transient=True)
    results = {name: run(REMEDIES[name], epochs, seed) for name in names}
    for name, r in results.items():
        accuracies = f"accuracy {r.train_accuracy:.3f} and {r.test_accuracy:.3f}"
        click.echo(f"{name:8} loss {r.train[-1]:.3f}, on test digits {r.test[-1]:.3f}; {accuracies}; zeros {r.zeros:.0%}")
    if plot_file:
        plot(results, plot_file)


if __name__ == "__main__":
    main()
