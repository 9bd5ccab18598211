"""Transposing squares of vectors in registers."""

from __future__ import annotations

from . import types
from .builder import Builder, Value

PART_BYTES = 16  # of a vector: processors of all kinds shuffle so many by themselves


def transposed(b: Builder, rows: list[Value], lanes: int) -> list[Value]:
    """The columns of a square of vectors, the first of which are given, in rounds that exchange a bit of the row for one of the
    lane. Inside of parts of PART_BYTES a round takes the lower halves of two rows, lane by lane, and the upper ones; as many
    rounds as bits number the lanes of a part. Then each takes the even parts of two rows, and the odd ones."""
    dtype = rows[0].dtype
    rows = [*rows, *[Value("poison", dtype, lanes)] * (lanes - len(rows))]
    kind = types.vector(types.register(dtype), lanes)
    part = min(lanes, PART_BYTES // dtype.size)
    inside, bits = part.bit_length() - 1, range(lanes.bit_length() - 1)
    for bit in (*reversed(bits[:inside]), *bits[inside:]):
        order = _by_lanes if bit < inside else _by_parts
        orders = [types.vector_of([str(lane) for lane in order(lanes, part, second)], "i32") for second in (0, 1)]
        pairs = [(rows[i & ~(1 << bit)], rows[i | 1 << bit], orders[i >> bit & 1]) for i in range(lanes)]
        texts = [f"{kind} {one.text}, {kind} {other.text}, <{lanes} x i32> {picked}" for one, other, picked in pairs]
        rows = [Value(b.op(f"shufflevector {text}"), dtype, lanes) for text in texts]
    return rows


def _by_lanes(lanes: int, part: int, second: int) -> list[int]:
    """Of two vectors, whose lanes are counted through, the lower (upper) halves of all parts, lane by lane."""
    start = second * part // 2
    return [at + start + i // 2 + i % 2 * lanes for at in range(0, lanes, part) for i in range(part)]


def _by_parts(lanes: int, part: int, second: int) -> list[int]:
    """The even (odd) parts of both."""
    return [at + i for at in range(second * part, 2 * lanes, 2 * part) for i in range(part)]
