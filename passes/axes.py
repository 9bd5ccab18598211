"""The axes of a contraction, as loops over memory.

In: a contraction cluster, the addresses of its operands, and what it stores. Out: its `Loop`s, kept ones first. Axes of one
element are left out, and neighbours that every array walks as one are one loop: both operands, the result, and whatever the
epilogue reads or writes inside padded values, where rows lie apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from graphc.ir.expr import Var, combine, linear, unravel
from graphc.ir.op import Axis, Contraction, ContractionSpec
from graphc.ir.values import Value

from .cluster import Cluster
from .element import leaf_reads
from .inset import Insets, position
from .operand import Address
from .tiles import Loop


def loops_of(
    cluster: Cluster, addresses: Sequence[Address], stored: Iterable[Value], insets: Insets, is_leaf: Callable[[Value], bool]
) -> tuple[Loop, ...]:
    """The loops of the cluster's contraction."""
    spec = spec_of(cluster.anchor)
    lhs, rhs = addresses
    bounds = [bound.strides for bound in (*lhs.bounds, *rhs.bounds)]
    loops = [
        replace(loop, lhs=lhs.strides[n], rhs=rhs.strides[n], bounds=tuple(moved[n] for moved in bounds))
        for n, loop in enumerate(plain_loops(spec))
    ]
    return merged(loops, _inset_strides(cluster, spec.kept + spec.reduced, stored, insets, is_leaf))


def spec_of(anchor: Value) -> ContractionSpec:
    """What a contraction computes."""
    lower = anchor.op.lower
    assert isinstance(lower, Contraction)
    return lower.spec(anchor)


def plain_loops(spec: ContractionSpec) -> list[Loop]:
    """A loop for each axis, kept ones first, over operands that lie as their types say."""
    axes = spec.kept + spec.reduced
    return [Loop(a.extent, a.lhs, a.rhs, a.out, n >= len(spec.kept), apart=a.apart) for n, a in enumerate(axes)]


def _inset_strides(
    cluster: Cluster, axes: Sequence[Axis], stored: Iterable[Value], insets: Insets, is_leaf: Callable[[Value], bool]
) -> list[list[int]]:
    """How far each axis moves results, and operands of the epilogue, that lie inside padded values."""
    variables = [Var(f"x{n}", axis.extent) for n, axis in enumerate(axes)]
    flat = combine([(var, axis.out) for var, axis in zip(variables, axes, strict=True)])
    accesses = [(value, unravel(flat, value.shape)) for value in stored]
    for value, reads in cluster.reads.items():
        if value is not cluster.anchor and any(leaf in insets for leaf, _, _ in reads):
            accesses += [(leaf, at) for leaf, at, _ in leaf_reads(value, unravel(flat, value.shape), is_leaf)]
    moved = [linear(position(value, at, insets))[0] for value, at in accesses if value in insets]
    return [[terms.get(var, 0) for var in variables] for terms in moved]


def merged(loops: Sequence[Loop], others: Sequence[Sequence[int]] = ()) -> tuple[Loop, ...]:
    """Drop axes of one element and join neighbours that all arrays walk as one. `others` are the strides of all axes in
    arrays that are no operands."""
    found: list[Loop] = []
    last = 0
    for n, loop in enumerate(loops):
        if loop.extent == 1:
            continue
        straight = all(strides[last] == strides[n] * loop.extent for strides in others)
        last = n
        if found and straight and _walks_on(found[-1], loop):
            before = found.pop()
            found.append(replace(loop, extent=before.extent * loop.extent))
        else:
            found.append(loop)
    if all(loop.reduced or loop.apart for loop in found):
        found.insert(0, Loop(1, 0, 0, 1, False, (0,) * len(loops[0].bounds) if loops else ()))
    return tuple(found)


def _walks_on(outer: Loop, inner: Loop) -> bool:
    if outer.apart or inner.apart:
        return False
    moved = [(outer.lhs, inner.lhs), (outer.rhs, inner.rhs), *zip(outer.bounds, inner.bounds, strict=True)]
    fits = all(far == near * inner.extent for far, near in moved)
    return outer.reduced == inner.reduced and fits and (outer.reduced or outer.out == inner.out * inner.extent)
