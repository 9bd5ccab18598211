"""Contractions against einsum, PyTorch and plain loops; their strides against their references; every refusal."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from laws import assert_close, gradients, operands_of

from graphc.dtype import float32, float64, int32
from graphc.errors import DTypeError, ShapeError
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.op import OPS, Axis, Contraction, Op, Sample
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, make
from graphc.ops.contract import conv_general, dot_general
from graphc.ops.geometry import Sweep, spread
from graphc.ops.source import placeholder
from graphc.passes.expand import expand

CONTRACTIONS = [op for op in OPS.values() if isinstance(op.lower, Contraction)]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def value_of(result: Value) -> np.ndarray:
    return evaluate([result], {})[0]


# ------------------------------------------------------------------------------------------------------ the lowering


def strided(array: np.ndarray, axes: tuple[Axis, ...], side: str) -> np.ndarray:
    """The array as the axes walk over it; no step may leave it."""
    flat = np.ascontiguousarray(array).reshape(-1)
    strides = [getattr(axis, side) for axis in axes]
    assert all(s >= 0 for s in strides)
    assert sum(s * (axis.extent - 1) for s, axis in zip(strides, axes, strict=True)) < max(flat.size, 1)
    return np.lib.stride_tricks.as_strided(flat, [axis.extent for axis in axes], [s * flat.itemsize for s in strides])


def by_strides(node: Value, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """What the contraction's spec says, computed from its strides alone."""
    lower = node.op.lower
    assert isinstance(lower, Contraction) and lower.expand(node) is None
    spec = lower.spec(node)
    axes = spec.kept + spec.reduced
    wide = node.dtype.accumulator.numpy
    terms = strided(arrays[0].astype(wide), axes, "lhs") * strided(arrays[1].astype(wide), axes, "rhs")
    sums = terms.sum(axis=tuple(range(len(spec.kept), len(axes))), dtype=wide)
    places = np.zeros((), np.int64)
    for i, axis in enumerate(spec.kept):
        places = places + axis.out * np.arange(axis.extent).reshape([-1] + [1] * (len(spec.kept) - 1 - i))
    assert sorted(places.reshape(-1)) == list(range(node.type.size)), "each element of the result exactly once"
    result = np.zeros(node.type.size, node.dtype.numpy)
    result[places.reshape(-1)] = sums.reshape(-1).astype(node.dtype.numpy)
    return result.reshape(node.shape)


@pytest.mark.parametrize("op", CONTRACTIONS, ids=lambda op: op.name)
def test_strides_compute_the_reference(op: Op) -> None:
    for sample in op.samples():
        if not all(array.size for array in sample.arrays):
            continue
        operands = operands_of(sample)
        node = make(op.name, *operands, **sample.attrs)
        known = dict(zip(operands, sample.arrays, strict=True))
        for value in expand(Graph("f", operands, (node,))).values():
            if value not in known:
                arrays = tuple(known[operand] for operand in value.operands)
                known[value] = by_strides(value, arrays) if value.op is op else value.op.reference(*arrays, **value.attrs)
        expected = op.reference(*sample.arrays, **sample.attrs)
        assert_close(known[value], expected, node.dtype, slack=20, scale=20)


def test_kept_axes_follow_the_result() -> None:
    x, w = (placeholder("p", TensorType(float32, s)) for s in ((2, 6, 5, 4), (9, 2, 3, 3)))
    node = conv_general(x, w, strides=(1, 1), padding=[(0, 0)] * 2, feature_groups=3, out_spec=(0, 3, 1, 2))
    spec = node.op.lower.spec(node)
    assert [a.extent for a in spec.kept] == [2, 3, 2, 3, 3] and node.shape == (2, 3, 2, 9)
    assert [a.out for a in spec.kept] == [54, 18, 9, 3, 1]


# ---------------------------------------------------------------------------------------------------------------- dot


