"""Which tiles of a contraction run one after another, so that what caches hold is used again.

In: a schedule whose register tile is chosen. Out: the same with the order of its tiles. Where operands are too large for any
order a task owns a group of tiles: it visits them in turn, so that the group's part of one operand stays in the second cache
while all of the other passes by; or once for every block of the reduced axes, with the sums of the whole group kept in
scratch memory. A few rows of tiles take short blocks, so that an operand that lies in place passes by from end to end. Where
few rows need a long operand, visits pack panels of it themselves, a block at a time, and no panel goes through memory.

Costs are cycles in which operands and results come into the first cache, estimated from footprints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import nsmallest
from itertools import islice, product
from math import ceil, prod
from typing import Any

from .machine import Machine
from .tiles import (
    ELEMENT_BYTES,
    GATHER_COST,
    LINE_BYTES,
    RESULT,
    STORED,
    Loop,
    Origins,
    Schedule,
    copying,
    moves,
    origin_cost,
    span_of,
)

BEYOND_L1, BEYOND_L2 = 32.0, 4.0  # bytes a cycle from the second cache, and from behind it
AHEAD = 0.15  # of the time of vectors from the second cache that is seen: they are fetched before they are needed
KEPT = 0.75  # of a cache that one operand may fill and stay, beside what passes by
HELD = 0.5  # of the second cache that a group of tiles may fill
MANY_TASKS = 4  # that groups leave for the threads to share
MOST_TILES = 64  # of one group
EXPOSED = 0.25  # of the lesser one of arithmetic and traffic that does not hide behind the other
ALIKE = 1.05  # the cost of an order that suits threads, in that of the best order for one
PARTS = (4, 2)  # of the outermost axis, so that as many threads find their shares apart
STREAMS = 32  # rows that a processor fetches ahead in, side by side
START = 150.0  # cycles until it does
ALONE = 2 << 20  # multiply-adds that need no second thread
PANEL = 1.5  # of the first cache: the panel that a group of tiles packs for itself, at most
BLOCKS = 3  # sizes of such panels that are tried
SUMS = 128 << 10  # bytes of sums that are kept between visits to such a panel, at most
APART = 4.0  # times the cycles to gather an element into a panel by itself, without the neighbours that lie in its line
FEW = 32 << 20  # multiply-adds for which two tasks are enough
OF_A_KIND = 2  # orders of each kind that are alternatives
STALLED = 0.5  # of the arithmetic's time spent on traffic, from which blocks are looked for

Walk = Sequence[tuple[int, int]]  # loops, slowest first: an axis, and how much of it has been covered when the loop ends
Extents = dict[int, int]  # by axis


def ordered(
    loops: tuple[Loop, ...], schedule: Schedule, machine: Machine, results: int = 1, origins: Origins = (STORED, STORED)
) -> Schedule:
    """The schedule in the order and blocks that move the least between caches, which may cost more than the arithmetic.
    `results`: how many arrays the epilogue reads and writes at the place of a result."""
    way = _Way(loops, replace(schedule, steps=_steps(loops, schedule)), machine, results, origins)
    found, excess = way.best(way.orders(rows_last=True))
    if loops[schedule.lane].reduced or not all(loop.extent for loop in loops):
        return found
    found, excess = next(((s, t) for s, t in way.shared() if s.cost <= ALIKE * found.cost), (found, excess))
    found = min([found, *way.streamed(), *way.packed_near()], key=lambda s: s.cost)
    if excess < STALLED * schedule.cost:
        return found
    other, _ = way.best(way.orders(rows_last=False))
    return min([found, other, *way.grouped(found.order), *way.blocked(found.order)], key=lambda s: s.cost)


def alternatives(
    loops: tuple[Loop, ...], schedule: Schedule, machine: Machine, results: int = 1, origins: Origins = (STORED, STORED)
) -> Iterator[Schedule]:
    """The orders and blocks that `ordered` weighs, of each kind the cheapest ones."""
    way = _Way(loops, replace(schedule, steps=_steps(loops, schedule)), machine, results, origins)
    found, _ = way.best(way.orders(rows_last=True))
    yield found
    if loops[schedule.lane].reduced or not all(loop.extent for loop in loops):
        return
    yield way.best(way.orders(rows_last=False))[0]
    yield from (shared for shared, _ in way.shared())
    for kind in (way.streamed(), way.packed_near(computed=True), way.grouped(found.order), way.blocked(found.order)):
        yield from nsmallest(OF_A_KIND, kind, key=lambda s: s.cost)


def beside(arithmetic: float, moved: float) -> float:
    """The cycles of both side by side."""
    return max(arithmetic, moved) + EXPOSED * min(arithmetic, moved)


def _steps(loops: tuple[Loop, ...], schedule: Schedule) -> tuple[int, ...]:
    """Reduced axes by falling stride of the operand that is read in place."""
    side = 1 if schedule.packed == (0,) else 0
    reduced = [n for n, loop in enumerate(loops) if loop.reduced and n != schedule.lane]
    return tuple(sorted(reduced, key=lambda n: (-moves(loops[n], side), -moves(loops[n], 1 - side))))


@dataclass(frozen=True)
class _Way:
    """A contraction in tiles that are as yet in no order, and what they move."""

    loops: tuple[Loop, ...]
    schedule: Schedule
    machine: Machine
    results: int
    origins: Origins

    # ------------------------------------------------------------------------------------------------ schedules

    def orders(self, rows_last: bool) -> list[tuple[int, ...]]:
        """Orders of the tiles: axes that move both operands first, which share nothing; lanes outside of all others or
        inside, and the axes of rows last of the others or first."""
        lane, tiled = self.schedule.lane, dict(self.schedule.tile)
        kept = [n for n, loop in enumerate(self.loops) if not loop.reduced and n != lane]
        apart = [n for n in kept if self.loops[n].apart or (self.loops[n].lhs and self.loops[n].rhs and n not in tiled)]
        apart.sort(key=lambda n: not self.loops[n].apart)
        others = sorted((n for n in kept if n not in apart), key=lambda n: (n in tiled) is rows_last)
        return [(*apart, *others)] if self.loops[lane].reduced else [(*apart, lane, *others), (*apart, *others, lane)]

    def best(self, orders: list[tuple[int, ...]]) -> tuple[Schedule, float]:
        """The order that moves the least, and the cycles that this takes."""
        traffic, order = min((self.traffic(self.walk(order)), order) for order in orders)
        return self.costing(traffic, order=order), traffic

    def shared(self) -> Iterator[tuple[Schedule, float]]:
        """Orders in which threads that take consecutive tiles exchange the least, and what they move. Threads share what an
        axis does not move: outermost is what moves both operands, then what moves the larger one. Beside a result that is
        larger than both, as in the gradient of a weight, all are cut as the result lies in memory: so they are where it is
        read. In part, the outermost axis is cut, and the rest of it runs inside of all others."""
        sizes = [self.footprint(self.whole, side) for side in (0, 1)]
        small = self.results * self.footprint(self.whole, RESULT) < sum(sizes)
        moved = {n: sum(sizes[side] for side in (0, 1) if moves(loop, side)) * small for n, loop in enumerate(self.loops)}
        kept = [n for n, loop in enumerate(self.loops) if not loop.reduced]
        order = tuple(sorted(kept, key=lambda n: (not self.loops[n].apart, -moved[n], -self.loops[n].out)))
        traffic = self.traffic(self.walk(order))
        yield self.costing(traffic, order=order), traffic
        for parts in PARTS:
            first, size = order[0], ceil(self.tiles(order[0]) / parts)
            if not self.loops[first].apart and size > 1 and prod(map(self.tiles, order)) // size >= MANY_TASKS:
                traffic = self.traffic([*self.walk(order), (first, size * self.tile[first])])
                yield self.costing(traffic, order=order, group=((first, size),)), traffic

    def costing(self, traffic: float, spared: float = 0.0, **chosen: Any) -> Schedule:
        """The schedule with what is `chosen`, and the cycles of its arithmetic (less what is `spared`) and traffic side by
        side."""
        arithmetic, traffic = self.schedule.cost - spared, max(traffic, 0.0)
        return replace(self.schedule, cost=beside(arithmetic, traffic), **chosen)

    def grouped(self, order: tuple[int, ...]) -> Iterator[Schedule]:
        """As many tiles of rows in a group as stay in the second cache while the lanes pass by."""
        lane = self.schedule.lane
        others = [n for n in order if n != lane]
        for outer, axis in enumerate(others):
            inner = tuple(others[outer + 1 :])
            part = self.tile | {n: self.loops[n].extent for n in inner}
            count, rows = self.tiles(axis), self.tile[axis]
            fits = [
                n
                for n in range(1, 1 if self.loops[axis].apart else count)
                if self.operands(part | {axis: n * rows}) <= self.l2 * HELD
            ]
            if not fits:
                continue
            size = ceil(count / ceil(count / fits[-1]))
            order = (*others[: outer + 1], lane, *inner)
            group = ((axis, size), *((n, self.tiles(n)) for n in inner))
            walk = [*self.walk((*others[: outer + 1], lane)), (axis, size * rows), *self.walk(inner)]
            if prod(map(self.tiles, order)) // prod(n for _, n in group) >= MANY_TASKS:
                yield self.costing(self.traffic(walk), order=order, group=group)

    def blocked(self, order: tuple[int, ...]) -> Iterator[Schedule]:
        """Groups of tiles of all possible shapes, each with the largest block that stays in the cache, where reading in place
        is not far any more."""
        counts = {n: self.tiles(n) for n in order}
        sums = prod(self.tile[n] for n in order) * ELEMENT_BYTES
        for sizes in product(*(_divisors(count) for count in counts.values())):
            tiles, tasks = prod(sizes), prod(counts.values()) // prod(sizes)
            if not 1 < tiles <= MOST_TILES or tasks < MANY_TASKS:
                continue
            group = self.covered(dict(zip(counts, sizes, strict=True)))
            for block in self.blocks():
                if self.operands(self.part(block) | group) + tiles * sums > self.l2 * KEPT:
                    continue
                shape = {n: size for n, size in zip(counts, sizes, strict=True) if size > 1}
                yield self.in_blocks(self.schedule.far, order, shape, block)
                break

    def streamed(self) -> Iterator[Schedule]:
        """All tiles in one task, or two, a few steps at a time: what is read in place, far apart, comes in whole rows."""
        lane, steps, tiled = self.schedule.lane, self.schedule.steps, dict(self.schedule.tile)
        kept = [n for n, loop in enumerate(self.loops) if not loop.reduced]
        apart = [n for n in kept if self.loops[n].lhs and self.loops[n].rhs and n not in tiled and n != lane]
        order = (*apart, lane, *(n for n in kept if n not in apart and n != lane))
        for parts in (1, 2) if self.schedule.far else ():
            tasks = prod(map(self.tiles, apart)) * parts
            group = {n: ceil(self.tiles(n) / (parts if n == lane else 1)) for n in order if n not in apart}
            if prod(group.values()) > MOST_TILES or (tasks == 1 and prod(loop.extent for loop in self.loops) > ALONE):
                continue
            size = max(n for n in _divisors(self.loops[steps[-1]].extent) if n <= STREAMS)
            rows = tasks * prod(self.reduced.values())
            yield self.in_blocks(self.schedule.far - START * rows, order, group, (len(steps) - 1, size))

    def packed_near(self, computed: bool = False) -> Iterator[Schedule]:
        """Groups of tiles that pack an operand themselves, panel by panel and block by block: each panel stays in the first
        cache while all rows of the group pass by. Panels along the rows of a tile are too narrow for that to pay; and beside
        another operand in panels it does only where none is packed twice. So may be what is `computed` for this contraction,
        which saves memory, and little time: arithmetic beside that of the products takes longer than by itself."""
        kept = [n for n, loop in enumerate(self.loops) if not loop.reduced]
        apart = [n for n in kept if self.loops[n].apart or (self.loops[n].lhs and self.loops[n].rhs)]
        for side in (side for side in self.schedule.packed if moves(self.loops[self.schedule.lane], side)):
            across = [n for n in kept if n not in apart and moves(self.loops[n], side)]
            stored = self.origins[side].alone
            if (stored or (computed and self.origins[side].store)) and len(across) == 1 and not {*apart} & {*self.tiled}:
                rows = [n for n in kept if n not in apart and n not in across]
                for block in self.panels(side):
                    for sizes in self.visits(apart, across[0], rows, block):
                        if (stored and self.schedule.packed == (side,)) or self.tasks(rows, sizes) == 1:
                            yield self.packing(side, (*apart, *across, *rows), sizes, block)

    def panels(self, side: int) -> Iterator[tuple[int, int]]:
        """The largest blocks of which a panel stays in the first cache, or almost."""
        kept = {n: extent for n, extent in self.tile.items() if not self.loops[n].reduced}
        fitting = (
            block
            for block in ((-1, 0), *self.blocks(self.machine.l1))
            if self.footprint(kept | self.part(block), side) <= PANEL * self.machine.l1
        )
        return islice(fitting, BLOCKS)

    def visits(self, apart: list[int], across: int, rows: list[int], block: tuple[int, int]) -> Iterator[dict[int, int]]:
        """Tiles of groups: some numbers of panels, and with each as many rows as fit the second cache."""
        part = self.part(block)
        sums = prod(self.tile[n] for n in (across, *rows)) * ELEMENT_BYTES if part != self.reduced else 0
        fewest = MANY_TASKS if prod(loop.extent for loop in self.loops) > FEW else 2
        for panels in _halves(self.tiles(across)):
            for count in _halves(self.tiles(rows[0])) if rows else [1]:
                sizes = {across: panels} | {n: self.tiles(n) for n in rows} | dict.fromkeys(rows[:1], count)
                held = self.operands(part | self.covered(sizes)) + prod(sizes.values()) * sums
                if prod(sizes.values()) * sums <= SUMS and held <= self.l2 * KEPT:
                    if self.tasks((*apart, *sizes), sizes) >= fewest:
                        yield sizes
                    break

    def packing(self, side: int, order: tuple[int, ...], sizes: dict[int, int], block: tuple[int, int]) -> Schedule:
        """The schedule with groups of so many tiles that pack an operand, every block of it as often as there are groups of
        rows. An operand that comes in place from behind the second cache comes slowly at the start of each block."""
        part, group, other = self.part(block), self.covered(sizes), 1 - side
        tasks, blocks = self.tasks(order, sizes), prod(self.reduced.values()) // prod(part.values())
        again = self.tasks([n for n in order if not moves(self.loops[n], side)], sizes)
        elements, (near, far) = copying(self.loops, self.tiled, side, self.schedule.width)
        ahead = origin_cost(self.loops, self.tiled, side, True, self.schedule.width, self.origins[side], self.machine)
        copied = near if elements * ELEMENT_BYTES <= self.l2 else (near + far) / 2
        copied *= APART if near == GATHER_COST else 1.0
        spared = ahead - again * elements * (self.origins[side].compute + copied)
        if self.footprint(part | {n: self.tile[n] for n in order}, side) <= self.machine.l1:
            spared += self.schedule.stream
        if blocks > 1 and other not in self.schedule.packed and self.footprint(self.whole, other) > self.l2:
            spared -= START * tasks * blocks * prod(n for axis, n in group.items() if moves(self.loops[axis], other))
        beyond = self.operands(self.reduced | group) + self.results * self.footprint(group, RESULT)
        cell = prod(self.tile[n] for n in sizes) * ELEMENT_BYTES
        inside = self.footprint(self.tile, other) + (2 * blocks * cell if blocks > 1 else 0)
        traffic = tasks * (beyond / BEYOND_L2 + prod(sizes.values()) * inside / BEYOND_L1) - self.once
        several = tuple((n, size) for n, size in sizes.items() if size > 1)
        return self.costing(traffic, spared, order=order, group=several, block=block, near=(side,))

    def in_blocks(self, spared: float, order: tuple[int, ...], sizes: dict[int, int], block: tuple[int, int]) -> Schedule:
        """The schedule with groups of so many tiles that are visited block by block."""
        tiles, tasks = prod(sizes.values()), self.tasks(order, sizes)
        group = self.covered({n: sizes.get(n, 1) for n in order})
        sums = prod(self.tile[n] for n in order) * ELEMENT_BYTES
        visits = prod(self.reduced.values()) / prod(self.part(block).values())
        far = self.operands(self.reduced | group) + self.results * self.footprint(group, RESULT)
        near = self.operands(self.tile) + 2 * visits * sums
        traffic = tasks * far / BEYOND_L2 + tasks * tiles * near / BEYOND_L1 - self.once
        return self.costing(traffic, spared, order=order, group=tuple(sizes.items()), block=block)

    def blocks(self, most: int = MOST_TILES) -> Iterator[tuple[int, int]]:
        """Cuts of the reduced axes, the largest blocks first, of no more than so many steps of the axis that is cut."""
        for outer, axis in enumerate(self.schedule.steps):
            for size in reversed(_divisors(self.loops[axis].extent, most)):
                yield outer, size

    # ------------------------------------------------------------------------------------------------ what they move

    def walk(self, order: tuple[int, ...]) -> Walk:
        """Loops over all of some axes."""
        return [(axis, self.loops[axis].extent) for axis in order]

    def traffic(self, walk: Walk) -> float:
        """Cycles to bring operands and results into the first cache again, after the first time: what one step of a loop
        touches is still there in the next if it fits, and comes again if not. The vectors to come lie beside these."""
        cycles = -self.once
        for side, count, ahead in self.arrays:
            for size, cost in ((self.l2 / (1 + ahead), 1 / BEYOND_L2), (self.machine.l1, _near(ahead))):
                inside = dict(self.tile)
                moved = touched = self.footprint(inside, side)
                for axis, covered in reversed(walk):
                    steps, inside[axis] = ceil(covered / inside[axis]), covered
                    before, touched = touched, self.footprint(inside, side)
                    moved *= touched / max(before, 1) if before <= size * KEPT else steps
                cycles += count * moved * cost
        return cycles

    @cached_property
    def once(self) -> float:
        """Cycles to bring everything from memory once, which no order avoids. Panels may repeat what is there once."""
        cycles = 0.0
        for side, count, ahead in self.arrays:
            moved = min(self.footprint(self.whole, side), span_of(self.loops, side) * ELEMENT_BYTES)
            cycles += count * moved * (1 / BEYOND_L2 + _near(ahead))
        return cycles

    @cached_property
    def arrays(self) -> tuple[tuple[int, int, bool], ...]:
        """Operands and result: how many arrays are walked like each; whether it comes ahead, in vectors beside broadcasts."""
        lhs, rhs = (moves(self.loops[self.schedule.lane], side) != 0 for side in (0, 1))
        return (0, 1, lhs > rhs), (1, 1, rhs > lhs), (RESULT, self.results, False)

    @property
    def l2(self) -> int:
        return self.machine.l2

    @cached_property
    def whole(self) -> Extents:
        return {n: loop.extent for n, loop in enumerate(self.loops)}

    @cached_property
    def reduced(self) -> Extents:
        return {n: loop.extent for n, loop in enumerate(self.loops) if loop.reduced}

    @cached_property
    def tile(self) -> Extents:
        """What one tile covers, with all of the reduced axes."""
        return {n: loop.extent if loop.reduced else self.schedule.tile_of(n) for n, loop in enumerate(self.loops)}

    @cached_property
    def tiled(self) -> tuple[int, ...]:
        """The axes that a tile runs along, its lanes first."""
        return self.schedule.lane, *dict(self.schedule.tile)

    def tiles(self, axis: int) -> int:
        return self.schedule.tiles(self.loops, axis)

    def tasks(self, axes: Iterable[int], sizes: dict[int, int]) -> int:
        """Groups of so many tiles along some axes."""
        return prod(ceil(self.tiles(n) / sizes.get(n, 1)) for n in axes)

    def covered(self, sizes: dict[int, int]) -> Extents:
        """What a group of so many tiles covers of the kept axes."""
        return {n: min(size * self.tile[n], self.loops[n].extent) for n, size in sizes.items()}

    def part(self, block: tuple[int, int]) -> Extents:
        """What one visit covers of the reduced axes."""
        return replace(self.schedule, block=block).visit(self.loops)

    def operands(self, extents: Extents) -> float:
        """Bytes of both operands that these parts of the axes touch."""
        return self.footprint(extents, 0) + self.footprint(extents, 1)

    def footprint(self, extents: Extents, side: int) -> float:
        """Bytes that these parts of the axes touch of an array: in panels its elements, where it lies whole lines."""
        elements = run = rows = span = 1
        for stride, axis in self.strides[side]:
            extent = extents.get(axis, 1)
            elements *= extent
            if stride <= run:
                run += (extent - 1) * stride
            else:
                rows *= extent
            span += (extent - 1) * stride
        if side in self.schedule.packed:
            return elements * ELEMENT_BYTES
        return min(rows * max(run, LINE_BYTES // ELEMENT_BYTES), span) * ELEMENT_BYTES

    @cached_property
    def strides(self) -> list[list[tuple[int, int]]]:
        """For operands and result the strides of the axes that move them, and these axes, by rising stride."""
        moved = [[(abs(moves(loop, side)), n) for n, loop in enumerate(self.loops)] for side in (0, 1, RESULT)]
        return [sorted(pair for pair in pairs if pair[0]) for pairs in moved]


def _near(ahead: bool) -> float:
    """Cycles that are seen of a byte from the second cache."""
    return (AHEAD if ahead else 1) / BEYOND_L1


def _divisors(n: int, most: int = MOST_TILES) -> list[int]:
    return [d for d in range(1, min(n, most) + 1) if n % d == 0]


def _halves(count: int) -> list[int]:
    """A number of tiles, its half, and so on down to one."""
    return list(dict.fromkeys(ceil(count / 2**n) for n in range(count.bit_length() + 1)))
