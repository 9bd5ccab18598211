"""Values that lie inside their padded form: which do, who sees through it, and what fills the border."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from programs import check_kernels, clusters, optimised

from graphc.dtype import float32
from graphc.interp.kernel import run_kernel
from graphc.ir.expr import as_index
from graphc.ir.graph import Graph
from graphc.ir.kernel import ARENA
from graphc.ir.types import TensorType
from graphc.ir.values import Value, full, make
from graphc.ops.contract import dot_general
from graphc.ops.convolve import conv_general
from graphc.ops.pieces import pad
from graphc.ops.recurrence import cumsum
from graphc.ops.reduce import reduce_max, reduce_sum
from graphc.ops.shape import broadcast, reshape
from graphc.ops.source import grad, placeholder
from graphc.passes.borders import MOSTLY, fill
from graphc.passes.cluster import BORDER, CONTRACTION, LOOPS
from graphc.passes.frame import Frame
from graphc.passes.fuse import FusedGraph, fuse
from graphc.passes.inset import Inset, position
from graphc.passes.lower import lower
from graphc.passes.machine import Machine

MACHINES = [Machine(16, 16), Machine(64, 32), Machine(4, 4, 1 << 40, 1 << 40)]
LAST = {"lhs_spec": (0, 3, 1, 2), "out_spec": (0, 3, 1, 2)}  # channels last


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


X = tensor("x", 2, 5, 7, 3)


def conv(x: Value, name: str, outs: int = 4, taps: int = 3, margin: int = 1, stride: int = 1, groups: int = 1) -> Value:
    """A square convolution of data with its channels last, by an input of its own."""
    w = tensor(name, outs, x.shape[3] // groups, taps, taps)
    around = ((margin, margin),) * 2
    return conv_general(x, w, strides=(stride, stride), padding=around, feature_groups=groups, **LAST)


def relu(x: Value) -> Value:
    return make("max", x, full(x.type, 0))


def graph(*outputs: Value) -> Graph:
    plain = Graph("f", (), outputs)
    inputs = tuple(v for v in plain.values() if v.op.name == "placeholder")
    return optimised(Graph("f", inputs, outputs))


def checked(*outputs: Value) -> FusedGraph:
    """The clusters, whose numbers are right on all machines."""
    fused, *_ = [check_kernels(graph(*outputs), machine, calls=1) for machine in MACHINES]
    return fused


def kinds(fused: FusedGraph) -> list[str]:
    return [kind for kind, _ in clusters(fused)]


# --------------------------------------------------------------------------------------------------------- inside, or not


def test_a_convolution_writes_inside_what_the_next_one_reads() -> None:
    fused = checked(conv(relu(conv(X, "a")), "b"))
    assert kinds(fused) == [CONTRACTION, BORDER, CONTRACTION]
    ((value, inset),) = fused.insets.items()
    assert value.op.name == "max" and inset.host.op.name == "pad" and inset.low == (0, 1, 1, 0)
    (function,) = lower([fused], MACHINES[1]).functions
    shapes = {b.shape for launch in function.launches for b in launch.args if b.kind == ARENA and "panels" not in b.name}
    assert value.shape not in shapes and inset.host.shape in shapes


def test_a_map_and_a_row_chain_write_there_too() -> None:
    mapped = checked(conv(make("exp", X), "a"))
    assert kinds(mapped) == [LOOPS, BORDER, CONTRACTION]
    rows = X - broadcast(reduce_max(X, (3,)), X.shape, (0, 1, 2))
    rows = rows / broadcast(reduce_sum(rows, (3,)), X.shape, (0, 1, 2))
    assert kinds(checked(conv(rows, "a"))) == [LOOPS, BORDER, CONTRACTION]


def test_all_other_readers_see_through_the_border() -> None:
    x = relu(conv(X, "a"))
    outputs = [conv(x, "b", outs=4) + x, conv(x, "c", taps=1, margin=0, stride=2), reduce_sum(x, (1, 2)), make("exp", x)]
    fused = checked(*outputs)
    assert len(fused.insets) == 1 and kinds(fused).count(BORDER) == 1


def test_depthwise_convolutions_and_strides() -> None:
    x = conv(X, "a", outs=16, taps=1, margin=0)
    y = conv(relu(x), "b", outs=16, stride=2, groups=16)
    fused = checked(conv(relu(y), "c", outs=16, groups=16))
    assert len(fused.insets) == 2


def test_the_widest_pad_holds_the_others() -> None:
    x = make("exp", X)
    fused = checked(conv(x, "a", taps=3, margin=1) + conv(x, "b", taps=5, margin=2))
    hosts = {inset.host for inset in fused.insets.values()}
    assert len(fused.insets) == 2 and {host.attrs["low"] for host in hosts} == {(0, 2, 2, 0)}
    assert sorted(inset.low for inset in fused.insets.values()) == [(0, 1, 1, 0), (0, 2, 2, 0)]
    (function,) = lower([fused], MACHINES[1]).functions
    assert [launch.comment for launch in function.launches].count("a border") == 1


def test_a_pad_that_the_widest_does_not_hold_is_a_copy() -> None:
    x = make("exp", X)
    w = tensor("w", 4, 3, 3, 1)
    tall = conv_general(x, w, strides=(1, 1), padding=((1, 1), (0, 0)), **LAST)
    wide = conv_general(x, tensor("u", 4, 3, 1, 5), strides=(1, 1), padding=((0, 0), (2, 2)), **LAST)
    fused = checked(reduce_sum(tall, (0, 1, 2)) + reduce_sum(wide, (0, 1, 2)))
    assert len(fused.insets) == 1


def test_gradients_use_what_was_stored_with_borders() -> None:
    y = conv(relu(conv(X, "a", outs=5)), "b")
    loss = reduce_sum(y * y, range(4))
    weights = [v for v in Graph("f", (), (loss,)).values() if v.op.name == "placeholder"]
    fused = checked(loss, *(grad(loss, w) for w in weights))
    assert fused.insets


def padded_product(x: Value, low: Sequence[int], high: Sequence[int], interior: Sequence[int], value: float = 0.0) -> Value:
    """A product that reads a padded value: no convolution, so the padding may be anything."""
    p = pad(x, low, high, interior, value)
    return dot_general(p, tensor("m", p.shape[-1], 6), contract=((p.type.rank - 1,), (0,)))


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_any_number_surrounds_a_value(value: float) -> None:
    x = make("exp", tensor("x", 3, 5, 7))
    fused = checked(padded_product(x, (1, 0, 2), (0, 3, 1), (0, 0, 0), value))
    assert fused.insets[x].low == (1, 0, 2)


@pytest.mark.parametrize(
    ("low", "high", "interior"),
    [((0, -1), (2, 0), (0, 0)), ((1, 1), (1, -1), (0, 0)), ((1, 0), (0, 0), (0, 1)), ((0, 7 * MOSTLY), (0, 0), (0, 0))],
    ids=["cropped", "cropped behind", "holes", "mostly padding"],
)
def test_other_pads_are_copies(low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> None:
    assert not checked(padded_product(make("exp", tensor("x", 5, 7)), low, high, interior)).insets


def test_what_others_own_is_copied() -> None:
    x = make("exp", X)
    assert not checked(conv(X, "a")).insets  # the caller's
    assert not checked(conv(x, "a"), x).insets  # a result
    p = pad(x, (0, 1, 1, 0), (0, 1, 1, 0))
    assert not checked(conv(p, "a", margin=0), p).insets  # its padded form is one
    assert not checked(conv(cumsum(X, 1), "a")).insets  # made by a kernel of its own kind


def test_readers_that_need_memory_in_one_piece_keep_the_copy() -> None:
    x = make("exp", X)
    assert not checked(conv(x, "a"), cumsum(x, 2)).insets
    rows = reshape(x, (70, 3))
    assert not checked(conv(x, "a"), dot_general(rows, tensor("m", 70, 5), contract=((0,), (0,)))).insets
    twisted = make("exp", reshape(x, (6, 35)) + tensor("y", 6, 35))
    assert not checked(conv(x, "a"), twisted).insets


# --------------------------------------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (20, 3, 2, 4), (7,), (1, 1, 3), (6, 2)], ids=str)
@pytest.mark.parametrize("at", ["low", "high", "both", "first", "last"])
def test_borders_are_filled_and_nothing_else_is_written(shape: tuple[int, ...], at: str) -> None:
    rank, x = len(shape), tensor("x", *shape)
    some = tuple(n % 3 for n in range(1, rank + 1))
    none = (0,) * rank
    one = (2, *none[1:]) if at == "first" else (*none[1:], 2)
    low, high = {"low": (some, none), "high": (none, some), "both": (some, some)}.get(at, (one, one))
    p = pad(x, low, high, None, 3.0)
    buffer = lower([fuse(Graph("f", (x,), (make("exp", p),)))], MACHINES[1]).functions[0].outputs[0]
    launch = fill("border", p, Frame({p: buffer}), MACHINES[1])
    memory = np.full(p.shape, np.nan, np.float32)
    run_kernel(launch.kernel, [memory.reshape(-1)])
    inside = tuple(slice(a, a + n) for a, n in zip(low, shape, strict=True))
    assert np.isnan(memory[inside]).all()
    memory[inside] = 3.0
    assert (memory == 3.0).all()


def test_positions_inside_a_host() -> None:
    x = tensor("x", 3, 5)
    index = as_index(2), as_index(4)
    assert position(x, index, {}) is as_index(2 * 5 + 4)
    assert position(x, index, {x: Inset(pad(x, (1, 2), (0, 0)), (1, 2))}) is as_index(3 * 7 + 6)
