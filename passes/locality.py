"""Which tiles of a contraction run one after another, so that what caches hold is used again.

In: a schedule whose register tile is chosen. Out: the same with the order of its tiles. Where operands are too large for any
order a task owns a group of tiles: it visits them in turn, so that the group's part of one operand stays in the second cache
while all of the other passes by; or once for every block of the reduced axes, with the sums of the whole group kept in
scratch memory.

Costs are cycles in which the operands come into the first cache, estimated from footprints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import ceil, prod

from .machine import Machine
from .tiles import ELEMENT_BYTES, Loop, Schedule, moves

BEYOND_L1, BEYOND_L2 = 32.0, 4.0  # bytes a cycle from the second cache, and from behind it
KEPT = 0.75  # of a cache that one operand may fill and stay, beside what passes by
HELD = 0.5  # of the second cache that a group of tiles may fill
MANY_TASKS = 8  # that groups leave for the threads to share
MOST_TILES = 64  # of one group
STALLED = 0.5  # of the arithmetic's time spent on traffic, from which blocks are looked for

Walk = Sequence[tuple[int, int]]  # loops, slowest first: an axis, and how much of it has been covered when the loop ends


def ordered(loops: tuple[Loop, ...], schedule: Schedule, machine: Machine) -> Schedule:
    """The schedule in the order and blocks that move the least between caches, which may cost more than the arithmetic."""
    excess, order = min((_traffic(loops, schedule, machine, _walk(loops, order)), order) for order in _orders(loops, schedule))
    schedule = replace(schedule, order=order, steps=_steps(loops, schedule))
    found = replace(schedule, cost=max(schedule.cost, excess))
    if excess < STALLED * schedule.cost or loops[schedule.lane].reduced:
        return found
    return min([found, *_grouped(loops, schedule, machine), *_blocked(loops, schedule, machine)], key=lambda s: s.cost)


def _steps(loops: tuple[Loop, ...], schedule: Schedule) -> tuple[int, ...]:
    """Reduced axes by falling stride of the operand that is read in place."""
    side = 1 if schedule.packed == (0,) else 0
    reduced = [n for n, loop in enumerate(loops) if loop.reduced and n != schedule.lane]
    return tuple(sorted(reduced, key=lambda n: (-moves(loops[n], side), -moves(loops[n], 1 - side))))


def _orders(loops: tuple[Loop, ...], schedule: Schedule) -> Iterator[tuple[int, ...]]:
    """Orders of the tiles: the axes of rows innermost, and the lanes outside of all others or inside."""
    tiled = dict(schedule.tile)
    others = sorted((n for n, loop in enumerate(loops) if not loop.reduced and n != schedule.lane), key=lambda n: n in tiled)
    if loops[schedule.lane].reduced:
        yield tuple(others)
        return
    yield (schedule.lane, *others)
    yield (*others, schedule.lane)


def _walk(loops: tuple[Loop, ...], order: tuple[int, ...]) -> Walk:
    return [(axis, loops[axis].extent) for axis in order]


def _traffic(loops: tuple[Loop, ...], schedule: Schedule, machine: Machine, walk: Walk) -> float:
    """Cycles to bring operands into the first cache again, after the first time: what one step of a loop touches is still
    there in the next if it fits, and comes again if not."""
    cycles = -_once(loops)
    for size, speed in ((machine.l2, BEYOND_L2), (machine.l1, BEYOND_L1)):
        for side in (0, 1):
            inside = _reduced(loops) | {n: schedule.tile_of(n) for n, _ in walk}
            moved = touched = _footprint(loops, inside, side)
            for axis, covered in reversed(walk):
                steps, inside[axis] = ceil(covered / inside[axis]), covered
                before, touched = touched, _footprint(loops, inside, side)
                moved *= touched / max(before, 1) if before <= size * KEPT else steps
            cycles += moved / speed
    return cycles


def _once(loops: tuple[Loop, ...]) -> float:
    """Cycles to bring both operands from memory once, which no order avoids."""
    return _both(loops, {n: loop.extent for n, loop in enumerate(loops)}) * (1 / BEYOND_L2 + 1 / BEYOND_L1)


def _grouped(loops: tuple[Loop, ...], schedule: Schedule, machine: Machine) -> Iterator[Schedule]:
    """The schedule with as many tiles of rows in a group as stay in the second cache while the lanes pass by."""
    others = [n for n in schedule.order if n != schedule.lane]
    for outer, axis in enumerate(others):
        inner = {n: loops[n].extent for n in others[outer + 1 :]}
        tile, count = schedule.tile_of(axis), schedule.tiles(loops, axis)
        one = _reduced(loops) | dict.fromkeys(others[:outer], 1) | inner | {schedule.lane: schedule.columns}
        room = [n for n in range(1, count) if _both(loops, one | {axis: n * tile}) <= machine.l2 * HELD]
        if not room:
            continue
        size = ceil(count / ceil(count / room[-1]))
        order = (*others[: outer + 1], schedule.lane, *inner)
        walk = [*_walk(loops, (*others[: outer + 1], schedule.lane)), (axis, size * tile), *_walk(loops, tuple(inner))]
        group = ((axis, size), *((n, schedule.tiles(loops, n)) for n in inner))
        cost = max(schedule.cost, _traffic(loops, schedule, machine, walk))
        if prod(schedule.tiles(loops, n) for n in order) // prod(n for _, n in group) >= MANY_TASKS:
            yield replace(schedule, cost=cost, order=order, group=group)


def _blocked(loops: tuple[Loop, ...], schedule: Schedule, machine: Machine) -> Iterator[Schedule]:
    """The schedule with its tiles in groups of all possible shapes, each with the largest block that stays in the cache."""
    counts = {n: schedule.tiles(loops, n) for n in schedule.order}
    tile = {n: schedule.tile_of(n) for n in schedule.order}
    sums = prod(tile.values()) * ELEMENT_BYTES
    for sizes in product(*(_divisors(count) for count in counts.values())):
        tiles, tasks = prod(sizes), prod(counts.values()) // prod(sizes)
        if not 1 < tiles <= MOST_TILES or tasks < MANY_TASKS:
            continue
        group = {n: min(size * tile[n], loops[n].extent) for n, size in zip(counts, sizes, strict=True)}
        for block in _blocks(loops, schedule):
            cut = replace(schedule, block=block)
            part = cut.visit(loops)
            if _both(loops, part | group) + tiles * sums <= machine.l2 * KEPT:
                visits = prod(loop.extent for loop in loops if loop.reduced) / prod(part.values())
                cycles = -_once(loops) + tasks * _both(loops, _reduced(loops) | group) / BEYOND_L2
                cycles += tasks * tiles * (_both(loops, _reduced(loops) | tile) + 2 * visits * sums) / BEYOND_L1
                shape = tuple((n, size) for n, size in zip(counts, sizes, strict=True) if size > 1)
                yield replace(cut, cost=max(schedule.cost, cycles), group=shape)
                break


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, min(n, MOST_TILES) + 1) if n % d == 0]


def _blocks(loops: tuple[Loop, ...], schedule: Schedule) -> Iterator[tuple[int, int]]:
    """Cuts of the reduced axes, the largest blocks first."""
    for outer, axis in enumerate(schedule.steps):
        for size in reversed(_divisors(loops[axis].extent)):
            yield outer, size


def _reduced(loops: Sequence[Loop]) -> dict[int, int]:
    return {n: loop.extent for n, loop in enumerate(loops) if loop.reduced}


def _both(loops: tuple[Loop, ...], extents: dict[int, int]) -> float:
    return _footprint(loops, extents, 0) + _footprint(loops, extents, 1)


def _footprint(loops: tuple[Loop, ...], extents: dict[int, int], side: int) -> float:
    """Bytes of an operand that these parts of the axes touch."""
    walked = [(extent, moves(loops[n], side)) for n, extent in extents.items() if moves(loops[n], side)]
    elements = prod(extent for extent, _ in walked)
    return min(elements, 1 + sum((extent - 1) * stride for extent, stride in walked)) * ELEMENT_BYTES
