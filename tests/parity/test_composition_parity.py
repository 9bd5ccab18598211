"""The short methods of tensors against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import call, compare, normal

import graphc as gc

METHODS: dict[str, Callable[[Any], Any]] = {
    "clamp_min": lambda x: x.clamp_min(0.1),
    "clamp_max": lambda x: x.clamp_max(0.1),
    "hypot": lambda x: x.hypot(x * 2 + 1),
    "logaddexp": lambda x: x.logaddexp(x * 3),
    "logit": lambda x: (x.sigmoid()).logit(1e-3),
    "addcmul": lambda x: x.addcmul(x, x + 1, value=0.5),
    "addcdiv": lambda x: x.addcdiv(x, x * x + 1, value=0.5),
    "isclose": lambda x: x.isclose(x + (x > 0) * 1e-3),
    "ravel": lambda x: x.ravel(),
    "swapdims": lambda x: x.swapdims(0, 1),
    "tile": lambda x: x.tile((2, 3)),
    "select": lambda x: x.select(1, -1),
    "fliplr": lambda x: x.fliplr(),
    "flipud": lambda x: x.flipud(),
    "diff": lambda x: x.diff(2),
    "diff of rows": lambda x: x.diff(dim=0),
    "median": lambda x: x.median(),
    "median along": lambda x: x.median(1),
    "median kept": lambda x: x.median(0, keepdim=True),
    "aminmax": lambda x: x.aminmax(dim=1),
    "baddbmm": lambda x: x.baddbmm(x, x.mT @ x, beta=2, alpha=0.5),
}


@pytest.mark.parametrize("name", METHODS)
def test_method(name: str) -> None:
    compare(METHODS[name], METHODS[name], normal(2, 4, 5) if name == "baddbmm" else normal(4, 5))


def test_statistics_in_pairs() -> None:
    compare(lambda x: x.var_mean(1), lambda x: (x.var(1), x.mean(1)), normal(4, 5))
    compare(lambda x: x.std_mean(0, keepdim=True), lambda x: (x.std(0, keepdim=True), x.mean(0, keepdim=True)), normal(4, 5))


def test_index_add() -> None:
    index = np.array([2, 0, 2])
    compare(
        lambda x, y, i: x.index_add(0, i, y), lambda x, y, i: x.index_add(0, i, y), normal(4, 5), normal(3, 5, seed=1), index
    )


def test_infinities() -> None:
    x = gc.placeholder((3,), "float64")
    a = np.array([np.inf, -np.inf, 1.0])
    found = call(
        [x.logaddexp(x), x.isclose(x), x.isclose(-x), (x * float("nan")).isclose(x * float("nan"), equal_nan=True)], [x], [a]
    )
    np.testing.assert_allclose(found[0], np.logaddexp(a, a))
    assert found[1].all() and not found[2].any() and found[3].all()
