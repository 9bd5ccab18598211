"""Register tiles of a contraction: what one pass over the reduced axes computes, and what that costs.

In: the axes of a contraction with their memory strides, and where its operands come from. Out: candidates for its
`Schedule`, with cycles of one core.

    lanes      one kept axis runs along vector lanes; each k-step multiplies a few vectors of one operand with elements
               of the other that are broadcast over the rows of the tile (an outer product of registers). Operands that
               are read far apart, or not by 1 along the lanes, are packed into panels first.
    dots       a reduced axis that both operands walk by 1 runs along lanes; a tile of dot products ends in horizontal sums.

An operand is in memory already, or a constant (then its panels are made by the compiler), or computed for this
contraction alone, straight into panels or else into memory (`Origin`). Fused multiply-adds come at two a cycle, loads at
not quite two; there is a latency floor for small tiles, gathered packing, scattered stores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import combinations
from math import ceil, gcd, inf, prod

from .machine import Machine

FMA_LATENCY = 4.0
LOADS = 1.7  # a cycle, of the two that there would be without anything else to do
GATHER_COST = 1.2  # cycles per element loaded or stored with a stride
COPY_COST = 0.3  # cycles per element copied in a row
TURN_COST = 0.5  # the same where rows are transposed in registers
THROUGH = 2.0  # bytes from behind the second cache that an element costs more where both copies together are larger than it
FAR_COST = (0.5, 2.0)  # cycles per step that reads a broadcast (a vector) 1 KiB further on; four times that for 2 KiB
BEYOND_L1 = 24.0  # bytes a cycle from the second cache
CROWDED = 0.2  # cycles a step for each row that finds no room in its set of the first cache
TAKEN = 0.75  # of the ways of the first cache by rows, beside what passes by, and what a neighbour on the same core keeps there
STAYING = 0.6  # of a cache that vectors may fill and stay, while rows pass by
ELEMENT_BYTES = 4
LINE_BYTES = 64
PAGE_BYTES = 4096  # lines so far apart share a set of the first cache
FAR_STORE = 4.0  # what a store to a line of its own costs at most, in stores to a shared line
HORIZONTAL_COST = 10.0  # cycles to sum the lanes of one accumulator
TILE_COST = 4.0  # cycles to start a tile
TILES = 3  # of each way to lay out lanes and panels that are offered, beside the best of each width
MAX_ROWS = 14
WHOLE_AXIS = 8  # an axis this short may be held whole in a tile, beside rows of another
MAX_DOTS = 6
MAX_VECTORS = 4
MOST_VECTORS = 12  # of a single row, which shares nothing with others, unless each step is on another page


@dataclass(frozen=True)
class Loop:
    """One axis: its extent and what it moves in each operand and the result (elements), and in each bound of an operand."""

    extent: int
    lhs: int
    rhs: int
    out: int
    reduced: bool
    bounds: tuple[int, ...] = ()
    apart: bool = False  # its indices follow one another, outside of everything else


@dataclass(frozen=True)
class Origin:
    """Where an operand comes from: cycles to have all of it in memory, cycles an element to have it at hand for packing;
    whether panels of it can be made before the program runs, and else how many contractions read the same panels; whether
    it is the caller's, whose arrays seldom start where a line does."""

    store: float = 0.0
    compute: float = 0.0
    constant: bool = False
    readers: int = 1
    given: bool = False

    @property
    def alone(self) -> bool:
        """Whether it is in memory, and panels of it would serve one contraction."""
        return not (self.store or self.compute or self.constant) and self.readers == 1


RESULT = 2  # the side of the result
STORED = Origin()
CONSTANT = Origin(constant=True)


def computed(elements: int, operations: int, width: int) -> Origin:
    """An operand whose every element takes so many operations, in lanes."""
    cycles = operations / width
    return Origin(store=elements * (cycles + COPY_COST), compute=cycles)


