"""Pictures of a training.

In: a history. Out: a file with one curve for each number, over the epochs. Importing this module needs matplotlib and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from ..errors import GraphcError
from .history import History

try:
    from matplotlib.figure import Figure
except ImportError:
    raise GraphcError("pictures need matplotlib, which is not installed: pip install 'graphc[examples]'") from None


def plot_history(history: History, path: str | PathLike[str], names: Sequence[str] | None = None) -> None:
    """Write a picture (.png, .svg, .pdf) of the numbers called `names`, or of all: losses above, the others below."""
    if not len(history):
        raise GraphcError("plot_history: the history has no epoch yet")
    shown = list(names) if names is not None else history.names()
    for name in shown:
        history[name]  # refuses unknown ones
    groups = [group for group in (_named(shown, True), _named(shown, False)) if group]
    figure = Figure(figsize=(6, 3 * len(groups)), layout="constrained")
    for axes, group in zip(figure.subplots(len(groups), squeeze=False)[:, 0], groups, strict=True):
        for name in group:
            points = [(row["epoch"], row[name]) for row in history.rows if name in row]
            axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 30 else None)
        axes.set(xlabel="epoch")
        axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise GraphcError(f"cannot write the picture {path}: {error}") from error


def _named(names: list[str], losses: bool) -> list[str]:
    return [name for name in names if ("loss" in name) == losses]
