"""Running extremes: where each comes from."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dtype import dtype
from graphc.errors import DTypeError, ShapeError
from graphc.interp.graph import evaluate
from graphc.ir.values import constant, make
from graphc.ops.running import running_extreme


def places(row: list[float], name: str, smallest: bool = False) -> list[int]:
    (found,) = evaluate([running_extreme(constant(np.array(row).astype(dtype(name).numpy)), 0, smallest)], {})
    return list(found)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_nan_stays_and_the_last_of_equals_counts(name: str) -> None:
    row = [1.0, -0.0, 0.0, 1.0, np.nan, 7.0, np.nan, -np.inf]
    assert places(row, name) == [0, 0, 0, 3, 4, 4, 6, 6]
    assert places(row, name, smallest=True) == [0, 1, 2, 2, 4, 4, 6, 6]
    assert places([-np.inf, -np.inf, np.inf], name) == [0, 1, 2]


@pytest.mark.parametrize("name", ["bool", "uint8", "int8", "int64"])
def test_integers_to_their_limits(name: str) -> None:
    least, most = (0, 1) if name == "bool" else (int(np.iinfo(name).min), int(np.iinfo(name).max))
    row = np.array([least, most, least, most], object)
    assert places(row, name) == [0, 1, 1, 3] and places(row, name, smallest=True) == [0, 0, 2, 2]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis(axis: int) -> None:
    x = np.random.default_rng(axis).integers(0, 9, (5, 19, 21))
    (found,) = evaluate([running_extreme(constant(x), axis)], {})
    np.testing.assert_array_equal(np.take_along_axis(x, found, axis), np.maximum.accumulate(x, axis))


def test_what_is_refused() -> None:
    with pytest.raises(DTypeError, match="expected integers"):
        make("argcummax", constant(np.zeros(3)), axis=0)
    with pytest.raises(ShapeError, match="expected 0 <= dimension < 1"):
        running_extreme(constant(np.zeros(3)), 1)
