"""Fetching the rows of an array that the next register tile reads in place, in strides or under windows that overlap.

In: a kernel. Out: for the innermost loops over steps, what each block of steps should fetch into the second cache. Such rows
are several runs of memory; a processor follows few of them by itself, and a tile waits for all others. So while tiles read
the same rows, they fetch those of the next tile, some lines before each block of steps.

    x[c * outer + s * step + r * row]     runs of memory; `outer`: loops of a task, or parts of it, that go on to the next tile
    fetched by all tiles until then       x[the same for the next `outer`], from the start of each run to its end

Left alone are rows beside each other, which panels.py fetches, arrays that stay in the second cache, what a task reads again
and again, loops that fetch something else, and rows of which a block of steps would have to fetch too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod

from graphc.ir.expr import Array, Div, Expr, Index, Mod, Temp, Var, as_index, combine, linear, ravel, unravel
from graphc.ir.kernel import For, If, Kernel, Let, walk
from graphc.ir.kernel_rewrite import Renamed

from ..target import Target
from .memory import LINE
from .nests import PASSING, Fetch, Fetches, Nest, is_far, nests, together
from .panels import loads, straight

MOST_LINES = 16  # that a block of steps fetches

Rounds = list[tuple[Index, int]]  # numbers of rounds, slowest first, and how many there are


def next_rows(kernel: Kernel, target: Target, known: Fetches) -> Fetches:
    """For each innermost loop over steps: what each block of them fetches. Loops that are `known` to fetch are left out."""
    names = {stmt.temp: stmt.value for stmt in walk(kernel.body) if isinstance(stmt, Let)}
    found: Fetches = {}
    for nest in nests(kernel.body):
        for array, index in loads(nest.step) if nest.loops[-1] not in known else ():
            if array in kernel.params and is_far(array, target, PASSING):
                fetch = _Rows(nest, array, straight(index, names), kernel.task, names).fetch()
                if fetch is not None:
                    found.setdefault(nest.loops[-1], []).append(fetch)
    return found


class _Rows:
    """How one load walks: by `inside` and `steps` within a tile, by `tiles` or the task from tile to tile."""

    def __init__(self, nest: Nest, array: Array, index: Index, task: Var, names: dict[Temp, Expr]) -> None:
        self.nest, self.array, self.index, self.task, self.names = nest, array, index, task, names
        self.terms = linear(index)[0]
        within = max((n for n, loop in enumerate(nest.around, 1) if _makes_tiles(loop)), default=0)
        self.tiles, self.steps = nest.around[:within], (*nest.around[within:], *nest.loops)
        unrolled = [stmt.var for stmt in walk(nest.loops[-1].body) if isinstance(stmt, For)]
        self.inside = [var for var in (*unrolled, *(loop.var for loop in self.steps)) if var in self.terms]

    def fetch(self) -> Fetch | None:
        """What a block of steps fetches; None where there is nothing to gain."""
        shared, after = self._next()
        if self.nest.step.var in self.terms or after is None:
            return None
        if _box(after, self.inside) == (prod(var.extent for var in self.inside), []):  # without gaps or overlaps
            return None
        return spread(self.array, after, self.inside, [*shared, *blocks_of(self.steps)])

    def _next(self) -> tuple[Rounds, Index | None]:
        """Who reads the same rows one after another, and what is read then; nothing where this is near or always the same."""
        loops, shared = list(self.tiles), Rounds()
        while loops and loops[-1].var not in self.terms:
            var = loops.pop().var
            shared.insert(0, (as_index(var), var.extent))
        if loops:
            var = loops[-1].var
            return shared, Renamed({var: var + 1}).index(self.index) if shared else None
        count = min((_repeats(part) for atom in self.terms if (part := self._part(atom)) is not None), default=0)
        if not count:
            return [], None
        return [(as_index(self.task) % count, count), *shared], moved(self.index, {self.task: self.task + count}, self.names)

    def _part(self, atom: Expr) -> Index | None:
        """The part of the task that an atom stands for."""
        part = self.names.get(atom) if isinstance(atom, Temp) else atom
        inner = part
        while isinstance(inner, Div | Mod):
            inner = inner.index
        return part if inner is self.task and isinstance(part, Index) else None


def moved(index: Index, variables: Mapping[Var | Temp, Index], names: Mapping[Temp, Expr]) -> Index:
    """The index where variables are others, also in the parts of the task that temporaries stand for."""
    others = dict(variables)
    rename = Renamed(variables)
    for atom in linear(index)[0]:
        if isinstance(atom, Temp) and isinstance(part := names.get(atom), Index):
            others[atom] = rename.index(part)
    return Renamed(others).index(index)


def spread(array: Array, index: Index, inside: Sequence[Var], rounds: Rounds, more: int = 0) -> Fetch | None:
    """What each of `rounds` fetches, so that together they fetch all that `index` reads while the variables `inside` run, and
    so many lines `more` of each run; None where that is much, and where something is read backwards."""
    box = _box(index, inside)
    if box is None:
        return None
    run, strides = box
    extents, line = tuple(extent for _, extent in strides), LINE // array.dtype.size
    count, runs, lines = prod(extent for _, extent in rounds), prod(extents), ceil(run / line) + more
    several, each = ceil(runs / max(count, 1)), ceil(lines / max(count // runs, 1))  # runs, and lines of each, in a round
    if not count or several * each > MOST_LINES:
        return None
    parts = ceil(runs / several), ceil(lines / each)
    number = ravel([at for at, _ in rounds], tuple(extent for _, extent in rounds)) * prod(parts) // count
    (first, piece), beside, within = unravel(number, parts), Var("run", several), Var("next", each * line)
    start = Renamed({var: as_index(0) for var in inside}).index(index)
    at = unravel(first * several + beside, extents)
    there = combine((place, stride) for place, (stride, _) in zip(at, strides, strict=True))
    return Fetch(array, start + there + piece * (each * line) + within, ((beside, 1), (within, line)))


def _box(index: Index, inside: Sequence[Var]) -> tuple[int, list[tuple[int, int]]] | None:
    """What is read: runs of so many elements, by which strides apart, and how many of each."""
    terms = linear(index)[0]
    walked = sorted((terms[var], var.extent) for var in inside if var in terms)
    run, strides = 1, []
    for stride, extent in walked:
        if stride > run:
            strides.append((stride, extent))
        else:
            run += (extent - 1) * stride
    return None if not walked or walked[0][0] < 1 else (run, strides)


def blocks_of(loops: Sequence[For]) -> Rounds:
    """The rounds of loops over steps, of the innermost one whole blocks."""
    *outer, last = loops
    size = together(last)
    return [*((as_index(loop.var), loop.var.extent) for loop in outer), (last.var // size, last.var.extent // size)]


def _makes_tiles(loop: For) -> bool:
    """Whether each round of a loop makes tiles; loops over steps hold nothing but each other, under guards."""
    return any(not isinstance(stmt, For | If) for stmt in loop.body)


def _repeats(part: Index) -> int:
    """So many tasks in a row have the same value of a part."""
    part = part.index if isinstance(part, Mod) else part
    return part.divisor if isinstance(part, Div) else 1
