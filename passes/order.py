"""The order in which clusters run.

In: clusters with what each depends on, and what is stored. Out: a list of them. A cluster that frees more memory than it takes
(the gradient of a weight, which goes into the weight at once) runs as soon as it can, and so do borders, loops that only make
results, and what makes something for such a cluster only; all others run as the graph was written down, but for those that
would run before the place where most is held for readers behind it: they wait. What is packed or kept inside of kernels does
not count; but `spare` says how much of it there may be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate

import networkx as nx

from graphc.ir.values import Value

from .cluster import BORDER, LOOPS, Cluster
from .inset import Insets

FOLLOWERS = 4  # that may come between what makes something anew and what frees memory in the end
TOGETHER = 16  # others that one of them may wait for
WORTH = 1 << 16  # bytes: where less is held, nobody waits

Touched = Mapping[Cluster, set[Value]]  # what has memory of its own, and is read or written by a cluster


def in_order(
    dag: nx.DiGraph[Cluster], stored: Collection[Value], results: Collection[Value], insets: Insets
) -> tuple[Cluster, ...]:
    """All clusters, each behind those that it depends on. `results` lie in memory that is there anyway."""
    hosts = _hosts(stored, results, insets)
    touched = _touched(dag, hosts)
    last = {c for c in dag if c.kind == LOOPS and hosts.keys().isdisjoint(c.members)}
    return _waited(_greedy(dag, _Memory(dag, touched, last)), dag, touched)


def spare(
    order: Sequence[Cluster], stored: Collection[Value], results: Collection[Value], insets: Insets
) -> dict[Cluster, int]:
    """The bytes that each of clusters in this order may take for itself without holding more than is held somewhere anyway;
    nothing is said where that is little."""
    held = _held(order, _touched(order, _hosts(stored, results, insets)))
    most = max(held, default=0)
    return {cluster: most - now for cluster, now in zip(order, held, strict=True)} if most >= WORTH else {}


def _hosts(stored: Collection[Value], results: Collection[Value], insets: Insets) -> dict[Value, Value]:
    """What each stored value that is no result has its memory from."""
    return {value: insets[value].host if value in insets else value for value in stored if value not in results}


def _touched(clusters: Iterable[Cluster], hosts: Mapping[Value, Value]) -> Touched:
    return {c: {hosts[v] for v in (*c.sources, *c.members) if v in hosts} for c in clusters}


def _greedy(dag: nx.DiGraph[Cluster], memory: _Memory) -> list[Cluster]:
    queue: list[tuple[int, int, Cluster]] = []

    def enter(cluster: Cluster) -> None:
        heappush(queue, (memory.urgency(cluster), cluster.number, cluster))

    for cluster in [c for c, count in memory.waits.items() if not count]:
        enter(cluster)
    order: dict[Cluster, None] = {}
    while queue:
        _, _, cluster = heappop(queue)
        if cluster in order:
            continue
        order[cluster] = None
        affected = memory.run(cluster)
        for other in {*dag.successors(cluster), *affected, *(c for last in affected for c in dag.predecessors(last))}:
            if not memory.waits[other] and other not in order:
                enter(other)
    assert len(order) == len(dag), "the clusters depend on each other in a cycle"
    return list(order)


class _Memory:
    """What is held while clusters run one after another; `last` are loops that only make results."""

    def __init__(self, dag: nx.DiGraph[Cluster], touched: Touched, last: Collection[Cluster]) -> None:
        self.dag, self.touched, self.last = dag, touched, last
        self.users: dict[Value, set[Cluster]] = {}  # that have not run yet
        for cluster, values in touched.items():
            for value in values:
                self.users.setdefault(value, set()).add(cluster)
        self.held: set[Value] = set()
        self.done: set[Cluster] = set()
        self.waits: dict[Cluster, int] = dict(dag.in_degree())  # for how many others each cluster waits

    def urgency(self, cluster: Cluster) -> int:
        """0 where less would be held behind the cluster than before it, 1 for loops that only make results: others may be the
        last readers then; 2 where less would be held behind some more that can follow at once, 3 for all others. A border
        takes nothing, and may be all that the last readers of what it surrounds wait for."""
        if cluster.kind == BORDER or self._shrink({cluster}):
            return 0
        if cluster in self.last:
            return 1
        return 2 if any(map(self._shrink, self._followed(cluster))) else 3

    def _followed(self, cluster: Cluster) -> Iterator[set[Cluster]]:
        """The cluster with one that follows it, and what else this one waits for, if that can run now; where there is but one,
        with one more, and so on."""
        group = {cluster}
        for _ in range(FOLLOWERS):
            group |= {c for c in self._behind(group) if c.kind == BORDER and self._waits_only(c, group)}
            behind = self._behind(group)
            found = []
            for last in (c for c in behind if self.waits[c] <= TOGETHER):
                before = set(self.dag.predecessors(last)) - self.done - group
                if all(self._waits_only(c, group) for c in before):
                    found.append({*group, *before, last})
            yield from found
            if len(behind) != 1 or not found:
                return
            (group,) = found

    def _behind(self, group: set[Cluster]) -> set[Cluster]:
        return {after for c in group for after in self.dag.successors(c)} - group

    def _waits_only(self, cluster: Cluster, first: set[Cluster]) -> bool:
        missing = self.waits[cluster]
        return missing <= len(first) and missing == len(first.intersection(self.dag.predecessors(cluster)))

    def _shrink(self, clusters: set[Cluster]) -> bool:
        """Whether clusters that run one after another free more than they leave."""
        touched: set[Value] = set().union(*(self.touched[c] for c in clusters))
        last = {value for value in touched if self.users[value] <= clusters}
        passed = {value for value in last if len(self.users[value]) > 1}
        return _nbytes(last & self.held) > _nbytes(touched - self.held - passed)

    def run(self, cluster: Cluster) -> set[Cluster]:
        """Let the cluster run; returns those to whom it left something that nobody else needs any more."""
        affected: set[Cluster] = set()
        self.done.add(cluster)
        for after in self.dag.successors(cluster):
            self.waits[after] -= 1
        for value in self.touched[cluster]:
            self.held.add(value)
            self.users[value].discard(cluster)
            affected |= self.users[value] if len(self.users[value]) == 1 else set()
        return affected


def _nbytes(values: Iterable[Value]) -> int:
    return sum(value.type.nbytes for value in values)


def _waited(order: list[Cluster], dag: nx.DiGraph[Cluster], touched: Touched) -> tuple[Cluster, ...]:
    """The order in which clusters wait for their first reader, where that leaves less to hold at the worst place."""
    held = _held(order, touched)
    while max(held, default=0) >= WORTH:
        later = _behind_peak(order, held, dag, touched)
        if max(left := _held(later, touched)) >= max(held):
            break
        order, held = later, left
    return tuple(order)


def _behind_peak(order: list[Cluster], held: list[int], dag: nx.DiGraph[Cluster], touched: Touched) -> list[Cluster]:
    """Let all that is only read behind the worst place be made there, the last first, unless more is held then."""
    peak, number = held.index(max(held)), _numbered(order)
    for cluster in reversed(order[:peak]):
        place = number[cluster]
        reader = min((number[c] for c in dag.successors(cluster)), default=len(order))
        if peak < reader < len(order):
            later = [*order[:place], *order[place + 1 : reader], cluster, *order[reader:]]
            left = _held(later, touched)
            if max(left) <= max(held) and sum(left) <= sum(held):
                order, held, peak, number = later, left, peak - 1, _numbered(later)
    return order


def _numbered(order: Sequence[Cluster]) -> dict[Cluster, int]:
    return {cluster: n for n, cluster in enumerate(order)}


def _held(order: Sequence[Cluster], touched: Touched) -> list[int]:
    """Bytes held while each cluster runs."""
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for n, cluster in enumerate(order):
        for value in touched[cluster]:
            first.setdefault(value, n)
            last[value] = n
    changes = [0] * (len(order) + 1)
    for value, n in first.items():
        changes[n] += value.type.nbytes
        changes[last[value] + 1] -= value.type.nbytes
    return list(accumulate(changes))[:-1]
