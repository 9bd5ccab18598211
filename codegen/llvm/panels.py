"""Fetching the next panel of a contraction while several tiles still use this one.

In: a kernel. Out: for the loops over the steps of register tiles, which element of a large param each step should fetch into
the second cache. A panel that r tiles use one after another would come from memory during the first of them, which waits for
it, and not at all during the others; so each step of each tile fetches 1/r of a step of the next panel instead.

    panel[c * outer + p * step + lane]    read by tiles `visit` = 0 ... r - 1: loops and parts of the task that do not move it
    fetched in each step                  panel[c * (outer + 1) + (visit * steps + step) * ceil(p / r)]
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, gcd, prod

from graphc.ir.expr import Array, Div, Expr, Index, Load, Mod, Temp, Var, as_index, combine, linear, ravel
from graphc.ir.kernel import SERIAL, For, If, Kernel, Let, Stmt, evaluated, operands, walk

from ..target import Target
from .streams import step_of

Fetches = dict[For, list[tuple[Array, Index]]]

LARGE = 8  # panels of more than this part of the second cache do not wait there for the next run


def next_panels(kernel: Kernel, target: Target) -> Fetches:
    """For each innermost loop over steps: params and the positions in them to fetch."""
    names = {stmt.temp: stmt.value for stmt in walk(kernel.body) if isinstance(stmt, Let)}
    found: Fetches = {}
    for loops in _nests(kernel.body, ()):
        step = step_of(loops[-1])
        if step is None:
            continue
        rows = {stmt.var for stmt in walk(loops[-1].body) if isinstance(stmt, For)} - {step.var}
        for array, index in _rows(step):
            large = array in kernel.params and array.size * array.dtype.size * LARGE > target.l2_bytes
            if large and not _moves(index, rows):
                position = _Panel(index, step.var, loops, kernel.task, names).position()
                if position is not None:
                    found.setdefault(loops[-1], []).append((array, position))
    return found


def _nests(body: tuple[Stmt, ...], around: tuple[For, ...]) -> Iterator[tuple[For, ...]]:
    """All serial loops with those around them, outermost first."""
    for stmt in body:
        if isinstance(stmt, For) and stmt.kind == SERIAL:
            yield (*around, stmt)
            yield from _nests(stmt.body, (*around, stmt))
        elif isinstance(stmt, If):
            yield from _nests(stmt.then, around)
            yield from _nests(stmt.orelse, around)


def _moves(index: Expr, variables: set[Var]) -> bool:
    """Whether an index depends on any of the variables."""
    return index in variables or any(_moves(part, variables) for part in operands(index))


def _rows(step: For) -> Iterator[tuple[Array, Index]]:
    """The loads of a step that its lanes walk one by one, each once."""
    for expr in evaluated(*step.body):
        if isinstance(expr, Load) and isinstance(expr.index, Index) and linear(expr.index)[0].get(step.var) == 1:
            yield expr.array, expr.index


class _Panel:
    """How one load walks its panel: by `steps` inside, by `outer` from panel to panel, and not at all in between."""

    def __init__(self, index: Index, lane: Var, loops: tuple[For, ...], task: Var, names: dict[Temp, Expr]) -> None:
        self.terms, self.constant = linear(index)
        self.terms.pop(lane)
        self.loops, self.task, self.names = list(loops), task, names

    def position(self) -> Index | None:
        """What a step fetches; None where every tile has a panel of its own, or the panel is not read from end to end."""
        steps = self._pop(moving=True)
        visits: list[tuple[Index, int]] = [(as_index(loop.var), loop.var.extent) for loop in self._pop(moving=False)]
        if not steps:
            return None
        if self.loops:
            outer: Expr = self.loops[-1].var
        else:
            atoms = [atom for atom in self.terms if self._named(atom) is not None]
            if len(atoms) != 1:
                return None
            (outer,) = atoms
            count = self._repeats(self._named(outer))
            visits.insert(0, (as_index(self.task) % count, count))
        inner = gcd(*(self.terms[loop.var] for loop in steps))
        repeats = prod(extent for _, extent in visits)
        if outer not in self.terms or repeats == 1 or prod(loop.var.extent for loop in steps) * inner > abs(self.terms[outer]):
            return None
        extents = [extent for _, extent in visits] + [loop.var.extent for loop in steps]
        number = ravel([*(at for at, _ in visits), *(as_index(loop.var) for loop in steps)], tuple(extents))
        rest = [(as_index(atom), factor) for atom, factor in self.terms.items() if atom not in {loop.var for loop in steps}]
        return combine([*rest, (number, ceil(inner / repeats))]) + (self.constant + self.terms[outer])

    def _pop(self, moving: bool) -> list[For]:
        """The innermost loops that are left and move the panel, or do not, outermost first."""
        taken: list[For] = []
        while self.loops and (self.loops[-1].var in self.terms) == moving:
            taken.insert(0, self.loops.pop())
        return taken

    def _named(self, atom: Expr) -> Expr | None:
        """The part of the task that an atom stands for."""
        part = self.names.get(atom) if isinstance(atom, Temp) else atom
        inner = part
        while isinstance(inner, Div | Mod):
            inner = inner.index
        return part if inner is self.task else None

    def _repeats(self, part: Expr | None) -> int:
        """So many tasks in a row have the same value of this part."""
        if isinstance(part, Mod):
            part = part.index
        return part.divisor if isinstance(part, Div) else 1
