"""What happened in a training: one row of numbers for each epoch.

In: rows as they come. Out: columns by name. It is part of checkpoints, so it is made of what JSON can say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import GraphcError


@dataclass
class History:
    """rows: of each epoch, `epoch` and `step` (both counted from 1, the last one done), the mean loss, and the metrics.

    stopped: why training ended before its time, or nothing.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    stopped: str = ""

    @property
    def losses(self) -> list[float]:
        """The mean loss of each epoch."""
        return self["loss"]

    @property
    def steps(self) -> int:
        """How many steps were done."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def names(self) -> list[str]:
        """The names of what was measured."""
        return [name for name in dict.fromkeys(name for row in self.rows for name in row) if name not in ("epoch", "step")]

    def __getitem__(self, name: str) -> list[float]:
        """One number, of each epoch that has it."""
        if self.rows and name not in self.names():
            raise KeyError(f"no {name!r} was measured; there is {', '.join(self.names())}")
        return [row[name] for row in self.rows if name in row]

    def __len__(self) -> int:
        return len(self.rows)


def means(sums: Mapping[str, float], count: int) -> dict[str, float]:
    """Sums over the steps of an epoch as means."""
    if count == 0:
        raise GraphcError("fit: an epoch had no batch; the loader is empty, or gives batches only once")
    return {name: value / count for name, value in sums.items()}
