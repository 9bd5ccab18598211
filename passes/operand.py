"""How a contraction addresses its operands in memory.

In: an operand value and the contraction's axes. Out: an `Address`: the stored value behind the views, an offset, and one
stride per axis, or None where no such affine address exists (concatenation, data-dependent indices); such an operand is
stored before the contraction runs. Zeros around a value have an address with bounds, outside of which nothing is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.ir.conditions import conjuncts, slack
from graphc.ir.expr import Array, Expr, Index, Load, as_index, combine, linear, load, unravel
from graphc.ir.op import Axis, ContractionSpec
from graphc.ir.values import Value, splat

from .element import Elements, Position, positions, storage
from .inset import NONE, Insets, position


@dataclass(frozen=True)
class Bound:
    """A condition on the axes' indices: offset + sum(strides[i] * axis i) >= 0."""

    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Address:
    """Element of the axes' indices: leaf[offset + sum(strides[i] * axis i)], axes in the order kept, then reduced; zero
    where a bound does not hold."""

    leaf: Value
    offset: int
    strides: tuple[int, ...]
    bounds: tuple[Bound, ...] = ()


def side_stride(axis: Axis, side: int) -> int:
    return axis.rhs if side else axis.lhs


def address(
    operand: Value, spec: ContractionSpec, side: int, is_leaf: Callable[[Value], bool], insets: Insets = NONE
) -> Address | None:
    """The address of operand number `side` (0: lhs, 1: rhs), seen through views down to a leaf. None where it has bounds."""
    found = bounded_address(operand, spec, side, is_leaf, insets)
    return found if found is not None and not found.bounds else None


def bounded_address(
    operand: Value, spec: ContractionSpec, side: int, is_leaf: Callable[[Value], bool], insets: Insets = NONE
) -> Address | None:
    """The address, also where it has bounds."""
    axes = spec.kept + spec.reduced
    strides = tuple(side_stride(axis, side) for axis in axes)
    held = storage(operand)
    if is_leaf(held) and held not in insets:
        return Address(held, 0, strides)
    if splat(operand) is not None:
        return None
    variables = positions(tuple(axis.extent for axis in axes))
    leaves: dict[Array, Value] = {}

    def at_hand(value: Value, index: Position, guard: Expr | None) -> Expr | None:
        if not is_leaf(value):
            return None
        array = Array("leaf", value.dtype, value.type.size)
        leaves[array] = value
        return load(array, position(value, index, insets), guard)

    element = Elements(at_hand).at(held, unravel(combine(list(zip(variables, strides, strict=True))), held.shape))
    if not isinstance(element, Load) or leaves[element.array].dtype is not operand.dtype:
        return None
    place, *bounds = (_straight(i, variables) for i in (element.index, *map(slack, conjuncts(element.guard))))
    if place is None or None in bounds:
        return None
    return Address(leaves[element.array], place.offset, place.strides, tuple(bound for bound in bounds if bound is not None))


def _straight(index: Expr | None, variables: Sequence[Index]) -> Bound | None:
    """An index as an offset and a stride for each variable, if it has no other parts."""
    if index is None:
        return None
    terms, offset = linear(as_index(index))
    return Bound(offset, tuple(terms.get(v, 0) for v in variables)) if set(terms) <= set(variables) else None
