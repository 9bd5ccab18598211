"""Contractions in tiles: each thread of a block multiplies a small tile of the result in its registers.

    for k in the panel:  r = shared lhs rows;  c = shared rhs columns;  acc[i, j] += r[i] * c[j]

In: a `Product` and the sizes of a tile. Out: a `Mapped` kernel; how panels come to shared memory is told in panels.py. Sums
run in the order of the steps, fused, so that the result does not depend on the tile.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.dtype import int64
from graphc.ir.expr import Array, Expr, Index, Var, all_of, as_index, const, load, temp
from graphc.ir.kernel import UNROLLED, Accumulate, For, If, Let, Local, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed

from .packets import PACKET_BYTES
from .panels import Blocks, Panel
from .products import Axes, Moved, Name, Product
from .roles import PACKET, Mapped
from .tidy import serial

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


def tiled(product: Product, tile: Tile) -> Mapped:
    """The product in tiles."""
    alone = product.steps.size <= tile.steps  # one panel: nothing to wait for
    return _Tiled(product, tile).mapped(1 if alone else RESIDENT)


class _Tiled(Blocks):
    def __init__(self, product: Product, tile: Tile) -> None:
        super().__init__(product, tile.rows, tile.columns, tile.steps, tile.threads)
        self.tile = tile
        self.acc = Array("acc", product.dtype, tile.threads * tile.own_rows * tile.own_columns)
        self.lhs = self._panel("lhs", product.lhs, product.rows, tile.rows)
        self.rhs = self._panel("rhs", product.rhs, product.columns, tile.columns)

    def _panel(self, name: str, expr: Expr, side: Axes, extent: int) -> Panel:
        """How an operand is loaded: along what lies together in memory."""
        tile, dtype = self.tile, self.p.dtype
        along, _ = self.along_steps(expr, side)
        width = self.packets(expr, side, extent, 1)
        pitch = extent + (4 if along else 0)
        assert tile.steps * extent % tile.threads == 0, f"{tile} cannot share a panel of {extent}"
        shared, stage = Array(f"{name}_panel", dtype, tile.steps * pitch), Array(f"{name}_stage", dtype, tile.steps * extent)
        return Panel(expr, side, extent, along, width, 1, width, width > 1 and not along, pitch, shared, stage)

    def registers(self) -> dict[Array, int]:
        return {self.acc: self.tile.own_rows * self.tile.own_columns}

    def position(self, panel: Panel, step: Index, place: Index) -> Index:
        return step * panel.pitch + place

    def _cell(self, thread: Var, i: Index, j: Index) -> Index:
        tile = self.tile
        return thread * (tile.own_rows * tile.own_columns) + i * tile.own_columns + j

    def clear(self, thread: Var) -> list[Stmt]:
        i, j = Var("i", self.tile.own_rows), Var("j", self.tile.own_columns)
        store = Store(self.acc, self._cell(thread, i, j), const(0, self.p.dtype))
        return [For(i, (For(j, (store,), UNROLLED),), UNROLLED)]

    def multiply(self) -> list[Stmt]:
        return [self.each_thread(self._multiply)]

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

    def _fetch(self, target: Array, panel: Panel, step: Var, number: Index, own: int) -> Stmt:
        """The thread's rows (or columns) of one step."""
        group, lane = self._groups(own)
        source = load(panel.shared, self.position(panel, step, _spread(group, lane, number, panel.extent, own)))
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

    def finish(self, thread: Var) -> list[Stmt]:
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
