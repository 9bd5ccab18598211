"""One process, one framework, one workload: builds it, then times calls when told to.

python -m benchmark.worker FRAMEWORK VARIANT WORKLOAD THREADS FOLDER     answers one JSON object a line, on the first stdout

In: lines of seconds on stdin. Out: first what was prepared (its outputs are in FOLDER/FRAMEWORK.VARIANT.npz), then for each
line a round: a call's median and least wall time, and its mean time on processors. The end of stdin ends the process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, TextIO

import numpy as np

from . import workloads

WARM = 0.15  # of a round: caches, threads and clock find their pace, not counted


def main() -> None:
    framework, variant, name, threads, folder = sys.argv[1:]
    workload, model = workloads.named(name), str(Path(folder) / "model.onnx")
    answers = _private_stdout()
    if framework == "export":
        import_module("benchmark.with_torch").export(workload, model)
        return
    module = import_module(f"benchmark.with_{framework}")
    before = _memory("VmRSS")
    prepared = module.prepare(workload, int(threads), model, variant)
    np.savez(Path(folder) / f"{framework}.{variant}.npz", *prepared.results())
    facts = {"seconds": prepared.seconds, "rss_peak": _memory("VmHWM") - before} | prepared.facts
    if prepared.scratch is not None:
        facts["scratch_bytes"] = prepared.scratch()
    _say(answers, facts)
    for line in sys.stdin:
        _say(answers, timed(prepared.call, float(line)))


def timed(call: Callable[[], Any], seconds: float) -> dict[str, float]:
    """One round of about so many seconds, at least one call."""
    _spin(call, seconds * WARM)
    before = process_time()
    times = _spin(call, seconds)
    cpu = (process_time() - before) / len(times)
    return {"wall": median(times), "fastest": min(times), "cpu": cpu, "calls": len(times)}


def _spin(call: Callable[[], Any], seconds: float) -> list[float]:
    """How long each call took."""
    times: list[float] = []
    end = perf_counter() + seconds
    while True:
        start = perf_counter()
        call()
        stop = perf_counter()
        times.append(stop - start)
        if stop >= end:
            return times


def _private_stdout() -> TextIO:
    """The stream for answers; what anybody else prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, what: dict[str, float]) -> None:
    print(json.dumps(what), file=answers, flush=True)


def _memory(field: str) -> int:
    """Bytes of this process, from what Linux says about it; 0 where it says nothing."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":")), 0)


if __name__ == "__main__":
    main()
