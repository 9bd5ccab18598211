"""Markers read out of a graph."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dtype import float32, float64
from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.interp.graph import run
from graphc.ir.graph import Graph
from graphc.ir.location import Location, located
from graphc.ir.types import TensorType
from graphc.ir.values import Value
from graphc.ops.elementwise import cast
from graphc.ops.source import placeholder, stop_gradient, update, variable
from graphc.passes.updates import extract_updates, remove_stop_gradient


def setting() -> tuple[Value, Value]:
    return placeholder("x", TensorType(float64, (2, 3))), variable("mean", np.zeros((3,)))


def test_a_graph_without_markers_is_returned_itself() -> None:
    x, _ = setting()
    graph = Graph("f", (x,), (x + x,))
    assert extract_updates(graph) is graph
    assert remove_stop_gradient(graph) is graph


def test_an_update_that_is_reached_twice_is_listed_once() -> None:
    x, mean = setting()
    y = update(x, mean, mean + 1.0)
    z = update(y * y, mean, mean + 1.0)
    graph = extract_updates(Graph("f", (x,), (y + 1.0, z)))
    assert graph == Graph("f", (x,), (x + 1.0, x * x), ((mean, mean + 1.0),))


def test_updates_join_those_of_the_function_and_are_found_inside_new_values() -> None:
    x, mean = setting()
    count = variable("count", np.zeros(()))
    marked = update(mean + 1.0, count, update(count, mean, mean + 1.0) + 2.0)
    graph = extract_updates(Graph("f", (x,), (x,), ((mean, marked),)))
    assert graph.updates == ((mean, mean + 1.0), (count, count + 2.0))


def test_two_new_values_for_one_variable_name_both_lines() -> None:
    x, mean = setting()
    with located(Location("model.py", 7)):
        first = update(x, mean, mean + 1.0)
    with located(Location("model.py", 9)):
        second = update(first, mean, mean + 2.0)
    with pytest.raises(GraphError, match=r"(?s)model.py:9.*'mean'.*model.py:7"):
        extract_updates(Graph("f", (x,), (second,)))
    with pytest.raises(GraphError, match="'mean'"):
        extract_updates(Graph("f", (x,), (first,), ((mean, mean + 3.0),)))


def test_only_variables_are_updated_and_with_their_own_type() -> None:
    x, mean = setting()
    with pytest.raises(GraphError, match="add"):
        extract_updates(Graph("f", (x,), (update(x, mean + 1.0, mean),)))
    with pytest.raises(ShapeError, match="reshape"):
        update(x, mean, x)
    with pytest.raises(DTypeError, match="cast"):
        update(x, mean, cast(mean, float32))


def test_stop_gradient_goes() -> None:
    x, mean = setting()
    graph = Graph("f", (x,), (stop_gradient(x) + x,), ((mean, stop_gradient(mean)),))
    assert remove_stop_gradient(graph) == Graph("f", (x,), (x + x,), ((mean, mean),))


def test_extraction_does_not_change_what_a_call_does() -> None:
    x, mean = setting()
    graph = Graph("f", (x,), (update(x * x, mean, mean + 1.0),))
    states: list[dict[Value, np.ndarray]] = [{}, {}]
    at = np.arange(6.0).reshape(2, 3)
    for _ in range(2):
        marked, plain = (run(g, [at], state) for g, state in zip((graph, extract_updates(graph)), states, strict=True))
        np.testing.assert_array_equal(marked, plain)
    np.testing.assert_array_equal(states[0][mean], [2, 2, 2])
    np.testing.assert_array_equal(states[1][mean], [2, 2, 2])
