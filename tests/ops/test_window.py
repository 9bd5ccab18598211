"""Windows against their definition, PyTorch's pooling and each other; every refusal."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from laws import assert_close, gradients, operands_of

from graphc.dtype import bfloat16
from graphc.errors import DTypeError, ShapeError
from graphc.interp.graph import evaluate
from graphc.ir.op import OPS, Sample
from graphc.ir.values import Value, constant, make
from graphc.ops.window import reduce_window, window_spread
from graphc.ops.window_choice import window_argmax, window_gather, window_scatter


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def value_of(result: Value) -> np.ndarray:
    return evaluate([result], {})[0]


def windows(x: np.ndarray, node_shape: tuple[int, ...], attrs: dict[str, Any]) -> Any:
    """(position, [(flat offset, place in x) for all taps inside x]) for every window position."""
    for position in np.ndindex(*node_shape):
        inside = []
        for flat, tap in enumerate(product(*map(range, attrs["window"]))):
            rows = zip(position, tap, attrs["strides"], attrs["dilation"], attrs["padding"], strict=True)
            place = tuple(p * s + k * d - low for p, k, s, d, (low, _) in rows)
            if all(0 <= i < n for i, n in zip(place, x.shape, strict=True)):
                inside.append((flat, place))
        yield position, inside


def test_sums_and_maxima_are_their_definition() -> None:
    for sample in OPS["reduce_window"].samples():
        (x,), kind = sample.arrays, sample.attrs["kind"]
        actual = OPS["reduce_window"].reference(x, **sample.attrs)
        lowest = np.iinfo(x.dtype).min if x.dtype.kind == "i" else -np.inf
        expected = np.zeros(actual.shape)
        for position, inside in windows(x, actual.shape, sample.attrs):
            seen = [float(x[place]) for _, place in inside]
            expected[position] = sum(seen) if kind == "sum" else max(seen, default=lowest)
        assert_close(actual, expected.astype(x.dtype), operands_of(sample)[0].dtype, slack=4, scale=4)


def test_argmax_is_its_definition() -> None:
    for sample in OPS["window_argmax"].samples():
        (x,) = sample.arrays
        actual = OPS["window_argmax"].reference(x, **sample.attrs)
        for position, inside in windows(x, actual.shape, sample.attrs):
            greatest = max((x[place] for _, place in inside), default=None)
            assert actual[position] == next((flat for flat, place in inside if x[place] == greatest), 0)


def test_scatter_and_gather_are_transposes() -> None:
    for sample in OPS["window_gather"].samples():
        x, offsets = sample.arrays
        x, dy = x.astype(np.float64), numbers(*offsets.shape)
        taken = value_of(window_gather(constant(x), constant(offsets), **sample.attrs))
        spread = value_of(window_scatter(constant(dy), constant(offsets), shape=x.shape, **sample.attrs))
        np.testing.assert_allclose(np.sum(taken * dy), np.sum(spread * x), rtol=1e-12, atol=1e-12)


def test_sums_and_spreads_are_transposes() -> None:
    for sample in OPS["window_argmax"].samples():
        x = sample.arrays[0].astype(np.float64)
        sums = value_of(reduce_window(constant(x), kind="sum", **sample.attrs))
        dy = numbers(*sums.shape)
        spread = value_of(window_spread(constant(dy), shape=x.shape, **sample.attrs))
        np.testing.assert_allclose(np.sum(sums * dy), np.sum(spread * x), rtol=1e-12, atol=1e-12)


def test_gather_of_argmax_is_the_maximum() -> None:
    x, pooling = constant(numbers(3, 8, 7)), {"window": (1, 3, 2), "strides": (1, 2, 2), "padding": [(0, 0), (1, 1), (0, 1)]}
    offsets = window_argmax(x, **pooling)
    np.testing.assert_array_equal(
        value_of(window_gather(x, offsets, **offsets.attrs)), value_of(reduce_window(x, kind="max", **pooling))
    )


def test_offsets_outside_the_window_choose_nothing() -> None:
    x = constant(numbers(6))
    attrs = window_argmax(x, window=(2,)).attrs
    offsets = constant(np.array([-1, 2, 1], np.int32))
    np.testing.assert_array_equal(value_of(window_gather(x, offsets, **attrs)), [0, 0, value_of(x)[5]])
    np.testing.assert_array_equal(
        value_of(window_scatter(constant(np.ones(3)), offsets, shape=(6,), **attrs)), [0, 0, 0, 0, 0, 1]
    )


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16"])
def test_nan_is_the_maximum_and_the_first_wins(name: str) -> None:
    x = np.array([1, np.nan, 3, np.nan, 2, 2, -np.inf, -np.inf]).astype(bfloat16.numpy if name == "bfloat16" else name)
    greatest = value_of(reduce_window(constant(x), window=(4,), strides=(2,), kind="max")).astype(float)
    np.testing.assert_array_equal(greatest, [np.nan, np.nan, 2])
    np.testing.assert_array_equal(value_of(window_argmax(constant(x), window=(4,), strides=(2,))), [1, 1, 0])
    np.testing.assert_array_equal(value_of(window_argmax(constant(x[6:]), window=(3,), padding=[(1, 0)])), [1])


@pytest.mark.parametrize("name", ["float32", "int8", "int64"])
def test_a_window_wholly_in_padding_gives_the_lowest(name: str) -> None:
    x = constant(np.ones(2).astype(name))
    lowest = -np.inf if name == "float32" else np.iinfo(name).min
    pooled = value_of(reduce_window(x, window=(2,), strides=(2,), padding=[(2, 0)], kind="max"))
    np.testing.assert_array_equal(pooled, np.array([lowest, 1], name))


def test_sums_of_half_accumulate_in_single() -> None:
    assert value_of(reduce_window(constant(np.ones(4096, np.float16)), window=(4096,), kind="sum")) == 4096


@pytest.mark.parametrize(("window", "stride", "padding", "dilation"), [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 2), (2, 3, 1, 2)])
def test_pooling_and_its_gradient_are_torchs(window: int, stride: int, padding: int, dilation: int) -> None:
    torch = pytest.importorskip("torch")
    x = numbers(2, 3, 9, 10)
    theirs = torch.tensor(x, requires_grad=True)
    expected = torch.max_pool2d(theirs, window, stride, padding, dilation)
    weights = numbers(*expected.shape, seed=1)
    expected.backward(torch.tensor(weights))

    (operand,) = operands_of(Sample((x,)))
    node = reduce_window(
        operand,
        window=(1, 1, window, window),
        strides=(1, 1, stride, stride),
        padding=[(0, 0)] * 2 + [(padding, padding)] * 2,
        dilation=(1, 1, dilation, dilation),
        kind="max",
    )
    loss = make("reduce_sum", node * constant(weights), axes=(0, 1, 2, 3))
    actual, slope = evaluate([node, *gradients(loss, [operand])], {operand: x})
    np.testing.assert_array_equal(actual, expected.detach().numpy())
    np.testing.assert_allclose(slope, theirs.grad.numpy(), rtol=1e-12)


def test_averages_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    x = numbers(2, 3, 7, 6)
    sums = reduce_window(
        constant(x), window=(1, 1, 3, 2), strides=(1, 1, 2, 2), padding=[(0, 0), (0, 0), (1, 1), (1, 1)], kind="sum"
    )
    expected = torch.nn.functional.avg_pool2d(torch.tensor(x), (3, 2), 2, 1)
    np.testing.assert_allclose(value_of(sums) / 6, expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("window", "stride", "padding"), [((4, 2), (4, 2), 0), ((3, 2), (2, 2), 1), ((2, 3), (1, 5), 0)])
def test_the_gradient_of_an_average_is_torchs(window: tuple[int, int], stride: tuple[int, int], padding: int) -> None:
    torch = pytest.importorskip("torch")
    x = numbers(2, 3, 9, 10)
    theirs = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.avg_pool2d(theirs, window, stride, padding)
    weights = numbers(*expected.shape, seed=1)
    expected.backward(torch.tensor(weights))

    (operand,) = operands_of(Sample((x,)))
    edges = [(0, 0)] * 2 + [(padding, padding)] * 2
    sums = reduce_window(operand, window=(1, 1, *window), strides=(1, 1, *stride), padding=edges, kind="sum")
    loss = make("reduce_sum", sums * constant(weights / np.prod(window)), axes=(0, 1, 2, 3))
    (slope,) = evaluate(gradients(loss, [operand]), {operand: x})
    np.testing.assert_allclose(slope, theirs.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"window": (4, 6)}, "spans 6 elements and the padded operand has 5; pad by at least 1 more"),
        ({"window": (2,), "strides": (1, 1), "padding": [(0, 0)] * 2, "dilation": (1, 1)}, "window=.*needs 2 entries"),
        ({"strides": (0, 1)}, "strides=.*at least 1"),
        ({"padding": [(-2, -1), (0, 0)]}, "padded operand has 1"),
        ({"dilation": (4, 1)}, "spans 5 elements"),
        ({"kind": "mean"}, "'mean'; expected one of max, sum"),
    ],
)
def test_windows_refuse(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        reduce_window(constant(numbers(4, 5)), **({"window": (2, 2), "kind": "sum"} | change))


@pytest.mark.parametrize(("window", "expected"), [((16, 16), "uint8"), ((16, 17), "int32")])
def test_offsets_take_one_byte_where_they_fit(window: tuple[int, int], expected: str) -> None:
    x = np.zeros((20, 20))
    x[window[0] - 1, window[1] - 1] = 1  # the last element of the window
    offsets = window_argmax(constant(x), window=window, strides=(20, 20))
    assert offsets.dtype.name == expected
    assert value_of(offsets).item() == window[0] * window[1] - 1
    gathered = value_of(window_gather(constant(x), offsets, **offsets.attrs))
    assert gathered.item() == 1


def test_offsets_must_fit() -> None:
    x, attrs = constant(numbers(6)), window_argmax(constant(numbers(6)), window=(2,)).attrs
    with pytest.raises(DTypeError, match="int32 offsets"):
        window_gather(x, constant(np.zeros(3, np.int64)), **attrs)
    with pytest.raises(ShapeError, match=r"have \[3\] positions"):
        window_gather(x, constant(np.zeros(2, np.int32)), **attrs)
    with pytest.raises(ShapeError, match=r"have \[3\] positions; got \[2\]"):
        window_scatter(constant(np.zeros(2)), constant(np.zeros(3, np.int32)), shape=(6,), **attrs)
    with pytest.raises(ShapeError, match=r"have \[3\] positions; got \[2\]"):
        window_spread(constant(np.zeros(2)), shape=(6,), **attrs)


@pytest.mark.parametrize("name", ["reduce_window", "window_argmax", "window_spread"])
def test_windows_take_numbers(name: str) -> None:
    own = {"reduce_window": {"kind": "max"}, "window_spread": {"shape": (12,)}}.get(name, {})
    with pytest.raises(DTypeError, match="numbers"):
        attrs = window_argmax(constant(numbers(6)), window=(2,)).attrs | own
        make(name, constant(np.ones(6, bool)), **attrs)
