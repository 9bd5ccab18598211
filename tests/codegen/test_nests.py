"""Where register tiles are found in a kernel, and what stands around and behind their sums."""

from __future__ import annotations

import re

import pytest

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.nests import at_once, nests
from graphc.codegen.target import named
from graphc.dtype import float32
from graphc.ir.expr import Array, Var, as_index, const, load
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, Accumulate, For, If, Kernel, Stmt, Store

X, ACC = Array("x", float32, 64), Array("acc", float32, 32)
SET = Store(ACC, as_index(0), const(0.0, float32))


def step(rows: int, of: type = Accumulate) -> For:
    """What one step of a tile does to some of its rows; of stores where it adds nothing up."""
    row, lane = Var("i", rows), Var("v", 16)
    value = load(X, row * 16 + lane)
    stmt: Stmt = Accumulate(ACC, row * 16 + lane, "add", value) if of is Accumulate else Store(ACC, row * 16 + lane, value)
    return For(row, (For(lane, (stmt,), VECTOR, 16),), UNROLLED)


def serial(name: str, *body: Stmt) -> For:
    return For(Var(name, 3), body, SERIAL)


def test_loops_that_hold_nothing_else_are_one_nest() -> None:
    inner = serial("k", step(2))
    outer = serial("tap", inner)
    block = serial("block", SET, outer, SET)
    (nest,) = nests((SET, block))
    assert nest.around == (block,) and nest.loops == (outer, inner) and nest.end == (SET,)
    assert nest.step is inner.body[0].body[0]


def test_conditions_have_nests_in_both_branches() -> None:
    first, second = serial("a", step(2)), serial("b", step(1))
    found = list(nests((serial("block", SET, If(Var("t", 2) < 1, (first, SET), (second,))),)))
    assert [nest.loops for nest in found] == [(first,), (second,)]
    assert [len(nest.around) for nest in found] == [1, 1] and [nest.end for nest in found] == [(SET,), ()]


def test_of_rows_in_several_parts_the_largest_is_the_step() -> None:
    small, large = step(1), step(2)
    (nest,) = nests((serial("k", small, large),))
    assert nest.step is large.body[0]


def test_what_adds_nothing_up_is_no_nest() -> None:
    assert list(nests((serial("k", step(2, Store)), step(2), serial("k", step(2), SET)))) == []


@pytest.mark.parametrize(
    ("rows", "rounds", "together"),
    [(1, 12, 4), (14, 12, 4), (14, 10, 2), (14, 9, 3), (14, 7, 7), (16, 7, 7), (17, 7, 1), (26, 12, 2), (48, 12, 1)],
)
def test_steps_that_make_few_products_are_written_out_together(rows: int, rounds: int, together: int) -> None:
    assert at_once(For(Var("k", rounds), (step(rows),), SERIAL), rounds) == together


def test_other_loops_are_not_written_out() -> None:
    inner = serial("k", step(2))
    assert [at_once(loop, 3) for loop in (inner, serial("tap", inner), serial("k", step(2, Store)))] == [3, 1, 1]


def test_code_has_as_many_copies_of_a_step() -> None:
    k, lane = Var("k", 8), Var("v", 16)
    x, y = Array("x", float32, 128), Array("y", float32, 16)
    add = Accumulate(y, as_index(lane), "add", load(x, k * 16 + lane))
    loop = For(k, (For(lane, (add,), VECTOR, 16),), SERIAL)
    text = emit_kernel(Kernel("sums", (x, y), Var("t", 1), (loop,)), "sums", named("x86-64-v4")).text
    assert at_once(loop, 8) == 4 and len(re.findall(r"fadd .*<16 x float>", text)) == 4
