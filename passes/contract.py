"""Contraction clusters to kernels.

In: a dot product or convolution with its prologues and epilogue. Out: launches: operands computed, or packed into panels
where the schedule asks for it (constants are packed now), then the contraction itself. Every task computes one register tile:

    acc[tile, lanes] = 0
    for reduced axes: acc += lhs * rhs            rows of the tile unrolled, lanes along the vector axis
    epilogue on acc, stored

or a group of them, which may pack an operand itself, panel by panel, into scratch memory.
A last tile that would stick out starts earlier instead, so that every load is in bounds; what its neighbour already
stored is not stored again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from math import ceil, prod

from graphc.dtype import int64
from graphc.ir import kernel
from graphc.ir.expr import Array, Expr, Index, Var, all_of, as_index, call, cast, combine, const, load, temp, unravel
from graphc.ir.kernel import ARENA, UNROLLED, VECTOR, Accumulate, Buffer, For, If, Launch, Let, Local, Stmt, Store, nested
from graphc.ir.values import Value

from .bounds import Bounds
from .element import Elements
from .epilogue import epilogue
from .frame import Frame
from .fuse import Cluster
from .inset import Insets
from .machine import Machine
from .nest import Nest
from .panels import Common, Layout, Walk, fill, pack, tile_start
from .schedule import Scheduler
from .tiles import Loop, moves
from .ways import Ways

SIDES = ("lhs", "rhs")


class Contract:
    """Lowers one contraction cluster; `stored` members are written to their buffers."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        stored: list[Value],
        buffers: Mapping[Value, Buffer],
        insets: Insets,
        machine: Machine,
        common: Common,
        scheduler: Scheduler,
    ) -> None:
        self.name, self.cluster, self.machine, self.common, self.insets = name, cluster, machine, common, insets
        self.stored = [v for v in cluster.members if v in set(stored)]
        anchor = cluster.anchor
        self.anchor, self.dtype = anchor, anchor.dtype.accumulator
        way = Ways(cluster, self.stored, buffers, insets, machine, common, scheduler).cheapest()
        self.addresses, self.problem, self.loops, self.schedule = way.addresses, way.problem, way.loops, way.schedule
        self.bounds = Bounds(self.addresses, self.loops, self.schedule, buffers)
        self.inside: dict[int, Index] = {}  # where in the tile an element is, by axis
        self.layouts = {side: self._layout(side) for side in self.schedule.packed if side not in self.schedule.near}
        self.made = {
            where.leaf: Buffer(f"{name}_{SIDES[side]}", where.leaf.dtype, where.leaf.shape, ARENA)
            for side, where in enumerate(self.addresses)
            if where.leaf in cluster.prologues and side not in self.schedule.packed
        }
        self.buffers = {**buffers, **self.made}
        self.frame = self._frame()
        self.panels: dict[int, Buffer] = {}
        self.near: dict[int, Callable[[Index], Expr]] = {}  # by side: what a panel that visits pack holds inside the tile

    # ------------------------------------------------------------------------------------------------ the kernels

    def launches(self, comment: str) -> list[Launch]:
        """What has to be computed or packed first, and the contraction."""
        first = [
            Nest(self.cluster.prologues[leaf], [leaf], self._frame(), self.machine).launch(buffer.name, "an operand")
            for leaf, buffer in self.made.items()
        ]
        first += [launch for side in self.layouts for launch in self._pack(side)]
        kept, group = self.schedule.order, dict(self.schedule.group)
        task, parts, named = self.frame.task(tuple(ceil(self.schedule.tiles(self.loops, n) / group.get(n, 1)) for n in kept))
        self.group = {n: Var(f"g{n}", size) for n, size in group.items()}
        self.parts = dict(zip(kept, parts, strict=True))
        self.tiles, self.visit_lets, self.visited = self._tiles(kept)
        body = (*named, *(self._dots() if self._lane.reduced else self._lanes()))
        return [*first, self.frame.launch(self.name, task, body, comment)]

    def _frame(self) -> Frame:
        return Frame(self.buffers, self.insets)

    @property
    def _lane(self) -> Loop:
        return self.loops[self.schedule.lane]

    def _tiles(self, axes: Iterable[int]) -> tuple[dict[int, Index], list[Stmt], Expr | None]:
        """The numbers of the tile that a visit computes. Where groups do not come out even, the last one has fewer visits."""
        tiles: dict[int, Index] = {}
        lets: list[Stmt] = []
        visited: list[Expr] = []
        for axis in axes:
            tiles[axis], inside = self.parts[axis], self.group.get(axis)
            if inside is None:
                continue
            tile, count = self.parts[axis] * inside.extent + inside, self.schedule.tiles(self.loops, axis)
            tiles[axis] = tile
            if count % inside.extent:
                name = temp(f"tile{axis}", int64, (0, count - 1))
                lets.append(Let(name, call("min", tile, const(count - 1, int64))))
                visited.append(tile < count)
                tiles[axis] = as_index(name)
        return tiles, lets, all_of(*visited)

    def _visits(self, variables: list[Var], *body: Stmt) -> tuple[Stmt, ...]:
        """`body` for every tile of the group, inside loops over blocks, if any."""
        guard, whole = self.visited, (*self.visit_lets, *body)
        return nested(variables, *(whole if guard is None else (If(guard, whole),)))

    def _tile_starts(self, tiles: Mapping[int, Index]) -> tuple[dict[int, Index], list[Stmt], dict[int, Index]]:
        """The first index of the tile on each kept axis, and for axes whose last tile overlaps, the first index to store."""
        at: dict[int, Index] = {}
        lets: list[Stmt] = []
        guards: dict[int, Index] = {}
        for axis, tile in tiles.items():
            size, extent = self.schedule.tile_of(axis), self.loops[axis].extent
            at[axis], let = tile_start(tile, size, extent, f"start{axis}")
            lets += let
            if let:
                guards[axis] = tile * size
        return at, lets, guards

    def _lanes(self) -> list[Stmt]:
        """Outer products: lanes along a kept axis. Rows of accumulators are whole vectors, so that they stay in registers;
        lanes beyond the last column multiply zeros, and only the epilogue leaves them out. A group of tiles is visited block
        by block, with its sums in scratch memory between the visits."""
        axis = self.schedule.lane
        lane, column = Var("v", self.pitch), Var("c", self.schedule.columns)
        at, lets, guards = self._tile_starts(self.tiles)
        tile, at = self._tile_vars(at)
        self.inside = {axis: lane, **dict(zip(dict(self.schedule.tile), tile, strict=True))}
        size = prod(v.extent for v in tile) * self.pitch
        acc, row = self.frame.scratch("acc", self.dtype, size), _flat(tile) * self.pitch
        blocks, steps, moved = self._step_vars()
        visits, at = self._packing_visits(blocks, steps, moved), at | moved

        def over_tile(along: Var, *body: Stmt) -> tuple[Stmt, ...]:
            return nested(tile, For(along, body, VECTOR, self.schedule.width), kind=UNROLLED)

        def epilogue(array: Array, cell: Index) -> tuple[Stmt, ...]:
            return over_tile(column, *self._epilogue(load(array, cell + column), at | {axis: at[axis] + column}, guards))

        inside, used = at | {axis: at[axis] + lane}, lane < self.schedule.columns
        product = Accumulate(acc, row + lane, "add", self._operand(0, inside, used) * self._operand(1, inside, used))
        of_row = For(lane, (product,), VECTOR, self.schedule.width)
        summed = self.bounds.products([*steps.values()], tile, inside, of_row)
        zero = const(0, self.dtype)
        group = list(self.group.values())
        if not blocks:
            whole = [*lets, Local(acc), *over_tile(lane, Store(acc, row + lane, zero)), *summed, *epilogue(acc, row)]
            return [*visits(*whole)]
        sums, cell = self.frame.scratch("sums", self.dtype, prod(v.extent for v in group) * size), _flat(group) * size + row
        fetch = over_tile(lane, Store(acc, row + lane, load(sums, cell + lane)))
        keep = over_tile(lane, Store(sums, cell + lane, load(acc, row + lane)))
        return [
            Local(sums),
            *nested(group, *over_tile(lane, Store(sums, cell + lane, zero))),
            *visits(*lets, Local(acc), *fetch, *summed, *keep),
            *self._visits(group, *lets, *epilogue(sums, cell)),
        ]

    @property
    def pitch(self) -> int:
        """The columns of a tile, rounded up to whole vectors."""
        return ceil(self.schedule.columns / self.schedule.width) * self.schedule.width

    def _dots(self) -> list[Stmt]:
        """Dot products: lanes along a reduced axis. Each lane has sums of its own, which are added up behind all steps."""
        axis, width = self.schedule.lane, self.schedule.width
        at, lets, guards = self._tile_starts(self.tiles)
        tile, at = self._tile_vars(at)
        cells, cell, lane = prod(v.extent for v in tile), _flat(tile), Var("v", width)
        sums, acc = self.frame.scratch("sums", self.dtype, cells * width), self.frame.scratch("acc", self.dtype, cells)
        _, steps, moved = self._step_vars()
        at |= moved

        over_tile = partial(nested, tile, kind=UNROLLED)

        def over_lanes(*body: Stmt) -> tuple[Stmt, ...]:
            return over_tile(For(lane, body, VECTOR, width))

        def products(start: Index, active: Expr | None) -> tuple[Stmt, ...]:
            inside = at | {axis: start + lane}
            product = self._operand(0, inside, active) * self._operand(1, inside, active)
            return over_lanes(Accumulate(sums, cell * width + lane, "add", product))

        whole, rest = divmod(self.schedule.columns, width)
        chunk = Var("c", whole)
        summed = [*nested([chunk], *products(chunk * width, None))] if whole else []
        summed += products(as_index(whole * width), lane < rest) if rest else ()
        zero = const(0, self.dtype)
        return [
            *lets,
            Local(sums),
            *over_lanes(Store(sums, cell * width + lane, zero)),
            *nested(list(steps.values()), *summed),
            Local(acc),
            *over_tile(Store(acc, cell, zero)),
            *over_lanes(Accumulate(acc, cell, "add", load(sums, cell * width + lane))),
            *over_tile(*self._epilogue(load(acc, cell), at, guards)),
        ]

    def _tile_vars(self, at: dict[int, Index]) -> tuple[list[Var], dict[int, Index]]:
        """Variables over the tile's axes, and the indices they move."""
        tile = []
        for n, (axis, size) in enumerate(self.schedule.tile):
            var = Var(f"i{n}", size)
            at = at | {axis: at[axis] + var}
            tile.append(var)
        return tile, at

    def _step_vars(self) -> tuple[list[Var], dict[int, Var], dict[int, Index]]:
        """Variables over the blocks of the reduced axes and, by axis, over the steps of one block, slowest first, and the
        indices that they make; without groups all is one block."""
        blocks: list[Var] = []
        steps: dict[int, Var] = {}
        at: dict[int, Index] = {}
        for axis, inside in self.schedule.visit(self.loops).items():
            extent = self.loops[axis].extent
            block, step = Var(f"b{axis}", extent // max(inside, 1)), Var(f"k{axis}", inside)
            at[axis] = block * inside + step
            blocks += [block] if block.extent > 1 else []
            steps |= {axis: step} if inside != 1 else {}
        return blocks, steps, at

    # ------------------------------------------------------------------------------------------------ elements

    def _operand(self, side: int, at: dict[int, Index], used: Expr | None) -> Expr:
        """The element of an operand at the indices of all axes, in the accumulator's type; lanes that are not `used` read
        nothing."""
        if side in self.near:
            return self.near[side](self.inside[self._panel_axis(side)])
        layout = self.layouts.get(side)
        if layout is not None:
            inner = self._panel_axis(side)
            others = [at[axis] for axis in self._panel_loops(side)]
            position = layout.position(self.tiles[inner], others, self.inside[inner])
            return load(self.frame.array(self.panels[side]), position)
        position = combine([(at[n], moves(loop, side)) for n, loop in enumerate(self.loops)]) + self.addresses[side].offset
        lanes = used if moves(self._lane, side) else None
        return self._element(self.frame, side, position, all_of(*self.bounds.guards(side, at), lanes))

    def _element(self, frame: Frame, side: int, position: Index, guard: Expr | None) -> Expr:
        """The element of an operand's leaf at a flat position: loaded, or computed by its prologue."""

        leaf = self.addresses[side].leaf
        if frame.is_stored(leaf):
            return cast(load(frame.array_of(leaf), position, guard), self.dtype)
        return cast(Elements(frame.load_if_stored).at(leaf, unravel(position, leaf.shape), guard), self.dtype)

    def _epilogue(self, result: Expr, at: dict[int, Index], guards: dict[int, Index]) -> list[Stmt]:
        """What follows from one element of the product: all values first, then all stores."""
        position = combine([(at[n], loop.out) for n, loop in enumerate(self.loops) if not loop.reduced])
        guard = all_of(*(first <= at[axis] for axis, first in guards.items()))
        return epilogue(self.cluster, self.stored, self.frame, result, lambda v: unravel(position, v.shape), guard)

    # ------------------------------------------------------------------------------------------------ operands

    def _packing_visits(
        self, blocks: list[Var], steps: dict[int, Var], at: dict[int, Index]
    ) -> Callable[..., tuple[Stmt, ...]]:
        """How the tiles of a group are visited, block by block. What visits pack themselves is packed inside of the first
        loops of the group, as long as these move it, so that no task packs anything twice."""
        axes, loops = list(self.group), list(self.group.values())
        packs: dict[int, tuple[Stmt, ...]] = {}
        for side in self.schedule.near:
            depth = next((n for n, axis in enumerate(axes) if not moves(self.loops[axis], side)), len(axes))
            packs[depth] = (*packs.get(depth, ()), *self._pack_near(side, axes[depth:], steps, at))
        deepest = max(packs, default=0)

        def visits(*body: Stmt) -> tuple[Stmt, ...]:
            body = self._visits(loops[deepest:], *body)
            for depth in reversed(range(deepest + 1)):
                body = nested(loops[depth - 1 : depth], *packs.get(depth, ()), *body)
            return nested(blocks, *body)

        return visits

    def _pack_near(self, side: int, inside: list[int], steps: dict[int, Var], at: dict[int, Index]) -> tuple[Stmt, ...]:
        """Scratch memory, filled with a block of the panels of all tiles that lie `inside` some loops of the group."""
        axis, whole = self._panel_axis(side), self._layout(side)
        stepped = {n: step for n, step in steps.items() if moves(self.loops[n], side)}
        loops = [self.group[axis]] if axis in inside else []
        layout = replace(
            whole,
            axis=replace(whole.axis, extent=prod(v.extent for v in loops) * whole.tile),
            kept=(),
            reduced=tuple(Walk(step.extent, moves(self.loops[n], side)) for n, step in stepped.items()),
        )
        panels, position = self.frame.scratch("panels", self.dtype, layout.size), list(map(as_index, stepped.values()))
        self.near[side] = lambda within: load(panels, layout.position(_flat(loops), position, within))
        tiles, lets, visited = self._tiles(n for n in self.parts if moves(self.loops[n], side))
        first, starts, _ = self._tile_starts(tiles)
        start = combine([(index, moves(self.loops[n], side)) for n, index in (first | at).items()]) + whole.offset

        def held(within: Index) -> Expr:
            return self._element(self.frame, side, start + within * whole.axis.stride, all_of(within < whole.tile))

        filled = fill(layout, panels, _flat(loops), position, held, list(stepped.values()), self.schedule.width)
        body = *lets, *starts, *filled
        return Local(panels), *nested(loops, *(body if visited is None else (If(visited, body),)))

    def _panel_axis(self, side: int) -> int:
        """The axis along which a panel of the operand is contiguous: the lanes, or the rows of the tile."""
        axes = [self.schedule.lane, *dict(self.schedule.tile)]
        return next(axis for axis in axes if moves(self.loops[axis], side))

    def _panel_loops(self, side: int) -> list[int]:
        """The other axes that move the operand, slowest first: kept ones, then reduced ones."""
        inner = self._panel_axis(side)
        kept = [n for n, loop in enumerate(self.loops) if not loop.reduced and n != inner and moves(loop, side)]
        return kept + [n for n in self.schedule.steps if moves(self.loops[n], side)]

    def _layout(self, side: int) -> Layout:
        inner = self._panel_axis(side)
        tile = self.schedule.tile_of(inner)
        width = self.pitch if inner == self.schedule.lane else tile
        walks = {n: Walk(self.loops[n].extent, moves(self.loops[n], side)) for n in (inner, *self._panel_loops(side))}
        axis = walks.pop(inner)
        kept, reduced = (tuple(w for n, w in walks.items() if self.loops[n].reduced is part) for part in (False, True))
        return Layout(self.dtype, self.addresses[side].offset, axis, tile, width, kept, reduced)

    def _pack(self, side: int) -> list[Launch]:
        """The launch that fills the panels of an operand; none for a constant, and for what another contraction has packed."""
        leaf, layout = self.addresses[side].leaf, self.layouts[side]
        source = self.buffers.get(leaf)
        if source is not None and source.kind == kernel.CONSTANT and source.data is not None:
            if (source, layout) not in self.common.constants:
                data = layout.filled(source.data)
                name = f"panels{len(self.common.constants)}"
                self.common.constants[source, layout] = Buffer(name, self.dtype, (layout.size,), kernel.CONSTANT, data)
            self.panels[side] = self.common.constants[source, layout]
            return []
        readers = self.common.alike(self.anchor, side)
        if source is not None and (source, layout, readers[0]) in self.common.filled:
            self.panels[side] = self.common.filled[source, layout, readers[0]]
            return []
        self.panels[side] = Buffer(f"{self.name}_{SIDES[side]}_panels", self.dtype, (layout.size,), ARENA)
        if source is not None and len(readers) > 1:
            self.common.filled[source, layout, readers[0]] = self.panels[side]
        frame = self._frame()
        return [pack(self.name, layout, self.panels[side], frame, partial(self._element, frame, side), self.schedule.width)]


def _flat(variables: list[Var]) -> Index:
    position: Index = as_index(0)
    for var in variables:
        position = position * var.extent + var
    return position
