"""The use of memory by warps: simple kernels have the shares that arithmetic gives, and standard ones waste little."""

from __future__ import annotations

import pytest
from coalescing import Traffic, total, traffic
from cuda_kernels import kernel_of, kernels_of, x

import graphc as gc
from graphc.codegen.cuda.map import map_kernel
from graphc.codegen.cuda.roles import Mapped
from graphc.codegen.cuda.target import gpu
from graphc.dtype import float32
from graphc.ir.expr import Array, Var, load
from graphc.ir.kernel import Kernel, Store

GPU = gpu("sm_90")
F = gc.nn.functional


def strided(step: int) -> Mapped:
    """A thread for each element of y, which reads every `step`-th of x."""
    source, target, task = Array("x", float32, 4096 * step), Array("y", float32, 4096), Var("task", 4096)
    return Mapped(Kernel("strided", (source, target), task, (Store(target, task, load(source, task * step)),)), 1, 256)


@pytest.mark.parametrize(("step", "share"), ((0, 1 / 8), (1, 1), (2, 1 / 2), (8, 1 / 8), (40, 1 / 8)))
def test_sectors_are_counted(step: int, share: float) -> None:
    found = traffic(strided(step) if step else constant())
    assert found["x", "load"].share == share
    assert found["y", "store"] == Traffic(4096 * 4, 4096 * 4)


def constant() -> Mapped:
    """Every thread reads the same element."""
    source, target, task = Array("x", float32, 8), Array("y", float32, 4096), Var("task", 4096)
    return Mapped(Kernel("constant", (source, target), task, (Store(target, task, load(source, 3)),)), 1, 256)


def test_whole_kernels_are_counted() -> None:
    found = traffic(map_kernel(kernel_of([a := x(4096, 1024)], F.softmax(a, -1)), GPU))
    assert {how for _, how in found} == {"load", "store"}
    stored = next(t for (_, how), t in found.items() if how == "store")
    assert stored.asked == 4096 * 1024 * 4


STANDARD = {
    "map": lambda a: a.exp() + 1.0,
    "softmax": lambda a: F.softmax(a, -1),
    "layer_norm": lambda a: F.layer_norm(a, (a.shape[1],)),
    "columns": lambda a: a.sum(0),
    "centred": lambda a: a - a.mean(0),
    "heads": lambda a: a.reshape(8, 64, 8, 128).transpose(1, 2) * 2.0,
    "transposed": lambda a: a.T * 2.0,
    "product": lambda a: a @ a.T,
}


@pytest.mark.parametrize("name", STANDARD)
def test_standard_kernels_move_what_they_need(name: str) -> None:
    a = x(512, 1024)
    for kernel in kernels_of([a], STANDARD[name](a)):
        assert total(traffic(map_kernel(kernel, GPU))).share > 0.95
