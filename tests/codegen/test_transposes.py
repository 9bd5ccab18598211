"""Loops that transpose: squares are turned in registers, whole ones and what is left of them, with the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native import check_native

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.peel import peel
from graphc.codegen.target import named
from graphc.dtype import DType, bfloat16, float16, float32, float64, int8, int16, int32, int64
from graphc.ir.expr import Array, Expr, Index, Var, all_of, as_index, cast, load, temp
from graphc.ir.kernel import SERIAL, VECTOR, For, Kernel, Let, Store

TARGET = named("x86-64-v4")
TYPES = [(float32, float32), (int32, float32), (bfloat16, float32), (float64, float64)]


def turning(
    steps: int,
    lanes: int,
    source: DType = float32,
    result: DType = float32,
    row: int = 0,
    step: int = 1,
    guard: bool = False,
    width: int = 0,
) -> Kernel:
    """y[task, k, v] = x[task, v, k] + x's type: rows `row` elements apart, and steps `step` elements."""
    row = row or steps * step + 3
    task, k, v = Var("t", 3), Var("k", steps), Var("v", lanes)
    x, y = Array("x", source, 3 * lanes * row + steps * step), Array("y", result, 3 * steps * lanes)
    width = width or TARGET.lanes(result)
    value: Expr = load(x, task * (lanes * row) + v * row + k * step)
    if result is not source:
        value = cast(value, result)
    inside: Index = as_index(v)
    store = Store(y, task * (steps * lanes) + k * lanes + v, value * value, inside < lanes - 1 if guard else None)
    return Kernel("turning", (x, y), task, (For(k, (For(v, (store,), VECTOR, width),), SERIAL),))


def text(kernel: Kernel) -> str:
    return emit_kernel(kernel, "turning", TARGET).text


def check(kernel: Kernel) -> None:
    x, y = kernel.params
    data = np.random.default_rng(0).integers(-9, 9, x.size).astype(x.dtype.numpy)
    check_native([kernel], [[data, np.full(y.size, 7, y.dtype.numpy)]])


@pytest.mark.parametrize("steps", [2, 16, 37, 64])
@pytest.mark.parametrize("lanes", [3, 16, 17, 24, 48])
@pytest.mark.parametrize("types", TYPES, ids=str)
def test_squares_are_turned_in_registers(steps: int, lanes: int, types: tuple[DType, DType]) -> None:
    kernel = turning(steps, lanes, *types)
    width = TARGET.lanes(types[1])
    assert "masked.gather" not in text(kernel)
    assert text(kernel).count("shufflevector") >= min(lanes, width) * (width.bit_length() - 1)
    check(kernel)


@pytest.mark.parametrize("dtype", [int8, int16, bfloat16, float16], ids=str)
@pytest.mark.parametrize("lanes", [17, 18, 19, 33])
def test_the_last_lanes_are_stored_and_no_more(dtype: DType, lanes: int) -> None:
    """Of narrow types, which are computed as wider ones: what lies behind the last lane is another row."""
    k, v, task = Var("k", 20), Var("v", lanes), Var("t", 1)
    x, y = Array("x", dtype, lanes * 20), Array("y", dtype, 20 * lanes)
    wide = cast(load(x, v * 20 + k), float32)
    body = (Store(y, k * lanes + v, cast(wide * wide, dtype)),)
    check(Kernel("turning", (x, y), task, (For(k, (For(v, body, VECTOR, 16),), SERIAL),)))


@pytest.mark.parametrize("dtype", [int8, int16, int32, int64], ids=str)
@pytest.mark.parametrize("lanes", [2, 4, 8, 16, 32, 64])
def test_squares_of_all_sizes(lanes: int, dtype: DType) -> None:
    """Narrower than the part of a vector in which lanes are exchanged, as wide, and wider."""
    kernel = turning(lanes, lanes, dtype, dtype, width=lanes)
    assert text(kernel).count("shufflevector") == lanes * (lanes.bit_length() - 1)
    check(kernel)


