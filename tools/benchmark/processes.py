"""Worker processes, as the one that starts them sees them.

In: a framework, one of its variants, a workload. Out: a `Worker` that answers with what it prepared, then sleeps, but for the
rounds that it is asked for. Holds: while one process is timed the others are stopped, so that no idle thread spins beside it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

TOOLS = Path(__file__).resolve().parent.parent
SETTLE = 0.01  # seconds between waking a process and its round
_LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GRAPHC_THREADS")


class Dead(Exception):
    """A worker did not answer."""


class Worker:
    """A process that has one framework prepare one workload; asleep until it is asked for a round."""

    def __init__(self, framework: str, variant: str, workload: str, threads: int, folder: Path) -> None:
        self.variant, self.facts = variant, dict[str, float]()
        self.errors, self.results = folder / f"{framework}.{variant}.log", folder / f"{framework}.{variant}.npz"
        command = [sys.executable, "-m", "benchmark.worker", framework, variant, workload, str(threads), str(folder)]
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
            raise Dead(self.last_words())
        result: dict[str, float] = json.loads(line)
        return result

    def round(self, seconds: float, patience: float) -> dict[str, float]:
        """Wake it, time one round, and stop it again."""
        assert self.process.stdin is not None
        with self._awake():
            select.select([], [], [], SETTLE)
            try:
                self.process.stdin.write(f"{seconds}\n".encode())
                self.process.stdin.flush()
            except BrokenPipeError:
                raise Dead(self.last_words()) from None
            return self.answer(patience)

    def outputs(self) -> list[np.ndarray]:
        """What the process computed before it answered first."""
        with np.load(self.results) as data:
            return [data[key] for key in data.files]

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
        """Kill it, if it still lives."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()

    def last_words(self) -> str:
        """The last line on its stderr, once the process has ended."""
        self.process.wait()
        lines = [line for line in self.errors.read_text().splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"the process ended with {self.process.returncode}"


def _environment(threads: int) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(TOOLS), os.environ.get("PYTHONPATH")]))
    return os.environ | dict.fromkeys(_LIBRARIES, str(threads)) | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
