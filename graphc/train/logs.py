"""Logs: numbers of steps and epochs as files.

In: rows. Out: a file of CSV or of one JSON object a line. A run that resumes from a checkpoint says how far that is; rows
written after it, and half a row at the end of a killed run, are taken out, so every row is there once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from ..errors import GraphcError
from .atomic import write_whole

Row = Mapping[str, Any]


class Logger(Protocol):
    """What `fit` wants of a log. A row has `event` ("step" or "epoch"), `epoch`, `step` and numbers."""

    def start(self, step: int, epoch: int) -> None:
        """`step` steps and `epoch` epochs are done: keep their rows only."""

    def write(self, row: Row) -> None:
        """One more row."""

    def close(self) -> None:
        """There are no more."""


class _FileLogger:
    """Rows are appended, and flushed one by one."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self.file: io.TextIOWrapper | None = None

    def start(self, step: int, epoch: int) -> None:
        """Keep what belongs to the first `step` steps and `epoch` epochs."""
        self.close()
        kept = [row for row in self._read() if _done(row, step, epoch)] if step and self.path.exists() else []
        self._rewrite(kept)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _append(self, text: str) -> None:
        if self.file is None:
            try:
                self.file = open(self.path, "a", encoding="utf-8", newline="")
            except OSError as error:
                raise GraphcError(f"cannot write the log {self.path}: {error.strerror}") from error
        self.file.write(text)
        self.file.flush()

    def _read(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        raise NotImplementedError


class JSONLLogger(_FileLogger):
    """One JSON object a line."""

    def write(self, row: Row) -> None:
        """Append a line."""
        self._append(json.dumps(dict(row)) + "\n")

    def _read(self) -> list[dict[str, Any]]:
        rows = []
        for line in self.path.read_text("utf-8", "replace").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # the end of a killed run
                continue
        return [row for row in rows if isinstance(row, dict)]

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        write_whole(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())


class CSVLogger(_FileLogger):
    """Comma-separated values under one line of names. A new name adds a column to the whole file."""

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(path)
        self.names: list[str] = []

    def write(self, row: Row) -> None:
        """Append a line; where it has a new name, write the file anew."""
        if set(row) <= set(self.names):
            self._append(self._lines([row]))
            return
        self.close()
        self._rewrite([*self._read(), dict(row)] if self.path.exists() else [dict(row)])

    def _lines(self, rows: list[Any], header: bool = False) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.names, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _read(self) -> list[dict[str, Any]]:
        text = self.path.read_text("utf-8", "replace")
        whole = text[: text.rfind("\n") + 1]
        return [dict(row) for row in csv.DictReader(io.StringIO(whole))]

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self.names = list(dict.fromkeys(name for row in rows for name in row))
        write_whole(self.path, self._lines(rows, header=True).encode() if rows else b"")


def _done(row: Mapping[str, Any], step: int, epoch: int) -> bool:
    try:
        return int(row["epoch"]) <= epoch if row["event"] == "epoch" else int(row["step"]) <= step
    except (KeyError, TypeError, ValueError):
        return False
