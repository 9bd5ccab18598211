"""torch.compile's side of the benchmark. For inference it may treat weights as constants and pack them ("freezing")."""

from __future__ import annotations

from torch._inductor import config

from . import with_torch
from .prepared import Prepared
from .workloads import Workload


def prepare(workload: Workload, threads: int, model: str, variant: str) -> Prepared:
    """Build, compile, and call once."""
    config.freezing = not workload.training
    return with_torch.prepare(workload, threads, model, variant, compiled=True)
