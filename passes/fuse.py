"""Fusion: which values are computed together in one kernel, and in which order the kernels run.

In: a graph without markers and `Expand` ops. Out: a `FusedGraph`: clusters of values in execution order, each to become
one kernel; every value of the graph is then a member of one cluster, or inlined where it is read (views, numbers), or a
source. Afterwards the cluster graph is acyclic, and an update computed in place comes after every other read of its variable.

    loops        elementwise chains over one domain, with reductions over some of its axes and what follows from them
                 (softmax, layer norm: "row chains"): all members are `full` (shape of the domain) or `row` (kept axes)
    contraction  a dot product or convolution with elementwise epilogue, and with elementwise prologues: clusters of
                 their own whose one result nobody reads but this contraction, through one of its operands
    blocks       an op whose elements share work in blocks, with elementwise epilogue
    opaque       an op that brings its own kernel, or many parts that are copied one after another
    border       what surrounds a value that is stored inside its padded form (borders.py)

Legality is decided by evaluating members at symbolic indices (element.py): a member may be read inside its own cluster
only at the very index that is being computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import networkx as nx

from graphc.ir.expr import linear, ravel
from graphc.ir.graph import Graph
from graphc.ir.op import Blocked, Contraction, Elementwise, Loops, Pointwise, Reduction, Source
from graphc.ir.values import Value, splat

from .borders import inset
from .cluster import BLOCKS, BORDER, CONTRACTION, FULL, LOOPS, MAX_WEIGHT, OPAQUE, ROW, Cluster, aligned, gathers
from .element import Read, is_joint, is_view, leaf_reads, positions, squeezed, storage
from .inset import Inset
from .operand import address
from .order import in_order
from .ranks import Ranks
from .recompute import recompute

SMALL_DOMAIN = 1 << 14  # elements: below it, fewer kernels matter more than parallel tasks
KINDS: Mapping[type, str] = {Contraction: CONTRACTION, Blocked: BLOCKS}  # of clusters that begin with such an op
MAX_DEPTH, MAX_PARTS = 64, 32  # of views that are read through others: an element of several parts is looked for in each
MIN_ROWS = 16  # a reduction shares the tasks of a larger domain only if it leaves this many


@dataclass(frozen=True)
class FusedGraph:
    """Clusters in execution order. `stored` are the values kept in memory; `in_place` the variables whose new value may be
    written over the old one while it is computed; `insets` say which stored values lie inside others,
    `awaited` what must have been computed before a value, beside what it reads."""

    graph: Graph
    clusters: tuple[Cluster, ...]
    home: dict[Value, Cluster]
    stored: frozenset[Value]
    in_place: frozenset[Value]
    insets: Mapping[Value, Inset]
    awaited: Mapping[Value, list[Value]]


def fuse(graph: Graph) -> FusedGraph:
    """Cluster the values of `graph` and order the clusters."""
    fusion = _Fusion(graph)
    for value in graph.values():
        fusion.place(value)
    fusion.merge_neighbours()
    insets = inset(graph, fusion.dag, fusion.home, fusion.is_leaf)
    fusion.forced.update(insets)
    recompute(graph, fusion.dag, fusion.home, fusion.forced)
    fusion.absorb_prologues()
    in_place = fusion.order_updates()
    stored = fusion.stored()
    order = in_order(fusion.dag, stored, {storage(root) for root in graph.roots}, insets)
    return FusedGraph(graph, order, fusion.home, stored, in_place, insets, fusion.awaited)


class _Fusion:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.forced = _must_be_stored(graph)
        self.awaited = self.events()
        self.home: dict[Value, Cluster] = {}
        self.dag: nx.DiGraph[Cluster] = nx.DiGraph()
        self.count = 0

    def is_leaf(self, value: Value) -> bool:
        """Whether reads end at the value: it has memory of its own, or is computed by a cluster."""
        return value in self.forced or not is_view(value)

    def events(self) -> dict[Value, list[Value]]:
        """What must have been computed before a value is, beside what it reads: the events of `after` among its operands."""
        awaited: dict[Value, list[Value]] = {}
        for value in self.graph.values():
            found = [event for v in value.operands if v in awaited and not self.is_leaf(v) for event in awaited[v]]
            if value.op.name == "after":
                found += [leaf for leaf, _, _ in self.operand_reads(value.operands[1])]
            if found:
                awaited[value] = list(dict.fromkeys(found))
        return awaited

    def needed(self, value: Value, reads: list[Read]) -> list[Value]:
        """What other clusters must have computed before a value is."""
        return [leaf for leaf in (*(leaf for leaf, _, _ in reads), *self.awaited.get(value, ())) if leaf in self.home]

    def reads_of(self, value: Value) -> list[Read]:
        """The leaves that computing `value` reads, at the symbolic index of its domain."""
        lower = value.op.lower
        if isinstance(lower, Pointwise) and not is_joint(value):
            return leaf_reads(value, positions(value.shape), self.is_leaf)
        reads = [read for operand in value.operands for read in self.operand_reads(operand)]
        return list(dict.fromkeys(reads)) if isinstance(lower, Elementwise) else reads

    def operand_reads(self, operand: Value) -> list[Read]:
        index = positions(operand.shape)
        if splat(operand) is not None and operand not in self.forced:
            return []
        return [(operand, index, None)] if self.is_leaf(operand) else leaf_reads(operand, index, self.is_leaf)

    def place(self, value: Value) -> None:
        """Put `value` into a cluster, unless it is inlined wherever it is read."""
        lower = value.op.lower
        if isinstance(lower, Source) or (value not in self.forced and (is_view(value) or splat(value) is not None)):
            return
        reads = self.reads_of(value)
        cluster = None
        if isinstance(lower, Elementwise | Pointwise | Reduction) and not is_joint(value):
            producers = {self.home[leaf] for leaf in self.needed(value, reads)}
            for candidate in sorted(producers, key=lambda c: -c.number):
                if self.fits(value, reads, candidate) and self.stays_acyclic(candidate, producers):
                    cluster = candidate
                    break
        if cluster is None:
            cluster = self.new_cluster(value)
        self.add(value, reads, cluster)

    def new_cluster(self, value: Value) -> Cluster:
        lower = value.op.lower
        alone = isinstance(lower, Loops) or is_joint(value)
        kind = OPAQUE if alone else KINDS.get(type(lower), LOOPS)
        domain = value.operands[0].shape if isinstance(lower, Reduction) else value.shape
        cluster = Cluster(kind, self.count, domain)
        self.count += 1
        self.dag.add_node(cluster)
        return cluster

    def add(self, value: Value, reads: list[Read], cluster: Cluster) -> None:
        cluster.members.append(value)
        cluster.reads[value] = reads
        if isinstance(value.op.lower, Reduction):
            cluster.axes = value.attrs["axes"]
        self.home[value] = cluster
        for leaf in self.needed(value, reads):
            if self.home[leaf] is not cluster:
                self.dag.add_edge(self.home[leaf], cluster)

    def fits(self, value: Value, reads: list[Read], cluster: Cluster) -> bool:
        """Whether `value` is computed index by index along with the members of `cluster`."""
        if cluster.kind == OPAQUE or cluster.weight >= MAX_WEIGHT:
            return False
        reduces = isinstance(value.op.lower, Reduction)
        if (reduces or not cluster.is_map) and gathers({value: reads, **(cluster.reads if cluster.is_map else {})}):
            return False
        if reduces:
            return cluster.kind == LOOPS and _reducible(cluster, value) and aligned(reads, cluster, FULL)
        if squeezed(value.shape) == squeezed(cluster.domain):
            return aligned(reads, cluster, FULL)
        return cluster.axes is not None and squeezed(value.shape) == squeezed(cluster.rows) and aligned(reads, cluster, ROW)

    def stays_acyclic(self, cluster: Cluster, producers: Iterable[Cluster]) -> bool:
        """Whether `cluster` may depend on `producers`: none of them depends on it."""
        return not any(p is not cluster and nx.has_path(self.dag, cluster, p) for p in producers)

    def merge_neighbours(self) -> None:
        """Merge whole clusters into one that reads them index by index, nearest first."""
        ranks = Ranks(self.dag)
        waiting = list(reversed(ranks.rank))
        while waiting:
            cluster = waiting.pop()
            users = sorted(self.dag.successors(cluster), key=lambda c: c.number) if cluster in self.dag else []
            for user in users:
                merged = self.merged(cluster, user, ranks)
                if merged is not None:
                    ranks.merge(cluster, user, merged)
                    self.replace(cluster, user, merged)
                    waiting.append(merged)
                    break

    def merged(self, cluster: Cluster, user: Cluster, ranks: Ranks) -> Cluster | None:
        """The two as one cluster, or None where that is not possible or not worth it."""
        if cluster.kind != LOOPS or user.kind == OPAQUE or cluster.weight + user.weight > MAX_WEIGHT:
            return None
        if cluster.axes is not None and (user.kind != LOOPS or user.axes not in (None, cluster.axes)):
            return None
        axes = user.axes if cluster.axes is None else cluster.axes
        members = user.members[:1] + cluster.members + user.members[1:]
        if user.kind == LOOPS:
            members = cluster.members + user.members
        union = Cluster(user.kind, user.number, user.domain, axes, members, cluster.reads | user.reads)
        if not self.one_domain(cluster, union) or not _leaves_rows(union.domain, axes):
            return None
        if cluster.is_map != user.is_map and gathers(cluster.reads if cluster.is_map else user.reads):
            return None
        if not union.may_read(user.reads, cluster.reads):
            return None
        others = (other for other in self.dag.successors(cluster) if other is not user)
        return None if ranks.reaches(others, user) else union

    def one_domain(self, cluster: Cluster, union: Cluster) -> bool:
        """Whether the cluster's members keep their meaning over the domain of the union."""
        if squeezed(cluster.domain) == squeezed(union.domain):
            return cluster.axes is None or cluster.domain == union.domain
        return union.axes is not None and cluster.axes is None and squeezed(cluster.domain) == squeezed(union.rows)

    def replace(self, cluster: Cluster, user: Cluster, merged: Cluster) -> None:
        for member in merged.members:
            self.home[member] = merged
        self.dag.add_node(merged)
        for old in (cluster, user):
            self.dag.add_edges_from((before, merged) for before in list(self.dag.predecessors(old)) if before is not cluster)
            self.dag.add_edges_from((merged, after) for after in list(self.dag.successors(old)) if after is not user)
        self.dag.remove_nodes_from((cluster, user))

    def absorb_prologues(self) -> None:
        """Make maps part of the one contraction that reads them."""
        for user in [c for c in self.dag if c.kind == CONTRACTION]:
            for leaf, _, _ in user.reads[user.anchor]:
                cluster = self.home.get(leaf)
                if cluster is not None and self.is_prologue(cluster, leaf, user):
                    user.prologues[leaf] = cluster
                    self.home.update(dict.fromkeys(cluster.members, user))
                    self.dag.add_edges_from((before, user) for before in self.dag.predecessors(cluster))
                    self.dag.remove_node(cluster)

    def is_prologue(self, cluster: Cluster, leaf: Value, user: Cluster) -> bool:
        """Whether the cluster is a map to `leaf`, which makes up one operand of the contraction and is read nowhere else."""
        if not cluster.is_map or list(self.dag.successors(cluster)) != [user]:
            return False
        readers = [member for member, reads in user.reads.items() for read in reads if read[0] is leaf]
        others = (user.sources - {leaf}).union(*(prologue.sources for prologue in user.prologues.values()))
        results = {storage(root) for root in self.graph.roots}
        return readers == [user.anchor] and not any(v in results or v in others for v in cluster.members)

    def order_updates(self) -> frozenset[Value]:
        """The variables that can be updated in place, after ordering every other reader before the update."""
        homes = [storage(new) for new in self.graph.roots]
        in_place = set()
        readers_of: dict[Value, list[Cluster]] = {variable: [] for variable, _ in self.graph.updates}
        for cluster in self.dag:
            for source in cluster.sources & readers_of.keys():
                readers_of[source].append(cluster)
        for variable, new in self.graph.updates:
            value = storage(new)
            writer = self.home.get(value)
            if writer is None or homes.count(value) > 1 or variable in homes or not _own_index_only(variable, value, writer):
                continue
            readers = [c for c in readers_of[variable] if c is not writer]
            if any(nx.has_path(self.dag, writer, reader) for reader in readers):
                continue
            self.dag.add_edges_from((reader, writer) for reader in readers)
            in_place.add(variable)
        return frozenset(in_place)

    def stored(self) -> frozenset[Value]:
        """Members that some other cluster, or the caller, reads."""
        read = {leaf for cluster in self.dag for leaf in cluster.sources - cluster.inside}
        return frozenset(v for v in read | {storage(root) for root in self.graph.roots} if v in self.home)


