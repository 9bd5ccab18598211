"""Which schedules are fastest on this machine, found by running them.

In: functions. Out: for each of their contractions (matrix products and convolutions) the fastest schedule, and a file of those
that beat the estimated ones, for `compile(schedules=...)`. A contraction is measured by itself, on made-up numbers, in all
schedules that come into question: they take turns, so that whatever else the machine does falls on all of them, and those
that fall behind drop out. In the end the functions are measured as they are, with these schedules and without: among other
kernels, caches are in another state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter, thread_time

import numpy as np

from .driver import Stages
from .errors import GraphError
from .export import Compilation
from .function import Function
from .ir.kernel import ARENA, CONSTANT, VARIABLE, Buffer, KernelFunction, KernelProgram, Launch
from .passes.buffers import place_buffers
from .passes.contract import Contract
from .passes.lower import contractions
from .passes.schedule import Problem, Scheduler, choose, offers
from .passes.tiles import Schedule
from .passes.tuned import Tuned, to_json
from .runtime.arrays import made_up
from .runtime.artifact import check_place, write_files
from .runtime.host import thread_count
from .runtime.manifest import Port

OFFERS = 32  # schedules of a contraction that are measured
BETTER = 0.97  # of the estimated schedule's time, which another one must not exceed to replace it
HEATS = 3  # after each of them the slower half drops out
ROUNDS = 3  # of a heat, at least
TURN, MOST_REPEATS = 50e-6, 1000  # seconds that clocks can tell apart well, and how often a call is repeated to fill them


@dataclass(frozen=True)
class Finding:
    """What a contraction is; the fastest schedule, and its time in that of the estimated one, which took `seconds`. The ratio
    is 1 where the estimated one stays."""

    what: str
    problem: Problem
    schedule: Schedule
    seconds: float
    ratio: float


def tune(
    path: str | os.PathLike[str],
    *unnamed: Function,
    threads: int | None = None,
    seconds: float = 1.0,
    freeze: bool = False,
    winograd: bool = True,
    **functions: Function,
) -> list[Finding]:
    """Measure the contractions of functions, each for so many `seconds`, and write the schedules that are faster than the
    estimated ones to the file `path`, for `gc.compile(schedules=path)` on machines like this one. The file has none if the
    functions as a whole are not faster by them.

    The functions, `threads`, `freeze` and `winograd` are those of the compilation that is to be faster. Results of other
    schedules differ by rounding. Raises GraphError for something that is no `gc.function`, ArtifactError where the file cannot
    be written.
    """
    if unnamed:
        raise GraphError("tune: functions are given by name, as to gc.compile: gc.tune(path, predict=predict)")
    if not seconds > 0:
        raise GraphError(f"tune: seconds={seconds}: expected a number above 0")
    check_place(Path(path))
    found = list(measured(functions, threads=threads, seconds=seconds, freeze=freeze, winograd=winograd))
    keep(path, found, functions, threads=threads, seconds=seconds, freeze=freeze, winograd=winograd)
    return found


def keep(
    path: str | os.PathLike[str],
    found: Sequence[Finding],
    functions: Mapping[str, Function],
    *,
    threads: int | None,
    seconds: float,
    freeze: bool = False,
    winograd: bool = True,
) -> float:
    """Write the schedules if the functions, each called for so many `seconds`, are faster by them, else none. The time they
    take, in that without them."""
    save(path, found)
    stages = [Stages(functions, freeze=freeze, winograd=winograd, schedules=schedules) for schedules in (None, Path(path))]
    before = after = 0.0
    with stages[0].compilation.load(threads) as estimated, stages[1].compilation.load(threads) as tuned:
        for name in functions:
            arrays = [made_up(port, np.random.default_rng(0)) for port in estimated.functions[name].signature.inputs]
            calls = [partial(program.functions[name], *arrays) for program in (estimated, tuned)]
            first, second = race(calls, seconds, clock(threads))
            before, after = before + min(first), after + min(first) * _score(second, first)
    if after >= before:
        save(path, [])
    return after / before


def save(path: str | os.PathLike[str], found: Iterable[Finding]) -> None:
    """Write the schedules that are faster than the estimated ones. Raises ArtifactError."""
    write_files({Path(path): to_json({x.problem: x.schedule for x in found if x.ratio < 1}).encode()})


def measured(
    functions: Mapping[str, Function], *, threads: int | None, seconds: float, freeze: bool = False, winograd: bool = True
) -> Iterator[Finding]:
    """The contractions one after another, equal ones once."""
    stages = Stages(functions, freeze=freeze, winograd=winograd)
    seen: set[Problem] = set()
    for scheduled in contractions(stages.fused, stages.backend.machine, stages.seeds):
        estimated = scheduled(choose)
        if estimated.problem not in seen:
            seen.add(estimated.problem)
            yield _raced(scheduled, estimated, stages, threads, seconds)


def _raced(
    scheduled: Callable[[Scheduler], Contract], estimated: Contract, stages: Stages, threads: int | None, seconds: float
) -> Finding:
    problem, anchor = estimated.problem, estimated.anchor
    schedules = offers(problem, OFFERS)
    program = side_by_side([scheduled(Tuned({problem: schedule})).launches("") for schedule in schedules])
    compilation = Compilation(program, "tuned", stages.backend.target, {f.name: "list" for f in program.functions})
    with compilation.load(threads) as loaded:
        times = race(list(loaded.functions.values()), seconds, clock(threads))
    scores = {n: _score(own, times[0]) for n, own in enumerate(times) if len(own) == len(times[0])}
    best = min(scores, key=scores.__getitem__)
    best = best if scores[best] <= BETTER else 0  # which scores 1
    return Finding(f"{anchor.op.name} {anchor.type}", problem, schedules[best], min(times[0]), scores[best])


def clock(threads: int | None) -> Callable[[], float]:
    """The clock of one thread stands while others compute."""
    return thread_time if thread_count(threads) == 1 else perf_counter


def race(calls: Sequence[Callable[[], object]], seconds: float, now: Callable[[], float]) -> list[list[float]]:
    """The times of calls that take turns, in another order each round; short ones are repeated within a turn. After each heat
    only the faster half goes on, and the first of all; so there are as many times of the first as of any."""

    def turn(n: int, repeats: int) -> float:
        elapsed = 0.0
        while not elapsed > 0:  # the clock of a thread stands still at times, though seldom
            start = now()
            for _ in range(repeats):
                calls[n]()
            elapsed = now() - start
        return elapsed / repeats

    times: list[list[float]] = [[] for _ in calls]
    running, order = list(range(len(calls))), Random(0)
    for call in calls:  # their code is cold
        call()
    repeats = ceil(TURN / max(min(turn(n, 1) for n in running), TURN / MOST_REPEATS))
    for _ in range(HEATS):
        rounds, end = 0, perf_counter() + seconds / HEATS
        while rounds < ROUNDS or perf_counter() < end:
            rounds += 1
            for n in order.sample(running, len(running)):  # what ran before decides what caches hold
                times[n].append(turn(n, repeats))
        fastest = sorted(running, key=lambda n: _score(times[n], times[0]))
        running = sorted({0, *fastest[: ceil(len(fastest) / 2)]})
    return times


def _score(times: Sequence[float], first: Sequence[float]) -> float:
    """How long a call takes, in the time of the first: between the median turn, and the fastest."""
    turns = list(zip(times, first, strict=False))
    return (median(own / other for own, other in turns) + min(times) / min(other for _, other in turns)) / 2


def side_by_side(variants: Sequence[Sequence[Launch]]) -> KernelProgram:
    """A function for each of several ways to compute the same. What they find in memory is made up, and kept as variables."""
    generator, held = np.random.default_rng(0), dict[Buffer, Buffer]()
    functions, constants = [], dict[Buffer, None]()
    for number, launches in enumerate(variants):
        for buffer in _found(launches):
            if buffer not in held:
                port = Port(f"v{len(held)}", buffer.dtype, buffer.shape)
                held[buffer] = Buffer(port.name, port.dtype, port.shape, VARIABLE, made_up(port, generator))
        moved = tuple(replace(launch, args=tuple(held.get(x, x) for x in launch.args)) for launch in launches)
        constants |= {x: None for launch in moved for x in launch.args if x.kind == CONSTANT}
        functions.append(KernelFunction(f"schedule{number}", (), (), moved))
    return place_buffers(KernelProgram(tuple(functions), tuple(held.values()), tuple(constants), {}))


def _found(launches: Sequence[Launch]) -> Iterator[Buffer]:
    """The buffers that launches do not fill themselves before they read them."""
    made: set[Buffer] = set()
    for launch in launches:
        params, written = launch.kernel.params, launch.kernel.written
        made |= {x for x, array in zip(launch.args, params, strict=True) if x.kind == ARENA and array in written}
        yield from (x for x in launch.args if x.kind != CONSTANT and x not in made)
