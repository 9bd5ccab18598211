"""Gradients of whole graphs: against closed forms and finite differences, and what must not be computed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from graphc.dtype import float32, float64, int32
from graphc.errors import DTypeError, GraphcError, ShapeError
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.location import Location, located
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, make, splat, topological
from graphc.ops.elementwise import cast
from graphc.ops.pieces import slice_
from graphc.ops.reduce import reduce_prod, reduce_sum
from graphc.ops.source import grad, placeholder, stop_gradient, update, variable
from graphc.passes.autodiff import autodiff, backward

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.6]])


def vector(name: str = "x", shape: tuple[int, ...] = (2, 3)) -> Value:
    return placeholder(name, TensorType(float64, shape))


def total(x: Value) -> Value:
    return reduce_sum(x, range(x.type.rank))


def differentiated(*outputs: Value) -> tuple[Value, ...]:
    graph = autodiff(Graph("f", (), outputs))
    assert not any(value.op.name == "grad" for value in graph.values())
    return graph.outputs


def count(roots: tuple[Value, ...], name: str) -> int:
    return Counter(value.op.name for value in topological(roots))[name]


def test_a_graph_without_markers_is_returned_itself() -> None:
    graph = Graph("f", (), (total(vector()),))
    assert autodiff(graph) is graph


def test_uses_of_one_value_add_up() -> None:
    x = vector()
    (found,) = differentiated(grad(total(x * x * x + x), x))
    np.testing.assert_allclose(evaluate([found], {x: X})[0], 3 * X**2 + 1)


def test_an_intermediate_value_can_be_the_target_beside_its_own_operand() -> None:
    x = vector()
    y = x * x
    loss = total(make("exp", y))
    by_x, by_y, by_loss = evaluate(differentiated(grad(loss, x), grad(loss, y), grad(loss, loss)), {x: X})
    np.testing.assert_allclose(by_y, np.exp(X**2))
    np.testing.assert_allclose(by_x, 2 * X * np.exp(X**2))
    assert by_loss == 1


def test_one_sweep_serves_all_targets_of_a_loss() -> None:
    x, w = vector("x"), vector("w")
    y = make("tanh", x * w)
    both = differentiated(grad(total(y), x), grad(total(y), w))
    alone = differentiated(grad(total(y), x))
    assert len(topological(both)) == len(topological(alone)) + 1  # one multiplication more


def test_branches_that_do_not_lead_to_a_target_are_not_visited() -> None:
    x, data = vector("x"), vector("data")
    (found,) = differentiated(grad(total(x * make("sin", data)), x))
    assert count((found,), "cos") == 0


@pytest.mark.parametrize("order", [2, 3, 4])
def test_gradients_of_gradients(order: int) -> None:
    x = vector("x", ())
    result = make("sin", x) * x
    for _ in range(order):
        result = grad(result, x)
    (found,) = differentiated(result)
    at = np.array(0.7)
    s, c = np.sin(at), np.cos(at)
    expected = {2: 2 * c - at * s, 3: -3 * s - at * c, 4: -4 * c + at * s}[order]
    np.testing.assert_allclose(evaluate([found], {x: at})[0], expected)


def test_a_gradient_penalty_differentiates_through_an_inner_gradient() -> None:
    x, w = vector("x"), vector("w")
    inner = grad(total(w * x * x), x)  # 2 w x
    (found,) = differentiated(grad(total(inner * inner), w))
    np.testing.assert_allclose(evaluate([found], {x: X, w: X + 2})[0], 8 * (X + 2) * X**2)


def test_two_losses_keep_their_gradients_apart() -> None:
    x = vector()
    a, b = evaluate(differentiated(grad(total(x * x), x), grad(total(-x), x)), {x: X})
    np.testing.assert_allclose(a, 2 * X)
    np.testing.assert_allclose(b, -np.ones_like(X))


def test_stop_gradient_integers_steps_and_strangers_cut_the_path() -> None:
    x, stranger = vector("x"), vector("stranger")
    counted = cast(cast(x, int32), float64)
    for loss in (total(stop_gradient(x)), total(counted), total(make("floor", x)), total(stranger)):
        assert splat(differentiated(grad(loss, x))[0]) == 0
    (found,) = differentiated(grad(total(x * stop_gradient(x)), x))
    np.testing.assert_allclose(evaluate([found], {x: X})[0], X)


def test_the_target_itself_may_be_behind_stop_gradient() -> None:
    x = vector()
    y = stop_gradient(x)
    assert splat(differentiated(grad(total(y), y))[0]) == 1


def test_only_float_scalars_have_gradients() -> None:
    x, n = vector(), placeholder("n", TensorType(int32, (2, 3)))
    with pytest.raises(ShapeError, match="scalar"):
        grad(x, x)
    with pytest.raises(DTypeError, match="float"):
        grad(total(n), x)
    with pytest.raises(DTypeError, match="float"):
        grad(total(x), n)


def test_a_marker_has_no_value() -> None:
    x = vector()
    with pytest.raises(GraphcError, match="autodiff"):
        evaluate([grad(total(x), x)], {x: X})


def test_cotangents_keep_the_element_type_of_each_value() -> None:
    x = placeholder("x", TensorType(float32, (2, 3)))
    loss = total(cast(x, float64) * constant(X))
    (found,) = differentiated(grad(loss, x))
    assert found.type == x.type


def test_gradients_carry_the_line_of_the_value_they_differentiate() -> None:
    x, line = vector(), Location("model.py", 42)
    with located(line):
        y = make("tanh", x)
    with located(Location("model.py", 43)):
        loss = total(y * y)
    made = set(topological(backward(loss, [x]).values())) - set(topological([loss]))
    assert [v.location for v in made if v.op.name == "sub"] == [line]  # 1 - y * y


def test_updates_survive_even_where_only_the_loss_reached_them() -> None:
    x, steps = vector(), variable("steps", np.zeros(()))
    loss = total(update(x, steps, steps + 1.0))
    outputs = differentiated(grad(loss, x))
    markers = [v for v in topological(outputs) if v.op.name == "update"]
    assert [marker.operands[1:] for marker in markers] == [(steps, steps + 1.0)]
    np.testing.assert_allclose(evaluate(outputs, {x: X})[0], np.ones_like(X))


def test_product_gradients_are_right_with_any_number_of_zeros() -> None:
    x = vector("x", (4, 3))
    at = np.array([[2.0, 3.0, 5.0], [0.0, 3.0, 5.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
    first = grad(total(reduce_prod(x, (1,))), x)
    second = grad(total(first), x)
    a, b = evaluate(differentiated(first, second), {x: at})
    np.testing.assert_array_equal(a, [[15, 10, 6], [15, 0, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(b, [[8, 7, 5], [8, 5, 3], [5, 5, 0], [0, 0, 0]])


def test_ties_share_the_gradient_of_an_extreme() -> None:
    x, y = vector("x", (2,)), vector("y", (2,))
    for name, expected in {"max": [0.5, 1.0], "min": [0.5, 0.0]}.items():
        (found,) = differentiated(grad(total(make(name, x, y)), x))
        np.testing.assert_array_equal(evaluate([found], {x: np.array([1.0, 3.0]), y: np.array([1.0, 2.0])})[0], expected)
    z = vector("z", (5,))
    (found,) = differentiated(grad(make("reduce_max", z, axes=(0,)), z))
    np.testing.assert_array_equal(evaluate([found], {z: np.array([1.0, 4.0, 2.0, 4.0, 0.0])})[0], [0, 0.5, 0, 0.5, 0])


def test_power_gradients_at_zero_are_finite() -> None:
    a, b = vector("a", (4,)), vector("b", (4,))
    loss = total(make("pow", a, b))
    by_a, by_b = evaluate(
        differentiated(grad(loss, a), grad(loss, b)), {a: np.array([0.0, 0.0, 0.0, -2.0]), b: np.array([0.0, 1.0, 2.0, 3.0])}
    )
    np.testing.assert_array_equal(by_a, [0, 1, 0, 12])
    np.testing.assert_array_equal(by_b[:3], [0, 0, 0])


def test_deep_graphs_do_not_recurse() -> None:
    x = vector("x", ())
    y = x
    for _ in range(5000):
        y = y * 1.0 + x
    assert evaluate(differentiated(grad(y, x)), {x: np.array(1.0)})[0] == 5001


def halves(x: Value, *cuts: tuple[int, int]) -> Value:
    """A loss that treats slices of x's columns differently."""
    parts = [total(make("sin", slice_(x, (0, a), (2, b))) * (a + 2.0)) for a, b in cuts]
    loss = parts[0]
    for part in parts[1:]:
        loss = loss + part
    return loss


