"""Guards inside loops: cut away where they are decided, asked once where they are shared, and left alone elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.codegen.peel import peel
from graphc.dtype import float32, int64
from graphc.interp.kernel import run_kernel
from graphc.ir.expr import Array, Call, Expr, Index, Load, Var, all_of, const, load, select
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, Accumulate, For, If, Kernel, Stmt, Store, evaluated, walk
from graphc.ir.kernel_verify import verify_kernel

X, Y, N = Array("x", float32, 44), Array("y", float32, 160), Array("n", int64, 4)
TASK, K, ROW, V = Var("t", 4), Var("k", 3), Var("i", 5), Var("v", 8)


def rows(guard: Expr | None, *more: Stmt) -> Kernel:
    """y[t, i, v] += the sum over k of x[4 (t + i + k) + v], each term under a guard."""
    at = (TASK + ROW + K) * 4 + V
    fold = Accumulate(Y, (TASK * 5 + ROW) * 8 + V, "add", load(X, at, guard))
    nest = For(K, (For(ROW, (For(V, (fold,), VECTOR, 8), *more), UNROLLED),), SERIAL)
    return Kernel("rows", (X, Y, N), TASK, (nest,))


def inside(place: Index, size: int) -> Expr | None:
    return all_of(place >= 0, place < size)


def guards(kernel: Kernel) -> list[Expr | None]:
    return [expr.guard for expr in evaluated(*walk(kernel.body)) if isinstance(expr, Load) and expr.array is X]


def checked(kernel: Kernel) -> Kernel:
    """The kernel with fewer guards, which computes the same bits."""
    peeled = peel(kernel)
    verify_kernel(peeled)
    before = [np.arange(1, 45, dtype=np.float32), np.zeros(160, np.float32), np.arange(4) % 3]
    after = [array.copy() for array in before]
    run_kernel(kernel, before)
    run_kernel(peeled, after)
    assert before[1].any() and np.array_equal(before[1], after[1])
    return peeled


def test_an_unrolled_loop_is_cut_where_its_guard_turns() -> None:
    """0 <= i + k - 1 < 5 with k < 3: of i < 5 the first asks, and the last."""
    peeled = checked(rows(inside(ROW + K - 1, 5)))
    (loop,) = peeled.body
    assert isinstance(loop, For) and loop.kind == SERIAL
    parts = [stmt for stmt in loop.body if isinstance(stmt, For)]
    assert [(part.kind, part.var.extent) for part in parts] == [(UNROLLED, 1), (UNROLLED, 3), (UNROLLED, 1)]
    assert guards(peeled) == [K - 1 >= 0, None, K + 3 < 5]


def test_what_is_decided_in_every_part_needs_no_test() -> None:
    peeled = checked(rows(inside(ROW - 2, 2)))
    assert guards(peeled) == [None]
    assert [part.var.extent for part in peeled.body[0].body] == [2, 2, 1]


def test_a_guard_of_all_that_is_read_is_asked_once() -> None:
    (loop,) = checked(rows(inside(TASK + K - 1, 4))).body
    assert isinstance(loop, For) and loop.var is K
    (question,) = loop.body
    assert isinstance(question, If) and question.condition is inside(TASK + K - 1, 4)
    assert not any(isinstance(expr, Load) and expr.guard is not None for expr in evaluated(*walk(loop.body)))
    assert not any(isinstance(expr, Load) for expr in evaluated(*walk(question.orelse)))


def test_it_is_asked_as_far_out_as_it_is_known() -> None:
    (question,) = checked(rows(TASK < 3)).body
    assert isinstance(question, If)
    assert [stmt.var for stmt in (*question.then, *question.orelse) if isinstance(stmt, For)] == [K, K]


def test_a_part_of_a_guard_can_be_shared() -> None:
    peeled = checked(rows(all_of(TASK + K - 1 >= 0, ROW + K - 1 >= 0)))
    assert guards(peeled) == [K - 1 >= 0, None]
    assert isinstance(peeled.body[0].body[0], If)


def questions(*conditions: Expr | None) -> Kernel:
    """y[t, i, v] += the sum over k of x[4 (t + i + k) + v], where conditions hold."""
    fold = Accumulate(Y, (TASK * 5 + ROW) * 8 + V, "add", load(X, (TASK + ROW + K) * 4 + V))
    body: tuple[Stmt, ...] = (For(V, (fold,), VECTOR, 8),)
    for var, kind, condition in zip((ROW, K), (UNROLLED, SERIAL), conditions, strict=True):
        body = (For(var, body if condition is None else (If(condition, body),), kind),)
    return Kernel("questions", (X, Y, N), TASK, body)


def test_loops_are_cut_where_they_answer_what_is_asked_inside() -> None:
    """0 <= i + k - 1 < 5 with k < 3: all but the first, all, all but the last."""
    peeled = checked(questions(inside(ROW + K - 1, 5), None))
    assert all(isinstance(stmt, For) for stmt in walk(peeled.body) if not isinstance(stmt, Accumulate))
    parts = [(loop.var.extent, *(rows.var.extent for rows in loop.body)) for loop in peeled.body]
    assert parts == [(1, 4), (1, 5), (1, 4)]


def test_nothing_is_left_of_what_is_never_done() -> None:
    assert [loop.var.extent for loop in checked(questions(None, K >= 2)).body] == [1]
    assert [loop.var.extent for loop in checked(questions(ROW >= 8 - 2 * K, None)).body] == [1]


def test_what_a_loop_does_not_decide_stays_a_question() -> None:
    for kernel in (questions(None, TASK + K >= 2), questions(None, TASK < 2)):
        asked = [stmt.condition for stmt in walk(checked(kernel).body) if isinstance(stmt, If)]
        assert asked == [stmt.condition for stmt in walk(kernel.body) if isinstance(stmt, If)]


@pytest.mark.parametrize(
    "kernel",
    [
        rows(None),
        rows(V < 5),
        rows(load(N, TASK) < const(2, int64)),
        rows(TASK + K < 4, For(V, (Store(Y, V + 60, load(X, V)),), VECTOR, 8)),
        rows(((ROW + TASK) % 3).equals(0)),
    ],
    ids=["no guard", "lanes differ", "data", "others read too", "holes"],
)
def test_other_guards_are_left_alone(kernel: Kernel) -> None:
    assert peel(kernel) is kernel


def test_loops_of_lanes_are_not_cut() -> None:
    fold = Accumulate(Y, V, "add", load(X, V + ROW, inside(ROW - 1, 3)))
    kernel = Kernel("k", (X, Y, N), TASK, (For(V, (For(ROW, (fold,), UNROLLED),), VECTOR, 8),))
    assert peel(kernel) is kernel


def joined(condition: Expr, *more: Stmt) -> Kernel:
    """y[t, v] = x[8 t + v] where two conditions hold, x[8 t + 1 + v] where the first one does, else x[v]."""
    at, second = TASK * 8 + V, TASK < 3
    near = select(second, load(X, at, second), load(X, at + 1, TASK >= 3))
    value = select(condition, near, load(X, V))
    return Kernel("joined", (X, Y, N), TASK, (For(V, (Store(Y, at, value), *more), VECTOR, 8),))


def choices(kernel: Kernel) -> int:
    return sum(isinstance(expr, Call) and expr.word == "select" for expr in evaluated(*walk(kernel.body)))


def test_what_chooses_between_rows_is_asked_before_a_loop_of_lanes() -> None:
    """1 <= t, then t < 3, which says that t >= 3 fails, too."""
    kernel = joined(TASK >= 1)
    peeled = checked(kernel)
    assert choices(kernel) == 2 and choices(peeled) == 0 and guards(peeled).count(None) == len(guards(peeled)) == 3
    (question,) = peeled.body
    assert isinstance(question, If) and question.condition is (TASK >= 1)


def test_few_choices_are_made_before_a_loop() -> None:
    """Of four conditions, none of which follows from others, the last one is left to lanes."""
    value: Expr = load(X, V)
    for row in range(4):
        value = select(((TASK + row) % 4).equals(0), load(X, V + row + 1), value)
    kernel = Kernel("rows", (X, Y, N), TASK, (For(V, (Store(Y, TASK * 8 + V, value),), VECTOR, 8),))
    questions = [stmt for stmt in walk(checked(kernel).body) if isinstance(stmt, If)]
    assert choices(kernel) == 4 and choices(peel(kernel)) == 1 and len(questions) == 3


@pytest.mark.parametrize(
    ("kernel", "asked"),
    [
        (joined(load(N, TASK) < const(2, int64)), {TASK < 3}),
        (joined(V < 5), {TASK < 3}),
        (joined(TASK >= 1, Accumulate(Y, TASK + 100, "add", load(X, V))), set()),
        (Kernel("k", (X, Y, N), TASK, (For(V, (Store(Y, V, select(TASK < 2, load(X, V), 0)),), VECTOR, 8),)), set()),
    ],
    ids=["data", "lanes differ", "sums", "one side reads"],
)
def test_other_choices_are_left_to_lanes(kernel: Kernel, asked: set[Expr]) -> None:
    assert {stmt.condition for stmt in walk(peel(kernel).body) if isinstance(stmt, If)} == asked
