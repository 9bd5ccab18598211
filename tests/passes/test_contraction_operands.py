"""Operands of contractions as kernels: what is read in place, computed on the way, or packed beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from contractions import MACHINES, TINY, dot, launches, machines, tensor
from programs import check_kernels, optimised

from graphc.ir.graph import Graph
from graphc.ir.kernel import CONSTANT, expressions, walk
from graphc.ir.values import Value, constant, full, make
from graphc.ops.convolve import conv_general
from graphc.ops.pieces import pad, slice_
from graphc.ops.shape import broadcast, reshape, reverse, transpose
from graphc.ops.source import variable
from graphc.passes.fuse import LOOPS, fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine

# --------------------------------------------------------------------------------------------------- operands in memory


@machines
@pytest.mark.parametrize(
    ("view", "computed"),
    [
        (lambda x: transpose(x, (1, 0)), False),
        (lambda x: reshape(x, (5, 5)), False),
        (lambda x: reverse(x, (0,)), False),
        (lambda x: slice_(x, (0, 0), (5, 5), (1, 1)) if x.shape != (5, 5) else transpose(x, (1, 0)), False),
        (lambda x: broadcast(slice_(x, (1, 0), (2, 5)), (5, 5), (0, 1)), False),
        (lambda x: pad(x, (1, 0), (-1, 0)), True),
        (lambda x: make("exp", x), True),
    ],
    ids=["transpose", "reshape", "reverse", "slice", "broadcast", "pad", "exp"],
)  # fmt: skip
def test_affine_views_of_operands_are_read_in_place(machine: Machine, view: object, computed: bool) -> None:
    x, w = tensor("x", 5, 5), tensor("w", 5, 17)
    y = dot(view(x), w)  # type: ignore[operator]
    fused = check_kernels(Graph("f", (x, w), (y,)), machine, calls=1)
    (cluster,) = fused.clusters
    assert bool(cluster.prologues) is computed


def test_a_reshape_that_is_no_stride_is_the_same_memory() -> None:
    x, w = tensor("x", 2, 5, 5), tensor("w", 2, 5, 10, 5)
    y = dot(reshape(x, (10, 5)), w, ((0, 1), (2, 3)))
    assert len(check_kernels(Graph("f", (x, w), (y,)), calls=1).clusters) == 1
    mixed = dot(reshape(transpose(x, (1, 0, 2)), (10, 5)), w, ((0, 1), (2, 3)))
    assert [len(c.prologues) for c in check_kernels(Graph("f", (x, w), (mixed,)), calls=1).clusters] == [1]


def test_an_operand_may_be_read_twice_by_one_contraction() -> None:
    x = tensor("x", 7, 7)
    y = dot(x, transpose(x, (1, 0)))
    for machine in (*MACHINES, TINY):
        check_kernels(Graph("f", (x,), (y + x,)), machine, calls=1)


# ------------------------------------------------------------------------------------------------------------ prologues


def prologue(x: Value) -> Value:
    """scale and relu, of a padded value"""
    grown = pad(x, (1,) + (0,) * (x.type.rank - 1), (0,) * x.type.rank)
    return make("max", grown * 0.5 - full(grown.type, 0.125), full(grown.type, 0))


@machines
@pytest.mark.parametrize("shape", [(7, 31, 17), (33, 5, 66), (1, 31, 33), (31, 33, 1)], ids=str)
def test_producers_of_operands_are_computed_by_the_contraction(machine: Machine, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    for a, b in ((tensor("a", m, k), tensor("b", k - 1, n)), (tensor("a", k, m), tensor("b", n, k))):
        left = make("tanh", a * 0.25)
        right = prologue(b) if b.shape[1] == n and b.shape[0] == k - 1 else make("neg", b)
        y = dot(left, right, ((1 if a.shape == (m, k) else 0,), (0 if b.shape[0] == k - 1 else 1,)))
        (cluster,) = check_kernels(Graph("f", (a, b), (y,)), machine, calls=1).clusters
        assert {leaf: c.kind for leaf, c in cluster.prologues.items()} == {left: LOOPS, right: LOOPS}


def test_prologues_go_straight_into_panels_where_these_pay() -> None:
    a, b = tensor("a", 96, 96), tensor("b", 96, 96)
    graph = Graph("f", (a, b), (dot(a, make("abs", b), ((1,), (1,))),))
    first, last = launches(graph, MACHINES[2])
    assert first.kernel.name.endswith("_pack") and "b" in {buffer.name for buffer in first.args}
    assert any(getattr(e, "word", "") == "abs" for stmt in walk(first.kernel.body) for e in expressions(stmt))
    assert not any(getattr(e, "word", "") == "abs" for stmt in walk(last.kernel.body) for e in expressions(stmt))
    check_kernels(graph, MACHINES[2], calls=1)


@machines
def test_a_padded_convolution_is_one_cluster(machine: Machine) -> None:
    x, w = tensor("x", 1, 3, 6, 7), tensor("w", 5, 3, 3, 3)
    y = conv_general(x, w, strides=(1, 1), padding=((1, 1), (1, 1)))
    graph = optimised(Graph("f", (x, w), (y,)))
    (cluster,) = check_kernels(graph, machine, calls=1).clusters
    assert len(cluster.prologues) == 1


def test_values_with_other_readers_are_no_prologues() -> None:
    a, b, c = tensor("a", 5, 5), tensor("b", 5, 5), tensor("c", 5, 5)
    x = make("tanh", a)
    for outputs in [(dot(x, b), x), (dot(x, b), dot(x, c)), (dot(x, transpose(x, (1, 0))),), (dot(x, b) + x,)]:
        fused = check_kernels(Graph("f", (a, b, c), outputs), calls=1)
        assert not any(cluster.prologues for cluster in fused.clusters)


@machines
def test_what_one_prologue_reads_is_no_other(machine: Machine) -> None:
    """Both operands start from one value, which must be there before either is made."""
    x, w = tensor("x", 7, 7), tensor("w", 7, 7)
    y = make("tanh", x)
    left = transpose(pad(y, (1, 0), (-1, 0)), (1, 0)) * w
    fused = check_kernels(Graph("f", (x, w), (dot(left, y),)), machine, calls=1)
    assert not any(y in cluster.prologues for cluster in fused.clusters)


@machines
def test_a_prologue_reads_a_variable_before_its_contraction_updates_it(machine: Machine) -> None:
    x = tensor("x", 17, 17)
    w = variable("w", np.linspace(-1, 1, 17 * 17, dtype=np.float32).reshape(17, 17))
    y = w - dot(make("tanh", transpose(w, (1, 0))), x) * 0.25
    fused = check_kernels(Graph("f", (x,), (), ((w, y),)), machine, calls=2)
    assert [len(c.prologues) for c in fused.clusters] == [1] and fused.in_place == {w}


@machines
def test_constants_are_packed_by_the_compiler(machine: Machine) -> None:
    x = tensor("x", 7, 45)
    for size, turned in ((45, False), (33, True), (5, False), (1, False)):
        data = np.arange(45 * size, dtype=np.float32).reshape((size, 45) if turned else (45, size)) / 64
        y = dot(x, constant(data), ((1,), (1 if turned else 0,)))
        graph = Graph("f", (x,), (y, y * 2))
        check_kernels(graph, machine, calls=1)
        *packs, _ = launches(graph, machine)
        assert not any(buffer.kind == CONSTANT for pack in packs for buffer in pack.args)
    packed = lower([fuse(graph), fuse(graph)], machine).constants
    assert len(packed) == 1  # both functions read one copy
