"""How a contraction is computed: a description chosen by a cost model from shapes, strides and the machine.

In: the axes of a contraction with their memory strides, and where its operands come from. Out: the `Schedule` that the
lowering reads: a register tile (tiles.py) in the order that suits the caches (locality.py).
"""

from __future__ import annotations

from functools import lru_cache

from .locality import ordered
from .machine import Machine
from .tiles import STORED, Loop, Origins, Schedule, candidates


@lru_cache(maxsize=4096)
def choose(
    loops: tuple[Loop, ...], width: int, machine: Machine, origins: Origins = (STORED, STORED), results: int = 1
) -> Schedule:
    """The cheapest schedule: of each way to lay out lanes and panels the cheapest tile, and of these the one that neither
    arithmetic nor the caches hold up. `results`: how many arrays the epilogue reads and writes at the place of a result."""
    best: dict[tuple[int, tuple[int, ...]], Schedule] = {}
    for candidate in candidates(loops, width, machine, origins):
        way = candidate.lane, candidate.packed
        if way not in best or candidate.cost < best[way].cost:
            best[way] = candidate
    found = [(ordered(loops, schedule, machine, results, origins), schedule.cost) for schedule in best.values()]

    def preference(pair: tuple[Schedule, float]) -> tuple[float, float, int]:
        """Where caches hold up several alike, the least arithmetic; then constants in panels, to be read from end to end."""
        schedule, arithmetic = pair
        return schedule.cost, arithmetic, -sum(origins[side].constant for side in schedule.packed)

    return min(found, key=preference)[0]
