"""Memory plans: buffers that live together do not overlap, and results overwrite operands only where that is unseen."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import check_kernels, optimised
from random_graphs import random_case

from graphc.dtype import float32, float64
from graphc.ir.expr import Array, Var, as_index, const, load, temp
from graphc.ir.graph import Graph
from graphc.ir.kernel import (
    ALIGNMENT,
    ARENA,
    INPUT,
    OUTPUT,
    VECTOR,
    Accumulate,
    Buffer,
    For,
    If,
    Kernel,
    KernelFunction,
    KernelProgram,
    Launch,
    Let,
    Local,
    Stmt,
    Store,
)
from graphc.ir.types import TensorType
from graphc.ir.values import Value, make
from graphc.ops.reduce import reduce_sum
from graphc.ops.shape import broadcast, transpose
from graphc.ops.source import placeholder
from graphc.passes.buffers import aligned, overwrite, place_buffers, plan_buffers
from graphc.passes.fuse import fuse
from graphc.passes.liveness import liveness, lower_bound
from graphc.passes.lower import lower
from graphc.passes.machine import Machine


def lowered(graph: Graph) -> KernelProgram:
    return lower([fuse(graph)], Machine())


def lives(function: KernelFunction) -> dict[Buffer, set[int]]:
    """Launches during which each arena buffer must keep its contents, found by walking back from every read."""
    needed: dict[Buffer, set[int]] = {}
    for n, launch in enumerate(function.launches):
        for buffer in launch.args:
            if buffer.kind == ARENA:
                first = next(m for m, other in enumerate(function.launches) if buffer in other.args)
                needed.setdefault(buffer, set()).update(range(first, n + 1))
    return needed


def overlap(program: KernelProgram, a: Buffer, b: Buffer) -> bool:
    x, y = program.offsets[a], program.offsets[b]
    return bool(a.nbytes and b.nbytes) and x < y + b.nbytes and y < x + a.nbytes


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_buffers_that_live_together_do_not_overlap(rng: Random) -> None:
    program = lowered(optimised(random_case(rng, steps=rng.randint(1, 20)).graph))
    plan = plan_buffers(program, Machine())
    function = plan.functions[0]
    alive = lives(function)
    for a in alive:
        assert plan.offsets[a] % ALIGNMENT == 0 and 0 <= plan.offsets[a] <= plan.arena_size - a.nbytes
        assert not any(overlap(plan, a, b) for b in alive if b is not a and alive[a] & alive[b])
    assert plan.arena_size >= lower_bound(liveness(function.launches), len(function.launches))
    assert plan.arena_size <= place_buffers(program).arena_size  # overwriting never costs
    assert plan.arena_size <= sum(aligned(b.nbytes) for b in lives(program.functions[0]))
    offsets = sorted((plan.offsets[v], v.nbytes) for v in plan.variables)
    assert all(start + size <= following for (start, size), (following, _) in pairwise(offsets))
    assert all(start + size <= plan.state_size for start, size in offsets)


# -------------------------------------------------------------------------------------------------------------- placing


def buffer(name: str, size: int = 8, kind: str = ARENA) -> Buffer:
    return Buffer(name, float32, (size,), kind)


def touch(*buffers: Buffer) -> Launch:
    arrays = tuple(Array(b.name, b.dtype, b.size) for b in buffers)
    return Launch(Kernel("k", arrays, Var("t", 1), ()), buffers)


def test_functions_use_the_same_arena_one_at_a_time() -> None:
    functions = tuple(KernelFunction(n, (), (), (touch(buffer(n, size)),)) for n, size in (("f", 100), ("g", 10)))
    plan = place_buffers(KernelProgram(functions, (), (), {}))
    assert plan.arena_size == aligned(400) and set(plan.offsets.values()) == {0}


def test_a_gap_that_fits_is_used() -> None:
    a, b, c, d = buffer("a", 64), buffer("b", 32), buffer("c", 16), buffer("d", 16)
    launches = (touch(a, b), touch(a, c), touch(a, c, d))
    plan = place_buffers(KernelProgram((KernelFunction("f", (), (), launches),), (), (), {}))
    assert plan.arena_size == 256 + 128  # c and d fill the place of b


def test_other_orders_are_tried_where_the_largest_first_leaves_gaps() -> None:
    last, short, long, thin = (buffer(name, size << 10) for name, size in zip("abcd", (20, 13, 12, 4), strict=True))
    launches = (touch(long), touch(long, short), touch(long, thin), touch(thin, last), touch(thin, last))
    plan = place_buffers(KernelProgram((KernelFunction("f", (), (), launches),), (), (), {}))
    assert plan.arena_size == 25 << 12  # not 29: `thin` lies on `last`, not on `long`
    for launch in launches:
        places = sorted((plan.offsets[b], plan.offsets[b] + b.nbytes) for b in launch.args)
        assert all(stop <= start for (_, stop), (start, _) in pairwise(places))


# ----------------------------------------------------------------------------------------------------------- overwriting

N = 16
ZERO = as_index(0)
T, AT, V = Var("t", 1), Var("i", N), Var("v", N)


def function_of(
    body: tuple[Stmt, ...], params: tuple[Array, Array], dying: Buffer, result: Buffer, *later: Launch
) -> KernelFunction:
    """Something writes `dying`, the kernel makes `result` of it, and the caller gets that."""
    source, out = buffer("x", N, INPUT), buffer("out", N, OUTPUT)
    launches = (touch(source, dying), Launch(Kernel("k", params, T, body), (dying, result)), *later, touch(result, out))
    return KernelFunction("f", (source,), (out,), launches)


def is_overwritten(function: KernelFunction) -> bool:
    return len(overwrite(function).launches[1].args) == 1


A, B = Array("a", float32, N), Array("b", float32, N)
SQUARE = (For(V, (Store(B, V, load(A, V) * load(A, V)),), VECTOR, 8),)


def dying(dtype: object = float32, size: int = N) -> tuple[Buffer, Buffer]:
    return buffer("a", N), Buffer("b", dtype, (size,), ARENA)  # type: ignore[arg-type]


def test_a_result_overwrites_an_operand_read_at_the_same_index() -> None:
    a, b = dying()
    function = function_of(SQUARE, (A, B), a, b)
    changed = overwrite(function)
    (only,) = changed.launches[1].args
    assert only is a and changed.launches[2].args[0] is a
    (loop,) = changed.launches[1].kernel.body
    assert isinstance(loop, For) and isinstance(loop.body[0], Store) and loop.body[0].array is A


def test_a_let_before_the_store_is_fine() -> None:
    t = temp("t", float32)
    assert is_overwritten(function_of((For(AT, (Let(t, load(A, AT)), Store(B, AT, t))),), (A, B), *dying()))


def test_passes_over_the_operand_may_come_before_the_store() -> None:
    total, kept = Array("total", float32, 1), Array("kept", float32, N)
    folds = For(AT, (Store(kept, AT, load(A, AT) * 2.0), Accumulate(total, ZERO, "add", load(A, AT))))
    before = (Local(total), Store(total, ZERO, const(0, float32)), Local(kept), folds)
    for value in (load(A, AT) / load(total, 0), load(kept, AT) / load(total, 0)):
        store = For(AT, (Store(B, AT, value),))
        assert is_overwritten(function_of((*before, store), (A, B), *dying()))
        assert is_overwritten(function_of((*before, If(load(total, 0) < 1, (store,), (store,))), (A, B), *dying()))


T2, SUM, AGAIN = temp("t", float32), Array("sum", float32, 1), Var("again", 2)
REFUSED: dict[str, tuple[Stmt, ...]] = {
    "another index": (For(AT, (Store(B, AT, load(A, N - 1 - AT)),)),),
    "two indices": (For(AT, (Store(B, AT, load(A, AT) + load(A, N - 1 - AT)),)),),
    "read after the store": (For(AT, (Store(B, AT, load(A, AT)), Let(T2, load(A, AT)))),),
    "read in another loop": (For(AT, (Store(B, AT, load(A, AT)),)), For(AT, (Let(T2, load(A, AT)),))),
    "read in an earlier loop at another index": (
        For(AT, (Accumulate(SUM, ZERO, "add", load(A, N - 1 - AT)),)),
        For(AT, (Store(B, AT, load(A, AT)),)),
    ),
    "read in a loop between two stores": (
        For(AT, (Store(B, AT, load(A, AT)),)),
        For(AT, (Accumulate(SUM, ZERO, "add", load(A, AT)),)),
        For(AT, (Store(B, AT, load(SUM, 0)),)),
    ),
    "read by each of two loops that store": (For(AT, (Store(B, AT, load(A, AT)),)), For(AT, (Store(B, AT, load(A, AT)),))),
    "read again by the next round of a loop around both": (
        For(AGAIN, (For(AT, (Accumulate(SUM, ZERO, "add", load(A, AT)),)), For(AT, (Store(B, AT, load(SUM, 0)),)))),
    ),
    "read on another way through a condition only": (
        For(AT, (Accumulate(SUM, ZERO, "add", load(A, AT)),)),
        If(load(SUM, 0) < 1, (For(AT, (Store(B, AT, load(SUM, 0)),)),), ()),
    ),
    "stored twice": (For(AT, (Store(B, AT, load(A, AT)), Store(B, AT, load(A, AT)))),),
    "guarded store": (For(AT, (Store(B, AT, load(A, AT), AT < 3),)),),
    "fold": (For(AT, (Accumulate(B, AT, "add", load(A, AT)),)),),
    "not read at all": (For(AT, (Store(B, AT, load(B, AT)),)),),
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_a_kernel_that_would_see_the_difference_is_left_alone(body: tuple[Stmt, ...]) -> None:
    assert not is_overwritten(function_of(body, (A, B), *dying()))


def test_an_operand_read_later_is_not_overwritten() -> None:
    a, b = dying()
    assert not is_overwritten(function_of(SQUARE, (A, B), a, b, touch(a)))


def test_size_and_dtype_must_be_equal() -> None:
    a, b = dying(float64)
    body = (For(AT, (Store(Array("b", float64, N), AT, 0.0 * load(A, AT)),)),)
    assert not is_overwritten(function_of(body, (A, Array("b", float64, N)), a, b))
    a, b = dying(size=N + 1)
    longer = Array("b", float32, N + 1)
    assert not is_overwritten(function_of((For(AT, (Store(longer, AT, load(A, AT)),)),), (A, longer), a, b))


@pytest.mark.parametrize(("first", "second"), [(INPUT, ARENA), (ARENA, OUTPUT)])
def test_only_scratch_is_overwritten(first: str, second: str) -> None:
    assert not is_overwritten(function_of(SQUARE, (A, B), buffer("a", N, first), buffer("b", N, second)))


def test_a_result_that_was_written_before_is_not_moved() -> None:
    a, b = dying()
    kernel = Kernel("k", (A, B), T, SQUARE)
    function = KernelFunction("f", (), (), (touch(a, b), Launch(kernel, (a, b)), touch(b)))
    assert len(overwrite(function).launches[1].args) == 2


def test_a_chain_of_kernels_needs_less_memory_than_its_results() -> None:
    x = placeholder("x", TensorType(float32, (33, 33)))
    y: Value = x
    for _ in range(4):  # every step needs the whole result before it: nothing fuses
        y = make("exp", make("tanh", y)) + broadcast(reduce_sum(transpose(y, (1, 0)), (0,)), (33, 33), (1,))
        y = y * transpose(y, (1, 0))
    graph = Graph("f", (x,), (y,))
    check_kernels(graph, calls=1)
    separate = lowered(graph)
    total = sum(aligned(b.nbytes) for b in lives(separate.functions[0]))
    assert 0 < plan_buffers(separate, Machine()).arena_size <= place_buffers(separate).arena_size < total / 2
