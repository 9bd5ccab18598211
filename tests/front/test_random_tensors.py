"""Random tensors: distributions, ranges, one counter step a call, and dependence on the seed alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.config import default_seed
from graphc.errors import DTypeError, GraphcError, ShapeError
from graphc.interp.graph import run
from graphc.tensor.random import COUNTER, SEED


def draw(*tensors: gc.Tensor, state: dict[Any, np.ndarray] | None = None) -> list[np.ndarray]:
    return run(gc.function([], list(tensors)).graph("draw"), [], {} if state is None else state)


def test_uniform_and_normal() -> None:
    u, n, d = draw(gc.rand(4000), gc.randn(4000), gc.randn(4000, dtype="float64"))
    assert u.dtype == np.float32 and u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.02 and abs(u.var() - 1 / 12) < 0.01
    for x in (n, d):
        assert np.isfinite(x).all() and abs(x.mean()) < 0.06 and abs(x.std() - 1) < 0.05
        assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.06


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_uniform_stays_below_one_in_every_dtype(dtype: str) -> None:
    x = draw(gc.rand(5000, dtype=dtype))[0].astype(np.float64)
    assert 0 <= x.min() and x.max() < 1 and abs(x.mean() - 0.5) < 0.02


def test_integers() -> None:
    x, big = draw(gc.randint(-2, 3, (3000,)), gc.randint(0, 2**31, (100,)))
    assert x.dtype == np.int64 and set(x.tolist()) == {-2, -1, 0, 1, 2}
    assert np.bincount(x + 2).min() > 500 and big.min() >= 0 and big.max() > 2**29


def test_bernoulli_and_permutation() -> None:
    x, order = draw(gc.bernoulli(gc.full((4000,), 0.25)), gc.randperm(50))
    assert set(np.unique(x)) == {0, 1} and abs(x.mean() - 0.25) < 0.03
    assert sorted(order.tolist()) == list(range(50)) and order.tolist() != list(range(50))


def test_streams_and_calls_differ_and_the_counter_moves_once_a_call() -> None:
    a, b = gc.rand(8), gc.rand(8)
    state: dict[Any, np.ndarray] = {}
    first = draw(a, b, state=state)
    assert state[COUNTER.value] == 1
    second = draw(a, b, state=state)
    assert state[COUNTER.value] == 2
    everything = [x.tobytes() for x in (*first, *second)]
    assert len(set(everything)) == 4


def test_the_seed_decides() -> None:
    x = gc.rand(8)
    runs = [draw(x, state={SEED.value: np.int64(seed), COUNTER.value: np.int64(0)})[0].tolist() for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_manual_seed_restarts_streams_and_initial_values() -> None:
    def make() -> tuple[int, list[float]]:
        gc.manual_seed(7)
        stream = next(v for v in gc.function([], gc.rand(2)).graph("f").values() if v.op.name == "random_bits").attrs["stream"]
        return stream, gc.nn.Linear(2, 2).weight.initial.tolist()

    assert make() == make() and default_seed() == 7
    gc.manual_seed(0)


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="must hold 1 to"):
        gc.randint(3, 3)
    with pytest.raises(DTypeError, match="randint"):
        gc.rand(2, dtype="int64")
    with pytest.raises(DTypeError, match="must be float"):
        gc.randn(2, dtype="int64")
    with pytest.raises(GraphcError, match="takes an int"):
        gc.manual_seed("a")  # type: ignore[arg-type]
    with pytest.raises(GraphcError, match="64-bit"):
        gc.manual_seed(2**64)


def test_dropout() -> None:
    x = gc.ones(4000)
    dropped = draw(gc.nn.functional.dropout(x, 0.25))[0]
    assert (
        set(np.round(np.unique(dropped), 5)) == {0, np.float32(np.round(4 / 3, 5))} and abs((dropped == 0).mean() - 0.25) < 0.03
    )
    planes = draw(gc.nn.functional.dropout2d(gc.ones(20, 20, 3, 3), 0.5))[0]
    assert {len(np.unique(p)) for p in planes.reshape(400, 9)} == {1} and 100 < (planes[:, :, 0, 0] == 0).sum() < 300
    assert gc.nn.functional.dropout(x, 0.5, training=False) is x
    assert not draw(gc.nn.functional.dropout(x, 1.0))[0].any()
    with pytest.raises(GraphcError, match="between 0 and 1"):
        gc.nn.functional.dropout(x, 1.5)


def test_the_backward_pass_uses_the_same_mask() -> None:
    x = gc.variable(np.ones(50, np.float32))
    y = gc.nn.functional.dropout(x, 0.5)
    from_forward, from_backward = run_both(y, x)
    np.testing.assert_array_equal(from_forward, from_backward)


def run_both(y: gc.Tensor, x: gc.Tensor) -> list[np.ndarray]:
    from_pass = pytest.importorskip("graphc.passes.autodiff").autodiff
    return run(from_pass(gc.function([], [y, gc.grad(y.sum(), x)]).graph("f")), [], {})
