"""When to stop: a number has not become better for some epochs.

In: the row of each epoch. Out: whether to stop, and whether it was the best so far. Its state goes into checkpoints.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import GraphcError


@dataclass
class EarlyStopping:
    """Stop after `patience` epochs in which `monitor` was not better than its best by more than `min_delta`.

    mode: "min" or "max" is better. restore_best: end with the variables of the best epoch. NaN is never better.
    """

    monitor: str = "loss"
    patience: int = 5
    mode: str = "min"
    min_delta: float = 0.0
    restore_best: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max") or self.patience < 1 or self.min_delta < 0:
            raise GraphcError("EarlyStopping: mode is 'min' or 'max', patience at least 1, min_delta not negative")
        self.best: float | None = None
        self.waited = 0

    def better(self, row: Mapping[str, float]) -> bool:
        """Whether this epoch is the best so far; it is counted."""
        if self.monitor not in row:
            near = difflib.get_close_matches(self.monitor, list(row), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(row)}"
            raise GraphcError(f"EarlyStopping: nothing called {self.monitor!r} is measured; {hint}")
        value = row[self.monitor]
        sign = 1 if self.mode == "max" else -1
        wins = value == value and (self.best is None or sign * (value - self.best) > self.min_delta)
        self.best = value if wins else self.best
        self.waited = 0 if wins else self.waited + 1
        return wins

    @property
    def over(self) -> bool:
        """Whether patience is at its end."""
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """The best value and the epochs since."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one was."""
        self.best, self.waited = state["best"], state["waited"]
