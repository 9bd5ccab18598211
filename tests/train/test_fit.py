"""The loop: what it counts, logs, keeps and refuses. The programs are plain Python, except where bits are at stake."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import graphc as gc
from graphc.data import DataLoader, TensorDataset
from graphc.errors import GraphcError
from graphc.train import CSVLogger, EarlyStopping, History, JSONLLogger, fit, load_checkpoint
from graphc.train.progress import Display


class Counting:
    """A program whose loss is the sum of the batch; `w` counts."""

    def __init__(self, give: Callable[[float], Any] = lambda loss: np.float32(loss), stop_at: int | None = None) -> None:
        self.w, self.give, self.stop_at = np.zeros(()), give, stop_at

    def train_step(self, x: np.ndarray) -> Any:
        if self.w == self.stop_at:
            raise KeyboardInterrupt
        self.w = self.w + 1
        return self.give(float(x.sum()))

    def state_dict(self) -> Mapping[str, np.ndarray]:
        return {"w": self.w}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        self.w = values["w"].copy()


def loader(count: int = 6, **more: Any) -> DataLoader:
    return DataLoader(TensorDataset(np.arange(count)), 2, **more)


def test_history() -> None:
    program = Counting()
    scores = iter([0.5, 0.7])
    history = fit(program, loader(), epochs=2, evaluate=lambda: {"score": next(scores)}, quiet=True)
    assert history.losses == [5, 5] and history["score"] == [0.5, 0.7] and history.steps == 6 == program.w
    assert history.names() == ["loss", "score"] and len(history) == 2 and not history.stopped
    assert history.rows[1] == {"epoch": 2, "step": 6, "loss": 5, "score": 0.7}
    with pytest.raises(KeyError, match="there is loss, score"):
        history["accuracy"]
    assert History().losses == [] and len(fit(program, loader(), epochs=0, quiet=True)) == 0


@pytest.mark.parametrize(
    "give, names",
    [
        (lambda v: (np.float32(v), np.int64(3), np.zeros(4)), ["loss", "output1"]),
        (lambda v: [np.float32(v)], ["loss"]),
        (lambda v: {"penalty": np.float32(1), "loss": np.float32([v])}, ["penalty", "loss"]),
    ],
)
def test_what_a_step_may_give(give: Callable[[float], Any], names: list[str]) -> None:
    history = fit(Counting(give), loader(), quiet=True)
    assert history.names() == names and history.losses == [5]


@pytest.mark.parametrize("give", [lambda v: np.zeros(2), lambda v: {"cost": v}, lambda v: ()])
def test_a_step_without_a_loss(give: Callable[[float], Any]) -> None:
    with pytest.raises(GraphcError, match="a loss that is one number"):
        fit(Counting(give), loader(), quiet=True)


def test_batches_of_every_kind() -> None:
    assert fit(Counting(), [np.ones(3), np.ones(5)], quiet=True).losses == [4]
    assert fit(Counting(), [{"x": np.ones(3)}], quiet=True).losses == [3]
    assert fit(Counting(), [[np.ones(3)]], quiet=True).losses == [3]
    with pytest.raises(GraphcError, match="no batch"):
        fit(Counting(), [], quiet=True)
    with pytest.raises(GraphcError, match="no batch"):
        fit(Counting(), iter([np.ones(3)]), epochs=2, quiet=True)


@pytest.mark.parametrize("more", [{"epochs": -1}, {"log_every": 0}, {"checkpoint_every": 3}])
def test_settings_that_make_no_sense(more: dict[str, Any]) -> None:
    with pytest.raises(GraphcError, match="fit:"):
        fit(Counting(), loader(), quiet=True, **more)


def interrupted(path: Path, batches: Callable[[], Any], at: int, **more: Any) -> tuple[History, Counting]:
    """Stopped before step `at`, and taken up by another process, as it were."""
    arguments = {"epochs": 3, "checkpoint": path, "checkpoint_every": 2, "quiet": True, **more}
    with pytest.raises(KeyboardInterrupt):
        fit(Counting(stop_at=at), batches(), **arguments)
    program = Counting()
    return fit(program, batches(), **arguments), program


@pytest.mark.parametrize("batches", [lambda: loader(10, shuffle=True), lambda: [np.full(2, i) for i in range(5)]])
@pytest.mark.parametrize("at", [1, 4, 5, 7, 14])
def test_interrupted_runs_lose_nothing(tmp_path: Path, batches: Callable[[], Any], at: int) -> None:
    whole_logs, logs = ([JSONLLogger(tmp_path / f"{n}.jsonl"), CSVLogger(tmp_path / f"{n}.csv")] for n in "ab")
    whole = fit(Counting(), batches(), epochs=3, quiet=True, loggers=whole_logs, log_every=1)
    resumed, program = interrupted(tmp_path / "run", batches, at, loggers=logs, log_every=1)
    assert resumed.rows == whole.rows and program.w == 15
    for suffix in ("jsonl", "csv"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    again = Counting()
    assert fit(again, batches(), epochs=3, quiet=True, checkpoint=tmp_path / "run").rows == whole.rows and again.w == 15
    assert fit(Counting(), batches(), epochs=1, quiet=True, checkpoint=tmp_path / "run", resume=False).steps == 5


def test_half_a_line_at_the_end_of_a_log_is_taken_out(tmp_path: Path) -> None:
    for log in (JSONLLogger(tmp_path / "log.jsonl"), CSVLogger(tmp_path / "log.csv")):
        log.start(0, 0)
        for step in (1, 2, 3):
            log.write({"event": "step", "epoch": 1, "step": step, "loss": 0.5})
        log.write({"event": "epoch", "epoch": 1, "step": 3, "loss": 0.5, "score": 2.0})
        log.close()
        with open(log.path, "a") as file:
            file.write('{"event": "st' if log.path.suffix == ".jsonl" else "step,2,4,0.")
        log.start(2, 0)
        log.write({"event": "step", "epoch": 1, "step": 3, "loss": 0.25})
        log.close()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 0.5), (2, 0.5), (3, 0.25)]
    table = list(csv.DictReader(io.StringIO((tmp_path / "log.csv").read_text())))
    assert [(row["step"], row["loss"]) for row in table] == [("1", "0.5"), ("2", "0.5"), ("3", "0.25")]
    with pytest.raises(GraphcError, match="cannot write"):
        JSONLLogger(tmp_path / "no" / "such").start(0, 0)


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(Counting(), loader(), quiet=True, checkpoint=path)
    with pytest.raises(GraphcError, match=r"run does not fit the loader.*batch_size is 3, was 2"):
        fit(Counting(), DataLoader(TensorDataset(np.arange(6)), 3), quiet=True, checkpoint=path)
    with pytest.raises(GraphcError, match=r"remembers loader, and this run has early_stopping, loader"):
        fit(Counting(), loader(), quiet=True, checkpoint=path, early_stopping=EarlyStopping())
    gc.train.save_checkpoint(path, Counting(), {"step": 1})
    with pytest.raises(GraphcError, match="not written by fit"):
        fit(Counting(), loader(), quiet=True, checkpoint=path)
    gc.train.save_checkpoint(path, Counting(), {"epoch": "1", "step": 1, "seen": 0, "sums": {}, "rows": [], "stopped": ""})
    with pytest.raises(GraphcError, match="not written by fit"):
        fit(Counting(), loader(), quiet=True, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(GraphcError, match="truncated"):
        fit(Counting(), loader(), quiet=True, checkpoint=path)


class Schedule:
    """Something of the user's that is remembered."""

    def __init__(self) -> None:
        self.calls = 0

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.calls = state["calls"]


