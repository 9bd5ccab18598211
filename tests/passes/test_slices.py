"""Kernels that run slice by slice: which of them, that memory falls, and that every bit stays."""

from __future__ import annotations

import numpy as np
import pytest
from programs import HOST, check_kernels, natives, optimised

import graphc as gc
from graphc import nn
from graphc.driver import GPU_THREAD
from graphc.dtype import float32
from graphc.ir.expr import Array, Var, as_index, load, temp
from graphc.ir.graph import Graph
from graphc.ir.kernel import Kernel, KernelFunction, KernelProgram, Let, Store
from graphc.ir.program_verify import verify_program
from graphc.passes.buffers import overwrite_operands, place_buffers, plan_buffers
from graphc.passes.cut import Touched, cut, may_divide
from graphc.passes.fuse import LOOPS, fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine
from graphc.passes.slices import IN_FLIGHT

SMALL = Machine(l1=1 << 12, l2=1 << 15)


def attention(heads: int, rows: int, columns: int, width: int, causal: bool = False, gradients: bool = False) -> Graph:
    q, k, v = (
        gc.placeholder((heads, n, width), gc.float32, name=name)
        for name, n in zip("qkv", (rows, columns, columns), strict=True)
    )
    y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    function = gc.function([q, k, v], gc.grad((y * y).sum(), [q, k, v]) if gradients else y)
    return optimised(function.graph("f"))


def both(graph: Graph, machine: Machine) -> tuple[KernelProgram, KernelProgram]:
    """The program without slices, and with them."""
    overwritten = overwrite_operands(lower([fuse(graph)], machine))
    return place_buffers(overwritten), plan_buffers(lower([fuse(graph)], machine), machine)


def sliced(function: KernelFunction) -> list[int]:
    """The number of slices of every launch that has some."""
    return [n.kernel.task.extent for n in function.launches if any(buffer.parts > 1 for buffer in n.args)]


def test_attention_runs_head_by_head_and_keeps_no_scores() -> None:
    plain, near = both(attention(64, 33, 33, 16), SMALL)
    verify_program(near)
    assert sliced(near.functions[0]) == [64] and not sliced(plain.functions[0])
    scores = 64 * 33 * 33
    assert any(buffer.size == scores for buffer in plain.offsets) and near.arena_size < plain.arena_size
    assert not any(buffer.size == scores for buffer in near.offsets)
    (launch,) = (n for n in near.functions[0].launches if n.kernel.task.extent == 64 and n.kernel.name.startswith("slices"))
    assert {buffer.parts for buffer in launch.args} == {1, IN_FLIGHT}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("heads", "rows", "columns", "width"), [(8, 17, 13, 7), (9, 5, 31, 3), (24, 13, 13, 1), (16, 33, 7, 17)]
)
def test_numbers_stay(heads: int, rows: int, columns: int, width: int, causal: bool) -> None:
    check_kernels(attention(heads, rows, columns, width, causal), Machine(l1=1 << 10, l2=1 << 13), calls=1)


def test_gradients_run_in_slices_too_and_have_the_same_bits() -> None:
    graph = attention(32, 33, 33, 8, causal=True, gradients=True)
    core = Machine(HOST.vector_bytes, HOST.vector_registers, 1 << 13, 1 << 16)
    plain, near = both(graph, core)
    assert sliced(near.functions[0])
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(x.shape).astype(np.float32) for x in graph.inputs]
    results = [program.f(*arrays) for p in (plain, near) for program in natives(p, (1, 2, 3))]
    for result in results[1:]:
        np.testing.assert_array_equal(np.concatenate(result), np.concatenate(results[0]))


def test_the_gradient_of_softmax_reads_the_probabilities_alone() -> None:
    fused = fuse(attention(4, 33, 33, 8, causal=True, gradients=True))
    rows = [cluster for cluster in fused.clusters if cluster.kind == LOOPS and cluster.axes is not None]
    read = [sorted(v.op.name for v in c.sources - c.inside if v.shape == (4, 33, 33)) for c in rows]
    assert read == [["select"], ["dot_general", "mul"]]  # scores; the cotangent of the probabilities, and these


