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
from graphc.ir.kernel import UNROLLED, VECTOR, For, Kernel, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed

from ..target import Target
from .memory import LINE
from .nests import Fetch, Fetches, is_far, nests

SHORT = 4  # steps for each line of a tile, up to which its sums are short


def tile_results(kernel: Kernel, target: Target) -> Fetches:
    """For each innermost loop over steps: what to fetch in each round."""
    found: Fetches = {}
    for nest in nests(kernel.body):
        steps = [loop.var for loop in nest.loops]
        for array, index in (line for stmt in nest.end for line in _lines(stmt, steps)):
            if array in kernel.params and is_far(array, target):
                found.setdefault(nest.loops[-1], []).append(Fetch(array, index, write=True))
    return found


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
