"""Contractions in blocks: what all tiles of the result share, whoever multiplies.

    stage = first panels                                     in registers: an equal share of the panels on each thread
    for each panel of steps:
      shared = stage;  (all meet)  stage = next panels       loads that are under way while the threads compute
      multiply the shared panels into the block's tile       (tiles.py, fragments.py)
    epilogue for the thread's part of the tile

In: a `Product` and the extents of a block's tile. Out: a `Mapped` kernel. Operands may be any expressions (casts, guarded
loads of padded images): they are evaluated once for each element of a panel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from graphc.dtype import int64
from graphc.ir.expr import Array, Expr, Index, Var, all_of, as_index, cast, const, load, temp, unravel
from graphc.ir.kernel import SERIAL, UNROLLED, For, If, Kernel, Let, Local, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed

from .packets import PACKET_BYTES
from .products import Axes, Product
from .roles import PACKET, THREADS, Mapped
from .sync import barriers
from .tidy import tidy


@dataclass(frozen=True)
class Panel:
    """One operand's part in a tile: `side` are the axes it walks beside the steps, over `extent` places.

    Threads take units of the panel: `pieces` packets of `width` elements, loaded together. Packets run along the steps where
    elements that follow each other in memory are steps (`along_steps`), a unit is a longer one then; else they run along
    the side, those of a unit at neighbouring steps. Shared memory gets a unit step by step, place by place, `stored` elements
    at a time, as packets where they lie together there (`packed`), `pitch` from one row to the next.
    """

    expr: Expr
    side: Axes
    extent: int
    along_steps: bool
    width: int
    pieces: int
    stored: int
    packed: bool
    pitch: int
    shared: Array
    stage: Array

    @property
    def unit(self) -> int:
        return self.width * self.pieces


class Blocks(ABC):
    """A product in tiles of `rows` x `columns`, each a block of `threads`, and panels of `steps`."""

    lhs: Panel
    rhs: Panel

    def __init__(self, product: Product, rows: int, columns: int, steps: int, threads: int) -> None:
        self.p, self.steps, self.threads = product, steps, threads
        self.counts = (ceil(product.rows.size / rows), ceil(product.columns.size / columns))
        self.task = Var("task", product.batch.size * self.counts[0] * self.counts[1])
        self.lets: list[Stmt] = []
        batch, row, column = unravel(self.task, (product.batch.size, *self.counts))
        self.batch = product.batch.at(self._name("batch", batch, product.batch.size))
        self.first_row = self._name("row", row, self.counts[0]) * rows
        self.first_column = self._name("column", column, self.counts[1]) * columns

    def _name(self, name: str, index: Index, extent: int) -> Index:
        bound = temp(name, int64, (0, extent - 1))
        self.lets.append(Let(bound, index))
        return as_index(bound)

    @abstractmethod
    def registers(self) -> dict[Array, int]:
        """Arrays that are cut into parts, beside the stages: how many elements a thread holds. The sums come first."""

    @abstractmethod
    def position(self, panel: Panel, step: Index, place: Index) -> Index:
        """Where an element of a panel lies in shared memory."""

    @abstractmethod
    def clear(self, thread: Var) -> list[Stmt]:
        """The sums of a thread start at 0."""

    @abstractmethod
    def multiply(self) -> list[Stmt]:
        """The shared panels into the sums."""

    @abstractmethod
    def finish(self, thread: Var) -> list[Stmt]:
        """The epilogue for the elements of the result whose sums a thread holds."""

    def mapped(self, resident: int, note: str = "") -> Mapped:
        """The kernel with its places, `resident` blocks of it on a multiprocessor."""
        panels = (self.lhs, self.rhs)
        sums, *others = self.registers()
        locals_ = [sums, *(a for panel in panels for a in (panel.shared, panel.stage)), *others]
        number = Var("panel", ceil(self.p.steps.size / self.steps))
        loaded = self.each_thread(lambda t: self._load(t, as_index(0)))
        following = If(number + 1 < number.extent, (self.each_thread(lambda t: self._load(t, number + 1)),))
        rounds: list[Stmt] = [self.each_thread(self._share), following, *self.multiply()]
        if number.extent == 1:
            rounds.pop(1)
        body = (
            *self.lets,
            *map(Local, locals_),
            self.each_thread(self.clear),
            loaded,
            For(number, tuple(rounds), SERIAL),
            self.each_thread(self.finish),
        )
        kernel = tidy(Kernel(self.p.kernel.name, self.p.kernel.params, self.task, body))
        shared = frozenset(panel.shared for panel in panels)
        parts = {panel.stage: panel.stage.size // self.threads for panel in panels}
        meets = barriers(kernel.body, shared | kernel.written)
        return Mapped(kernel, self.threads, 1, shared, parts | self.registers(), meets, resident, note=note)

    def each_thread(self, body: Callable[[Var], list[Stmt]]) -> For:
        """A body that every thread runs."""
        thread = Var("thread", self.threads)
        return For(thread, tuple(body(thread)), THREADS)

    # ------------------------------------------------------------------------------------------------------------- panels

    def along_steps(self, expr: Expr, side: Axes) -> tuple[bool, bool]:
        """(Whether neighbours in memory are steps rather than rows, whether they are known to be neighbours)."""
        near = [abs(axes.moves(expr)) or 1 << 62 for axes in (self.p.steps, side)]
        return near[0] < near[1], min(near) == 1

    def packets(self, expr: Expr, side: Axes, extent: int, pieces: int) -> int:
        """How many elements of an operand are loaded together: 16 bytes where all edges of units allow it, else 1."""
        along, neighbours = self.along_steps(expr, side)
        width = PACKET_BYTES // expr.dtype.size
        unit = width * pieces
        fast, size = (self.p.steps, self.steps) if along else (side, extent)
        whole = size % (unit if along else width) == 0 and self.steps * extent % (self.threads * unit) == 0
        return width if neighbours and fast.extents[-1] % width == 0 and whole else 1

    def _load(self, thread: Var, number: Index) -> list[Stmt]:
        """The thread's share of both panels, into registers."""
        firsts = ((self.lhs, self.first_row), (self.rhs, self.first_column))
        return [self._load_one(panel, thread, number, first) for panel, first in firsts]

    def _load_one(self, panel: Panel, thread: Var, number: Index, first: Index) -> Stmt:
        rounds, piece, lane = self._rounds(panel), Var("piece", panel.pieces), Var("lane", panel.width)
        step, place = self._unit(panel, thread, rounds)
        inner = (piece * panel.width + lane, as_index(0)) if panel.along_steps else (piece, lane)
        step, place = number * self.steps + step + inner[0], first + place + inner[1]
        names = self.batch | panel.side.at(place) | self.p.steps.at(step)
        at = self._share_of(panel, thread, rounds) + piece * panel.width + lane
        store = Store(panel.stage, at, Renamed(names).expr(panel.expr))
        edge = Renamed({lane: as_index(0)})  # width divides the extent along which lanes run
        whole = self.p.steps.size % self.steps == 0
        inside = all_of(None if whole else step < self.p.steps.size, place < panel.side.size)
        body: tuple[Stmt, ...] = (For(lane, (store,), PACKET if panel.width > 1 else SERIAL),)
        if inside is not None:
            zero = Store(panel.stage, at, const(0, panel.stage.dtype))
            body = (If(edge.expr(inside), body, (For(lane, (zero,), UNROLLED),)),)
        return For(rounds, (For(piece, body, UNROLLED),), UNROLLED)

    def _share(self, thread: Var) -> list[Stmt]:
        """From registers to shared memory."""
        return [self._share_one(panel, thread) for panel in (self.lhs, self.rhs)]

    def _share_one(self, panel: Panel, thread: Var) -> Stmt:
        rounds, part, lane = self._rounds(panel), Var("part", panel.unit // panel.stored), Var("lane", panel.stored)
        step, place = self._unit(panel, thread, rounds)
        number = part * panel.stored + lane  # of the unit's elements, in the order of shared memory
        own = number
        if panel.along_steps:
            step = step + number
        else:
            step, place = step + number % panel.pieces, place + number // panel.pieces
            own = number % panel.pieces * panel.width + number // panel.pieces
        value = load(panel.stage, self._share_of(panel, thread, rounds) + own)
        store = Store(panel.shared, self.position(panel, step, place), cast(value, panel.shared.dtype))
        kind = PACKET if panel.packed else UNROLLED
        return For(rounds, (For(part, (For(lane, (store,), kind),), UNROLLED),), UNROLLED)

    def _rounds(self, panel: Panel) -> Var:
        return Var("round", panel.stage.size // (self.threads * panel.unit))

    def _share_of(self, panel: Panel, thread: Var, rounds: Var) -> Index:
        """Where the stage holds a thread's unit of a round."""
        return thread * (panel.stage.size // self.threads) + rounds * panel.unit

    def _unit(self, panel: Panel, thread: Var, rounds: Var) -> tuple[Index, Index]:
        """(step, place) in the panel of the first element of a thread's unit: neighbours are loaded by neighbouring threads."""
        packet = rounds * self.threads + thread
        if panel.along_steps:
            across = self.steps // panel.unit
            return packet % across * panel.unit, packet // across
        across = panel.extent // panel.width
        return packet // across * panel.pieces, packet % across * panel.width
