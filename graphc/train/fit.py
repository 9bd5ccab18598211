"""The loop over epochs and batches.

In: a compiled program, a loader, and what is to be measured, written and remembered. Out: `History`; the program is trained.
With a checkpoint, a run that was killed at any moment goes on from the last one written, and ends with the bits that it would
have ended with: variables, the optimiser's, random numbers, the place in the data, and sums of the epoch are all in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import GraphcError
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .history import History, means
from .logs import Logger
from .progress import Display
from .stopping import EarlyStopping


class Stateful(Protocol):
    """What has something to remember, as JSON can say it."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any) -> object: ...


def fit(
    program: Any,
    loader: Iterable[Any],
    epochs: int = 1,
    *,
    function: str = "train_step",
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    early_stopping: EarlyStopping | None = None,
    loggers: Sequence[Logger] = (),
    log_every: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool = True,
    remember: Mapping[str, Stateful] | None = None,
    quiet: bool = False,
) -> History:
    """Call `program.train_step(*batch)` for every batch of `loader`, for so many epochs.

    The step gives the loss; or a tuple or list that begins with it; or a dict with "loss". Means over each epoch are kept.
    evaluate: called after each epoch, gives more numbers by name. log_every: rows in `loggers` for every so many steps, besides
    one an epoch. checkpoint: a file, written after each epoch and every `checkpoint_every` steps; if it exists, training goes
    on from there (`resume=False` starts anew). remember: other things with state_dict and load_state_dict, by name.
    Raises GraphcError for a checkpoint that is damaged, or of another program or loader.
    """
    if epochs < 0 or any(every is not None and every < 1 for every in (log_every, checkpoint_every)):
        raise GraphcError("fit: epochs must not be negative; log_every and checkpoint_every are at least 1")
    if checkpoint_every is not None and checkpoint is None:
        raise GraphcError("fit: checkpoint_every needs a file: checkpoint='name.safetensors'")
    step = getattr(program, function, None)
    if step is None:
        raise GraphcError(f"fit: the program has no function {function!r}; name the one that trains: fit(..., function='step')")
    path = None if checkpoint is None else Path(checkpoint)
    run = _Run(program, loader, path, early_stopping, dict(remember or {}))
    found = run.restore() if resume and path is not None and path.exists() else False
    settings = _Settings(step, evaluate, tuple(loggers), log_every, checkpoint_every)
    for logger in loggers:
        logger.start(run.step, run.epoch)
    steps = _length(loader)
    try:
        with Display(None if steps is None else steps * epochs, run.step, epochs, quiet) as display:
            if found:
                display.say(f"resumed from {path} at step {run.step}, epoch {run.epoch + 1}")
            while run.epoch < epochs and not run.history.stopped:
                _epoch(run, settings, display)
    finally:
        for logger in loggers:
            logger.close()
    run.finish()
    return run.history


@dataclass(frozen=True)
class _Settings:
    step: Callable[..., Any]
    evaluate: Callable[[], Mapping[str, float]] | None
    loggers: tuple[Logger, ...]
    log_every: int | None
    checkpoint_every: int | None


def _epoch(run: _Run, settings: _Settings, display: Display) -> None:
    """What is left of an epoch. A row is logged before the checkpoint that includes it: a log can be cut, not filled."""
    number = run.epoch + 1
    for batch in run.batches():
        values = _values(_call(settings.step, batch))
        run.count(values)
        display.step(number, values, _samples(batch))
        if settings.log_every and run.step % settings.log_every == 0:
            _log(settings.loggers, {"event": "step", "epoch": number, "step": run.step, **values})
        if settings.checkpoint_every and run.step % settings.checkpoint_every == 0:
            run.save()
    measured = {} if settings.evaluate is None else {name: float(v) for name, v in settings.evaluate().items()}
    row = run.end_epoch(measured)
    _log(settings.loggers, {"event": "epoch", **row})
    run.save()
    display.epoch(row)


_META = {"epoch": int, "step": int, "seen": int, "sums": dict, "rows": list, "stopped": str}


