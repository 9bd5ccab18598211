"""Transposing in registers what lanes would have to gather.

In: a serial loop around a single vector loop that stores one element a lane. Out: the store, if steps of the serial loop lie
beside each other where the lanes of its only load lie apart. Blocks of as many steps as a vector has lanes are then read as
vectors along the steps, transposed, and stored as vectors along the lanes; steps behind the last block are gathered.

    for k < steps: for v < lanes vector: y[k * pitch + v] = f(x[v * row + k])
"""

from __future__ import annotations

from graphc.ir.expr import Expr, Index, Load, Var, linear
from graphc.ir.kernel import SERIAL, VECTOR, For, Store, evaluated, operands

from . import types
from .builder import Builder, Value

PART_BYTES = 16  # of a vector: processors of all kinds shuffle so many by themselves


def transposable(loop: For) -> tuple[For, Store] | None:
    """The vector loop and the store of a loop that transposes at least a block."""
    inner = loop.body[0] if loop.kind == SERIAL and len(loop.body) == 1 else None
    if not isinstance(inner, For) or inner.kind != VECTOR or len(inner.body) != 1:
        return None
    (store,) = inner.body
    width = inner.width
    whole = width > 1 and width & (width - 1) == 0 and inner.var.extent % width == 0 and loop.var.extent >= width
    if not isinstance(store, Store) or not whole or store.guard is not None or store.array.dtype.is_bool:
        return None
    loads = [expr for expr in evaluated(store) if isinstance(expr, Load)]
    if len(loads) != 1 or loads[0].guard is not None or loads[0].array is store.array or store.value.dtype.is_bool:
        return None
    read, written = (_strides(access, loop.var, inner.var) for access in (loads[0], store))
    if read is None or written is None or read[0] != 1 or abs(read[1]) < width or written[1] != 1 or abs(written[0]) < width:
        return None
    return inner, store


def _strides(access: Load | Store, *variables: Var) -> list[int] | None:
    """How far each variable moves an access; None if that is not the same everywhere."""
    if not isinstance(access.index, Index):
        return None
    terms, _ = linear(access.index)
    if any(_depends(atom, variables) for atom in terms if atom not in variables):
        return None
    return [terms.get(var, 0) for var in variables]


def _depends(expr: Expr, variables: tuple[Var, ...]) -> bool:
    return expr in variables or any(_depends(part, variables) for part in operands(expr))


def transposed(b: Builder, rows: list[Value]) -> list[Value]:
    """The columns of a square of vectors, in rounds that exchange a bit of the row for one of the lane. Inside of parts of
    PART_BYTES a round takes the lower halves of two rows, lane by lane, and the upper ones; as many rounds as bits number the
    lanes of a part. Then each takes the even parts of two rows, and the odd ones."""
    lanes, dtype = len(rows), rows[0].dtype
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
