"""Recurrences and running products: what they are, their derivatives, and their errors."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DTypeError, ShapeError
from graphc.interp.graph import evaluate, run
from graphc.ir.values import Value, constant
from graphc.ops.recurrence import cumprod, recurrence
from graphc.passes.autodiff import autodiff

RNG = np.random.default_rng(0)


def value_of(value: Value) -> np.ndarray:
    return evaluate([value], {})[0]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_each_element_follows_from_the_one_before(axis: int, reverse: bool) -> None:
    a, b = RNG.standard_normal((2, 4, 5))
    h = value_of(recurrence(constant(a), constant(b), axis, reverse))
    turned = [np.flip(np.moveaxis(x, axis, 0), 0) if reverse else np.moveaxis(x, axis, 0) for x in (a, b, h)]
    before = np.zeros_like(turned[2][0])
    for x, y, found in zip(*turned, strict=True):
        before = x * before + y
        np.testing.assert_allclose(found, before, rtol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_running_products_are_numpys(reverse: bool) -> None:
    x = RNG.standard_normal((3, 4))
    expected = np.cumprod(x[:, ::-1], 1)[:, ::-1] if reverse else np.cumprod(x, 1)
    np.testing.assert_allclose(value_of(cumprod(constant(x), 1, reverse)), expected, rtol=1e-12)
    assert value_of(cumprod(constant(np.full(3, 100, np.int8)), 0)).tolist() == [100, 16, 64]


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_second_derivatives_of_running_products_with_zeros(zeros: int) -> None:
    """By differences of the first ones, which nothing is divided by."""
    x = gc.placeholder((6,), "float64")
    y = x.cumprod(0)
    (slope,) = gc.grad((y * y).sum(), [x])
    (bend,) = gc.grad((slope * x.cos()).sum(), [x])
    graph = autodiff(gc.function([x], [(slope * x.cos()).sum(), bend]).graph("f"))
    at = RNG.uniform(0.5, 1.5, 6)
    at[1 : 1 + zeros] = 0
    differences = [(run(graph, [at + step], {})[0] - run(graph, [at - step], {})[0]) / 2e-6 for step in 1e-6 * np.eye(len(at))]
    np.testing.assert_allclose(run(graph, [at], {})[1], differences, rtol=1e-6, atol=1e-8)


def test_what_does_not_fit_is_refused() -> None:
    x = constant(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="expected 0 <= dimension < 2"):
        cumprod(x, 2)
    with pytest.raises(ShapeError, match="expected one type"):
        recurrence(x, constant(np.ones((2, 4))), 1)
    with pytest.raises(DTypeError, match="takes numbers"):
        cumprod(constant(np.ones(3, bool)), 0)
