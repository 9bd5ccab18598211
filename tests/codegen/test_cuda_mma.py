"""Products of matrices by warps, alone: fragments as NVIDIA's PTX ISA lays them out, the roundings of operands, and tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from itertools import product as pairs

import numpy as np
import pytest
from cuda_kernels import both_sides, kernel_of, kernels_of, x
from emulated_cuda import COMPILER, Library, build

import graphc as gc
from graphc.codegen.cuda.contract import TENSOR_TILES, contract, tensor_dtype
from graphc.codegen.cuda.expressions import below
from graphc.codegen.cuda.fragments import TensorTile, fragmented, resident
from graphc.codegen.cuda.map import map_launches
from graphc.codegen.cuda.mma import NAMES
from graphc.codegen.cuda.prelude import prelude
from graphc.codegen.cuda.products import Product, product
from graphc.codegen.cuda.roles import MMA, PACKET, Mapped
from graphc.codegen.cuda.target import Options, gpu
from graphc.dtype import DType, bfloat16, float16, float32, tfloat32
from graphc.interp.words import rounder
from graphc.ir.expr import Array, Expr, Index, Load, Temp, Var, as_index, load
from graphc.ir.kernel import Accumulate, For, Kernel, Let, Store, walk
from graphc.ir.kernel_rewrite import Renamed

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++, which compiles CUDA source for the CPU")
F = gc.nn.functional
STEPS = {tfloat32: 8, bfloat16: 16, float16: 16}

# ------------------------------------------------------------------------------------------------------------------ words


def words_source() -> str:
    """A kernel of one warp for each type, whose lanes hold what they are given, and one that rounds."""
    texts = []
    for dtype, name in NAMES.items():
        kind, per = ("float", 1) if dtype is tfloat32 else ("uint16_t", 2)
        texts.append(f"""
__global__ void multiply_{name}(GRAPHC_GLOBAL(const {kind}) a, GRAPHC_GLOBAL(const {kind}) b, GRAPHC_GLOBAL(float) c) {{
  {kind} mine[{4 * per}], other[{2 * per}];
  float sums[4];
  for (int i = 0; i < {4 * per}; ++i) mine[i] = a[threadIdx.x * {4 * per} + i];
  for (int i = 0; i < {2 * per}; ++i) other[i] = b[threadIdx.x * {2 * per} + i];
  for (int i = 0; i < 4; ++i) sums[i] = c[threadIdx.x * 4 + i];
  mma_{name}(sums, mine, other);
  for (int i = 0; i < 4; ++i) c[threadIdx.x * 4 + i] = sums[i];
}}
extern "C" int run_{name}({kind} *a, {kind} *b, float *c) {{
  GRAPHC_LAUNCH(multiply_{name}, 1, 32, nullptr, GRAPHC_BUFFER({kind}, a, 0, {128 * per}),
                GRAPHC_BUFFER({kind}, b, 0, {64 * per}), GRAPHC_BUFFER(float, c, 0, 128));
  return cudaGetLastError();
}}""")
    texts.append("""
__global__ void rounded(GRAPHC_GLOBAL(float) y) { y[blockIdx.x] = to_tfloat(y[blockIdx.x]); }
extern "C" int run_rounded(float *y, int64_t count) {
  GRAPHC_LAUNCH(rounded, unsigned(count), 1, nullptr, GRAPHC_BUFFER(float, y, 0, count));
  return cudaGetLastError();
}""")
    text = "\n".join(texts)
    return prelude(text) + text


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return build(words_source(), tmp_path_factory.mktemp("words"))


def held_by_lanes(matrix: np.ndarray, which: str, dtype: DType) -> np.ndarray:
    """What each lane holds of a matrix, word for word as the PTX ISA's "Matrix Fragments for mma.m16n8k8" and "m16n8k16"."""
    result = []
    for lane in range(32):
        group, member = lane >> 2, lane % 4
        if which == "c":
            places = [(group if i < 2 else group + 8, member * 2 + (i & 1)) for i in range(4)]
        elif dtype is tfloat32 and which == "a":
            places = [(group if i in (0, 2) else group + 8, member if i in (0, 1) else member + 4) for i in range(4)]
        elif dtype is tfloat32:
            places = [(member if i == 0 else member + 4, group) for i in range(2)]
        elif which == "a":
            row = [group if i in (0, 1, 4, 5) else group + 8 for i in range(8)]
            places = [(row[i], member * 2 + (i & 1) + (0 if i < 4 else 8)) for i in range(8)]
        else:
            places = [(member * 2 + (i & 1) + (0 if i < 2 else 8), group) for i in range(4)]
        result += [matrix[place] for place in places]
    return np.array(result)


