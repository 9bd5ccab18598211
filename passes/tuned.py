"""Schedules that were measured, and how they are kept.

In: the fastest schedule found for each problem. Out: a scheduler that knows them, and estimates the others; the same as text
that can be read again. What is read is held to be possible, not to be fast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil, prod
from typing import Any

from graphc.errors import ParseError

from .machine import Machine, Trees
from .schedule import Problem, choose
from .tiles import Loop, Origin, Schedule, moves

FORMAT = 1


@dataclass(frozen=True)
class Tuned:
    """A scheduler that knows the answers for some problems. Beside other ways to read the operands each counts as much as
    the estimate that it replaces."""

    found: Mapping[Problem, Schedule]

    def __call__(self, problem: Problem) -> Schedule:
        known, estimated = self.found.get(problem), choose(problem)
        return estimated if known is None else replace(known, cost=estimated.cost)


def to_json(found: Mapping[Problem, Schedule]) -> str:
    """The schedules as text: one problem a line."""
    lines = (json.dumps({"problem": asdict(problem), "schedule": _plain(schedule)}) for problem, schedule in found.items())
    return f'{{"graphc_schedules": {FORMAT}, "found": [\n' + ",\n".join(lines) + "\n]}\n"


def _plain(schedule: Schedule) -> dict[str, Any]:
    return {name: value for name, value in asdict(schedule).items() if name not in ("cost", "far", "stream")}


def from_json(text: str) -> dict[Problem, Schedule]:
    """What `to_json` wrote. Raises ParseError for anything else, and for what no schedule can be."""
    try:
        read = json.loads(text)
    except ValueError as error:
        raise ParseError(f"not JSON: {error}") from None
    if not isinstance(read, dict) or read.get("graphc_schedules") != FORMAT or not isinstance(read.get("found"), list):
        raise ParseError(f'not a file of schedules: expected {{"graphc_schedules": {FORMAT}, "found": [...]}}')
    result: dict[Problem, Schedule] = {}
    for number, entry in enumerate(read["found"]):
        try:
            problem, schedule = _problem(**entry["problem"]), _schedule(**entry["schedule"])
            possible = is_possible(problem, schedule)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ParseError(f"entry {number} is no problem with its schedule: {error}") from None
        if not possible:
            raise ParseError(f"entry {number}: the product cannot be computed in this way")
        result[problem] = schedule
    return result


def _problem(loops: list[Any], width: int, machine: dict[str, Any], origins: list[Any], results: int) -> Problem:
    lhs, rhs = (Origin(**origin) for origin in origins)
    trees = Trees(**machine.pop("trees"))
    found = (Loop(**loop | {"bounds": tuple(loop["bounds"])}) for loop in loops)
    return Problem(tuple(found), width, Machine(trees=trees, **machine), (lhs, rhs), results)


def _schedule(**fields: Any) -> Schedule:
    return Schedule(cost=0.0, **{name: _whole(value) for name, value in fields.items()})


def _whole(value: Any) -> Any:
    """Whole numbers, and lists of them as tuples."""
    if isinstance(value, list):
        return tuple(map(_whole, value))
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def is_possible(problem: Problem, schedule: Schedule) -> bool:
    """Whether the lowering can do what a schedule says: axes are those of the problem, tiles fit the registers, blocks come
    out even, and what is packed is read along one axis of the tile."""
    loops, lane, tile, group = problem.loops, problem.loops[schedule.lane], dict(schedule.tile), dict(schedule.group)
    kept = [n for n, loop in enumerate(loops) if not loop.reduced]
    steps = [n for n, loop in enumerate(loops) if loop.reduced and n != schedule.lane]
    rows, vectors, (cut, size) = prod(tile.values()), ceil(schedule.columns / schedule.width), schedule.block
    if lane.reduced:
        registers = rows + sum(tile.values())
        fits = schedule.columns == lane.extent and lane.lhs == lane.rhs == 1
        fits &= not (schedule.packed or schedule.group or schedule.block != (-1, 0))
    else:
        registers = rows * vectors + vectors + 1
        fits = schedule.columns == lane.extent or (schedule.columns % schedule.width == 0 and schedule.columns < lane.extent)
    tiled = {*tile} if lane.reduced else {schedule.lane, *tile}
    tests = (
        fits and schedule.width == problem.width and registers < problem.machine.vector_registers,
        len(tiled) == len(schedule.tile) + (not lane.reduced) and tiled <= {n for n in kept if not loops[n].apart},
        all(1 <= number <= loops[n].extent for n, number in tile.items()),
        sorted(schedule.order) == kept and sorted(schedule.steps) == steps,
        len(group) == len(schedule.group) and all(1 <= number <= schedule.tiles(loops, n) for n, number in group.items()),
        cut == -1 or (0 <= cut < len(steps) and size >= 1 and loops[schedule.steps[cut]].extent % size == 0),
        {*schedule.near} <= {*schedule.packed} <= {0, 1} and len({*schedule.packed}) == len(schedule.packed),
        all(sum(moves(loops[n], side) != 0 for n in tiled) == 1 for side in schedule.packed),
    )
    return all(tests)
