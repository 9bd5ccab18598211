"""The first elements in order: against a stable sort of numpy, and when sorting is left."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from graphc.dtype import dtype, float32
from graphc.errors import ShapeError
from graphc.interp.graph import evaluate
from graphc.interp.kernel import run_kernel
from graphc.ir.graph import Graph
from graphc.ir.op import OPS
from graphc.ir.types import TensorType
from graphc.ir.values import constant, make
from graphc.ops.order import argsort
from graphc.ops.source import placeholder
from graphc.ops.top import CHUNK, LARGEST, first_in_order


def first(rows: np.ndarray, count: int, descending: bool = False) -> np.ndarray:
    """What the kernel makes of rows."""
    node = make("argtop", placeholder("x", TensorType(dtype(rows.dtype), rows.shape)), count=count, descending=descending)
    result = np.full(node.type.size, -1)
    run_kernel(OPS["argtop"].lower.kernel(node), [rows.reshape(-1), result])
    return result.reshape(node.shape)


@pytest.mark.parametrize("kind", [np.int16, np.int64])
@pytest.mark.parametrize("n", [1, CHUNK + 3, 3 * CHUNK, 7 * CHUNK + 1])
def test_the_first_is_found_wherever_it_is(n: int, kind: type) -> None:
    assert first(1 - np.eye(n).astype(kind), 1).tolist() == [[i] for i in range(n)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 20, 70])
def test_lines_in_any_order(count: int, kind: type) -> None:
    n = 90
    shuffled = np.random.default_rng(count).permutation(n)
    rows = np.stack([np.arange(n), np.arange(n)[::-1], np.zeros(n), np.arange(n) % 3, shuffled, shuffled // 7]).astype(kind)
    expected = np.argsort(rows, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(first(rows, count), expected)
    np.testing.assert_array_equal(first(-rows, count, descending=True), expected)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_nan_comes_last_both_ways_and_zeros_are_equal(name: str) -> None:
    row = np.array([[0.0, np.nan, -0.0, -np.inf, np.nan, np.inf, 0.0]]).astype(dtype(name).numpy)
    for count in range(8):
        assert first(row, count).tolist() == [[3, 0, 2, 6, 5, 1, 4][:count]]
        assert first(row, count, descending=True).tolist() == [[5, 0, 2, 6, 3, 1, 4][:count]]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_any_axis(axis: int, count: int) -> None:
    x = constant(np.random.default_rng(axis).integers(0, 9, (30, 31, 32)))
    found, sorted_ = evaluate([first_in_order(x, axis, count), argsort(x, axis)], {})
    np.testing.assert_array_equal(found, sorted_.take(range(count), axis))


@pytest.mark.parametrize(
    ("shape", "count", "op"),
    [
        ((7, 1000), 5, "argtop"),
        ((7, 1000), 1000, "argsort"),
        ((7, 1000), 999, "argsort"),
        ((7, 8), 6, "argsort"),
        ((2, 10**6), LARGEST, "argtop"),
        ((2, 10**6), LARGEST + 1, "argsort"),
    ],
)
def test_what_is_sorted(shape: tuple[int, ...], count: int, op: str) -> None:
    found = first_in_order(placeholder("x", TensorType(float32, shape)), 1, count)
    assert op in {v.op.name for v in Graph("f", (), (found,)).values()}
    assert prod(found.shape) == shape[0] * count


def test_no_more_than_there_are() -> None:
    x = placeholder("x", TensorType(float32, (3, 4)))
    for refused in (lambda: make("argtop", x, count=5, descending=False), lambda: first_in_order(x, 2, 1)):
        with pytest.raises(ShapeError, match="expected 0 <= "):
            refused()
