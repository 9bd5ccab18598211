"""Loop clusters as kernels: numbers on odd shapes and machines, and how loops are collapsed, cut and kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from programs import check_kernels, optimised

from graphc.dtype import DType, bfloat16, dtype, float16, float32, float64, int64
from graphc.ir.expr import Div, Expr, Mod
from graphc.ir.graph import Graph
from graphc.ir.kernel import SERIAL, VECTOR, Accumulate, For, If, Launch, Local, Store, expressions, operands, walk
from graphc.ir.types import TensorType
from graphc.ir.values import Value, full, make
from graphc.ops.index import gather
from graphc.ops.pieces import concat, pad, slice_
from graphc.ops.reduce import reduce_max, reduce_sum
from graphc.ops.shape import broadcast, reshape, transpose
from graphc.ops.source import placeholder
from graphc.ops.window import reduce_window
from graphc.passes.element import UNROLL_LIMIT
from graphc.passes.fuse import fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine
from graphc.passes.nest import COLUMN_LANES, MAP_CHUNK, MIN_CHUNK, SCRATCH_LIMIT, SQUARE

MACHINES = [Machine(16, 16), Machine(32, 16), Machine(64, 32)]
SIZES = (1, 2, 3, 5, 7, 13, 17, 31, 33)


def tensor(name: str, *shape: int, dtype: DType = float32) -> Value:
    return placeholder(name, TensorType(dtype, shape))


def exp(x: Value) -> Value:
    return make("exp", x)


def kept(x: Value, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(d for d in range(x.type.rank) if d not in axes)


def softmax(x: Value, axes: tuple[int, ...]) -> Value:
    e = exp(x - broadcast(reduce_max(x, axes), x.shape, kept(x, axes)))
    return e / broadcast(reduce_sum(e, axes), x.shape, kept(x, axes))


def launches(graph: Graph, machine: Machine | None = None) -> tuple[Launch, ...]:
    return lower([fuse(graph)], machine or Machine()).functions[0].launches


def launch(x: Value, y: Value, machine: Machine | None = None) -> Launch:
    (only,) = launches(Graph("f", (x,), (y,)), machine)
    return only


def loops(found: Launch) -> list[int]:
    """The iterations of all loops, outermost first."""
    return [stmt.var.extent for stmt in walk(found.kernel.body) if isinstance(stmt, For)]


def divisions(found: Launch) -> bool:
    """Whether any index inside the kernel's loops is divided."""
    stack: list[Expr] = [e for stmt in walk(found.kernel.body) for e in expressions(stmt)]
    while stack:
        expr = stack.pop()
        if isinstance(expr, Div | Mod):
            return True
        stack += operands(expr)
    return False


# -------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_softmax_over_every_axis_at_odd_sizes(machine: Machine) -> None:
    for n, size in enumerate(SIZES):
        other = SIZES[-1 - n]
        for axes in ((0,), (1,), (0, 1)):
            x = tensor("x", size, other)
            check_kernels(Graph("f", (x,), (softmax(x, axes), reduce_max(x, axes))), machine, calls=1)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (0, 2), (1, 3), (0, 1, 3), (1, 2), (0, 1, 2, 3)], ids=str)
def test_reductions_over_any_axes(axes: tuple[int, ...]) -> None:
    x = tensor("x", 3, 5, 2, 7)
    for machine in MACHINES[1:]:
        y = reduce_sum(exp(x), axes)
        spread = broadcast(y, x.shape, kept(x, axes)) * x
        check_kernels(Graph("f", (x,), (y, spread, make("tanh", y))), machine, calls=1)