def test_other_things_are_remembered(tmp_path: Path) -> None:
    first, second = Schedule(), Schedule()
    first.calls = 7
    fit(Counting(), loader(), quiet=True, checkpoint=tmp_path / "run", remember={"schedule": first})
    fit(Counting(), loader(), epochs=2, quiet=True, checkpoint=tmp_path / "run", remember={"schedule": second})
    assert second.calls == 7


@pytest.mark.parametrize(
    "mode, values, stops, best",
    [
        ("max", [1, 3, 2, 3, 2.9], 4, 2),
        ("min", [5, 4, math.nan, 4], 4, 2),
        ("min", [5, 4, 3, 2, 1], 0, 5),
        ("max", [math.nan, math.nan], 2, 0),
    ],
)
def test_early_stopping(tmp_path: Path, mode: str, values: list[float], stops: int, best: int) -> None:
    def run(path: Path | None, epochs: int) -> tuple[History, Counting]:
        program, rule = Counting(), EarlyStopping("score", patience=2, mode=mode, restore_best=True)
        done = 0 if path is None or not path.exists() else len(load_checkpoint(path).meta["rows"])
        scores = iter(values[done:])
        history = fit(
            program,
            loader(),
            epochs,
            evaluate=lambda: {"score": next(scores)},
            early_stopping=rule,
            checkpoint=path,
            quiet=True,
        )
        return history, program

    history, program = run(None, len(values))
    assert len(history) == (stops or len(values)) and bool(history.stopped) == bool(stops)
    assert program.w == 3 * (best or len(history))  # of the best epoch, or of the last
    for epochs in range(1, len(values) + 1):
        resumed, other = run(tmp_path / "run.safetensors", epochs)
    assert repr(resumed.rows) == repr(history.rows) and resumed.stopped == history.stopped and other.w == program.w


