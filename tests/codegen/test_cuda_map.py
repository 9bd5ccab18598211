"""Where the loops of kernels run on a GPU: every mapping computes what the kernel did, and is what it should be."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
from cuda_kernels import GPU, both_sides, kernel_of, kernels_of, kinds, run_all, x
from programs import planned

import graphc as gc
from graphc.codegen.cuda import scatters
from graphc.codegen.cuda.columns import interleave
from graphc.codegen.cuda.map import map_kernel, map_launches
from graphc.codegen.cuda.maps import flatten
from graphc.codegen.cuda.roles import FOLD, PACKET, THREADS
from graphc.codegen.cuda.sync import barriers
from graphc.codegen.cuda.target import Options, gpu
from graphc.codegen.cuda.teams import spread
from graphc.codegen.cuda.tidy import tidy
from graphc.codegen.cuda.transposes import transpose
from graphc.codegen.cuda.words import says
from graphc.codegen.expand import expand_kernel
from graphc.driver import GPU_THREAD
from graphc.dtype import float32, int64
from graphc.ir.expr import Array, Var, as_index, const, load, temp
from graphc.ir.graph import Graph
from graphc.ir.kernel import SERIAL, VECTOR, Accumulate, For, If, Kernel, Let, Local, Stmt, Store, walk
from graphc.ir.types import TensorType
from graphc.ir.values import make
from graphc.ops.source import placeholder

ATOMICS = gpu("sm_90", Options(atomics=True))
F = gc.nn.functional


# ------------------------------------------------------------------------------------------------------------------- rows

ROWS: dict[str, Callable[[gc.Tensor], gc.Tensor]] = {
    "softmax": lambda a: F.softmax(a, -1),
    "layer_norm": lambda a: F.layer_norm(a, (a.shape[1],)),
    "sum": lambda a: a.sum(1),
    "argmax": lambda a: a.argmax(1),
    "columns": lambda a: a.sum(0) * 2.0,
    "all": lambda a: (a > 0).all(1),
}


@pytest.mark.parametrize("width", (31, 128, 1003, 2312))
@pytest.mark.parametrize("name", ROWS)
def test_teams_compute_rows(name: str, width: int) -> None:
    a = x(3, width)
    for kernel in kernels_of([a], ROWS[name](a)):
        mapped = spread(kernel, GPU)
        assert mapped is not None and mapped.block % 32 == 0
        before, after = both_sides(kernel, mapped)
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_a_row_chain_is_one_kernel_with_its_row_in_registers() -> None:
    mapped = map_kernel(kernel_of([a := x(64, 1024)], F.softmax(a, -1)), GPU)
    assert (mapped.grid, mapped.block) == (64, 256) and not mapped.shared and not mapped.barriers
    assert {FOLD, THREADS, PACKET} <= kinds(mapped)
    assert sorted(size for array, size in mapped.parts.items() if array.name.startswith("kept")) == [4]


@pytest.mark.parametrize("shape", ((301, 40), (7, 33, 24), (64, 100)), ids=str)
def test_tall_columns_are_folded_in_parts(shape: tuple[int, ...]) -> None:
    a = x(*shape)
    (kernel,) = kernels_of([a], a.sum(tuple(range(len(shape) - 1))))
    mapped = map_kernel(kernel, GPU)
    assert mapped.team > 64 and mapped.shared and mapped.barriers
    before, after = both_sides(kernel, mapped)
    np.testing.assert_allclose(after[-1], before[-1], rtol=1e-4, atol=1e-4)


def centred_squares(columns: int) -> Kernel:
    """As in the statistics of a batch: differences from the mean take its place, and their squares are summed."""
    batch, mean, sums = (Array(name, float32, n * columns) for name, n in (("batch", 4 * 30), ("mean", 1), ("sums", 4)))
    task, row, lane = Var("task", 4), Var("r", 30), Var("v", columns)
    at, acc = (task * 30 + row) * columns + lane, Array("acc", float32, columns)
    centred = load(batch, at) - load(mean, lane)
    body = (
        Local(acc),
        For(lane, (Store(acc, lane, const(0, float32)),), VECTOR, 4),
        For(row, (For(lane, (Accumulate(acc, lane, "add", centred * centred), Store(batch, at, centred)), VECTOR, 4),)),
        For(lane, (Store(sums, task * columns + lane, load(acc, lane)),), VECTOR, 4),
    )
    return Kernel("squares", (batch, mean, sums), task, body)


@pytest.mark.parametrize("columns", (8, 24, 35))
def test_columns_that_are_stored_on_the_way_are_folded(columns: int) -> None:
    kernel = centred_squares(columns)
    mapped = map_kernel(kernel, GPU)
    assert mapped.block > columns and mapped.shared
    before, after = both_sides(kernel, mapped)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5)


def test_folds_down_columns_leave_cells_alone_that_another_row_may_use() -> None:
    source, out, sums = Array("source", float32, 640), Array("out", float32, 640), Array("sums", float32, 64)
    row, lane = Var("r", 10), Var("v", 64)

    def kernel(at: object, read: object) -> Kernel:
        fold = Accumulate(sums, lane, "add", load(source, row * 64 + lane) + load(out, as_index(read)))  # type: ignore[arg-type]
        keep = Store(out, as_index(at), load(source, row * 64 + lane))  # type: ignore[arg-type]
        return Kernel("k", (source, out, sums), Var("task", 1), (For(row, (For(lane, (fold, keep), VECTOR, 4),)),))

    for good in (kernel(row * 64 + lane, row * 64 + lane),):
        assert interleave(good, GPU) is not good
    for bad in (kernel(lane, lane), kernel(row * 32 + lane, row * 32 + lane), kernel(row * 64 + lane, lane)):
        assert interleave(bad, GPU) is bad


def test_columns_that_are_many_stay_whole() -> None:
    kernel = kernel_of([a := x(8, 1 << 21)], a.sum(0))
    assert interleave(kernel, GPU) is kernel


def test_rows_of_many_tasks_are_a_warp_each() -> None:
    mapped = map_kernel(kernel_of([a := x(4096, 1024)], F.softmax(a, -1)), GPU)
    assert (mapped.team, mapped.teams, mapped.grid) == (32, 8, 512) and not mapped.barriers


def test_short_rows_of_many_tasks_are_a_thread_each() -> None:
    kernel = kernel_of([a := x(4096, 5)], F.softmax(a, -1))
    mapped = map_kernel(kernel, GPU)
    assert (mapped.team, mapped.block, mapped.grid) == (1, 256, 16)
    assert kinds(mapped) == {SERIAL}


def test_lanes_that_may_meet_in_a_cell_are_left_to_one_thread() -> None:
    places, counts = Array("places", int64, 64), Array("counts", float32, 8)
    lane, place = Var("v", 64), temp("place", int64, (0, 7))
    meet = Accumulate(counts, as_index(place), "add", const(1, float32))
    kernel = Kernel(
        "histogram", (places, counts), Var("task", 1), (For(lane, (Let(place, load(places, lane)), meet), VECTOR, 8),)
    )
    assert spread(kernel, GPU) is None and flatten(kernel) is None
    assert map_kernel(kernel, GPU).team == 1


# --------------------------------------------------------------------------------------------------------------- scatters

SCATTERED = {
    "rows": ((1000, 40), 300, (0,), 0, 0),
    "few_elements": ((70, 3), 300, (0,), 0, 0),
    "two_axes": ((12, 9, 31), 250, (0, 1), 0, 0),
    "columns": ((5, 60), 300, (1,), 0, 0),
    "behind_others": ((4, 60, 3), 300, (1,), 1, 0),
    "between_others": ((3, 45, 20), 300, (1,), 1, 0),
    "each_page_its_own": ((4, 60, 3), 300, (1,), 0, 1),
    "each_book_its_own": ((3, 2, 45, 20), 150, (2,), 1, 1),
}


def scattered(name: str, mode: str) -> tuple[Kernel, list[np.ndarray]]:
    """A scatter of random updates, some of them to one place and some to none, with data for its params."""
    shape, count, axes, lead, batch = SCATTERED[name]
    rest = tuple(n for d, n in enumerate(shape) if d not in axes)
    asked = (*shape[:batch], count)
    types = [
        TensorType(float32, shape),
        TensorType(float32, (*rest[: batch + lead], count, *rest[batch + lead :])),
        *(TensorType(int64, asked) for _ in axes),
    ]
    values = [placeholder(f"x{n}", type_) for n, type_ in enumerate(types)]
    graph = Graph("f", tuple(values), (make("scatter", *values, axes=axes, mode=mode, lead=lead, batch=batch),))
    (launch,) = planned([graph], GPU_THREAD).functions[0].launches
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(type_.size).astype(np.float32) for type_ in types[:2]]
    arrays += [rng.integers(-1, shape[axis] + 1, prod(asked)) for axis in axes]
    return expand_kernel(launch.kernel, says), [*arrays, np.zeros(types[0].size, np.float32)]


@pytest.mark.parametrize("mode", ("set", "add", "max"))
@pytest.mark.parametrize("name", SCATTERED)
def test_scattered_updates_have_an_owner(name: str, mode: str) -> None:
    kernel, arrays = scattered(name, mode)
    found = scatters.scatter(tidy(kernel))
    assert found is not None and found.word == mode and found.outer * found.inner * prod(found.sizes) == arrays[0].size
    mapped = map_kernel(kernel, GPU)
    assert mapped.kernel.task.extent >= prod(found.sizes) and not mapped.atomic
    before, after = (run_all([side], kernel.params, arrays) for side in (kernel, mapped.kernel))
    np.testing.assert_array_equal(after, before)
    assert (FOLD in kinds(mapped)) and (mapped.kernel.task.extent == arrays[0].size) == (
        found.inner < scatters.FEW and mode == "max"
    )


@pytest.mark.parametrize("name", SCATTERED)
def test_with_atomics_updates_are_added_as_they_come(name: str) -> None:
    kernel, arrays = scattered(name, "add")
    copy, add = map_launches(kernel, ATOMICS)
    assert add.kernel.task.extent == arrays[1].size and add.atomic == {kernel.params[-1]} and not copy.atomic
    before = run_all([kernel], kernel.params, arrays)
    np.testing.assert_allclose(run_all([copy.kernel, add.kernel], kernel.params, arrays), before, rtol=1e-5, atol=1e-6)
    for mode in ("set", "max"):
        assert len(map_launches(scattered(name, mode)[0], ATOMICS)) == 1


def test_updates_that_are_too_many_to_look_through_for_each_place_are_left_to_ranges_of_places() -> None:
    table, i, updates = x(1 << 20, 64), x(1 << 20, dtype=gc.int64, name="i"), x(1 << 20, 64, name="updates")
    *_, kernel = kernels_of([table, i, updates], table.index_add(0, i, updates))
    found = scatters.scatter(kernel)
    assert found is not None and scatters.gathered(found, GPU) is None
    assert map_kernel(kernel, GPU).kernel.task.extent == GPU.processors


@pytest.mark.parametrize("mode", ("set", "add", "max"))
@pytest.mark.parametrize("name", SCATTERED)
def test_ranges_of_places_have_an_owner(name: str, mode: str) -> None:
    kernel, arrays = scattered(name, mode)
    found = scatters.scatter(tidy(kernel))
    assert found is not None
    before, after = (run_all([side], kernel.params, arrays) for side in (kernel, scatters.ranged(found, GPU)))
    np.testing.assert_array_equal(after, before)


def test_what_is_no_scatter_is_not_taken_for_one() -> None:
    a = x(40, 60)
    for output in (a.cumsum(0), a.argsort(1), a.T * 2.0, F.softmax(a, -1)):
        assert all(scatters.scatter(tidy(kernel)) is None for kernel in kernels_of([a], output))


# ------------------------------------------------------------------------------------------------------------------- maps


def test_maps_have_a_thread_for_16_bytes() -> None:
    kernel = kernel_of([a := x(40, 512)], a * 2 + 1)
    mapped = map_kernel(kernel, GPU)
    assert mapped.kernel.task.extent == 40 * 512 // 4 and mapped.grid * mapped.block == 40 * 512 // 4
    before, after = both_sides(kernel, mapped)
    np.testing.assert_array_equal(before[-1], after[-1])
    (store,) = (s for s in walk(mapped.kernel.body) if isinstance(s, Store))
    assert str(store.index.terms[0][1]) == "4"  # type: ignore[attr-defined]  # item * 4 + lane, whatever the chunks were


TRANSPOSED: dict[str, Callable[[], tuple[list[gc.Tensor], gc.Tensor]]] = {
    "plain": lambda: ([a := x(64, 96)], a.T * 2.0),
    "odd": lambda: ([a := x(67, 45)], a.T + 1.0),
    "batch": lambda: ([a := x(3, 40, 33)], a.transpose(1, 2).exp()),
    "with_another": lambda: ([a := x(40, 70), b := x(70, 40, name="b")], a.T * b + a.T),
    "bytes": lambda: ([a := x(48, 40, dtype=gc.int8)], a.T + 1),
    "first_to_last": lambda: ([a := x(20, 6, 31)], a.permute(1, 2, 0) * 3.0),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_what_lanes_read_across_goes_through_tiles(name: str) -> None:
    *_, kernel = kernels_of(*TRANSPOSED[name]())
    mapped = transpose(tidy(kernel), GPU)
    assert mapped is not None and mapped.barriers and all(tile.size == 32 * 33 for tile in mapped.shared)
    before, after = both_sides(kernel, mapped)
    np.testing.assert_array_equal(before[-1], after[-1])
    assert map_kernel(kernel, GPU).shared


def test_maps_without_a_transpose_have_no_tiles() -> None:
    a, b = x(64, 96), x(96, name="b")
    for output in (a * 2.0, a + b, a[:, ::2] * 2.0, a.reshape(8, 8, 96).transpose(0, 1) * 2.0):
        assert all(transpose(tidy(kernel), GPU) is None for kernel in kernels_of([a, b], output))


def test_maps_of_odd_extents_have_a_thread_for_each_element() -> None:
    kernel = kernel_of([a := x(3, 5007)], a.exp())
    flat = flatten(kernel)
    assert flat is not None and not any(isinstance(s, For) for s in walk(flat.body))
    before, after = both_sides(kernel, map_kernel(kernel, GPU))
    np.testing.assert_array_equal(before[-1], after[-1])


# --------------------------------------------------------------------------------------------------------------- barriers

CELLS = Array("cells", float32, 64)
OTHER = Array("other", float32, 64)


def store(array: Array, kind: str = THREADS) -> For:
    lane = Var("t", 64)
    return For(lane, (Store(array, lane, const(1, float32)),), kind)


def copy(source: Array, target: Array) -> For:
    lane = Var("t", 64)
    return For(lane, (Store(target, lane, load(source, 63 - lane)),), THREADS)


def meets(*body: Stmt) -> list[bool]:
    found = barriers(body, {CELLS, OTHER})
    return [stmt in found for stmt in walk(body) if isinstance(stmt, For) and stmt.kind == THREADS]


def test_threads_meet_between_a_store_and_a_load_and_the_other_way_round() -> None:
    assert meets(store(CELLS), copy(CELLS, OTHER)) == [False, True]
    assert meets(copy(CELLS, OTHER), store(CELLS)) == [False, True]
    assert meets(store(CELLS), store(CELLS)) == [False, True]


def test_threads_do_not_meet_for_what_does_not_touch() -> None:
    assert meets(store(CELLS), store(OTHER)) == [False, False]
    assert meets(copy(CELLS, OTHER), copy(CELLS, Array("third", float32, 64))) == [False, False]
    assert meets(store(CELLS), copy(CELLS, OTHER), store(Array("third", float32, 64))) == [False, True, False]


def test_the_end_of_a_round_meets_the_start_of_the_next() -> None:
    assert meets(For(Var("k", 3), (store(CELLS), copy(CELLS, OTHER)))) == [True, True]
    assert meets(For(Var("k", 3), (copy(CELLS, OTHER),))) == [True]  # stores of OTHER, again and again


def test_both_branches_are_remembered() -> None:
    condition = load(Array("flags", gc.bool_, 1), as_index(0))
    assert meets(If(condition, (store(CELLS),), (store(OTHER),)), copy(OTHER, CELLS)) == [False, False, True]


# ------------------------------------------------------------------------------------------------------------------- tidy


def test_what_nothing_reads_is_dropped_with_all_it_took() -> None:
    out, dead, first = Array("out", float32, 4), Array("dead", float32, 4), Array("first", float32, 4)
    once, i, unused = Var("once", 1), Var("i", 4), temp("unused", float32)
    body = (
        Local(first),
        Local(dead),
        For(i, (Store(first, i, const(1, float32)), Let(unused, load(first, i)), Store(dead, i, load(first, i)))),
        For(once, (Store(out, once, const(2, float32)),)),
    )
    kernel = tidy(Kernel("k", (out,), Var("task", 1), body))
    (left,) = kernel.body
    assert isinstance(left, Store) and left.array is out
    assert tidy(kernel) is kernel