NUMBERS = ("uint8", "int64", "float16", "bfloat16", "float64")
FOLDS = [(kind, name) for kind in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min") for name in NUMBERS]


@pytest.mark.parametrize(("kind", "dtype_"), [*FOLDS, ("reduce_any", "bool"), ("reduce_all", "bool")])
def test_folds_of_every_dtype(kind: str, dtype_: str) -> None:
    x = tensor("x", 5, 19, dtype=dtype(dtype_))
    check_kernels(Graph("f", (x,), (make(kind, x, axes=(0,)), make(kind, x, axes=(1,)))), calls=1)


@pytest.mark.parametrize("size", [1, MIN_CHUNK - 1, MIN_CHUNK + 1, MAP_CHUNK, MAP_CHUNK + 1, 16 * MIN_CHUNK + 3])
def test_maps_of_any_length(size: int) -> None:
    x = tensor("x", size)
    check_kernels(Graph("f", (x,), (x * x + 1.0,)), calls=1)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (3, 0, 4), (4, 3, 0), (0, 0)], ids=str)
def test_there_may_be_no_elements(shape: tuple[int, ...]) -> None:
    x, order = tensor("x", *shape), tuple(reversed(range(len(shape))))
    check_kernels(Graph("f", (x,), (exp(x) + 1.0, exp(transpose(x, order)))), calls=1)
    for axes in ((0,), (len(shape) - 1,), tuple(range(len(shape)))):
        check_kernels(Graph("f", (x,), (reduce_sum(exp(x), axes),)), calls=1)


def test_dimensions_of_one_element_come_and_go() -> None:
    x = tensor("x", 1, 5, 1, 7)
    y = reshape(exp(x), (5, 7)) + 1.0
    row = reduce_sum(reshape(y, (5, 1, 7, 1)), (1, 2))
    fused = check_kernels(Graph("f", (x,), (y, row, reduce_max(x, (0, 2)))))
    assert len(fused.clusters) <= 2


def test_views_are_read_through() -> None:
    x = tensor("x", 5, 7)
    y = transpose(pad(x, (1, 0), (0, 2)), (1, 0)) * 2.0
    z = concat([y, slice_(y, (0, 1), (9, 4))], 1) + 1.0
    check_kernels(Graph("f", (x,), (exp(y), z, reduce_sum(z, (1,)))), calls=1)


def test_small_floats_are_folded_in_float32() -> None:
    for small in (float16, bfloat16, float64, int64):
        x = tensor("x", 4097, dtype=small)
        found = launch(x, reduce_sum(x, (0,)))
        folds = [s for s in walk(found.kernel.body) if isinstance(s, Accumulate)]
        assert folds and all(s.array.dtype is (float32 if small.bits == 16 else small) for s in folds)


# ------------------------------------------------------------------------------------------------------------- structure


def test_axes_that_all_accesses_walk_alike_are_one_loop() -> None:
    x = tensor("x", 3, 5, 7)
    found = launch(x, exp(x))
    assert found.kernel.task.extent == 1 and not divisions(found)
    moved = launch(x, transpose(x, (1, 0, 2)) + 1.0)
    assert loops(moved) == [3, 7] and moved.kernel.task.extent == 5  # rows of 7 lanes
    swapped = launch(x, exp(transpose(x, (1, 2, 0))))
    assert loops(swapped) == [35, 3]  # the first two result axes walk x as one, the last its slowest
    assert not divisions(swapped)
    cut = launch(x, exp(slice_(x, (0, 0, 0), (3, 5, 6))))
    assert cut.kernel.task.extent == 15  # rows of x are longer than rows of the result, but equally far apart


