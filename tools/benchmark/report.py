"""The results for people and for programs: one table for each number of threads, and one JSON document.

In: contests, and the limits measured on this machine. Out: a rich table; a dict of plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from rich.table import Table

from .contest import NOISY, OURS, Contest, Entry, as_json
from .workloads import BYTES

TITLES = {"torch_compile": "torch compile", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


@dataclass(frozen=True)
class Limits:
    """What `threads` threads of this machine can do at best: operations and bytes a second."""

    flops: float
    bytes: float

    def seconds(self, result: Contest) -> float | None:
        """How long a call must take at least, by what bounds the workload; graphc's graphs say how much there is to do."""
        entry = result.entries.get(OURS)
        facts = entry.facts if entry else {}
        if result.workload.bound == BYTES:
            return facts["bytes"] / self.bytes if "bytes" in facts else None
        return facts["flops"] / self.flops if facts.get("flops") else None


def table(results: Sequence[Contest], limits: Limits, clock: str) -> Table:
    """One line a workload. Times are medians in milliseconds; ~ marks what was too noisy."""
    peers = list(dict.fromkeys(name for result in results for name in result.entries if name != OURS))
    threads = results[0].threads
    title = (
        f"{threads} thread{'s' * (threads > 1)}, ms a call ({clock}); multiply-adds {limits.flops / 1e9:.0f} GFLOP/s, "
        f"copy {limits.bytes / 1e9:.0f} GB/s"
    )
    shown = Table(title=title, caption=_caption(results, clock), caption_justify="left")
    shown.add_column("workload")
    for head in ("graphc", *(TITLES.get(name, name) for name in peers), "vs best", "of limit", "ready s", "arena", "RSS MiB"):
        shown.add_column(head, justify="right", no_wrap=True)
    for result in results:
        shown.add_row(*_row(result, peers, limits, clock))
    return shown


def _row(result: Contest, peers: Iterable[str], limits: Limits, clock: str) -> list[str]:
    ours = result.entries.get(OURS, Entry(OURS))
    limit, ratio = limits.seconds(result), result.ratio(clock)
    cells = [result.workload.name, *(_time(result.entries.get(name), clock) for name in (OURS, *peers))]
    cells.append("" if ratio is None else f"[{'green' if ratio >= 1 else 'red'}]{ratio:.2f}[/]")
    cells.append(f"{limit / ours.time(clock):.0%}{'b' * (result.workload.bound == BYTES)}" if limit and ours.wall else "")
    facts = ours.facts
    cells.append(f"{facts['seconds']:.2f}" if facts else "")
    cells.append(_arena(facts))
    rss = [result.entries[name].facts.get("rss_peak") for name in (OURS, *peers) if name in result.entries]
    cells.append("/".join("-" if x is None else f"{x / 2**20:.0f}" for x in rss))
    return cells


def _time(entry: Entry | None, clock: str) -> str:
    if entry is None:
        return ""
    if entry.error or not entry.wall:
        return "wrong" if entry.error.startswith("differs") else "failed"
    milliseconds = entry.time(clock) * 1e3
    digits = 4 if milliseconds < 0.1 else 3 if milliseconds < 10 else 1
    return f"{'~' if entry.spread(clock) > NOISY else ''}{milliseconds:.{digits}f}"


def _arena(facts: dict[str, float]) -> str:
    if "arena_bytes" not in facts:
        return ""
    size, bound = facts["arena_bytes"], facts["arena_lower_bound"]
    return _bytes(size) + (f" ({size / bound:.2f})" if bound else "")


def _bytes(size: float) -> str:
    return f"{size / 2**20:.1f} M" if size >= 2**20 else f"{size / 2**10:.1f} K"


def _caption(results: Sequence[Contest], clock: str) -> str:
    lines = []
    for kind, training in (("inference", False), ("training", True)):
        ratios = [ratio for r in results if r.workload.training is training and (ratio := r.ratio(clock))]
        if ratios:
            lines.append(f"{kind}: {geometric_mean(ratios):.2f} times the best peer (geometric mean of {len(ratios)})")
    spreads = [(f"{r.workload.name} {e.name}", e.spread(clock)) for r in results for e in r.timed()]
    noisy = [f"{which}: {spread:.0%}" for which, spread in spreads if spread > NOISY]
    if noisy:
        lines.append(f"~ noisy, the middle half of the rounds spreads over more than {NOISY:.0%}: {', '.join(noisy)}")
    lines.append("arena: bytes (x the least possible); RSS: peak growth after importing each framework, in the columns' order")
    lines += [f"{r.workload.name}, {e.name}: {e.error}" for r in results for e in r.entries.values() if e.error]
    return "\n".join(lines)


def geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(map(log, values)) / len(values))


def document(results: Sequence[Contest], limits: dict[int, Limits], machine: dict[str, object], clock: str) -> dict[str, Any]:
    """Everything as plain values, for a JSON file."""
    entries = []
    for result in results:
        limit = limits[result.threads].seconds(result)
        ours = result.entries.get(OURS)
        share = limit / ours.time(clock) if limit and ours and ours.wall else None
        entries.append(as_json(result, clock) | {"limit_ms": limit and limit * 1e3, "share_of_limit": share})
    return {
        "machine": machine,
        "clock": clock,
        "limits": {str(n): {"gflops": x.flops / 1e9, "copy_gb_s": x.bytes / 1e9} for n, x in limits.items()},
        "results": entries,
    }
