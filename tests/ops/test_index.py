"""Gather, scatter, sorting and running sums against numpy, PyTorch and plain loops; their kernels against their references."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from laws import assert_close, gradients, operands_of

from graphc.dtype import dtype
from graphc.errors import DTypeError, ShapeError
from graphc.interp.graph import evaluate
from graphc.interp.kernel import run_kernel
from graphc.ir.kernel import VECTOR, For, Kernel, walk
from graphc.ir.op import OPS, Loops, Op, Sample
from graphc.ir.values import Value, constant, make
from graphc.ops.index import argsort, cumsum, gather, scatter, sort, take_along_axis, top_k

KERNELS = [op for op in OPS.values() if isinstance(op.lower, Loops)]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def positions(*shape: int, below: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, shape)


def value_of(result: Value) -> np.ndarray:
    return evaluate([result], {})[0]


def slopes(build: Any, *arrays: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """The gradients of sum(build(*arrays) * weights) with respect to the arrays."""
    operands = operands_of(Sample(arrays))
    result = build(*operands)
    loss = make("reduce_sum", result * constant(weights), axes=tuple(range(result.type.rank)))
    return evaluate(gradients(loss, operands), dict(zip(operands, arrays, strict=True)))


# ------------------------------------------------------------------------------------------------------------ kernels


def kernel_of(op: Op, sample: Sample) -> tuple[Kernel, Value]:
    node = make(op.name, *operands_of(sample), **sample.attrs)
    return op.lower.kernel(node), node


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("op", KERNELS, ids=lambda op: op.name)
def test_kernels_compute_the_reference(op: Op, backwards: bool) -> None:
    for sample in op.samples():
        kernel, node = kernel_of(op, sample)
        assert [p.dtype for p in kernel.params] == [*(v.dtype for v in node.operands), node.dtype]
        result = np.zeros(node.type.size, node.dtype.numpy)
        run_kernel(kernel, [*(np.ascontiguousarray(a).reshape(-1) for a in sample.arrays), result], backwards)
        expected = op.reference(*sample.arrays, **sample.attrs)
        assert_close(result.reshape(node.shape), expected, node.dtype, slack=4, scale=20)


@pytest.mark.parametrize("op", KERNELS, ids=lambda op: op.name)
def test_some_kernels_are_vectors_and_parallel(op: Op) -> None:
    kernels = [kernel_of(op, sample)[0] for sample in op.samples()]
    assert any(isinstance(s, For) and s.kind == VECTOR for kernel in kernels for s in walk(kernel.body))
    assert any(kernel.task.extent > 1 for kernel in kernels)


def test_loop_variables_have_names_of_their_own() -> None:
    for op in KERNELS:
        for sample in op.samples():
            names = [s.var.name for s in walk(kernel_of(op, sample)[0].body) if isinstance(s, For)]
            assert len(set(names)) == len(names)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_argsort_sorts_every_sequence_of_zeros_and_ones(n: int) -> None:
    """By the zero-one principle its exchanges then sort everything."""
    check_argsort(np.array(list(product((0, 1), repeat=n)), np.int8))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("n", [16, 17, 31, 33, 64, 65, 130])
def test_argsort_sorts_in_vectors(n: int, kind: type) -> None:
    check_argsort(np.stack([np.arange(n)[::-1], np.random.default_rng(n).permutation(n), np.arange(n) % 3]).astype(kind))


def check_argsort(rows: np.ndarray) -> None:
    kernel, _ = kernel_of(OPS["argsort"], Sample((rows,), {"axis": 1, "descending": False}))
    result = np.zeros(rows.size, np.int64)
    run_kernel(kernel, [rows.reshape(-1), result])
    np.testing.assert_array_equal(result.reshape(rows.shape), np.argsort(rows, axis=1, kind="stable"))


# ------------------------------------------------------------------------------------------------------------- gather


def test_gather_is_take() -> None:
    x, rows = numbers(5, 4, 3), positions(2, 6, below=4)
    np.testing.assert_array_equal(value_of(gather(constant(x), constant(rows), axes=(0,))), x[rows])
    actual = value_of(gather(constant(x), constant(rows), constant(rows % 3), axes=(1, 2)))
    np.testing.assert_array_equal(actual, x.transpose(1, 2, 0)[rows, rows % 3])


def test_gather_clamps_and_its_gradient_follows() -> None:
    x, places = numbers(3), np.array([-5, 0, 2, 9])
    np.testing.assert_array_equal(value_of(gather(constant(x), constant(places), axes=(0,))), x[[0, 0, 2, 2]])
    (slope,) = slopes(lambda v: gather(v, constant(places), axes=(0,)), x, weights=np.array([1.0, 2, 4, 8]))
    np.testing.assert_array_equal(slope, [3, 0, 12])


def test_the_gradient_of_an_embedding_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    table, tokens, weights = numbers(7, 5), positions(3, 4, below=7), numbers(3, 4, 5, seed=1)
    theirs = torch.tensor(table, requires_grad=True)
    torch.nn.functional.embedding(torch.tensor(tokens), theirs).backward(torch.tensor(weights))
    (slope,) = slopes(lambda t: gather(t, constant(tokens), axes=(0,)), table, weights=weights)
    np.testing.assert_allclose(slope, theirs.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("indices", "axes", "error", "says"),
    [
        ([np.zeros(2, np.int32)], (0,), DTypeError, r"int64, got int32\[2\]"),
        ([np.zeros(2, np.int64)], (0, 1), ShapeError, r"needs 2 index operand\(s\), got 1"),
        ([np.zeros(2, np.int64)], (2,), ShapeError, "axes .2,. must be"),
        ([np.zeros(2, np.int64)] * 2, (1, 1), ShapeError, "each once"),
        ([np.zeros(2, np.int64), np.zeros(3, np.int64)], (0, 1), ShapeError, "one shape"),
        ([], (), ShapeError, "at least one"),
    ],
)
def test_selections_refuse(indices: Any, axes: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        gather(constant(numbers(3, 4)), *map(constant, indices), axes=axes)
    with pytest.raises(error, match=says):
        scatter(constant(numbers(3, 4)), constant(numbers(2)), *map(constant, indices), axes=axes)


def test_no_more_dimensions_lead_than_there_are() -> None:
    x, places = constant(numbers(3, 4)), constant(np.zeros(2, np.int64))
    assert gather(x, places, axes=(1,), lead=1).shape == (3, 2)
    for lead in (-1, 2):
        with pytest.raises(ShapeError, match=f"lead = {lead} must be at most 1"):
            gather(x, places, axes=(1,), lead=lead)


def test_what_indices_share_with_an_array_is_before_the_axes() -> None:
    x, places = constant(numbers(3, 4)), constant(np.zeros((3, 2), np.int64))
    assert gather(x, places, axes=(1,), batch=1).shape == (3, 2)
    assert gather(constant(numbers(3, 5, 4)), places, axes=(2,), lead=1, batch=1).shape == (3, 5, 2)
    for axes, batch in (((0,), 1), ((1,), -1), ((1,), 2)):
        with pytest.raises(ShapeError, match=f"batch = {batch} must be a number of first dimensions"):
            gather(x, places, axes=axes, batch=batch)
    with pytest.raises(ShapeError, match=r"indices int64.4, 2.: batch = 1 must be"):
        scatter(x, constant(numbers(4, 2)), constant(np.zeros((4, 2), np.int64)), axes=(1,), batch=1)


def test_gather_from_nothing_refuses() -> None:
    with pytest.raises(ShapeError, match="no elements"):
        gather(constant(np.zeros((0, 2))), constant(np.zeros(1, np.int64)), axes=(0,))
    empty = gather(constant(np.zeros((0, 2))), constant(np.zeros(0, np.int64)), axes=(0,))
    assert value_of(empty).shape == (0, 2)


# ------------------------------------------------------------------------------------------------------------ scatter

MODES = {"set": None, "add": "sum", "max": "amax", "min": "amin"}  # mode -> torch's name


@pytest.mark.parametrize("mode", MODES)
def test_scatter_and_its_gradients_are_torchs(mode: str) -> None:
    """Along dimension 1 of three; for "set" the places are distinct, because torch leaves repeated ones open."""
    torch = pytest.importorskip("torch")
    x, updates, weights = numbers(2, 6, 3), numbers(4, 2, 3, seed=1), numbers(2, 6, 3, seed=2)
    places = np.array([4, 0, 5, 2]) if mode == "set" else np.array([4, 0, 4, 2])
    mine, news = torch.tensor(x, requires_grad=True), torch.tensor(updates, requires_grad=True)
    where = torch.tensor(places).reshape(1, 4, 1).expand(2, 4, 3)
    moved = news.transpose(0, 1)
    expected = mine.scatter(1, where, moved) if mode == "set" else mine.scatter_reduce(1, where, moved, MODES[mode])
    expected.backward(torch.tensor(weights))

    def build(a: Value, b: Value) -> Value:
        return scatter(a, b, constant(places), axes=(1,), mode=mode)

    np.testing.assert_allclose(value_of(build(constant(x), constant(updates))), expected.detach().numpy(), rtol=1e-12)
    dx, dnews = slopes(build, x, updates, weights=weights)
    np.testing.assert_allclose(dx, mine.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(dnews, news.grad.numpy(), rtol=1e-12)


def test_the_last_of_several_wins_and_alone_gets_the_gradient() -> None:
    x, news, places = np.zeros(3), np.array([1.0, 2, 3, 4]), np.array([1, 1, 7, -1])

    def build(a: Value, b: Value) -> Value:
        return scatter(a, b, constant(places), axes=(0,))

    np.testing.assert_array_equal(value_of(build(constant(x), constant(news))), [0, 2, 0])
    dx, dnews = slopes(build, x, news, weights=np.array([5.0, 6, 7]))
    np.testing.assert_array_equal(dx, [5, 0, 7])
    np.testing.assert_array_equal(dnews, [0, 6, 0, 0])


@pytest.mark.parametrize("mode", ["max", "min"])
def test_ties_share_the_gradient(mode: str) -> None:
    x, news, places = np.ones(2), np.array([1.0, 1, 1]), np.array([0, 0, 5])
    dx, dnews = slopes(lambda a, b: scatter(a, b, constant(places), axes=(0,), mode=mode), x, news, weights=np.array([3.0, 2]))
    np.testing.assert_array_equal(dx, [1, 2])
    np.testing.assert_array_equal(dnews, [1, 1, 0])


def test_adding_halves_accumulates_in_single() -> None:
    places = np.zeros(4096, np.int64)
    ones = constant(np.ones(4096, np.float16))
    total = scatter(constant(np.zeros(1, np.float16)), ones, constant(places), axes=(0,), mode="add")
    assert total.dtype is ones.dtype and value_of(total) == 4096


def test_scatter_refuses() -> None:
    x, places = constant(numbers(3, 4)), constant(np.zeros(2, np.int64))
    with pytest.raises(ShapeError, match=r"the updates must be float64\[2, 4\]"):
        scatter(x, constant(numbers(2, 3)), places, axes=(0,))
    with pytest.raises(ShapeError, match="'mul'; expected one of set, add, max, min"):
        scatter(x, constant(numbers(2, 4)), places, axes=(0,), mode="mul")
    with pytest.raises(DTypeError, match="one numeric dtype"):
        scatter(x, constant(np.zeros((2, 4), np.float32)), places, axes=(0,))
    bools = constant(np.zeros(2, bool))
    assert scatter(bools, bools, places, axes=(0,)).dtype is bools.dtype
    with pytest.raises(DTypeError, match="bool, by 'set'"):
        scatter(bools, bools, places, axes=(0,), mode="max")


# -------------------------------------------------------------------------------------------------- sorting, running sums


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_argsort_is_torchs(axis: int, descending: bool) -> None:
    torch = pytest.importorskip("torch")
    x = positions(4, 5, 3, below=3)
    expected = torch.argsort(torch.tensor(x), dim=axis, descending=descending, stable=True)
    np.testing.assert_array_equal(value_of(argsort(constant(x), axis, descending)), expected.numpy())


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_argsort_puts_nan_last_both_ways_and_equal_zeros_in_place(name: str) -> None:
    x = constant(np.array([0.0, np.nan, -0.0, -np.inf, np.nan, np.inf, 0.0]).astype(dtype(name).numpy))
    assert value_of(argsort(x, 0)).tolist() == [3, 0, 2, 6, 5, 1, 4]
    assert value_of(argsort(x, 0, descending=True)).tolist() == [5, 0, 2, 6, 3, 1, 4]


def test_sort_and_top_k_and_their_gradients_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    x, weights = numbers(3, 7), numbers(3, 4, seed=1)
    theirs = torch.tensor(x, requires_grad=True)
    expected, places = torch.topk(theirs, 4, dim=1)
    expected.backward(torch.tensor(weights))
    values, chosen = top_k(constant(x), 4, 1)
    np.testing.assert_array_equal(value_of(values), expected.detach().numpy())
    np.testing.assert_array_equal(value_of(chosen), places.numpy())
    (slope,) = slopes(lambda v: top_k(v, 4, 1)[0], x, weights=weights)
    np.testing.assert_array_equal(slope, theirs.grad.numpy())
    np.testing.assert_array_equal(value_of(sort(constant(x), 0)[0]), np.sort(x, 0))
    np.testing.assert_array_equal(value_of(top_k(constant(x), 2, 0, largest=False)[0]), np.sort(x, 0)[:2])


def test_take_along_axis_is_numpys() -> None:
    x, places = numbers(4, 5, 3), positions(4, 2, 3, below=5)
    actual = value_of(take_along_axis(constant(x), constant(places), 1))
    np.testing.assert_array_equal(actual, np.take_along_axis(x, places, 1))
    smaller = value_of(take_along_axis(constant(x), constant(places[:3]), 1))
    np.testing.assert_array_equal(smaller, np.take_along_axis(x[:3], places[:3], 1))


@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum_is_numpys(reverse: bool) -> None:
    x = numbers(3, 4, 5)
    for axis in range(3):
        expected = np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)
        np.testing.assert_allclose(value_of(cumsum(constant(x), axis, reverse)), expected, rtol=1e-12)


def test_cumsum_of_half_accumulates_in_single_and_integers_wrap() -> None:
    assert value_of(cumsum(constant(np.ones(4096, np.float16)), 0))[-1] == 4096
    assert value_of(cumsum(constant(np.full(3, 100, np.int8)), 0)).tolist() == [100, -56, 44]


def test_axes_are_checked() -> None:
    x = constant(numbers(3, 4))
    for refused in (lambda: argsort(x, 2), lambda: cumsum(x, -1), lambda: top_k(x, 5, 1), lambda: top_k(x, 1, 2)):
        with pytest.raises(ShapeError, match="expected 0 <= "):
            refused()
    with pytest.raises(DTypeError, match="numbers"):
        cumsum(constant(np.ones(3, bool)), 0)
    with pytest.raises(ShapeError, match="ranks must be equal"):
        take_along_axis(x, constant(np.zeros(3, np.int64)), 0)
    with pytest.raises(ShapeError, match="dimension 1 must be at most 4"):
        take_along_axis(x, constant(np.zeros((1, 5), np.int64)), 0)
