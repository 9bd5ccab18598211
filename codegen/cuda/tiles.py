"""Contractions in tiles: a block computes a tile of the result, from panels of both operands in shared memory.

    stage = first panels                                     in registers: an equal share of the panels on each thread
    for each panel of steps:
      shared = stage;  (all meet)  stage = next panels       loads that are under way while the threads compute
      for k in the panel:  r = shared lhs rows;  c = shared rhs columns;  acc[i, j] += r[i] * c[j]      in registers
    epilogue for the thread's tile

In: a `Product` and the sizes of a tile. Out: a `Mapped` kernel. Operands may be any expressions (casts, guarded loads of
padded images): they are evaluated once for each element of a panel. Sums run in the order of the steps, fused, so that the
result does not depend on the tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from graphc.dtype import int64
from graphc.ir.expr import Array, Expr, Index, Var, all_of, as_index, const, load, temp, unravel
from graphc.ir.kernel import SERIAL, UNROLLED, Accumulate, For, If, Kernel, Let, Local, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed

from .packets import PACKET_BYTES
from .products import Axes, Moved, Name, Product
from .roles import PACKET, THREADS, Mapped
from .sync import barriers
from .tidy import serial, tidy

RESIDENT = 2  # blocks of a multiprocessor: one computes while the other waits for a panel


@dataclass(frozen=True)
class Tile:
    """Rows and columns of a block's tile, steps of a panel, rows and columns of a thread's tile."""

    rows: int
    columns: int
    steps: int
    own_rows: int
    own_columns: int

    @property
    def across(self) -> int:
        """Threads side by side along a row."""
        return self.columns // self.own_columns

    @property
    def threads(self) -> int:
        return self.rows // self.own_rows * self.across


@dataclass(frozen=True)
class _Panel:
    """One operand's part in a tile: `side` are the axes it walks beside the steps, `first` its position in them where the
    tile starts. `along_steps`: elements that follow each other in memory are steps, not rows."""

    expr: Expr
    side: Axes
    extent: int  # of the tile, along the side
    along_steps: bool
    width: int  # elements that are loaded together
    shared: Array
    stage: Array

    @property
    def pitch(self) -> int:
        return self.extent + (4 if self.along_steps else 0)


def tiled(product: Product, tile: Tile) -> Mapped:
    """The product in tiles."""
    return _Tiled(product, tile).mapped()


class _Tiled:
    def __init__(self, product: Product, tile: Tile) -> None:
        self.p, self.tile = product, tile
        self.acc = Array("acc", product.dtype, tile.threads * tile.own_rows * tile.own_columns)
        self.lhs = self._panel("lhs", product.lhs, product.rows, tile.rows)
        self.rhs = self._panel("rhs", product.rhs, product.columns, tile.columns)
        self.counts = (ceil(product.rows.size / tile.rows), ceil(product.columns.size / tile.columns))
        self.task = Var("task", product.batch.size * self.counts[0] * self.counts[1])
        self.lets: list[Stmt] = []
        batch, row, column = unravel(self.task, (product.batch.size, *self.counts))
        self.batch = product.batch.at(self._name("batch", batch, product.batch.size))
        self.first_row = self._name("row", row, self.counts[0]) * tile.rows
        self.first_column = self._name("column", column, self.counts[1]) * tile.columns

    def _name(self, name: str, index: Index, extent: int) -> Index:
        bound = temp(name, int64, (0, extent - 1))
        self.lets.append(Let(bound, index))
        return as_index(bound)

    def _panel(self, name: str, expr: Expr, side: Axes, extent: int) -> _Panel:
        """How an operand is loaded: along what lies together in memory, 16 bytes at a time where all edges allow it."""
        steps, tile, dtype = self.p.steps, self.tile, self.p.dtype
        near = [abs(axes.moves(expr)) or 1 << 62 for axes in (steps, side)]
        along_steps = near[0] < near[1]
        width = PACKET_BYTES // dtype.size
        fast, size = (steps, tile.steps) if along_steps else (side, extent)
        if min(near) != 1 or fast.extents[-1] % width or size % width or tile.steps * extent % (tile.threads * width):
            width = 1
        pitch = extent + (4 if along_steps else 0)
        share = tile.steps * extent // tile.threads
        assert share * tile.threads == tile.steps * extent, f"{tile} cannot share a panel of {extent}"
        shared = Array(f"{name}_panel", dtype, tile.steps * pitch)
        stage = Array(f"{name}_stage", dtype, tile.threads * share)
        return _Panel(expr, side, extent, along_steps, width, shared, stage)

    def mapped(self) -> Mapped:
        panels = (self.lhs, self.rhs)
        locals_ = [Local(a) for panel in panels for a in (panel.shared, panel.stage)]
        number = Var("panel", ceil(self.p.steps.size / self.tile.steps))
        loaded = self._each_thread(lambda t: self._load(t, as_index(0)))
        following = If(number + 1 < number.extent, (self._each_thread(lambda t: self._load(t, number + 1)),))
        rounds: list[Stmt] = [self._each_thread(self._share), following, self._each_thread(self._multiply)]
        if number.extent == 1:
            rounds.pop(1)
        body = (
            *self.lets,
            Local(self.acc),
            *locals_,
            self._each_thread(self._clear),
            loaded,
            For(number, tuple(rounds), SERIAL),
            self._each_thread(self._finish),
        )
        kernel = tidy(Kernel(self.p.kernel.name, self.p.kernel.params, self.task, body))
        shared = frozenset(panel.shared for panel in panels)
        parts = {array: array.size // self.tile.threads for array in (self.acc, self.lhs.stage, self.rhs.stage)}
        meets = barriers(kernel.body, shared | kernel.written)
        resident = RESIDENT if self.p.steps.size > self.tile.steps else 1  # one panel: nothing to wait for
        return Mapped(kernel, self.tile.threads, 1, shared, parts, meets, resident)

    def _each_thread(self, body: Callable[[Var], list[Stmt]]) -> For:
        thread = Var("thread", self.tile.threads)
        return For(thread, tuple(body(thread)), THREADS)

    # ------------------------------------------------------------------------------------------------------------- panels

    def _load(self, thread: Var, number: Index) -> list[Stmt]:
        """The thread's share of both panels, into registers."""
        firsts = ((self.lhs, self.first_row), (self.rhs, self.first_column))
        return [self._load_one(panel, thread, number, first) for panel, first in firsts]

    def _load_one(self, panel: _Panel, thread: Var, number: Index, first: Index) -> Stmt:
        rounds, lane = Var("round", self._rounds(panel)), Var("lane", panel.width)
        step, place = self._element(panel, thread, rounds, lane)
        step, place = number * self.tile.steps + step, first + place
        names = self.batch | panel.side.at(place) | self.p.steps.at(step)
        at = thread * self._share_size(panel) + rounds * panel.width + lane
        store = Store(panel.stage, at, Renamed(names).expr(panel.expr))
        edge = Renamed({lane: as_index(0)})  # width divides the extent along which lanes run
        whole = self.p.steps.size % self.tile.steps == 0
        inside = all_of(None if whole else step < self.p.steps.size, place < panel.side.size)
        body: tuple[Stmt, ...] = (For(lane, (store,), PACKET if panel.width > 1 else SERIAL),)
        if inside is not None:
            zero = Store(panel.stage, at, const(0, self.p.dtype))
            body = (If(edge.expr(inside), body, (For(lane, (zero,), UNROLLED),)),)
        return For(rounds, body, UNROLLED)

    def _share(self, thread: Var) -> list[Stmt]:
        """From registers to shared memory."""
        return [self._share_one(panel, thread) for panel in (self.lhs, self.rhs)]

    def _share_one(self, panel: _Panel, thread: Var) -> Stmt:
        rounds, lane = Var("round", self._rounds(panel)), Var("lane", panel.width)
        step, place = self._element(panel, thread, rounds, lane)
        value = load(panel.stage, thread * self._share_size(panel) + rounds * panel.width + lane)
        store = Store(panel.shared, step * panel.pitch + place, value)
        kind = PACKET if panel.width > 1 and not panel.along_steps else UNROLLED
        return For(rounds, (For(lane, (store,), kind),), UNROLLED)

    def _share_size(self, panel: _Panel) -> int:
        return panel.stage.size // self.tile.threads

    def _rounds(self, panel: _Panel) -> int:
        return self._share_size(panel) // panel.width

    def _element(self, panel: _Panel, thread: Var, rounds: Var, lane: Var) -> tuple[Index, Index]:
        """(step, place) in the panel of an element of a thread's share: neighbours are loaded by neighbouring threads."""
        packet = rounds * self.tile.threads + thread
        if panel.along_steps:
            across = self.tile.steps // panel.width
            return packet % across * panel.width + lane, packet // across
        across = panel.extent // panel.width
        return packet // across, packet % across * panel.width + lane

    # ---------------------------------------------------------------------------------------------------- a thread's tile

    def _cell(self, thread: Var, i: Index, j: Index) -> Index:
        tile = self.tile
        return thread * (tile.own_rows * tile.own_columns) + i * tile.own_columns + j

    def _clear(self, thread: Var) -> list[Stmt]:
        i, j = Var("i", self.tile.own_rows), Var("j", self.tile.own_columns)
        store = Store(self.acc, self._cell(thread, i, j), const(0, self.p.dtype))
        return [For(i, (For(j, (store,), UNROLLED),), UNROLLED)]

    def _multiply(self, thread: Var) -> list[Stmt]:
        tile, dtype = self.tile, self.p.dtype
        step = Var("step", tile.steps)
        (down, across), lets = self._place(thread)
        rows, columns = Array("r", dtype, tile.own_rows), Array("c", dtype, tile.own_columns)
        i, j = Var("i", tile.own_rows), Var("j", tile.own_columns)
        product = load(rows, i) * load(columns, j)
        fold = Accumulate(self.acc, self._cell(thread, i, j), "add", product)
        body = (
            Local(rows),
            Local(columns),
            self._fetch(rows, self.lhs, step, down, tile.own_rows),
            self._fetch(columns, self.rhs, step, across, tile.own_columns),
            For(i, (For(j, (fold,), UNROLLED),), UNROLLED),
        )
        return [*lets, For(step, body, UNROLLED)]

    def _fetch(self, target: Array, panel: _Panel, step: Var, number: Index, own: int) -> Stmt:
        """The thread's rows (or columns) of one step."""
        group, lane = self._groups(own)
        source = load(panel.shared, step * panel.pitch + _spread(group, lane, number, panel.extent, own))
        store = Store(target, group * lane.extent + lane, source)
        return For(group, (For(lane, (store,), PACKET),), UNROLLED)

    def _groups(self, own: int) -> tuple[Var, Var]:
        """A thread's rows come in groups of neighbours, so that 16 bytes of shared memory are read at once."""
        width = min(own, PACKET_BYTES // self.p.dtype.size)
        return Var("group", own // width), Var("lane", width)

    def _place(self, thread: Var) -> tuple[tuple[Index, Index], list[Stmt]]:
        """Where in the block's tile the thread's is: (down, across), and the statements that name them."""
        across = self.tile.across
        down_name = temp("down", int64, (0, self.tile.threads // across - 1))
        across_name = temp("across", int64, (0, across - 1))
        lets: list[Stmt] = [Let(down_name, thread // across), Let(across_name, thread % across)]
        return (as_index(down_name), as_index(across_name)), lets

    def _finish(self, thread: Var) -> list[Stmt]:
        """The epilogue for each element of the thread's tile that is inside of the result."""
        tile, p = self.tile, self.p
        (down, across), lets = self._place(thread)
        row_group, row_lane = self._groups(tile.own_rows)
        group, lane = self._groups(tile.own_columns)
        row = self.first_row + _spread(row_group, row_lane, down, tile.rows, tile.own_rows)
        column = self.first_column + _spread(group, lane, across, tile.columns, tile.own_columns)
        i, j = row_group * row_lane.extent + row_lane, group * lane.extent + lane
        names: dict[Name, Index] = self.batch | p.rows.at(row) | p.columns.at(column)
        moved = Moved(names, p.acc, load(self.acc, self._cell(thread, i, j)))
        body = moved.block(serial(p.epilogue))
        together = lane.extent > 1 and p.columns.size % lane.extent == 0
        inside = all_of(column < p.columns.size)
        if inside is not None and not together:
            body = (If(inside, body),)
        body = (For(lane, body, PACKET if together else UNROLLED),)
        if inside is not None and together:
            body = (If(Renamed({lane: as_index(0)}).expr(inside), body),)
        body = (For(group, body, UNROLLED),)
        within = all_of(row < p.rows.size)
        body = body if within is None else (If(within, body),)
        return [*lets, For(row_group, (For(row_lane, body, UNROLLED),), UNROLLED)]


def _spread(group: Index, lane: Var, number: Index, extent: int, own: int) -> Index:
    """The row of a block's tile: groups of neighbours, those of all threads before the next group."""
    groups = own // lane.extent
    return group * (extent // groups) + number * lane.extent + lane
