"""Transposing in registers what lanes would have to gather.

In: a serial loop around a single vector loop that stores elements beside each other. Out: the loads inside whose elements lie
beside each other along the serial loop, and apart along the lanes. Squares of as many steps as a vector has lanes are then
read as vectors along the steps and transposed, before each step computes and stores its vector of lanes.

    for k < steps: for v < lanes vector: y[k * pitch + v] = f(x[v * row + k], ...)
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.expr import Expr, Index, Load, Var, linear
from graphc.ir.kernel import SERIAL, VECTOR, For, Let, Stmt, Store, evaluated, operands

from . import types
from .builder import Builder, Value

PART_BYTES = 16  # of a vector: processors of all kinds shuffle so many by themselves


@dataclass(frozen=True)
class Square:
    """What is done for each element along a `step` and a `lane`, of vectors of `width` lanes; `crossing` loads go along the
    steps."""

    step: Var
    lane: Var
    width: int
    crossing: tuple[Load, ...]
    body: tuple[Stmt, ...]


def square(loop: For) -> Square | None:
    """What a loop transposes; None if it does not, or if its rounds may not change places."""
    inner = loop.body[0] if loop.kind == SERIAL and len(loop.body) == 1 else None
    if not isinstance(inner, For) or inner.kind != VECTOR or not all(isinstance(stmt, Let | Store) for stmt in inner.body):
        return None
    step, lane, width = loop.var, inner.var, inner.width
    changing = {step, lane, *(stmt.temp for stmt in inner.body if isinstance(stmt, Let))}
    loads = list(dict.fromkeys(expr for expr in evaluated(*inner.body) if isinstance(expr, Load)))
    stores = [stmt for stmt in inner.body if isinstance(stmt, Store)]
    walked = [(load, _strides(load, step, lane, changing)) for load in loads if not load.dtype.is_bool]
    crossing = tuple(load for load, (along, across) in walked if along == 1 and abs(across) > 1)
    rows = all(
        across == 1 and abs(along) >= lane.extent for along, across in (_strides(s, step, lane, changing) for s in stores)
    )
    whole = width > 1 and width & (width - 1) == 0 and step.extent > 1
    return Square(step, lane, width, crossing, inner.body) if crossing and rows and whole and _apart(loads, stores) else None


def _strides(access: Load | Store, step: Var, lane: Var, changing: set[Expr]) -> tuple[int, int]:
    """How far a step and a lane move an access; (0, 0) if that is not all, or under a condition."""
    if access.guard is not None or not isinstance(access.index, Index):
        return 0, 0
    terms, _ = linear(access.index)
    if any(_depends(atom, changing) for atom in terms if atom not in (step, lane)):
        return 0, 0
    return terms.get(step, 0), terms.get(lane, 0)


def _depends(expr: Expr, changing: set[Expr]) -> bool:
    return expr in changing or any(_depends(part, changing) for part in operands(expr))


def _apart(loads: list[Load], stores: list[Store]) -> bool:
    """Whether each element is stored once, and nothing that is stored is read as another element."""
    places = {store.array: store.index for store in stores}
    return len(places) == len(stores) and all(places.get(load.array, load.index) == load.index for load in loads)


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