@pytest.mark.parametrize(
    ("left", "right", "contract", "batch", "formula"),
    [
        ((3, 4), (4, 5), ((1,), (0,)), ((), ()), "ij,jk->ik"),
        ((2, 3, 4), (4, 2, 5), ((2,), (0,)), ((0,), (1,)), "bij,jbk->bik"),
        ((2, 3, 4, 5), (5, 3, 2, 6), ((1, 3), (1, 0)), ((0,), (2,)), "bxiy,yxbk->bik"),
        ((2, 3), (4,), ((), ()), ((), ()), "ij,k->ijk"),
    ],
)
def test_dot_is_einsum(left: Any, right: Any, contract: Any, batch: Any, formula: str) -> None:
    a, b = numbers(*left), numbers(*right, seed=1)
    result = value_of(dot_general(constant(a), constant(b), contract=contract, batch=batch))
    np.testing.assert_allclose(result, np.einsum(formula, a, b), rtol=1e-12)


def test_dot_of_half_accumulates_in_single() -> None:
    ones = np.ones((1, 4096), np.float16)
    result = value_of(dot_general(constant(ones), constant(ones), contract=((1,), (1,))))
    assert result == 4096  # in float16 the sum would stop at 2048


@pytest.mark.parametrize(
    ("a", "b", "contract", "batch", "says"),
    [
        ((2, 3), (4, 5), ((1,), (0,)), ((), ()), r"sizes \[3\].*\[4\]"),
        ((2, 3), (3, 5), ((1,), (0,)), ((0,), (1,)), r"batch.*\[2\].*\[5\]"),
        ((2, 3), (3, 5), ((1, 0), (0,)), ((), ()), "must be equal"),
        ((2, 3), (3, 5), ((2,), (0,)), ((), ()), "distinct and in 0..1"),
        ((2, 2), (2, 2), ((1,), (0,)), ((1,), (0,)), "distinct"),
    ],
)
def test_dot_refuses(a: Any, b: Any, contract: Any, batch: Any, says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        dot_general(constant(numbers(*a)), constant(numbers(*b)), contract=contract, batch=batch)


def test_dot_refuses_mixed_and_bool_operands() -> None:
    pair = ((0,), (0,))
    with pytest.raises(DTypeError, match=r"float64\[3\] and float32\[3\]"):
        dot_general(constant(numbers(3)), constant(numbers(3).astype(np.float32)), contract=pair)
    with pytest.raises(DTypeError, match="numeric"):
        dot_general(constant(np.ones(3, bool)), constant(np.ones(3, bool)), contract=pair)


# -------------------------------------------------------------------------------------------------------- convolution


def loops(x: np.ndarray, w: np.ndarray, node: Value) -> np.ndarray:
    """The definition, one product at a time."""
    attrs = node.attrs
    data, kernel = x.transpose(attrs["lhs_spec"]), w.transpose(attrs["rhs_spec"])
    result = np.zeros([node.shape[d] for d in attrs["out_spec"]])
    ins, per_group = kernel.shape[1], kernel.shape[0] // (attrs["feature_groups"] * attrs["batch_groups"])
    for n, o, *position in product(*map(range, result.shape)):
        group = o // per_group
        first = group * ins if attrs["feature_groups"] > 1 else 0
        row = n + group * result.shape[0] if attrs["batch_groups"] > 1 else n
        for i, *tap in product(*map(range, kernel.shape[1:])):
            rows = zip(position, tap, attrs["strides"], attrs["rhs_dilation"], attrs["padding"], strict=True)
            spots = [p * s + k * d - low for p, k, s, d, (low, _) in rows]
            inside = zip(spots, attrs["lhs_dilation"], data.shape[2:], strict=True)
            if all(s % d == 0 and 0 <= s // d < size for s, d, size in inside):
                spot = tuple(s // d for s, d in zip(spots, attrs["lhs_dilation"], strict=True))
                result[(n, o, *position)] += data[(row, first + i, *spot)] * kernel[(o, i, *tap)]
    return result.transpose(np.argsort(attrs["out_spec"]))


def test_convolution_is_its_definition() -> None:
    for sample in OPS["conv_general"].samples():
        node = make("conv_general", *operands_of(sample), **sample.attrs)
        exact = tuple(a.astype(np.float64) for a in sample.arrays)
        expected = loops(*exact, node).astype(node.dtype.numpy)
        actual = OPS["conv_general"].reference(*sample.arrays, **sample.attrs)
        assert_close(actual, expected, node.dtype, slack=10, scale=10)


TORCH_CASES = [
    ((2, 3, 11), (4, 3, 3), 2, 1, 1, 1),
    ((2, 4, 9, 10), (6, 2, 3, 2), (2, 3), (1, 0), (1, 2), 2),
    ((1, 6, 7, 7), (6, 1, 3, 3), 2, 1, 1, 6),
    ((2, 2, 5, 6, 4), (3, 2, 2, 3, 2), (1, 2, 2), (1, 1, 0), (1, 1, 2), 1),
]


def each(setting: Any, count: int) -> tuple[int, ...]:
    return (setting,) * count if isinstance(setting, int) else setting


@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups"), TORCH_CASES)
def test_convolution_and_both_gradients_are_torchs(
    x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> None:
    torch = pytest.importorskip("torch")
    spatial = len(x) - 2
    arrays = [numbers(*x), numbers(*w, seed=1)]
    inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
    convolve = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}[spatial]
    expected = convolve(*inputs, stride=stride, padding=padding, dilation=dilation, groups=groups)
    weights = numbers(*expected.shape, seed=2)
    expected.backward(torch.tensor(weights))

    operands = operands_of(Sample(tuple(arrays)))
    node = conv_general(
        *operands,
        strides=each(stride, spatial),
        padding=[(p, p) for p in each(padding, spatial)],
        rhs_dilation=each(dilation, spatial),
        feature_groups=groups,
    )
    loss = make("reduce_sum", node * constant(weights), axes=tuple(range(len(x))))
    actual = evaluate([node, *gradients(loss, operands)], dict(zip(operands, arrays, strict=True)))
    for mine, theirs in zip(actual, (expected.detach(), *(i.grad for i in inputs)), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-10, atol=1e-10)


def test_dilated_data_is_torchs_transposed_convolution() -> None:
    torch = pytest.importorskip("torch")
    x, w = numbers(2, 3, 4, 5), numbers(3, 4, 3, 2, seed=1)
    expected = torch.conv_transpose2d(torch.tensor(x), torch.tensor(w), stride=(2, 3), padding=(1, 0), output_padding=(1, 0))
    flipped = np.flip(w, (2, 3)).transpose(1, 0, 2, 3)
    actual = conv_general(constant(x), constant(flipped), strides=(1, 1), padding=[(1, 2), (1, 1)], lhs_dilation=(2, 3))
    np.testing.assert_allclose(value_of(actual), expected.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"w": (4, 2, 3, 3)}, "data has 3 features, the kernel takes 2"),
        ({"w": (4, 3, 9, 3)}, "kernel spans 9 elements and the padded data has 5; pad by at least 4 more"),
        ({"w": (4, 3, 3)}, "one rank"),
        ({"strides": (0, 1)}, "strides=.*at least 1"),
        ({"padding": [(0, 0)]}, "padding=.*needs 2 entries"),
        ({"rhs_dilation": (1, 2, 3)}, "rhs_dilation=.*2 entries"),
        ({"lhs_spec": (0, 1, 2, 2)}, "lhs_spec=.*each of 4 dimensions once"),
        ({"w": (4, 1, 3, 3), "feature_groups": 3}, "4 out features must split into 3"),
        ({"batch_groups": 4}, "batch of 2 into 4"),
        ({"feature_groups": 3, "batch_groups": 2}, "one of them 1"),
    ],
)
def test_convolution_refuses(change: dict[str, Any], says: str) -> None:
    setting: dict[str, Any] = {"w": (4, 3, 3, 3), "strides": (1, 1), "padding": [(0, 0)] * 2} | change
    x, w = constant(numbers(2, 3, 5, 6)), constant(numbers(*setting.pop("w")))
    with pytest.raises(ShapeError, match=says):
        conv_general(x, w, **setting)


