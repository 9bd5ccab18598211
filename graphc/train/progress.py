"""What a training shows while it runs.

In: steps and epochs as they end. Out: on a terminal, a bar with loss, samples a second and the time left; a line for each
epoch. Nothing where it is to be quiet.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class SamplesPerSecond(ProgressColumn):
    """How fast it goes, by the batch at hand."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed * task.fields['samples']:,.0f} samples/s")


class Display:
    """The bar of one training. `total` is the number of steps in all, or None."""

    def __init__(self, total: int | None, done: int, epochs: int, quiet: bool, console: Console | None = None) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            SamplesPerSecond(),
            TimeRemainingColumn(),
        )
        self.quiet, self.epochs = quiet, epochs
        self.bar = Progress(*columns, console=console or Console(), disable=quiet, transient=True)
        self.task = self.bar.add_task("training", total=total, completed=done, values="", samples=0)

    def __enter__(self) -> Display:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def step(self, epoch: int, values: Mapping[str, float], samples: int) -> None:
        """A step of `samples` samples has ended; epochs count from 1."""
        if not self.quiet:
            self.bar.update(
                self.task, advance=1, description=f"epoch {epoch}/{self.epochs}", values=_text(values), samples=samples
            )

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self.bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch has ended."""
        self.say(f"epoch {row['epoch']:3}  " + _text({name: v for name, v in row.items() if name not in ("epoch", "step")}))


def _text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
