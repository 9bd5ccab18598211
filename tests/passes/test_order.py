"""The order of clusters: as written, but for those that leave less memory behind."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from programs import check_kernels, optimised

from graphc.dtype import float32
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value, make
from graphc.ops.contract import dot_general
from graphc.ops.pieces import pad
from graphc.ops.reduce import reduce_max, reduce_sum
from graphc.ops.source import grad, placeholder, variable
from graphc.passes.cluster import BORDER, LOOPS, OPAQUE, Cluster
from graphc.passes.element import positions
from graphc.passes.inset import Inset, Insets
from graphc.passes.order import in_order, spare


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


def dag_of(*values: Value) -> nx.DiGraph[Cluster]:
    """A cluster for each value, numbered in turn, that reads those operands that are among them."""
    dag: nx.DiGraph[Cluster] = nx.DiGraph()
    home: dict[Value, Cluster] = {}
    for n, value in enumerate(values):
        reads = [(v, positions(v.shape), None) for v in value.operands if v in home]
        home[value] = Cluster(OPAQUE, n, value.shape, None, [value], {value: reads})
        dag.add_node(home[value])
        dag.add_edges_from((home[v], home[value]) for v, _, _ in reads)
    return dag


def order(values: list[Value], results: set[Value], insets: Insets | None = None) -> list[int]:
    return [c.number for c in in_order(dag_of(*values), set(values), results, insets or {})]


X = tensor("x", 64)
A = make("exp", X)
TOTAL = reduce_sum(A, (0,))
RESULT = make("neg", X)


def test_neutral_clusters_run_as_written() -> None:
    b, c = make("tanh", A), make("neg", A)
    assert order([A, b, c, b * c], {b * c}) == [0, 1, 2, 3]


def test_what_frees_memory_runs_as_soon_as_it_can() -> None:
    assert order([A, RESULT, TOTAL], {RESULT}) == [0, 2, 1]


def test_the_last_of_several_readers_frees_memory() -> None:
    assert order([A, TOTAL, RESULT, reduce_max(A, (0,))], {RESULT}) == [0, 1, 3, 2]
    assert order([A, RESULT, TOTAL, reduce_max(A, (0,))], {RESULT}) == [0, 1, 2, 3]


def test_what_takes_as_much_as_it_frees_waits_its_turn() -> None:
    assert order([A, RESULT, make("tanh", A)], {RESULT}) == [0, 1, 2]


def test_memory_of_results_is_not_freed() -> None:
    assert order([A, RESULT, TOTAL], {RESULT, A}) == [0, 1, 2]


def test_memory_is_held_as_long_as_anything_inside_it() -> None:
    p = pad(A, (2,), (2,))
    values = [A, p, RESULT, TOTAL, reduce_sum(p, (0,))]
    assert order(values, {RESULT}) == [0, 1, 3, 4, 2]
    assert order(values, {RESULT}, {A: Inset(p, (2,))}) == [0, 1, 2, 3, 4]


def test_borders_keep_nobody_waiting() -> None:
    p = pad(A, (2,), (2,))
    dag = dag_of(A, RESULT, p, reduce_sum(p, (0,)), reduce_max(p, (0,)))
    for kind, expected in ((LOOPS, [0, 1, 2, 3, 4]), (BORDER, [0, 2, 1, 3, 4])):
        next(c for c in dag if c.number == 2).kind = kind
        assert [c.number for c in in_order(dag, {A, p}, {RESULT}, {A: Inset(p, (2,))})] == expected


def test_what_frees_memory_with_the_next_one_does_not_wait_either(monkeypatch: pytest.MonkeyPatch) -> None:
    b = make("sin", X)
    product = dot_general(A, b, contract=((0,), (0,)))
    assert order([A, RESULT, b, product], {RESULT}) == [0, 2, 3, 1]
    assert order([A, RESULT, b, product, make("tanh", b)], {RESULT}) == [0, 1, 2, 3, 4]
    monkeypatch.setattr("graphc.passes.order.TOGETHER", 0)  # what waits for more is not looked at
    assert order([A, RESULT, b, product], {RESULT}) == [0, 1, 2, 3]


def test_what_is_read_behind_the_worst_place_is_made_there() -> None:
    x = tensor("x", 1 << 18)
    early, a = make("exp", x), make("tanh", x)
    b = make("neg", a)
    c = make("abs", b)
    assert order([early, a, b, c, dot_general(early, c, contract=((0,), (0,)))], set()) == [1, 2, 3, 0, 4]
    assert order([early, a, b, c, dot_general(early, a, contract=((0,), (0,)))], set()) == [0, 1, 4, 2, 3]


def test_nobody_waits_where_it_keeps_more_alive() -> None:
    x, y = tensor("x", 1 << 18), tensor("y", 1 << 19)
    wide, a = make("exp", y), make("tanh", x)
    kept = reduce_sum(wide, (0,))
    b = make("neg", a)
    assert order([wide, kept, a, b, make("abs", b), kept * 2.0], set()) == [0, 1, 2, 3, 4, 5]


def test_loops_that_only_make_results_run_before_what_takes_memory() -> None:
    result = make("neg", A)
    values = [A, make("tanh", A), result, make("abs", A)]
    dag = dag_of(*values)
    cases = ((LOOPS, {result}, [0, 2, 1, 3]), (OPAQUE, {result}, [0, 1, 2, 3]), (LOOPS, set[Value](), [0, 1, 2, 3]))
    for kind, results, expected in cases:
        next(c for c in dag if c.number == 2).kind = kind
        assert [c.number for c in in_order(dag, set(values), results, {})] == expected


def test_spare_is_what_is_held_at_the_worst_place_and_not_here() -> None:
    x = tensor("x", 1 << 18)
    a, b, total = make("exp", x), make("neg", A), reduce_sum(X, (0,))
    wide = make("tanh", a)
    clusters = list(dag_of(A, a, wide, b, total))
    assert [c.number for c in clusters] == [0, 1, 2, 3, 4]
    all_ = {A, a, wide, b, total}
    held = [256, (1 << 20) + 256, (2 << 20) + 256, 512, 4]
    assert [*spare(clusters, all_, set(), {}).values()] == [max(held) - n for n in held]
    assert [*spare(clusters, all_, {wide}, {}).values()] == [held[1] - n for n in (256, held[1], held[1], 512, 4)]
    assert spare(clusters[:1], all_, set(), {}) == {}


def test_cycles_are_found() -> None:
    dag = dag_of(A, RESULT)
    first, second = dag
    dag.add_edges_from([(first, second), (second, first)])
    with pytest.raises(AssertionError, match="cycle"):
        in_order(dag, {A}, set(), {})


def test_weights_are_updated_before_the_gradient_goes_further_back() -> None:
    rng = np.random.default_rng(0)
    weights = [variable(f"w{n}", rng.standard_normal((24, 24)).astype(np.float32)) for n in range(3)]
    x = y = tensor("x", 40, 24)
    for w in weights:
        y = make("tanh", dot_general(y, w, contract=((1,), (0,))))
    loss = reduce_sum(y, (0, 1))
    updates = tuple((w, w - grad(loss, w) * 0.1) for w in weights)
    fused = check_kernels(optimised(Graph("f", (x,), (loss,), updates)))
    home = {variable: fused.home[new] for variable, new in fused.graph.updates}
    last, before, first = (fused.clusters.index(home[w]) for w in reversed(weights))
    assert last + 1 < before and last + 1 < first and fused.in_place == set(weights)
