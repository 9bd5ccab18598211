"""Guards that stay the same in inner loops choose before these what is read in them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from native import check_native

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.expressions import MOST_ZEROS
from graphc.codegen.target import host
from graphc.dtype import float32, int64
from graphc.ir.expr import Array, Expr, Index, Var, all_of, as_index, call, const, load, temp
from graphc.ir.kernel import UNROLLED, VECTOR, Accumulate, For, Kernel, Let, Stmt

ROWS, COLUMNS = 4, 9
TASK, ROW, K, C, PART = Var("t", 2), Var("i", ROWS), Var("k", 3), Var("c", COLUMNS), Var("p", 3)
AT = TASK * ROWS + ROW + K - 1  # of the rows of x, of which none is before the first
X = Array("x", float32, (2 * ROWS + 2) * COLUMNS)


def sums(guard: Expr, *lets: Stmt, columns: int = COLUMNS, kind: str = UNROLLED) -> Kernel:
    """y[t, i, c] += the sum over k of x[t + i + k - 1, c], under a guard; rows or columns are innermost."""
    x = X if columns == COLUMNS else Array("x", float32, (2 * ROWS + 2) * columns)
    y, c = Array("y", float32, 2 * ROWS * columns), C if columns == COLUMNS else Var("c", columns)
    fold = Accumulate(y, (TASK * ROWS + ROW) * columns + c, "add", load(x, AT * columns + c, guard))
    inner = (
        For(c, (For(ROW, (*lets, fold), UNROLLED),)) if kind == UNROLLED else For(ROW, (For(c, (fold,), VECTOR, 4),), UNROLLED)
    )
    return Kernel("sums", (x, y), TASK, (For(K, (inner,)),))


def chosen_inside(kernel: Kernel) -> bool:
    """Whether the loop over columns chooses what it reads; it computes what the interpreter does in any case."""
    data = np.random.default_rng(0).standard_normal
    check_native([kernel], [[data(a.size).astype(np.float32) for a in kernel.params]])
    text = emit_kernel(kernel, "sums", host()).text
    assert "@graphc.zeros" in text
    return any("@graphc.zeros" in body for _, body in re.findall(r"(?s)\nloop\.(c\.\d+):(.*?)\nloop\.\1\.latch:", text))


@pytest.mark.parametrize("kind", (UNROLLED, VECTOR))
def test_a_run_is_chosen_before_the_loop(kind: str) -> None:
    assert not chosen_inside(sums(all_of(AT >= 0), columns=40, kind=kind))


def test_names_from_outside_are_known_before_the_loop() -> None:
    first = temp("first", int64, (0, 2 * ROWS))
    kernel = sums(all_of(as_index(first) + ROW + K - 1 >= 0))
    assert not chosen_inside(Kernel("sums", kernel.params, TASK, (Let(first, TASK * ROWS), *kernel.body)))


def test_zeros_are_not_longer_than_that() -> None:
    most = MOST_ZEROS // 4
    assert not chosen_inside(sums(all_of(AT >= 0), columns=most))
    assert chosen_inside(sums(all_of(AT >= 0), columns=most + 1))


def test_loops_that_go_too_far_for_zeros_stay_outside() -> None:
    far, part = MOST_ZEROS // 4, Var("p", 2)
    x, y = Array("x", float32, far + X.size), Array("y", float32, 2 * ROWS * COLUMNS)
    read = load(x, part * far + AT * COLUMNS + C, all_of(AT >= 0))
    fold = Accumulate(y, (TASK * ROWS + ROW) * COLUMNS + C, "add", read)
    rows = For(C, (For(ROW, (fold,), UNROLLED),))
    assert not chosen_inside(Kernel("sums", (x, y), TASK, (For(K, (For(part, (rows,)),)),)))


@pytest.mark.parametrize("step", [PART * -1, PART // 2, PART % 2], ids=["back", "divided", "in turns"])
def test_so_do_loops_that_do_not_simply_walk_on(step: Index) -> None:
    x, y = Array("x", float32, X.size + 2 * COLUMNS), Array("y", float32, 2 * ROWS * COLUMNS)
    read = load(x, (AT + 2 + step) * COLUMNS + C, all_of(AT >= 0))
    fold = Accumulate(y, (TASK * ROWS + ROW) * COLUMNS + C, "add", read)
    rows = For(C, (For(ROW, (fold,), UNROLLED),))
    assert not chosen_inside(Kernel("sums", (x, y), TASK, (For(K, (For(PART, (rows,)),)),)))


INSIDE = temp("inside", int64, (0, 2 * ROWS))


@pytest.mark.parametrize(
    "kernel",
    [
        sums(all_of(AT >= 0, AT + C < 11)),
        sums(all_of(as_index(INSIDE) + ROW + K - 1 >= 0), Let(INSIDE, TASK * ROWS)),
        sums(all_of(AT >= 0, call("lt", load(X, TASK), const(0.5, float32)))),
    ],
    ids=["knows the column", "named inside", "data"],
)
def test_other_guards_are_asked_inside(kernel: Kernel) -> None:
    assert chosen_inside(kernel)
