"""Stored borders: a value that a contraction reads with padding around it lies inside the padded one, not beside it.

    x = f(...); p = pad(x)   ->   inside of p = f(...); border of p = the padding

In: clusters, in which every padded value that needs memory is a copy of its own. Out: which values lie inside others, and
the copies as clusters of kind `border`, whose kernels fill only what surrounds them. Of several pads of one value the widest
holds the others. All who read the value see through it; where one of them would not walk memory in straight lines any more,
the copy stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod

import networkx as nx

from graphc.ir.expr import Index, Var, all_of, const, linear, ravel
from graphc.ir.graph import Graph
from graphc.ir.kernel import SERIAL, VECTOR, For, If, Launch, Stmt, Store
from graphc.ir.op import Contraction
from graphc.ir.values import Value

from .cluster import BLOCKS, BORDER, CONTRACTION, LOOPS, OPAQUE, Cluster
from .element import positions, storage
from .frame import Frame
from .inset import Inset, Insets, position
from .machine import Machine
from .operand import address

MOSTLY = 4  # times the value itself that its padded form may take
MANY_TASKS = 16  # that make rows of a border too short to be tasks

Leaves = Callable[[Value], bool]


def inset(graph: Graph, dag: nx.DiGraph[Cluster], home: Mapping[Value, Cluster], is_leaf: Leaves) -> dict[Value, Inset]:
    """Choose what lies inside padded values, and turn the copies into borders."""
    results = {storage(root) for root in graph.roots}
    copies: dict[Value, list[Cluster]] = {}
    for cluster in dag:
        if _is_padding(cluster) and results.isdisjoint((cluster.anchor, *cluster.anchor.operands)):
            copies.setdefault(cluster.anchor.operands[0], []).append(cluster)
    insets: dict[Value, Inset] = {}
    for value, padded in copies.items():
        if not _has_kernel(value, home):
            continue
        host = max(padded, key=lambda cluster: cluster.anchor.type.size)
        borders = [cluster for cluster in padded if _holds(host.anchor, cluster.anchor)]
        found = {value: Inset(host.anchor, host.anchor.attrs["low"])}
        found |= {c.anchor: Inset(host.anchor, _between(host.anchor, c.anchor)) for c in borders if c is not host}
        readers = {reader for leaf in found for reader in dag.successors(home[leaf])}.difference(borders)
        if all(_sees_through(reader, found, is_leaf) for reader in readers):
            insets |= found
            _order(dag, host, borders)
    return insets


def _is_padding(cluster: Cluster) -> bool:
    """Whether the cluster only surrounds a value with some more elements."""
    padded, *others = cluster.members
    if cluster.kind != LOOPS or others or padded.op.name != "pad":
        return False
    outside = min((*padded.attrs["low"], *padded.attrs["high"])) >= 0 and not any(padded.attrs["interior"])
    return outside and padded.type.size <= MOSTLY * padded.operands[0].type.size


def _has_kernel(value: Value, home: Mapping[Value, Cluster]) -> bool:
    """Whether a kernel of ours computes the value, and may write it where we like."""
    return value in home and home[value].kind in (LOOPS, CONTRACTION, BLOCKS) and value.op.name != "pad"


def _holds(wide: Value, narrow: Value) -> bool:
    """Whether one pad of a value is part of another."""
    around = zip((*narrow.attrs["low"], *narrow.attrs["high"]), (*wide.attrs["low"], *wide.attrs["high"]), strict=True)
    return all(few <= many for few, many in around) and repr(narrow.attrs["value"]) == repr(wide.attrs["value"])


def _between(wide: Value, narrow: Value) -> tuple[int, ...]:
    """Where in the wide pad the narrow one starts."""
    return tuple(many - few for many, few in zip(wide.attrs["low"], narrow.attrs["low"], strict=True))


def _sees_through(reader: Cluster, insets: Insets, is_leaf: Leaves) -> bool:
    """Whether the cluster can read such values inside others, and walks straight lines there if it did so before."""
    if reader.kind == OPAQUE:
        return False
    for member, reads in reader.reads.items():
        inside = [(leaf, at) for leaf, at, _ in reads if leaf in insets]
        lower = member.op.lower
        if inside and isinstance(lower, Contraction):
            spec, sides = lower.spec(member), enumerate(member.operands)
            if any(address(operand, spec, side, is_leaf, insets) is None for side, operand in sides):
                return False
        elif any(_is_straight(ravel(at, leaf.shape)) > _is_straight(position(leaf, at, insets)) for leaf, at in inside):
            return False
    return True


def _is_straight(index: Index) -> bool:
    return all(isinstance(atom, Var) for atom in linear(index)[0])


def _order(dag: nx.DiGraph[Cluster], host: Cluster, borders: Iterable[Cluster]) -> None:
    """Make borders of copies: the host's is filled before anybody reads a part of it."""
    for cluster in borders:
        cluster.kind = BORDER
        if cluster is not host:
            part = cluster.anchor
            cluster.reads[part] = [*cluster.reads[part], (host.anchor, positions(host.anchor.shape), None)]
            dag.add_edge(host, cluster)


def fill(name: str, padded: Value, frame: Frame, machine: Machine) -> Launch:
    """The kernel that writes what surrounds a value. Tasks are the dimensions before the first with a border and, if these
    are few, the rows of that one."""
    array, shape, low, inner = frame.array_of(padded), padded.shape, padded.attrs["low"], padded.operands[0].shape
    number, lanes = const(padded.attrs["value"], padded.dtype), machine.lanes(padded.dtype)
    first, *_, last = [d for d, n in enumerate(shape) if n != inner[d]] * 2
    rest = [prod(shape[d + 1 :]) for d in range(len(shape))]

    def run(start: Index, count: int) -> list[Stmt]:
        lane = Var("v", count)
        return [For(lane, (Store(array, start + lane, number),), VECTOR, lanes)] if count else []

    def around(start: Index, dim: int) -> list[Stmt]:
        """The border of the box of all dimensions from `dim` on."""
        if dim > last:
            return []
        before, row = low[dim] * rest[dim], Var(f"r{dim}", inner[dim])
        body = around(start + before + row * rest[dim], dim + 1)
        after = run(start + before + inner[dim] * rest[dim], (shape[dim] - low[dim] - inner[dim]) * rest[dim])
        return [*run(start, before), *([For(row, tuple(body), SERIAL)] if body else []), *after]

    if prod(shape[:first]) >= MANY_TASKS or first == last:
        task, at, named = frame.task(shape[:first])
        body = around(ravel(at, shape[:first]) * (rest[first] * shape[first]), first)
    else:
        task, at, named = frame.task(shape[: first + 1])
        start, row = ravel(at, shape[: first + 1]) * rest[first], at[first] - low[first]
        inside = all_of(row >= 0, row < inner[first])
        assert inside is not None
        body = [If(inside, tuple(around(start, first + 1)), tuple(run(start, rest[first])))]
    return frame.launch(name, task, (*named, *body), "a border")
