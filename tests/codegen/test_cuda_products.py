"""Contractions on a GPU: tiles, dot products, steps in parts and operands that are put in order compute what the kernel did."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cuda_kernels import GPU, both_sides, kernel_of, kernels_of, kinds, run_all, x

import graphc as gc
from graphc.codegen.cuda import packs, splits
from graphc.codegen.cuda.contract import TILES, contract
from graphc.codegen.cuda.map import map_kernel, map_launches
from graphc.codegen.cuda.products import product
from graphc.codegen.cuda.roles import FOLD, PACKET
from graphc.codegen.cuda.tidy import tidy
from graphc.codegen.cuda.tiles import Tile, tiled
from graphc.codegen.cuda.transposes import transpose
from graphc.ir.kernel import For, walk

F = gc.nn.functional


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
