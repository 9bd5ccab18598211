"""Where the threads of a team must meet.

In: the statements of a mapped kernel, and the arrays that several threads see and some thread writes. Out: the statements
before which all threads wait. Holds: between two accesses to an array by different statements, one of them a store, there
is a barrier. A loop over threads is one statement, since its iterations are independent of each other; everything else is
run by all threads alike, so that a barrier under a condition or in a loop is reached by all or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from graphc.ir.expr import Array, Load
from graphc.ir.kernel import Accumulate, For, If, Stmt, Store, expressions, walk

from .expressions import below
from .roles import FOLD, MMA, THREADS


def barriers(body: tuple[Stmt, ...], visible: Set[Array]) -> frozenset[Stmt]:
    """The statements that a barrier stands before."""
    walker = _Walker(visible)
    walker.block(body)
    return frozenset(walker.found)


class _Walker:
    """`reads` and `writes` are what happened since the last barrier."""

    def __init__(self, visible: Set[Array]) -> None:
        self.visible = visible
        self.reads: set[Array] = set()
        self.writes: set[Array] = set()
        self.found: set[Stmt] = set()

    def block(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            self.stmt(stmt)

    def stmt(self, stmt: Stmt) -> None:
        if isinstance(stmt, For) and stmt.kind not in (THREADS, FOLD, MMA):
            self.block(stmt.body)
            self.block(stmt.body)  # what the end of a round leaves meets the start of the next
        elif isinstance(stmt, If):
            self.effect(stmt, set(_loads(stmt)) & self.visible, set())
            before = self.reads.copy(), self.writes.copy()
            self.block(stmt.then)
            after = self.reads, self.writes
            self.reads, self.writes = before
            self.block(stmt.orelse)
            self.reads |= after[0]
            self.writes |= after[1]
        else:
            inner = list(walk((stmt,)))
            stored = {s.array for s in inner if isinstance(s, Store | Accumulate)}
            self.effect(stmt, {a for s in inner for a in _loads(s)} & self.visible, stored & self.visible)

    def effect(self, stmt: Stmt, reads: set[Array], writes: set[Array]) -> None:
        if stmt in self.found or self.writes & (reads | writes) or self.reads & writes:
            self.found.add(stmt)
            self.reads, self.writes = set(), set()
        self.reads |= reads
        self.writes |= writes


def _loads(stmt: Stmt) -> Iterator[Array]:
    """The arrays that the statement itself loads from."""
    for root in expressions(stmt):
        yield from (part.array for part in below(root) if isinstance(part, Load))
