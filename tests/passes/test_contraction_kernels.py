"""Contractions as kernels: numbers at odd sizes on several machines, schedules, overlapping tiles and epilogues."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from contractions import MACHINES, SIZES, dot, launches, machines, tensor
from programs import check_kernels, optimised

from graphc.dtype import dtype, float32
from graphc.ir.expr import Div, Expr, Load, Mod, linear
from graphc.ir.graph import Graph
from graphc.ir.kernel import (
    ARENA,
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    For,
    Store,
    expressions,
    operands,
    walk,
)
from graphc.ir.values import Value, full, make
from graphc.ops.convolve import conv_general
from graphc.ops.shape import broadcast, transpose
from graphc.ops.source import variable
from graphc.passes.axes import merged
from graphc.passes.fuse import CONTRACTION, FusedGraph
from graphc.passes.locality import ordered
from graphc.passes.machine import Machine
from graphc.passes.schedule import Problem, Scheduler, choose
from graphc.passes.tiles import Loop, Schedule, candidates


def epilogue(y: Value, bias: Value) -> Value:
    """bias and relu"""
    y = y + broadcast(bias, y.shape, (y.type.rank - 1,))
    return make("max", y, full(y.type, 0))


def kernels_of(fused: FusedGraph) -> list[str]:
    return [cluster.kind for cluster in fused.clusters]


# -------------------------------------------------------------------------------------------------------------- numbers


@machines
@pytest.mark.parametrize("side", ["rows", "depth", "columns"])
def test_products_of_odd_sizes(machine: Machine, side: str) -> None:
    for n, size in enumerate(SIZES):
        m, k, columns = {"rows": (size, 5, 18), "depth": (4, size, 9), "columns": (7, 3, size)}[side]
        a = tensor("a", *((m, k) if n % 2 else (k, m)))
        b = tensor("b", *((k, columns) if n % 3 else (columns, k)))
        bias = tensor("bias", columns)
        y = dot(a, b, ((1 if n % 2 else 0,), (0 if n % 3 else 1,)))
        check_kernels(Graph("f", (a, b, bias), (epilogue(y, bias),)), machine, calls=1)


@machines
def test_batches_outer_products_and_sums_of_all(machine: Machine) -> None:
    a, b = tensor("a", 3, 5, 7), tensor("b", 3, 7, 5)
    cases = [
        dot(a, b, ((2,), (1,)), ((0,), (0,))),
        dot(a, b, ((0, 1, 2), (0, 2, 1))),
        dot(a, b, ((1,), (2,)), ((0, 2), (0, 1))),
        dot(tensor("u", 5), tensor("v", 7), ((), ())),
        dot(a, b, ((2, 1), (1, 2)), ((0,), (0,))),
    ]
    for y in cases:
        inputs = tuple(dict.fromkeys(v for v in y.operands))
        check_kernels(Graph("f", inputs, (y,)), machine, calls=1)


@machines
def test_convolutions_of_odd_sizes(machine: Machine) -> None:
    for n, size in enumerate((3, 5, 7, 13)):
        channels, outs = SIZES[n], SIZES[-1 - n] if n else 5
        x, w = tensor("x", 2, channels, size, 5), tensor("w", outs, channels, 3, 2)
        y = conv_general(x, w, strides=(1 + n % 2, 1), padding=((n % 3, 1), (0, n % 2)), rhs_dilation=(1, 1 + n % 2))
        check_kernels(optimised(Graph("f", (x, w), (y,))), machine, calls=1)


@machines
@pytest.mark.parametrize("groups", [1, 3])
def test_convolutions_with_groups_and_any_layout(machine: Machine, groups: int) -> None:
    x, w = tensor("x", 2, 7, 6, 3 * 2), tensor("w", 3, 2, 6 // groups, 5 * 3)
    y = conv_general(
        x, w, strides=(1, 2), padding=((1, 1), (1, 0)), feature_groups=groups,
        lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2),
    )  # fmt: skip
    check_kernels(optimised(Graph("f", (x, w), (make("tanh", y),))), machine, calls=1)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64", "int32", "int8", "uint8", "int64"])
def test_every_dtype(name: str) -> None:
    a, b = tensor("a", 5, 17, dtype=dtype(name)), tensor("b", 17, 5, dtype=dtype(name))
    check_kernels(Graph("f", (a, b), (dot(a, b), dot(b, a))), calls=1)


def test_empty_contractions() -> None:
    a, b, nothing = tensor("a", 3, 0), tensor("b", 0, 3), tensor("x", 0)
    check_kernels(Graph("f", (a, b), (dot(a, b), dot(b, a))), calls=1)
    for y in (dot(nothing, tensor("y", 0), ((0,), (0,))), dot(nothing, a, ((0,), (1,))), dot(a, a, ((1,), (1,)))):
        check_kernels(Graph("f", tuple(dict.fromkeys(y.operands)), (y + 1.0,)), calls=1)
    check_kernels(Graph("f", (a, nothing), (dot(make("exp", a), nothing, ((1,), (0,))),)), calls=1)  # with a prologue


# ------------------------------------------------------------------------------------------------------------- structure


def test_the_inner_loop_is_unrolled_rows_of_vectors() -> None:
    a, b = tensor("a", 32, 32), tensor("b", 32, 32)
    (found,) = launches(Graph("f", (a, b), (dot(a, b),)))
    (fold,) = (s for s in walk(found.kernel.body) if isinstance(s, Accumulate))
    (inner,) = (s for s in walk(found.kernel.body) if isinstance(s, For) and fold in s.body)
    (rows,) = (s for s in walk(found.kernel.body) if isinstance(s, For) and inner in s.body)
    assert (inner.kind, inner.width, rows.kind) == (VECTOR, 8, UNROLLED)
    assert fold.array.size == rows.var.extent * inner.var.extent


def test_dot_products_of_many_steps_keep_sums_in_lanes() -> None:
    x, ct = tensor("x", 2, 9, 8, 21), tensor("ct", 3, 7, 6, 21)  # a kernel's gradient, pictures last
    spec = {"lhs_spec": (0, 3, 1, 2), "rhs_spec": (0, 3, 1, 2)}
    graph = Graph("f", (x, ct), (conv_general(x, ct, strides=(1, 1), padding=((0, 0),) * 2, **spec),))
    (launch,) = launches(graph, MACHINES[1])
    inside = [
        stmt for loop in walk(launch.kernel.body) if isinstance(loop, For) and loop.kind == SERIAL for stmt in walk(loop.body)
    ]
    (sums,) = {stmt.array for stmt in inside if isinstance(stmt, Accumulate)}
    lanes = {stmt.var.extent for stmt in inside if isinstance(stmt, For) and stmt.kind == VECTOR}
    assert lanes == {8} and sums.size % 8 == 0  # whole vectors, though there are 21 pictures
    for machine in MACHINES:
        check_kernels(graph, machine, calls=1)


def test_stored_operands_are_addressed_without_divisions() -> None:
    x, w = tensor("x", 1, 5, 9, 10), tensor("w", 6, 5, 3, 3)
    y = conv_general(x, w, strides=(1, 1), padding=((0, 0), (0, 0)))
    *_, found = launches(optimised(Graph("f", (x, w), (y,))))
    (fold,) = (s for s in walk(found.kernel.body) if isinstance(s, Accumulate))
    for read in loads(fold.value):
        assert not any(isinstance(atom, Div | Mod) for atom in linear(read.index)[0])


def loads(expr: Expr) -> list[Load]:
    found = [expr] if isinstance(expr, Load) else []
    return found + [e for part in operands(expr) for e in loads(part)]


@machines
@pytest.mark.parametrize("batch", [(), (3,)], ids=["plain", "batch"])
def test_every_possible_schedule_computes_the_product(machine: Machine, batch: tuple[int, ...]) -> None:
    """Whatever the costs say: every lane axis, tile axes and packing, each with its largest tile."""
    a, b = tensor("a", *batch, 7, 6), tensor("b", *batch, 9, 6)
    last = len(batch) + 1
    y = dot(a, b, ((last,), (last,)), (range(len(batch)), range(len(batch))))
    graph = Graph("f", (a, b), (make("tanh", y),))
    found: dict[object, Schedule] = {}

    def collect(problem: Problem) -> Schedule:
        for s in candidates(problem.loops, problem.width, machine, problem.origins):
            found[s.lane, s.packed, tuple(axis for axis, _ in s.tile)] = ordered(problem.loops, s, machine, problem.results)
        return choose(problem)

    launches(graph, machine, collect)
    assert {len(s.packed) for s in found.values()} == {0, 1, 2}
    for schedule in found.values():
        forced: Scheduler = lambda _, schedule=schedule: schedule  # noqa: E731
        *packs, last_launch = launches(graph, machine, forced)
        assert len(packs) == len(schedule.packed) - len(schedule.near)
        assert all(buffer in last_launch.args for pack in packs for buffer in pack.args if buffer.kind == ARENA)
        check_kernels(graph, machine, calls=1, scheduler=forced)


@machines
@pytest.mark.parametrize("batch", [(), (3,)], ids=["plain", "batch"])
@pytest.mark.parametrize("block", [(-1, 0), (0, 4)], ids=["whole", "blocks"])
def test_visits_pack_operands_themselves(machine: Machine, batch: tuple[int, ...], block: tuple[int, int]) -> None:
    """Whatever the costs say: every packed operand, and both, near; groups in any order that need not come out even."""
    a, b = tensor("a", *batch, 11, 8), tensor("b", *batch, 8, 37)
    y = dot(a, b, ((len(batch) + 1,), (len(batch),)), (range(len(batch)), range(len(batch))))
    graph = Graph("f", (a, b), (make("tanh", y),))
    found: dict[object, Schedule] = {}

    def collect(problem: Problem) -> Schedule:
        for s in candidates(problem.loops, problem.width, machine, problem.origins):
            if s.packed and (not s.tile or s.tile[0][1] <= 4):
                found[s.lane, s.packed, tuple(axis for axis, _ in s.tile)] = ordered(problem.loops, s, machine, problem.results)
        return choose(problem)

    launches(graph, machine, collect)
    for schedule in found.values():
        tiled = [schedule.lane, *dict(schedule.tile)]
        apart = [n for n in schedule.order if n not in tiled]
        for order in permutations(tiled):
            near = schedule.packed if len(order) == 2 else schedule.packed[:1]
            forced = replace(schedule, order=(*apart, *order), group=tuple((n, 2) for n in order), block=block, near=near)
            scheduler: Scheduler = lambda _, forced=forced: forced  # noqa: E731
            assert len(launches(graph, machine, scheduler)) == 1 + len(forced.packed) - len(forced.near)
            check_kernels(graph, machine, calls=1, scheduler=scheduler)


def test_a_last_tile_overlaps_and_stores_its_own_part_only() -> None:
    a, b = tensor("a", 7, 5), tensor("b", 5, 17)
    (found,) = launches(Graph("f", (a, b), (dot(a, b),)), Machine(32, 16))
    (store,) = (s for s in walk(found.kernel.body) if isinstance(s, Store) and s.array in found.kernel.params)
    assert store.guard is not None
    a, b = tensor("a", 6, 5), tensor("b", 5, 16)
    (found,) = launches(Graph("f", (a, b), (dot(a, b),)), Machine(32, 16))
    (store,) = (s for s in walk(found.kernel.body) if isinstance(s, Store) and s.array in found.kernel.params)
    assert store.guard is None


@machines
def test_variables_are_updated_in_place_though_tiles_overlap(machine: Machine) -> None:
    for m, n in ((7, 17), (13, 33), (31, 5), (1, 9)):
        x, dy = tensor("x", 5, m), tensor("dy", 5, n)
        w, v = (variable(name, np.ones((m, n), np.float32)) for name in ("w", "v"))
        velocity = v * 0.5 + dot(x, dy, ((0,), (0,)))
        fused = check_kernels(Graph("f", (x, dy), (), ((v, velocity), (w, w - velocity * 0.25))), machine, calls=2)
        assert kernels_of(fused) == [CONTRACTION] and fused.in_place == {w, v}


def test_several_results_of_one_epilogue() -> None:
    a, b, r = tensor("a", 7, 5), tensor("b", 5, 17), tensor("r", 7, 17)
    y = dot(a, b)
    s = make("tanh", y)
    fused = check_kernels(Graph("f", (a, b, r), (y, s, s * r, transpose(r, (1, 0)))))
    assert kernels_of(fused).count(CONTRACTION) == 1
    (found,) = (x for x in launches(Graph("f", (a, b, r), (y, s, s * r))))
    tanh = [stmt for stmt in walk(found.kernel.body) for e in expressions(stmt) if getattr(e, "word", "") == "tanh"]
    assert len(tanh) == 1  # named, not computed again for the second result


def test_the_epilogue_of_a_small_float_starts_from_the_rounded_product() -> None:
    half = dtype("float16")
    a, b = tensor("a", 3, 65, dtype=half), tensor("b", 65, 3, dtype=half)
    check_kernels(Graph("f", (a, b), (dot(a, b) * 3.0,)), calls=1)
    (found,) = launches(Graph("f", (a, b), (dot(a, b),)))
    (fold,) = (s for s in walk(found.kernel.body) if isinstance(s, Accumulate))
    assert fold.array.dtype is float32


# ----------------------------------------------------------------------------------------------------- merging of loops


def test_neighbours_that_all_arrays_walk_as_one_are_joined() -> None:
    outer, inner = Loop(3, 20, 0, 8, False), Loop(4, 5, 0, 2, False)
    assert merged([outer, inner, Loop(5, 1, 2, 0, True)]) == (Loop(12, 5, 0, 2, False), Loop(5, 1, 2, 0, True))
    assert merged([Loop(3, 20, 0, 8, False), Loop(4, 5, 0, 1, False)])[:1] == (Loop(3, 20, 0, 8, False),)
    assert len(merged([Loop(3, 20, 1, 8, False), inner])) == 2
    assert len(merged([Loop(3, 20, 0, 0, True), Loop(4, 5, 0, 2, False)])) == 2


def test_axes_of_one_element_go_but_one_kept_axis_stays() -> None:
    assert merged([Loop(1, 9, 9, 9, False), Loop(5, 1, 1, 0, True)]) == (Loop(1, 0, 0, 1, False), Loop(5, 1, 1, 0, True))


def test_tiles_are_visited_block_by_block_where_operands_do_not_stay_near() -> None:
    """The gradient of a kernel: long sums of operands that no order of tiles keeps in so small a cache."""
    machine = Machine(16, 16, l1=256, l2=4096)
    x, ct = tensor("x", 3, 9, 10, 12), tensor("ct", 3, 7, 8, 20)
    y = conv_general(
        x, ct, strides=(1, 1), padding=((0, 0), (0, 0)), lhs_spec=(3, 0, 1, 2), rhs_spec=(3, 0, 1, 2), out_spec=(1, 0, 2, 3)
    )
    v = variable("v", np.ones(y.shape, np.float32))
    graph = Graph("f", (x, ct), (), ((v, v * 0.5 + y),))
    *_, found = launches(optimised(graph), machine)
    fold = next(s for s in walk(found.kernel.body) if isinstance(s, Accumulate))
    sums = [s.array for s in walk(found.kernel.body) if isinstance(s, Store) and s.array.name.startswith("sums")]
    assert sums and sums[0].size > fold.array.size and sums[0].size % fold.array.size == 0
    check_kernels(optimised(graph), machine, calls=2)


@pytest.mark.parametrize("sizes", [(40, 300, 48), (37, 290, 45), (26, 1000, 33)], ids=str)
def test_blocks_of_long_products(sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    a, b = tensor("a", k, m), tensor("b", k, n)
    sums = dot(a, b, ((0,), (0,))) * k**-0.5  # about 1: tanh takes the size of larger ones away, and leaves their rounding
    graph = Graph("f", (a, b), (make("tanh", sums),))
    for machine in (Machine(16, 16, l1=256, l2=16384), Machine(32, 16, l1=1024, l2=32768)):
        check_kernels(graph, machine, calls=1)


@pytest.mark.parametrize("sizes", [(157, 127, 170), (103, 131, 230)], ids=str)
def test_groups_of_rows_stay_near_while_columns_pass_by(sizes: tuple[int, int, int]) -> None:
    """Groups need not come out even: the last one has fewer tiles, and the last tile starts earlier."""
    m, k, n = sizes
    a, b = tensor("a", m, k), tensor("b", k, n)
    machine = Machine(16, 16, l1=512, l2=48000)
    product = (Loop(m, k, 0, n, False), Loop(n, 0, 1, 1, False), Loop(k, 1, n, 0, True))
    schedule = choose(Problem(product, 4, machine))
    assert schedule.block == (-1, 0) and schedule.tiles(product, 0) % dict(schedule.group)[0]
    check_kernels(Graph("f", (a, b), (make("tanh", dot(a, b)),)), machine, calls=1)
