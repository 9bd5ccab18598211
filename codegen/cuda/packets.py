"""Which loads and stores of neighbouring elements go as 16 bytes.

In: a loop over a packet of lanes, and the arrays that lie in device or shared memory. Out: the loads and stores of its body
that move 16 aligned bytes together: arrays start at multiples of 16 bytes, and only the lane counts by 1 in their indices.
A loop over a packet has independent iterations, so loads may all come before it, and stores behind it.
"""

from __future__ import annotations

from collections.abc import Set

from graphc.ir.expr import Array, Expr, Load, Var, as_index, linear
from graphc.ir.kernel import Accumulate, For, Let, Stmt, Store, expressions, walk

from .expressions import below

PACKET_BYTES = 16


def together(loop: For, visible: Set[Array]) -> tuple[list[Load], list[Store]]:
    """The loads, and the stores, of the body. An array that is stored is loaded so only where its elements are read before
    they are stored, and at the same index."""
    stmts = list(walk(loop.body))
    reads = [part for part in dict.fromkeys(p for stmt in stmts for p in _parts(stmt)) if isinstance(part, Load)]
    inner: set[Expr] = {s.temp for s in stmts if isinstance(s, Let)} | {s.var for s in stmts if isinstance(s, For)}
    written = [stmt.array for stmt in stmts if isinstance(stmt, Store | Accumulate)]

    def can(array: Array, index: Expr, guard: Expr | None) -> bool:
        return guard is None and array in visible and _moves(array, index, loop.var) and inner.isdisjoint(below(index))

    stores = {
        s.array: s
        for s in loop.body
        if isinstance(s, Store)
        and can(s.array, s.index, s.guard)
        and written.count(s.array) == 1
        and all(e.index is s.index for e in reads if e.array is s.array)
    }
    early = {read for store in stores.values() for read in _read_until(store, loop.body)}
    loads = [
        e for e in reads if can(e.array, e.index, e.guard) and (e.array not in written or (e.array in stores and e in early))
    ]
    return loads, list(stores.values())


def _parts(stmt: Stmt) -> list[Expr]:
    return [part for root in expressions(stmt) for part in below(root)]


def _read_until(store: Store, body: tuple[Stmt, ...]) -> set[Load]:
    """What the statements up to a store of the body load from its array."""
    before = walk(body[: body.index(store) + 1])
    return {part for stmt in before for part in _parts(stmt) if isinstance(part, Load) and part.array is store.array}


def _moves(array: Array, index: Expr, lane: Var) -> bool:
    """Whether the lane counts through 16 aligned bytes of an array."""
    count = lane.extent
    terms, constant = linear(as_index(index))
    if array.dtype.size * count != PACKET_BYTES or terms.get(lane) != 1 or constant % count:
        return False
    others = [(atom, factor) for atom, factor in terms.items() if atom is not lane]
    return all(factor % count == 0 and lane not in below(atom) for atom, factor in others)
