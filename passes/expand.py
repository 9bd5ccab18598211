"""Legalisation of the graph: ops that are said in other ops are replaced by them.

In: any graph without gradient markers. Out: an equal graph in which every op has loops of its own: no `Expand` record is
left, and every contraction is plain.
"""

from __future__ import annotations

import graphc.ops  # noqa: F401  fills the registry
from graphc.ir.graph import Graph
from graphc.ir.op import OPS, Contraction, Expand
from graphc.ir.rewrite import Fired, Rule, Rules, op, rewrite_graph, rule
from graphc.ir.values import Value


def _row(name: str) -> Rule | None:
    lower = OPS[name].lower
    if isinstance(lower, Expand):
        return rule(f"{name} -> what it stands for", op(name, ...), lambda root: lower.rule(root))
    if isinstance(lower, Contraction):
        return rule(f"{name} -> plain {name}", op(name, ...), lambda root: lower.expand(root))
    return None


EXPANSIONS = Rules([row for row in map(_row, OPS) if row is not None])


def expand(graph: Graph, trace: list[Fired] | None = None) -> Graph:
    """Apply the expansions of all ops until none applies."""
    return rewrite_graph(graph, EXPANSIONS, trace)


def unexpanded(graph: Graph) -> Value | None:
    """The first value that still has an expansion."""
    for value in graph.values():
        lower = value.op.lower
        if isinstance(lower, Expand) or (isinstance(lower, Contraction) and lower.expand(value) is not None):
            return value
    return None
