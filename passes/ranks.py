"""Which clusters reach which, while clusters are merged.

In: an acyclic graph. Out: a rank for each cluster, along which all edges rise, so that a search passes by all that is ranked
behind its goal, or before its start. Merging two changes the ranks between theirs alone (Pearce and Kelly, A dynamic
topological sort algorithm for directed acyclic graphs, 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import networkx as nx

from .cluster import Cluster


class Ranks:
    """The ranks of the clusters of `dag`, which its owner changes after `merge`."""

    def __init__(self, dag: nx.DiGraph[Cluster]) -> None:
        self.dag = dag
        self.rank = {cluster: n for n, cluster in enumerate(nx.topological_sort(dag))}

    def reaches(self, starts: Iterable[Cluster], goal: Cluster) -> bool:
        """Whether a path leads from one of `starts` to `goal`. It is looked for from both ends, where less is to be seen."""
        last = self.rank[goal]
        ahead, back = {c for c in starts if self.rank[c] <= last}, {goal}
        first = min((self.rank[c] for c in ahead), default=last)
        seen, met = set(ahead), set(back)
        while ahead and back and seen.isdisjoint(met):
            if len(ahead) <= len(back):
                ahead = {n for c in ahead for n in self.dag.successors(c) if self.rank[n] <= last} - seen
                seen |= ahead
            else:
                back = {n for c in back for n in self.dag.predecessors(c) if self.rank[n] >= first} - met
                met |= back
        return not seen.isdisjoint(met)

    def merge(self, cluster: Cluster, user: Cluster, merged: Cluster) -> None:
        """Rank `merged` instead of two clusters, which an edge joins and no other path: before it comes what `user` needs,
        and behind it what needs `cluster`."""
        first, last = self.rank.pop(cluster), self.rank.pop(user)
        needed = self._between(first, last, user, self.dag.predecessors)
        needing = self._between(first, last, cluster, self.dag.successors)
        ranks = sorted([last, *(self.rank[c] for c in (*needed, *needing))])
        self.rank.update(zip((*needed, merged, *needing), ranks, strict=True))

    def _between(self, first: int, last: int, start: Cluster, beyond: Callable[[Cluster], Iterator[Cluster]]) -> list[Cluster]:
        """What is found from a cluster on among those between two ranks, by rank."""
        found: dict[Cluster, int] = {}
        stack = [start]
        while stack:
            for c in beyond(stack.pop()):
                if c not in found and first < self.rank.get(c, first) < last:
                    found[c] = self.rank[c]
                    stack.append(c)
        return sorted(found, key=found.__getitem__)
