"""Which tiles of a contraction run one after another, so that what caches hold is used again.

In: a schedule whose register tile is chosen. Out: the same with the order of its tiles. Where operands are too large for any
order a task owns a group of tiles: it visits them in turn, so that the group's part of one operand stays in the second cache
while all of the other passes by; or in the first cache, where panels fill much of the second; or once for every block of the
reduced axes, with the sums of the whole group kept in scratch memory. A few rows of tiles take short blocks, so that an
operand that lies in place passes by from end to end. Where few rows need a long operand, visits pack panels of it themselves,
a block at a time, and no panel goes through memory.

Costs are cycles of arithmetic and of what is moved (traffic.py), side by side.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import nsmallest
from itertools import islice, product
from math import ceil, inf, prod
from typing import Any

from .machine import Machine
from .tiles import (
    BEYOND_L1,
    ELEMENT_BYTES,
    GATHER_COST,
    LINE_BYTES,
    PAGE_BYTES,
    RESULT,
    STAYING,
    STORED,
    Loop,
    Origins,
    Schedule,
    copying,
    moves,
    origin_cost,
)
from .traffic import KEPT, Extents, Tiles, beside

SHARED = 0.4  # of the second cache: what stays there even where a neighbour uses it, too
HELD = 0.5  # of the second cache that a group of tiles may fill
MANY_TASKS = 4  # that groups leave for the threads to share
MOST_TILES = 64  # of one group
ALIKE = 1.05  # the cost of an order that suits threads, in that of the best order for one
FRESH = 2.0  # times what else moves: the cost to read what another thread has just written
PARTS = (4, 2)  # of the outermost axis, so that as many threads find their shares apart
STREAMS = (8, 32)  # rows that a processor fetches ahead in, side by side
FOLLOWED = 40  # pages, at most, on which it goes on by itself
MISSED = 52.0  # cycles for a piece of a row where it does not
START = 150.0  # cycles until it does
RESUMED, BESIDE = 60.0, 0.5  # the same for rows of which another part has been read, and for each that is read beside
FAR_APART = 1024  # bytes between rows that a processor does not read as one
ALONE = 2 << 20  # multiply-adds that need no second thread
BYTE = 3  # of these while a byte comes from behind the second cache
BLOCKS = 3  # sizes of panels that a group of tiles packs for itself that are tried
SUMS = 128 << 10  # bytes of sums that are kept between visits to such a panel, at most
APART = 4.0  # times the cycles to gather an element into a panel by itself, without the neighbours that lie in its line
FEW = 32 << 20  # multiply-adds for which two tasks are enough
OF_A_KIND = 2  # orders of each kind that are alternatives
STALLED = 0.5  # of the arithmetic's time spent on traffic, from which blocks are looked for


def ordered(
    loops: tuple[Loop, ...], schedule: Schedule, machine: Machine, results: int = 1, origins: Origins = (STORED, STORED)
) -> Schedule:
    """The schedule in the order and blocks that move the least between caches, which may cost more than the arithmetic. An
    order that suits threads may cost a little more than the best one, with which visits are compared all the same.
    `results`: how many arrays the epilogue reads and writes at the place of a result."""
    way = _Way(loops, replace(schedule, steps=_steps(loops, schedule)), machine, results, origins)
    best, excess = way.best(way.orders(rows_last=True))
    if loops[schedule.lane].reduced or not all(loop.extent for loop in loops):
        return best
    shared = next(((s, t) for s, t in way.shared() if s.cost <= ALIKE * best.cost), (best, excess))
    found = min([best, *way.streamed(), *way.packed_near()], key=lambda s: s.cost)
    if found is best:
        found, excess = shared
    if excess >= STALLED * schedule.cost:
        other, order = way.best(way.orders(rows_last=False))[0], shared[0].order
        found = min([found, other, *way.grouped(order), *way.blocked(order)], key=lambda s: s.cost)
    return way.in_turns(found)


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


def _steps(loops: tuple[Loop, ...], schedule: Schedule) -> tuple[int, ...]:
    """Reduced axes by falling stride of the operand that is read in place."""
    side = 1 if schedule.packed == (0,) else 0
    reduced = [n for n, loop in enumerate(loops) if loop.reduced and n != schedule.lane]
    return tuple(sorted(reduced, key=lambda n: (-moves(loops[n], side), -moves(loops[n], 1 - side))))


@dataclass(frozen=True)
class _Way(Tiles):
    """The orders, groups and blocks in which tiles may run."""

    origins: Origins

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
        axis does not move: outermost is what moves both operands, then what moves the larger one, where panels that have just
        been packed count double: each thread reads those that it packed. Beside a result that is larger than both, as in the
        gradient of a weight, all are cut as the result lies in memory: so they are where it is read. In part, the outermost
        axis is cut, and the rest of it runs inside of all others."""
        weights = [self.sizes[side] * (FRESH if self.is_fresh(side) else 1) for side in (0, 1)]
        small = self.results * self.sizes[RESULT] < sum(weights)
        moved = {n: sum(weights[side] for side in (0, 1) if moves(loop, side)) * small for n, loop in enumerate(self.loops)}
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
            most = 0 if self.loops[axis].apart else self.tiles(axis) - 1
            size = self.evenly(axis, most, part, (0, 1), self.l2 * HELD)
            if not size:
                continue
            order = (*others[: outer + 1], lane, *inner)
            group = ((axis, size), *((n, self.tiles(n)) for n in inner))
            walk = [*self.walk((*others[: outer + 1], lane)), (axis, size * self.tile[axis]), *self.walk(inner)]
            if prod(map(self.tiles, order)) // prod(n for _, n in group) >= MANY_TASKS:
                yield self.costing(self.traffic(walk), order=order, group=group)

    def in_turns(self, found: Schedule) -> Schedule:
        """Where tiles of rows pass by all panels one after another, and these fill much of the second cache, which neighbours
        may share: as many such tiles as stay in the first cache take each panel in turn."""
        lane = self.schedule.lane
        vectors = next((side for side, _, ahead in self.arrays if ahead), None)
        axis = next((n for n in dict(found.tile) if found.order[-2:] == (n, lane)), None)
        if vectors is None or axis is None or found.group or found.block != (-1, 0):
            return found
        if self.footprint(self.tile | {lane: self.loops[lane].extent}, vectors) <= SHARED * self.l2:
            return found
        size = self.evenly(axis, self.tiles(axis), self.tile, (1 - vectors,), self.machine.l1 * KEPT)
        return replace(found, group=((axis, size),)) if size > 1 else found

    def evenly(self, axis: int, most: int, part: Extents, sides: tuple[int, ...], room: float) -> int:
        """Tiles of an axis in each of equal groups, as few groups as can be: of no more than `most` tiles, which with `part` of
        the other axes touch no more bytes of some operands than there is room for; 0 if one tile touches more."""
        count, rows = self.tiles(axis), self.tile[axis]
        fits = bisect_right(
            range(1, most + 1), room, key=lambda n: sum(self.footprint(part | {axis: n * rows}, side) for side in sides)
        )
        return ceil(count / ceil(count / fits)) if fits else 0

    def blocked(self, order: tuple[int, ...]) -> Iterator[Schedule]:
        """Groups of tiles of all possible shapes, each with the largest block that stays in the cache, where reading in place
        is not far any more."""
        counts = {n: self.tiles(n) for n in order}
        sums = prod(self.tile[n] for n in order) * ELEMENT_BYTES
        for sizes in product(*(_divisors(count) for count in counts.values())):
            tiles, tasks = prod(sizes), prod(counts.values()) // prod(sizes)
            if not 1 < tiles <= MOST_TILES or tasks < self.fewest:
                continue
            group = self.covered(dict(zip(counts, sizes, strict=True)))
            for block in self.blocks():
                part = self.part(block)
                if self.operands(part | group) + tiles * sums > self.l2 * KEPT:
                    continue
                shape = {n: size for n, size in zip(counts, sizes, strict=True) if size > 1}
                late = sum(self.late(side, self.again(side, order, shape), part) for side in self.in_place)
                yield self.in_blocks(self.schedule.far - late, order, shape, block)
                break

    def streamed(self) -> Iterator[Schedule]:
        """All tiles in as few tasks as there can be, or two, a few steps at a time: what is read in place, far apart, comes in
        whole rows, or long parts of them. The fewer rows come side by side the better, unless more save much."""
        lane, steps, tiled = self.schedule.lane, self.schedule.steps, dict(self.schedule.tile)
        kept = [n for n, loop in enumerate(self.loops) if not loop.reduced]
        apart = [n for n in kept if self.loops[n].lhs and self.loops[n].rhs and n not in tiled and n != lane]
        order = (*apart, lane, *(n for n in kept if n not in apart and n != lane))
        for parts in sorted({1, 2, ceil(self.tiles(lane) / MOST_TILES)}) if self.schedule.far else ():
            tasks = prod(map(self.tiles, apart)) * parts
            group = {n: ceil(self.tiles(n) / (parts if n == lane else 1)) for n in order if n not in apart}
            if prod(group.values()) > MOST_TILES or (tasks == 1 and self.work > ALONE):
                continue
            rows, fewer = tasks * prod(self.reduced.values()), inf
            for streams in STREAMS:
                size = max(n for n in _divisors(self.loops[steps[-1]].extent) if n <= streams)
                slow = (RESUMED + BESIDE * size) * rows
                found = self.in_blocks(self.schedule.far - slow, order, group, (len(steps) - 1, size))
                if ALIKE * found.cost < fewer:
                    fewer = found.cost
                    yield found

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
        """The largest blocks of which a panel stays in the first cache."""
        kept = {n: extent for n, extent in self.tile.items() if not self.loops[n].reduced}
        fitting = (
            block
            for block in ((-1, 0), *self.blocks(self.machine.l1))
            if self.footprint(kept | self.part(block), side) <= STAYING * self.machine.l1
        )
        return islice(fitting, BLOCKS)

    def visits(self, apart: list[int], across: int, rows: list[int], block: tuple[int, int]) -> Iterator[dict[int, int]]:
        """Tiles of groups: some numbers of panels, and with each as many rows as fit the second cache."""
        part = self.part(block)
        sums = prod(self.tile[n] for n in (across, *rows)) * ELEMENT_BYTES if part != self.reduced else 0
        for panels in _halves(self.tiles(across)):
            for count in _halves(self.tiles(rows[0])) if rows else [1]:
                sizes = {across: panels} | {n: self.tiles(n) for n in rows} | dict.fromkeys(rows[:1], count)
                held = self.operands(part | self.covered(sizes)) + prod(sizes.values()) * sums
                if prod(sizes.values()) * sums <= SUMS and held <= self.l2 * KEPT:
                    if self.tasks((*apart, *sizes), sizes) >= self.fewest:
                        yield sizes
                    break

    def packing(self, side: int, order: tuple[int, ...], sizes: dict[int, int], block: tuple[int, int]) -> Schedule:
        """The schedule with groups of so many tiles that pack an operand, every block of it as often as there are groups of
        rows. What comes from behind the second cache comes slowly at the start of each block; an operand that is packed, and
        only once, comes while the tiles before are computed, if these take long enough. Blocks of a panel stay in the first
        cache, where all of it may not. Nothing is multiplied while sums come and go that do not stay there."""
        part, group, other = self.part(block), self.covered(sizes), 1 - side
        tasks, blocks = self.tasks(order, sizes), prod(self.reduced.values()) // prod(part.values())
        again = self.again(side, order, sizes)
        elements, (near, far) = copying(self.loops, self.tiled, side, self.schedule.width, self.machine)
        ahead = origin_cost(self.loops, self.tiled, side, True, self.schedule.width, self.origins[side], self.machine)
        fetched = again == 1 and self.is_fetched(side, sizes, self.schedule.cost - ahead)
        copied = near if fetched or elements * ELEMENT_BYTES <= self.l2 else (near + far) / 2
        copied *= APART if near == GATHER_COST else 1.0
        spared = ahead - again * elements * (self.origins[side].compute + copied)
        if self.footprint(self.tile, side) > self.machine.l1:
            spared += self.schedule.stream
        if blocks > 1 and self.sizes[other] > self.l2:
            spared -= START * tasks * blocks * prod(n for axis, n in group.items() if moves(self.loops[axis], other))
        spared -= 0 if fetched else self.late(side, again, part)
        beyond = self.operands(self.reduced | group) + self.results * self.footprint(group, RESULT)
        tiles, cell = prod(sizes.values()), prod(self.tile[n] for n in sizes) * ELEMENT_BYTES
        sums = 2 * blocks * cell if blocks > 1 else 0
        spared -= tasks * tiles * sums / BEYOND_L1 if tiles * cell > self.machine.l1 * KEPT else 0
        inside = self.footprint(self.tile, other) + sums
        traffic = tasks * (beyond / self.machine.beyond_l2 + tiles * inside / BEYOND_L1) - self.once
        several = tuple((n, size) for n, size in sizes.items() if size > 1)
        return self.costing(traffic, spared, order=order, group=several, block=block, near=(side,))

    def again(self, side: int, order: tuple[int, ...], sizes: dict[int, int]) -> int:
        """How often groups of so many tiles read an operand."""
        return self.tasks([n for n in order if not moves(self.loops[n], side)], sizes)

    @cached_property
    def in_place(self) -> list[int]:
        """The operands that tiles read where they lie, behind the second cache."""
        return [side for side in (0, 1) if side not in self.schedule.packed and self.sizes[side] > self.l2]

    def late(self, side: int, again: int, part: Extents) -> float:
        """Cycles in which an operand that is read so often keeps visits waiting."""
        return MISSED * again * self.lost(side, part)

    def is_fetched(self, side: int, sizes: dict[int, int], cycles: float) -> bool:
        """Whether panels from behind the second cache come while tiles use others: each of their steps fetches a line, and all
        of the operand comes in fewer than so many cycles."""
        size = self.sizes[side]
        uses = prod(count for axis, count in sizes.items() if not moves(self.loops[axis], side))
        lines = self.schedule.columns * ELEMENT_BYTES / LINE_BYTES
        return size > self.l2 and lines <= uses and size / self.machine.beyond_l2 <= cycles

    def lost(self, side: int, part: Extents) -> float:
        """How many pieces of rows visits read from behind the second cache on more pages than the processor follows."""
        covered, piece, pages = self.tile | part, 1, 1.0
        for stride, axis in self.strides[side]:
            apart = stride * ELEMENT_BYTES
            if stride in (1, piece) or apart < FAR_APART:
                piece *= covered[axis]
            else:
                pages *= covered[axis] * min(apart / PAGE_BYTES, 1.0)
        if pages <= FOLLOWED:
            return 0.0
        return prod(self.whole[axis] for _, axis in self.strides[side]) / piece * max(1 - self.l2 / sum(self.sizes), 0.0)

    def in_blocks(self, spared: float, order: tuple[int, ...], sizes: dict[int, int], block: tuple[int, int]) -> Schedule:
        """The schedule with groups of so many tiles that are visited block by block. Where vectors come in whole rows, blocks
        in place may stay in the first cache from the first tile of a group to the last, beside the sums of all."""
        tiles, tasks = prod(sizes.values()), self.tasks(order, sizes)
        group = self.covered({n: sizes.get(n, 1) for n in order})
        sums = prod(self.tile[n] for n in order) * ELEMENT_BYTES
        visits = prod(self.reduced.values()) / prod(self.part(block).values())
        far = self.operands(self.reduced | group) + self.results * self.footprint(group, RESULT)
        near, whole = 2 * visits * tiles * sums, group[self.schedule.lane] == self.loops[self.schedule.lane].extent
        for side in (0, 1):
            held = self.footprint(self.part(block) | group, side) + tiles * sums
            stays = whole and side not in self.schedule.packed and held <= STAYING * self.machine.l1
            near += self.footprint(self.reduced | group, side) if stays else tiles * self.footprint(self.tile, side)
        traffic = tasks * (far / self.machine.beyond_l2 + near / BEYOND_L1) - self.once
        return self.costing(traffic, spared, order=order, group=tuple(sizes.items()), block=block)

    def blocks(self, most: int = MOST_TILES) -> Iterator[tuple[int, int]]:
        """Cuts of the reduced axes, the largest blocks first, of no more than so many steps of the axis that is cut."""
        for outer, axis in enumerate(self.schedule.steps):
            for size in reversed(_divisors(self.loops[axis].extent, most)):
                yield outer, size

    def is_fresh(self, side: int) -> bool:
        """Whether all threads pack an operand just before the products, and find it where they left it: panels stay in the
        first cache whatever passes by, or both operands in the second. Nobody writes the other one."""
        if side not in self.schedule.packed or self.origins[side].constant or not self.origins[1 - side].given:
            return False
        return self.footprint(self.tile, side) <= self.machine.l1 * KEPT or sum(self.sizes) <= self.l2 * HELD

    @cached_property
    def fewest(self) -> int:
        """Tasks, at least, that groups with blocks leave for the threads to share."""
        return MANY_TASKS if prod(loop.extent for loop in self.loops) > FEW else 2

    @cached_property
    def work(self) -> float:
        """The time of the contraction in multiply-adds: theirs, or that in which far operands come."""
        moved = self.sizes[0] + self.sizes[1]
        return max(prod(loop.extent for loop in self.loops), BYTE * moved if moved > self.l2 else 0)


def _divisors(n: int, most: int = MOST_TILES) -> list[int]:
    return [d for d in range(1, min(n, most) + 1) if n % d == 0]


def _halves(count: int) -> list[int]:
    """A number of tiles, its half, and so on down to one."""
    return list(dict.fromkeys(ceil(count / 2**n) for n in range(count.bit_length() + 1)))