def in_memory(values: np.ndarray, dtype: DType) -> np.ndarray:
    return values.astype(np.float32) if dtype is tfloat32 else values.astype(dtype.numpy).view(np.uint16)


def multiply(words: Library, dtype: DType, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """c + a @ b by one instruction."""
    left, right = (words.device(in_memory(held_by_lanes(m, which, dtype), dtype)) for m, which in ((a, "a"), (b, "b")))
    sums = words.device(held_by_lanes(c, "c", dtype).astype(np.float32))
    assert words.call(f"run_{NAMES[dtype]}", left, right, sums) == 0
    places = held_by_lanes(np.arange(128).reshape(16, 8), "c", dtype)
    result = np.empty(128, np.float32)
    result[places] = sums
    return result.reshape(16, 8)


@needs_compiler
@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_a_warp_multiplies_matrices(words: Library, dtype: DType) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 9, (16, STEPS[dtype])), rng.integers(-9, 9, (STEPS[dtype], 8))
    c = rng.integers(-99, 99, (16, 8))
    np.testing.assert_array_equal(multiply(words, dtype, a, b, c), c + a @ b)


@needs_compiler
@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_products_are_exact_and_sums_lose_no_more_than_is_said(words: Library, dtype: DType) -> None:
    rng = np.random.default_rng(1)
    to_operand = np.vectorize(rounder(dtype))
    a, b = (
        to_operand(rng.standard_normal(s).astype(np.float32) * np.exp2(rng.integers(-6, 6, s)).astype(np.float32))
        for s in ((16, STEPS[dtype]), (STEPS[dtype], 8))
    )
    c = np.zeros((16, 8))
    only = np.zeros_like(a)
    only[:, 3] = a[:, 3]
    np.testing.assert_array_equal(multiply(words, dtype, only, b, c), (only @ b).astype(np.float32))
    away = np.abs(multiply(words, dtype, a, b, c) - a @ b)
    assert away.max() > 0 and (away <= (STEPS[dtype] + 16) * 2.0**-22 * (np.abs(a) @ np.abs(b))).all()


@needs_compiler
def test_infinities_and_nan_are_kept(words: Library) -> None:
    a, b, c = np.ones((16, 8)), np.ones((8, 8)), np.zeros((16, 8))
    a[1, 2], a[2, 3] = np.inf, np.nan
    y = multiply(words, tfloat32, a, b, c)
    assert (y[0] == 8).all() and (y[1] == np.inf).all() and np.isnan(y[2]).all()


SPECIAL = [0.0, -0.0, 1.0, 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-11, 1 + 2**-11 - 2**-23, np.inf, -np.inf, np.nan]
SPECIAL += [float(np.finfo(np.float32).max), 2.0**-149, 2.0**-137, 2.0**-126]


@needs_compiler
def test_operands_are_rounded_to_ten_bits_with_ties_away_from_zero(words: Library) -> None:
    values = np.concatenate([np.float32(SPECIAL), np.random.default_rng(0).standard_normal(200, np.float32)])
    given = words.device(values)
    assert words.call("run_rounded", given, len(values)) == 0
    sizes = np.abs(values[np.isfinite(values)].astype(np.float64))
    unit = np.exp2(np.maximum(np.floor(np.log2(np.maximum(sizes, 2.0**-126))), -126) - 10)
    with np.errstate(over="ignore"):
        expected = np.float32(np.floor(sizes / unit + 0.5) * unit)
    got = given[np.isfinite(values)]
    np.testing.assert_array_equal(np.abs(got), expected)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(values[np.isfinite(values)]))
    np.testing.assert_array_equal(given[7:10], np.float32([np.inf, -np.inf, np.nan]))
    interpreted = np.float32([rounder(tfloat32)(float(value)) for value in values])
    np.testing.assert_array_equal(interpreted, given)


# ------------------------------------------------------------------------------------------------------------------ tiles


def conv() -> Kernel:
    image, weight = x(2, 3, 9, 9), x(5, 3, 3, 3, name="w")
    (found,) = (k for k in kernels_of([image, weight], F.conv2d(image, weight, padding=1)) if k.name == "conv_general")
    return found


