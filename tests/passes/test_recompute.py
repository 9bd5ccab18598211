"""Values that later kernels compute again: which they are, that memory falls, and that numbers stay."""

from __future__ import annotations

import numpy as np
from programs import check_kernels, optimised

import graphc as gc
from graphc import nn
from graphc.driver import Stages
from graphc.dtype import float32
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value, like, make
from graphc.ops.contract import dot_general
from graphc.ops.reduce import argmax, reduce_sum
from graphc.ops.shape import broadcast
from graphc.ops.source import placeholder, variable
from graphc.passes.fuse import FusedGraph, fuse
from graphc.passes.recompute import LARGE

BIG = (LARGE // 4 // 256, 256)  # large enough to compute heavy words twice


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


def dot(a: Value, b: Value) -> Value:
    return dot_general(a, b, contract=((1,), (0,)), batch=((), ()))


def stored(fused: FusedGraph) -> set[str]:
    return {value.op.name for value in fused.stored}


def there_and_back(shape: tuple[int, int], word: str) -> Graph:
    """word(x w) is read by a product, and again by a kernel after the next product, which reads x w in any case."""
    x, w, v = tensor("x", shape[0], 8), tensor("w", 8, shape[1]), tensor("v", shape[1], shape[1])
    z = dot(x, w)
    y = make(word, z)
    return Graph("f", (x, w, v), (dot(y * z, v) * y + z,))


def test_a_cheap_value_is_computed_again_from_what_is_read_anyway() -> None:
    fused = check_kernels(there_and_back((5, 7), "neg"), calls=1)
    assert "neg" not in stored(fused)
    assert [sum(v.op.name == "neg" for v in cluster.members) for cluster in fused.clusters] == [1, 1]


def test_heavy_words_are_computed_twice_only_where_memory_is_far() -> None:
    assert "tanh" in stored(fuse(there_and_back((5, 7), "tanh")))
    fused = fuse(there_and_back(BIG, "tanh"))
    assert "tanh" not in stored(fused)
    assert sum(v.op.name == "tanh" for c in fused.clusters for v in c.members) == 2
    check_kernels(there_and_back((5, 7), "tanh"), calls=1)


def test_what_would_keep_as_much_alive_stays_stored() -> None:
    """The last kernel reads y only: to compute it there, z would have to stay in its place."""
    x, w, v = tensor("x", 5, 8), tensor("w", 8, 7), tensor("v", 7, 7)
    z = dot(x, w)
    y = make("neg", z)
    fused = check_kernels(Graph("f", (x, w, v), (dot(make("abs", z), v) * y,)), calls=1)
    assert "neg" in stored(fused)


def test_nothing_is_computed_again_from_more_memory_than_it_takes() -> None:
    """The state of a recurrence: all three that it is made of are read later in any case, but by other kernels."""
    x, weights = tensor("x", 5, 8), [tensor(name, 8, 8) for name in "uvw"]
    f, g, h = (dot(x, w) for w in weights)
    state = f * g + h
    y = dot(state, weights[0]) * state
    late = [dot(dot(y, w), w) * z for w, z in zip(weights, (f, g, h), strict=True)]
    fused = check_kernels(Graph("f", (x, *weights), tuple(late)), calls=1)
    assert state in fused.stored


def test_truth_values_beside_a_product_are_computed_from_numbers_that_stay() -> None:
    x, w, v = tensor("x", 5, 8), tensor("w", 8, 7), tensor("v", 7, 7)
    z = dot(x, w)
    negative = make("le", z, like(z, 0))
    back = make("select", negative, like(z, 0), dot(dot(make("select", negative, like(z, 0), z), v), v))
    fused = check_kernels(Graph("f", (x, w, v), (dot(back, v) + z,)), calls=1)
    assert negative not in fused.stored
    fused = check_kernels(Graph("f", (x, w, v), (dot(back, v),)), calls=1)
    assert negative in fused.stored


def test_results_are_stored_whoever_reads_them() -> None:
    graph = there_and_back((5, 7), "neg")
    x, w, _ = graph.inputs
    y = make("neg", dot(x, w))
    fused = check_kernels(Graph("f", graph.inputs, (*graph.outputs, y)), calls=1)
    assert "neg" in stored(fused)


def test_a_variable_that_is_updated_is_not_read_again_later() -> None:
    x, w = tensor("x", 7, 7), variable("w", np.ones((7, 7), np.float32))
    y = w * 0.5
    z = dot(dot(y, x), x) + y
    fused = check_kernels(Graph("f", (x,), (reduce_sum(z, (0, 1)),), ((w, make("tanh", w)),)), calls=2)
    assert fused.in_place == {w} or "mul" not in stored(fused)


def test_a_cluster_of_which_nothing_is_left_is_no_kernel() -> None:
    x, w = tensor("x", 7, 7), tensor("w", 7, 7)
    y = x * 0.5
    fused = check_kernels(Graph("f", (x, w), (dot(w, x) + y, dot(x, w) - y)), calls=1)
    assert len(fused.clusters) == 2 and not [v for v in fused.stored if v is y]


def test_what_moved_away_with_its_readers_is_not_fetched_back() -> None:
    """sub and isnan stand with the sum at first, and are read by the row-wise maximum alone."""
    x = tensor("x", 17, 17)
    y = x - broadcast(reduce_sum(x, (0, 1)), x.shape, ())
    fused = check_kernels(optimised(Graph("f", (x,), (argmax(y, 1),))), calls=1)
    assert [{v.op.name for v in c.members} & {"sub", "isnan"} for c in fused.clusters] == [set(), {"sub", "isnan"}]


def test_the_backward_pass_of_gelu_starts_from_its_input() -> None:
    x = gc.placeholder((256, 256), gc.float32, name="x")
    net = nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 256))
    loss = (net(x) ** 2).mean()
    step = gc.function([x], [loss, *gc.grad(loss, list(net.parameters()))])
    stages = Stages({"step": step})
    kept = [v for v in stages.fused[0].stored if v.op.name in ("ndtr", "exp", "neg")]
    assert kept == []
    program = gc.compile(step=step)
    assert all(np.isfinite(array).all() for array in program.step(np.ones((256, 256), np.float32)))