@dataclass(frozen=True)
class Schedule:
    """Axes by position in the list of loops. `columns` lanes of `lane` are computed at once (all of a reduced lane axis);
    `tile` lists further kept axes with the number of their elements held in registers."""

    lane: int
    columns: int
    tile: tuple[tuple[int, int], ...]
    packed: tuple[int, ...]  # the operands (0, 1) that are packed into panels first
    width: int
    cost: float
    order: tuple[int, ...] = ()  # the kept axes, slowest first
    steps: tuple[int, ...] = ()  # the reduced axes outside the lanes, slowest first
    group: tuple[tuple[int, int], ...] = ()  # kept axes with how many of their tiles one task visits in turn
    block: tuple[int, int] = (-1, 0)  # the position in `steps` that visits cut, and how much of that axis one visit covers
    far: float = 0.0  # the part of the cost for vectors that are read in place, far apart
    stream: float = 0.0  # the part for panels that do not stay in the first cache
    near: tuple[int, ...] = ()  # of the packed operands those that visits pack themselves, a block at a time

    def tile_of(self, axis: int) -> int:
        """Elements of a kept axis in one tile."""
        return self.columns if axis == self.lane else dict(self.tile).get(axis, 1)

    def visit(self, loops: tuple[Loop, ...], block: tuple[int, int] | None = None) -> dict[int, int]:
        """What one visit covers of each of `steps`, with this block or another: one step of those outside the cut, all of those
        inside."""
        cut, size = block or self.block
        return {n: 1 if i < cut else size if i == cut else loops[n].extent for i, n in enumerate(self.steps)}

    def tiles(self, loops: tuple[Loop, ...], axis: int) -> int:
        """Tiles along a kept axis."""
        return ceil(loops[axis].extent / self.tile_of(axis))


Origins = tuple[Origin, Origin]


def candidates(
    loops: tuple[Loop, ...], width: int, machine: Machine, origins: Origins = (STORED, STORED), most: int = TILES
) -> Iterator[Schedule]:
    """All tiles that are considered, as yet in no order; of those that differ in their rows alone the cheapest ones."""
    yield from _lane_schedules(loops, width, machine, origins, most)
    yield from _dot_schedules(loops, width, machine, origins)


def moves(loop: Loop, side: int) -> int:
    """The stride of an axis in operand `side`, or in the result."""
    return (loop.lhs, loop.rhs, loop.out)[side]


def _tiles_of(loops: tuple[Loop, ...], sizes: dict[int, int]) -> int:
    """How many tiles cover the result."""
    return prod(ceil(loop.extent / sizes.get(n, 1)) for n, loop in enumerate(loops) if not loop.reduced)


def _uses(loops: tuple[Loop, ...], tile: dict[int, int], side: int) -> int:
    """Distinct elements of an operand in a tile."""
    return prod(size for n, size in tile.items() if moves(loops[n], side))


def _lane_schedules(loops: tuple[Loop, ...], width: int, machine: Machine, origins: Origins, most: int) -> Iterator[Schedule]:
    kept = [n for n, loop in enumerate(loops) if not loop.reduced and not loop.apart]
    for lane in kept:
        others = sorted((n for n in kept if n != lane), key=lambda n: loops[n].out)  # of equals, rows that lie together win
        whole = [n for n in others if 1 < loops[n].extent <= WHOLE_AXIS]
        rows = [(), *((n,) for n in others), *((n, m) for n in whole for m in others if m != n)]
        for axes in rows:
            for packed in _packings(loops, (lane, *axes)):
                at_hand = sum(
                    origin_cost(loops, (lane, *axes), side, side in packed, width, origins[side], machine) for side in (0, 1)
                )
                split = [s for s in (0, 1) if s not in packed and origins[s].given and moves(loops[lane], s) == 1]
                yield from _packed_schedules(loops, lane, axes, packed, width, machine, at_hand, split, most)


