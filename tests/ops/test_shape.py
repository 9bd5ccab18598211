"""What views refuse, and builders that return what would not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.dtype import bool_, float32, int8, uint8
from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import OPS
from graphc.ir.types import TensorType
from graphc.ir.values import Value, make
from graphc.ops.shape import broadcast, concat, expand_dims, iota, pad, reshape, reverse, slice_, transpose
from graphc.ops.source import placeholder

X = placeholder("x", TensorType(float32, (2, 3)))
N = placeholder("n", TensorType(uint8, (2, 3)))


def test_builders_return_what_would_not_change() -> None:
    unchanged = [
        reshape(X, (2, 3)),
        transpose(X, (0, 1)),
        broadcast(X, (2, 3), (0, 1)),
        slice_(X, (0, 0), (2, 3)),
        pad(X, (0, 0), (0, 0)),
        concat([X], 1),
        reverse(X, ()),
    ]
    assert all(value is X for value in unchanged)
    column = reshape(X, (6, 1))
    assert reverse(column, (1,)) is column
    assert expand_dims(X, (0, 2)).shape == (1, 2, 1, 3)


def test_negative_zero_pads_with_negative_zero() -> None:
    first, second = (pad(X, (1, 0), (0, 0), value=zero) for zero in (0.0, -0.0))
    assert first is not second
    result = OPS["pad"].reference(np.ones((2, 3), np.float32), **second.attrs)
    assert np.signbit(result[0]).all()


def test_padding_of_nothing() -> None:
    empty = placeholder("empty", TensorType(float32, (0, 3)))
    padded = pad(empty, (2, 0), (1, 0), (4, 0), value=7)
    assert OPS["pad"].reference(np.zeros((0, 3), np.float32), **padded.attrs).tolist() == [[7] * 3] * 3


@pytest.mark.parametrize(
    ("name", "operands", "attrs", "message"),
    [
        ("reshape", [X], {"shape": (4, 2)}, r"6 elements to \[4, 2\] with 8"),
        ("reshape", [X], {"shape": (-2, -3)}, "negative"),
        ("transpose", [X], {"perm": (0, 0)}, "each of the dimensions"),
        ("transpose", [X], {"perm": (0,)}, "each of the dimensions"),
        ("broadcast", [X], {"shape": (4, 3), "dims": (0, 1)}, "dimension 0 has extent 2, expected 1 or 4"),
        ("broadcast", [X], {"shape": (3, 2), "dims": (1, 0)}, "increase"),
        ("broadcast", [X], {"shape": (2, 3), "dims": (0, 2)}, "increase"),
        ("broadcast", [X], {"shape": (2, 3), "dims": (1,)}, "2 entries in dims"),
        ("slice", [X], {"start": (0, 0), "stop": (2, 4), "stride": (1, 1)}, "stop <= 3"),
        ("slice", [X], {"start": (0, 2), "stop": (2, 1), "stride": (1, 1)}, "start <= stop"),
        ("slice", [X], {"start": (0, 0), "stop": (2, 3), "stride": (1, 0)}, "positive stride"),
        ("slice", [X], {"start": (0,), "stop": (2,), "stride": (1,)}, "2 entries in start"),
        ("pad", [X], {"low": (-2, 0), "high": (-1, 0), "interior": (0, 0), "value": 0}, "crops more"),
        ("pad", [X], {"low": (0, 0), "high": (0, 0), "interior": (0, -1), "value": 0}, "interior"),
        ("concat", [], {"axis": 0}, "at least one"),
        ("concat", [X, X], {"axis": 2}, "< 2"),
        ("concat", [X, reshape(X, (3, 2))], {"axis": 0}, "all other dimensions"),
        ("concat", [X, reshape(X, (6,))], {"axis": 0}, "all other dimensions"),
        ("reverse", [X], {"axes": (2,)}, "< 2"),
        ("iota", [], {"dtype": float32, "shape": (2, 3), "axis": 2}, "< 2"),
        ("iota", [], {"dtype": float32, "shape": (-2,), "axis": 0}, "negative"),
    ],
)
def test_misfits_are_refused(name: str, operands: list[Value], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make(name, *operands, **attrs)


@pytest.mark.parametrize("value", [-1, 256, 0.5, float("nan"), float("inf")])
def test_pad_refuses_a_value_the_type_cannot_hold(value: float) -> None:
    with pytest.raises(DTypeError, match="cannot hold"):
        pad(N, (1, 0), (0, 0), value=value)


def test_foreign_element_types_are_refused() -> None:
    with pytest.raises(DTypeError, match="cast"):
        concat([X, N], 0)
    with pytest.raises(DTypeError, match="bool"):
        iota(bool_, (2,), 0)


def test_counting_wraps_in_small_integers() -> None:
    assert OPS["iota"].reference(dtype=int8, shape=(130,), axis=0)[-2:].tolist() == [-128, -127]
