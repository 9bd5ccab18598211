"""How a contraction addresses its operands in memory.

In: an operand value and the contraction's axes. Out: an `Address`: the stored value behind the views, an offset, and one
stride per axis, or None where no such affine address exists (padding, concatenation, data-dependent indices); such an
operand is stored before the contraction runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.ir.expr import Index, Var, as_index, combine, linear, unravel
from graphc.ir.op import Axis, ContractionSpec
from graphc.ir.values import Value, splat

from .element import is_view, leaf_reads, storage
from .inset import NONE, Insets, position


@dataclass(frozen=True)
class Address:
    """Element of the axes' indices: leaf[offset + sum(strides[i] * axis i)], axes in the order kept, then reduced."""

    leaf: Value
    offset: int
    strides: tuple[int, ...]


def side_stride(axis: Axis, side: int) -> int:
    return axis.rhs if side else axis.lhs


def address(
    operand: Value, spec: ContractionSpec, side: int, is_leaf: Callable[[Value], bool], insets: Insets = NONE
) -> Address | None:
    """The address of operand number `side` (0: lhs, 1: rhs), seen through views down to a leaf."""
    axes = spec.kept + spec.reduced
    strides = tuple(side_stride(axis, side) for axis in axes)
    held = storage(operand)
    if is_leaf(held) and held not in insets:
        return Address(held, 0, strides)
    if splat(operand) is not None:
        return None
    variables: list[Index] = [as_index(0) if axis.extent == 1 else Var(f"x{i}", axis.extent) for i, axis in enumerate(axes)]
    flat = combine(list(zip(variables, strides, strict=True)))
    element = unravel(flat, held.shape)
    reads = [(held, element, None)] if is_leaf(held) else leaf_reads(held, element, is_leaf)
    if len(reads) != 1 or reads[0][2] is not None or reads[0][0].dtype is not operand.dtype:
        return None
    leaf, index, _ = reads[0]
    terms, offset = linear(position(leaf, index, insets))
    if not set(terms) <= set(variables):
        return None
    return Address(leaf, offset, tuple(terms.get(v, 0) for v in variables))


def accessible(operand: Value, spec: ContractionSpec, side: int) -> bool:
    """Whether the operand needs no memory of its own to be read by the contraction."""
    return address(operand, spec, side, lambda value: not is_view(value)) is not None
