"""Results that are turned so that lanes can store them: which, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from programs import HOST, check_kernels

import graphc as gc
from graphc import nn, optim
from graphc.driver import Stages
from graphc.dtype import float32
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value
from graphc.ops.contract import dot_general
from graphc.ops.convolve import conv_general
from graphc.ops.source import placeholder
from graphc.passes.machine import Machine
from graphc.passes.turn import turn

FOUR, EIGHT = Machine(vector_bytes=16), Machine(vector_bytes=32)


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


def kernel_gradient(*channels: int, pixels: int = 9, strides: tuple[int, ...] = (1, 1), **attrs: object) -> Value:
    """[result, data, taps] from data and cotangents of so many channels."""
    result, data = channels
    dilated = [(pixels - 3) // stride + 1 for stride in strides]
    x, dy = tensor("x", 2, data, *(pixels for _ in strides)), tensor("dy", 2, result, *dilated)
    order = (1, 0, *range(2, x.type.rank))
    apart = {"strides": (1,) * len(strides), "rhs_dilation": strides, "padding": ((0, 0),) * len(strides)}
    return conv_general(x, dy, **apart | attrs, lhs_spec=order, rhs_spec=order, out_spec=order)  # type: ignore[arg-type]


def turned(value: Value, machine: Machine = FOUR) -> Value | None:
    """What a value is a transpose of then, which computes the same; None where it stays."""
    graph = Graph("f", tuple(v for v in Graph("f", (), (value,)).values() if v.op.name == "placeholder"), (value,))
    after = turn(graph, machine)
    assert turn(after, machine) is after
    if after is graph:
        return None
    (out,) = after.outputs
    check_kernels(after)
    return out.operands[0] if out.op.name == "transpose" and out.shape == value.shape else out


@pytest.mark.parametrize("channels", [(16, 32), (23, 21), (64, 8)], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 1)], ids=str)
def test_gradients_of_kernels_end_in_channels(channels: tuple[int, int], strides: tuple[int, ...]) -> None:
    found = turned(kernel_gradient(*channels, strides=strides))
    assert found is not None and found.op.name == "conv_general" and found.shape == (channels[1], 3, 3, channels[0])


def test_gradients_of_kernels_over_lines_end_in_channels() -> None:
    found = turned(kernel_gradient(48, 32, strides=(2,)))
    assert found is not None and found.shape == (32, 3, 48)


@pytest.mark.parametrize(
    "value",
    [
        kernel_gradient(512, 3),  # lanes would be empty in any order
        kernel_gradient(8, 8),  # too small to be worth a transpose
        kernel_gradient(64, 128, pixels=3, strides=(4, 4)),  # one tap
        kernel_gradient(64, 64, batch_groups=2),
        conv_general(tensor("x", 4, 16, 9, 9), tensor("w", 32, 16, 3, 3), strides=(1, 1), padding=((0, 0), (0, 0))),
    ],
    ids=["data", "size", "taps", "groups", "pictures"],
)
def test_other_convolutions_stay(value: Value) -> None:
    assert turned(value) is None


@pytest.mark.parametrize("columns", [(2,), (7,), (2, 3)], ids=str)
def test_products_of_few_columns_end_in_rows(columns: tuple[int, ...]) -> None:
    value = dot_general(tensor("a", 5, 90, 30), tensor("b", *columns, 5), contract=((0,), (len(columns),)))
    found = turned(value, EIGHT)
    assert found is not None and found.shape == (*columns, 90, 30)


@pytest.mark.parametrize(
    ("a", "b", "contract", "batch"),
    [
        ((5, 2000), (5, 8), ((0,), (0,)), ((), ())),  # columns enough
        ((5, 2000), (5, 1), ((0,), (0,)), ((), ())),
        ((5, 500), (5, 7), ((0,), (0,)), ((), ())),  # too small
        ((2000, 5), (5, 7), ((1,), (0,)), ((), ())),  # rows lie apart in any order
        ((2, 5, 2000), (2, 5, 7), ((1,), (1,)), ((0,), (0,))),
    ],
)
def test_other_products_stay(
    a: tuple[int, ...], b: tuple[int, ...], contract: tuple[tuple[int, ...], ...], batch: tuple[tuple[int, ...], ...]
) -> None:
    assert turned(dot_general(tensor("a", *a), tensor("b", *b), contract=contract, batch=batch), EIGHT) is None  # type: ignore[arg-type]


def test_nothing_is_turned_without_lanes() -> None:
    graph = Graph("f", (), (kernel_gradient(64, 64),))
    assert turn(graph, Machine(vector_bytes=4)) is graph


def test_an_update_reads_the_gradient_of_its_kernel_across() -> None:
    """Once, in the kernel that writes the weights; and these are the same as by hand."""
    x = gc.placeholder((2, 32, 9, 9), name="x")
    conv = nn.Conv2d(32, 48, 3, stride=2, bias=False)
    step = gc.function([x], loss := (conv(x) ** 2).sum(), updates=optim.SGD(conv.parameters(), lr=0.1).minimize(loss))
    stages = Stages({"step": step})
    (kernel,) = (launch.kernel for launch in stages.kernels.functions[0].launches if "sub" in launch.comment)
    assert ("conv_general" in kernel.name) is (HOST.lanes(float32) > 32)
    array, program = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32), stages.compilation.load(2)
    before = np.array(program.state["weight"], np.float64)
    program.step(array)
    patches = np.lib.stride_tricks.sliding_window_view(array.astype(np.float64), (3, 3), (2, 3))[:, :, ::2, ::2]
    y = np.einsum("nchwij,kcij->nkhw", patches, before)
    expected = before - 0.1 * np.einsum("nchwij,nkhw->kcij", patches, 2 * y)
    np.testing.assert_allclose(program.state["weight"], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
