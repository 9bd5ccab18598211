"""Algebra: brings a graph to the form that the later passes expect and removes what computes nothing.

In: a graph without gradient markers (a rule may keep a value and change its derivative). Out: an equal graph in which
no rule of the tables matches; the identical graph when none did. The rules stand under their equations in the tables
of arithmetic, logic, views, positions, reductions and contractions. Not done: factoring, distributing, reordering of floats.
"""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.ir.rewrite import Fired, Rule, Rules, op, rewrite_graph, rule
from graphc.ir.values import Value, full, splat

from .arithmetic_rules import ARITHMETIC
from .contraction_rules import CONTRACTIONS
from .fold import FOLDING
from .index_rules import POSITIONS
from .logic_rules import LOGIC
from .reduction_rules import REDUCTIONS
from .view_rules import VIEWS


def _uniform(root: Value) -> Value | None:
    number = splat(root) if root.type.size > 1 else None
    return None if number is None else full(root.type, number)


SOURCES: list[Rule] = [
    rule("[c, c, ..] -> broadcast(c)", op("constant", ...), _uniform),
]

TABLES = (SOURCES, ARITHMETIC, LOGIC, VIEWS, POSITIONS, REDUCTIONS, CONTRACTIONS)
ALGEBRA = Rules(*TABLES)
SIMPLIFICATION = Rules(*TABLES, FOLDING)


def canonicalize(graph: Graph, trace: list[Fired] | None = None) -> Graph:
    """Apply the algebra alone."""
    return rewrite_graph(graph, ALGEBRA, trace)


def simplify(graph: Graph, trace: list[Fired] | None = None) -> Graph:
    """Apply the algebra and fold constants, each as far as the other lets it."""
    return rewrite_graph(graph, SIMPLIFICATION, trace)
