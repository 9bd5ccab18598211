"""Kernels over the same memory shapes at other places become one kernel."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.codegen.fingerprint import fingerprint
from graphc.codegen.rebase import rebase
from graphc.driver import Stages
from graphc.dtype import float32
from graphc.interp.kernel import run_kernel
from graphc.ir.expr import Array, Var, all_of, as_index, load
from graphc.ir.kernel import VECTOR, For, Kernel, Stmt, Store


def shift(start: int, size: int = 64, stored_from: int = 0) -> Kernel:
    """y[stored_from + v] = x[start + v] + x[start + 8 + v]"""
    x, y = Array("x", float32, size), Array("y", float32, size)
    task, v = Var("task", 1), Var("v", 8)
    total = load(x, as_index(start) + v) + load(x, as_index(start + 8) + v)
    body: tuple[Stmt, ...] = (For(v, (Store(y, as_index(stored_from) + v, total),), VECTOR, 4),)
    return Kernel("shift", (x, y), task, body)


def test_a_constant_start_becomes_a_place_to_start() -> None:
    kernel, starts = rebase(shift(16, stored_from=8))
    assert starts == (16, 8)
    assert [param.size for param in kernel.params] == [16, 8]
    again, others = rebase(shift(40, size=100))
    assert others == (40, 0) and again.params[0].size == 16
    assert fingerprint(rebase(shift(32, stored_from=24))[0]) == fingerprint(kernel)


def test_a_rebased_kernel_computes_the_same_further_on() -> None:
    before = shift(16, stored_from=8)
    kernel, starts = rebase(before)
    x = np.arange(64, dtype=np.float32)
    whole, part = np.zeros(64, np.float32), np.zeros(8, np.float32)
    run_kernel(before, [x, whole])
    run_kernel(kernel, [x[starts[0] : starts[0] + 16], part])
    np.testing.assert_array_equal(part, whole[8:16])


def test_what_starts_at_the_beginning_or_before_it_stays() -> None:
    kernel = shift(0)
    assert rebase(kernel) == (kernel, (0, 0))
    x, y = Array("x", float32, 8), Array("y", float32, 8)
    v = Var("v", 8)
    guarded = load(x, v - 1, all_of(as_index(0) < v))  # an index below 0 that is never loaded
    padded = Kernel("pad", (x, y), Var("task", 1), (For(v, (Store(y, v, guarded),), VECTOR, 4),))
    assert rebase(padded)[1] == (0, 0)


def test_steps_of_an_unrolled_recurrence_are_emitted_once() -> None:
    """The text grows with the calls, not with the kernels."""

    def text(steps: int) -> str:
        x = gc.placeholder((steps, 4, 8), gc.float32, name="x")
        w = gc.variable(np.ones((8, 8), np.float32), name="w")
        h = gc.zeros((4, 8))
        for t in range(steps):
            h = gc.tanh(h @ w + x[t])
        return Stages({"f": gc.function([x], h)}).compilation.emit("ll").decode()

    short, long = text(6), text(12)
    assert short.count("define internal void @k") == long.count("define internal void @k")