@dataclass
class _Run:
    """Where a training is: `epoch` epochs are done, `seen` batches of the next, `step` batches in all."""

    program: Any
    loader: Any
    path: Path | None
    stopping: EarlyStopping | None
    remember: dict[str, Stateful]
    epoch: int = 0
    step: int = 0
    seen: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: History = field(default_factory=History)
    best: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        if hasattr(self.loader, "load_state_dict"):
            self.remember["loader"] = self.loader
        if self.stopping is not None:
            self.remember["early_stopping"] = self.stopping

    def batches(self) -> Iterator[Any]:
        """The batches that are left of this epoch."""
        passed = 0 if "loader" in self.remember else self.seen
        return islice(iter(self.loader), passed, None)

    def count(self, values: Mapping[str, float]) -> None:
        """A step is done."""
        self.step += 1
        self.seen += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def end_epoch(self, measured: Mapping[str, float]) -> dict[str, float]:
        """An epoch is done; its row."""
        row = {"epoch": self.epoch + 1, "step": self.step, **means(self.sums, self.seen), **measured}
        self.history.rows.append(row)
        self.epoch, self.seen, self.sums = self.epoch + 1, 0, {}
        if self.stopping is not None:
            if self.stopping.better(row) and self.stopping.restore_best:
                self._keep_best()
            if self.stopping.over:
                self.history.stopped = f"{self.stopping.monitor} was not better for {self.stopping.patience} epochs"
        return row

    # ----------------------------------------------------------------------------------------------------- checkpoints

    @property
    def _best_path(self) -> Path | None:
        return None if self.path is None else self.path.with_name(f"{self.path.stem}.best{self.path.suffix}")

    def _keep_best(self) -> None:
        self.best = self.program.state_dict()
        if self._best_path is not None:
            save_checkpoint(self._best_path, self.program, {"epoch": self.epoch, "step": self.step})

    def finish(self) -> None:
        """End with the best variables, if so wished."""
        if self.stopping is None or not self.stopping.restore_best or self.stopping.best is None:
            return
        if self.best is not None:
            self.program.load_state_dict(self.best)
        elif self._best_path is not None:
            load_checkpoint(self._best_path).restore(self.program)

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self.path is None:
            return
        meta = {
            "epoch": self.epoch,
            "step": self.step,
            "seen": self.seen,
            "sums": self.sums,
            "rows": self.history.rows,
            "stopped": self.history.stopped,
            "remember": {name: dict(thing.state_dict()) for name, thing in self.remember.items()},
        }
        save_checkpoint(self.path, self.program, meta)

    def restore(self) -> bool:
        """Go on from the checkpoint. True, or GraphcError."""
        assert self.path is not None
        found = load_checkpoint(self.path)
        others = found.meta.get("remember") if isinstance(found.meta, dict) else None
        if not isinstance(others, dict) or any(type(found.meta.get(name)) is not kind for name, kind in _META.items()):
            raise GraphcError(f"the checkpoint {self.path} was not written by fit; restore it yourself, or use another file")
        if set(others) != set(self.remember):
            has, wants = (", ".join(sorted(names)) or "nothing" for names in (others, self.remember))
            raise GraphcError(f"the checkpoint {self.path} remembers {has}, and this run has {wants}; resume=False starts anew")
        self._load(found, others)
        return True

    def _load(self, found: Checkpoint, others: dict[str, Any]) -> None:
        for name, thing in self.remember.items():
            try:
                thing.load_state_dict(others[name])
            except (GraphcError, KeyError, TypeError, ValueError) as error:
                raise GraphcError(f"the checkpoint {self.path} does not fit the {name}: {error}") from error
        found.restore(self.program)
        meta = found.meta
        self.epoch, self.step, self.seen, self.sums = meta["epoch"], meta["step"], meta["seen"], meta["sums"]
        self.history = History(meta["rows"], meta["stopped"])


# ------------------------------------------------------------------------------------------------------ batches and values


def _call(step: Callable[..., Any], batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return step(**batch)
    return step(*batch) if isinstance(batch, tuple | list) else step(batch)


def _values(result: Any) -> dict[str, float]:
    """The numbers that a step gave: "loss" first. Arrays that are no single number are left out."""
    if isinstance(result, Mapping):
        named = dict(result)
    elif isinstance(result, tuple | list):
        named = {"loss" if i == 0 else f"output{i}": value for i, value in enumerate(result)}
    else:
        named = {"loss": result}
    values = {name: float(np.asarray(value).item()) for name, value in named.items() if np.size(value) == 1}
    if "loss" not in values:
        raise GraphcError(f"fit: the step must give a loss that is one number; it gave {', '.join(named) or 'nothing'}")
    return values


def _samples(batch: Any) -> int:
    parts = list(batch.values()) if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else [batch]
    return int(np.shape(parts[0])[0]) if parts and np.ndim(parts[0]) else 1


def _log(loggers: Sequence[Logger], row: Mapping[str, Any]) -> None:
    for logger in loggers:
        logger.write(row)


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None
