"""Elements of given ranks: against a stable sort, and when sorting is left."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dtype import dtype, float32, float64, int64
from graphc.errors import DTypeError, ShapeError
from graphc.interp.graph import evaluate
from graphc.interp.kernel import run_kernel
from graphc.ir.graph import Graph
from graphc.ir.op import OPS
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, make
from graphc.ops.nth import is_nth, nth_in_order
from graphc.ops.order import argsort
from graphc.ops.source import placeholder


def values(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


def nth(keys: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """What the kernel makes of rows."""
    node = make("argnth", *(placeholder(name, TensorType(dtype(x.dtype), x.shape)) for name, x in (("k", keys), ("r", ranks))))
    result = np.full(node.type.size, -1)
    run_kernel(OPS["argnth"].lower.kernel(node), [keys.reshape(-1), ranks.reshape(-1), result])
    return result.reshape(node.shape)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64])
def test_every_rank_of_lines_in_any_order(kind: type) -> None:
    n = 21
    shuffled, info = np.random.default_rng(0).permutation(n), np.iinfo(kind)
    small = [np.arange(n), np.arange(n)[::-1], np.zeros(n, int), np.arange(n) % 3, shuffled, shuffled // 7]
    rows = np.array([*(row.astype(kind) for row in small), np.where(shuffled % 2, kind(info.min), kind(info.max))])
    ranks = np.broadcast_to(np.arange(n), rows.shape).copy()
    np.testing.assert_array_equal(nth(rows, ranks), np.argsort(rows, axis=1, kind="stable"))


def test_ranks_are_clamped() -> None:
    assert nth(np.array([[3, 1, 2]]), np.array([[-5, 0, 2, 3, 2**40]])).tolist() == [[1, 1, 0, 0, 0]]
    assert nth(np.array([[7]]), np.array([[0]])).tolist() == [[0]]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "bool", "int16"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_and_dtype(axis: int, name: str) -> None:
    rng = np.random.default_rng(axis)
    shape = tuple(200 if d == axis else 3 for d in range(3))
    data = rng.choice([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -2.5, 1e-7], shape)
    x = constant((data if dtype(name).is_float else rng.integers(0, 9, shape)).astype(dtype(name).numpy))
    asked = constant(rng.integers(0, 200, tuple(1 if d == axis else 3 for d in range(3))))
    picked = nth_in_order(x, asked, axis)
    assert "argnth" in {v.op.name for v in Graph("f", (), (picked,)).values()}
    found, order, ranks = evaluate([picked, argsort(x, axis), asked], {})
    np.testing.assert_array_equal(found, np.take_along_axis(order, ranks, axis))


@pytest.mark.parametrize(
    ("n", "count", "op"),
    [(1000, 1, "argnth"), (8, 1, "argsort"), (1000, 2, "argnth"), (1000, 900, "argsort"), (10**6, 9, "argnth")],
)
def test_what_is_sorted(n: int, count: int, op: str) -> None:
    found = nth_in_order(values("x", 3, n), placeholder("r", TensorType(int64, (3, count))), 1)
    assert op in {v.op.name for v in Graph("f", (), (found,)).values()} and found.shape == (3, count)


def test_the_last_of_many_is_looked_for_alone() -> None:
    assert not is_nth(TensorType(float32, (3, 1000)), 1, 3) and is_nth(TensorType(float32, (3, 1000)), 1, 500)
    assert is_nth(TensorType(float64, (5000, 2)), 0, 2000)


def test_other_types_are_refused() -> None:
    ranks = placeholder("r", TensorType(int64, (3, 1)))
    with pytest.raises(DTypeError, match=r"sort_key of int64.3, 1.; expected a float"):
        make("sort_key", ranks, descending=False)
    for keys, asked in ((values("x", 3, 4), ranks), (ranks, values("x", 3, 1))):
        with pytest.raises(DTypeError, match="expected integers, and ranks of int64"):
            make("argnth", keys, asked)
    for shape in ((4, 5), (3, 0), ()):
        with pytest.raises(ShapeError, match="expected lines of one or more elements"):
            make("argnth", placeholder("k", TensorType(int64, shape)), ranks)
    with pytest.raises(ShapeError, match="expected 0 <= dimension < 2"):
        nth_in_order(values("x", 3, 4), ranks, 2)
