"""Constant folding: what is folded, what is too large for it, and that algebra and folding help each other."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dtype import float32, int64
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, make
from graphc.ops.reduce import reduce_sum
from graphc.ops.shape import broadcast, iota, reshape, transpose
from graphc.ops.source import placeholder, stop_gradient, update, variable
from graphc.passes.canonicalize import simplify
from graphc.passes.fold import SMALL, fold

X = placeholder("x", TensorType(float32, (3,)))
THREE = constant(np.array([1, 2, 3], np.float32))


def folded(value: Value) -> Value:
    return fold(Graph("f", (), (value,))).outputs[0]


def array(value: Value) -> np.ndarray:
    assert value.op.name == "constant", value
    return value.attrs["literal"].array


def test_a_chain_of_constants_is_one_constant() -> None:
    np.testing.assert_array_equal(array(folded(reduce_sum((THREE + 1.0) * THREE, (0,)))), 20)
    assert folded(X + THREE * THREE).operands[1].op.name == "constant"


def test_unknown_values_stay() -> None:
    graph = Graph("f", (X,), (X + THREE, variable("v", np.ones(3, np.float32)) * 2.0))
    assert fold(graph) is graph


def test_markers_counters_and_broadcasts_stay() -> None:
    v = variable("v", np.ones(3, np.float32))
    for value in (
        stop_gradient(THREE),
        update(THREE, v, THREE),
        iota(int64, (5,), 0),
        broadcast(THREE, (2, 3), (1,)),
        full(TensorType(float32, (9,)), 1.0),
    ):
        assert folded(value) is value


def test_repeated_constants_fold_while_small() -> None:
    rows = SMALL // 12
    small, large = (broadcast(THREE, (n, 3), (1,)) for n in (rows, rows + 1))
    assert folded(make("exp", small)).op.name == "constant"
    assert folded(make("exp", large)).op.name == "exp"
    assert folded(reduce_sum(large, (0, 1))).op.name == "reduce_sum"


def test_a_result_may_be_as_large_as_its_constants() -> None:
    large = constant(np.arange(SMALL, dtype=np.float32).reshape(2, -1))
    assert folded(transpose(large, (1, 0))).op.name == "constant"
    assert folded(make("cast", large, dtype=int64)).op.name == "cast"
    assert folded(make("pad", large, low=(1, 0), high=(0, 0), interior=(0, 0), value=0)).op.name == "pad"


@pytest.mark.filterwarnings("error")
def test_folding_is_silent() -> None:
    zero = constant(np.zeros(2, np.float32))
    assert np.isnan(array(folded(zero / zero))).all()
    assert (array(folded(make("exp", zero + 1e30))) == np.inf).all()
    assert (array(folded(make("log", zero))) == -np.inf).all()


def test_algebra_and_folding_meet_in_one_walk() -> None:
    one = reshape(constant(np.array([3], np.float32)) - 2.0, ())
    graph = Graph("f", (X,), (X * broadcast(one, (3,), ()),))
    assert simplify(graph).outputs == (X,)
    large = TensorType(float32, (1000, 1000))
    (value,) = simplify(Graph("f", (), (make("exp", full(large, 0.0)) + full(large, 1.0),))).outputs
    assert value is full(large, 2.0)
