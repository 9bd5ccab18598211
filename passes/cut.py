"""A kernel, cut into slices of its tasks.

In: a kernel, and a number of slices that divides its tasks. Out: the statements that run one slice, its tasks one after
the other, and how far each param moves from slice to slice. What cannot be told is said to be touched anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from graphc.dtype import int64
from graphc.ir.expr import Affine, Array, Const, Div, Expr, Index, Load, Mod, Temp, Var, as_index, combine, linear, load, temp
from graphc.ir.kernel import SERIAL, Accumulate, For, Kernel, Let, Stmt, Store, evaluated, operands, parts, walk
from graphc.ir.kernel_rewrite import Renamed, Rewriter


@dataclass(frozen=True)
class Touched:
    """What a slice touches of an array: so many `elements` (about), between `low` and `high`, and for each later slice `step`
    elements further on; or anywhere."""

    elements: int = 0
    low: int = 0
    high: int = -1
    step: int = 0

    def is_part(self, size: int, count: int) -> bool:
        """Whether so many slices divide so many elements among them."""
        return self.step * count == size and self.low >= 0 and self.high < self.step


@dataclass(frozen=True)
class Cut:
    """`body` runs slice `number`."""

    number: Var
    body: tuple[Stmt, ...]
    touched: dict[Array, Touched]


def cut(kernel: Kernel, number: Var) -> Cut:
    """The slice `number` of the kernel's tasks."""
    tasks, rest = divmod(kernel.task.extent, number.extent)
    assert rest == 0, f"{kernel.task.extent} tasks in {number.extent} slices"
    task = Var("task", tasks)
    sliced = _Sliced(kernel, number, number * tasks + task)
    return Cut(number, (For(task, sliced.block(kernel.body), SERIAL),), sliced.touched)


def first_access(kernel: Kernel, array: Array) -> Index | None:
    """Where a task touches an array first, in variables of loops."""
    names: dict[Temp | Var, Index] = {}
    plain = Renamed(names)
    for stmt in walk(kernel.body):
        loads = (expr.index for expr in evaluated(stmt) if isinstance(expr, Load) and expr.array is array)
        stores = (stmt.index,) if isinstance(stmt, Store | Accumulate) and stmt.array is array else ()
        for index in (*stores, *loads):
            return plain.index(as_index(index))
        if isinstance(stmt, Let) and isinstance(stmt.value, Index):
            names[stmt.temp] = plain.index(stmt.value)
    return None


def may_divide(index: Index, task: Var, number: Var, size: int) -> bool:
    """Whether slices divide so many elements among them, as far as this place of a task shows (in variables of loops)."""
    tasks = task.extent // number.extent
    if (_value(index, {task: tasks}) - _value(index, {})) * number.extent != size:  # the first two slices say no
        return False
    step, rest = _split(Renamed({task: number * tasks + Var("task", tasks)}).index(index), number)
    return number not in parts(rest) and Touched(1, rest.low, rest.high, step).is_part(size, number.extent)


def _value(index: Expr, values: Mapping[Expr, int]) -> int:
    """The index where variables have these values, and all others are 0."""
    match index:
        case Const(value=value):
            return int(value)
        case Affine(terms=terms, constant=constant):
            return constant + sum(factor * _value(atom, values) for atom, factor in terms)
        case Div(index=inner, divisor=divisor):
            return _value(inner, values) // divisor
        case Mod(index=inner, divisor=divisor):
            return _value(inner, values) % divisor
    return values.get(index, 0)


class _Sliced(Rewriter):
    """The statements of a task, as those of a task of the slice; notes what they touch."""

    def __init__(self, kernel: Kernel, number: Var, task: Index) -> None:
        super().__init__()
        self.number = number
        self.names: dict[Temp | Var, Index] = {kernel.task: task}
        self.params = frozenset(kernel.params)
        self.varies: dict[Expr, bool] = {number: True}  # whether it depends on the slice
        self.touched: dict[Array, Touched] = {}
        self.noted: set[tuple[Array, Index]] = set()

    def name(self, expr: Temp | Var) -> Expr:
        return self.names.get(expr, expr)

    def load(self, array: Array, index: Index, guard: Expr | None) -> Expr:
        self._note(array, index)
        return load(array, index, guard)

    def stmt(self, stmt: Stmt) -> Stmt:
        if isinstance(stmt, Let):
            return self._let(stmt)
        new = super().stmt(stmt)
        if isinstance(new, Store | Accumulate):
            self._note(new.array, new.index)
        return new

    def _let(self, stmt: Let) -> Let:
        """An index is named without the slice's share in it, which stays in sight."""
        value = self.expr(stmt.value)
        if isinstance(value, Index):
            terms, constant = linear(value)
            rest = combine([(as_index(atom), n) for atom, n in terms.items() if not self._depends(atom)]) + constant
            share = value - rest
            if _names(share) <= {self.number}:
                name = temp(stmt.temp.name, int64, (rest.low, rest.high))
                self.names[stmt.temp] = share + as_index(name)
                return Let(name, rest)
        if self._depends(value):
            self.varies[stmt.temp] = True
        return stmt if value is stmt.value else replace(stmt, value=value)

    def _note(self, array: Array, index: Index) -> None:
        if array not in self.params or (array, index) in self.noted:
            return
        self.noted.add((array, index))
        step, rest = _split(index, self.number)
        before = self.touched.get(array, Touched(0, rest.low, rest.high, step))
        elements = min(before.elements + self._covered(rest), array.size)
        if self._depends(rest) or before.step != step:
            self.touched[array] = Touched(elements, 0, array.size - 1)
        else:
            self.touched[array] = Touched(elements, min(before.low, rest.low), max(before.high, rest.high), step)

    def _covered(self, index: Index) -> int:
        """How many elements one slice reaches."""
        walked = [(atom, factor) for atom, factor in linear(index)[0].items() if not self._depends(atom)]
        counts = [(as_index(atom).high - as_index(atom).low + 1, abs(factor)) for atom, factor in walked]
        return min(prod(n for n, _ in counts), 1 + sum((n - 1) * factor for n, factor in counts))

    def _depends(self, expr: Expr) -> bool:
        if expr not in self.varies:
            self.varies[expr] = any(self._depends(part) for part in operands(expr))
        return self.varies[expr]


def _split(index: Index, number: Var) -> tuple[int, Index]:
    """What an index moves by from slice to slice, and the rest of it."""
    step = linear(index)[0].get(number, 0)
    return step, index - number * step


def _names(expr: Expr) -> set[Expr]:
    """The variables and temporaries in an index; any word is one, too."""
    if isinstance(expr, Const | Affine | Div | Mod):
        return set().union(*map(_names, operands(expr)))
    return {expr}


@dataclass(frozen=True)
class Place:
    """Where an array went: to `array`, where a slice begins `back` elements earlier for each slice before it."""

    array: Array
    back: int = 0


class Moved(Rewriter):
    """Accesses to other arrays."""

    def __init__(self, number: Var, places: Mapping[Array, Place]) -> None:
        super().__init__()
        self.number, self.places = number, places

    def load(self, array: Array, index: Index, guard: Expr | None) -> Expr:
        place = self.places.get(array, Place(array))
        return load(place.array, index - self.number * place.back, guard)

    def stmt(self, stmt: Stmt) -> Stmt:
        new = super().stmt(stmt)
        if isinstance(new, Store | Accumulate) and new.array in self.places:
            place = self.places[new.array]
            return replace(new, array=place.array, index=new.index - self.number * place.back)
        return new


__all__ = ["Cut", "Moved", "Place", "Touched", "cut", "first_access", "may_divide"]