PRODUCTS: dict[str, Callable[[], Kernel]] = {
    "plain": lambda: kernel_of([a := x(37, 19), b := x(19, 50, name="b")], a @ b),
    "in_packets": lambda: kernel_of([a := x(20, 64), b := x(64, 40, name="b")], a @ b),
    "both_transposed": lambda: kernel_of([a := x(24, 36), b := x(20, 24, name="b")], a.T @ b.T),
    "left_transposed": lambda: kernel_of([a := x(40, 24), b := x(40, 36, name="b")], a.T @ b),
    "batch_with_epilogue": lambda: kernel_of([a := x(3, 10, 12), b := x(3, 12, 16, name="b")], gc.relu(a @ b) + 1.0),
    "convolution": conv,
}
HALVES: dict[str, Callable[[DType], Kernel]] = {
    "plain": lambda d: kernel_of([a := x(33, 17, dtype=d), b := x(17, 40, dtype=d, name="b")], a @ b),
    "in_packets": lambda d: kernel_of([a := x(24, 72, dtype=d), b := x(72, 48, dtype=d, name="b")], gc.relu(a @ b) * 2),
    "right_transposed": lambda d: kernel_of([a := x(16, 64, dtype=d), b := x(40, 64, dtype=d, name="b")], a @ b.T),
}
SMALL = TENSOR_TILES[4:]  # the kernel interpreter is slow


def taken_apart(kernel: Kernel) -> Product:
    found = product(kernel)
    assert found is not None
    return found


@pytest.mark.parametrize(("tile", "dtype"), [*zip(SMALL, cycle((tfloat32, bfloat16)), strict=False)], ids=str)
@pytest.mark.parametrize("case", PRODUCTS)
def test_every_tile_computes_products_of_whole_numbers_exactly(case: str, dtype: DType, tile: TensorTile) -> None:
    kernel = PRODUCTS[case]()
    before, after = both_sides(kernel, fragmented(taken_apart(kernel), tile, dtype), whole=True)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", (bfloat16, float16), ids=str)
@pytest.mark.parametrize("case", HALVES)
def test_halves_are_not_rounded(case: str, dtype: DType) -> None:
    kernel = HALVES[case](dtype)
    mapped = fragmented(taken_apart(kernel), SMALL[0], dtype)
    before, after = both_sides(kernel, mapped)
    np.testing.assert_allclose(after[-1], before[-1], rtol=2.0**-7)  # of sums in another order, rounded to halves
    assert "operands are rounded" not in mapped.note


