"""Where register tiles are found in a kernel, and what stands around and behind their sums."""

from __future__ import annotations

from graphc.codegen.llvm.nests import nests
from graphc.dtype import float32
from graphc.ir.expr import Array, Var, as_index, const, load
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, Accumulate, For, If, Stmt, Store

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
