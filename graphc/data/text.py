"""Lines of text files.

In: a file, or several. Out: sample i is line i, without its end. The bytes are in memory; a line is decoded when it is asked
for, and bytes that are no text are named with their offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GraphcError
from .dataset import Dataset


class TextLines(Dataset):
    """The lines of one file or several, one after the other; `transform` makes of a line what is to be learned from."""

    def __init__(
        self,
        paths: str | PathLike[str] | Sequence[str | PathLike[str]],
        transform: Callable[[str], Any] | None = None,
        encoding: str = "utf-8",
        skip_empty: bool = False,
    ) -> None:
        listed = [paths] if isinstance(paths, str | PathLike) else list(paths)
        self.paths = [Path(path) for path in listed]
        self.transform, self.encoding = transform, encoding
        self.contents = [_read(path) for path in self.paths]
        self.spans = np.concatenate([_spans(i, text, skip_empty) for i, text in enumerate(self.contents)] or [np.empty((0, 3))])

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> Any:
        part, start, end = self.spans[index].tolist()
        try:
            line = self.contents[part][start:end].decode(self.encoding)
        except UnicodeDecodeError as error:
            at = start + error.start
            raise GraphcError(f"{self.paths[part]} is no {self.encoding} text: at offset {at}: {error.reason}") from error
        return line if self.transform is None else self.transform(line)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraphcError(f"cannot read {path}: {error.strerror}") from error


def _spans(part: int, text: bytes, skip_empty: bool) -> np.ndarray:
    """int64 (lines, 3): the number of the file, first offset, last offset. Lines end with LF or CR LF."""
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == 10)
    ends = np.append(ends, len(text)) if text and not text.endswith(b"\n") else ends
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    returns = (ends > starts) & (codes[np.maximum(ends - 1, 0)] == 13) if len(text) else np.zeros(0, bool)
    spans = np.stack([np.full(len(ends), part), starts, ends - returns], 1).astype(np.int64)
    return spans[spans[:, 2] > spans[:, 1]] if skip_empty else spans
