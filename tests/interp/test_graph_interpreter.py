"""The interpreter of graphs: reads before writes, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dtype import float32
from graphc.errors import CallError, GraphError
from graphc.interp.graph import evaluate, run
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value
from graphc.ops.source import placeholder, variable


def setting() -> tuple[Value, Value, Value]:
    x = placeholder("x", TensorType(float32, (2,)))
    return x, variable("a", np.ones(2, np.float32)), variable("b", np.zeros(2, np.float32))


def test_all_reads_come_before_all_writes() -> None:
    x, a, b = setting()
    swap = Graph("swap", (x,), (a + x,), ((a, b), (b, a)))
    state: dict[Value, np.ndarray] = {}
    (first,) = run(swap, [np.full(2, 3, np.float32)], state)
    (second,) = run(swap, [np.full(2, 3, np.float32)], state)
    np.testing.assert_array_equal(first, [4, 4])
    np.testing.assert_array_equal(second, [3, 3])
    np.testing.assert_array_equal(state[b], [0, 0])


def test_state_is_not_an_alias_of_what_it_was_computed_from() -> None:
    x, a, _ = setting()
    state: dict[Value, np.ndarray] = {}
    given = np.zeros(2, np.float32)
    run(Graph("keep", (x,), (), ((a, x),)), [given], state)
    given += 1
    np.testing.assert_array_equal(state[a], [0, 0])
    np.testing.assert_array_equal(a.attrs["info"].initial, [1, 1])


def test_a_root_may_be_asked_for_twice_and_be_an_operand() -> None:
    x, a, _ = setting()
    y = x + a
    first, second, third = evaluate([y, y * y, y], {x: np.ones(2, np.float32)})
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(second, [4, 4])


def test_an_environment_may_give_any_value_its_array() -> None:
    x, a, _ = setting()
    assert evaluate([(x + a) * a], {x + a: np.full(2, 5, np.float32), x: np.zeros(2, np.float32)})[0].tolist() == [5, 5]


def test_refusals() -> None:
    x, a, _ = setting()
    with pytest.raises(GraphError, match="'x'"):
        evaluate([x], {})
    with pytest.raises(CallError, match="float64"):
        evaluate([x], {x: np.zeros(2)})
    with pytest.raises(CallError, match=r"\[3\]"):
        evaluate([a], {a: np.zeros(3, np.float32)})
    with pytest.raises(CallError, match="1 inputs, got 0"):
        run(Graph("f", (x,), (x,)), [], {})
