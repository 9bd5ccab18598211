"""What a framework's side of the benchmark hands to the worker that times it.

Every `with_*` module has `prepare(workload, threads, model, variant) -> Prepared`; `model` is the ONNX file of workloads that
have one, `variant` one of the ways of computing that `contest` has tried, the usual one being "". Holds: `results` is called
once, before any timing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

CHANNELS_LAST = "channels last"  # the variant that has the channels of a pixel side by side


@dataclass(frozen=True)
class Prepared:
    """A workload ready to run.

    call: what is timed. results: the outputs to compare: those of one call, or of a training run the losses of the first
    steps and then the weights. seconds: how long compiling or loading took. facts: numbers for the report. scratch: tells the
    most bytes that a call has beside its inputs and variables; called last, since finding out may take memory itself.
    """

    call: Callable[[], Any]
    results: Callable[[], list[np.ndarray]]
    seconds: float
    facts: dict[str, float] = field(default_factory=dict)
    scratch: Callable[[], int] | None = None
