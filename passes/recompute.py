"""Recomputation: what a later kernel can compute again from memory that it reads anyway is not kept for it.

In: clusters with their order. Out: the same clusters, where elementwise members of one have moved to, or also stand in,
the clusters that read them (gelu's derivative: from the input that the backward kernel needs in any case, not from three
values that the forward kernel stored). Memory that has to live longer for it counts against what is saved; expensive
words are computed twice only where their results would leave the caches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import networkx as nx

from graphc.ir.graph import Graph
from graphc.ir.op import Elementwise
from graphc.ir.values import Value

from .cluster import BLOCKS, CONTRACTION, LOOPS, MAX_WEIGHT, Cluster, gathers
from .element import is_heavy, squeezed

LARGE = 256 * 1024  # bytes that do not stay near until they are read again
BESIDE_PRODUCTS = 4  # times the bytes of truth values may be read to compute them


def recompute(graph: Graph, dag: nx.DiGraph[Cluster], home: dict[Value, Cluster], pinned: Collection[Value]) -> None:
    """Move and copy members between the clusters of `dag`; `pinned` values are stored in any case."""
    late = _Recomputation(graph, dag, home, pinned)
    for cluster in list(late.order):
        groups: dict[tuple[int, ...], list[Value]] = {}
        for value in cluster.members:
            users = late.users(value)
            if users and isinstance(value.op.lower, Elementwise) and value not in pinned:
                groups.setdefault(tuple(late.order[user] for user in users), []).append(value)
        for values in groups.values():
            if not late.try_together(cluster, values) and len(values) > 1:
                for value in values:
                    late.try_together(cluster, [value])
        late.prune(cluster)


@dataclass(frozen=True)
class _Chain:
    """Members to compute again, in order, and the leaves that they start from."""

    members: list[Value]
    leaves: set[Value]


class _Recomputation:
    def __init__(self, graph: Graph, dag: nx.DiGraph[Cluster], home: dict[Value, Cluster], pinned: Collection[Value]) -> None:
        self.dag, self.home, self.pinned = dag, home, pinned
        self.updated = {variable for variable, _ in graph.updates}
        order = nx.lexicographical_topological_sort(dag, key=lambda c: c.number)
        self.order = {cluster: n for n, cluster in enumerate(order)}
        self.readers: dict[Value, set[Cluster]] = {}
        for cluster in self.order:
            self._note(cluster, cluster.sources)

    def _note(self, cluster: Cluster, leaves: Iterable[Value]) -> None:
        for leaf in leaves:
            self.readers.setdefault(leaf, set()).add(cluster)

    def users(self, value: Value) -> list[Cluster]:
        """The clusters that read a member from memory, in order."""
        return sorted(self._users(value), key=lambda c: self.order[c])

    def _users(self, value: Value) -> Iterator[Cluster]:
        return (c for c in self.readers.get(value, ()) if value not in c.reads)

    def try_together(self, cluster: Cluster, values: list[Value]) -> bool:
        """Let all users of `values` compute them, if that is possible and saves memory."""
        chain = self._chain(cluster, values)
        heavy = any(map(is_heavy, chain.members))
        saved = sum(value.type.nbytes for value in values)
        users = self.users(values[0])  # none is left where an earlier chain took the value along
        near = heavy and min(value.type.nbytes for value in values) < LARGE
        if not users or near or saved <= self._cost(chain, users[-1]):
            return False
        if any(sum(leaf.type.nbytes for leaf in chain.leaves - user.sources) > _readable(user, values) for user in users):
            return False
        unions = [self._union(user, cluster, chain) for user in users]
        if not all(self._legal(union) for union in unions):
            return False
        for user, union in zip(users, unions, strict=True):
            user.members, user.reads = union.members, union.reads
            self._note(user, chain.leaves)
            self.dag.add_edges_from((self.home[leaf], user) for leaf in chain.leaves if leaf in self.home)
        return True

    def _chain(self, cluster: Cluster, values: list[Value]) -> _Chain:
        """What `values` need, back to what is in memory anyway or cannot be computed again."""
        wanted: set[Value] = set(values)
        leaves: set[Value] = set()
        for member in reversed(cluster.members):
            for leaf, _, _ in cluster.reads[member] if member in wanted else ():
                stays = leaf in self.pinned or (leaf not in wanted and any(self._users(leaf)))
                again = leaf in cluster.reads and isinstance(leaf.op.lower, Elementwise) and not stays
                (wanted if again else leaves).add(leaf)
        return _Chain([member for member in cluster.members if member in wanted], leaves - wanted)

    def _cost(self, chain: _Chain, user: Cluster) -> float:
        """Bytes that are stored, or stay, for the last user only."""
        return sum(0.0 if self._is_there(leaf, user) else leaf.type.nbytes for leaf in chain.leaves)

    def _is_there(self, leaf: Value, user: Cluster) -> bool:
        if leaf not in self.home:
            return leaf not in self.updated or leaf in user.sources
        return any(self.order[reader] >= self.order[user] for reader in self._users(leaf))

    def _union(self, user: Cluster, cluster: Cluster, chain: _Chain) -> Cluster:
        """The user with the chain among its members."""
        added = [member for member in chain.members if member not in user.reads]
        first = 0 if user.kind == LOOPS else 1
        members = user.members[:first] + added + user.members[first:]
        return replace(user, members=members, reads={m: cluster.reads[m] for m in added} | user.reads)

    def _legal(self, union: Cluster) -> bool:
        shapes = {squeezed(union.domain), squeezed(union.rows)}
        fits = union.kind in (LOOPS, CONTRACTION, BLOCKS) and union.weight <= MAX_WEIGHT and not union.prologues
        return (
            fits
            and (union.is_map or not gathers(union.reads))
            and all(squeezed(member.shape) in shapes for member in union.members)
            and union.may_read(union.reads, union.reads)
        )

    def prune(self, cluster: Cluster) -> None:
        """Drop members that nobody needs here any more."""
        for value in reversed(list(cluster.members)):
            inside = any(leaf is value for reads in cluster.reads.values() for leaf, _, _ in reads)
            elsewhere = [c for c in self.readers.get(value, ()) if value in c.reads and c is not cluster]
            if inside or value in self.pinned or any(self._users(value)) or not elsewhere:
                continue
            cluster.members.remove(value)
            for leaf in {leaf for leaf, _, _ in cluster.reads.pop(value)} - cluster.sources:
                self.readers[leaf].discard(cluster)
            self.home[value] = min(elsewhere, key=lambda c: self.order[c])
        if not cluster.members:
            self.dag.remove_node(cluster)


def _readable(user: Cluster, values: list[Value]) -> int:
    """Bytes that a user may read to compute `values`: no more than they take, but for truth values beside a product."""
    few = user.kind == CONTRACTION and all(value.dtype.is_bool for value in values)
    return sum(value.type.nbytes for value in values) * (BESIDE_PRODUCTS if few else 1)
