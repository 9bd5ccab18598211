"""Logs for TensorBoard.

In: rows. Out: an event file in a folder, written by the package `tensorboard`. Importing this module needs that package and
says so. A run that resumes begins another event file; TensorBoard shows the later of two values of a step.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import GraphcError
from .logs import Row

try:
    from tensorboard.summary import Writer
except ImportError:
    raise GraphcError("event files need the package tensorboard, which is not installed: pip install tensorboard") from None


class TensorBoardLogger:
    """Scalars called step/NAME and epoch/NAME, over the number of steps."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        self.writer: Any = None

    def start(self, step: int, epoch: int) -> None:
        """Begin an event file."""
        self.close()
        self.writer = Writer(str(self.folder))

    def write(self, row: Row) -> None:
        """The numbers of a row."""
        if self.writer is None:
            self.start(0, 0)
        for name, value in row.items():
            if name not in ("event", "epoch", "step"):
                self.writer.add_scalar(f"{row['event']}/{name}", value, row["step"])
        self.writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
