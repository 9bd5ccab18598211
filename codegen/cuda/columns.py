"""Folds down columns: more threads than columns.

    for r < R: for v < V vector: acc[v] combine= x(r, v)
    ->
    for u < S * V vector: one = neutral; for n < R / S: one combine= x(n S + u // V, u % V); part[u] = one
    for v < V vector: for s < S: acc[v] combine= part[s V + v]

In: a kernel. Out: the kernel with its folds down columns in S interleaved parts where that gives a GPU more to do; the
identical object elsewhere. The order of the folds depends on shapes alone.
"""

from __future__ import annotations

from math import prod

from graphc.ir.expr import Array, Index, Temp, Var, all_of, as_index, const, load, unravel
from graphc.ir.kernel import COMBINES, SERIAL, UNROLLED, VECTOR, Accumulate, For, If, Kernel, Let, Local, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed

from .target import Gpu

_ZERO = as_index(0)
TOGETHER = 4  # neighbouring columns that a thread takes where they make 16 bytes
ENOUGH = 1024  # threads on each multiprocessor, from which there is enough to do


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
    if lanes is None or not _folds(lanes):
        return [nest]
    columns, rows = lanes.var.extent, prod(loop.var.extent for loop in loops)
    parts = 1
    while 2 * parts * columns <= gpu.team * TOGETHER and 2 * parts <= rows:
        parts *= 2
    if parts == 1 or kernel.task.extent * columns > ENOUGH * gpu.processors:
        return [nest]
    return _interleaved([loop.var for loop in loops], lanes, parts)


def _loops(nest: For) -> tuple[list[For], For | None]:
    """The loops over rows, and the loop over columns inside of them."""
    loops: list[For] = []
    stmt: Stmt = nest
    while isinstance(stmt, For) and stmt.kind == SERIAL and len(stmt.body) == 1:
        loops.append(stmt)
        stmt = stmt.body[0]
    return loops, stmt if loops and isinstance(stmt, For) and stmt.kind == VECTOR else None


def _folds(lanes: For) -> bool:
    """Whether a column does nothing but fold into its own cells, each array once."""
    folds = [stmt for stmt in lanes.body if isinstance(stmt, Accumulate)]
    named = [stmt for stmt in lanes.body if isinstance(stmt, Let)]
    own = all(fold.index is lanes.var for fold in folds)
    return own and len(folds) + len(named) == len(lanes.body) and len({fold.array for fold in folds}) == len(folds) > 0


def _interleaved(rows: list[Var], lanes: For, parts: int) -> list[Stmt]:
    columns, extents = lanes.var.extent, tuple(var.extent for var in rows)
    cell, number = Var("cell", parts * columns), Var("number", -(-prod(extents) // parts))
    row = number * parts + cell // columns
    names: dict[Var | Temp, Index] = {lanes.var: cell % columns}
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
        one = Array(f"{array.name}_one", array.dtype, 1)
        part = Array(f"{array.name}_parts", array.dtype, parts * columns)
        number_of = Var("part", parts)
        before.append(Local(part))
        start += [Local(one), Store(one, _ZERO, const(COMBINES[word](array.dtype), array.dtype))]
        inner.append(Accumulate(one, _ZERO, word, moved.expr(stmt.value)))
        end.append(Store(part, cell, load(one, 0)))
        fold = Accumulate(array, lanes.var, word, load(part, number_of * columns + lanes.var))
        gathered.append(For(number_of, (fold,), UNROLLED))
    inside = all_of(row < prod(extents))
    body = tuple(inner) if inside is None else (If(inside, tuple(inner)),)
    each = For(cell, (*start, For(number, body, SERIAL), *end), VECTOR)
    return [*before, each, For(lanes.var, tuple(gathered), VECTOR)]