def _packings(loops: tuple[Loop, ...], tiled: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The sets of operands that may be packed: a panel runs along one axis of the tile and serves all the others."""
    can = [side for side in (0, 1) if sum(moves(loops[n], side) != 0 for n in tiled) == 1]
    for count in range(len(can) + 1):
        yield from combinations(can, count)


def _packed_schedules(
    loops: tuple[Loop, ...],
    lane: int,
    axes: tuple[int, ...],
    packed: tuple[int, ...],
    width: int,
    machine: Machine,
    at_hand: float,
    split: Sequence[int],
    most: int,
) -> Iterator[Schedule]:
    """Register tiles for operands that cost `at_hand` cycles before the first product; vectors of `split` ones lie in two
    lines, which are loaded both."""
    steps = prod(loop.extent for loop in loops if loop.reduced)
    along = [moves(loops[lane], side) for side in (0, 1)]
    far = [0.0 if side in packed else _far_cost(loops, lane, side, machine) for side in (0, 1)]
    vectors_far = sum(cycles for cycles, stride in zip(far, along, strict=True) if stride)
    gathered = [stride not in (0, 1) and side not in packed for side, stride in enumerate(along)]
    each = [GATHER_COST * width if gathered[side] else 2 if side in split else 1 for side in (0, 1)]
    stay = [inf if side in packed or along[side] else _fitting(loops, axes, side, machine) for side in (0, 1)]
    store_vector = _store_cost(loops[lane].out, width)
    whole, height = {n: loops[n].extent for n in axes[:-1]}, loops[axes[-1]].extent if axes else 1
    for_one, cells = [_uses(loops, whole, side) for side in (0, 1)], prod(whole.values())  # of one row; and more for others
    more = [n if axes and moves(loops[axes[-1]], side) else 0 for side, n in enumerate(for_one)]
    outside = _tiles_of(loops, {n: loops[n].extent for n in (lane, *axes)})

    def priced(rows: int, vectors: int) -> tuple[float, float, float]:
        """The cycles of all tiles; those for vectors that are far apart, and those for panels that do not stay."""
        lhs, rhs = for_one[0] + more[0] * (rows - 1), for_one[1] + more[1] * (rows - 1)
        loads = lhs * each[0] * (vectors if along[0] else 1) + rhs * each[1] * (vectors if along[1] else 1)
        crowded = max(lhs - stay[0], 0) + max(rhs - stay[1], 0)
        loads += crowded
        products = cells * rows * vectors
        step = max(products / 2, loads / LOADS, FMA_LATENCY)
        read = ((lhs if along[0] else 0) + (rhs if along[1] else 0)) * vectors * width * ELEMENT_BYTES
        stays = steps * read <= STAYING * machine.l1
        stream = 0.0 if stays else max(read / BEYOND_L1 - step, 0.0) + machine.stream * loads
        step += far[0] + far[1] + stream + CROWDED * crowded
        tiles = outside * ceil(loops[lane].extent / (vectors * width)) * ceil(height / rows)
        cost = tiles * (steps * step + products * store_vector + TILE_COST) + at_hand
        return cost, tiles * steps * vectors_far, tiles * steps * stream

    for vectors in range(1, min(MAX_VECTORS if axes or vectors_far else MOST_VECTORS, ceil(loops[lane].extent / width)) + 1):
        found = ((priced(rows, vectors), rows) for rows in _rows(loops, axes, vectors, machine))
        for (cost, apart, stream), rows in nsmallest(most, found, key=lambda pair: pair[0][0]):
            tile = tuple((whole | dict.fromkeys(axes[-1:], rows)).items())
            columns = min(vectors * width, loops[lane].extent)
            yield Schedule(lane, columns, tile, packed, width, cost, far=apart, stream=stream)


def _fitting(loops: tuple[Loop, ...], axes: tuple[int, ...], side: int, machine: Machine) -> int:
    """Rows along some axes that stay in the first cache, though all may lie in the same few sets of it."""
    return int(machine.l1 * TAKEN) // gcd(PAGE_BYTES, *(moves(loops[n], side) * ELEMENT_BYTES for n in axes))


def _store_cost(stride: int, width: int) -> float:
    """Cycles to store a vector of results: at once, or lane by lane, and then each to a line of its own if these lie apart."""
    lines = stride * ELEMENT_BYTES / LINE_BYTES
    return 1.0 if stride == 1 else GATHER_COST * width * min(max(lines, 1.0), FAR_STORE)


def _far_cost(loops: tuple[Loop, ...], lane: int, side: int, machine: Machine) -> float:
    """Cycles a step for reading an operand in place whose reduced axes jump far: new pages, and lines that share sets."""
    elements = elements_of(loops, side)
    cost, between = 0.0, 1
    once = FAR_COST[moves(loops[lane], side) != 0]
    for loop in sorted((x for x in loops if x.reduced and moves(x, side)), key=lambda x: moves(x, side)):
        jump = min(moves(loop, side) * ELEMENT_BYTES / 1024, 4.0)
        cost = max(cost, once * jump * jump / between) if jump >= 1 else cost
        between *= loop.extent
    return cost if elements * ELEMENT_BYTES > machine.l1 else 0.0


def _rows(loops: tuple[Loop, ...], axes: tuple[int, ...], vectors: int, machine: Machine) -> Iterator[int]:
    """Elements along the last of some axes, the others being taken whole, whose accumulators fit the registers beside a row of
    so many vectors and a broadcast."""
    each = prod(loops[n].extent for n in axes[:-1]) * vectors
    most = min(MAX_ROWS, loops[axes[-1]].extent) if axes else 1
    yield from range(1, min(most, (machine.vector_registers - vectors - 2) // each) + 1)


def origin_cost(
    loops: tuple[Loop, ...], tiled: tuple[int, ...], side: int, packed: bool, width: int, origin: Origin, machine: Machine
) -> float:
    """Cycles until an operand can be read as the schedule wants it: made in memory, or copied once into panels."""
    if not packed:
        return origin.store
    if origin.constant:
        return 0.0
    elements, (near, far) = copying(loops, tiled, side, width, machine)
    copy = far if 2 * elements * ELEMENT_BYTES > machine.l2 else near
    return elements * (origin.compute + copy) / origin.readers


def copying(
    loops: tuple[Loop, ...], tiled: tuple[int, ...], side: int, width: int, machine: Machine
) -> tuple[float, tuple[float, float]]:
    """The elements of an operand's panels, and the cycles to copy each: within the second cache, and through memory."""
    inner = next(n for n in tiled if moves(loops[n], side))
    padded = ceil(loops[inner].extent / width) * width / loops[inner].extent
    near, far = GATHER_COST, GATHER_COST
    if moves(loops[inner], side) == 1:
        near, far = COPY_COST, COPY_COST + THROUGH / machine.beyond_l2
    elif inner == tiled[0] and any(loop.reduced and moves(loop, side) == 1 and loop.extent >= width for loop in loops):
        near, far = TURN_COST, TURN_COST + THROUGH / machine.beyond_l2
    return elements_of(loops, side) * padded, (near, far)


def elements_of(loops: tuple[Loop, ...], side: int) -> int:
    """Elements of an operand, counted once for each index that reads them."""
    return prod(loop.extent for loop in loops if moves(loop, side))


def span_of(loops: tuple[Loop, ...], side: int) -> int:
    """Elements from the first of an operand to its last."""
    return 1 + sum((loop.extent - 1) * abs(moves(loop, side)) for loop in loops)


def _dot_schedules(loops: tuple[Loop, ...], width: int, machine: Machine, origins: Origins) -> Iterator[Schedule]:
    at_hand = sum(origin.store for origin in origins)
    lines = [2 if origin.given else 1 for origin in origins]  # in which a vector lies
    kept = [n for n, loop in enumerate(loops) if not loop.reduced and not loop.apart]
    for lane, along in enumerate(loops):
        if not (along.reduced and along.lhs == along.rhs == 1):
            continue
        others = prod(loop.extent for n, loop in enumerate(loops) if loop.reduced and n != lane)
        steps = others * ceil(along.extent / width)
        for first, row in enumerate(kept):
            for column in [None, *kept[first + 1 :]]:
                for tile in _dot_tiles(loops, row, column, machine):
                    accumulators = prod(tile.values())
                    loads = sum(lines[side] * _uses(loops, tile, side) for side in (0, 1))
                    step = max(accumulators / 2, loads / LOADS, FMA_LATENCY)
                    cost = _tiles_of(loops, tile) * (steps * step + accumulators * HORIZONTAL_COST + TILE_COST) + at_hand
                    yield Schedule(lane, along.extent, tuple(tile.items()), (), width, cost)


def _dot_tiles(loops: tuple[Loop, ...], row: int, column: int | None, machine: Machine) -> Iterator[dict[int, int]]:
    """Tiles of dot products along one or two kept axes that fit the registers."""
    for rows in range(1, min(MAX_DOTS, loops[row].extent) + 1):
        for columns in range(1, min(MAX_DOTS, loops[column].extent) + 1) if column is not None else (1,):
            if rows * columns + rows + columns < machine.vector_registers:
                yield {row: rows} if column is None else {row: rows, column: columns}
