"""Parameters that start from tensors of constants and random numbers, as programs ported from PyTorch write them."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.errors import GraphError


def test_constants_and_draws() -> None:
    ones, table = nn.Parameter(gc.ones(3)), nn.Buffer(gc.arange(6).reshape(2, 3) * 2)
    assert ones.initial.tolist() == [1, 1, 1] and ones.dtype is gc.float32
    assert table.initial.tolist() == [[0, 2, 4], [6, 8, 10]] and table.dtype is gc.int64
    assert nn.Parameter(ones).initial.tolist() == [1, 1, 1]
    net = nn.Module()
    net.register_buffer("mask", gc.ones(3, 3).tril() == 0)
    assert net.mask.initial.sum() == 3 and net.mask.dtype is gc.bool_


def test_draws_follow_the_seed_of_initial_values() -> None:
    def draw() -> np.ndarray:
        return nn.Parameter(0.02 * gc.randn(50, 40)).initial

    gc.manual_seed(7)
    first, second = draw(), draw()
    gc.manual_seed(7)
    again = draw()
    assert first.dtype == np.float32 and np.array_equal(first, again) and not np.array_equal(first, second)
    assert abs(first.mean()) < 0.002 and 0.018 < first.std() < 0.022


def test_what_has_no_numbers_is_refused() -> None:
    for x in (gc.placeholder((3,), name="x") * 2, nn.Parameter(np.zeros(3, np.float32)) + 1):
        with pytest.raises(GraphError, match=r"depends on (x|parameter) and has no numbers yet"):
            nn.Parameter(x)