def test_more_workers_than_parts_wait() -> None:
    graph = attention(64, 128, 128, 32)
    _, near = both(graph, HOST)
    assert sliced(near.functions[0]) == [64]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(x.shape).astype(np.float32) for x in graph.inputs]
    one, many = (program.f(*arrays)[0] for program in natives(near, (1, IN_FLIGHT + 3)))
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize(
    ("heads", "machine"),
    [(4, SMALL), (64, Machine()), (64, GPU_THREAD), (64, Machine(l1=1 << 12, l2=1 << 13))],
    ids=["few slices", "all of it is near", "a GPU", "slices too large"],
)
def test_it_is_not_done_where_it_does_not_pay(heads: int, machine: Machine) -> None:
    plain, near = both(attention(heads, 33, 33, 16), machine)
    assert len(near.functions[0].launches) == len(plain.functions[0].launches) and not sliced(near.functions[0])


def test_products_that_mix_slices_stay_apart() -> None:
    """Scores are read again by a product over all heads."""
    q = gc.placeholder((64, 33, 16), gc.float32, name="q")
    w = gc.placeholder((64, 64), gc.float32, name="w")
    y = w @ ((q @ q.mT).softmax(-1).reshape(64, 33 * 33))
    _, near = both(optimised(gc.function([q, w], y).graph("f")), SMALL)
    assert not sliced(near.functions[0])


# ----------------------------------------------------------------------------------------------------------------- cuts


def kernel_with(*indices: str) -> dict[str, Touched]:
    """What slice 1 of 4 of a kernel of 32 tasks touches, by the index (of `t`, task 0 to 31, `i` below 5) that it stores at."""
    task = Var("t", 32)
    name = temp("n", task.dtype, (0, 3))
    arrays = {index: Array(f"a{n}", float32, 64) for n, index in enumerate(indices)}
    x = Array("x", float32, 1)
    stores = tuple(Store(a, eval(index, {"t": task, "n": as_index(name)}), load(x, 0)) for index, a in arrays.items())
    kernel = Kernel("k", (x, *arrays.values()), task, (Let(name, task // 8), *stores))
    touched = cut(kernel, Var("s", 4)).touched
    return {index: touched[array] for index, array in arrays.items()}


def test_what_a_slice_touches() -> None:
    found = kernel_with("t * 2", "t // 4", "n + t", "(t % 8) * 8 + t // 8", "t * 0 + 3", "t // 16")
    assert found["t * 2"] == Touched(8, 0, 14, 16)
    assert found["t // 4"] == Touched(2, 0, 1, 2)
    assert found["(t % 8) * 8 + t // 8"] == Touched(8, 0, 56, 1)
    assert found["t * 0 + 3"] == Touched(1, 3, 3, 0)
    assert found["t // 16"].step == 0 and found["t // 16"].high == 63
    assert found["t * 2"].is_part(64, 4) and not found["t // 4"].is_part(64, 4)
    assert not found["(t % 8) * 8 + t // 8"].is_part(64, 4)


def test_a_name_keeps_the_slice_in_sight() -> None:
    assert kernel_with("n * 16 + t % 8")["n * 16 + t % 8"] == Touched(8, 0, 7, 16)


@pytest.mark.parametrize(
    "index,size,divides",
    [
        ("t * 2 + i", 64, False),  # five elements, where slices are two apart
        ("t * 8 + i", 256, True),
        ("t * 8 + i", 128, False),
        ("t // 8 * 8 + i", 32, True),
        ("t // 4 * 8 + i", 64, True),
        ("t // 16 * 8 + i", 16, False),  # two slices share
        ("(t % 8) * 5 + i", 40, False),
        ("t * 8 + i - 1", 256, False),  # one element of the slice before
        ("t // 2 * 8 + t % 3 + i", 128, False),  # the third slice differs
    ],
)
def test_where_slices_may_divide_an_array(index: str, size: int, divides: bool) -> None:
    task = Var("t", 32)
    assert may_divide(eval(index, {"t": task, "i": Var("i", 5)}), task, Var("s", 4), size) == divides
