"""Reads the remaining markers out of the graph: `update` becomes an entry of the graph's updates, `stop_gradient` goes.

In: a graph whose layers attached updates to their values. Out: the same function with the updates listed once each and
no marker left. A variable with two different new values is the user's mistake: no order is chosen for them.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.errors import GraphError
from graphc.ir.graph import Graph, rebuild
from graphc.ir.location import Location
from graphc.ir.values import Value


def extract_updates(graph: Graph) -> Graph:
    """update(x, variable, new)  ->  x, and (variable := new) in the graph's updates"""
    found: list[tuple[Value, Value, Location | None]] = []

    def visit(value: Value) -> Value | None:
        if value.op.name != "update":
            return None
        x, variable, new = value.operands
        found.append((variable, new, value.location))
        return x

    roots = rebuild(graph.roots, visit)
    if not found:
        return graph
    count = len(graph.outputs)
    listed = [(v, new, new.location) for (v, _), new in zip(graph.updates, roots[count:], strict=True)]
    return replace(graph, outputs=roots[:count], updates=_unique(listed + found))


def _unique(updates: list[tuple[Value, Value, Location | None]]) -> tuple[tuple[Value, Value], ...]:
    unique: dict[Value, tuple[Value, Location | None]] = {}
    for variable, new, location in updates:
        if variable.op.name != "variable":
            raise GraphError(f"only variables can be updated, this is the result of {variable.op.name}", location)
        first, where = unique.setdefault(variable, (new, location))
        if first is not new:
            raise GraphError(
                f"variable {variable.attrs['info'].name!r} gets two different new values in one function, here and at {where}; "
                "call the layer that updates it once, or leave it out of the function's updates",
                location,
            )
    return tuple((variable, new) for variable, (new, _) in unique.items())


def remove_stop_gradient(graph: Graph) -> Graph:
    """stop_gradient(x)  ->  x. Only after autodiff."""
    return graph.with_roots(rebuild(graph.roots, lambda v: v.operands[0] if v.op.name == "stop_gradient" else None))
