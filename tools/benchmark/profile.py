"""Where graphc's time goes: every launch of a program compiled as a function of its own, and timed.

In: a workload. Out: a table of kernels, slowest first, with the rate of their multiply-adds. The launches run in order
once, so that each finds the memory it reads written; barriers between them are not part of any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from time import perf_counter

import numpy as np
from rich.table import Table

from graphc.codegen.target import host
from graphc.driver import Stages
from graphc.export import Compilation
from graphc.ir.kernel import Accumulate, For, If, KernelProgram, Launch, Stmt
from graphc.runtime.program import CompiledFunction

from .with_graphc import build, declare
from .workloads import Workload

SHOWN = 15


@dataclass(frozen=True)
class Part:
    """One launch and the seconds it takes."""

    launch: Launch
    seconds: float


def taken_apart(program: KernelProgram) -> KernelProgram:
    """The same memory, one function k0, k1 ... for each launch of the first function, with all its inputs and outputs."""
    (function, *_) = program.functions
    parts = (replace(function, name=f"k{i}", launches=(launch,)) for i, launch in enumerate(function.launches))
    return replace(program, functions=(*parts, replace(function, name="whole")))


def measure(workload: Workload, threads: int, seconds: float) -> tuple[list[Part], float]:
    """Each launch, and the whole function."""
    function = declare(workload, build(workload))
    planned = Stages({"run": function}).planned
    apart = taken_apart(planned)
    compilation = Compilation(apart, "net", host(), {f.name: "list" for f in apart.functions})
    with compilation.load(threads) as program:
        calls = [program.functions[f.name] for f in apart.functions]
        arrays = workload.arrays()
        outputs = [np.empty(port.shape, port.dtype.numpy) for port in calls[0].signature.outputs]
        for call in calls:
            call(*arrays)
        times = [_seconds(call, arrays, outputs, seconds) for call in calls]
    parts = [Part(launch, time) for launch, time in zip(planned.functions[0].launches, times, strict=False)]
    return parts, times[-1]


def _seconds(call: CompiledFunction, arrays: list[np.ndarray], outputs: list[np.ndarray], seconds: float) -> float:
    """Of the fastest call, of the entry point alone: the pointers are ready, and no output is allocated."""
    net, native = call._net, call._native
    pointers = [x.ctypes.data for x in (*arrays, *outputs)]
    fastest, end = inf, perf_counter() + seconds
    while fastest == inf or perf_counter() < end:
        start = perf_counter()
        native(net.address, *pointers)
        fastest = min(fastest, perf_counter() - start)
    return fastest


def folded(body: Iterable[Stmt]) -> int:
    """Multiply-adds of a contraction, and additions of a sum, each counted as two operations: what `body` accumulates."""
    total = 0
    for stmt in body:
        match stmt:
            case Accumulate():
                total += 2
            case For():
                total += stmt.var.extent * folded(stmt.body)
            case If():
                total += folded(stmt.then) + folded(stmt.orelse)
    return total


def profile(workload: Workload, threads: int, seconds: float) -> Table:
    """The slowest launches, with what they compute."""
    parts, whole = measure(workload, threads, seconds)
    total = sum(part.seconds for part in parts)
    title = f"{workload.name}, {threads} threads: {whole * 1e3:.4f} ms whole, {total * 1e3:.4f} ms in {len(parts)} launches"
    table = Table("us", "share", "tasks", "folds", "GFLOP/s", "kernel", "values", title=title)
    for column in table.columns[:5]:
        column.justify = "right"
    for part in sorted(parts, key=lambda part: -part.seconds)[:SHOWN]:
        kernel = part.launch.kernel
        done = kernel.task.extent * folded(kernel.body)
        table.add_row(
            f"{part.seconds * 1e6:.1f}",
            f"{part.seconds / total:.0%}",
            str(kernel.task.extent),
            str(done),
            f"{done / part.seconds / 1e9:.1f}" if done else "",
            kernel.name,
            part.launch.comment[:60],
        )
    return table
