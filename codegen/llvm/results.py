"""Fetching the lines to which a register tile will be stored, while its sums are made.

In: a kernel. Out: for the innermost loop over the steps of tiles, which elements of a large result each step should fetch
for writing. Where sums are short, a processor that stores a whole tile at once would wait until all its lines have come.

    for k < steps: acc += ...;  for i: y[i, lanes] = f(acc)          step k fetches lines k * n ... k * n + n - 1 of the tile

Results that fit the second cache, and those of long sums, are left to the processor; what the end of a tile reads is fetched
by epilogues.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, prod

from graphc.ir.expr import Array, Index, Temp, Var, as_index, ravel, unravel
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, For, If, Kernel, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed

from ..target import Target
from .memory import LINE
from .streams import is_far, step_of

SHORT = 4  # steps for each line of a tile, up to which its sums are short


def tile_results(kernel: Kernel, target: Target) -> dict[For, list[tuple[Array, Index]]]:
    """For each innermost loop over steps: params and the positions in them to fetch."""
    found: dict[For, list[tuple[Array, Index]]] = {}
    for nest, behind in _nests(kernel.body):
        *_, innermost = loops = list(_steps(nest))
        if step_of(innermost) is not None:
            steps = [loop.var for loop in loops]
            for array, index in (line for stmt in behind for line in _lines(stmt, steps)):
                if array in kernel.params and is_far(array, target):
                    found.setdefault(innermost, []).append((array, index))
    return found


def _nests(body: tuple[Stmt, ...]) -> Iterator[tuple[For, tuple[Stmt, ...]]]:
    """All serial loops, with the statements behind them in their block."""
    for number, stmt in enumerate(body):
        if isinstance(stmt, For) and stmt.kind == SERIAL:
            yield stmt, body[number + 1 :]
            yield from _nests(stmt.body)
        elif isinstance(stmt, If):
            yield from _nests(stmt.then)
            yield from _nests(stmt.orelse)


def _steps(nest: Stmt) -> Iterator[For]:
    """A serial loop and those that consist of nothing else, inwards."""
    while isinstance(nest, For) and nest.kind == SERIAL:
        yield nest
        if len(nest.body) != 1:
            return
        nest = nest.body[0]


def _lines(stmt: Stmt, steps: list[Var]) -> Iterator[tuple[Array, Index]]:
    """What each step fetches of the arrays that unrolled loops around lanes store to."""
    rows: list[Var] = []
    while isinstance(stmt, For) and stmt.kind == UNROLLED and len(stmt.body) == 1:
        rows.append(stmt.var)
        stmt = stmt.body[0]
    if not isinstance(stmt, For) or stmt.kind != VECTOR:
        return
    extents = tuple(step.extent for step in steps)
    count, number = prod(extents), ravel([as_index(step) for step in steps], extents)
    if not count:
        return  # nothing is summed, and nothing to fetch beside
    for store in (store for store in stmt.body if isinstance(store, Store)):
        lanes = LINE // store.array.dtype.size
        shape = (*(row.extent for row in rows), ceil(stmt.var.extent / lanes))
        lines = prod(shape)
        each = ceil(lines / count)
        for n in range(each) if count <= SHORT * lines else ():
            *at, line = unravel(number * each + n if each > 1 else number * lines // count, shape)
            places: dict[Var | Temp, Index] = dict(zip((*rows, stmt.var), (*at, line * lanes), strict=True))
            yield store.array, Renamed(places).index(store.index)
