"""Guards that a processor proves for some lanes and not for others, of loads and of stores, on fenced memory."""

from __future__ import annotations

import numpy as np
import pytest
from native import assembly, check_native
from programs import runnable
from small_kernels import sample

from graphc.codegen.target import Target, host, named
from graphc.dtype import DType, bfloat16, float32, float64, int64
from graphc.ir.expr import Array, Var, cast, load
from graphc.ir.kernel import VECTOR, For, Kernel, Store

TARGETS = runnable("x86-64", "x86-64-v3", "x86-64-v4") or [host()]
ROWS, EXTENT = 3, 13


def cut(lanes: range, source: DType, result: DType, width: int, storing: bool) -> Kernel:
    """y[t, i] = x[t - 1, i - first lane] for tasks but the first and some lanes: 0 for the others, or left alone."""
    x, y = Array("x", source, (ROWS - 1) * len(lanes)), Array("y", result, ROWS * EXTENT)
    task, i = Var("t", ROWS), Var("i", EXTENT)
    place, guard = (task - 1) * len(lanes) + i - lanes.start, (task >= 1) & (i >= lanes.start) & (i < lanes.stop)
    value = cast(load(x, place, guard), result)
    store = Store(y, task * EXTENT + i, value, guard if storing else None)
    return Kernel("cut", (x, y), task, (For(i, (store,), VECTOR, width),))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("types", [(float64, float32), (int64, float32), (float32, float32), (float32, bfloat16)], ids=str)
@pytest.mark.parametrize("storing", [False, True], ids=["loads", "stores"])
def test_lanes_are_cut_out_anywhere(target: Target, types: tuple[DType, DType], storing: bool) -> None:
    kernels = [
        cut(range(start, stop), *types, width, storing)
        for start in (0, 3, 4, 8)
        for stop in (1, 4, 5, 8, 12)
        if start < stop
        for width in (4, 8, 16)
    ]
    arrays = [[sample(k.params[0].dtype, k.params[0].size), np.full(ROWS * EXTENT, 7, types[1].numpy)] for k in kernels]
    check_native(kernels, arrays, target=target)


def test_halves_that_are_out_are_not_read() -> None:
    """A vector of two registers, of which the upper one is not to be touched: no unmasked load of 32 bytes more."""
    text = assembly(cut(range(0, 4), float64, float32, 8, False), named("x86-64-v3"))
    assert "vmaskmovpd" in text and "vcvtpd2psy\t" not in text
