"""Epilogues: what follows, index by index, from one element that a kernel has computed in its own way.

In: a cluster whose anchor is computed otherwise, the element, and where every member is at this point. Out: statements: all
values first, then all stores, so that what is updated in place has been read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.ir.expr import Expr, Temp, cast, temp
from graphc.ir.kernel import Let, Stmt
from graphc.ir.values import Value

from .cluster import Cluster
from .element import Elements, Position
from .frame import Frame


def epilogue(
    cluster: Cluster,
    stored: Sequence[Value],
    frame: Frame,
    element: Expr,
    index: Callable[[Value], Position],
    guard: Expr | None = None,
) -> list[Stmt]:
    """The members of `cluster` at `index`, where its anchor is `element`; `stored` ones are written where `guard` holds."""

    def at_hand(value: Value, where: Position, inner: Expr | None) -> Expr | None:
        if value is cluster.anchor:
            return cast(element, value.dtype)
        if value in names:
            return names[value]
        if value in cluster.reads or not frame.is_stored(value):
            return None
        return frame.load(value, where, inner)

    names: dict[Value, Temp] = {}
    lets: list[Stmt] = []
    wanted = {*stored, *cluster.named()}
    for value in cluster.members:
        if value in wanted:
            name = temp("t", value.dtype)
            lets.append(Let(name, Elements(at_hand).at(value, index(value))))
            names[value] = name
    return [*lets, *(frame.store(v, index(v), names[v], guard) for v in stored)]
