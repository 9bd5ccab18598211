"""Channels last, or pictures: where, what follows, and the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
from programs import HOST, check_kernels

import graphc as gc
from graphc import nn, optim
from graphc.dtype import float32
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value, full, make
from graphc.ops.convolve import conv_general
from graphc.ops.recurrence import cumsum
from graphc.ops.reduce import reduce_max, reduce_sum
from graphc.ops.shape import broadcast, concat, pad, reshape, reverse, slice_, transpose
from graphc.ops.source import placeholder
from graphc.ops.window import reduce_window, window_spread
from graphc.ops.window_choice import window_argmax, window_gather, window_scatter
from graphc.passes.expand import expand
from graphc.passes.layout import layout
from graphc.passes.manager import run_passes
from graphc.passes.pipelines import GRAPH, fitted

F = nn.functional


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


X, W = tensor("x", 2, 3, 6, 5), tensor("w", 32, 3, 3, 3)
WINDOW = {"window": (1, 1, 2, 2), "strides": (1, 1, 2, 1), "padding": ((0, 0), (0, 0), (1, 0), (0, 0)), "dilation": (1,) * 4}


def conv(x: Value, w: Value, padding: int = 1, **attrs: object) -> Value:
    rank = x.type.rank - 2
    return conv_general(x, w, strides=(1,) * rank, padding=((padding, padding),) * rank, **attrs)  # type: ignore[arg-type]


Y = conv(X, W)  # [2, 32, 6, 5]
BIAS = broadcast(tensor("bias", 32), Y.shape, (1,))


def numbers(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = {x: rng.standard_normal(x.shape).astype(np.float32) for x in graph.values() if x.op.name == "placeholder"}
    return evaluate(graph.roots, inputs)


def laid_out(*outputs: Value, lanes: int = 1) -> Graph:
    """The graph with its layouts chosen; computes the same."""
    before = expand(Graph("f", (), outputs))
    after = layout(before, lanes)
    for old, new in zip(numbers(before), numbers(after), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)
    return after


def transposes(graph: Graph) -> list[Value]:
    return [value for value in graph.values() if value.op.name == "transpose"]


FOLLOWERS: dict[str, Callable[[Value], Value]] = {
    "elementwise": lambda y: make("max", make("tanh", y) * 0.5, full(y.type, 0)),
    "with a natural operand": lambda y: y + BIAS,
    "pad": lambda y: pad(y, (0, 1, 2, 0), (1, 0, 0, -1), (0, 0, 1, 0), 0.5),
    "slice": lambda y: slice_(y, (0, 4, 1, 0), (2, 30, 6, 4), (1, 2, 1, 3)),
    "reverse": lambda y: reverse(y, (1, 3)),
    "concat": lambda y: concat([y, BIAS, y * 2.0], 1),
    "reduce_window": lambda y: reduce_window(y, kind="max", **WINDOW),
    "window_spread": lambda y: window_spread(y, shape=(2, 32, 11, 6), **WINDOW),
    "second convolution": lambda y: conv(y, tensor("w2", 48, 32, 2, 3)),
    "grouped": lambda y: conv(y, tensor("w3", 64, 1, 3, 3), feature_groups=32),
}


@pytest.mark.parametrize("follow", FOLLOWERS.values(), ids=FOLLOWERS)
def test_what_follows_a_convolution_keeps_channels_last(follow: Callable[[Value], Value]) -> None:
    z = follow(Y)
    graph = laid_out(z)
    (out,) = graph.outputs
    assert out.op.name == "transpose" and out.attrs["perm"] == (0, 3, 1, 2)
    assert all(v is out or v.operands[0].shape == BIAS.shape for v in transposes(graph))


@pytest.mark.parametrize(
    "follow",
    [
        lambda y: reduce_sum(y, (2, 3)),
        lambda y: reduce_max(y, (0, 1)),
        lambda y: transpose(y, (0, 2, 3, 1)),
        lambda y: reduce_sum(transpose(y, (1, 2, 3, 0)), (1, 2)),
    ],
    ids=["pixels", "channels", "transpose", "transposed"],
)
def test_reductions_and_transposes_absorb_the_order(follow: Callable[[Value], Value]) -> None:
    graph = laid_out(follow(Y))
    assert len(transposes(graph)) <= 1  # a last one only, where dimensions left over are in another order


def test_the_maximum_of_windows_and_its_gradient_keep_their_numbering() -> None:
    offsets = window_argmax(Y, **WINDOW)
    ct = tensor("ct", *offsets.shape)
    scattered = window_scatter(ct, offsets, shape=Y.shape, **WINDOW)
    graph = laid_out(scattered, window_gather(Y, offsets, **WINDOW), offsets)
    assert all(v.operands[0].op.name != "conv_general" for v in transposes(graph))
    across = WINDOW | {"window": (1, 2, 2, 2), "strides": (1, 2, 2, 2), "padding": ((0, 0),) * 4}
    laid_out(window_argmax(Y, **across))  # numbered across channels: computed in the old order


def test_ops_without_a_rule_get_the_old_order() -> None:
    laid_out(cumsum(Y, axis=1), reshape(Y, (2, 32 * 30)), Y)


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank: int) -> None:
    x, w = tensor("x", 2, 3, *(5, 4, 6)[:rank]), tensor("w", 32, 3, *(3, 2, 1)[:rank])
    graph = laid_out(make("tanh", conv(x, w)))
    assert graph.outputs[0].op.name == "transpose"


@pytest.mark.parametrize(
    ("groups", "shape", "moved"),
    [
        (1, (32, 32, 3, 3), False),
        (8, (32, 4, 3, 3), False),
        (32, (32, 1, 3, 3), True),
        (32, (64, 1, 3, 3), True),
        (1, (32, 32, 3), True),
    ],
    ids=["plain", "grouped", "depthwise", "two results a channel", "line"],
)
def test_data_have_their_channels_last_where_lanes_need_them_so(groups: int, shape: tuple[int, ...], moved: bool) -> None:
    x = tensor("x", 2, 32, *(9, 7)[: len(shape) - 2])
    graph = laid_out(conv(x, tensor("w", *shape), feature_groups=groups))
    assert len(transposes(graph)) == 1 + moved  # of the result, and of the data


def test_where_channels_are_few_nothing_changes() -> None:
    for x, w in ((X, tensor("w", 8, 3, 3, 3)), (tensor("x", 1, 64, 5, 5), tensor("w", 3, 64, 3, 3))):
        graph = Graph("f", (x, w), (conv(x, w, padding=0),))
        assert layout(graph) is graph


def test_gradients_of_kernels_keep_the_order_of_kernels() -> None:
    x = gc.placeholder((2, 32, 16, 16), gc.float32, name="x")
    net = nn.Sequential(nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(48, 64, 3))
    loss = (net(x) ** 2).mean()
    step = gc.function([x], loss, updates=optim.SGD(net.parameters(), lr=0.1, momentum=0.9).minimize(loss))
    graph = run_passes(step.graph("step"), GRAPH)
    convolutions = [v for v in graph.values() if v.op.name == "conv_general"]
    assert len(convolutions) == 5  # two forward, two of the kernels, one of the data
    last = [value for value in convolutions if value.attrs["out_spec"][1] == 3]
    assert sorted(value.shape for value in last) == [(2, 6, 6, 64), (2, 8, 8, 48), (2, 16, 16, 48)]
    assert not [v for v in transposes(graph) if v.operands[0].type.size == 2 * 48 * 16 * 16]  # none between the layers


def test_kernels_with_channels_last_compute_the_same() -> None:
    x = tensor("x", 1, 32, 7, 6)
    y = conv(
        make("max", conv(x, tensor("w", 33, 32, 3, 3)), full(TensorType(float32, (1, 33, 7, 6)), 0)),
        tensor("v", 34, 33, 1, 1),
        0,
    )
    graph = run_passes(
        Graph("f", (x, *(v for v in Graph("f", (), (y,)).values() if v.op.name == "placeholder" and v is not x)), (y,)), GRAPH
    )
    check_kernels(graph, calls=1)


# ------------------------------------------------------------------------------------------------------------ pictures

PICTURES_LAST = (3, 0, 1, 2)  # what restores the natural order
FEW = conv(tensor("pictures", 7, 2, 6, 5), tensor("w6", 6, 2, 3, 3))  # [7, 6, 6, 5]


@pytest.mark.parametrize(
    "follow",
    [
        lambda y: y,
        lambda y: make("tanh", y),
        lambda y: pad(y, (0, 1, 2, 0), (0, 0, 1, 0), (0, 0, 1, 0)),
        lambda y: reduce_window(y, kind="max", **WINDOW),
        lambda y: conv(y, tensor("w7", 3, 6, 3, 3)),
        lambda y: reshape(y, (7, 3, 2, 30)),
    ],
    ids=["nothing", "elementwise", "pad", "reduce_window", "second convolution", "reshape"],
)
def test_pictures_come_last_where_channels_are_few(follow: Callable[[Value], Value]) -> None:
    graph = laid_out(follow(FEW), lanes=4)
    (out,) = graph.outputs
    assert out.op.name == "transpose" and out.attrs["perm"] == PICTURES_LAST
    assert len(transposes(graph)) == 2  # and of the data, once


def test_flattened_pictures_stay_last() -> None:
    x = conv(FEW, tensor("w7", 3, 6, 2, 3), padding=0)  # [7, 3, 5, 3]
    (out,) = laid_out(reshape(make("tanh", x), (7, 45)), lanes=8).outputs
    assert out.attrs["perm"] == (1, 0)
    (out,) = laid_out(reshape(x, (3, 7, 15)), lanes=8).outputs
    assert out.op.name == "reshape"  # pictures are mixed: in the old order


@pytest.mark.parametrize(
    ("pictures", "lanes", "moved"), [(7, 1, False), (7, 8, True), (6, 8, True), (5, 8, False), (9, 8, False), (12, 8, True)]
)
def test_pictures_come_last_where_they_fill_the_lanes(pictures: int, lanes: int, moved: bool) -> None:
    x, w = tensor("x", pictures, 2, 6, 5), tensor("w", 6, 2, 3, 3)
    graph = Graph("f", (x, w), (conv(x, w),))
    assert (layout(graph, lanes) is not graph) is moved


def test_one_convolution_with_many_channels_decides_for_all() -> None:
    (out,) = laid_out(conv(FEW, tensor("w7", 32, 6, 3, 3)), lanes=4).outputs
    assert out.attrs["perm"] == (0, 3, 1, 2)


def test_a_step_with_pictures_last_moves_nothing_between_its_layers() -> None:
    x = gc.placeholder((HOST.lanes(float32), 1, 12, 11), gc.float32, name="x")
    features = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.Flatten()
    net = nn.Sequential(*features, nn.Linear(100, 3))
    loss = (net(x) ** 2).mean()
    step = gc.function([x], loss, updates=optim.SGD(net.parameters(), lr=0.1).minimize(loss))
    graph = run_passes(step.graph("step"), fitted(HOST))
    moved = {v.operands[0].shape[1:] for v in transposes(graph) if v.operands[0].type.rank == 4}
    assert moved == {x.shape[1:], (5, 5, 4)}  # the data, and the gradient that the linear layer gives
    stored = check_kernels(graph, calls=1).stored
    assert len([v for v in stored if v.op.name == "transpose" and v.type.size == prod(x.shape)]) == 1  # read for every tap
