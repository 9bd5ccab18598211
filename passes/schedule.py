"""How a contraction is computed: a description chosen by a cost model from shapes, strides and the machine.

In: the axes of a contraction with their memory strides, and where its operands come from (`Problem`). Out: the `Schedule`
that the lowering reads: a register tile (tiles.py) in the order that suits the caches (locality.py). Or all that come into
question, for those who measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from .locality import alternatives, ordered
from .machine import Machine
from .tiles import STORED, Loop, Origins, Schedule, candidates

TILES = 3  # of each way to lay out lanes and panels that are offered, beside the best of each width
SLOW = 2.0  # times the arithmetic of the best tile that an offer may have


@dataclass(frozen=True)
class Problem:
    """What a schedule is chosen for: loops that run in vectors of `width` lanes, where the operands come from, and how many
    arrays the epilogue reads and writes at the place of a result."""

    loops: tuple[Loop, ...]
    width: int
    machine: Machine
    origins: Origins = (STORED, STORED)
    results: int = 1

    def tiles(self) -> dict[tuple[int, tuple[int, ...]], list[Schedule]]:
        """The tiles of each way to lay out lanes and panels, the cheapest first."""
        found: dict[tuple[int, tuple[int, ...]], list[Schedule]] = {}
        for candidate in candidates(self.loops, self.width, self.machine, self.origins):
            found.setdefault((candidate.lane, candidate.packed), []).append(candidate)
        return {way: sorted(tiles, key=lambda tile: tile.cost) for way, tiles in found.items()}


Scheduler = Callable[[Problem], Schedule]


@lru_cache(maxsize=4096)
def choose(problem: Problem) -> Schedule:
    """The cheapest schedule: of each way to lay out lanes and panels the cheapest tile, and of these the one that neither
    arithmetic nor the caches hold up."""
    loops, machine, origins = problem.loops, problem.machine, problem.origins
    best = [tiles[0] for tiles in problem.tiles().values()]
    found = [(ordered(loops, tile, machine, problem.results, origins), tile.cost) for tile in best]

    def preference(pair: tuple[Schedule, float]) -> tuple[float, float, int]:
        """Where caches hold up several alike, the least arithmetic; then constants in panels, to be read from end to end."""
        schedule, arithmetic = pair
        return schedule.cost, arithmetic, -sum(origins[side].constant for side in schedule.packed)

    return min(found, key=preference)[0]


def offers(problem: Problem, most: int) -> list[Schedule]:
    """Schedules to be measured: the choice, and the cheapest others of all kinds, none of them twice."""
    ways = problem.tiles().values()
    slow = SLOW * min(tiles[0].cost for tiles in ways)
    found = {
        _description(schedule): schedule
        for tiles in ways
        for tile in _various(tiles)
        if tile.cost <= slow
        for schedule in alternatives(problem.loops, tile, problem.machine, problem.results, problem.origins)
    }
    chosen = choose(problem)
    found.pop(_description(chosen), None)
    return [chosen, *sorted(found.values(), key=lambda schedule: schedule.cost)][:most]


def _various(tiles: list[Schedule]) -> Iterable[Schedule]:
    """The cheapest tiles, and the cheapest one of each width."""
    of_width = {tile.columns: tile for tile in reversed(tiles)}
    return dict.fromkeys([*tiles[:TILES], *of_width.values()])


def _description(schedule: Schedule) -> Schedule:
    """What a schedule says, without what it is estimated to cost."""
    return replace(schedule, cost=0.0, far=0.0, stream=0.0)
