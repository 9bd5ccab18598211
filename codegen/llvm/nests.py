"""Where a kernel makes the sums of register tiles, and what it has fetched meanwhile.

In: statements. Out: their `Nest`s: loops over the steps of a tile, with what stands around and behind; how many steps are
written out one after another; and `Fetch`, an access that brings lines near before they are needed. Which lines these are,
results.py, epilogues.py and panels.py decide; nothing that is fetched changes a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

from graphc.ir.expr import Array, Index, Var
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, Accumulate, For, If, Stmt

from ..target import Target

PASSING = 2  # operands of more than one such part of the second cache seldom wait there until tiles come to them
BLOCK = 16  # rounds, at most, that fetch together
CROWDED = 0.75  # of the registers: more sums than these leave little room for what is loaded
AT_ONCE, ENOUGH = 4, 48  # rounds, at most, that make a block without a branch, and the vectors of products that need no more
WINDOW, WHOLE = 7, 112  # rounds, and the vectors of all their products, at most, of a longer loop that is all of a block


@dataclass(frozen=True)
class Fetch:
    """The lines of `array[index]` for all values of the variables `over`, each of which goes up by a step: to be read, from the
    second cache, or to be written, in the first."""

    array: Array
    index: Index
    over: tuple[tuple[Var, int], ...] = ()
    write: bool = False

    @property
    def count(self) -> int:
        return prod(ceil(var.extent / step) for var, step in self.over)


Fetches = dict[For, list[Fetch]]


@dataclass(frozen=True)
class Nest:
    """`loops`, each of which holds nothing but the next one, and the innermost a `step`: the vector loop that adds products up.
    `around` are the serial loops outside, outermost first, and `end` is what follows the sums in their block."""

    around: tuple[For, ...]
    loops: tuple[For, ...]
    step: For
    end: tuple[Stmt, ...]


def nests(body: tuple[Stmt, ...], around: tuple[For, ...] = ()) -> Iterator[Nest]:
    """All that statements hold, in order."""
    for n, stmt in enumerate(body):
        if isinstance(stmt, If):
            yield from nests(stmt.then, around)
            yield from nests(stmt.orelse, around)
        elif isinstance(stmt, For):
            loops = tuple(_inwards(stmt))
            step = _step(loops[-1]) if loops else None
            if step is not None:
                yield Nest(around, loops, step, body[n + 1 :])
            else:
                yield from nests(stmt.body, (*around, stmt) if stmt.kind == SERIAL else around)


def _inwards(loop: Stmt) -> Iterator[For]:
    """A serial loop and those that consist of nothing else."""
    while isinstance(loop, For) and loop.kind == SERIAL:
        yield loop
        if len(loop.body) != 1:
            return
        loop = loop.body[0]


def _step(loop: For) -> For | None:
    """The vector loop under unrolled ones that a loop consists of, if it sums up products. Of an unrolled loop that is cut into
    parts, the largest one counts."""
    parts = [stmt for stmt in loop.body if isinstance(stmt, For) and stmt.kind == UNROLLED]
    if parts and len(parts) == len(loop.body):
        return _step(max(parts, key=lambda part: part.var.extent))
    inner = loop.body[0] if len(loop.body) == 1 else None
    if not isinstance(inner, For) or inner.kind != VECTOR:
        return None
    return inner if [type(stmt) for stmt in inner.body] == [Accumulate] else None


def crowded(body: tuple[Stmt, ...], target: Target) -> bool:
    """Whether the sums of a register tile leave few registers for operands, so that it matters how early these are loaded."""
    return any(_products(nest.loops[-1]) > CROWDED * target.vector_registers for nest in nests(body))


def together(loop: For) -> int:
    """How many rounds of a loop over steps make a block, before which is fetched what all of them should."""
    return _divisor(loop.var.extent, BLOCK)


def at_once(loop: For, rounds: int) -> int:
    """How many of so many rounds of a loop are written out one after another: of a loop over steps some, so that counting and
    branching take little of the time that few products take, or all, so that what the taps of a wide window share is loaded
    once; of any other loop one."""
    if _step(loop) is None:
        return 1
    products = _products(loop)
    if AT_ONCE < rounds <= WINDOW and rounds * products <= WHOLE:
        return rounds
    return _divisor(rounds, min(AT_ONCE, ceil(ENOUGH / products)))


def _divisor(number: int, most: int) -> int:
    """The largest one up to `most`."""
    return max(n for n in range(1, most + 1) if number % n == 0)


def _products(loop: For) -> int:
    """Vectors of products that a round makes."""
    vectors = 0
    for stmt in loop.body:
        if isinstance(stmt, For):
            vectors += ceil(stmt.var.extent / stmt.width) if stmt.kind == VECTOR else stmt.var.extent * _products(stmt)
    return vectors


def is_far(array: Array, target: Target, part: int = 1) -> bool:
    """Whether it is larger than one `part` of the second cache."""
    return part * array.size * array.dtype.size > target.l2_bytes
