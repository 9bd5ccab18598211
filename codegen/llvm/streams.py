"""Which memory the loops of a kernel should fetch before they need it.

In: a kernel whose words the target says. Out: for each vector loop the large params that it fetches ahead, and how far:
outermost loops, and the steps of register tiles, whose first row fetches for all.
Processors fetch ahead by themselves within a page, and wait at the start of the next one: a row, often. Of several passes
over the same row one fetches the next row, so that moving overlaps with computing: the one that computes most of those that
store nothing far, for which lines are fetched, too. What fits the second cache, and what other inner loops read, is left to
the processor.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphc.ir.expr import Array, Call, Load
from graphc.ir.kernel import (
    VECTOR,
    Accumulate,
    For,
    If,
    Kernel,
    Stmt,
    Store,
    evaluated,
    walk,
)

from ..target import Target
from .nests import is_far, nests

Streams = dict[For, dict[Array, int]]

AHEAD = 8192  # bytes: far enough for memory to answer, near enough to stay in the first cache
STEPS_AHEAD = 4096  # bytes of a panel, whose steps compute more


def streams(kernel: Kernel, target: Target) -> Streams:
    """For each loop: the arrays it fetches ahead, and by how many bytes."""
    found: Streams = {}
    for body in _branches(kernel.body):
        loops = [stmt for stmt in body if isinstance(stmt, For) and stmt.kind == VECTOR]
        touched = {loop: _touched(loop) for loop in loops}
        quiet = {loop for loop in loops if not any(is_far(array, target) for array in _stored(loop))}
        for array in kernel.params:
            passes = [loop for loop in loops if array in touched[loop]]
            if passes and is_far(array, target):
                best = max([loop for loop in passes if loop in quiet] or passes, key=_operations)
                row = best.var.extent * array.dtype.size
                repeated = len(passes) > 1 and row <= target.l1_bytes // 2
                found.setdefault(best, {})[array] = row if repeated else AHEAD
    for nest in nests(kernel.body):
        read = _touched(nest.step)
        found[nest.step] = {array: STEPS_AHEAD for array in kernel.params if array in read and is_far(array, target)}
    return found


def _branches(body: tuple[Stmt, ...]) -> Iterator[tuple[Stmt, ...]]:
    """The statements of a task, and those under its conditions."""
    yield body
    for stmt in body:
        if isinstance(stmt, If):
            yield from _branches(stmt.then)
            yield from _branches(stmt.orelse)


def _touched(loop: For) -> set[Array]:
    """The arrays that a loop without loops inside loads or stores."""
    inside = list(walk(loop.body))
    if any(isinstance(stmt, For) for stmt in inside):
        return set()
    return _stored(loop) | {expr.array for expr in evaluated(*inside) if isinstance(expr, Load)}


def _stored(loop: For) -> set[Array]:
    return {stmt.array for stmt in walk(loop.body) if isinstance(stmt, Store | Accumulate)}


def _operations(loop: For) -> int:
    return sum(isinstance(expr, Call) for stmt in walk(loop.body) for expr in evaluated(stmt))
