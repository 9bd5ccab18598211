"""Blocks that no gradient flows through."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphError
from graphc.interp.graph import run
from graphc.passes.autodiff import autodiff


def slope(loss: gc.Tensor, x: gc.Tensor) -> float:
    return float(run(autodiff(gc.function([x], gc.grad(loss, x)).graph("f")), [np.float64(3)], {})[0])


def test_a_block_is_a_constant_to_gradients() -> None:
    x = gc.placeholder((), gc.double, name="x")
    with gc.no_grad():
        frozen = x * x
        with gc.no_grad():
            inner = x + 1
        outer = x - 1
    assert slope(x * frozen * inner * outer, x) == 9 * 4 * 2
    assert slope(x * x, x) == 6


def test_a_decorated_function_and_an_error_inside() -> None:
    x = gc.placeholder((), gc.double, name="x")

    @gc.no_grad()
    def target(y: gc.Tensor) -> gc.Tensor:
        return y * 2

    assert slope(x * target(x), x) == 6
    with pytest.raises(ZeroDivisionError), gc.no_grad():
        _ = 1 / 0
    assert slope(x * x, x) == 6


def test_variables_and_placeholders_stay_what_they_are() -> None:
    with gc.no_grad():
        w, x = gc.variable(np.float64(2), name="w"), gc.placeholder((), gc.double, name="x")
        y = w * x
    assert slope(w * x, x) == 2 and gc.grad(w * x, w).shape == ()
    with pytest.raises(GraphError, match="placeholder"):
        gc.function([y], y)


def test_other_names() -> None:
    assert gc.is_tensor(gc.from_numpy(np.zeros(3))) and not gc.is_tensor(np.zeros(3))
    assert gc.tensor([1.0, 2.0]).dtype is gc.float32 and gc.tensor is gc.constant
    x = gc.placeholder((2,), gc.half)
    assert gc.result_type(x, 1.5) is gc.result_type([x, 1.5]) is gc.result_type(x) is gc.half
    assert (gc.long, gc.float, gc.half, gc.short, gc.int) == (gc.int64, gc.float32, gc.float16, gc.int16, gc.int32)
