"""Folds of nothing, of wrapping integers, of narrow floats; positions of extremes; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.dtype import bool_, float16, float32, int8, int64, uint8
from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import OPS
from graphc.ir.types import TensorType
from graphc.ir.values import make
from graphc.ops.reduce import argmax, argmin, reduce_all, reduce_any, reduce_max, reduce_min, reduce_prod, reduce_sum
from graphc.ops.source import placeholder

X = placeholder("x", TensorType(float32, (2, 3)))
EMPTY = placeholder("empty", TensorType(float32, (0, 3)))
BOOLS = placeholder("bools", TensorType(bool_, (2, 3)))


def test_no_axes_change_nothing() -> None:
    for fold in (reduce_sum, reduce_prod, reduce_max, reduce_min, reduce_any, reduce_all):
        assert fold(X, ()) is X


def test_builders_sort_their_axes() -> None:
    assert reduce_sum(X, (1, 0)) is reduce_sum(X, (0, 1))


def test_folds_of_nothing_are_neutral() -> None:
    nothing = np.zeros((0, 3), np.float32)
    assert OPS["reduce_sum"].reference(nothing, axes=(0,)).tolist() == [0, 0, 0]
    assert OPS["reduce_prod"].reference(nothing, axes=(0,)).tolist() == [1, 1, 1]


def test_extremes_of_nothing_are_refused() -> None:
    for fold in (reduce_max, reduce_min):
        assert fold(EMPTY, (1,)).shape == (0,)
        with pytest.raises(ShapeError, match="no extreme of no elements"):
            fold(EMPTY, (0,))
    for position in (argmax, argmin):
        with pytest.raises(ShapeError, match="no extreme of no elements"):
            position(EMPTY, 0)


def test_integers_wrap_and_narrow_floats_accumulate_wider() -> None:
    assert OPS["reduce_sum"].reference(np.full(3, 100, np.int8), axes=(0,)) == np.int8(300 - 256)
    assert OPS["reduce_prod"].reference(np.full(2, 20, np.uint8), axes=(0,)) == 400 - 256
    assert OPS["reduce_sum"].reference(np.full(4096, 1, np.float16), axes=(0,)) == 4096


@pytest.mark.parametrize(
    ("row", "first_greatest", "first_least"),
    [([1, 3, 3, 1], 1, 0), ([0.0, -0.0, 0.0], 0, 0), ([2, np.nan, 9, np.nan], 1, 1), ([-np.inf, -np.inf], 0, 0)],
)
def test_positions_are_the_first_and_nan_is_extreme(row: list[float], first_greatest: int, first_least: int) -> None:
    for kind in (np.float32, float16.numpy):
        array = np.array(row, kind)
        assert OPS["argmax"].reference(array, axis=0) == first_greatest
        assert OPS["argmin"].reference(array, axis=0) == first_least
    assert argmax(X, 1).type == argmin(X, 1).type == TensorType(int64, (2,))


@pytest.mark.parametrize("axes", [(2,), (-1,), (0, 0), (1, 0)])
def test_axes_must_be_distinct_increasing_dimensions(axes: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="distinct increasing"):
        make("reduce_sum", X, axes=axes)


@pytest.mark.parametrize(
    ("name", "operand"), [("reduce_any", X), ("reduce_all", X), ("reduce_sum", BOOLS), ("reduce_max", BOOLS)]
)
def test_foreign_element_types_are_refused(name: str, operand: Any) -> None:
    with pytest.raises(DTypeError, match=f"{name} is not defined"):
        make(name, operand, axes=(0,))


def test_integer_types_keep_themselves() -> None:
    for dtype_ in (int8, uint8):
        x = placeholder("x", TensorType(dtype_, (2, 3)))
        assert reduce_sum(x, (0,)).type == TensorType(dtype_, (3,))