def reads_of_a_warp(mapped: Mapped) -> list[tuple[str, list[int]]]:
    """The arrays of which lanes read packets together, and the word from which each lane of the first warp does."""
    lets = {s.temp: s.value for s in walk(mapped.kernel.body) if isinstance(s, Let)}

    def at(index: Expr, lane: int) -> int:
        """The index on a lane, in the first round of every loop."""
        names: dict[Var | Temp, Index] = {}
        for part in below(index):
            if isinstance(part, Var):
                names[part] = as_index(lane if part.name == "thread" else 0)
            elif isinstance(part, Temp):
                names[part] = as_index(at(lets[part], lane))
        value = Renamed(names).index(as_index(index))
        assert value.low == value.high
        return value.low

    result = []
    for loop in (s for s in walk(mapped.kernel.body) if isinstance(s, For) and s.kind == PACKET):
        for store in (s for s in walk(loop.body) if isinstance(s, Store)):
            read = store.value
            if isinstance(read, Load) and read.array in mapped.shared and loop.var.extent * read.dtype.size == 16:
                result.append((read.array.name, [at(read.index, lane) * read.dtype.size // 4 for lane in range(32)]))
    return result


LAYOUTS = {
    "nn": lambda d: ([a := x(256, 256, dtype=d), b := x(256, 256, dtype=d, name="b")], a @ b),
    "nt": lambda d: ([a := x(256, 256, dtype=d), b := x(256, 256, dtype=d, name="b")], a @ b.T),
    "tn": lambda d: ([a := x(256, 256, dtype=d), b := x(256, 256, dtype=d, name="b")], a.T @ b),
}


@pytest.mark.parametrize(("source", "dtype"), [(float32, tfloat32), (float32, bfloat16), (bfloat16, bfloat16)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_two_lanes_read_one_bank_at_once(layout: str, source: DType, dtype: DType) -> None:
    """Sixteen bytes a lane are read by eight lanes at a time, which must touch all 32 banks."""
    found = taken_apart(kernel_of(*LAYOUTS[layout](source)))
    for tile in (tile for tile in TENSOR_TILES if min(tile.own_rows, tile.own_columns) >= 32):
        reads = reads_of_a_warp(fragmented(found, tile, dtype))
        assert {name for name, _ in reads} == {"lhs_panel", "rhs_panel"}
        for name, firsts in reads:
            for eight in np.array(firsts).reshape(4, 8):
                banks = {int(first + word) % 32 for first, word in pairs(eight, range(4))}
                assert len(banks) == 32, f"{tile}: {name}"


# ----------------------------------------------------------------------------------------------------------------- choice


def mapped(kernel: Kernel, precision: str, arch: str = "sm_90") -> Mapped:
    found = contract(kernel, gpu(arch, Options(precision)))
    assert found is not None
    return found


def multiplies_in(found: Mapped) -> set[DType]:
    """The types of what tensor cores multiply."""
    loops = [s for s in walk(found.kernel.body) if isinstance(s, For) and s.kind == MMA]
    folds = [s for loop in loops for s in walk(loop.body) if isinstance(s, Accumulate)]
    return {part.dtype for fold in folds for part in below(fold.value) if isinstance(part, Load)}


def square(size: int, dtype: DType) -> Kernel:
    return kernel_of([a := x(size, size, dtype=dtype), b := x(size, size, dtype=dtype, name="b")], a @ b)


def test_precision_says_in_what_float32_is_multiplied() -> None:
    kernel = square(512, float32)
    assert [multiplies_in(mapped(kernel, p)) for p in ("highest", "tf32", "bf16")] == [set(), {tfloat32}, {bfloat16}]
    assert "rounded to tf32" in mapped(kernel, "tf32").note and not mapped(kernel, "highest").note


@pytest.mark.parametrize("dtype", (bfloat16, float16), ids=str)
def test_halves_are_multiplied_as_they_are_whatever_the_precision(dtype: DType) -> None:
    kernel = square(512, dtype)
    assert [multiplies_in(mapped(kernel, p)) for p in ("highest", "tf32", "bf16")] == 3 * [{dtype}]
    assert multiplies_in(mapped(kernel, "highest", "sm_75")) == set()


def test_sums_of_halves_that_stay_float32_are_added_in_float32() -> None:
    """A kernel whose epilogue keeps the sums of exact products as they are."""
    kernel = square(64, bfloat16)
    found = taken_apart(kernel)
    plain = replace(found, epilogue=(Store(Array("y", float32, 4096), as_index(0), load(found.acc, 0)),))
    twice = replace(found, epilogue=(Store(Array("y", float32, 4096), as_index(0), load(found.acc, 0) * 2.0),))
    assert tensor_dtype(found, gpu("sm_90")) is bfloat16
    assert tensor_dtype(plain, gpu("sm_90")) is tensor_dtype(twice, gpu("sm_90")) is None
    assert tensor_dtype(plain, gpu("sm_90", Options("tf32"))) is bfloat16


def test_steps_in_parts_are_multiplied_as_the_whole_would_be() -> None:
    image, slope = x(8, 56, 56, 64, dtype=gc.bfloat16), x(8, 56, 56, 64, dtype=gc.bfloat16, name="slope")
    *_, kernel = kernels_of([image, slope], gc.einsum("nhwc,nhwd->cd", image, slope))
    first, second = map_launches(kernel, gpu("sm_90"))
    assert multiplies_in(first) == {bfloat16} and multiplies_in(second) == set()
    assert first.kernel.params[-1].dtype is float32 and first.grid > 64


@pytest.mark.parametrize("dtype", (gc.float64, gc.int32), ids=str)
def test_other_types_never_use_tensor_cores(dtype: DType) -> None:
    assert multiplies_in(mapped(square(512, dtype), "bf16")) == set()


def test_few_results_of_many_steps_stay_dot_products() -> None:
    kernel = kernel_of([a := x(3, 9000), b := x(9000, 2, name="b")], a @ b)
    assert multiplies_in(mapped(kernel, "tf32")) == set()


def test_larger_products_take_larger_tiles_that_registers_hold() -> None:
    grids = [mapped(square(size, float32), "tf32").grid for size in (16, 128, 4096)]
    assert grids == sorted(grids) and grids[-1] == (4096 // 128) ** 2
    found = taken_apart(square(4096, float32))
    assert [resident(found, TENSOR_TILES[0], dtype) for dtype in (tfloat32, bfloat16)] == [2, 0]  # stages of bf16 are float32
    assert all(resident(found, tile, dtype) for tile in TENSOR_TILES[1:] for dtype in (tfloat32, bfloat16))