def _must_be_stored(graph: Graph) -> set[Value]:
    """Views that need memory of their own: results, what opaque ops read and make, operands no contraction can address, and
    those that are read through too many others."""
    forced = {storage(root) for root in graph.roots}
    tangles: dict[Value, tuple[int, int]] = {}  # of views: how many others they are read through, and of how many parts

    def is_leaf(value: Value) -> bool:
        return value in forced or not is_view(value)

    for value in graph.values():
        lower = value.op.lower
        if is_view(value):
            below = [(0, 1) if is_leaf(storage(v)) else tangles[v] for v in value.operands]
            deep, parts = 1 + max((deep for deep, _ in below), default=0), sum(parts for _, parts in below)
            tangles[value] = deep, parts
            if deep > MAX_DEPTH or (parts > MAX_PARTS and any(parts > 1 for _, parts in below)):
                forced.add(storage(value))
        if isinstance(lower, Loops) or is_joint(value):
            forced.update(storage(v) for v in value.operands)
            forced.add(value)
        elif isinstance(lower, Contraction):
            spec = lower.spec(value)
            found = [(v, address(v, spec, side, is_leaf)) for side, v in enumerate(value.operands)]
            forced.update(storage(v) for v, at in found if at is None or _lies_across(v, value))
        elif isinstance(lower, Blocked):
            forced.update(storage(v) for v in value.operands if not _lies_along(v))
    return {v for v in forced if not isinstance(v.op.lower, Source)}


