"""Every construct of the Kernel IR as native code, against the slow interpreter, on fenced memory."""

from __future__ import annotations

import numpy as np
import pytest
from native import assembly, check_native, run_native, text_of
from small_kernels import ONE, each, mapping, sample

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.target import host, named
from graphc.dtype import DTYPES, FLOATS, DType, bfloat16, bool_, float16, float32, float64, int32, int64
from graphc.ir.expr import Array, Var, as_index, call, cast, const, load, select, temp
from graphc.ir.kernel import (
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    For,
    If,
    Kernel,
    Let,
    Local,
    Store,
)

EXTENTS = (1, 2, 3, 5, 7, 13, 16, 17, 31, 33, 100)
WIDTHS = (1, 4, 8, 16, 64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_copies_of_every_extent_and_width(dtype: DType) -> None:
    cases = [(n, w) for n in EXTENTS for w in WIDTHS]
    kernels = [mapping(dtype, n, w, lambda x: x) for n, w in cases]
    check_native(kernels, [[sample(dtype, n), np.zeros(n, dtype.numpy)] for n, _ in cases])


# --------------------------------------------------------------------------------------------------------------- indices


def moved(index, size: int, width: int, extent: int = 33, guard=None, dtype: DType = float32) -> Kernel:
    """y[i] = x[index(i)] where guard(i)."""
    x, y, i = Array("x", dtype, size), Array("y", dtype, extent), Var("i", extent)
    value = load(x, index(i), None if guard is None else guard(i))
    return each([For(i, (Store(y, i, value),), VECTOR, width)], x, y)


INDICES = {
    "stride 2": (lambda i: i * 2, 65),
    "stride 3 offset": (lambda i: i * 3 + 1, 98),
    "reversed": (lambda i: as_index(32) - i, 33),
    "uniform": (lambda i: as_index(4), 5),
    "quotient": (lambda i: i // 3, 11),
    "quotient by the width": (lambda i: i // 16, 3),
    "remainder": (lambda i: i % 5, 5),
    "remainder by the width": (lambda i: i % 16, 16),
    "transposed": (lambda i: (i % 3) * 11 + i // 3, 33),
    "both": (lambda i: (i // 4) * 4 + (i + 1) % 4, 36),
    "negative parts": (lambda i: (i - 5) // 4 + 2, 9),
    "negative remainder": (lambda i: (i - 5) % 7, 7),
}


@pytest.mark.parametrize("name", INDICES)
def test_loads_by_any_index(name: str) -> None:
    index, size = INDICES[name]
    kernels = [moved(index, size, w, dtype=d) for w in WIDTHS for d in (float32, bool_, int64, float16)]
    arrays = [[sample(k.params[0].dtype, size), np.zeros(33, k.params[0].dtype.numpy)] for k in kernels]
    check_native(kernels, arrays)


@pytest.mark.parametrize("name", [n for n in INDICES if "uniform" not in n])
def test_stores_by_any_index(name: str) -> None:
    index, size = INDICES[name]
    kernels = []
    for width in WIDTHS:
        x, y, i = Array("x", float32, 33), Array("y", float32, size), Var("i", 33)
        kernels.append(each([For(i, (Store(y, index(i), load(x, i)),), VECTOR, width)], x, y))
    check_native(kernels, [[np.arange(33, dtype=np.float32), np.zeros(size, np.float32)] for _ in kernels])


def test_stores_to_one_cell_keep_the_last_lane() -> None:
    kernels = []
    for width, extent in ((16, 32), (16, 21), (64, 33), (1, 5)):
        x, y, i = Array("x", float32, extent), Array("y", float32, 2), Var("i", extent)
        kernels.append(each([For(i, (Store(y, as_index(1), load(x, i)),), VECTOR, width)], x, y))
    arrays = [[np.arange(k.params[0].size, dtype=np.float32), np.zeros(2, np.float32)] for k in kernels]
    check_native(kernels, arrays)


@pytest.mark.parametrize("width", WIDTHS)
def test_data_dependent_loads_and_stores(width: int) -> None:
    n = 21
    where, x, y, z = Array("w", int64, n), Array("x", float32, 50), Array("y", float32, n), Array("z", float32, 50)
    i, s = Var("i", n), temp("s", int64)
    body = [Let(s, load(where, i)), Store(y, i, load(x, as_index(s))), Store(z, as_index(s), load(x, as_index(s) + 0))]
    kernel = each([For(i, tuple(body), VECTOR, width)], where, x, y, z)
    indices = np.random.default_rng(3).permutation(50)[:n]
    check_native([kernel], [[indices, sample(float32, 50), np.zeros(n, np.float32), np.zeros(50, np.float32)]])


@pytest.mark.parametrize("dtype", (float32, float64, bool_, int32, float16), ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_guarded_loads_touch_nothing_outside(width: int, dtype: DType) -> None:
    def inside(p):
        return (p >= 0) & (p < 20)

    kernels = [
        moved(lambda i: i - 7, 20, width, 33, lambda i: inside(i - 7), dtype),
        moved(lambda i: i * 2 - 9, 20, width, 33, lambda i: inside(i * 2 - 9), dtype),
        moved(lambda i: as_index(9000), 20, width, 33, lambda i: i < 0, dtype),
        moved(lambda i: as_index(19), 20, width, 33, lambda i: i > 30, dtype),
        moved(lambda i: as_index(12) - i, 20, width, 33, lambda i: inside(as_index(12) - i), dtype),
        moved(lambda i: as_index(15) - i % 2, 20, width, 33, lambda i: call("eq", load(FLAG, 0), const(1, int32)), dtype),
    ]
    kernels[-1] = Kernel("k", (FLAG, *kernels[-1].params), ONE, kernels[-1].body)
    arrays = [[sample(dtype, 20), sample(dtype, 33, 1)] for _ in kernels]
    arrays[-1].insert(0, np.array([1], np.int32))
    check_native(kernels, arrays)


FLAG = Array("flag", int32, 1)


@pytest.mark.parametrize("flag", (0, 1))
@pytest.mark.parametrize("width", WIDTHS)
def test_uniform_guards_at_run_time(width: int, flag: int) -> None:
    x, y, i = Array("x", float32, 40), Array("y", float32, 19), Var("i", 19)
    holds = call("ne", load(FLAG, 0), const(0, int32))
    far = as_index(0) if flag else as_index(100000)
    body = [
        Store(y, i, load(x, i + far, holds)),
        Store(y, i + far, const(5.0, float32), holds),
        If(holds, (Store(y, i, load(y, i) * 2.0),), (Store(y, i, load(y, i) - 1.0),)),
    ]
    kernel = each([For(i, tuple(body), VECTOR, width)], FLAG, x, y)
    check_native([kernel], [[np.array([flag], np.int32), sample(float32, 40), sample(float32, 19)]])


@pytest.mark.parametrize("width", WIDTHS)
def test_varying_guards_of_stores(width: int) -> None:
    kernels = []
    for index in (lambda i: i, lambda i: i * 2, lambda i: (i * 7) % 33):
        x, y, i = Array("x", float32, 33), Array("y", float32, 65), Var("i", 33)
        kernels.append(each([For(i, (Store(y, index(i), load(x, i), load(x, i) > 0.0),), VECTOR, width)], x, y))
    check_native(kernels, [[sample(float32, 33), np.zeros(65, np.float32)] for _ in kernels])


# ---------------------------------------------------------------------------------------------------------------- loops


def test_tasks_run_from_begin_to_end() -> None:
    x, t = Array("x", int32, 10), Var("t", 10)
    kernel = Kernel("k", (x,), t, (Store(x, t, cast(t, int32)),))
    check_native([kernel], [[np.full(10, -1, np.int32)]])


@pytest.mark.parametrize("inner", (SERIAL, UNROLLED, VECTOR))
@pytest.mark.parametrize("width", (1, 4, 16, 64))
def test_loops_inside_vector_loops(inner: str, width: int) -> None:
    """Column sums through a scratch cell of each lane."""
    rows, columns = 6, 21
    x, y, total = Array("x", float32, rows * columns), Array("y", float32, columns), Array("total", float32, 1)
    j, k, zero = Var("j", columns), Var("k", rows), as_index(0)
    body = (
        Local(total),
        Store(total, zero, const(0.0, float32)),
        For(k, (Accumulate(total, zero, "add", load(x, k * columns + j)),), inner, 4),
        Store(y, j, load(total, 0)),
    )
    check_native([each([For(j, body, VECTOR, width)], x, y)], [[sample(float32, 126), np.zeros(21, np.float32)]])


@pytest.mark.parametrize("width", (1, 8, 64))
def test_scratch_of_lanes_by_any_index(width: int) -> None:
    x, y, box = Array("x", float32, 90), Array("y", float32, 30), Array("box", float32, 3)
    i, k, m = Var("i", 30), Var("k", 3), Var("m", 3)
    odd = load(x, i * 3) > 0.0
    body = (
        Local(box),
        For(k, (Store(box, k, load(x, i * 3 + k)),)),
        Store(box, i % 3, const(100.0, float32)),
        Store(box, as_index(1), const(-50.0, float32), odd),
        Store(y, i, const(0.0, float32)),
        For(m, (Accumulate(y, i, "add", load(box, (i + m) % 3) * cast(m, float32)), Accumulate(box, i % 3, "add", load(x, i)))),
    )
    check_native([each([For(i, body, VECTOR, width)], x, y)], [[sample(float32, 90), np.zeros(30, np.float32)]])


def test_local_tiles_keep_what_lies_beside_a_remainder() -> None:
    """Rows of 13: the last vector of each row overlaps the next row, in scratch memory."""
    x, y, tile = Array("x", float32, 39), Array("y", float32, 39), Array("tile", float32, 39)
    r, c, r2, c2 = Var("r", 3), Var("c", 13), Var("r2", 3), Var("c2", 13)
    body = [
        Local(tile),
        For(r, (For(c, (Store(tile, (as_index(2) - r) * 13 + c, load(x, r * 13 + c)),), VECTOR, 8),), UNROLLED),
        For(r2, (For(c2, (Store(y, r2 * 13 + c2, load(tile, r2 * 13 + c2)),), VECTOR, 8),)),
    ]
    check_native([each(body, x, y)], [[np.arange(39, dtype=np.float32), np.zeros(39, np.float32)]])


def test_empty_loops_and_empty_conditions() -> None:
    x, i, j = Array("x", float32, 4), Var("i", 0), Var("j", 0)
    bad = Store(x, as_index(0), const(1.0, float32))
    body = [For(i, (bad,)), For(j, (bad,), VECTOR, 8), If(const(False, bool_), (bad,)), If(const(True, bool_), ())]
    check_native([each(body, x)], [[np.zeros(4, np.float32)]])


@pytest.mark.parametrize("width", (4, 16))
def test_selects_lets_and_indices_as_data(width: int) -> None:
    x, y, i, j = Array("x", float32, 60), Array("y", float32, 60), Var("i", 20), Var("j", 3)
    t, u = temp("t", float32), temp("u", bool_)
    at = i * 3 + j
    body = (
        Let(t, load(x, at) * 2.0),
        Let(u, (t > 0.0) | (i < 4)),
        Store(y, at, select(u & (j.equals(1)), t + cast(i, float32), cast(cast(at % 7, int32), float32))),
    )
    nest = For(i, (For(j, body),), VECTOR, width)
    flipped = For(j, (For(i, body, VECTOR, width),), UNROLLED)
    arrays = [[sample(float32, 60), np.zeros(60, np.float32)] for _ in range(2)]
    check_native([each([nest], x, y), each([flipped], x, y)], arrays)


# ---------------------------------------------------------------------------------------------------------------- folds

FOLDS = [(word, d) for d in DTYPES for word in ("add", "mul", "max", "min") if not d.is_bool] + [("and", bool_), ("or", bool_)]


@pytest.mark.parametrize("word,dtype", FOLDS, ids=str)
def test_folds_into_one_cell(word: str, dtype: DType) -> None:
    kernels, arrays = [], []
    for n in (1, 5, 16, 17, 33, 100):
        for width in (4, 16, 64):
            x, y, i = Array("x", dtype, n), Array("y", dtype, 2), Var("i", n)
            kernels.append(each([For(i, (Accumulate(y, as_index(1), word, load(x, i)),), VECTOR, width)], x, y))
            arrays.append([sample(dtype, n) if word != "mul" else np.sign(sample(dtype, n)) + 0, sample(dtype, 2, 1)])
    check_native([Kernel(f"{k.name}", *_parts(k)) for k in kernels], [[a.astype(dtype.numpy) for a in g] for g in arrays])


def _parts(kernel: Kernel) -> tuple:
    return kernel.params, kernel.task, kernel.body


@pytest.mark.parametrize("word", ("max", "min"))
def test_extremes_of_floats_show_nan(word: str) -> None:
    kernels, arrays = [], []
    for position in (0, 15, 16, 20):
        x, y, i = Array("x", float32, 21), Array("y", float32, 1), Var("i", 21)
        kernels.append(each([For(i, (Accumulate(y, as_index(0), word, load(x, i)),), VECTOR, 16)], x, y))
        data = sample(float32, 21)
        data[position] = np.nan
        arrays.append([data, np.zeros(1, np.float32)])
    assert all(np.isnan(out[1][0]) for out in run_native(kernels, arrays))


def test_a_sum_of_negative_zeros_keeps_its_sign() -> None:
    x, y, i = Array("x", float32, 5), Array("y", float32, 1), Var("i", 5)
    kernel = each([For(i, (Accumulate(y, as_index(0), "add", load(x, i)),), VECTOR, 4)], x, y)
    check_native([kernel], [[np.full(5, -0.0, np.float32), np.full(1, -0.0, np.float32)]])


@pytest.mark.parametrize("width", (4, 16, 64))
def test_folds_into_cells_that_move(width: int) -> None:
    """Cells chosen by outer loops, by inner loops, by quotients of the lane, by data, and under conditions."""
    x, w, y = Array("x", float32, 105), Array("w", int64, 105), Array("y", float32, 40)
    r, k, i, p = Var("r", 3), Var("k", 5), Var("i", 21), Var("p", 35)
    cell = load(x, r * 35 + p)
    row = For(r, (For(p, (Accumulate(y, r * 2 + 1, "add", cell),), VECTOR, width),))
    unrolled = For(r, (For(p, (Accumulate(y, r * 2 + 1, "add", cell),), VECTOR, width),), UNROLLED)
    inner = For(i, (For(k, (Accumulate(y, k, "add", load(x, k * 21 + i)),)),), VECTOR, width)
    copied = For(i, (For(k, (Accumulate(y, k, "add", load(x, k * 21 + i)),), UNROLLED),), VECTOR, width)
    shared = For(p, (Accumulate(y, p // 4, "add", load(x, p)), Accumulate(y, p // 16 + 20, "add", load(x, p))), VECTOR, width)
    data = For(p, (Accumulate(y, as_index(load(w, p)), "max", load(x, p)),), VECTOR, width)
    lanes = For(p, (Accumulate(y, p, "min", load(x, p)),), VECTOR, width)
    condition = For(r, (For(p, (If(r < 1, (Accumulate(y, r * 100, "add", cell),)),), VECTOR, width),))
    counted = For(p, (Accumulate(y, as_index(39), "add", const(1.0, float32)),), VECTOR, width)
    for loop in (row, unrolled, inner, copied, shared, data, lanes, condition, counted):
        indices = np.random.default_rng(0).integers(0, 40, 105)
        check_native([each([loop], x, w, y)], [[sample(float32, 105), indices, sample(float32, 40, 2)]])


def test_products_are_fused_where_the_target_can() -> None:
    x, y, i = Array("x", float32, 64), Array("y", float32, 64), Var("i", 64)
    kernel = each([For(i, (Accumulate(y, i, "add", load(x, i) * load(x, i)),), VECTOR, 16)], x, y)
    assert "llvm.fma" in emit_kernel(kernel, "k", named("x86-64-v3")).text
    assert "llvm.fma" not in emit_kernel(kernel, "k", named("x86-64")).text


# -------------------------------------------------------------------------------------------------------- quality, text


def microkernel(rows: int, columns: int, depth: int, width: int = 16) -> Kernel:
    """C = A B for packed panels A [depth][rows] and B [depth][columns], in a register tile."""
    a, b, c = Array("a", float32, depth * rows), Array("b", float32, depth * columns), Array("c", float32, rows * columns)
    tile, k = Array("tile", float32, rows * columns), Var("k", depth)

    def over(name: str, stmt) -> For:
        i, j = Var(f"i{name}", rows), Var(f"j{name}", columns)
        return For(i, (For(j, (stmt(i, j),), VECTOR, width),), UNROLLED)

    clear = over("z", lambda i, j: Store(tile, i * columns + j, const(0.0, float32)))
    product = over("p", lambda i, j: Accumulate(tile, i * columns + j, "add", load(a, k * rows + i) * load(b, k * columns + j)))
    write = over("w", lambda i, j: Store(c, i * columns + j, load(tile, i * columns + j)))
    return each([Local(tile), clear, For(k, (product,)), write], a, b, c)


def test_a_register_tile_stays_in_registers() -> None:
    kernel = microkernel(14, 32, 64)
    text = assembly(kernel, named("x86-64-v4"))
    assert text.count("vfmadd") == 2 * 28  # two steps at once
    assert "Spill" not in text and "(%rsp)" not in text
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(64, 14)).astype("f"), rng.normal(size=(64, 32)).astype("f")
    got = run_native([kernel], [[a.ravel(), b.ravel(), np.zeros(14 * 32, "f")]])[0][2]
    np.testing.assert_allclose(got.reshape(14, 32), a.T @ b, rtol=1e-4, atol=1e-4)


def test_padded_tiles_with_a_remainder_stay_in_registers() -> None:
    rows, columns, padded, depth = 6, 13, 16, 20
    x, y = Array("x", float32, depth * columns), Array("y", float32, rows * columns)
    tile, k = Array("tile", float32, rows * padded), Var("k", depth)

    def over(name: str, stmt) -> For:
        i, j = Var(f"i{name}", rows), Var(f"j{name}", columns)
        return For(i, (For(j, (stmt(i, j),), VECTOR, 16),), UNROLLED)

    clear = over("z", lambda i, j: Store(tile, i * padded + j, const(0.0, float32)))
    add = over("a", lambda i, j: Accumulate(tile, i * padded + j, "add", load(x, k * columns + j)))
    write = over("w", lambda i, j: Store(y, i * columns + j, load(tile, i * padded + j)))
    kernel = each([Local(tile), clear, For(k, (add,)), write], x, y)
    assert "(%rsp)" not in assembly(kernel, named("x86-64-v4"))
    check_native([kernel], [[sample(float32, 260), np.zeros(78, np.float32)]])


def doubled_max(width: int) -> Kernel:
    return mapping(float32, 33, width, lambda x: call("max", x, x * 2.0))


@pytest.mark.parametrize("spec", ("x86-64", "x86-64-v3", "aarch64", "riscv64", "wasm32"))
def test_every_target_takes_the_text(spec: str) -> None:
    kernels = [
        microkernel(4, 16, 8, 8),
        doubled_max(8),
        moved(lambda i: i * 2, 65, 8),
    ]
    kernels += [mapping(d, 21, 8, lambda v: cast(v, bfloat16), bfloat16) for d in FLOATS]
    for kernel in kernels:
        assert len(assembly(kernel, named(spec))) > 100


@pytest.mark.parametrize("spec", ("x86-64", "x86-64-v2", "x86-64-v3"))
def test_lesser_processors_compute_the_same(spec: str) -> None:
    if host().arch != "x86_64":
        pytest.skip("runs x86-64 code")
    kernels = [
        doubled_max(8),
        moved(lambda i: i * 2 - 9, 60, 8, guard=lambda i: i > 4),
    ]
    kernels += [mapping(d, 33, 8, lambda v: cast(v, int32), int32) for d in (float32, float64, bool_)]
    arrays = [[sample(k.params[0].dtype, k.params[0].size), np.zeros(33, k.params[1].dtype.numpy)] for k in kernels]
    check_native(kernels, arrays, target=named(spec))


def test_the_same_kernel_gives_the_same_text() -> None:
    assert text_of([microkernel(3, 32, 5)], host()) == text_of([microkernel(3, 32, 5)], host())
