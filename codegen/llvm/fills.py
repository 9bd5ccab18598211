"""Fetching what a task copies next, while it computes with what it has copied.

In: a kernel. Out: for the innermost loops over steps, what each block of steps should fetch into the second cache. To copy is
to wait for memory, which has nothing to do while tiles are computed; so the tiles between two copies fetch what the second
one reads, a share of it each.

    for outer:  for s: for r:  panel[...] = x[c * outer + s * step + r * row]
                for tiles: for steps: acc += panel[...] * ...              all of them fetch x[the same for the next `outer`]

Left alone are arrays that stay in the second cache, and copies of which a block of steps would have to fetch too much.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphc.ir.expr import Array, Expr, Index, Temp, Var, as_index, linear, ravel, unravel
from graphc.ir.kernel import SERIAL, VECTOR, For, If, Kernel, Let, Stmt, walk

from ..target import Target
from .nests import Fetches, is_far, nests
from .panels import loads, straight
from .rows import MOST_LINES, blocks_of, moved, spread

Phase = tuple[tuple[Var, ...], tuple[Stmt, ...], tuple[Stmt, ...]]
Read = tuple[Array, Index, tuple[Var, ...]]  # and the loops around


def next_fills(kernel: Kernel, target: Target) -> Fetches:
    """For each innermost loop over steps: what each block of them fetches."""
    names = {stmt.temp: stmt.value for stmt in walk(kernel.body) if isinstance(stmt, Let)}
    found: Fetches = {}
    for around, first, rest in _phases(kernel.body, (kernel.task,)):
        nest, *others = nests(rest)
        rounds = blocks_of((*nest.around, *nest.loops))
        fetches = [
            fetch
            for array, index, inside in _reads(first, ())
            if array in kernel.params and is_far(array, target)
            if (after := _after(straight(index, names), around, names)) is not None
            if (fetch := spread(array, after, inside, rounds, more=1)) is not None  # runs may start within a line
        ]
        if fetches and not others and sum(fetch.count for fetch in fetches) <= MOST_LINES:
            found[nest.loops[-1]] = fetches
    return found


def _phases(body: tuple[Stmt, ...], around: tuple[Var, ...]) -> Iterator[Phase]:
    """Where something is made before sums are: the task and loops around, outermost first, what comes first, and the rest."""
    number = next((n for n, stmt in enumerate(body) if any(nests((stmt,)))), 0)
    if number:
        yield around, body[:number], body[number:]
    for stmt in body[number:]:
        if isinstance(stmt, For) and stmt.kind == SERIAL:
            yield from _phases(stmt.body, (*around, stmt.var))


def _reads(body: tuple[Stmt, ...], inside: tuple[Var, ...]) -> Iterator[Read]:
    """What vector loops read."""
    for stmt in body:
        if isinstance(stmt, If):
            yield from _reads(stmt.then, inside)
        elif isinstance(stmt, For):
            yield from _reads(stmt.body, (*inside, stmt.var))
            for array, index in loads(stmt) if stmt.kind == VECTOR else ():
                yield array, index, (*inside, stmt.var)


def _after(index: Index, around: tuple[Var, ...], names: dict[Temp, Expr]) -> Index | None:
    """The index in the next round of the innermost loop `around`, or in the first one of the next round outside; None where it
    is the same, or not known yet."""
    extents = tuple(var.extent for var in around)
    following = unravel(ravel([as_index(var) for var in around], extents) + 1, extents)
    after = moved(index, dict(zip(around, following, strict=True)), names)
    return None if after == index or any(isinstance(atom, Temp) for atom in linear(after)[0]) else after
