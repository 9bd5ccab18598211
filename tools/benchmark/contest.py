"""A contest: one workload, one number of threads, every framework in a process of its own, in interleaved rounds.

In: a workload and names of frameworks. Out: a `Contest` with one `Entry` a framework. Outputs are compared before anything
is timed. Holds: while one process is timed the others are stopped, so that no idle thread spins beside it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .workloads import Workload

TOOLS = Path(__file__).resolve().parent.parent
CLOCKS = ("wall", "fastest", "cpu")
OURS, REFERENCE = "graphc", "torch"
NOISY = 0.15  # a spread, or a round's distance from the median, beyond which a number is not to be trusted
TOLERANCE = {False: 1e-4, True: 5e-4}  # by training: largest difference, relative to the largest value
SETTLE = 0.01  # seconds between waking a process and its round


@dataclass(frozen=True)
class Framework:
    """`package` must be installed; `trains` and `exported` say what it takes part in and whether it needs an ONNX file."""

    package: str
    trains: bool = True
    exported: bool = False


FRAMEWORKS = {
    "graphc": Framework("graphc"),
    "torch": Framework("torch"),
    "onnxruntime": Framework("onnxruntime", trains=False, exported=True),
    "openvino": Framework("openvino", trains=False, exported=True),
    "jax": Framework("jax"),
    "torch_compile": Framework("torch"),
}


def missing(name: str) -> str | None:
    """The package without which a framework cannot take part, if it is not installed."""
    needed = [FRAMEWORKS[name].package, *(["torch"] if FRAMEWORKS[name].exported else [])]
    return next((package for package in needed if find_spec(package) is None), None)


@dataclass
class Entry:
    """One framework's part: seconds of a call by round, or why there are none.

    wall: the median of the round. fastest: its least, which others on the machine disturb least. cpu: the mean time on
    processors, of all threads.
    """

    name: str
    wall: list[float] = field(default_factory=list)
    fastest: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    error: str = ""

    def rounds(self, clock: str) -> list[float]:
        return {"wall": self.wall, "fastest": self.fastest, "cpu": self.cpu}[clock]

    def time(self, clock: str) -> float:
        """Seconds of a call: the median over rounds."""
        return median(self.rounds(clock))

    def spread(self, clock: str) -> float:
        """The distance between the quartiles of the rounds, relative to their median."""
        rounds = self.rounds(clock)
        if len(rounds) < 2:
            return 0.0
        low, _, high = quantiles(rounds, n=4, method="inclusive")
        return (high - low) / median(rounds)

    def noisy_rounds(self, clock: str) -> int:
        """How many rounds were far from the median."""
        return sum(abs(x / self.time(clock) - 1) > NOISY for x in self.rounds(clock))


@dataclass
class Contest:
    """What came out, for one workload and number of threads."""

    workload: Workload
    threads: int
    entries: dict[str, Entry] = field(default_factory=dict)

    def timed(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.wall]

    def best_peer(self, clock: str) -> Entry | None:
        peers = [entry for entry in self.timed() if entry.name != OURS]
        return min(peers, key=lambda entry: entry.time(clock), default=None)

    def ratio(self, clock: str) -> float | None:
        """How many times faster than the best peer graphc is: the median over rounds, each beside the other."""
        ours, best = self.entries.get(OURS), self.best_peer(clock)
        if ours is None or not ours.wall or best is None:
            return None
        return median(b / a for a, b in zip(ours.rounds(clock), best.rounds(clock), strict=True))


@dataclass(frozen=True)
class Rules:
    """How to time: how many rounds of how many seconds, and how long a framework may take to get ready."""

    rounds: int = 7
    seconds: float = 0.1
    patience: float = 300.0


class Dead(Exception):
    """A worker did not answer."""


class Worker:
    """A process that has one framework prepare one workload; asleep until it is asked for a round."""

    def __init__(self, framework: str, workload: str, threads: int, folder: Path) -> None:
        self.errors = folder / f"{framework}.log"
        command = [sys.executable, "-m", "benchmark.worker", framework, workload, str(threads), str(folder)]
        with self.errors.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=_environment(threads)
            )

    def answer(self, patience: float) -> dict[str, float]:
        """The next line the process says. Dead when it says none."""
        stream = self.process.stdout
        assert stream is not None
        if not select.select([stream], [], [], patience)[0]:
            raise Dead(f"no answer after {patience:.0f} s")
        line = stream.readline()
        if not line:
            raise Dead(self._last_words())
        result: dict[str, float] = json.loads(line)
        return result

    def round(self, seconds: float, patience: float) -> dict[str, float]:
        """Wake it, time one round, and stop it again."""
        assert self.process.stdin is not None
        with self._awake():
            select.select([], [], [], SETTLE)
            self.process.stdin.write(f"{seconds}\n".encode())
            self.process.stdin.flush()
            return self.answer(patience)

    @contextmanager
    def _awake(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.sleep()

    def sleep(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _last_words(self) -> str:
        self.process.wait()
        lines = [line for line in self.errors.read_text().splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"the process ended with {self.process.returncode}"


def _environment(threads: int) -> dict[str, str]:
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GRAPHC_THREADS"), str(threads))
    path = os.pathsep.join(filter(None, [str(TOOLS), os.environ.get("PYTHONPATH")]))
    return os.environ | counts | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


def contest(
    workload: Workload, threads: int, names: Sequence[str], rules: Rules, note: Callable[[str], None] = lambda _: None
) -> Contest:
    """Prepare, compare, time. `note` hears what is under way."""
    able = [name for name in names if FRAMEWORKS[name].trains or not workload.training]
    result = Contest(workload, threads, {name: Entry(name) for name in able})
    with TemporaryDirectory() as place, _crew() as workers:
        folder = Path(place)
        if any(FRAMEWORKS[name].exported for name in result.entries):
            note("exporting")
            _export(workload, folder, result)
        for name, entry in result.entries.items():
            if not entry.error:
                note(f"{name} gets ready")
                _prepare(entry, workload, threads, folder, rules, workers)
        _compare(result, folder)
        for number in range(rules.rounds):
            note(f"round {number + 1} of {rules.rounds}")
            for name, worker in workers.items():
                _round(result.entries[name], worker, rules)
    return result


@contextmanager
def _crew() -> Iterator[dict[str, Worker]]:
    workers: dict[str, Worker] = {}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.end()


def _export(workload: Workload, folder: Path, result: Contest) -> None:
    """Write the ONNX file in a process of its own; who needs it and does not get it is out."""
    exporter = Worker("export", workload.name, 1, folder)
    exporter.process.communicate()
    if exporter.process.returncode:
        for name, entry in result.entries.items():
            if FRAMEWORKS[name].exported:
                entry.error = f"no ONNX file: {exporter._last_words()}"


def _prepare(entry: Entry, workload: Workload, threads: int, folder: Path, rules: Rules, workers: dict[str, Worker]) -> None:
    worker = workers[entry.name] = Worker(entry.name, workload.name, threads, folder)
    try:
        entry.facts = worker.answer(rules.patience)
        worker.sleep()
    except Dead as end:
        entry.error = str(end)
        workers.pop(entry.name).end()


def _round(entry: Entry, worker: Worker, rules: Rules) -> None:
    if entry.error:
        return
    try:
        times = worker.round(rules.seconds, rules.patience)
    except (Dead, BrokenPipeError) as end:
        entry.error = str(end) or "ended"
        for clock in CLOCKS:
            entry.rounds(clock).clear()
        return
    for clock in CLOCKS:
        entry.rounds(clock).append(times[clock])


def _compare(result: Contest, folder: Path) -> None:
    """Who computes something else than the reference is out: PyTorch where it takes part, else the first of the others."""
    outputs = {name: _outputs(folder / f"{name}.npz") for name, entry in result.entries.items() if not entry.error}
    reference = REFERENCE if REFERENCE in outputs else next(iter(outputs), "")
    for name, arrays in outputs.items():
        problem = difference(arrays, outputs[reference], TOLERANCE[result.workload.training])
        if problem:
            result.entries[name].error = f"differs from {reference}: {problem}"


def _outputs(path: Path) -> list[np.ndarray]:
    with np.load(path) as data:
        return [data[key] for key in data.files]


def difference(arrays: list[np.ndarray], wanted: list[np.ndarray], tolerance: float) -> str:
    """What is wrong with `arrays`; nothing is said where they are as wanted, up to rounding."""
    if [a.shape for a in arrays] != [w.shape for w in wanted]:
        return f"shapes {[a.shape for a in arrays]} instead of {[w.shape for w in wanted]}"
    for i, (a, w) in enumerate(zip(arrays, wanted, strict=True)):
        scale = float(np.abs(w).max(initial=0.0)) or 1.0
        error = float(np.abs(a.astype(np.float64) - w).max(initial=0.0)) / scale
        if not error <= tolerance:
            return f"output {i} by {error:.1e} of its largest value"
    return ""


def as_json(result: Contest, clock: str) -> dict[str, Any]:
    """Everything that came out, in milliseconds and bytes."""
    best = result.best_peer(clock)
    return {
        "workload": result.workload.name,
        "training": result.workload.training,
        "threads": result.threads,
        "bound": result.workload.bound,
        "best_peer": best.name if best else None,
        "ratio": result.ratio(clock),
        "noisy": any(entry.spread(clock) > NOISY for entry in result.timed()),
        "frameworks": {name: _entry_json(entry, clock) for name, entry in result.entries.items()},
    }


def _entry_json(entry: Entry, clock: str) -> dict[str, Any]:
    if entry.error or not entry.wall:
        return {"error": entry.error}
    return {
        "ms": entry.time(clock) * 1e3,
        "spread": entry.spread(clock),
        "noisy_rounds": entry.noisy_rounds(clock),
        **{f"{each}_ms": [x * 1e3 for x in entry.rounds(each)] for each in CLOCKS},
        "ready_s": entry.facts["seconds"],
        "rss_peak_bytes": entry.facts["rss_peak"],
    } | {key: value for key, value in entry.facts.items() if key not in ("seconds", "rss_peak")}
