"""Where the loops of kernels run on a GPU: every mapping computes what the kernel did, and is what it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import pytest
from cuda_kernels import both_sides, kernel_of, kernels_of, x
from programs import planned

import graphc as gc
from graphc.codegen.cuda import packs, scatters, splits
from graphc.codegen.cuda.columns import interleave
from graphc.codegen.cuda.contract import TILES, contract
from graphc.codegen.cuda.map import map_kernel, map_launches
from graphc.codegen.cuda.maps import flatten
from graphc.codegen.cuda.products import product
from graphc.codegen.cuda.roles import FOLD, PACKET, THREADS, Mapped
from graphc.codegen.cuda.sync import barriers
from graphc.codegen.cuda.target import Options, gpu
from graphc.codegen.cuda.teams import spread
from graphc.codegen.cuda.tidy import tidy
from graphc.codegen.cuda.tiles import Tile, tiled
from graphc.codegen.cuda.transposes import transpose
from graphc.codegen.cuda.words import says
from graphc.codegen.expand import expand_kernel
from graphc.driver import GPU_THREAD
from graphc.dtype import float32, int64
from graphc.interp.kernel import run_kernel
from graphc.ir.expr import Array, Var, as_index, const, load, temp
from graphc.ir.graph import Graph
from graphc.ir.kernel import SERIAL, VECTOR, Accumulate, For, If, Kernel, Let, Local, Stmt, Store, walk
from graphc.ir.types import TensorType
from graphc.ir.values import make
from graphc.ops.source import placeholder

GPU = gpu("sm_90")
ATOMICS = gpu("sm_90", Options(atomics=True))
F = gc.nn.functional


def kinds(mapped: Mapped) -> set[str]:
    return {stmt.kind for stmt in walk(mapped.kernel.body) if isinstance(stmt, For)}


# ----------------------------------------------------------------------------------------------------------- contractions

PRODUCTS: dict[str, Callable[[], tuple[list[gc.Tensor], gc.Tensor]]] = {
    "plain": lambda: ([a := x(37, 19), b := x(19, 50, name="b")], a @ b),
    "both_transposed": lambda: ([a := x(24, 36), b := x(20, 24, name="b")], a.T @ b.T),
    "batch_with_epilogue": lambda: ([a := x(3, 10, 12), b := x(3, 12, 16, name="b")], gc.relu(a @ b) + 1.0),
    "integers": lambda: ([a := x(18, 9, dtype=gc.int32), b := x(9, 21, dtype=gc.int32, name="b")], a @ b),
    "halves": lambda: ([a := x(33, 17, dtype=gc.float16), b := x(17, 40, dtype=gc.float16, name="b")], a @ b),
}


@pytest.mark.parametrize("tile", TILES[1:], ids=str)
@pytest.mark.parametrize("case", PRODUCTS)
def test_every_tile_computes_the_product_in_the_same_order(case: str, tile: Tile) -> None:
    kernel = kernel_of(*PRODUCTS[case]())
    found = product(kernel)
    assert found is not None
    before, after = both_sides(kernel, tiled(found, tile))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_tiles_are_loaded_and_stored_16_bytes_at_a_time() -> None:
    kernel = kernel_of([a := x(128, 24), b := x(24, 256, name="b")], a @ b)
    found = product(kernel)
    assert found is not None
    mapped = tiled(found, TILES[0])
    before, after = both_sides(kernel, mapped)
    np.testing.assert_array_equal(before[-1], after[-1])
    assert mapped.grid == 2 and mapped.block == 256 and len(mapped.shared) == 2
    packets = [s for s in walk(mapped.kernel.body) if isinstance(s, For) and s.kind == PACKET]
    assert len(packets) == 8  # panels: both first, both next, the right one stored; both fragments; the results


def test_convolutions_are_products_of_pixels_and_channels() -> None:
    image, weight = x(2, 3, 9, 9), x(5, 3, 3, 3, name="w")
    *_, kernel = (k for k in kernels_of([image, weight], F.conv2d(image, weight, padding=1)) if "conv" in k.name)
    found = product(kernel)
    assert found is not None and found.steps.size == 27
    assert sorted((found.rows.size, found.columns.size)) == [5, 162]
    before, after = both_sides(kernel, tiled(found, TILES[3]))
    np.testing.assert_array_equal(before[-1], after[-1])


def test_few_results_of_many_steps_are_dot_products() -> None:
    kernel = kernel_of([a := x(3, 9000), b := x(9000, 2, name="b")], a @ b)
    mapped = contract(kernel, GPU)
    assert mapped is not None and mapped.kernel.task.extent == 6 and FOLD in kinds(mapped)
    before, after = both_sides(kernel, mapped)
    np.testing.assert_allclose(after[-1], before[-1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("case", ("both_transposed", "batch_with_epilogue", "integers", "convolution"))
def test_steps_in_parts_are_added_up(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "GAIN", 0.001)
    monkeypatch.setattr(splits, "LEAST_STEPS", 3)
    image, weight = x(4, 9, 9, 6), x(4, 7, 7, 5, name="w")
    convolution = lambda: ([image, weight], gc.einsum("nhwc,nhwd->cd", image[:, 1:8, 1:8], weight))  # noqa: E731
    *_, kernel = kernels_of(*(PRODUCTS | {"convolution": convolution})[case]())
    found = splits.split(kernel, GPU)
    assert found is not None and found[2] is None
    parts = found[:2]
    between = parts[0].params[-1]
    assert between is parts[1].params[0] and between.size % kernel.task.extent == 0
    params = (between, *kernel.params)
    rng = np.random.default_rng(0)
    arrays = [(3 * rng.standard_normal(param.size)).astype(param.dtype.numpy) for param in params]
    before = run_all([kernel], params, arrays)
    after = run_all([map_kernel(part, GPU).kernel for part in parts], params, arrays)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-3)


def test_weights_that_lie_badly_are_put_in_order_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "READ_BY", 1)
    image, first, weight = x(1, 64, 3, 3), x(64, 64, 3, 3, name="first"), x(64, 64, 3, 3, name="w")
    hidden = F.conv2d(F.conv2d(image, first, padding=1), weight, padding=1)
    *_, kernel = (k for k in kernels_of([image, first, weight], hidden.mean((2, 3))) if k.name == "conv_general")
    parts = packs.pack(kernel)
    assert parts is not None
    between = parts[0].params[-1]
    assert between is parts[1].params[0] and between.size == 64 * 64 * 9 and transpose(tidy(parts[0]), GPU) is not None
    params = (between, *kernel.params)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(param.size).astype(np.float32) for param in params]
    before = run_all([kernel], params, arrays)
    after = run_all([map_kernel(part, GPU).kernel for part in parts], params, arrays)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-3)


def test_operands_that_lie_well_or_are_read_by_few_stay() -> None:
    a, b, c = x(1024, 64, name="a"), x(64, 96, name="b"), x(96, 64, name="c")
    for left, right in ((a, b), (a, c.T), (c, a.T), (b.T, a.T)):
        assert all(packs.pack(kernel) is None for kernel in kernels_of([a, b, c], left @ right))
    small, weight = x(1, 6, 9, 7), x(20, 6, 3, 3, name="w")
    assert all(packs.pack(kernel) is None for kernel in kernels_of([small, weight], F.conv2d(small, weight)))


def test_the_gradients_of_weights_fill_the_gpu() -> None:
    image, slope = x(8, 56, 56, 64), x(8, 56, 56, 64, name="slope")
    *_, kernel = kernels_of([image, slope], gc.einsum("nhwc,nhwd->cd", image, slope))
    first, second = map_launches(kernel, GPU)
    assert first.grid >= GPU.processors > map_kernel(kernel, GPU).grid and second.kernel.params[0] is first.kernel.params[-1]
    square = kernel_of([a := x(1024, 1024), b := x(1024, 1024, name="b")], a @ b)
    assert splits.split(square, GPU) is None


def test_what_is_no_product_is_not_taken_for_one() -> None:
    a = x(6, 5)
    assert product(kernel_of([a], a.sum(1))) is None
    assert product(kernel_of([a], a * a)) is None


def test_products_that_use_nothing_twice_are_not_tiled() -> None:
    kernel = kernel_of([a := x(6, 500)], (a * a).sum(1))
    mapped = contract(kernel, GPU)
    assert mapped is not None and mapped.kernel.task.extent == 6 and not mapped.shared and FOLD in kinds(mapped)


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
    "rows": ((1000, 40), 300, (0,)),
    "few_elements": ((70, 3), 300, (0,)),
    "two_axes": ((12, 9, 31), 250, (0, 1)),
    "columns": ((5, 60), 300, (1,)),
}


def scattered(name: str, mode: str) -> tuple[Kernel, list[np.ndarray]]:
    """A scatter of random updates, some of them to one place and some to none, with data for its params."""
    shape, count, axes = SCATTERED[name]
    rest = tuple(n for d, n in enumerate(shape) if d not in axes)
    types = [TensorType(float32, shape), TensorType(float32, (count, *rest)), *(TensorType(int64, (count,)) for _ in axes)]
    values = [placeholder(f"x{n}", type_) for n, type_ in enumerate(types)]
    graph = Graph("f", tuple(values), (make("scatter", *values, axes=axes, mode=mode),))
    (launch,) = planned([graph], GPU_THREAD).functions[0].launches
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(type_.size).astype(np.float32) for type_ in types[:2]]
    arrays += [rng.integers(-1, shape[axis] + 1, count) for axis in axes]
    return expand_kernel(launch.kernel, says), [*arrays, np.zeros(types[0].size, np.float32)]


def run_all(kernels: Sequence[Kernel], params: Sequence[Array], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The result, which is the last param, of kernels that have some of the params each."""
    memory = dict(zip(params, (array.copy() for array in arrays), strict=True))
    for kernel in kernels:
        run_kernel(kernel, [memory[param] for param in kernel.params])
    return memory[params[-1]]


@pytest.mark.parametrize("mode", ("set", "add", "max"))
@pytest.mark.parametrize("name", SCATTERED)
def test_scattered_updates_have_an_owner(name: str, mode: str) -> None:
    kernel, arrays = scattered(name, mode)
    found = scatters.scatter(tidy(kernel))
    assert found is not None and found.word == mode and found.inner * prod(found.sizes) == arrays[0].size
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