@pytest.mark.parametrize("shape", [(130, 70), (64, 64), (5, 200), (200, 5), (3, 70, 9), (2, 3, 70, 50)], ids=str)
@pytest.mark.parametrize("machine", [Machine(16, 16), Machine(64, 32)], ids=str)
def test_tasks_transpose_squares(shape: tuple[int, ...], machine: Machine) -> None:
    x, order = tensor("x", *shape), (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    other = tensor("other", *(shape[d] for d in order))
    y = exp(transpose(x, order)) + other
    (found,) = launches(Graph("f", (x, other), (y,)), machine)
    steps = [stmt.var.extent for stmt in walk(found.kernel.body) if isinstance(stmt, For) and stmt.kind == SERIAL]
    rows, columns = shape[-2:]
    assert max(steps) == min(columns, SQUARE * max(1, SQUARE // rows))
    check_kernels(Graph("f", (x, other), (y,)), machine, calls=1)


def test_short_rows_share_vectors_or_tasks() -> None:
    x, y, z = tensor("x", 40, 30), tensor("y", 7, 6, 5, 3), tensor("z", 70)
    twice, turned, thrice = broadcast(x, (40, 30, 2), (0, 1)), transpose(y, (1, 0, 2, 3)), broadcast(z, (70, 3), (0,))
    for value, leaf, tasks, walked in (
        (twice, x, 10, [256, 96]),  # rows of two elements are parts of vectors
        (turned, y, 6, [7, 15]),  # a task's number would be divided for each row
        (thrice, z, 70, [3]),  # it is not
    ):
        found = launch(leaf, exp(value), Machine(64, 32))
        assert (found.kernel.task.extent, loops(found)) == (tasks, walked)
        check_kernels(Graph("f", (leaf,), (exp(value),)), Machine(64, 32), calls=1)


def test_guards_keep_axes_apart() -> None:
    x = tensor("x", 3, 5)
    found = launch(x, exp(pad(x, (0, 1), (0, 1))))
    assert found.kernel.task.extent == 3


def test_long_maps_are_cut_into_chunks_and_a_rest() -> None:
    x = tensor("x", MAP_CHUNK * 16 + 5)
    found = launch(x, x + 1.0)
    assert found.kernel.task.extent == 17
    (branch,) = (s for s in found.kernel.body if isinstance(s, If))
    whole, rest = (next(s for s in walk(part) if isinstance(s, For)) for part in (branch.then, branch.orelse))
    assert (whole.var.extent, rest.var.extent) == (MAP_CHUNK, 5)


@pytest.mark.parametrize(("rows", "tasks"), [(1, 4), (3, 12), (64, 64)])
def test_a_small_map_is_cut_by_all_its_elements(rows: int, tasks: int) -> None:
    x, bias = tensor("x", rows, 4 * MIN_CHUNK), tensor("bias", 4 * MIN_CHUNK)
    (found,) = launches(Graph("f", (x, bias), (exp(x + broadcast(bias, x.shape, (1,))),)))
    assert found.kernel.task.extent == tasks


def test_maps_of_whole_chunks_have_no_rest() -> None:
    x = tensor("x", MAP_CHUNK * 16)
    found = launch(x, x + 1.0)
    assert found.kernel.task.extent == 16 and not any(isinstance(s, If) for s in walk(found.kernel.body))


def test_columns_are_folded_side_by_side() -> None:
    x = tensor("x", 33, 2 * COLUMN_LANES)
    found = launch(x, reduce_sum(x, (0,)))
    assert found.kernel.task.extent == 2
    accs = [s.array for s in walk(found.kernel.body) if isinstance(s, Local)]
    assert {a.size for a in accs} == {COLUMN_LANES}


def test_rows_are_tasks_and_lanes_their_last_axis() -> None:
    x = tensor("x", 33, 17)
    found = launch(x, softmax(x, (1,)))
    assert found.kernel.task.extent == 33
    loops = [s for s in walk(found.kernel.body) if isinstance(s, For)]
    assert len(loops) == 3 and all(s.kind == VECTOR and s.var.extent == 17 for s in loops)  # max, sum, division


def test_heavy_values_are_kept_between_passes_while_they_fit() -> None:
    def scratch(columns: int) -> set[int]:
        x = tensor("x", 33, columns)
        return {s.array.size for s in walk(launch(x, softmax(x, (1,))).kernel.body) if isinstance(s, Local)}

    fits = SCRATCH_LIMIT // 4
    assert fits in scratch(fits)
    assert scratch(fits + 1) == {1}


def test_a_value_read_twice_is_computed_once() -> None:
    x = tensor("x", 33)
    y = make("sin", x)
    found = launch(x, y * y + y)
    heavy = [s for s in walk(found.kernel.body) for e in expressions(s) if "sin" in _words(e)]
    assert len(heavy) == 1


def _words(expr: Expr) -> set[str]:
    found = {getattr(expr, "word", "")}
    for part in operands(expr):
        found |= _words(part)
    return found


@pytest.mark.parametrize(("window", "looped"), [(5, False), (7, True)])
def test_large_windows_are_loops(window: int, looped: bool) -> None:
    assert (window * window > UNROLL_LIMIT) is looped
    x = tensor("x", 2, 13, 13)
    y = reduce_window(x, window=(1, window, window), kind="max", strides=(1, 1, 1))
    graph = Graph("f", (x,), (make("tanh", y),))
    check_kernels(graph, calls=1)
    (found,) = launches(graph)
    assert any(isinstance(s, Accumulate) for s in walk(found.kernel.body)) is looped


def test_a_large_window_under_a_reduction() -> None:
    x = tensor("x", 3, 40)
    y = reduce_window(x, window=(1, 34), kind="sum", strides=(1, 1))
    total = reduce_sum(y, (1,))
    check_kernels(Graph("f", (x,), (y - broadcast(total, y.shape, (0,)), total)), calls=1)


def test_data_dependent_reads_are_lowered_in_place() -> None:
    x, i = tensor("x", 5, 7), tensor("i", 3, dtype=int64)
    rows = gather(x, i, axes=(0,))
    fused = check_kernels(Graph("f", (x, i), (rows + 1.0, reduce_max(rows, (1,)))))
    assert len(fused.clusters) <= 3


def test_wide_domains_compute_several_vectors_at_once() -> None:
    machine = Machine(32, 16)
    widths = []
    for size in (100, 1 << 16):
        x = tensor("x", size)
        widths.append({s.width for s in walk(launch(x, x + 1.0, machine).kernel.body) if isinstance(s, For)})
    assert widths == [{8}, {32}]


def test_chains_of_heavy_functions_compute_twice_as_many_vectors_at_once() -> None:
    machine, x = Machine(32, 16), tensor("x", 1 << 10, 1 << 6)
    y = exp(x)
    deep = (make("sin", y), make("sin", y * 2.0 + 1.0), make("ndtr", x))  # ndtr is an exponential of a polynomial
    for result, width in ((y, 32), (y * make("sin", x), 32), *((result, 64) for result in deep)):
        assert {s.width for s in walk(launch(x, result, machine).kernel.body) if isinstance(s, For)} == {width}
    assert {s.width for s in walk(launch(x, softmax(exp(x), (1,)), machine).kernel.body) if isinstance(s, For)} == {32}
    row, other = tensor("row", 1 << 6), tensor("other", 1 << 10, 1 << 6)
    for operand, width in ((broadcast(row, x.shape, (1,)), 64), (x, 64), (other, 32)):  # of two large arrays, memory is slower
        (found,) = launches(Graph("f", (x, row, other), (make("ndtr", x) + operand,)), machine)
        assert {s.width for s in walk(found.kernel.body) if isinstance(s, For)} == {width}


def test_maps_of_any_shape_walk_memory_in_one_line() -> None:
    for shape in ((8, 512, 32), (64, 2, 64, 4), (6, 10, 15, 7)):
        x = tensor("x", *shape)
        assert not divisions(launch(x, exp(x) * 2.0))


def test_a_number_everywhere_needs_no_operand() -> None:
    (found,) = launches(optimised(Graph("f", (), (full(TensorType(float32, (5,)), 2),))))
    assert len(found.args) == 1 and any(isinstance(s, Store) for s in walk(found.kernel.body))
