"""What a register tile fetches before its steps: the lines that its epilogue reads, and nothing where that cannot pay."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from native import check_native

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.epilogues import epilogue_rows
from graphc.codegen.llvm.nests import Fetch
from graphc.codegen.target import named
from graphc.dtype import float32, int64
from graphc.ir.expr import Array, Expr, Index, Var, as_index, call, cast, const, linear, load, temp
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, Accumulate, For, Kernel, Let, Local, Stmt, Store

TARGET = named("x86-64-v4")
ROWS, LANES, PITCH = 3, 40, 20011
TILES = TARGET.l2_bytes // (PITCH * ROWS * 4) + 1  # so that old and new values do not fit the second cache


def tile(steps: int, tiles: int = TILES, taps: int = 1, late: bool = False) -> tuple[Kernel, For]:
    """new[r, v] = old[r, v] + bias[v] + sum over steps of x[k] * w[v], for rows of a pitch, `tiles` times; `late`: old is
    read at a place that the epilogue computes."""
    task, tap, k, i, v = Var("t", tiles), Var("tap", taps), Var("k", steps), Var("i", ROWS), Var("v", LANES)
    x, w, bias = Array("x", float32, taps * steps), Array("w", float32, LANES), Array("bias", float32, LANES)
    old, new = (Array(name, float32, tiles * ROWS * PITCH + LANES) for name in ("old", "new"))
    acc, cell = Array("acc", float32, ROWS * LANES), i * LANES + v

    def over(stmt: Stmt) -> For:
        return For(i, (For(v, (stmt,), VECTOR, 16),), UNROLLED)

    place: Index = (task * ROWS + i) * PITCH + v
    name = temp("at", int64, (0, old.size - 1))
    lets: tuple[Stmt, ...] = (Let(name, call("min", cast(place, int64), const(old.size - 1, int64))),) if late else ()
    nest = For(k, (over(Accumulate(acc, cell, "add", load(x, tap * steps + k) * load(w, as_index(v)))),), SERIAL)
    nest = For(tap, (nest,), SERIAL) if taps > 1 else nest
    result = load(old, as_index(name) if late else place) + load(bias, as_index(v)) + load(acc, cell)
    end = For(i, (For(v, (*lets, Store(new, place, result)), VECTOR, 16),), UNROLLED)
    return Kernel(
        "tile", (x, w, bias, old, new), task, (Local(acc), over(Store(acc, cell, const(0, float32))), nest, end)
    ), nest


def places(rows: Fetch, task: Expr) -> set[int]:
    """The elements at which lines are fetched, for task 0."""
    terms, constant = linear(rows.index)
    assert set(terms) == {task, *(var for var, _ in rows.over)}
    spans = [range(0, var.extent, step) for var, step in rows.over]
    return {constant + sum(terms[var] * n for (var, _), n in zip(rows.over, at, strict=True)) for at in product(*spans)}


@pytest.mark.parametrize("taps", [1, 4])
def test_all_lines_of_the_rows_are_fetched_before_the_first_step(taps: int) -> None:
    kernel, nest = tile(steps=9, taps=taps)
    ((loop, (rows,)),) = epilogue_rows(kernel, TARGET).items()
    assert loop is nest and rows.array.name == "old"  # no line of the small bias, none of what is only written
    assert places(rows, kernel.task) == {i * PITCH + v for i in range(ROWS) for v in (0, 16, 32)}
    assert rows.count == 9


def test_tiles_of_few_steps_fetch_nothing() -> None:
    assert not epilogue_rows(tile(steps=8)[0], TARGET)


def test_kernels_that_stay_in_the_second_cache_fetch_nothing() -> None:
    assert not epilogue_rows(tile(steps=99, tiles=TILES // 2)[0], TARGET)


def test_what_the_epilogue_has_to_find_out_first_is_not_fetched() -> None:
    assert not epilogue_rows(tile(steps=99, late=True)[0], TARGET)


def test_fetching_changes_no_number() -> None:
    kernel, _ = tile(steps=9, taps=2)
    text = emit_kernel(kernel, "tile", TARGET).text
    assert text.count("call void @llvm.prefetch") == 9 + 3  # each of three steps at once fetches a line of results, too
    data = [np.random.default_rng(0).standard_normal(array.size).astype(np.float32) for array in kernel.params]
    check_native([kernel], [data], tolerance=1e-4)
