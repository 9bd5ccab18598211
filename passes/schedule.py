"""How a contraction is tiled: a description chosen by a cost model from shapes, strides and the machine.

In: the axes of a contraction with their memory strides. Out: a `Schedule` that the lowering reads.

    lanes      one kept axis runs along vector lanes; each k-step multiplies `lane_vectors` vectors of one operand with
               `rows` broadcast elements of the other (an outer product of registers). An operand that moves with the lanes
               but not by 1 is packed into panels first.
    dots       a reduced axis that both operands walk by 1 runs along lanes; a tile of dot products ends in horizontal sums.

Costs are cycles of one core: fused multiply-adds at two a cycle, loads at two a cycle, a latency floor for small tiles,
gathered packing, scattered stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

from .machine import Machine

FMA_LATENCY = 4.0
GATHER_COST = 1.2  # cycles per element loaded or stored with a stride
HORIZONTAL_COST = 10.0  # cycles to sum the lanes of one accumulator
TILE_COST = 8.0  # cycles to start a tile
MAX_ROWS = 14
MAX_DOTS = 6
MAX_VECTORS = 4


@dataclass(frozen=True)
class Loop:
    """One axis: its extent and what it moves in each operand and the result (elements)."""

    extent: int
    lhs: int
    rhs: int
    out: int
    reduced: bool


@dataclass(frozen=True)
class Schedule:
    """Axes by position in the list of loops. `columns` lanes of `lane` are computed at once (all of a reduced lane axis);
    `tile` lists further kept axes with the number of their elements held in registers."""

    lane: int
    columns: int
    tile: tuple[tuple[int, int], ...]
    packed: int | None  # the operand (0 or 1) that is packed, if any
    width: int
    cost: float

    def tile_of(self, axis: int) -> int:
        """Elements of a kept axis in one tile."""
        return self.columns if axis == self.lane else dict(self.tile).get(axis, 1)


@lru_cache(maxsize=4096)
def choose(loops: tuple[Loop, ...], width: int, machine: Machine) -> Schedule:
    """The cheapest schedule."""
    candidates = [*_lane_schedules(loops, width, machine), *_dot_schedules(loops, width, machine)]
    return min(candidates, key=lambda s: s.cost)


def moves(loop: Loop, side: int) -> int:
    """The stride of an axis in operand `side`."""
    return loop.rhs if side else loop.lhs


def _tiles_of(loops: tuple[Loop, ...], sizes: dict[int, int]) -> int:
    """How many tiles cover the result."""
    return prod(ceil(loop.extent / sizes.get(n, 1)) for n, loop in enumerate(loops) if not loop.reduced)


def _uses(loops: tuple[Loop, ...], tile: dict[int, int], side: int) -> int:
    """Distinct elements of an operand in a tile."""
    return prod(size for n, size in tile.items() if moves(loops[n], side))


def _lane_schedules(loops: tuple[Loop, ...], width: int, machine: Machine) -> Iterator[Schedule]:
    steps = prod(loop.extent for loop in loops if loop.reduced)
    kept = [n for n, loop in enumerate(loops) if not loop.reduced]
    for lane in kept:
        moving = [side for side in (0, 1) if moves(loops[lane], side)]
        strided = [side for side in moving if moves(loops[lane], side) != 1]
        pack = strided[0] if len(moving) == len(strided) == 1 else None
        packing = 0.0 if pack is None else _pack_cost(loops, lane, pack, width)
        load_cost = 1.0 if pack is not None or not strided else GATHER_COST * width
        for row in [None, *(n for n in kept if n != lane)]:
            if row is not None and pack is not None and moves(loops[row], pack):
                continue  # a packed panel serves all rows of a tile
            for rows, vectors in _register_tiles(
                loops[row].extent if row is not None else 1, loops[lane].extent, width, machine
            ):
                tile = {} if row is None else {row: rows}
                loads = sum(_uses(loops, tile, s) * (vectors * load_cost if s in moving else 1) for s in (0, 1))
                step = max(rows * vectors / 2, loads / 2, FMA_LATENCY)
                store = rows * vectors * (1.0 if loops[lane].out == 1 else GATHER_COST * width)
                tiles = _tiles_of(loops, tile | {lane: vectors * width})
                cost = tiles * (steps * step + store + TILE_COST) + packing
                columns = min(vectors * width, loops[lane].extent)
                yield Schedule(lane, columns, tuple(tile.items()), pack, width, cost)


def _register_tiles(row_extent: int, lane_extent: int, width: int, machine: Machine) -> Iterator[tuple[int, int]]:
    """(rows, vectors) whose accumulators, one row of vectors and a broadcast fit the registers."""
    for vectors in range(1, min(MAX_VECTORS, ceil(lane_extent / width)) + 1):
        for rows in range(1, min(MAX_ROWS, row_extent) + 1):
            if rows * vectors + vectors + 1 < machine.vector_registers:
                yield rows, vectors


def _pack_cost(loops: tuple[Loop, ...], lane: int, side: int, width: int) -> float:
    """Copying the operand once into panels."""
    elements = prod(loop.extent for loop in loops if moves(loop, side))
    padded = ceil(loops[lane].extent / width) * width / loops[lane].extent
    return elements * padded * GATHER_COST


def _dot_schedules(loops: tuple[Loop, ...], width: int, machine: Machine) -> Iterator[Schedule]:
    kept = [n for n, loop in enumerate(loops) if not loop.reduced]
    for lane, along in enumerate(loops):
        if not (along.reduced and along.lhs == along.rhs == 1):
            continue
        steps = prod(loop.extent for loop in loops if loop.reduced) // along.extent * ceil(along.extent / width)
        for first, row in enumerate(kept):
            for column in [None, *kept[first + 1 :]]:
                for tile in _dot_tiles(loops, row, column, machine):
                    accumulators = prod(tile.values())
                    loads = _uses(loops, tile, 0) + _uses(loops, tile, 1)
                    step = max(accumulators / 2, loads / 2, FMA_LATENCY)
                    cost = _tiles_of(loops, tile) * (steps * step + accumulators * HORIZONTAL_COST + TILE_COST)
                    yield Schedule(lane, along.extent, tuple(tile.items()), None, width, cost)


def _dot_tiles(loops: tuple[Loop, ...], row: int, column: int | None, machine: Machine) -> Iterator[dict[int, int]]:
    """Tiles of dot products along one or two kept axes that fit the registers."""
    for rows in range(1, min(MAX_DOTS, loops[row].extent) + 1):
        for columns in range(1, min(MAX_DOTS, loops[column].extent) + 1) if column is not None else (1,):
            if rows * columns + rows + columns < machine.vector_registers:
                yield {row: rows} if column is None else {row: rows, column: columns}
