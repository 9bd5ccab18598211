"""What tiles fetch of the rows that the next ones read: all lines, where several share rows with gaps or overlaps."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from native import check_native

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.nests import Fetch, together
from graphc.codegen.llvm.rows import next_rows
from graphc.codegen.target import named
from graphc.dtype import float32, int64
from graphc.ir.expr import Array, Expr, Index, Var, as_index, const, linear, load, temp
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, Accumulate, For, Kernel, Let, Local, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed

TARGET = named("x86-64-v4")
LANES, ROWS, LINE, TAPS, TILES = 32, 7, 16, 3, 2
At = dict[str, int]


def window(stride: int, steps: int, columns: int, inside: bool = False, count: int = 0) -> tuple[Kernel, Array, Index, For]:
    """y[line, pixel, column, v] = sum over ky, kx, k of x[2 line + ky, stride pixel + kx, k] * w[column, ky, kx, k, v], in two
    tiles of seven pixels for each line; columns are tasks, or visited `inside` of each. And what is read of x."""
    width = (ROWS * TILES * stride + TAPS) * steps
    lines = count or TARGET.l2_bytes // (2 * width * 4) + 2
    task, g = Var("t", lines * TILES * (1 if inside else columns)), Var("g", columns)
    values = (task // columns // TILES, task // columns % TILES, task % columns)
    if inside:
        g, values = Var("g", TILES * columns), (as_index(task // TILES), as_index(task % TILES), as_index(0))
    names = [temp(f"part{n}", int64, (0, task.extent)) for n in range(3)]
    line, tile, column = map(as_index, names)
    if inside:
        column = as_index(g)
    x = Array("x", float32, (2 * lines + TAPS) * width)
    w = Array("w", float32, (g.extent if inside else columns) * TAPS * TAPS * steps * LANES)
    y, acc = Array("y", float32, lines * TILES * ROWS * g.extent * LANES), Array("acc", float32, ROWS * LANES)
    ky, kx, k, i, v = Var("ky", TAPS), Var("kx", TAPS), Var("k", steps), Var("i", ROWS), Var("v", LANES)
    read = (line * 2 + ky) * width + ((tile * ROWS + i) * stride + kx) * steps + k

    def over_rows(stmt: Stmt) -> For:
        return For(i, (For(v, (stmt,), VECTOR, 16),), UNROLLED)

    cell = i * LANES + v
    panel = ((column * TAPS + ky) * TAPS + kx) * (steps * LANES) + k * LANES + v
    inner = For(k, (over_rows(Accumulate(acc, cell, "add", load(x, read) * load(w, panel))),), SERIAL)
    store = Store(y, ((line * TILES + tile) * g.extent + column) * (ROWS * LANES) + cell, load(acc, cell))
    zeros, nest = over_rows(Store(acc, cell, const(0, float32))), For(ky, (For(kx, (inner,), SERIAL),), SERIAL)
    body: tuple[Stmt, ...] = (Local(acc), zeros, nest, over_rows(store))
    if inside:
        body = (For(g, body, SERIAL),)
    lets = [Let(name, value) for name, value in zip(names, values, strict=True)]
    return Kernel("window", (x, w, y), task, (*lets, *body)), x, read, inner


def value(kernel: Kernel, index: Index, at: At) -> int:
    """The index where variables have these values."""
    lets = {let.temp: let.value for let in kernel.body if isinstance(let, Let)}
    parts = {name: as_index(part) for name, part in lets.items()}
    numbers: dict[Expr, Index] = {var: as_index(at.get(var.name, 0)) for var in _variables(index, *parts.values())}
    named_parts = {name: Renamed(numbers).index(part) for name, part in parts.items()}
    return linear(Renamed({**numbers, **named_parts}).index(index))[1]


def _variables(*indices: Index) -> set[Var]:
    found: set[Var] = set()

    class Names(Renamed):
        def name(self, expr: Expr) -> Expr:
            found.update([expr] if isinstance(expr, Var) else [])
            return expr

    for index in indices:
        Names({}).index(index)
    return found


def fetched(kernel: Kernel, fetch: Fetch, inner: For, outer: list[At]) -> set[int]:
    """The lines that blocks of steps fetch, in some tasks and rounds of outer loops."""
    blocks = range(0, inner.var.extent, together(inner))
    over = product(*([(var.name, n) for n in range(0, var.extent, step)] for var, step in fetch.over))
    parts = list(map(dict, over))
    return {
        value(kernel, fetch.index, at | {"ky": ky, "kx": kx, "k": k} | part) // LINE
        for at in outer
        for ky, kx, k, part in product(range(TAPS), range(TAPS), blocks, parts)
    }


def lines_read(kernel: Kernel, read: Index, steps: int, at: At) -> set[int]:
    around = product(range(TAPS), range(TAPS), range(ROWS), range(steps))
    return {value(kernel, read, at | {"ky": ky, "kx": kx, "i": i, "k": k}) // LINE for ky, kx, i, k in around}


@pytest.mark.parametrize("inside", [False, True], ids=["tasks", "group"])
@pytest.mark.parametrize("stride, steps", [(1, 32), (2, 48), (4, 32)])
def test_tiles_fetch_all_that_the_next_one_reads(stride: int, steps: int, inside: bool) -> None:
    columns = 3
    kernel, x, read, inner = window(stride, steps, columns, inside)
    found = next_rows(kernel, TARGET, {})
    if inside:  # tasks follow one another, and each visits all columns
        rounds: list[At] = [{"t": 9, "g": n} for n in range(TILES * columns)]
        after: At = {"t": 10}
    else:
        rounds, after = [{"t": 9 * columns + n} for n in range(columns)], {"t": 10 * columns}
    (fetch,) = found[inner]
    assert fetch.array is x
    lines, wanted = fetched(kernel, fetch, inner, rounds), lines_read(kernel, read, steps, after)
    assert lines >= wanted
    assert stride > TAPS or len(lines) <= 1.2 * len(wanted) + TAPS  # and little else


def test_a_loop_that_fetches_already_is_left_alone() -> None:
    kernel, x, read, inner = window(2, 48, 3)
    assert next_rows(kernel, TARGET, {inner: [Fetch(x, read)]}) == {}


def test_what_stays_in_the_second_cache_is_left_alone() -> None:
    assert next_rows(window(2, 48, 3, count=4)[0], TARGET, {}) == {}


def test_fetching_in_blocks_changes_no_number() -> None:
    kernel, *_ = window(2, 48, 2)
    assert "i32 immarg 2" in emit_kernel(kernel, "window", TARGET).text
    data = [np.random.default_rng(0).standard_normal(a.size).astype(np.float32) for a in kernel.params[:2]]
    check_native([kernel], [[*data, np.zeros(kernel.params[2].size, np.float32)]], tolerance=1e-4)
