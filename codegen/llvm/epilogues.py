"""Fetching what the end of a register tile reads while its steps run.

In: a kernel. Out: for the loop over a tile's steps, which rows its epilogue reads, so that all their lines can be fetched
into the second cache before the first step. Rows of a result lie far apart: no processor fetches them by itself, and an
epilogue that waits for each of them may take longer than the steps. Left alone are kernels whose params stay in the second
cache, and tiles of fewer steps than lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from graphc.ir.expr import Array, Index, Load, Temp, Var, linear
from graphc.ir.kernel import UNROLLED, VECTOR, For, Kernel, Let, Stmt, evaluated, walk

from ..target import Target
from .memory import LINE
from .nests import Fetch, Fetches, nests


def epilogue_rows(kernel: Kernel, target: Target) -> Fetches:
    """For each outermost loop over the steps of a tile: what to fetch before it starts."""
    if sum(array.size * array.dtype.size for array in kernel.params) <= target.l2_bytes:
        return {}
    large = {array for array in kernel.params if array.size * array.dtype.size > target.l1_bytes}
    found: Fetches = {}
    for nest in nests(kernel.body):
        rows = list(dict.fromkeys(_rows(nest.end, large)))
        if rows and sum(each.count for each in rows) <= prod(loop.var.extent for loop in nest.loops):
            found[nest.loops[0]] = rows
    return found


def _rows(epilogue: tuple[Stmt, ...], large: set[Array]) -> Iterator[Fetch]:
    """What vector loops of an epilogue read of large params, at places that are known before it."""
    late = {stmt.temp for stmt in walk(epilogue) if isinstance(stmt, Let)}
    for loops, stmts in _vectors(epilogue, ()):
        for expr in evaluated(*stmts):
            if not isinstance(expr, Load) or expr.array not in large or not isinstance(expr.index, Index):
                continue
            terms, line = linear(expr.index)[0], LINE // expr.array.dtype.size
            if terms.get(loops[-1].var) == 1 and all(isinstance(atom, Var | Temp) and atom not in late for atom in terms):
                over = [(loop.var, line if loop is loops[-1] else 1) for loop in loops if loop.var in terms]
                yield Fetch(expr.array, expr.index, tuple(over))


def _vectors(body: tuple[Stmt, ...], around: tuple[For, ...]) -> Iterator[tuple[tuple[For, ...], tuple[Stmt, ...]]]:
    """Vector loops without loops inside, with the unrolled ones around them, and what they hold."""
    for stmt in body:
        if isinstance(stmt, For) and stmt.kind == UNROLLED:
            yield from _vectors(stmt.body, (*around, stmt))
        elif isinstance(stmt, For) and stmt.kind == VECTOR and not any(isinstance(inner, For) for inner in stmt.body):
            yield (*around, stmt), stmt.body