def test_gradients_of_slices_that_cover_a_value_are_joined() -> None:
    x = vector()
    (found,) = differentiated(grad(halves(x, (1, 3), (0, 1)), x))
    assert (count((found,), "concat"), count((found,), "pad")) == (1, 0)
    np.testing.assert_allclose(evaluate([found], {x: X})[0], np.cos(X) * np.array([2, 3, 3]))


def test_a_value_that_is_also_read_whole_gets_the_rest_added() -> None:
    x = vector()
    (found,) = differentiated(grad(halves(x, (0, 1), (1, 2), (2, 3)) + total(x * x), x))
    assert (count((found,), "concat"), count((found,), "pad")) == (1, 0)
    np.testing.assert_allclose(evaluate([found], {x: X})[0], np.cos(X) * np.array([2, 3, 4]) + 2 * X)


@pytest.mark.parametrize("cuts", [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 1),), ((0, 1), (1, 2))], ids=str)
def test_slices_with_gaps_or_overlaps_are_added(cuts: tuple[tuple[int, int], ...]) -> None:
    x = vector()
    (found,) = differentiated(grad(halves(x, *cuts), x))
    assert count((found,), "concat") == 0
    weights = np.sum([[(a + 2.0) * (a <= i < b) for i in range(3)] for a, b in cuts], 0)
    np.testing.assert_allclose(evaluate([found], {x: X})[0], np.cos(X) * weights)


def test_slices_along_two_axes_are_no_parts_of_one_row() -> None:
    x = vector()
    loss = total(make("sin", slice_(x, (0, 0), (1, 3)))) + total(make("cos", slice_(x, (0, 1), (2, 3))))
    (found,) = differentiated(grad(loss, x))
    assert count((found,), "concat") == 0
    expected = np.cos(X) * [[1], [0]] - np.sin(X) * [0, 1, 1]
    np.testing.assert_allclose(evaluate([found], {x: X})[0], expected)
