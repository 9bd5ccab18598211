"""The results for people and for programs: one table for each number of threads, and one JSON document.

In: contests. Out: a rich table; a dict of plain values, and what it holds again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from .results import NOISY, OURS, Contest, Entry, from_json, to_json
from .workloads import BYTES, NETWORKS

TITLES = {"torch_compile": "torch compile", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def table(results: Sequence[Contest], clock: str, others: Iterable[Contest] = ()) -> Table:
    """One line a workload. Times are medians in milliseconds; ~ marks what was too noisy.

    others: contests among which those of one thread are looked for, when these have more.
    """
    peers = list(dict.fromkeys(name for result in results for name in result.entries if name != OURS))
    threads = results[0].threads
    single = {result.workload.name: result for result in others if result.threads == 1 < threads}
    (flops, copied), (alone, _) = _limits(results), _limits(single.values())
    caption = _caption(results, clock) + _shortage(flops, threads, alone)
    title = (
        f"{threads} thread{'s' * (threads > 1)}, ms a call ({clock}); "
        f"multiply-adds {flops / 1e9:.0f} GFLOP/s, copy {copied / 1e9:.0f} GB/s"
    )
    shown = Table(title=title, caption=caption, caption_justify="left")
    shown.add_column("workload")
    heads = [
        "graphc",
        *(TITLES.get(name, name) for name in peers),
        "vs best",
        "of limit",
        "ready s",
        "arena",
        "of torch",
        "RSS MiB",
    ]
    for head in heads + ["x 1 thread"] * bool(single):
        shown.add_column(head, justify="right", no_wrap=True)
    for result in results:
        speedup = [_speedup(result, single.get(result.workload.name), clock)] if single else []
        shown.add_row(result.workload.name, *_cells(result, peers, clock), *speedup)
    return shown


def _limits(results: Iterable[Contest]) -> tuple[float, float]:
    """Operations and bytes a second, the medians of all rounds; 0 without any."""
    rounds = [limits for result in results for limits in result.limits]
    return (median(r.flops for r in rounds), median(r.bytes for r in rounds)) if rounds else (0.0, 0.0)


def _shortage(flops: float, threads: int, alone: float) -> str:
    """A line where the threads had no processors of their own, by what they and one thread can compute."""
    times = flops / alone if alone else threads
    return f"\nother programs took processors: {threads} threads multiply {times:.1f} times as fast as 1" * (
        times < 0.8 * threads
    )


def _cells(result: Contest, peers: Iterable[str], clock: str) -> Iterable[str]:
    ratio, share = result.ratio(clock), result.share_of_limit(clock)
    facts = result.entries[OURS].facts if OURS in result.entries else {}
    for name in (OURS, *peers):
        yield _time(result.entries.get(name), clock)
    yield "" if ratio is None else f"[{'green' if ratio >= 1 else 'red'}]{ratio:.2f}[/]"
    yield "" if share is None else f"{share:.0%}{'b' * (result.workload.bound == BYTES)}"
    yield f"{facts.get('cpu_seconds' if clock == 'cpu' else 'seconds', 0):.2f}" if facts else ""
    yield _arena(facts)
    yield _of_torch(result)
    rss = [result.entries[name].facts.get("rss_peak") if name in result.entries else None for name in (OURS, *peers)]
    yield "/".join("-" if x is None else f"{x / 2**20:.0f}" for x in rss)


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


def _of_torch(result: Contest) -> str:
    """The arena, relative to the most that torch has beside inputs and variables."""
    theirs = result.entries["torch"].facts.get("scratch_bytes") if "torch" in result.entries else None
    ours = result.entries[OURS].facts.get("arena_bytes") if OURS in result.entries else None
    return f"{ours / theirs:.2f}" if ours is not None and theirs else ""


def _speedup(result: Contest, single: Contest | None, clock: str) -> str:
    """How many times faster graphc is than with one thread."""
    ours, alone = result.ours(), single and single.ours()
    return f"{alone.time(clock) / ours.time(clock):.2f}" if ours and alone else ""


def _caption(results: Sequence[Contest], clock: str) -> str:
    lines = [
        f"{kind}: {geometric_mean(ratios):.2f} times the best peer (geometric mean of {len(ratios)})"
        for kind, ratios in (
            ("inference of networks", _ratios(results, clock, network=True, training=False)),
            ("training steps", _ratios(results, clock, network=True, training=True)),
            ("layers", _ratios(results, clock, network=False, training=False)),
        )
        if ratios
    ]
    behind = sorted((ratio, r.workload.name) for r in results if (ratio := r.ratio(clock)) is not None and ratio < 1)
    if behind:
        lines.append(f"behind the best peer: {', '.join(f'{name} {ratio:.2f}' for ratio, name in behind)}")
    spreads = [(f"{r.workload.name} {e.name}", e.spread(clock)) for r in results for e in r.timed()]
    noisy = [f"{which}: {spread:.0%}" for which, spread in spreads if spread > NOISY]
    if noisy:
        lines.append(f"~ noisy, the middle half of the rounds spreads over more than {NOISY:.0%}: {', '.join(noisy)}")
    lines.append(
        "b: of the time of a copy, which small data in caches may beat; arena: bytes (x the least possible); of torch: arena, "
        "of the most that torch allocates beside weights; RSS: peak growth after importing, in the order of the columns"
    )
    variants = [f"{r.workload.name} {e.name}" for r in results for e in r.entries.values() if e.variant]
    if variants:
        lines.append(f"faster with channels last: {', '.join(variants)}")
    lines += [f"{r.workload.name}, {e.name}: {e.error}" for r in results for e in r.entries.values() if e.error]
    return "\n".join(lines)


def _ratios(results: Iterable[Contest], clock: str, network: bool, training: bool) -> list[float]:
    of_kind = [r for r in results if (r.workload.name in NETWORKS) == network and r.workload.training == training]
    return [ratio for r in of_kind if (ratio := r.ratio(clock)) is not None]


def geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(map(log, values)) / len(values))


def write(results: Iterable[Contest], machine: dict[str, Any], clock: str, file: Path) -> None:
    """Everything, as one JSON document with a line for each contest. A reader finds the file as it was, or whole."""
    lines = ",\n".join(json.dumps(to_json(result, clock)) for result in results)
    document = f'{{"machine": {json.dumps(machine)}, "clock": {json.dumps(clock)}, "results": [\n{lines}\n]}}\n'
    whole = file.with_name(file.name + ".new")
    whole.write_text(document)
    whole.replace(file)


class Unreadable(Exception):
    """A file that `write` did not write, or one of long ago did."""


def read(file: Path) -> tuple[list[Contest], dict[str, Any]]:
    """The contests and the description of the machine. Raises Unreadable."""
    try:
        document = json.loads(file.read_text())
        found = [from_json(plain) for plain in document["results"]]
        described = dict(document["machine"])
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise Unreadable(f"{file} is no file of --json, or of an older benchmark: {problem!r}") from problem
    return [contest for contest in found if contest is not None], described
