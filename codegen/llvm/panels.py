"""Fetching the next panel of a contraction while several tiles still use this one.

In: a kernel. Out: for the loops over the steps of register tiles, which element of a large param each step should fetch into
the second cache. A panel that r tiles use one after another would come from memory during the first of them, which waits for
it, and not at all during the others; so each step of each tile fetches 1/r of a step of the next panel instead. The rows of a
tile, where they lie beside each other, are a panel, too, and worth fetching even for a single tile: there are many of them, and
each is short.

    panel[c * outer + p * step + inside]    read by tiles `visit` = 0 ... r - 1: loops and parts of the task that do not move it
    fetched in each step                    panel[c * (outer + 1) + (visit * steps + step) * ceil(p / r)]

`outer` may be two parts of the task, a batch and a panel in it, if the first panel of a batch follows the last one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import ceil, prod

from graphc.ir.expr import Array, Call, Div, Expr, Index, Load, Mod, Temp, Var, as_index, combine, linear, ravel
from graphc.ir.kernel import For, Kernel, Let, evaluated, walk

from ..target import Target
from .nests import PASSING, Fetch, Fetches, is_far, nests

LARGE = 8  # panels of more than this part of the second cache do not wait there for the next run


def next_panels(kernel: Kernel, target: Target) -> Fetches:
    """For each innermost loop over steps: what to fetch in each round."""
    names = {stmt.temp: stmt.value for stmt in walk(kernel.body) if isinstance(stmt, Let)}
    found: Fetches = {}
    for nest in nests(kernel.body):
        innermost, step = nest.loops[-1], nest.step
        rows = {stmt.var for stmt in walk(innermost.body) if isinstance(stmt, For)} - {step.var}
        for array, index in loads(step):
            if array in kernel.params and is_far(array, target, LARGE):
                panel = _Panel(index, step.var, rows, (*nest.around, *nest.loops), kernel.task, names)
                position = panel.position(len(nest.loops), alone=panel.is_rows and is_far(array, target, PASSING))
                if position is not None:
                    found.setdefault(innermost, []).append(Fetch(array, position))
    return found


def loads(step: For) -> Iterator[tuple[Array, Index]]:
    """What a step reads, each load once."""
    for expr in evaluated(*step.body):
        if isinstance(expr, Load) and isinstance(expr.index, Index):
            yield expr.array, expr.index


def straight(index: Index, names: dict[Temp, Expr]) -> Index:
    """What an index is in all tiles but the last, which starts earlier."""
    parts, constant = linear(index)
    for atom in parts:
        value = names.get(atom) if isinstance(atom, Temp) else None
        if isinstance(value, Call) and value.word == "min":
            first = value.args[0]
            return straight(combine((as_index(first if a is atom else a), n) for a, n in parts.items()) + constant, names)
    return index


class _Panel:
    """How one load walks its panel: by what is `inside` a step, lanes or rows, by `steps`, by `outer` from panel to panel, and
    not at all in between."""

    def __init__(
        self, index: Index, lane: Var, rows: set[Var], loops: tuple[For, ...], task: Var, names: dict[Temp, Expr]
    ) -> None:
        self.terms, self.constant = linear(straight(index, names))
        self.is_rows = lane not in self.terms
        self.inside = [(self.terms.pop(var), var.extent) for var in (lane, *rows) if var in self.terms]
        self.loops, self.task, self.names = list(loops), task, names

    def position(self, own: int, alone: bool) -> Index | None:
        """What a step fetches; None where the panel is not read from end to end, or every tile has one of its own, unless this
        is worth fetching `alone`. The innermost loops are the `own` ones of a tile, and the others walk a group of tiles."""
        steps = self._pop(moving=True)
        visits: list[tuple[Index, int]] = [(as_index(loop.var), loop.var.extent) for loop in self._pop(moving=False)]
        size = self._size(steps)
        if not steps or not self.inside or size == 0:
            return None
        if self.loops:
            outer: Expr = self.loops[-1].var
            alone = False  # what a task visits again and again is near
        else:
            atom = self._numbered()
            if atom is None:
                return None
            outer, (count, _) = atom, self._part(atom)
            visits.insert(0, (as_index(self.task) % count, count))
            if alone and len(steps) > own and all(extent == 1 for _, extent in visits):  # no tile of the group comes again
                outer, steps = steps[-own - 1].var, steps[-own:]
                size = self._size(steps)
        repeats = prod(extent for _, extent in visits)
        if not 0 < size <= abs(self.terms.get(outer, 0)) or (repeats == 1 and not alone):
            return None
        visit = ravel([at for at, _ in visits], tuple(extent for _, extent in visits))
        walked = [(as_index(loop.var), loop.var.extent) for loop in steps]
        count = prod(extent for _, extent in walked)
        again = max(repeats * count // size, 1)  # where tiles are more than enough, some fetch the same
        number = ravel([visit // again, *(at for at, _ in walked)], (repeats, *(extent for _, extent in walked)))
        each = ceil(size / (ceil(repeats / again) * count))
        rest = [(as_index(atom), factor) for atom, factor in self.terms.items() if atom not in {loop.var for loop in steps}]
        return combine([*rest, (number, each)]) + (self.constant + self.terms[outer])

    def _size(self, steps: list[For]) -> int:
        """Elements of a panel; 0 where others lie between them."""
        size = 1
        for stride, extent in sorted([*self.inside, *((self.terms[loop.var], loop.var.extent) for loop in steps)]):
            if stride != size:
                return 0
            size *= extent
        return size

    def _pop(self, moving: bool) -> list[For]:
        """The innermost loops that are left and move the panel, or do not, outermost first."""
        taken: list[For] = []
        while self.loops and (self.loops[-1].var in self.terms) == moving:
            taken.insert(0, self.loops.pop())
        return taken

    def _numbered(self) -> Expr | None:
        """The part of the task that goes from panel to panel, and on to the next row of them, if other parts number these."""
        parts = sorted((atom for atom in self.terms if self._named(atom)), key=lambda atom: abs(self.terms[atom]))
        for inner, outer in pairwise(parts):
            repeats, extent = self._part(inner)
            if (self.terms[outer], self._part(outer)[0]) != (self.terms[inner] * extent, repeats * extent):
                return None
        return parts[0] if parts else None

    def _named(self, atom: Expr) -> Expr | None:
        """The part of the task that an atom stands for."""
        part = self.names.get(atom) if isinstance(atom, Temp) else atom
        inner = part
        while isinstance(inner, Div | Mod):
            inner = inner.index
        return part if inner is self.task else None

    def _part(self, atom: Expr) -> tuple[int, int]:
        """So many tasks in a row have the same value of this part, and how many values it has."""
        part = self._named(atom)
        extent = part.divisor if isinstance(part, Mod) else self.task.extent
        part = part.index if isinstance(part, Mod) else part
        return (part.divisor if isinstance(part, Div) else 1), extent
