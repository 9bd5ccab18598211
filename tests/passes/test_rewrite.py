"""The rewrite engine: what patterns match, what is recorded, and how loops are found."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dtype import bool_, float32, int32
from graphc.ir.graph import Graph
from graphc.ir.location import Location, located
from graphc.ir.rewrite import Fired, RewriteLoop, Rule, number, op, rewrite, rewrite_graph, rule, wild
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, like, make
from graphc.ops.shape import reshape, transpose
from graphc.ops.source import placeholder

x, y, c = wild("x"), wild("y"), number("c")
VECTOR = TensorType(float32, (4,))
A, B = placeholder("a", VECTOR), placeholder("b", VECTOR)
N = placeholder("i", TensorType(int32, (4,)))


def once(value: Value, row: Rule) -> Value:
    return rewrite((value,), [row])[0]


def test_nothing_matches_gives_the_identical_objects() -> None:
    roots = (A + B, A * B)
    assert rewrite(roots, [rule("x * 1 -> x", x * 1, lambda x: x)]) is roots
    graph = Graph("f", (A, B), roots)
    assert rewrite_graph(graph, [rule("x * 1 -> x", x * 1, lambda x: x)]) is graph


def test_graph_keeps_inputs_and_updates() -> None:
    graph = Graph("f", (A,), (A * 1,), ((B, A * 1),))
    new = rewrite_graph(graph, [rule("x * 1 -> x", x * 1, lambda x: x)])
    assert (new.inputs, new.outputs, new.updates) == ((A,), (A,), ((B, A),))


@pytest.mark.parametrize("literal, matching, other", [(0, 0.0, -0.0), (-0.0, -0.0, 0.0), (1, 1.0, 2.0)])
def test_numbers_match_with_their_sign(literal: float, matching: float, other: float) -> None:
    row = rule("drop", x + literal, lambda x: x)
    assert once(A + matching, row) is A
    assert once(A + other, row) is not A


def test_true_is_not_one() -> None:
    row = rule("drop", op("and", x, 1), lambda x: x)
    p = placeholder("p", TensorType(bool_, (4,)))
    assert once(make("and", N, like(N, 1)), row) is N
    assert once(make("and", p, like(p, True)), row) is not p


def test_number_sees_through_views_and_not_into_unequal_constants() -> None:
    row = rule("x + c -> x * c", x + c, lambda x, c: x * c)
    two = transpose(reshape(full(TensorType(float32, (4,)), 2.0), (2, 2)), (1, 0))
    m = placeholder("m", two.type)
    assert once(m + two, row) is m * 2.0
    uneven = A + constant(np.array([1, 1, 1, 2], np.float32))
    assert once(uneven, row) is uneven


def test_repeated_names_need_the_same_value() -> None:
    row = rule("x - x -> x", x - x, lambda x: x)
    assert once(A - A, row) is A
    assert once(A - B, row) is A - B


def test_commutative_operands_match_in_both_orders_and_others_do_not() -> None:
    for value in (A + -B, -B + A):
        assert once(value, rule("x + -y -> x - y", x + -y, lambda x, y: x - y)) is A - B
    row = rule("x - -y -> x + y", x - -y, lambda x, y: x + y)
    assert once(A - -B, row) is A + B
    assert once(-B - A, row) is -B - A


def test_attributes_bind_and_must_be_equal() -> None:
    cube = placeholder("cube", TensorType(float32, (2, 3, 4)))
    inverse = rule(
        "undo", op("transpose", op("transpose", x, perm=wild("p")), perm=wild("p")), lambda x: x, when=lambda p: p[p[0]] == 0
    )
    assert once(transpose(transpose(cube, (1, 0, 2)), (1, 0, 2)), inverse) is cube
    other = transpose(transpose(cube, (1, 0, 2)), (2, 1, 0))
    assert once(other, inverse) is other
    fixed = rule("swap", op("transpose", x, perm=(1, 0, 2)), lambda x, root: reshape(x, root.shape))
    assert once(transpose(cube, (1, 0, 2)), fixed).op.name == "reshape"
    assert once(transpose(cube, (2, 1, 0)), fixed).op.name == "transpose"


def test_inner_nodes_are_called_and_guards_say_no() -> None:
    row = rule("f", op("neg", op("add", x, y, called="sum")), lambda sum: -sum.operands[0] - sum.operands[1], lambda y: y is B)
    assert once(-(A + B), row) is -A - B
    assert once(-(A + A), row) is -(A + A)


def test_a_right_side_may_decline() -> None:
    row = rule("x * y -> ?", x * y, lambda x, y: None)
    assert once(A * B, row) is A * B


def test_replacements_are_rewritten_to_the_end_in_one_walk() -> None:
    trace: list[Fired] = []
    rows = [
        rule("x * 2 -> x + x", x * 2, lambda x: x + x),
        rule("x + x -> -(-x - x)", x + x, lambda x: -((-x) - x)),
        rule("-x - x -> -x * 3", -x - x, lambda x: -x * 3),
    ]
    assert rewrite((A * 2 + B,), rows, trace)[0] is -(-A * 3) + B
    assert [f.rule for f in trace] == [row.name for row in rows]


def test_locations_pass_to_the_replacement_and_the_trace() -> None:
    with located(Location("model.py", 7)):
        value = A * 5
    trace: list[Fired] = []
    (new,) = rewrite((value,), [rule("x * c -> x / c", x * c, lambda x, c: x / c)], trace)
    assert new.location == Location("model.py", 7)
    assert (trace[0].before, trace[0].after, trace[0].location) == (value, new, new.location)
    assert "model.py:7: x * c -> x / c" in str(trace[0])


def test_loops_are_found_and_named() -> None:
    ring = [rule("to sub", x + y, lambda x, y: x - -y), rule("to add", x - -y, lambda x, y: x + y)]
    with pytest.raises(RewriteLoop, match="to sub ; to add"):
        rewrite((A + B,), ring)
    with pytest.raises(RewriteLoop, match="grow"):
        rewrite((-A,), [rule("grow", -x, lambda x: -x + x)])
    with pytest.raises(RewriteLoop, match="more"):
        rewrite((A * 1,), [rule("more", x * c, lambda x, c: x * (c + 1))])


def test_users_are_counted() -> None:
    row = rule(
        "-(x + y) -> -x - y", op("neg", op("add", x, y, called="sum")), lambda x, y: -x - y, lambda sum, uses: uses(sum) == 1
    )
    total = A + B
    assert once(-total, row) is -A - B
    assert rewrite((-total, total * 2), [row])[0] is -total
    assert rewrite((-total, total), [row])[0] is -total


def test_users_move_to_the_replacement() -> None:
    rows = [
        rule("x * 1 -> x", x * 1, lambda x: x),
        rule(
            "-exp(x) -> exp(-x)", op("neg", op("exp", x, called="e")), lambda x: make("exp", -x), lambda e, uses: uses(e) == 1
        ),
    ]
    e = make("exp", A)
    assert rewrite((-(e * 1),), rows)[0] is make("exp", -A)
    assert rewrite((-(e * 1), e + B), rows)[0] is -e


def test_however_long_a_chain_loses_its_users() -> None:
    chain = N
    for _ in range(3000):
        chain = -chain
    row = rule("x * 0 -> 0", x * c, lambda x: like(x, 0), lambda c: c == 0, "0 is all that is left")
    assert once(chain * 0, row) is like(N, 0)


def test_a_rule_keeps_the_type() -> None:
    with pytest.raises(AssertionError, match="turns"):
        rewrite((A + B,), [rule("wrong", x + y, lambda x, y: reshape(x + y, (2, 2)))])


def test_a_rule_that_drops_an_operand_says_why() -> None:
    with pytest.raises(AssertionError, match="drops"):
        rule("x * 0 -> 0", x * 0, lambda: A)
    assert rule("x * 0 -> 0", x * 0, lambda: A, because="a reason").because
