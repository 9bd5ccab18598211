"""Loops that transpose: squares are turned in registers, and what does not fill a square is gathered, with the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from native import check_native

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.target import named
from graphc.dtype import DType, bfloat16, float32, float64, int8, int16, int32, int64
from graphc.ir.expr import Array, Expr, Index, Var, as_index, cast, load
from graphc.ir.kernel import SERIAL, VECTOR, For, Kernel, Store

TARGET = named("x86-64-v4")


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


@pytest.mark.parametrize("steps", [16, 37, 64])
@pytest.mark.parametrize("lanes", [16, 48])
@pytest.mark.parametrize("types", [(float32, float32), (int32, float32), (bfloat16, float32), (float64, float64)], ids=str)
def test_squares_are_turned_in_registers(steps: int, lanes: int, types: tuple[DType, DType]) -> None:
    kernel = turning(steps, lanes, *types)
    width = TARGET.lanes(types[1])
    assert ("masked.gather" in text(kernel)) == (steps % width != 0)  # of what is left
    assert text(kernel).count("shufflevector") >= width * (width.bit_length() - 1)
    check(kernel)


@pytest.mark.parametrize("dtype", [int8, int16, int32, int64], ids=str)
@pytest.mark.parametrize("lanes", [2, 4, 8, 16, 32, 64])
def test_squares_of_all_sizes(lanes: int, dtype: DType) -> None:
    """Narrower than the part of a vector in which lanes are exchanged, as wide, and wider."""
    kernel = turning(lanes, lanes, dtype, dtype, width=lanes)
    assert text(kernel).count("shufflevector") == lanes * (lanes.bit_length() - 1)
    check(kernel)


@pytest.mark.parametrize(
    "kernel",
    [
        turning(15, 16),  # no whole square
        turning(32, 24),
        turning(32, 16, step=2),
        turning(32, 16, guard=True),
        turning(32, 16, row=1),  # no transpose: rows overlap
    ],
    ids=["short", "lanes", "strided", "guarded", "overlapping"],
)
def test_other_loops_are_left_alone(kernel: Kernel) -> None:
    assert text(kernel).count("shufflevector") < 16
    check(kernel)
