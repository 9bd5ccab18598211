"""Values at symbolic indices: views fold into indices, guards reach the loads, and what is at hand is used."""

from __future__ import annotations

import pytest

from graphc.dtype import float32, int64
from graphc.ir.expr import Array, Call, Const, Expr, Load, Var, as_index, load, ravel, temp
from graphc.ir.kernel import operands
from graphc.ir.types import TensorType
from graphc.ir.values import Value, full, make
from graphc.ops.index import gather
from graphc.ops.pieces import concat, pad, slice_
from graphc.ops.shape import broadcast, iota, reshape, reverse, transpose
from graphc.ops.source import placeholder
from graphc.ops.window import reduce_window
from graphc.passes.element import (
    UNROLL_LIMIT,
    Elements,
    Position,
    is_heavy,
    is_view,
    leaf_reads,
    positions,
    spread,
    squeezed,
    storage,
)

X = placeholder("x", TensorType(float32, (3, 4)))
MEMORY = Array("x", float32, 12)
ROW, COLUMN = Var("i", 3), Var("j", 4)


def from_memory(value: Value, index: Position, guard: Expr | None) -> Expr | None:
    return load(MEMORY, ravel(index, value.shape), guard) if value is X else None


def element(value: Value, *index: object, guard: Expr | None = None) -> Expr:
    return Elements(from_memory).at(value, tuple(as_index(i) for i in index), guard)  # type: ignore[arg-type]


def at(position: object, guard: Expr | None = None) -> Expr:
    return load(MEMORY, as_index(position), guard)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- elements


def test_views_fold_into_the_index() -> None:
    assert element(X, ROW, COLUMN) is at(ROW * 4 + COLUMN)
    assert element(transpose(X, (1, 0)), COLUMN, ROW) is at(ROW * 4 + COLUMN)
    assert element(reshape(X, (12,)), ROW * 4 + COLUMN) is at(ROW * 4 + COLUMN)
    assert element(reverse(X, (1,)), ROW, COLUMN) is at(ROW * 4 - COLUMN + 3)
    a, b = positions((2, 2))
    assert element(slice_(X, (1, 0), (3, 4), (1, 2)), a, b) is at(a * 4 + b * 2 + 4)
    assert element(broadcast(X, (5, 3, 4), (1, 2)), Var("n", 5), ROW, COLUMN) is at(ROW * 4 + COLUMN)
    nested = reshape(transpose(reshape(X, (3, 2, 2)), (0, 1, 2)), (12,))
    assert element(nested, ROW * 4 + COLUMN) is at(ROW * 4 + COLUMN)


def test_arithmetic_builds_expressions_of_loads() -> None:
    found = element(X * X + 1.0, ROW, COLUMN)
    x = at(ROW * 4 + COLUMN)
    assert found is x * x + 1.0


def test_numbers_are_constants_wherever_they_are_read() -> None:
    found = element(full(X.type, 3.0), ROW, COLUMN)
    assert isinstance(found, Const) and found.value == 3.0


def guards_of(expr: Expr) -> list[Expr | None]:
    own = [expr.guard] if isinstance(expr, Load) else []
    return own + [g for part in operands(expr) for g in guards_of(part)]


def test_padding_guards_the_load_and_selects() -> None:
    k = Var("k", 5)
    found = element(pad(X, (0, 0), (2, 0), value=1), k, COLUMN)
    assert isinstance(found, Call) and found.word == "select"
    assert guards_of(found) == [k < 3]


def test_zeros_around_are_what_a_guarded_load_gives() -> None:
    k = Var("k", 5)
    assert element(pad(X, (0, 0), (2, 0)), k, COLUMN) is at(k * 4 + COLUMN, k < 3)


def test_guards_of_nested_views_are_joined() -> None:
    k, m = Var("k", 5), Var("m", 6)
    found = element(pad(transpose(pad(X, (0, 0), (0, 2)), (1, 0)), (0, 0), (0, 2)), Var("a", 6), Var("b", 5))
    (guard,) = guards_of(found)
    assert isinstance(guard, Call) and guard.word == "and"
    assert guards_of(element(X, ROW, COLUMN, guard=k < m)) == [k < m]


def test_what_is_at_hand_is_not_computed() -> None:
    y = make("exp", X)
    name = temp("t", float32)
    found = Elements(lambda v, index, guard: name if v is y else None).at(y * y, (ROW, COLUMN))
    assert found is name * name


