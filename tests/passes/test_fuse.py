"""Which values share a kernel, which must not, and which variables are updated in place."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
from programs import check_kernels, clusters, optimised

from graphc.dtype import float32, int64
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value, full, make
from graphc.ops.contract import dot_general
from graphc.ops.convolve import conv_general
from graphc.ops.index import gather
from graphc.ops.pieces import concat, pad, slice_
from graphc.ops.recurrence import cumsum
from graphc.ops.reduce import reduce_max, reduce_sum
from graphc.ops.shape import broadcast, iota, reshape, reverse, transpose
from graphc.ops.source import grad, placeholder, variable
from graphc.passes.element import JOINT
from graphc.passes.fuse import (
    CONTRACTION,
    FULL,
    LOOPS,
    MAX_DEPTH,
    MAX_WEIGHT,
    MIN_ROWS,
    OPAQUE,
    ROW,
    SMALL_DOMAIN,
    FusedGraph,
    fuse,
)


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


def state(name: str, *shape: int) -> Value:
    return variable(name, np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32))


def exp(x: Value) -> Value:
    return make("exp", x)


def dot(a: Value, b: Value) -> Value:
    return dot_general(a, b, contract=((1,), (0,)))


def relu(x: Value) -> Value:
    return make("max", x, full(x.type, 0))


def over_rows(row: Value, x: Value) -> Value:
    return broadcast(row, x.shape, range(x.type.rank - 1))


def softmax(x: Value) -> Value:
    last = (x.type.rank - 1,)
    e = exp(x - over_rows(reduce_max(x, last), x))
    return e / over_rows(reduce_sum(e, last), x)


def fused_of(outputs: list[Value], inputs: list[Value], updates: tuple[tuple[Value, Value], ...] = ()) -> FusedGraph:
    return fuse(Graph("f", tuple(inputs), tuple(outputs), updates))


def apart(fused: FusedGraph, a: Value, b: Value) -> bool:
    return fused.home[a] is not fused.home[b]


# ------------------------------------------------------------------------------------------------------------- together


def test_a_chain_with_several_results_is_one_kernel() -> None:
    x, y = tensor("x", 5, 7), tensor("y", 5, 7)
    a = exp(x + y)
    fused = fused_of([a, a * x, reshape(a - y, (35,))], [x, y])
    assert clusters(fused) == [(LOOPS, ["add", "exp", "mul", "sub"])]
    assert fused.stored == {a, a * x, a - y}


def test_softmax_is_one_kernel_and_stores_its_result_only() -> None:
    x = tensor("x", 17, 33)
    y = softmax(x)
    fused = fused_of([y], [x])
    (cluster,) = fused.clusters
    assert cluster.kind == LOOPS and cluster.axes == (1,) and fused.stored == {y}
    assert [cluster.role(v) for v in cluster.members] == [ROW, FULL, FULL, ROW, FULL]


def test_softmax_and_its_gradient_are_one_kernel() -> None:
    x, t = tensor("x", 17, 33), tensor("t", 17, 33)
    y = softmax(x)
    loss = reduce_sum(y * t, (0, 1))
    graph = optimised(Graph("f", (x, t), (y, grad(loss, x))))
    assert [kind for kind, _ in clusters(check_kernels(graph))] == [LOOPS]


def test_bias_residual_and_activation_belong_to_the_contraction() -> None:
    x, w, b, r = tensor("x", 5, 7), tensor("w", 7, 13), tensor("b", 13), tensor("r", 5, 13)
    y = relu(dot(x, w) + broadcast(b, (5, 13), (1,)) + r)
    fused = check_kernels(Graph("f", (x, w, b, r), (y,)))
    assert clusters(fused) == [(CONTRACTION, ["dot_general", "add", "add", "max"])]
    assert fused.stored == {y}


def test_a_chain_that_a_contraction_ends_joins_it() -> None:
    x, w, r = tensor("x", 5, 7), tensor("w", 7, 13), tensor("r", 5, 13)
    fused = check_kernels(Graph("f", (x, w, r), (exp(r) * dot(x, w),)))
    assert clusters(fused) == [(CONTRACTION, ["dot_general", "exp", "mul"])]


def test_a_weight_is_updated_in_the_contraction_that_finds_its_gradient() -> None:
    x, dy, w = tensor("x", 5, 7), tensor("dy", 5, 13), state("w", 7, 13)
    step = dot_general(x, dy, contract=((0,), (0,))) * 0.5
    fused = check_kernels(Graph("f", (x, dy), (), ((w, w - step),)))
    assert clusters(fused) == [(CONTRACTION, ["dot_general", "mul", "sub"])]
    assert fused.in_place == {w}


def test_momentum_and_parameter_are_updated_in_one_kernel() -> None:
    g, w, v = tensor("g", 33), state("w", 33), state("velocity", 33)
    velocity = v * 0.5 + g
    fused = check_kernels(Graph("f", (g,), (), ((v, velocity), (w, w - velocity * 0.25))))
    assert len(fused.clusters) == 1 and fused.in_place == {v, w}


def test_reductions_over_the_same_axes_share_their_walk() -> None:
    x = tensor("x", 5, 33)
    fused = check_kernels(Graph("f", (x,), (reduce_sum(exp(x), (1,)), reduce_max(exp(x), (1,)))))
    assert len(fused.clusters) == 1


# ---------------------------------------------------------------------------------------------------------------- apart

X = tensor("x", 7, 7)


@pytest.mark.parametrize(
    "moved",
    [
        lambda y: transpose(y, (1, 0)),
        lambda y: reverse(y, (0,)),
        lambda y: reshape(transpose(reshape(y, (49, 1)), (1, 0)), (7, 7)) + reverse(y, (1,)),
        lambda y: pad(y, (1, 0), (-1, 0)),
        lambda y: broadcast(slice_(y, (0, 0), (1, 7)), (7, 7), (0, 1)),
        lambda y: gather(y, iota(int64, (7,), 0), axes=(0,)),
    ],
    ids=["transpose", "reverse", "reverse of reshape", "shift", "first row", "gather"],
)  # fmt: skip
def test_reads_at_another_index_wait_for_the_whole_value(moved: Callable[[Value], Value]) -> None:
    y = exp(X)
    z = y + moved(y)
    fused = check_kernels(Graph("f", (X,), (z,)))
    assert apart(fused, y, z) and y in fused.stored


def test_a_guarded_read_at_the_same_index_waits_too() -> None:
    y = exp(tensor("x", 7))
    inner = pad(slice_(y, (1,), (6,)), (1,), (1,))  # y with zeros at both ends
    z = inner + y
    fused = fused_of([z], [y.operands[0]])
    assert apart(fused, y, z)


def test_nothing_is_computed_inside_the_loops_of_a_contraction() -> None:
    x, w = tensor("x", 5, 7), tensor("w", 7, 13)
    fused = check_kernels(Graph("f", (x, w), (dot(exp(x), w),)))
    (cluster,) = fused.clusters
    assert clusters(fused) == [(CONTRACTION, ["dot_general"])]
    assert [c.members for c in cluster.prologues.values()] == [[exp(x)]]


def test_what_a_contraction_reads_as_both_operands_is_computed_once() -> None:
    x = tensor("x", 48, 48)
    squared = dot(exp(x), exp(x))
    fused = fused_of([squared], [x])
    assert apart(fused, exp(x), squared) and not fused.home[squared].prologues


def test_a_reduction_of_a_contraction_is_a_kernel_of_its_own() -> None:
    x, w = tensor("x", 5, 7), tensor("w", 7, 13)
    fused = check_kernels(Graph("f", (x, w), (reduce_sum(dot(x, w), (1,)),)))
    assert clusters(fused) == [(CONTRACTION, ["dot_general"]), (LOOPS, ["reduce_sum"])]


def test_a_convolution_reads_its_padding_from_memory() -> None:
    x, w = tensor("x", 2, 3, 7, 7), tensor("w", 5, 3, 3, 3)
    y = conv_general(x, w, strides=(1, 1), padding=((1, 1), (1, 1)))
    fused = check_kernels(optimised(Graph("f", (x, w), (relu(y),))), calls=1)
    (cluster,) = fused.clusters
    assert clusters(fused) == [(CONTRACTION, ["conv_general", "max"])]
    assert [leaf.op.name for leaf in cluster.prologues] == ["pad"]


@pytest.mark.parametrize(("taps", "stored"), [(1, False), (3, True)])
def test_a_convolution_that_reads_for_every_tap_has_its_operand_in_order(taps: int, stored: bool) -> None:
    x, w = tensor("x", 7, 8, 9, 2), tensor("w", 3, 2, taps, taps)
    turned = transpose(x, (3, 1, 2, 0))  # [2, 8, 9, 7]: pictures last
    y = conv_general(turned, w, strides=(1, 1), padding=((0, 0),) * 2, lhs_spec=(3, 0, 1, 2))
    assert (turned in fused_of([y], [x, w]).home) is stored
    along = transpose(x, (1, 0, 2, 3))  # channels stay side by side: nothing to put in order
    z = conv_general(along, w, strides=(1, 1), padding=((0, 0),) * 2, lhs_spec=(1, 3, 0, 2))
    assert along not in fused_of([z], [x, w]).home


def test_reductions_over_other_axes_do_not_share() -> None:
    x = tensor("x", 5, 33)
    rows, columns = reduce_sum(x, (1,)), reduce_sum(x, (0,))
    assert apart(check_kernels(Graph("f", (x,), (rows, columns))), rows, columns)
    e = exp(x)
    by_rows = e / over_rows(reduce_sum(e, (1,)), e)
    fused = check_kernels(Graph("f", (x,), (reduce_sum(by_rows, (0,)),)))
    assert len(fused.clusters) == 2


@pytest.mark.parametrize(
    ("rows", "columns", "one"),
    [(MIN_ROWS, SMALL_DOMAIN, True), (MIN_ROWS - 1, SMALL_DOMAIN, False), (MIN_ROWS - 1, SMALL_DOMAIN // MIN_ROWS, True)],
)
def test_a_reduction_shares_tasks_where_it_leaves_rows_enough(rows: int, columns: int, one: bool) -> None:
    x = tensor("x", rows, columns)
    e = exp(x)
    fused = fused_of([e, reduce_sum(e, (1,))], [x])
    assert (len(fused.clusters) == 1) is one


def test_what_is_read_across_is_transposed_by_a_map() -> None:
    """One more pass through memory, instead of lanes that gather in loops which cannot be turned."""
    x, w, v = tensor("x", 80, 90), tensor("w", 90, 80), tensor("v", 80, 80)
    turned = transpose(w, (1, 0))
    rows, after, product = softmax(x + turned), softmax(x) * turned, dot(x, w) * transpose(v, (1, 0))
    assert clusters(fused_of([exp(x + turned)], [x, w, v])) == [(LOOPS, ["add", "exp"])]
    for y, first in ((rows, "add"), (after, "mul"), (product, "mul")):
        found = clusters(check_kernels(Graph("f", (x, w, v), (y,))))
        assert (LOOPS, [first]) in found and len(found) == 2
    a, b = tensor("a", 8, 9), tensor("b", 9, 8)
    assert len(fused_of([softmax(a + transpose(b, (1, 0)))], [a, b]).clusters) == 1


def test_opaque_kernels_stand_alone_and_their_operands_in_memory() -> None:
    x = tensor("x", 5, 7)
    e = exp(x)
    c = cumsum(transpose(e, (1, 0)), 0)
    fused = check_kernels(Graph("f", (x,), (c * 2.0,)))
    assert [kind for kind, _ in clusters(fused)] == [LOOPS, LOOPS, OPAQUE, LOOPS]
    assert {e, transpose(e, (1, 0)), c} <= fused.stored


def test_a_product_reads_what_was_put_together_through_views() -> None:
    parts = [tensor(f"x{n}", 3, 4) for n in range(JOINT)]
    together, w = concat(parts, 0), tensor("w", 4, 2)
    fused = check_kernels(Graph("f", (*parts, w), (dot(reverse(together, (0,)), w),)))
    assert [kind for kind, _ in clusters(fused)] == [OPAQUE, CONTRACTION]
    assert fused.clusters[-1].sources == {together, w} and not fused.clusters[-1].prologues


def test_views_of_many_views_have_memory_of_their_own() -> None:
    x = tensor("x", 5, 3)
    turned = rolled = x
    for n in range(3 * MAX_DEPTH):
        turned = reverse(transpose(turned, (1, 0)), (n % 2,))
        rolled = reverse(concat([slice_(rolled, (2, 0), (5, 3)), slice_(rolled, (0, 0), (2, 3))], 0), (1,))
    fused = check_kernels(Graph("f", (x,), (exp(turned), exp(rolled))))
    assert 1 < sum(v.op.name != "exp" for v in fused.stored) < 4 * MAX_DEPTH


def test_clusters_never_depend_on_each_other() -> None:
    x, w = tensor("x", 7, 7), tensor("w", 7, 7)
    e = exp(x)
    fused = check_kernels(Graph("f", (x, w), (e, e + dot(e, w))))
    assert clusters(fused) == [(LOOPS, ["exp"]), (CONTRACTION, ["dot_general", "add"])]
    order = {c: n for n, c in enumerate(fused.clusters)}
    for cluster in fused.clusters:
        for reads in cluster.reads.values():
            assert all(order[fused.home[leaf]] <= order[cluster] for leaf, _, _ in reads if leaf in fused.home)


def test_a_merge_that_would_make_a_cycle_is_refused() -> None:
    """exp -> dot -> mul reads exp too: exp and mul are neighbours, but dot stands between them."""
    x, w = tensor("x", 7, 7), tensor("w", 7, 7)
    e = exp(x)
    middle = reduce_sum(dot(e, w), (0,))
    fused = check_kernels(Graph("f", (x, w), (e * broadcast(middle, (7, 7), (1,)),)))
    assert [ops for _, ops in clusters(fused)] == [["exp"], ["dot_general"], ["reduce_sum", "mul"]]


def test_long_chains_are_cut() -> None:
    x = tensor("x", 7)
    y = x
    for _ in range(3 * MAX_WEIGHT):
        y = y + x
    fused = fused_of([y], [x])
    assert len(fused.clusters) == 3 and all(c.weight <= MAX_WEIGHT for c in fused.clusters)


# ------------------------------------------------------------------------------------------------------ updates in place


def in_place_of(
    updates: list[tuple[Value, Value]], inputs: tuple[Value, ...] = (), outputs: tuple[Value, ...] = ()
) -> frozenset[Value]:
    """The variables updated in place, once the numbers have been found right."""
    return check_kernels(Graph("f", inputs, outputs, tuple(updates))).in_place


A, B = state("a", 5, 5), state("bb", 5, 5)
IN = tensor("x", 5, 5)


def test_a_step_away_from_the_old_value_is_made_in_place() -> None:
    assert in_place_of([(A, A * 2.0 + 1.0)]) == {A}


def test_a_reader_of_the_old_value_runs_first() -> None:
    old = transpose(A, (1, 0)) * 3.0
    assert in_place_of([(A, A + IN)], (IN,), (old, reduce_sum(A, (0, 1)))) == {A}


def test_a_reshape_of_the_result_is_the_same_memory() -> None:
    row = state("row", 25)
    assert in_place_of([(row, reshape(exp(IN), (25,)))], (IN,)) == {row}


@pytest.mark.parametrize(
    ("updates", "outputs"),
    [
        ([(A, B), (B, A)], ()),
        ([(A, B)], ()),
        ([(A, A)], ()),
        ([(A, IN)], (IN,)),
        ([(A, transpose(A, (1, 0)))], ()),
        ([(A, exp(IN)), (B, exp(IN))], ()),
        ([(A, exp(IN))], (exp(IN),)),
        ([(A, A + IN)], (A,)),
        ([(A, A + IN)], (reshape(A, (25,)),)),
        ([(A, A + IN), (B, A)], ()),
        ([(A, A + reverse(A, (0,)))], ()),
        ([(A, A - broadcast(reduce_max(A, (1,)), (5, 5), (0,)))], ()),
        ([(A, dot(A, IN))], ()),
        ([(A, cumsum(A, 0))], ()),
    ],
    ids=[
        "swap", "copy", "itself", "placeholder", "view of itself", "one value for two",
        "also an output", "old value is an output", "old value is an output, reshaped", "old value for another",
        "read at another index", "reduced", "operand of a contraction", "operand of an opaque kernel",
    ],
)  # fmt: skip
def test_hazards_are_not_updated_in_place(updates: list[tuple[Value, Value]], outputs: tuple[Value, ...]) -> None:
    assert A not in in_place_of(updates, (IN,), outputs)


def test_a_number_is_written_where_it_belongs() -> None:
    assert in_place_of([(A, full(A.type, 3))]) == {A}


def test_an_opaque_kernel_may_write_a_variable_it_does_not_read() -> None:
    assert in_place_of([(A, cumsum(IN, 0))], (IN,)) == {A}


def test_a_contraction_may_write_a_variable_its_epilogue_reads_there() -> None:
    assert in_place_of([(A, A + dot(IN, IN))], (IN,)) == {A}
    assert in_place_of([(A, transpose(A, (1, 0)) + dot(IN, IN))], (IN,)) == frozenset()


def test_a_row_is_updated_in_place_unless_the_domain_reads_it() -> None:
    row = state("row", 5)
    assert in_place_of([(row, row + reduce_sum(IN, (1,)))], (IN,)) == {row}
    spread = exp(IN + broadcast(row, (5, 5), (0,)))
    assert in_place_of([(row, row + reduce_sum(spread, (1,)))], (IN,)) == frozenset()


def test_a_reader_that_needs_the_new_value_forbids_writing_over_the_old() -> None:
    new = A + IN
    late = dot(new, IN) * A  # reads both the old and, through the product, the new value
    assert A not in in_place_of([(A, new)], (IN,), (late,))


def test_of_two_updates_that_read_each_other_at_most_one_is_in_place() -> None:
    assert len(in_place_of([(A, A + reverse(B, (0,))), (B, B + reverse(A, (0,)))])) == 1
    assert len(in_place_of([(A, reverse(B, (0,))), (B, reverse(A, (1,)))])) == 1


def test_the_order_of_clusters_is_a_fixed_topological_one() -> None:
    graph = Graph("f", (IN,), (dot(exp(IN), IN), cumsum(IN, 0)), ((A, A + transpose(B, (1, 0))), (B, B * 2.0)))
    first, second = fuse(graph), fuse(graph)
    assert clusters(first) == clusters(second)
    dag = nx.DiGraph()
    for cluster in first.clusters:
        for reads in cluster.reads.values():
            dag.add_edges_from((first.home[leaf], cluster) for leaf, _, _ in reads if leaf in first.home)
    dag.remove_edges_from(nx.selfloop_edges(dag))
    assert nx.is_directed_acyclic_graph(dag)
