"""What a framework's side of the benchmark hands to the worker that times it.

Every `with_*` module has `prepare(workload, threads, model) -> Prepared`; `model` is the ONNX file of workloads that have
one. Holds: `results` is called once, before any timing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Prepared:
    """A workload ready to run.

    call: what is timed. results: the outputs to compare: those of one call, or of a training run the losses of the first
    steps and then the weights. seconds: how long compiling or loading took. facts: numbers for the report.
    """

    call: Callable[[], Any]
    results: Callable[[], list[np.ndarray]]
    seconds: float
    facts: dict[str, float] = field(default_factory=dict)
