"""What loops fetch ahead: large params, once, in the pass that computes most."""

from __future__ import annotations

import numpy as np
import pytest
from native import check_native

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.nests import at_once
from graphc.codegen.llvm.streams import AHEAD, STEPS_AHEAD, streams
from graphc.codegen.target import host, named
from graphc.dtype import float32
from graphc.ir.expr import Array, Var, as_index, call, const, load
from graphc.ir.kernel import UNROLLED, VECTOR, Accumulate, For, If, Kernel, Local, Stmt, Store

TARGET = named("x86-64-v4")
LARGE = TARGET.l2_bytes // 4 + 16  # elements
ROW = 64
ZERO = as_index(0)


def rows(size: int, row: int = ROW) -> tuple[Kernel, list[For]]:
    """y[t, v] = x[t, v] * x[t, v] + (sum of row t): two passes, of which the second computes more, and stores."""
    x, y, total = Array("x", float32, size), Array("y", float32, size), Array("sum", float32, 1)
    task, lane = Var("t", size // row), Var("v", row)
    at = task * row + lane
    first = For(lane, (Accumulate(total, ZERO, "add", load(x, at)),), VECTOR, 32)
    second = For(lane, (Store(y, at, call("fma", load(x, at), load(x, at), load(total, ZERO))),), VECTOR, 32)
    start: tuple[Stmt, ...] = (Local(total), Store(total, ZERO, const(0, float32)))
    return Kernel("rows", (x, y), task, (*start, first, second)), [first, second]


def test_a_pass_that_stores_nothing_fetches_the_next_row() -> None:
    kernel, (first, second) = rows(LARGE)
    x, y = kernel.params
    assert streams(kernel, TARGET) == {first: {x: ROW * 4}, second: {y: AHEAD}}


def test_the_pass_that_computes_most_fetches_the_next_row() -> None:
    """Of those that store nothing, or else of all."""
    kernel, (first, second) = rows(LARGE)
    (x, y), (total, *_) = kernel.params, (stmt.array for stmt in kernel.body if isinstance(stmt, Local))
    square = load(x, kernel.task * ROW + first.var) * load(x, kernel.task * ROW + first.var)
    more = For(first.var, (Accumulate(total, ZERO, "add", square),), VECTOR, 32)
    kernel = Kernel("k", kernel.params, kernel.task, (*kernel.body[:3], more, second))
    assert streams(kernel, TARGET) == {more: {x: ROW * 4}, second: {y: AHEAD}}
    before = For(first.var, (Store(y, kernel.task * ROW + first.var, load(x, kernel.task * ROW + first.var)),), VECTOR, 32)
    kernel = Kernel("k", kernel.params, kernel.task, (*kernel.body[:2], before, second))
    assert streams(kernel, TARGET) == {second: dict.fromkeys((x, y), ROW * 4)}


def test_rows_beyond_the_first_cache_are_fetched_as_they_come() -> None:
    kernel, (first, second) = rows(LARGE, TARGET.l1_bytes)
    x, y = kernel.params
    assert streams(kernel, TARGET) == {first: {x: AHEAD}, second: {y: AHEAD}}


def test_what_fits_the_second_cache_is_left_alone() -> None:
    assert streams(rows(TARGET.l2_bytes // 4)[0], TARGET) == {}


def test_loops_inside_loops_are_left_alone() -> None:
    kernel, (_, second) = rows(LARGE)
    inside = Kernel("k", kernel.params, kernel.task, (*kernel.body[:2], For(Var("r", 2), (second,))))
    around = For(Var("w", 16), (For(Var("r", 2), (Store(kernel.params[1], ZERO, load(kernel.params[0], ZERO)),)),), VECTOR, 16)
    assert streams(inside, TARGET) == streams(Kernel("k", kernel.params, kernel.task, (around,)), TARGET) == {}


def test_a_step_of_a_register_tile_fetches_once_for_all_rows() -> None:
    """y[i, v] = sum over k of x[k] * panel[k, v]: lines of the panel, once for the three rows."""
    steps, rows_, lanes = LARGE // 32 + 1, 3, 32
    x, panel, y = Array("x", float32, steps), Array("panel", float32, steps * lanes), Array("y", float32, rows_ * lanes)
    acc = Array("acc", float32, rows_ * lanes)
    k, i, v = Var("k", steps), Var("i", rows_), Var("v", lanes)
    cell = i * lanes + v
    product = For(v, (Accumulate(acc, cell, "add", load(x, k) * load(panel, k * lanes + v)),), VECTOR, 16)

    def over_rows(stmt: Stmt) -> For:
        return For(i, (For(v, (stmt,), VECTOR, 16),), UNROLLED)

    zero, store = over_rows(Store(acc, cell, const(0, float32))), over_rows(Store(y, cell, load(acc, cell)))
    nest = For(k, (For(i, (product,), UNROLLED),))
    kernel = Kernel("tile", (x, panel, y), Var("t", 1), (Local(acc), zero, nest, store))
    assert streams(kernel, TARGET) == {product: {panel: STEPS_AHEAD}}
    assert emit_kernel(kernel, "tile", TARGET).text.count("call void @llvm.prefetch") == lanes // 16 * at_once(nest, steps)
    data = [np.random.default_rng(0).standard_normal(a.size).astype(np.float32) for a in (x, panel)]
    check_native([kernel], [[*data, np.zeros(y.size, np.float32)]], tolerance=1e-4)


def test_the_largest_part_of_a_step_that_is_cut_fetches() -> None:
    """The same in two parts, of one row and of two; beside other statements it is no step."""
    steps, lanes = LARGE // 32 + 1, 32
    x, panel, y = Array("x", float32, steps), Array("panel", float32, steps * lanes), Array("y", float32, 3 * lanes)
    k, v = Var("k", steps), Var("v", lanes)

    def part(first: int, rows: int) -> tuple[For, For]:
        i = Var("i", rows)
        fold = Accumulate(y, (i + first) * lanes + v, "add", load(x, k) * load(panel, k * lanes + v))
        step = For(v, (fold,), VECTOR, 16)
        return For(i, (step,), UNROLLED), step

    (small, _), (large, step), other = part(0, 1), part(1, 2), Store(y, ZERO, const(0, float32))
    for body, expected in (((small, large), {step: {panel: STEPS_AHEAD}}), ((small, large, other), {})):
        assert streams(Kernel("tile", (x, panel, y), Var("t", 1), (For(k, body),)), TARGET) == expected


def test_each_way_through_a_condition_fetches() -> None:
    kernel, (first, second) = rows(LARGE)
    branch = If(kernel.task < 3, (second,), (second,))
    assert set(streams(Kernel("k", kernel.params, kernel.task, (*kernel.body[:3], branch)), TARGET)) == {second, first}


@pytest.mark.parametrize("spec", ["x86-64-v4", "x86-64-v3", "aarch64"])
def test_each_line_is_fetched_once(spec: str) -> None:
    kernel, _ = rows(LARGE)
    text = emit_kernel(kernel, "k", named(spec)).text
    assert text.count("@llvm.prefetch") == 8  # rows of four lines, of x and of y
    assert text.count("immarg 0, i32 immarg 3") == text.count("immarg 1, i32 immarg 3") == 4


def test_nothing_beyond_the_end_is_touched() -> None:
    kernel, _ = rows(host().l2_bytes // 4 + ROW)
    x = np.ones(kernel.params[0].size, np.float32)
    check_native([kernel], [[x, np.zeros_like(x)]])
