"""A contest: one workload, one number of threads, every framework in a process of its own, in interleaved rounds.

In: a workload and names of frameworks. Out: a `Contest` with one `Entry` a framework. Outputs are compared before anything
is timed. A framework that can lay out pictures in several ways takes part with the way that was fastest in a round of trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from . import machine
from .prepared import CHANNELS_LAST
from .processes import Dead, Worker
from .results import CLOCKS, Contest, Entry
from .workloads import FIRST, FREE, Workload

REFERENCE = "torch"


@dataclass(frozen=True)
class Framework:
    """`package` must be installed; `trains` and `exported` say what it takes part in and whether it needs an ONNX file.

    layouts: the kinds of layout (see `Workload`) for which channels last is tried, too.
    """

    package: str
    trains: bool = True
    exported: bool = False
    layouts: tuple[str, ...] = ()

    def variants(self, workload: Workload) -> tuple[str, ...]:
        return ("", CHANNELS_LAST) if workload.layout in self.layouts else ("",)


FRAMEWORKS = {
    "graphc": Framework("graphc"),
    "torch": Framework("torch", layouts=(FIRST, FREE)),
    "onnxruntime": Framework("onnxruntime", trains=False, exported=True),
    "openvino": Framework("openvino", trains=False, exported=True, layouts=(FREE,)),
    "jax": Framework("jax", layouts=(FREE,)),
    "torch_compile": Framework("torch"),
}


def missing(name: str) -> str | None:
    """The package without which a framework cannot take part, if it is not installed."""
    needed = [FRAMEWORKS[name].package, *(["torch", "onnx"] if FRAMEWORKS[name].exported else [])]
    return next((package for package in needed if find_spec(package) is None), None)


@dataclass(frozen=True)
class Rules:
    """How to time: how many rounds of how many seconds, and how long a framework may take to get ready. Rounds are
    short and many: the less time one takes, the more alike the machine is for all frameworks in it."""

    rounds: int = 11
    seconds: float = 0.05
    patience: float = 300.0


def taking_part(workload: Workload, names: Sequence[str]) -> list[str]:
    return [name for name in names if FRAMEWORKS[name].trains or not workload.training]


def contest(
    workload: Workload,
    threads: int,
    names: Sequence[str],
    rules: Rules,
    note: Callable[[str], None] = lambda _: None,
) -> Contest:
    """Prepare, compare, time. `note` hears what is under way."""
    result = Contest(workload, threads, entries={name: Entry(name) for name in taking_part(workload, names)})
    with TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        if any(FRAMEWORKS[name].exported for name in result.entries):
            note("exporting")
            _export(workload, folder, result)

        def start(name: str, variant: str) -> Worker:
            worker = Worker(name, variant, workload.name, threads, folder)
            stack.callback(worker.end)
            return worker

        workers: dict[str, Worker] = {}
        for name, entry in result.entries.items():
            note(f"{name} gets ready")
            worker = None if entry.error else _prepared(entry, workload, start, rules)
            if worker is not None:
                workers[name] = worker
        _compare(result, {name: worker.outputs() for name, worker in workers.items()})
        for number in range(rules.rounds):
            note(f"round {number + 1} of {rules.rounds}")
            result.limits.append(machine.limits(threads))
            for name, worker in workers.items():
                _round(result.entries[name], worker, rules)
    return result


def _export(workload: Workload, folder: Path, result: Contest) -> None:
    """Write the ONNX file in a process of its own; who needs it and does not get it is out."""
    exporter = Worker("export", "", workload.name, 1, folder)
    exporter.process.communicate()
    if exporter.process.returncode:
        for name, entry in result.entries.items():
            if FRAMEWORKS[name].exported:
                entry.error = f"no ONNX file: {exporter.last_words()}"


def _prepared(entry: Entry, workload: Workload, start: Callable[[str, str], Worker], rules: Rules) -> Worker | None:
    """The framework's process, asleep; with several variants, one each, of which the fastest stays. None if all die."""
    variants = FRAMEWORKS[entry.name].variants(workload)
    ready: list[tuple[float, Worker]] = []
    for variant in variants:
        worker = start(entry.name, variant)
        try:
            worker.facts = worker.answer(rules.patience)
            trial = worker.round(rules.seconds, rules.patience)["fastest"] if len(variants) > 1 else 0.0
        except Dead as end:
            worker.end()
            entry.error = str(end)
        else:
            worker.sleep()
            ready.append((trial, worker))
    if not ready:
        return None
    (_, best), *others = sorted(ready, key=lambda pair: pair[0])
    for _, other in others:
        other.end()
    entry.facts, entry.variant, entry.error = best.facts, best.variant, ""
    return best


def _round(entry: Entry, worker: Worker, rules: Rules) -> None:
    if entry.error:
        return
    try:
        times = worker.round(rules.seconds, rules.patience)
    except Dead as end:
        entry.error = str(end)
        for clock in CLOCKS:
            entry.rounds(clock).clear()
        return
    for clock in CLOCKS:
        entry.rounds(clock).append(times[clock])


def _compare(result: Contest, outputs: dict[str, list[np.ndarray]]) -> None:
    """Who computes something else than the reference is out: PyTorch where it takes part, else the first of the others."""
    reference = REFERENCE if REFERENCE in outputs else next(iter(outputs), "")
    for name, arrays in outputs.items():
        problem = difference(arrays, outputs[reference], result.workload.tolerance)
        if problem:
            result.entries[name].error = f"differs from {reference}: {problem}"


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