def mixed(read: str) -> Kernel:
    """y[k, v] = x[v, k] * z + y[k, v], where z is another array at [v, k], or one that is read otherwise."""
    k, v = Var("k", 37), Var("v", 24)
    x, y, z = Array("x", float32, 24 * 37), Array("y", float32, 37 * 24), Array("z", float32, 24 * 37)
    across, along, row = v * 37 + k, k * 24 + v, temp("row", int64, (0, 4))
    other = {
        "across": load(z, across),
        "along": load(z, along),
        "step": load(z, as_index(k)),
        "guarded": load(z, across, (v + k) < 50),
        "lanes": load(z, across, v < 5),
        "wrapped": load(z, (v * 5 + k) % 29),
        "found": load(z, as_index(row) * 37 + k),
    }[read]
    name = temp("t", float32)
    body = (Let(row, (v * 7) % 5), Let(name, load(x, across) * other), Store(y, along, name + load(y, along)))
    return Kernel("mixed", (x, y, z), Var("t", 1), (For(k, (For(v, body, VECTOR, 16),), SERIAL),))


@pytest.mark.parametrize("read", ["across", "along", "step", "guarded", "lanes", "wrapped", "found"])
def test_what_else_is_read_is_read_for_each_step(read: str) -> None:
    kernel, random = mixed(read), np.random.default_rng(0)
    assert "shufflevector" in text(kernel)
    check_native([kernel], [[random.standard_normal(array.size, dtype=np.float32) for array in kernel.params]])


def padded(rows: int, columns: int) -> Kernel:
    """y[task, k, v] = x[task - 1, v, k - 1], and 0 around."""
    task, k, v = Var("t", 5), Var("k", columns + 2), Var("v", rows)
    x, y = Array("x", float32, 3 * rows * columns), Array("y", float32, 5 * (columns + 2) * rows)
    inside = all_of(*(bound for at, size in ((task - 1, 3), (k - 1, columns)) for bound in (at >= 0, at < size)))
    value = load(x, (task - 1) * (rows * columns) + v * columns + k - 1, inside)
    store = Store(y, task * ((columns + 2) * rows) + k * rows + v, value * value)
    return Kernel("padded", (x, y), task, (For(k, (For(v, (store,), VECTOR, 16),), SERIAL),))


@pytest.mark.parametrize(("lanes", "steps"), [(9, 40), (16, 32), (25, 20)])
def test_what_is_overwritten_is_read_first(lanes: int, steps: int) -> None:
    """Where rows are parts of a vector, for all steps of a square, of which each store would hold the next loads up."""
    k, v, task = Var("k", steps), Var("v", lanes), Var("t", 1)
    x, y = Array("x", float32, lanes * steps), Array("y", float32, steps * lanes)
    name, at = temp("t", float32), k * lanes + v
    body = Let(name, load(y, at) * load(y, at) - load(x, v * steps + k)), Store(y, at, name)
    kernel = Kernel("turning", (x, y), task, (For(k, (For(v, body, VECTOR, 16),), SERIAL),))
    check(kernel)
    if lanes < 16:
        calls = [line for line in text(kernel).splitlines() if "call" in line and "llvm.masked." in line]
        assert ["load" in call for call in calls[:32]] == [True] * 16 + [False] * 16


@pytest.mark.parametrize("rows", [3, 16, 20])
def test_what_guards_steps_masks_their_vectors(rows: int) -> None:
    kernel = peel(padded(rows, 30))
    assert "masked.load" in text(kernel) and "masked.gather" not in text(kernel)
    check(kernel)


def updating(lane: int) -> Kernel:
    """y[k, v] = y[v + lane, k]: what one element stores, others read."""
    k, v = Var("k", 16), Var("v", 16)
    y = Array("y", float32, 32 * 16)
    store = Store(y, k * 16 + v, load(y, (v + lane) * 16 + k))
    return Kernel("updating", (y,), Var("t", 1), (For(k, (For(v, (store,), VECTOR, 16),), SERIAL),))


@pytest.mark.parametrize(
    "kernel",
    [
        turning(32, 16, step=2),
        turning(32, 16, row=1),  # no transpose: rows overlap
        updating(16),
    ],
    ids=["strided", "overlapping", "updating"],
)
def test_other_loops_are_left_alone(kernel: Kernel) -> None:
    assert text(kernel).count("shufflevector") < 16


@pytest.mark.parametrize("options", [{"step": 2}, {"guard": True}, {"row": 1}], ids=str)
def test_other_loops_compute_the_same(options: dict[str, Any]) -> None:
    check(turning(32, 16, **options))
