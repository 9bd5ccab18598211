"""Lanes that lie a few elements apart: rows of memory, out of which shuffles pick them.

    x[0], x[2], ..., x[30]     ->     x[0 .. 15] and x[15 .. 30], and one shuffle of both
    x[0], x[0], x[1], x[1]     ->     x[0 .. 1] and a shuffle of it

In: how far from a pointer each lane lies, as constants; lanes that nobody asks for have no place. Out: their elements. Nothing
before the first and behind the last lane asked for is read. Gathers take as long as so many loads one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import types
from .builder import Builder

FEW, MOST = 4, 8  # rows that are read for one vector register: in any case, and where lanes lie close together
CLOSE = 9  # elements from one of these to the next, on average

Offsets = Sequence[int | None]


def cover(offsets: Offsets, lanes: int) -> tuple[list[int], int] | None:
    """Where the fewest rows of one size begin that hold all lanes, and the size; None where gathering is not worse."""
    places = sorted({offset for offset in offsets if offset is not None})
    if not places:
        return [], 1
    last = places[-1]
    size = min(lanes, 1 << (last - places[0] + 1).bit_length() - 1)
    starts: list[int] = []
    for place in places:
        if not starts or place >= starts[-1] + size:
            starts.append(min(place, last - size + 1))
    close = last - places[0] < CLOSE * lanes and len(starts) <= min(MOST, lanes // 2)
    return (starts, size) if close or len(starts) <= min(FEW, lanes) else None


def pick(b: Builder, kind: str, offsets: Offsets, starts: Sequence[int], size: int, row: Callable[[int], str]) -> str:
    """A register whose lanes are the elements of type `kind` at the offsets, from rows; any of these where there is none."""
    lanes, rows = len(offsets), [row(start) for start in starts]
    if size == len(rows) == 1:
        return b.splat(rows[0], kind, lanes)
    where = [(0, 0) if offset is None else _found(offset, starts, size) for offset in offsets]
    while len(rows) > 1 or size != lanes or where != [(0, lane) for lane in range(lanes)]:
        pairs = [rows[first : first + 2] for first in range(0, len(rows), 2)]
        orders = [[n % 2 * size + i if n // 2 == pair else None for n, i in where] for pair in range(len(pairs))]
        rows = [shuffle(b, kind, pair, size, order) for pair, order in zip(pairs, orders, strict=True)]
        where, size = [(n // 2, lane) for lane, (n, _) in enumerate(where)], lanes
    return rows[0]


def _found(offset: int, starts: Sequence[int], size: int) -> tuple[int, int]:
    """The row in which an offset is, and where in the row."""
    return next((n, offset - start) for n, start in enumerate(starts) if start <= offset < start + size)


def shuffle(b: Builder, kind: str, vectors: Sequence[str], size: int, order: Offsets) -> str:
    """The elements of one or two vectors in some order."""
    first, second = (*vectors, "poison")[:2]
    vector = types.vector(kind, size)
    if size == 1:  # of scalars
        first, second = (
            v if v == "poison" else b.op(f"insertelement <1 x {kind}> poison, {kind} {v}, i32 0") for v in (first, second)
        )
        vector = f"<1 x {kind}>"
    text = types.vector_of(["poison" if i is None else str(i) for i in order], "i32")
    return b.op(f"shufflevector {vector} {first}, {vector} {second}, <{len(order)} x i32> {text}")


def row_mask(b: Builder, mask: str, offsets: Offsets, start: int, size: int) -> str:
    """Which elements of a row are wanted by lanes that a mask of all lanes allows."""
    wanted = [[lane for lane, offset in enumerate(offsets) if offset == start + i] for i in range(size)]
    kind, none, text = types.vector("i1", size), len(offsets), ""
    for n in range(max(map(len, wanted))):
        order = [lanes[n] if n < len(lanes) else none for lanes in wanted]
        part = shuffle(b, "i1", [mask, "zeroinitializer"], len(offsets), order)
        text = b.op(f"or {kind} {text}, {part}") if text else part
    return text
