"""What the examples share: their options, the loop over epochs, accuracy, and the picture of the loss.

In: a compiled program with `train_step(images, labels) -> loss` and `predict(images) -> classes`, and data sets. Out: a
`Result`. How a network is declared, differentiated and compiled is each example's own and not hidden here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from graphc import data
from graphc.runtime.program import Program


@dataclass
class Result:
    """Mean loss of each epoch, the loss of every step, accuracy on data never trained on, and the program itself."""

    losses: list[float]
    steps: list[float]
    accuracy: float
    program: Program
    extra: dict[str, Any] = field(default_factory=dict)


def options(epochs: int, meaning: str = "Passes over the data.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that every example takes; `epochs` is the default of --epochs, and `meaning` its help."""
    shared = (
        click.option("--epochs", type=click.IntRange(min=1), default=epochs, show_default=True, help=meaning),
        click.option("--seed", default=0, show_default=True, help="Initial values and the order of the samples."),
        click.option(
            "--plot", "plot_file", type=click.Path(path_type=Path), help="Write a picture of the loss: .png, .svg or .pdf."
        ),
        click.option("--quiet", is_flag=True, help="No progress bar, no line for each epoch."),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(shared):
            command = option(command)
        return command

    return decorate


def train(
    program: Program,
    batches: Iterable[Any],
    epochs: int,
    quiet: bool = False,
    before: Callable[[int], object] = lambda epoch: None,
) -> tuple[list[float], list[float]]:
    """(mean loss of each epoch, loss of each step); `batches` is gone through once an epoch, after `before(epoch)`."""
    means: list[float] = []
    steps: list[float] = []
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"), TimeRemainingColumn())
    with Progress(*columns, console=Console(), disable=quiet, transient=True) as progress:
        task = progress.add_task("training", total=epochs)
        for epoch in range(1, epochs + 1):
            before(epoch)
            losses = [float(program.train_step(*batch)) for batch in batches]
            steps += losses
            means.append(sum(losses) / len(losses))
            progress.advance(task)
            if not quiet:
                progress.console.print(f"epoch {epoch:3}  loss {means[-1]:.4f}", highlight=False)
    return means, steps


def accuracy(program: Program, dataset: data.Dataset, batch: int) -> float:
    """The share of the samples that `predict` puts into the right class; samples that pad the last batch do not count."""
    loader = data.DataLoader(dataset, batch)
    right = sum(int((program.predict(images) == labels)[: loader.valid].sum()) for images, labels in loader)
    return right / len(dataset)


def plot(curves: dict[str, list[float]], path: Path, what: str = "mean loss") -> None:
    """A picture of the mean losses, or `what` else the curves are, by epoch."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, losses in curves.items():
        axes.plot(range(1, len(losses) + 1), losses, label=name)
    axes.set(xlabel="epoch", ylabel=what)
    axes.legend()
    figure.savefig(path)
    click.echo(f"loss curve written to {path}")


def save_pictures(images: np.ndarray, path: Path, columns: int = 8) -> None:
    """The grey (N, 1, H, W) images, 0 white to 1 black, as one picture of rows and columns."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns / 2, rows / 2), layout="constrained")
    for axes, image in zip(figure.subplots(rows, columns, squeeze=False).flat, images, strict=False):
        axes.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
    for axes in figure.axes:
        axes.axis("off")
    figure.savefig(path)
    click.echo(f"pictures written to {path}")
