"""What contests give: seconds by framework and round, what follows from them, and their form in JSON files.

In: numbers that workers measured, or a file. Out: `Contest`s, each with one `Entry` a framework. Holds: a contest that was
written and read again is the same, so tables of several runs on one machine can be merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles
from typing import Any

from .machine import Limits
from .workloads import BYTES, Workload, everything

CLOCKS = ("wall", "fastest", "cpu")
OURS = "graphc"
NOISY = 0.15  # a spread, or a round's distance from the median, beyond which a number is not to be trusted


@dataclass
class Entry:
    """One framework's part: seconds of a call by round, or why there are none.

    wall: the median of the round. fastest: its least, which others on the machine disturb least. cpu: the mean time on
    processors, of all threads. variant: which of several ways of computing was the fastest.
    """

    name: str
    wall: list[float] = field(default_factory=list)
    fastest: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    variant: str = ""
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
    """What came out, for one workload and number of threads, and in each round the limits of the machine just before it."""

    workload: Workload
    threads: int
    limits: list[Limits] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)

    def timed(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.wall]

    def ours(self) -> Entry | None:
        """graphc's entry, if it was timed."""
        return next((entry for entry in self.timed() if entry.name == OURS), None)

    def best_peer(self, clock: str) -> Entry | None:
        peers = [entry for entry in self.timed() if entry.name != OURS]
        return min(peers, key=lambda entry: entry.time(clock), default=None)

    def ratio(self, clock: str) -> float | None:
        """How many times faster than the best peer graphc is: the median over rounds, each beside the other."""
        ours, best = self.ours(), self.best_peer(clock)
        if ours is None or best is None:
            return None
        return median(b / a for a, b in zip(ours.rounds(clock), best.rounds(clock), strict=True))

    def least_seconds(self) -> list[float]:
        """How long a call must take, by round, by what bounds the workload; graphc's graphs say how much there is to do, and
        where they do not, or there is nothing, it is not known."""
        facts = self.entries[OURS].facts if OURS in self.entries else {}
        rates = [limits.bytes if self.workload.bound == BYTES else limits.flops for limits in self.limits]
        amount = facts.get("bytes" if self.workload.bound == BYTES else "flops")
        return [amount / rate for rate in rates] if amount else []

    def share_of_limit(self, clock: str) -> float | None:
        """The least time of a call in graphc's: the median over rounds."""
        ours, least = self.ours(), self.least_seconds()
        return median(a / b for a, b in zip(least, ours.rounds(clock), strict=True)) if ours and least else None


def merged(contests: Iterable[Contest]) -> list[Contest]:
    """One contest for each workload and number of threads, the last one, in the order of the tables."""
    latest = {(contest.threads, contest.workload.name): contest for contest in contests}
    order = list(everything())
    return sorted(latest.values(), key=lambda contest: (contest.threads, order.index(contest.workload.name)))


def to_json(contest: Contest, clock: str) -> dict[str, Any]:
    """A contest in plain values. Rounds, facts and limits are what was measured; the rest follows, by this clock."""
    best, least = contest.best_peer(clock), contest.least_seconds()
    return {
        "workload": contest.workload.name,
        "training": contest.workload.training,
        "threads": contest.threads,
        "limits": [asdict(limits) for limits in contest.limits],
        "bound": contest.workload.bound,
        "best_peer": best.name if best else None,
        "ratio": contest.ratio(clock),
        "limit_ms": median(least) * 1e3 if least else None,
        "share_of_limit": contest.share_of_limit(clock),
        "noisy": any(entry.spread(clock) > NOISY for entry in contest.timed()),
        "frameworks": {name: _entry_to_json(entry, clock) for name, entry in contest.entries.items()},
    }


def _entry_to_json(entry: Entry, clock: str) -> dict[str, Any]:
    plain: dict[str, Any] = {"facts": entry.facts, "variant": entry.variant, "error": entry.error}
    if entry.wall:
        derived = {"ms": entry.time(clock) * 1e3, "spread": entry.spread(clock), "noisy_rounds": entry.noisy_rounds(clock)}
        plain = derived | {"seconds": {each: entry.rounds(each) for each in CLOCKS}} | plain
    return plain


def from_json(plain: dict[str, Any]) -> Contest | None:
    """The contest that was written so; None where its workload exists no more."""
    workload = everything().get(plain["workload"])
    if workload is None:
        return None
    entries = {
        name: Entry(name, **entry.get("seconds", {}), facts=entry["facts"], variant=entry["variant"], error=entry["error"])
        for name, entry in plain["frameworks"].items()
    }
    return Contest(workload, plain["threads"], [Limits(**limits) for limits in plain["limits"]], entries)