def test_early_stopping_of_what_is_not_measured() -> None:
    with pytest.raises(GraphcError, match="did you mean 'loss'"):
        fit(Counting(), loader(), quiet=True, early_stopping=EarlyStopping("los"))
    for bad in ({"mode": "best"}, {"patience": 0}, {"min_delta": -1}):
        with pytest.raises(GraphcError, match="EarlyStopping"):
            EarlyStopping(**bad)
    rule = EarlyStopping(min_delta=0.5)
    assert [rule.better({"loss": v}) for v in (3, 2.6, 2.4)] == [True, False, True]


def test_what_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fit(Counting(), loader(), epochs=2, quiet=True)
    assert capsys.readouterr() == ("", "")
    fit(Counting(), loader(), epochs=1, checkpoint=tmp_path / "run")
    assert "epoch   1  loss 5" in capsys.readouterr().out
    fit(Counting(), loader(), epochs=2, checkpoint=tmp_path / "run")
    shown = capsys.readouterr().out
    assert "at step 3, epoch 2" in shown and "epoch   1" not in shown
    terminal = io.StringIO()
    with Display(10, 0, 2, False, Console(file=terminal, force_terminal=True, width=160)) as display:
        for _ in range(3):
            display.step(1, {"loss": 0.25}, 64)
        display.bar.refresh()
    assert all(text in terminal.getvalue() for text in ("epoch 1/2", "loss 0.25", "3/10", "samples/s"))


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    scores = iter([0.5, 0.7])
    history = fit(Counting(), loader(), epochs=2, evaluate=lambda: {"score": next(scores)}, quiet=True)
    gc.train.plot_history(history, tmp_path / "curve.svg")
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    for bad, message in ((tmp_path / "curve.xyz", "xyz"), (tmp_path / "no" / "curve.png", "cannot write")):
        with pytest.raises(GraphcError, match=message):
            gc.train.plot_history(history, bad)
    with pytest.raises(GraphcError, match="no epoch"):
        gc.train.plot_history(History(), tmp_path / "curve.png")
    with pytest.raises(KeyError, match="there is"):
        gc.train.plot_history(history, tmp_path / "curve.png", ["recall"])


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    fit(Counting(), loader(), quiet=True, loggers=[gc.train.TensorBoardLogger(tmp_path)], log_every=1)
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert b"epoch/loss" in events.read_bytes() and b"step/loss" in events.read_bytes()


@pytest.mark.parametrize(
    "package, name, message",
    [("matplotlib", "plot_history", "matplotlib"), ("tensorboard", "TensorBoardLogger", "tensorboard")],
)
def test_what_is_missing_says_so(package: str, name: str, message: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None; import graphc as gc\n"
        f"try:\n    gc.train.{name}\nexcept gc.GraphcError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "need" in result.stdout and message in result.stdout
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        gc.train.magic  # noqa: B018


def test_importing_graphc_loads_neither_rich_nor_training() -> None:
    listing = "import sys, graphc; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    late = ("rich", "PIL", "sklearn", "matplotlib", "graphc.train", "multiprocessing", "concurrent", "urllib.request")
    assert [name for name in loaded if name.startswith(late)] == []