def _lies_along(operand: Value) -> bool:
    """Whether neighbours along the last dimension of an operand are neighbours in memory, also behind views."""
    if not is_view(operand):
        return True
    reads = [] if splat(operand) is not None else leaf_reads(operand, positions(operand.shape), lambda v: not is_view(v))
    if len(reads) != 1 or reads[0][2] is not None:
        return False
    leaf, at, _ = reads[0]
    return operand.shape[-1] == 1 or linear(ravel(at, leaf.shape))[0].get(positions(operand.shape)[-1]) == 1


def _lies_across(operand: Value, user: Value) -> bool:
    """Whether a convolution reads an operand again for every tap whose neighbours lie apart in memory."""
    moved = storage(operand)
    taps = prod(user.operands[1].shape[d] for d in user.attrs.get("rhs_spec", ())[2:])
    return taps > 1 and moved.op.name == "transpose" and moved.attrs["perm"][-1] != moved.type.rank - 1


def _reducible(cluster: Cluster, value: Value) -> bool:
    operand, axes = value.operands[0], value.attrs["axes"]
    return operand.shape == cluster.domain and cluster.axes in (None, axes) and _leaves_rows(cluster.domain, axes)


def _leaves_rows(domain: tuple[int, ...], axes: tuple[int, ...] | None) -> bool:
    """Whether reducing `axes` leaves enough independent rows to share a large domain among tasks."""
    kept = prod(n for axis, n in enumerate(domain) if axis not in (axes or ()))
    return prod(domain) <= SMALL_DOMAIN or kept >= MIN_ROWS


def _own_index_only(variable: Value, new: Value, writer: Cluster) -> bool:
    """Whether the writing kernel reads the variable only at the index it writes, before it writes it. Prologues have read
    what they need before the contraction starts."""
    reads = [(member, at, guard) for member, rs in writer.reads.items() for leaf, at, guard in rs if leaf is variable]
    if writer.kind == OPAQUE or new.type.size != variable.type.size:
        return not reads and new.type == variable.type
    if writer.axes is not None and writer.role(new) == FULL:
        return not reads
    if squeezed(variable.shape) != squeezed(new.shape):
        return not reads
    for member, at, guard in reads:
        if isinstance(member.op.lower, Contraction | Blocked | Reduction) or squeezed(member.shape) != squeezed(new.shape):
            return False
        if guard is not None or at != positions(variable.shape):
            return False
    return True


__all__ = ["BLOCKS", "BORDER", "CONTRACTION", "FULL", "LOOPS", "OPAQUE", "ROW", "Cluster", "FusedGraph", "fuse"]
