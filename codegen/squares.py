"""Loops that transpose.

In: a serial loop around a single vector loop that stores elements beside each other. Out: the loads inside whose elements lie
beside each other along the serial loop, and apart along the lanes, so that these would have to gather them. Squares of as many
steps as a vector has lanes can be read as vectors along the steps and transposed, before each step computes and stores its
vector of lanes.

    for k < steps: for v < lanes vector: y[k * pitch + v] = f(x[v * row + k], ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir.expr import Index, Load, Temp, Var, linear
from graphc.ir.kernel import SERIAL, VECTOR, For, Let, Stmt, Store, evaluated, parts


@dataclass(frozen=True)
class Square:
    """What is done for each element along a `step` and a `lane`, of vectors of `width` lanes: `values`, and then `stores`.
    `crossing` loads go along the steps."""

    step: Var
    lane: Var
    width: int
    crossing: tuple[Load, ...]
    values: tuple[Stmt, ...]
    stores: tuple[Stmt, ...]


def square(loop: For) -> Square | None:
    """What a loop transposes; None if it does not, or if its rounds may not change places."""
    inner = loop.body[0] if loop.kind == SERIAL and len(loop.body) == 1 else None
    if not isinstance(inner, For) or inner.kind != VECTOR:
        return None
    values = tuple(stmt for stmt in inner.body if isinstance(stmt, Let))
    stores = tuple(stmt for stmt in inner.body if isinstance(stmt, Store))
    if values + stores != inner.body:
        return None
    step, lane, width = loop.var, inner.var, inner.width
    names = {stmt.temp for stmt in values}
    loads = [expr for expr in evaluated(*inner.body) if isinstance(expr, Load)]
    walked = [(load, _strides(load, step, lane, names)) for load in loads if not load.dtype.is_bool]
    crossing = tuple(load for load, (along, across) in walked if along == 1 and abs(across) > 1)
    rows = all(across == 1 and abs(along) >= lane.extent for along, across in (_strides(s, step, lane, names) for s in stores))
    whole = width > 1 and width & (width - 1) == 0 and step.extent > 1
    if not (crossing and rows and whole and _apart(loads, stores)):
        return None
    return Square(step, lane, width, crossing, values, stores)


def _strides(access: Load | Store, step: Var, lane: Var, names: set[Temp]) -> tuple[int, int]:
    """How far a step and a lane move an access; (0, 0) if that is not all, or if it cannot be said outside of the loops."""
    if not isinstance(access.index, Index) or (access.guard is not None and not names.isdisjoint(parts(access.guard))):
        return 0, 0
    terms, _ = linear(access.index)
    if not {step, lane, *names}.isdisjoint(parts(*(atom for atom in terms if atom not in (step, lane)))):
        return 0, 0
    return terms.get(step, 0), terms.get(lane, 0)


def _apart(loads: Sequence[Load], stores: Sequence[Store]) -> bool:
    """Whether each element is stored once, and nothing that is stored is read as another element."""
    places = {store.array: store.index for store in stores}
    return len(places) == len(stores) and all(places.get(load.array, load.index) == load.index for load in loads)
