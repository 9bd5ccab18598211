"""A kernel to the text of one LLVM function.

In: a `Kernel` whose words the target says. Out: `KernelText`: `define internal void @SYMBOL(ptr %p0, ..., i64 %begin,
i64 %end)`, which runs the tasks begin <= t < end, and the declarations it needs. Vector loops become vectors of `width`
lanes under uniform control flow, a remainder runs once under a constant mask; loops inside vector loops stay loops of
all lanes, and vector loops inside vector loops run serially. Machine-independent clean-up is left to LLVM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product

from graphc.ir.expr import Array, Expr, Var
from graphc.ir.kernel import UNROLLED, VECTOR, Accumulate, For, If, Kernel, Let, Local, Stmt, Store, walk

from ..squares import Square, square
from ..target import Target
from . import folds, memory, types
from .builder import Builder, Value, each
from .epilogues import epilogue_rows
from .expressions import Entry, Scope
from .fills import next_fills
from .folds import VectorLoop
from .indices import Position
from .memory import Place
from .nests import Fetch, Fetches, at_once, crowded, together
from .panels import next_panels
from .results import tile_results
from .rows import next_rows
from .streams import streams
from .transposes import transposed

# A vector loop of so few vectors is written out, if its body holds no loop.
UNROLL_VECTORS = 4

# Bits to which callers align the stack. A wider vector that is kept there would lie across two lines, and who reads it would
# wait for all stores before it: for memory.
STACK = 128


@dataclass(frozen=True, slots=True)
class KernelText:
    """A function definition, and the lines that a module which contains it needs once."""

    symbol: str
    text: str
    declarations: frozenset[str]


def emit_kernel(kernel: Kernel, symbol: str, target: Target, linkage: str = "internal") -> KernelText:
    """The text of `kernel` as the function `symbol`. The same kernel gives the same text."""
    b = Builder(target)
    written = kernel.written
    places = {array: Place(f"%p{i}", array.dtype, stays=array not in written) for i, array in enumerate(kernel.params)}
    b.depths.update({place.pointer: 0 for place in places.values()} | {"%t": 0})
    emitter = _Emitter(Scope(b, places), kernel)
    emitter.tasks()
    params = [
        f"ptr noalias nonnull captures(none){'' if array in written else ' readonly'} %p{i}"
        for i, array in enumerate(kernel.params)
    ]
    tune = f' "tune-cpu"="{target.tune}"' if target.tune and crowded(kernel.body, target) else ""
    aligned = f" alignstack({target.vector_bits // 8})" if target.vector_bits > STACK else ""
    head = f"define {linkage} void @{symbol}({', '.join([*params, 'i64 %begin', 'i64 %end'])}) nounwind{aligned}{tune} {{"
    lines = [head, "entry:", *b.slots, *b.lines, "}", ""]
    return KernelText(symbol, "\n".join(lines), frozenset(b.declarations))


class _Emitter:
    """Walks the statements. `loop` is the vector loop around the current statement."""

    def __init__(self, scope: Scope, kernel: Kernel) -> None:
        self.scope, self.b, self.kernel = scope, scope.b, kernel
        self.loop: VectorLoop | None = None
        widths = [stmt.width for stmt in walk(kernel.body) if isinstance(stmt, For)]
        self.margin = max(widths, default=1)  # elements by which vectors may pass the end of a stack array
        self.slots: dict[tuple[Array, int], str] = {}
        self.streams = streams(kernel, self.b.target)
        self.before: Fetches = epilogue_rows(kernel, self.b.target)  # fetched before a loop starts
        panels, results = next_panels(kernel, self.b.target), tile_results(kernel, self.b.target)
        self.beside = {loop: panels.get(loop, []) + results.get(loop, []) for loop in {**panels, **results}}  # in each round
        fills = next_fills(kernel, self.b.target)
        self.ahead = fills | next_rows(kernel, self.b.target, {**self.beside, **fills})  # before each block of rounds
        self.first = True  # of the copies that unrolled loops make: the one that fetches ahead for all

    def tasks(self) -> None:
        """The loop over tasks, from %begin up to %end."""
        b, task = self.b, self.kernel.task
        b.branch(b.op("icmp slt i64 %begin, %end"), "task", "exit")
        b.label("task")
        b.put("%t = phi i64 [ %begin, %entry ], [ %t.next, %task.next ]")
        self.scope.bound[task] = Position(0, (("%t", 1),)) if task.extent > 1 else Position()
        self.body(self.kernel.body)
        b.jump("task.next")
        b.label("task.next")
        b.put("%t.next = add nsw i64 %t, 1")
        b.branch(b.op("icmp slt i64 %t.next, %end"), "task", "exit")
        b.label("exit")
        b.put("ret void")

    def body(self, stmts: tuple[Stmt, ...]) -> None:
        for stmt in stmts:
            self.scope.forget()
            match stmt:
                case For():
                    self.loop_over(stmt)
                case Local(array=array):
                    self.local(array)
                case Let(temp=temp, value=value):
                    self.scope.temps[temp] = self.scope.evaluate(value)
                case Store():
                    self.store(stmt)
                case Accumulate():
                    folds.accumulate(self.scope, self.loop, stmt)
                case If(condition=condition, then=then, orelse=orelse):
                    self.branch(condition, then, orelse)

    def loop_over(self, loop: For) -> None:
        if loop.var.extent == 0:
            return
        if loop.kind == VECTOR and self.loop is None and min(loop.width, loop.var.extent) > 1:
            self.vector_loop(loop)
        elif loop.kind == UNROLLED or loop.var.extent == 1:
            first = self.first
            for i in range(loop.var.extent):
                self.first = first and i == 0
                self.bind(loop, Position(i))
            self.first = first
        elif self.loop is None and (found := square(loop)) is not None:
            self.transpose(found)
        else:
            for fetch in self.before.get(loop, ()):
                self.fetch(fetch)
            if loop in self.ahead:
                self.in_blocks(loop)
                return
            self.rounds(loop, loop.var, Position(), self.beside.get(loop, ()))

    def in_blocks(self, loop: For) -> None:
        """A loop of blocks of rounds, before each of which is fetched what later tiles will read."""
        size = together(loop)
        with self.counting(loop.var, loop.var.extent // size) as block:
            self.scope.bound[loop.var] = start = block.plus(size)
            for fetch in self.ahead[loop]:
                self.scope.forget()
                self.fetch(fetch)
            self.rounds(loop, Var(loop.var.name, size), start, self.beside.get(loop, ()))

    def rounds(self, loop: For, var: Var, start: Position, fetches: Sequence[Fetch] = ()) -> None:
        """As many rounds of a loop as `var` counts, from `start` on, some of them one after another."""
        several = at_once(loop, var.extent)
        with self.counting(var, var.extent // several) as counter:
            for i in range(several):
                self.bind(loop, Position(i, start.terms + counter.plus(several).terms), fetches)

    def transpose(self, work: Square) -> None:
        """The steps and lanes of two loops in squares, and what is left of these at the ends."""
        for first, steps in self.spans(work.step, work.width):
            for start, lanes in self.spans(work.lane, work.width):
                self.square(work, first, steps, start, lanes)

    def spans(self, var: Var, width: int) -> Iterator[tuple[Position, int]]:
        """Where the vectors of a loop start, and how many elements they have: whole ones in a loop, then the rest."""
        whole, rest = divmod(var.extent, width)
        if whole:
            with self.counting(var, whole) as counter:
                yield counter.plus(width), width
        if rest:
            yield Position(whole * width), rest

    def square(self, work: Square, first: Position, steps: int, start: Position, lanes: int) -> None:
        """Vectors along the steps, one for each lane, become vectors along the lanes, one for each step. Where these are not
        whole, all loads come before the stores: a store of some lanes holds loads up that touch none of them."""
        outer, step, lane, width = self.scope, work.step, work.lane, work.width
        self.scope = scope = replace(outer, lanes=width, mask=_first(steps, width))
        columns = {}
        scope.bound[step] = replace(first, lane=1)
        for read in work.crossing:
            rows = []
            for i in range(lanes):
                scope.forget()
                scope.bound[lane] = replace(start, constant=start.constant + i)
                rows.append(self.b.widen(scope.evaluate(read), width))
            columns[read] = transposed(self.b, rows, width)
        scope.bound[lane], scope.mask = replace(start, lane=1), _first(lanes, width)
        named = [dict(scope.temps) for _ in range(steps)]
        for part in (work.values + work.stores,) if lanes == width else (work.values, work.stores):
            for i, scope.temps in enumerate(named):
                scope.bound[step] = replace(first, constant=first.constant + i)
                scope.given = {read: column[i] for read, column in columns.items()}
                self.body(part)
        del scope.bound[lane], scope.bound[step]
        self.scope = outer

    def bind(self, loop: For, position: Position, fetched: Sequence[Fetch] = ()) -> None:
        """The body once, with the variable at `position`, after fetching what later ones will read, or write."""
        self.scope.bound[loop.var] = position
        for fetch in fetched:
            self.fetch(fetch)
        self.body(loop.body)
        del self.scope.bound[loop.var]

    def fetch(self, fetch: Fetch) -> None:
        """Has all its lines brought near."""
        scope, bound = self.scope, self.scope.bound
        for at in product(*(range(0, var.extent, step) for var, step in fetch.over)):
            if at:
                scope.forget()
                scope.bound = bound | dict(zip((var for var, _ in fetch.over), map(Position, at), strict=True))
            memory.fetch(scope.indexer, scope.places[fetch.array], scope.indexer.position(fetch.index), fetch.write)
        scope.bound = bound

    @contextmanager
    def counting(self, var: Var, extent: int) -> Iterator[Position]:
        """A loop of at least one round around what is written inside; gives the round, from 0."""
        if extent == 1:
            yield Position()
            return
        b, entries, first = self.b, self.scope.entries, len(self.b.lines)
        counter = b.name("".join(c for c in var.name if c.isalnum()) + ".")
        label, before = f"loop.{counter}", b.block
        preheader = b.enter()
        entries[var] = Entry(preheader, dict(self.scope.temps))
        b.jump(label)
        b.label(label)
        b.put(f"%{counter} = phi i64 [ 0, %{before} ], [ %{counter}.next, %{label}.latch ]")
        b.depths[f"%{counter}"] = len(b.preheaders)
        yield Position(0, ((f"%{counter}", 1),))
        b.jump(f"{label}.latch")
        b.label(f"{label}.latch")
        b.put(f"%{counter}.next = add nuw nsw i64 %{counter}, 1")
        b.branch(b.op(f"icmp ult i64 %{counter}.next, {extent}"), label, f"{label}.end")
        b.label(f"{label}.end")
        b.leave()
        b.lines[first:first] = preheader.lines
        del entries[var]

    def vector_loop(self, loop: For) -> None:
        """Whole vectors, then the remainder; partial results are set up before and folded after."""
        b, extent = self.b, loop.var.extent
        width = min(loop.width, _power_of_two(extent))
        self.loop = gathered = VectorLoop(frozenset(self.scope.bound), len(b.preheaders), b.block)
        places = self.scope.places
        wanted = self.streams.get(loop, {}) if self.first else {}
        ahead = {array: replace(places[array], ahead=n) for array, n in wanted.items()}
        self.scope.places = places | ahead
        outer_lines, b.lines = b.lines, []
        whole, rest = divmod(extent, width)
        if whole <= UNROLL_VECTORS and not any(isinstance(stmt, For) and stmt.kind != UNROLLED for stmt in loop.body):
            for i in range(whole):
                self.lanes(loop, width, width, Position(i * width, (), 1))
        elif whole:
            with self.counting(loop.var, whole) as counter:
                self.lanes(loop, width, width, counter.plus(width, 1))
        if rest:
            self.lanes(loop, _power_of_two(rest), rest, Position(whole * width, (), 1))
        self.loop, self.scope.places = None, places
        b.lines = outer_lines + gathered.before + b.lines
        for partial in gathered.partials.values():
            folds.finish(self.scope, partial)

    def lanes(self, loop: For, width: int, active: int, position: Position) -> None:
        """The body once, for `active` of `width` lanes that start at `position`."""
        outer, gathered = self.scope, self.loop
        if width == 1:  # scalar code, in which vector loops may stand
            position, self.loop = replace(position, lane=0), None
        self.scope = replace(outer, lanes=width, mask=_first(active, width))
        self.bind(loop, position)
        self.scope, self.loop = outer, gathered

    def local(self, array: Array) -> None:
        """Stack memory, the same at every run of the statement; inside a vector loop an instance for each lane."""
        lanes = self.scope.lanes
        key = (array, lanes)
        if key not in self.slots:
            self.slots[key] = self.b.slot(types.memory(array.dtype), array.size * lanes + (self.margin if lanes == 1 else 0))
        self.scope.places[array] = Place(self.slots[key], array.dtype, local=True, private=lanes if lanes > 1 else 0)

    def store(self, stmt: Store) -> None:
        scope = self.scope
        guard = None if stmt.guard is None else scope.evaluate(stmt.guard)
        if guard is None or guard.known is True:
            self.write(stmt, None)
        elif guard.lanes > 1:
            self.write(stmt, guard)
        elif guard.known is None:
            with self.when(guard):
                self.write(stmt, None)

    def write(self, stmt: Store, guard: Value | None) -> None:
        scope = self.scope
        place, indexer = scope.place(stmt.array), scope.indexer
        value = scope.evaluate(stmt.value)
        position = memory.locate(indexer, place, indexer.position(stmt.index))
        memory.store(indexer, place, position, value, scope.mask, guard)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """What is written inside runs where the scalar condition holds."""
        yes, end = self.b.name("then"), self.b.name("end")
        self.b.branch(condition.text, yes, end)
        self.b.label(yes)
        with self.b.aside():
            yield
        self.b.jump(end)
        self.b.label(end)

    def branch(self, condition: Expr, then: tuple[Stmt, ...], orelse: tuple[Stmt, ...]) -> None:
        chosen = self.b.lane(self.scope.evaluate(condition), 0)
        if chosen.known is not None:
            self.body(then if chosen.known else orelse)
            return
        if self.loop is not None:
            self.loop.conditional += 1
        yes, no, end = (self.b.name(stem) for stem in ("then", "else", "end"))
        self.b.branch(chosen.text, yes, no)
        for label, stmts in ((yes, then), (no, orelse)):
            self.b.label(label)
            with self.b.aside():
                self.body(stmts)
            self.b.jump(end)
        self.b.label(end)
        if self.loop is not None:
            self.loop.conditional -= 1


def _first(active: int, width: int) -> Value | None:
    """The mask of so many of the lanes; None of all."""
    return None if active == width else each([True] * active + [False] * (width - active))


def _power_of_two(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << (n - 1).bit_length()