def test_convolution_refuses_mixed_types() -> None:
    x, w = placeholder("x", TensorType(float64, (1, 1, 3))), placeholder("w", TensorType(int32, (1, 1, 3)))
    with pytest.raises(DTypeError, match="one numeric dtype"):
        conv_general(x, w, strides=(1,), padding=[(0, 0)])


def test_expansion_leaves_plain_convolutions_alone() -> None:
    x, w = constant(numbers(1, 1, 5)), constant(numbers(1, 1, 2))
    lower = OPS["conv_general"].lower
    assert lower.expand(conv_general(x, w, strides=(2,), padding=[(0, 0)], rhs_dilation=(2,))) is None
    assert lower.expand(conv_general(x, w, strides=(1,), padding=[(-1, 0)])).operands[0].shape == (1, 1, 4)
    assert lower.expand(conv_general(x, w, strides=(2,), padding=[(0, 0)], lhs_dilation=(3,))).operands[0].shape == (1, 1, 13)


def test_dilated_data_is_not_multiplied() -> None:
    """Every second result meets every second tap: together as many products as there are pairs of data and taps."""
    x, w = constant(numbers(1, 2, 5, 6)), constant(numbers(3, 2, 3, 3))
    y = conv_general(x, w, strides=(1, 1), padding=[(2, 1), (1, 2)], lhs_dilation=(2, 2))
    expanded = Graph("f", (), (y,))
    parts = [value for value in expand(expanded).values() if value.op.name == "conv_general"]
    assert sorted(part.operands[1].shape[2:] for part in parts) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    (expected,), (actual,) = (evaluate(graph.roots, {}) for graph in (expanded, expand(expanded)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_nothing_lies_between_dilated_data() -> None:
    """An infinite tap meets elements and padding only, whichever way the convolution is computed."""
    w = numbers(3, 2, 3, 3)
    w[0, 1, 1, 2] = np.inf
    for dilation, strides in (((2, 3), (1, 1)), ((2, 2), (2, 1)), ((1, 2), (1, 1))):
        y = conv_general(
            constant(numbers(1, 2, 5, 6)), constant(w), strides=strides, padding=[(2, 1), (1, 2)], lhs_dilation=dilation
        )
        graph = Graph("f", (), (y,))
        with np.errstate(all="ignore"):
            (expected,), (actual,) = (evaluate(found.roots, {}) for found in (graph, expand(graph)))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
        assert not np.isfinite(actual[:, 0]).all() and np.isfinite(actual[:, 1:]).all()


@pytest.mark.parametrize("window", [1, 2, 3, 5])
@pytest.mark.parametrize("spacing", [2, 3, 4])
def test_phases_of_a_sweep(window: int, spacing: int) -> None:
    """Positions that are no phase's meet no tap; every other position is one phase's, with all its taps."""
    for size, padding in product((1, 2, 5), ((0, 0), (2, 1), (-1, 3), (4, -2))):
        sweep = Sweep(size, window, 1, padding, 1, spacing)
        meets = {
            (o, k, (o + k - padding[0]) // spacing)
            for o, k in product(range(sweep.count), range(window))
            if (o + k - padding[0]) % spacing == 0 and 0 <= o + k - padding[0] < spread(size, spacing)
        }
        found = set()
        for phase in sweep.phases:
            dense = Sweep(size, len(range(phase.tap, window, spacing)), 1, phase.padding, 1)
            assert dense.count == phase.count
            for q, j in product(range(dense.count), range(dense.window)):
                if 0 <= q + j - phase.padding[0] < size:
                    found.add((phase.first + spacing * q, phase.tap + spacing * j, q + j - phase.padding[0]))
        assert found == meets


@pytest.mark.parametrize("other", [1.0, np.inf])
def test_nothing_hides_a_number_that_is_none_not_even_a_zero(other: float) -> None:
    x, w = np.full((1, 1, 7), np.nan, np.float32), np.array([[[-0.0, other, 0.0]]], np.float32)
    found = evaluate([conv_general(constant(x), constant(w), strides=(1,), padding=[(0, 0)])], {})
    assert np.isnan(found[0]).all()


# ----------------------------------------------------------------------------------------------------------- geometry


def test_sweeps_and_the_sweeps_that_differentiate_them() -> None:
    options = product(range(1, 6), range(1, 4), (1, 2, 3), ((0, 0), (2, 1), (-1, 2), (1, -1)), (1, 2), (1, 3))
    checked = 0
    for size, window, stride, padding, dilation, spacing in options:
        sweep = Sweep(size, window, stride, padding, dilation, spacing)
        starts = range(-padding[0], spread(size, spacing) + padding[1] - (window - 1) * dilation, stride)
        assert sweep.count == len(starts)
        if sweep.count:
            assert Sweep(sweep.count, window, spacing, sweep.input_padding, dilation, stride).count == size
            assert Sweep(size, sweep.count, dilation, sweep.tap_padding, stride, spacing).count == window
            checked += 1
    assert checked > 500
