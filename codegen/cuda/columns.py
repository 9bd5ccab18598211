"""Folds down columns: more threads than columns, each with 16 bytes of neighbouring columns.

    for r < R: for v < V vector: acc[v] combine= x(r, v);  y[r, v] = ..
    ->
    for g < S * V / 4 vector: one[4] = neutral
        for n < R / S: for j < 4 packet: one[j] combine= x(n S + row(g), column(g) + j);  y[..] = ..
        part[g * 4 + j] = one[j]
    for u < S / 16 * V vector: less[u] = fold of 16 of part;  ...;  for v < V vector: acc[v] combine= fold of what is left

In: a kernel. Out: the kernel with its folds down columns in S interleaved parts where that gives a GPU more to do; the
identical object elsewhere. The order of the folds depends on shapes alone.
"""

from __future__ import annotations

from math import prod

from graphc.ir.expr import Array, Index, Load, Temp, Var, all_of, as_index, const, load, unravel
from graphc.ir.kernel import (
    COMBINES,
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    For,
    If,
    Kernel,
    Let,
    Local,
    Stmt,
    Store,
    expressions,
)
from graphc.ir.kernel_rewrite import Renamed

from .expressions import below, is_injective
from .maps import packet_width
from .roles import PACKET
from .target import Gpu

_ZERO = as_index(0)
ENOUGH = 2048  # threads on each multiprocessor, from which there is enough to do
FAN = 16  # partial results that a thread folds at once


def interleave(kernel: Kernel, gpu: Gpu) -> Kernel:
    """The kernel with interleaved folds."""
    body = _block(kernel.body, kernel, gpu)
    return kernel if body == kernel.body else Kernel(kernel.name, kernel.params, kernel.task, body)


def _block(body: tuple[Stmt, ...], kernel: Kernel, gpu: Gpu) -> tuple[Stmt, ...]:
    result: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, If):
            branches = _block(stmt.then, kernel, gpu), _block(stmt.orelse, kernel, gpu)
            result.append(stmt if branches == (stmt.then, stmt.orelse) else If(stmt.condition, *branches))
        elif isinstance(stmt, For):
            result += _parted(stmt, kernel, gpu)
        else:
            result.append(stmt)
    return tuple(result)


def _parted(nest: For, kernel: Kernel, gpu: Gpu) -> list[Stmt]:
    """The nest in parts, if it folds down columns and there is too little else to do at once."""
    loops, lanes = _loops(nest)
    if lanes is None or not _folds(loops, lanes):
        return [nest]
    width = packet_width([lanes], kernel.params)
    columns, rows = lanes.var.extent // width, prod(loop.var.extent for loop in loops)
    parts = 1
    while 2 * parts * columns <= gpu.team and 2 * parts <= rows:
        parts *= 2
    while parts > 1 and kernel.task.extent * parts * columns > ENOUGH * gpu.processors:
        parts //= 2
    return [nest] if parts == 1 else _interleaved([loop.var for loop in loops], lanes, parts, width)


def _loops(nest: For) -> tuple[list[For], For | None]:
    """The loops over rows, and the loop over columns inside of them."""
    loops: list[For] = []
    stmt: Stmt = nest
    while isinstance(stmt, For) and stmt.kind == SERIAL and len(stmt.body) == 1:
        loops.append(stmt)
        stmt = stmt.body[0]
    return loops, stmt if loops and isinstance(stmt, For) and stmt.kind == VECTOR else None


def _folds(loops: list[For], lanes: For) -> bool:
    """Whether a column folds into its own cells, each array once, and otherwise only stores elements of its own, which are
    read, if at all, before they are stored."""
    folds = [stmt for stmt in lanes.body if isinstance(stmt, Accumulate)]
    stores = [stmt for stmt in lanes.body if isinstance(stmt, Store)]
    named = [stmt for stmt in lanes.body if isinstance(stmt, Let)]
    arrays = [fold.array for fold in folds] + [store.array for store in stores]
    reads = _reads(lanes)
    axes = [*(loop.var for loop in loops), lanes.var]
    return (
        bool(folds)
        and len(folds) + len(named) + len(stores) == len(lanes.body)
        and len(set(arrays)) == len(arrays)
        and all(fold.index is lanes.var for fold in folds)
        and all(store.guard is None and is_injective(store.index, axes) for store in stores)
        and not {read.array for read in reads} & {fold.array for fold in folds}
        and all(read.index is store.index for store in stores for read in reads if read.array is store.array)
    )


def _reads(lanes: For) -> list[Load]:
    return [part for stmt in lanes.body for root in expressions(stmt) for part in below(root) if isinstance(part, Load)]


def _interleaved(rows: list[Var], lanes: For, parts: int, width: int) -> list[Stmt]:
    columns, extents = lanes.var.extent, tuple(var.extent for var in rows)
    across = columns // width
    group, number, lane = Var("group", parts * across), Var("number", -(-prod(extents) // parts)), Var("lane", width)
    row = number * parts + group // across
    names: dict[Var | Temp, Index] = {lanes.var: (group % across) * width + lane}
    names.update(zip(rows, unravel(row, extents), strict=True))
    moved = Renamed(names)
    before: list[Stmt] = []
    start: list[Stmt] = []
    inner: list[Stmt] = []
    end: list[Stmt] = []
    gathered: list[Stmt] = []
    for stmt in lanes.body:
        if not isinstance(stmt, Accumulate):
            inner.append(moved.stmt(stmt))
            continue
        array, word = stmt.array, stmt.combine
        one = Array(f"{array.name}_one", array.dtype, width)
        part = Array(f"{array.name}_parts", array.dtype, parts * columns)
        before.append(Local(part))
        start += [Local(one), _over(lane, Store(one, lane, const(COMBINES[word](array.dtype), array.dtype)))]
        inner.append(Accumulate(one, lane, word, moved.expr(stmt.value)))
        end.append(_over(lane, Store(part, group * width + lane, load(one, lane)), PACKET))
        gathered += _gather(array, part, parts, columns, word)
    inside = all_of(row < prod(extents))
    packet: tuple[Stmt, ...] = (For(lane, tuple(inner), PACKET),)
    body = packet if inside is None else (If(inside, packet),)
    each = For(group, (*start, For(number, body, SERIAL), *end), VECTOR)
    return [*before, each, *gathered]


def _gather(array: Array, part: Array, parts: int, columns: int, word: str) -> list[Stmt]:
    """Fold partial results [parts, columns] into the array, FAN at a time."""
    result: list[Stmt] = []
    while parts > FAN:
        left = parts // FAN
        less = Array(f"{array.name}_parts", array.dtype, left * columns)
        place, number = Var("place", left * columns), Var("part", FAN)
        one = Array(f"{array.name}_one", array.dtype, 1)
        fold = Accumulate(one, _ZERO, word, load(part, number * (left * columns) + place))
        neutral = Store(one, _ZERO, const(COMBINES[word](array.dtype), array.dtype))
        body = (Local(one), neutral, For(number, (fold,), UNROLLED), Store(less, place, load(one, 0)))
        result += [Local(less), For(place, body, VECTOR)]
        part, parts = less, left
    column, number = Var("v", columns), Var("part", parts)
    fold = Accumulate(array, column, word, load(part, number * columns + column))
    return [*result, For(column, (For(number, (fold,), UNROLLED),), VECTOR)]


def _over(lane: Var, stmt: Stmt, kind: str = UNROLLED) -> Stmt:
    return For(lane, (stmt,), kind)
