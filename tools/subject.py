"""One random graph on its way through the compiler, and every way of running it.

In: a `Case`. Out: what numpy, the kernel interpreter and native code compute, judged by the reference (rounding.py): a result
that cannot be right raises `Wrong`. Graphs are compiled many at a time, for this processor, for others that run here or are
emulated, for caches of another size, in any way that may be measured, and as source for GPUs: `TARGETS`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import emulated_aarch64
import numpy as np
from emulated_cuda import CudaFault, Net
from random_graphs import Case
from rounding import Expected, expect, sorted_variables

from graphc.codegen import sharing
from graphc.codegen.cuda.target import DEFAULT_OPTIONS, Options
from graphc.codegen.target import Target, host, named
from graphc.driver import GPU_THREAD, machine
from graphc.export import Compilation
from graphc.interp.graph import run
from graphc.interp.kernel import initial_state, run_function
from graphc.ir.graph import Graph
from graphc.ir.kernel import KernelProgram
from graphc.ir.program_verify import verify_program
from graphc.ir.values import Value
from graphc.ir.verify import verify_graph
from graphc.passes.autodiff import autodiff
from graphc.passes.buffers import plan_buffers
from graphc.passes.fuse import fuse
from graphc.passes.lower import lower
from graphc.passes.manager import run_passes
from graphc.passes.pipelines import GRAPH
from graphc.passes.schedule import Problem, Scheduler, choose, offers
from graphc.passes.split_reductions import split_reductions
from graphc.passes.tiles import Schedule
from graphc.passes.updates import extract_updates
from graphc.runtime.program import Program

THREADS = (1, 2, 3)
SMALL = 1 << 9  # divides the caches of small ones
KERNEL_WORK = 20_000  # elements computed by the kernel interpreter in one call; larger graphs are left to native code

Results = list[list[np.ndarray]]


class Wrong(AssertionError):
    """A stage computed something else."""


class Subject:
    """One case on its way through the compiler."""

    def __init__(self, case: Case, name: str) -> None:
        self.name, self.calls = name, case.calls
        self.source = replace(case.graph, name=name)
        self.plain = extract_updates(autodiff(self.source))
        self.variables = sorted_variables(self.plain)
        self.expected = self.expectations(4)
        self.optimised = run_passes(self.source, GRAPH)
        verify_graph(self.optimised)

    def expectations(self, runs: int) -> list[list[Expected]]:
        return expect(self.plain, self.calls, self.initial(), runs)

    def initial(self) -> dict[Value, np.ndarray]:
        return {v: v.attrs["info"].initial for v in self.variables}

    def judge(self, stage: str, results: Results) -> None:
        """Raise Wrong unless the results may be right."""
        if self._first_wrong(results, self.expected) is None:
            return
        found = self._first_wrong(results, self.expectations(40))  # a rounding that was never moved far enough
        if found is not None:
            raise Wrong(f"{stage}: {found}")

    def _first_wrong(self, results: Results, expected: list[list[Expected]]) -> str | None:
        for call, (got, want) in enumerate(zip(results, expected, strict=True)):
            for n, (a, e) in enumerate(zip(got, want, strict=True)):
                wrong = e.wrong(a)
                if wrong.any():
                    place = tuple(np.argwhere(wrong)[0].tolist())
                    outputs = len(self.plain.outputs)
                    what = f"output {n}" if n < outputs else f"variable {self.variables[n - outputs].attrs['info'].name}"
                    return (
                        f"call {call}, {what} {a.dtype}{list(a.shape)}: {int(wrong.sum())} wrong, at {list(place)} "
                        f"{a[place]!r}, expected {e.reference[place]!r} +- {e.slack[place]:.3g}"
                    )
        return None

    def numpy_results(self, graph: Graph) -> Results:
        state = self.initial()
        results = []
        for arrays in self.calls:
            with np.errstate(all="ignore"):
                outputs = run(graph, arrays, state)
            results.append([*outputs, *(state[v] for v in self.variables)])
        return results

    def check_graphs(self) -> None:
        """The interpreter on the graph without markers, and on what the passes made of it."""
        self.judge("autodiff and updates", self.numpy_results(autodiff(self.source)))
        self.judge("graph passes", self.numpy_results(self.optimised))

    def is_small(self) -> bool:
        return sum(v.type.size for v in self.optimised.values()) <= KERNEL_WORK and not any(
            v.op.name in ("dot_general", "conv_general", "scatter", "argsort") and v.type.size > 500
            for v in self.optimised.values()
        )

    def check_kernels(self) -> None:
        """The kernel interpreter, before and after memory is planned."""
        separate = lower([fuse(self.optimised)], machine(host()))
        shared = plan_buffers(separate, machine(host()))
        for stage, program in (("lowering", separate), ("memory plan", shared)):
            verify_program(program)
            for backwards in (False, True):
                self.judge(stage, self._interpret(program, backwards))

    def _interpret(self, program: KernelProgram, backwards: bool) -> Results:
        state = initial_state(program)
        arrays = {buffer.name: array for buffer, array in state.items()}
        results = []
        for inputs in self.calls:
            outputs = run_function(program, self.name, inputs, state, backwards)
            results.append([*outputs, *self._copies(arrays)])
        return results

    def _copies(self, state: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
        for v in self.variables:
            info = v.attrs["info"]
            yield state[info.name].copy() if info.name in state else info.initial

    def check_native(self, programs: Sequence[Program], stage: str) -> None:
        """Native code; the same bytes on any number of threads."""
        first: list[list[bytes]] | None = None
        for threads, program in zip(THREADS, programs, strict=True):
            results = []
            for arrays in self.calls:
                outputs = getattr(program, self.name)(*arrays)
                results.append([*outputs, *self._copies({name: program.state[name] for name in program.state})])
            self.judge(stage, results)
            bytes_ = [[x.tobytes() for x in call] for call in results]
            if first is not None and bytes_ != first:
                raise Wrong(f"{stage}: {threads} threads give other bytes than {THREADS[0]}")
            first = bytes_

    def check_emulated(self, net: Net | emulated_aarch64.Net, stage: str) -> None:
        """What runs elsewhere, with the accesses checked that would be fatal there."""
        results = []
        for arrays in self.calls:
            try:
                outputs = net.call(self.name, *arrays)
            except (CudaFault, emulated_aarch64.Fault) as fault:
                raise Wrong(f"{stage}: {fault}") from fault
            results.append([*outputs, *self._copies(net.state)])
        self.judge(stage, results)


def any_schedule(problem: Problem) -> Schedule:
    """One of those that may be measured, whatever it costs; the same whenever it is asked for."""
    return Random(repr(problem)).choice(offers(problem, 1000))


def scheduled(graphs: Sequence[Graph], target: Target, caches: int = 1, scheduler: Scheduler = choose) -> KernelProgram:
    """The graphs as one program. `caches` divides those of the target."""
    core = machine(target)
    core = replace(core, l1=core.l1 // caches, l2=core.l2 // caches)
    return plan_buffers(lower([fuse(graph) for graph in graphs], core, scheduler=scheduler), core)


def compile_native(
    graphs: Sequence[Graph], target: Target | None = None, caches: int = 1, scheduler: Scheduler = choose
) -> list[Program]:
    """The graphs compiled once, for this machine or one that it can be, and loaded for each number of threads."""
    target, structures = target or host(), {graph.name: "list" for graph in graphs}
    compilation = Compilation(scheduled(graphs, target, caches, scheduler), "net", target, structures)
    with patch.multiple(sharing, PARALLEL_WORK=0, SHARED_WORK=0, CHUNK_WORK=100):  # even the smallest launches are shared
        library = compilation.library()
    return [Program(library, n) for n in THREADS]


def compile_aarch64(graphs: Sequence[Graph]) -> emulated_aarch64.Net:
    """The graphs compiled and linked for another processor, which is emulated."""
    return emulated_aarch64.Net(scheduled(graphs, emulated_aarch64.TARGET))


def compile_cuda(graphs: Sequence[Graph], options: Options = DEFAULT_OPTIONS) -> Net:
    """The graphs as one source for GPUs, compiled for this processor."""
    fused = [fuse(split_reductions(graph, trees=GPU_THREAD.trees)) for graph in graphs]
    with tempfile.TemporaryDirectory() as folder:
        return Net(plan_buffers(lower(fused, GPU_THREAD), GPU_THREAD), Path(folder), flags=("-O0",), options=options)


# How graphs are compiled together, and how one of them is run, by the name that a failure starts with.
TARGETS: dict[str, tuple[Callable[[Sequence[Graph]], Any], Callable[..., None]]] = {
    "native code": (compile_native, Subject.check_native),
    "small caches": (partial(compile_native, caches=SMALL), Subject.check_native),
    "any schedule": (partial(compile_native, caches=SMALL, scheduler=any_schedule), Subject.check_native),
    "x86-64": (partial(compile_native, target=named("x86-64")), Subject.check_native),
    "x86-64-v3": (partial(compile_native, target=named("x86-64-v3")), Subject.check_native),
    "aarch64": (compile_aarch64, Subject.check_emulated),
    "CUDA source": (compile_cuda, Subject.check_emulated),
}
NATIVE = ("native code",)
OTHERS = ("x86-64", "x86-64-v3", "aarch64")  # the first two run where the processor is one
