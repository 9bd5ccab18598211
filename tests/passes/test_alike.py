"""Clusters that are alike have one kernel; those that differ in anything that a kernel depends on have their own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest
from programs import check_kernels, optimised

from graphc.dtype import float32, float64
from graphc.ir.graph import Graph
from graphc.ir.kernel import ARENA, Kernel, Launch
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, make
from graphc.ops.contract import dot_general
from graphc.ops.convolve import conv_general
from graphc.ops.pieces import pad, slice_
from graphc.ops.reduce import reduce_max, reduce_sum
from graphc.ops.shape import broadcast, transpose
from graphc.ops.source import placeholder, variable
from graphc.passes.fuse import fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine
from graphc.passes.schedule import Problem, Scheduler, choose, offers
from graphc.passes.tiles import Schedule

WIDE = Machine(64, 32)
Updates = tuple[tuple[Value, Value], ...]


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


def weights(name: str, *shape: int) -> Value:
    return variable(name, np.ones(shape, np.float32))


def fixed(seed: int, *shape: int) -> Value:
    return constant(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def dot(a: Value, b: Value) -> Value:
    return dot_general(a, b, contract=((1,), (0,)), batch=((), ()))


def softmax(x: Value) -> Value:
    e = make("exp", x - broadcast(reduce_max(x, (1,)), x.shape, (0,)))
    return e / broadcast(reduce_sum(e, (1,)), x.shape, (0,))


def conv(x: Value, w: Value, low: int = 1, high: int = 1) -> Value:
    padding = ((low, high), (low, high))
    return conv_general(x, w, strides=(1, 1), padding=padding, lhs_spec=(0, 3, 1, 2), out_spec=(0, 3, 1, 2))


def launches(each: Sequence[Sequence[Value]], updates: Sequence[Updates], scheduler: Scheduler = choose) -> list[list[Launch]]:
    """Of one function for each list of results."""
    graphs = []
    for n, (results, updated) in enumerate(zip(each, updates, strict=True)):
        plain = Graph(f"f{n}", (), tuple(results), updated)
        inputs = tuple(v for v in plain.values() if v.op.name == "placeholder")
        graphs.append(optimised(Graph(f"f{n}", inputs, tuple(results), updated)))
        check_kernels(graphs[-1], WIDE)
    program = lower([fuse(graph) for graph in graphs], WIDE, scheduler=scheduler)
    return [list(function.launches) for function in program.functions]


def kernels(of: list[Launch]) -> list[Kernel]:
    return [launch.kernel for launch in of]


def are_alike(one: Sequence[Value], other: Sequence[Value], updates: Sequence[Updates] = ((), ())) -> bool:
    first, second = launches([one, other], updates)
    return kernels(first) == kernels(second)


X, Y, Z = (tensor(name, 5, 48) for name in "xyz")
V, W = (weights(name, 48, 33) for name in "vw")
IMAGE, PICTURE = (tensor(name, 2, 6, 6, 8) for name in ("image", "picture"))
TAPS, OTHERS = (weights(name, 16, 8, 3, 3) for name in ("taps", "others"))


@pytest.mark.parametrize(
    "one, other",
    [
        (make("exp", X) * Y, make("exp", Y) * Z),
        (softmax(X), softmax(Z)),
        (make("tanh", dot(X, V)), make("tanh", dot(Y, W))),
        (dot(make("exp", X), V), dot(make("exp", Z), W)),
        (conv(IMAGE, TAPS), conv(PICTURE, OTHERS)),
        (conv(make("exp", IMAGE), TAPS), conv(make("exp", PICTURE), OTHERS)),
        (reduce_sum(slice_(X, (0, 8), (5, 40), (1, 1)), (0,)), reduce_sum(slice_(Y, (0, 8), (5, 40), (1, 1)), (0,))),
    ],
    ids=("map", "rows", "epilogue", "prologue", "convolution", "padded", "view"),
)
def test_names_make_no_difference(one: Value, other: Value) -> None:
    assert are_alike([one], [other])


@pytest.mark.parametrize(
    "one, other",
    [
        (make("exp", X), make("tanh", X)),
        (X * Y, X * X),
        ((X - Y) * X, (Y - X) * X),
        (X * full(X.type, 2.0), X * full(X.type, 3.0)),
        (X + full(X.type, 0.5), Y + fixed(0, 5, 48)),
        (make("exp", X), make("exp", tensor("s", 5, 47))),
        (make("exp", X), make("exp", placeholder("d", TensorType(float64, (5, 48))))),
        (reduce_sum(X, (0,)), reduce_sum(X, (1,))),
        (reduce_sum(X, (1,)), reduce_max(X, (1,))),
        (slice_(X, (0, 8), (5, 40), (1, 1)) * full(TensorType(float32, (5, 32)), 2.0),
         slice_(X, (0, 9), (5, 41), (1, 1)) * full(TensorType(float32, (5, 32)), 2.0)),
        (pad(X, (1, 1), (1, 1), value=0.0), pad(X, (1, 1), (1, 1), value=1.0)),
        (dot(X, V), dot(X, transpose(weights("t", 33, 48), (1, 0)))),
        (dot(X, fixed(0, 48, 33)), dot(X, fixed(1, 48, 33))),
        (dot(X, V), dot(make("exp", X), V)),
        (dot(X, V) + tensor("r", 5, 33), dot(X, V) - tensor("r", 5, 33)),
        (conv(IMAGE, TAPS), conv(IMAGE, TAPS, low=2)),
    ],
)  # fmt: skip
def test_what_a_kernel_depends_on_makes_one(one: Value, other: Value) -> None:
    assert not are_alike([one], [other])


def test_so_does_what_is_stored() -> None:
    assert not are_alike([make("tanh", make("exp", X))], [make("tanh", make("exp", X)), make("exp", X)])
    old = weights("old", 5, 48)
    assert not are_alike([], [], [((old, old * X),), ((old, Y * X),)])


def test_so_does_where_it_lies_inside_of_something_padded() -> None:
    def read_twice(low: int, high: int) -> list[Value]:
        x = make("exp", IMAGE)
        return [conv(x, TAPS, low, high), conv(x, OTHERS, low, high)]

    one, other = (kernels(found)[0] for found in launches([read_twice(2, 0), read_twice(0, 2)], [(), ()]))
    assert one.name == other.name == "exp" and one is not other


def test_layers_of_one_function_have_one_kernel_and_panels_of_their_own() -> None:
    def packing(problem: Problem) -> Schedule:
        return next(schedule for schedule in offers(problem, 30) if 1 in schedule.packed and not schedule.near)

    h = weights("h", 64, 48)
    for n in range(3):
        h = make("tanh", dot(h, weights(f"w{n}", 48, 48)))
    (found,) = launches([[h]], [()], packing)
    assert [kernel.name for kernel in dict.fromkeys(kernels(found))] == ["fused0_dot_general_pack", "fused0_dot_general"]
    assert len(found) == 6
    panels = [buffer for launch in found[::2] for buffer in launch.args if buffer.kind == ARENA]
    assert len(set(panels)) == len(panels) == 3


def test_what_is_scheduled_otherwise_has_another_kernel() -> None:
    turn = count()

    def other_each_time(problem: Problem) -> Schedule:
        found = offers(problem, 2)
        return found[next(turn) % 2]

    first, second = launches([[dot(X, V)], [dot(Y, W)]], [(), ()], other_each_time)
    assert kernels(first)[-1] is not kernels(second)[-1]