def test_one_element_is_one_object_until_forgotten() -> None:
    asked: list[Value] = []

    def stored(value: Value, index: Position, guard: Expr | None) -> Expr | None:
        asked.append(value)
        return from_memory(value, index, guard)

    elements = Elements(stored)
    y = make("exp", X)
    first = elements.at(y, (ROW, COLUMN))
    assert elements.at(y, (ROW, COLUMN)) is first and asked == [y, X]
    elements.forget()
    elements.at(y, (ROW, COLUMN))
    assert asked == [y, X, y, X]


@pytest.mark.parametrize("size", [UNROLL_LIMIT, UNROLL_LIMIT + 1])
def test_small_windows_are_written_out_and_large_ones_looped(size: int) -> None:
    x = placeholder("x", TensorType(float32, (64,)))
    y = reduce_window(x, window=(size,), kind="sum", strides=(1,))
    array, looped = Array("x", float32, 64), temp("loop", float32)
    calls: list[object] = []
    elements = Elements(lambda v, i, g: load(array, i[0], g) if v is x else None, lambda *args: calls.append(args) or looped)
    found = elements.at(y, (Var("i", 65 - size),))
    assert (found is looped) is (size > UNROLL_LIMIT) is bool(calls)
    assert len(set(map(id, guards_of(found)))) == (0 if calls else 1)


def test_a_window_that_nobody_can_loop_over_is_written_out() -> None:
    x = placeholder("x", TensorType(float32, (64,)))
    y = reduce_window(x, window=(UNROLL_LIMIT + 1,), kind="max", strides=(1,))
    array = Array("x", float32, 64)
    found = Elements(lambda v, i, g: load(array, i[0], g) if v is x else None).at(y, (Var("i", 2),))
    assert len(guards_of(found)) == UNROLL_LIMIT + 1


def test_a_reduction_has_no_single_element() -> None:
    with pytest.raises(AssertionError, match="reduce_sum cannot be computed element by element"):
        element(make("reduce_sum", X, axes=(1,)), ROW)


# ---------------------------------------------------------------------------------------------------------------- leaves


def is_leaf(value: Value) -> bool:
    return not is_view(value)


def test_leaf_reads_see_through_views_with_indices_and_guards() -> None:
    i, j = positions((4, 3))
    assert leaf_reads(transpose(X, (1, 0)) * 2.0, (i, j), is_leaf) == [(X, (j, i), None)]
    k = positions((5, 4))
    ((leaf, index, guard),) = leaf_reads(make("exp", pad(X, (1, 0), (1, 0))), k, is_leaf)
    assert leaf is X and index == (k[0] - 1, k[1]) and guard is not None


def test_a_value_is_no_leaf_of_itself() -> None:
    y = make("exp", X)
    assert leaf_reads(y, positions(X.shape), is_leaf) == [(X, positions(X.shape), None)]
    assert leaf_reads(y + 1.0, positions(X.shape), is_leaf) == [(y, positions(X.shape), None)]


def test_every_place_that_is_read_is_found() -> None:
    y = concat([X, reverse(X, (0,))], 0)
    found = leaf_reads(y, positions(y.shape), is_leaf)
    assert [leaf for leaf, _, _ in found] == [X, X] and all(guard is not None for _, _, guard in found)
    i = placeholder("i", TensorType(int64, (5,)))
    assert {leaf for leaf, _, _ in leaf_reads(gather(X, i, axes=(0,)), positions((5, 4)), is_leaf)} == {X, i}


# ---------------------------------------------------------------------------------------------------------- small words


def test_views_and_heavy_values() -> None:
    assert is_view(transpose(X, (1, 0))) and is_view(iota(float32, (3,), 0)) and not is_view(make("exp", X))
    assert is_heavy(make("exp", X)) and not is_heavy(X * X) and not is_heavy(transpose(X, (1, 0)))


def test_dimensions_of_one_element_hold_no_positions() -> None:
    assert squeezed((1, 3, 1, 4)) == (3, 4) and squeezed((1,)) == ()
    assert [i for i in positions((1, 3, 1)) if isinstance(i, Var)] == list(positions((3,)))
    assert spread(positions((3, 4)), (3, 1, 4))[::2] == positions((3, 4))
    assert spread((), (1, 1)) == (as_index(0), as_index(0))


def test_reshapes_share_the_memory_of_their_operand() -> None:
    assert storage(reshape(reshape(X, (12,)), (4, 3))) is X
    assert storage(transpose(X, (1, 0))) is not X
