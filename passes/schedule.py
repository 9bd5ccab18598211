"""How a contraction is computed: a description chosen by a cost model from shapes, strides and the machine.

In: the axes of a contraction with their memory strides, and where its operands come from (`Problem`). Out: the `Schedule`
that the lowering reads: a register tile (tiles.py) in the order that suits the caches (locality.py). Or all that come into
question, for those who measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf

from .locality import alternatives, ordered
from .machine import Machine
from .tiles import ELEMENT_BYTES, STORED, TILES, Loop, Origins, Schedule, candidates, elements_of, origin_cost, span_of

NARROW = 1.05  # the cost of a tile that may win by its order, in that of the best tile
SLOW = 2.0  # times the arithmetic of the best tile that an offer may have
HELD_UP = 2.0  # the cost of an order, in that of its tile, from which tiles of other rows are put in order, too
DEARER = 1.2  # the cost of a schedule that fills less memory ahead, in that of the best one


@dataclass(frozen=True)
class Problem:
    """What a schedule is chosen for: loops that run in vectors of `width` lanes, where the operands come from, and how many
    arrays the epilogue reads and writes at the place of a result."""

    loops: tuple[Loop, ...]
    width: int
    machine: Machine
    origins: Origins = (STORED, STORED)
    results: int = 1

    def tiles(self, most: int = TILES) -> dict[tuple[int, tuple[int, ...]], list[Schedule]]:
        """The tiles of each way to lay out lanes and panels, the cheapest first; no more than so many that differ in their
        rows alone."""
        found: dict[tuple[int, tuple[int, ...]], list[Schedule]] = {}
        for candidate in candidates(self.loops, self.width, self.machine, self.origins, most):
            found.setdefault((candidate.lane, candidate.packed), []).append(candidate)
        return {way: sorted(tiles, key=lambda tile: tile.cost) for way, tiles in found.items()}

    def least(self, tile: Schedule) -> float:
        """What a tile costs in the best order that there may be: vectors are near, and visits pack what is in memory."""
        tiled = (tile.lane, *dict(tile.tile))
        spared = (
            origin_cost(self.loops, tiled, side, True, self.width, self.origins[side], self.machine)
            for side in tile.packed
            if self.origins[side].alone
        )
        return tile.cost - tile.far - tile.stream - sum(spared)

    def ahead(self, schedule: Schedule) -> int:
        """Bytes that a schedule has filled before the first product: panels that are packed for it alone, and operands that are
        computed into memory."""
        return sum(self._ahead(side, side in schedule.packed) for side in (0, 1) if side not in schedule.near)

    def _ahead(self, side: int, packed: bool) -> int:
        origin, elements = self.origins[side], elements_of(self.loops, side)
        if packed:
            return 0 if origin.constant or origin.readers > 1 else ELEMENT_BYTES * elements
        return ELEMENT_BYTES * min(elements, span_of(self.loops, side)) if origin.store else 0


Scheduler = Callable[[Problem], Schedule]


@lru_cache(maxsize=4096)
def choose(problem: Problem) -> Schedule:
    """The cheapest schedule: of each way to lay out lanes and panels the cheapest tiles, and of these the one that neither
    arithmetic nor the caches hold up."""
    ways = problem.tiles(1)
    best = ((problem.least(tile), tile) for tiles in ways.values() for tile in _best(tiles))
    found, preference = None, (inf, inf, 0)
    for least, tile in sorted(best, key=lambda pair: pair[0]):
        if preference[0] < least:
            break
        schedule = _ordered(problem, tile)
        if schedule.cost > HELD_UP * tile.cost:
            others = (_ordered(problem, other) for other in _alike(tile, ways[tile.lane, tile.packed]))
            schedule = min([schedule, *others], key=lambda schedule: schedule.cost)
        constants = sum(problem.origins[side].constant for side in schedule.packed)
        # where caches hold up several alike: the least arithmetic; then constants in panels, to be read from end to end
        if (key := (schedule.cost, tile.cost, -constants)) < preference:
            found, preference = schedule, key
    assert found is not None
    return found


def _ordered(problem: Problem, tile: Schedule) -> Schedule:
    return ordered(problem.loops, tile, problem.machine, problem.results, problem.origins)


def _alike(tile: Schedule, tiles: list[Schedule]) -> list[Schedule]:
    """The others of the same arithmetic, in rows along other axes."""
    return [other for other in tiles if (other.cost, other.columns) == (tile.cost, tile.columns) and other.tile != tile.tile]


@dataclass(frozen=True)
class Frugal:
    """A scheduler for contractions that should fill no more than `room` bytes before the first product. Where panels would, it
    takes a schedule that does with less and is almost as cheap, if there is one."""

    scheduler: Scheduler
    room: int

    def __call__(self, problem: Problem) -> Schedule:
        best = self.scheduler(problem)
        if not best.packed or problem.ahead(best) <= self.room:
            return best
        return next((s for s in _within(problem, DEARER * best.cost) if problem.ahead(s) <= self.room), best)


def offers(problem: Problem, most: int) -> list[Schedule]:
    """Schedules to be measured: the choice, and the cheapest others of all kinds, none of them twice."""
    slow = SLOW * min(tiles[0].cost for tiles in problem.tiles().values())
    found = {_description(schedule): schedule for schedule in _all(problem, slow)}
    chosen = choose(problem)
    found.pop(_description(chosen), None)
    return [chosen, *sorted(found.values(), key=lambda schedule: schedule.cost)][:most]


@lru_cache(maxsize=256)
def _within(problem: Problem, most: float) -> tuple[Schedule, ...]:
    """Schedules that cost no more than so many cycles, the cheapest first."""
    return tuple(sorted((s for s in _all(problem, most) if s.cost <= most), key=lambda schedule: schedule.cost))


def _all(problem: Problem, slow: float) -> Iterator[Schedule]:
    """What the cheapest tiles become in different orders, except for tiles that take longer than `slow`."""
    for tiles in problem.tiles().values():
        for tile in _various(tiles):
            if tile.cost <= slow:
                yield from alternatives(problem.loops, tile, problem.machine, problem.results, problem.origins)


def _best(tiles: list[Schedule]) -> list[Schedule]:
    """The cheapest tile; of each width, if the order decides, because vectors pass through the first cache."""
    first, *others = _of_each_width(tiles)
    return [first, *(tile for tile in others if first.stream and tile.cost <= NARROW * first.cost)]


def _various(tiles: list[Schedule]) -> Iterable[Schedule]:
    """The cheapest tiles, and the cheapest one of each width."""
    return dict.fromkeys([*tiles[:TILES], *_of_each_width(tiles)])


def _of_each_width(tiles: list[Schedule]) -> list[Schedule]:
    """The cheapest tile of each width, the cheapest of all first."""
    found: dict[int, Schedule] = {}
    for tile in tiles:
        found.setdefault(tile.columns, tile)
    return list(found.values())


def _description(schedule: Schedule) -> Schedule:
    """What a schedule says, without what it is estimated to cost."""
    return replace(schedule, cost=0.0, far=0.0, stream=0.0)
