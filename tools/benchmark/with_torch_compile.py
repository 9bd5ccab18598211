"""torch.compile's side of the benchmark."""

from __future__ import annotations

from . import with_torch
from .prepared import Prepared
from .workloads import Workload


def prepare(workload: Workload, threads: int, model: str) -> Prepared:
    """Build, compile, and call once."""
    return with_torch.prepare(workload, threads, model, compiled=True)
