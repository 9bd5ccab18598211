"""Lanes that lie a few elements apart are picked out of rows, on fenced memory: nothing beside the lanes is read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from native import assembly, check_native
from programs import runnable
from small_kernels import sample

from graphc.codegen.llvm.picks import cover
from graphc.codegen.target import Target, host, named
from graphc.dtype import DType, bfloat16, bool_, float32, float64, int64, uint8
from graphc.ir.expr import Array, Expr, Index, Var, as_index, load
from graphc.ir.kernel import VECTOR, For, Kernel, Store

TARGETS = runnable("x86-64", "x86-64-v3", "x86-64-v4") or [host()]
TASKS = 3

PLACES: dict[str, Callable[[Index], Index]] = {
    "2i + 1": lambda i: i * 2 + 1,
    "3i": lambda i: i * 3,
    "4i + 2": lambda i: i * 4 + 2,
    "9i": lambda i: i * 9,
    "12i": lambda i: i * 12,
    "-i": lambda i: 120 - i,
    "i // 2": lambda i: i // 2,
    "(i + 3) // 4": lambda i: (i + 3) // 4,
    "i // 3": lambda i: i // 3,
    "i % 2": lambda i: i % 2,
    "i % 5": lambda i: i % 5,
    "pairs": lambda i: (i // 2) * 5 + i % 2,
    "all alike": lambda i: i // 512,
    "in order": lambda i: (i // 4) * 4 + i % 4,
    "planes": lambda i: (i % 4) * 40 + i // 4,
}
GUARDS: dict[str, Callable[[Var, Var, Array], Expr | None]] = {
    "always": lambda t, i, flags: None,
    "some lanes": lambda t, i, flags: (i >= 3) & (i < 11),
    "some tasks and lanes": lambda t, i, flags: (t >= 1) & (i >= 2),
    "even lanes": lambda t, i, flags: (t >= 1) & (i % 2).equals(0) & (i < i.extent - 2),
    "data": lambda t, i, flags: load(flags, i),
    "tasks and data": lambda t, i, flags: (t >= 1) & load(flags, as_index(i)) & (i >= 1),
}


def picking(place: Callable[[Index], Index], guard: str, dtype: DType, extent: int, width: int) -> Kernel:
    """y[t, i] = x[t, place(i)] under a guard; the last element of x is the last one that is read."""
    t, i, flags = Var("t", TASKS), Var("i", extent), Array("flags", bool_, extent)
    condition = GUARDS[guard](t, i, flags)
    first, count = place(as_index(i)).low, place(as_index(i)).high - place(as_index(i)).low + 1
    x, y = Array("x", dtype, TASKS * count), Array("y", dtype, TASKS * extent)
    loop = For(i, (Store(y, t * extent + i, load(x, t * count + place(as_index(i)) - first, condition)),), VECTOR, width)
    return Kernel("picking", (x, flags, y), t, (loop,))


def arrays_of(kernel: Kernel) -> list[np.ndarray]:
    return [sample(a.dtype, a.size, seed) for seed, a in enumerate(kernel.params)]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("guard", GUARDS)
def test_lanes_apart_are_read(target: Target, guard: str) -> None:
    kernels = [
        picking(place, guard, float32, extent, width)
        for place in PLACES.values()
        for extent, width in ((13, 8), (16, 16), (37, 32), (100, 4), (100, 16))
    ]
    check_native(kernels, [arrays_of(kernel) for kernel in kernels], target=target)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("dtype", [float64, bfloat16, uint8, bool_, int64], ids=str)
def test_lanes_of_any_type_are_read(target: Target, dtype: DType) -> None:
    kernels = [
        picking(PLACES[name], guard, dtype, extent, width)
        for name in ("2i + 1", "i // 2", "pairs", "-i")
        for guard in GUARDS
        for extent, width in ((29, 16), (100, 8))
    ]
    check_native(kernels, [arrays_of(kernel) for kernel in kernels], target=target)


@pytest.mark.parametrize("name", ["2i + 1", "4i + 2", "9i", "-i", "i // 2", "pairs", "planes"])
@pytest.mark.parametrize("guard", ["always", "some lanes", "some tasks and lanes", "data"])
def test_nothing_is_gathered(name: str, guard: str) -> None:
    assert "gather" not in assembly(picking(PLACES[name], guard, float32, 100, 16), named("x86-64-v4"))


def test_lanes_far_apart_are_gathered() -> None:
    assert "gather" in assembly(picking(PLACES["12i"], "always", float32, 100, 16), named("x86-64-v4"))


def test_rows_cover_lanes_and_nothing_beside_them() -> None:
    assert cover([0, 2, 4, 6], 4) == ([0, 3], 4)
    assert cover([5, 5, 6, 6], 4) == ([5], 2)
    assert cover([7, None, None, 7], 4) == ([7], 1)
    assert cover([0, 1, 100, 101], 4) == ([0, 98], 4)
    assert cover([None] * 4, 4) == ([], 1)
    assert cover([3, 2, 1, 0], 4) == ([0], 4)
    assert cover([0, 9, 18, 27, 36, 45, 54, 63], 8) is None
    assert cover([9 * lane for lane in range(16)], 16) == ([*range(0, 126, 18), 120], 16)
    assert cover([12 * lane for lane in range(16)], 16) is None
