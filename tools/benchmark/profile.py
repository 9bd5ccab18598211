"""Where graphc's time goes: every launch of a program compiled as a function of its own, and timed.

In: a workload. Out: a table of kernels, slowest first, with the rates of their multiply-adds and of the bytes of their
operands. The launches run in order, again and again, so that each finds memory and caches as it does in the whole function;
barriers between them are not part of any. Launches that do the same work count as one line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from time import perf_counter, thread_time

import numpy as np
from rich.table import Table

from graphc.codegen.target import host
from graphc.export import Compilation
from graphc.ir.expr import Array, Call, Load, as_index
from graphc.ir.kernel import Accumulate, For, If, KernelProgram, Launch, Local, Stmt, evaluated, walk
from graphc.runtime.program import Program

from .with_graphc import build, compiled, given
from .workloads import Workload

SHOWN = 25


@dataclass(frozen=True)
class Part:
    """One launch and the seconds it takes."""

    launch: Launch
    seconds: float

    @property
    def folds(self) -> int:
        kernel = self.launch.kernel
        scratch = frozenset(stmt.array for stmt in walk(kernel.body) if isinstance(stmt, Local))
        return kernel.task.extent * folded(kernel.body, scratch)

    @property
    def bytes(self) -> int:
        """Of all operands, each once: what must move at least, unless a part of one is enough."""
        return sum(buffer.nbytes for buffer in set(self.launch.args))

    @property
    def work(self) -> tuple[object, ...]:
        """Equal for launches that do the same, as far as the table shows."""
        return self.launch.comment, self.launch.kernel.task.extent, self.folds, self.bytes


@dataclass(frozen=True)
class Profile:
    """The launches, the seconds that the whole function takes, and those of the stages of compiling it."""

    parts: list[Part]
    seconds: float
    compiling: dict[str, float]


def taken_apart(program: KernelProgram) -> KernelProgram:
    """The same memory, one function k0, k1 ... for each launch of the first function, with all its inputs and outputs."""
    (function, *_) = program.functions
    parts = (replace(function, name=f"k{i}", launches=(launch,)) for i, launch in enumerate(function.launches))
    return replace(program, functions=(*parts, replace(function, name="whole")))


def measure(workload: Workload, threads: int, seconds: float) -> Profile:
    """Each launch, the whole function, and the stages of compiling it."""
    _, stages, program, compiling = compiled(workload, build(workload), threads)
    program.close()
    apart = taken_apart(stages.planned)
    compilation = Compilation(apart, "net", host(), {f.name: "list" for f in apart.functions})
    with compilation.load(threads) as program:
        arrays = given(workload)
        outputs = [np.empty(port.shape, port.dtype.numpy) for port in program.functions["whole"].signature.outputs]
        *calls, whole = _ready(program, [*arrays, *outputs])
        times = _seconds(calls, threads, seconds)
        (together,) = _seconds([whole], threads, seconds)
    launches = stages.planned.functions[0].launches
    return Profile([Part(*pair) for pair in zip(launches, times, strict=True)], together, compiling)


def _ready(program: Program, arrays: list[np.ndarray]) -> list[Callable[[], object]]:
    """The entry points alone, in order: pointers are ready, and no output is allocated."""
    net, pointers = program._net, [x.ctypes.data for x in arrays]
    symbols = [function.signature.symbol for function in program.functions.values()]
    return [partial(net.function(symbol, len(pointers)), net.address, *pointers) for symbol in symbols]


def _seconds(calls: Sequence[Callable[[], object]], threads: int, seconds: float) -> list[float]:
    """Of each call, the median over rounds. One thread is timed by its own clock, which stands while others compute."""
    clock = thread_time if threads == 1 else perf_counter
    rounds: list[list[float]] = []
    end = perf_counter() + seconds
    while len(rounds) < 3 or perf_counter() < end:
        rounds.append([])
        for call in calls:
            start = clock()
            call()
            rounds[-1].append(clock() - start)
    return [median(times) for times in zip(*rounds[1:], strict=True)]


def folded(body: Iterable[Stmt], scratch: Collection[Array] = ()) -> int:
    """Multiply-adds of a contraction, and additions of a sum, each counted as two operations: what `body` accumulates. Sums of
    what lies in `scratch`, and lanes that are masked off, do not count."""
    total = 0
    for stmt in body:
        match stmt:
            case Accumulate(value=Load(array=array)) if array in scratch:
                pass
            case Accumulate():
                total += 2
            case For():
                total += _used(stmt) * folded(stmt.body, scratch)
            case If():
                total += folded(stmt.then, scratch) + folded(stmt.orelse, scratch)
    return total


def _used(loop: For) -> int:
    """The iterations that read anything: tests of the variable alone say how many."""
    guards = [expr.guard for expr in evaluated(*walk(loop.body)) if isinstance(expr, Load)]
    tests = [guard.args for guard in guards if isinstance(guard, Call) and guard.word == "lt"]
    return min([loop.var.extent, *(as_index(last).high for variable, last in tests if variable is loop.var)])


def alike(parts: Iterable[Part]) -> list[list[Part]]:
    """Those that do the same work together, the slowest first."""
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in parts:
        groups.setdefault(part.work, []).append(part)
    return sorted(groups.values(), key=lambda group: -sum(part.seconds for part in group))


def profile(workload: Workload, threads: int, seconds: float) -> Table:
    """The slowest groups of launches, with what they compute."""
    found = measure(workload, threads, seconds)
    total, count = sum(part.seconds for part in found.parts), len(found.parts)
    title = f"{workload.name}, {threads} threads: {found.seconds * 1e3:.4f} ms whole, {total * 1e3:.4f} ms in {count} launches"
    compiling = ", ".join(f"{stage} {time:.2f}" for stage, time in found.compiling.items())
    caption = f"compiled in {sum(found.compiling.values()):.2f} s: {compiling}"
    heads = ("us", "share", "launches", "us each", "tasks", "GFLOP/s", "KiB", "GB/s", "kernel", "values")
    table = Table(*heads, title=title, caption=caption)
    for column in table.columns[:8]:
        column.justify = "right"
    for group in alike(found.parts)[:SHOWN]:
        first, time = group[0], sum(part.seconds for part in group)
        kernel, rate = first.launch.kernel, len(group) / time / 1e9
        table.add_row(
            f"{time * 1e6:.1f}",
            f"{time / total:.1%}",
            str(len(group)),
            f"{time / len(group) * 1e6:.1f}",
            str(kernel.task.extent),
            f"{first.folds * rate:.1f}" if first.folds else "",
            f"{first.bytes / 1024:.0f}",
            f"{first.bytes * rate:.1f}",
            kernel.name,
            first.launch.comment[:60],
        )
    return table
