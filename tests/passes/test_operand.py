"""Addresses of operands: what affine views become, and what has none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graphc.dtype import float32, float64, int64
from graphc.ir.op import Contraction, ContractionSpec
from graphc.ir.types import TensorType
from graphc.ir.values import Value, full, make
from graphc.ops.contract import dot_general
from graphc.ops.index import gather
from graphc.ops.pieces import concat, pad, slice_
from graphc.ops.shape import broadcast, reshape, reverse, transpose
from graphc.ops.source import placeholder
from graphc.passes.element import is_view
from graphc.passes.operand import Address, Bound, address, bounded_address, side_stride

X = placeholder("x", TensorType(float32, (4, 6)))


def spec_of(operand: Value) -> ContractionSpec:
    """operand[i, k] . w[k, j]; axes in the order i, j, k."""
    w = placeholder("w", TensorType(operand.dtype, (operand.shape[1], 3)))
    y = dot_general(operand, w, contract=((1,), (0,)))
    assert isinstance(y.op.lower, Contraction)
    return y.op.lower.spec(y)


def found(operand: Value, is_leaf: Callable[[Value], bool] = lambda v: not is_view(v)) -> Address | None:
    return address(operand, spec_of(operand), 0, is_leaf)


@pytest.mark.parametrize(
    ("operand", "offset", "strides"),
    [
        (X, 0, (6, 0, 1)),
        (transpose(X, (1, 0)), 0, (1, 0, 6)),
        (reshape(X, (6, 4)), 0, (4, 0, 1)),
        (reshape(X, (8, 3)), 0, (3, 0, 1)),
        (slice_(X, (1, 2), (4, 6), (2, 3)), 8, (12, 0, 3)),
        (reverse(X, (1,)), 5, (6, 0, -1)),
        (broadcast(slice_(X, (2, 0), (3, 6)), (5, 6), (0, 1)), 12, (0, 0, 1)),
        (broadcast(reshape(X, (24,)), (24, 2), (0,)), 0, (1, 0, 0)),
        (transpose(reverse(slice_(X, (0, 1), (4, 5)), (0,)), (1, 0)), 19, (1, 0, -6)),
    ],
    ids=["itself", "transpose", "reshape", "reshape across rows", "slice", "reverse", "row", "column", "all"],
)
def test_affine_views_have_an_address(operand: Value, offset: int, strides: tuple[int, ...]) -> None:
    assert found(operand) == Address(X, offset, strides)


@pytest.mark.parametrize(
    "operand",
    [
        pad(X, (0, 1), (0, 1)),
        pad(X, (0, 0), (0, 0), (0, 1)),
        concat([X, X], 0),
        reshape(transpose(X, (1, 0)), (8, 3)),
        full(X.type, 2),
    ],
    ids=["padding", "holes", "two pieces", "reshape of transpose", "number"],
)
def test_others_have_none(operand: Value) -> None:
    assert found(operand) is None


def bounded(operand: Value) -> Address | None:
    return bounded_address(operand, spec_of(operand), 0, lambda v: not is_view(v))


def test_zeros_around_a_value_have_an_address_with_bounds() -> None:
    """Rows 1 to 4 and columns 0 to 5 of what is grown are the value's."""
    bounds = Bound(-1, (1, 0, 0)), Bound(4, (-1, 0, 0)), Bound(5, (0, 0, -1))
    grown = pad(X, (1, 0), (2, 1))
    assert bounded(grown) == Address(X, -6, (6, 0, 1), bounds)
    turned = Address(X, -6, (1, 0, 6), tuple(Bound(b.offset, b.strides[::-1]) for b in bounds))
    assert bounded(transpose(grown, (1, 0))) == turned
    assert bounded(X) == Address(X, 0, (6, 0, 1))


@pytest.mark.parametrize(
    "operand",
    [
        pad(X, (0, 1), (0, 1), value=1),
        pad(X, (0, 1), (0, 1), value=-0.0),
        pad(X, (0, 0), (0, 0), (0, 1)),
        reshape(pad(X, (0, 1), (0, 1)), (2, 16)),
        concat([X, X], 0),
    ],
    ids=["ones", "negative zeros", "holes", "rows cut", "two pieces"],
)
def test_other_surroundings_have_none(operand: Value) -> None:
    assert bounded(operand) is None


def test_a_data_dependent_index_is_no_address() -> None:
    rows = gather(X, placeholder("i", TensorType(int64, (3,))), axes=(0,))
    assert found(rows, lambda v: v is not rows) is None


def test_a_view_ends_at_the_first_leaf() -> None:
    moved = transpose(X, (1, 0))
    assert found(moved, lambda v: v is moved) == Address(moved, 0, (4, 0, 1))
    assert found(reshape(moved, (8, 3)), lambda v: v is moved) == Address(moved, 0, (3, 0, 1))


def test_what_is_computed_is_a_leaf_of_its_own_memory() -> None:
    e = make("exp", X)
    assert found(reshape(e, (6, 4))) == Address(e, 0, (4, 0, 1))


def test_another_element_type_is_no_address() -> None:
    """cast moves no elements, so a leaf behind it is not the operand's memory."""
    operand = make("cast", X, dtype=float64)
    assert found(operand, lambda v: v is X or not is_view(v)) == Address(operand, 0, (6, 0, 1))


def test_axes_of_one_element_have_no_stride_to_find() -> None:
    row = slice_(X, (1, 0), (2, 6))
    assert found(row) == Address(X, 6, (0, 0, 1))


def test_strides_by_side() -> None:
    kept = spec_of(X).kept
    assert [(side_stride(axis, 0), side_stride(axis, 1)) for axis in kept] == [(6, 0), (0, 1)]
