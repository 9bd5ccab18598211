"""Compiles random graphs and compares every way of running them.

In: seeds. Out: counts, and for every failure the stage that went wrong, the seed, and the text of a graph cut down to what
still fails. Each graph is run by numpy as it was written and after the graph passes, by the kernel interpreter, and as
native code on 1, 2 and 3 threads, which must agree to the byte. Native code is compiled for many graphs at a time. With
--small-caches it is also scheduled for caches that the values of these graphs do not fit, which large ones have to do, and
with --any-schedule products are computed there in any way that may be measured; with --target code is made for other
processors, too, and with --cuda the source for GPUs is run, on this processor (emulated_aarch64.py, emulated_cuda.py).

    python tools/fuzz.py --graphs 2000 --seed 0 --jobs 2        exit code 1 if anything failed
    python tools/fuzz.py --graphs 1 --seed 137                  one graph again
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import click
import emulated_aarch64
import numpy as np
from emulated_cuda import COMPILER, CudaFault, Net
from random_graphs import Case, random_case
from reduce_case import reduce_case
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
from graphc.ir.text import print_graph
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
BATCH = 16
SMALL = 1 << 9  # divides the caches of --small-caches
KERNEL_WORK = 20_000  # elements computed by the kernel interpreter in one call; larger graphs are left to native code

Results = list[list[np.ndarray]]


@dataclass
class Failure:
    """What went wrong in which stage; `graph` is cut down if the failure could be repeated."""

    seed: int
    stage: str
    message: str
    graph: str = ""

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.stage}: {self.message}\n{self.graph}"


@dataclass
class Report:
    """What a number of graphs gave."""

    graphs: int = 0
    values: int = 0
    interpreted: int = 0
    elements: int = 0
    judged: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Report) -> None:
        for name in ("graphs", "values", "interpreted", "elements", "judged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures += other.failures

    def __str__(self) -> str:
        share = 100 * self.judged / max(self.elements, 1)
        return (
            f"{self.graphs} graphs of {self.values / max(self.graphs, 1):.0f} values, {self.interpreted} of them by the kernel "
            f"interpreter, {share:.1f} % of {self.elements} elements judged, {len(self.failures)} failures"
        )


class Wrong(AssertionError):
    """A stage computed something else."""


# ------------------------------------------------------------------------------------------------------------- one graph


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


# -------------------------------------------------------------------------------------------------------- many of them


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


def check_all(case: Case, targets: Sequence[str] = NATIVE) -> None:
    """Every comparison on one case, compiled alone. Raises what went wrong."""
    subject = Subject(case, "f")
    subject.check_graphs()
    if subject.is_small():
        subject.check_kernels()
    for target in targets:
        compile_graphs, check = TARGETS[target]
        check(subject, compile_graphs([subject.optimised]), stage=target)


def check_batch(seeds: Sequence[int], targets: Sequence[str] = NATIVE, share: float = 0.3) -> Report:
    """One graph a seed, compiled together; what fails is run again alone and cut down."""
    report = Report(graphs=len(seeds))
    subjects: list[Subject] = []
    suspects: list[int] = []
    for seed in seeds:
        try:
            subject = Subject(case_of(seed), f"f{seed}")
            subject.check_graphs()
            if Random(seed).random() < share and subject.is_small():
                report.interpreted += 1
                subject.check_kernels()
            subjects.append(subject)
        except Exception:
            suspects.append(seed)
            continue
        report.values += len(subject.optimised.values())
        for e in (e for call in subject.expected for e in call):
            report.elements += e.sure.size
            report.judged += int(e.sure.sum())
    for target in targets if subjects else ():
        compile_graphs, check = TARGETS[target]
        try:
            program = compile_graphs([s.optimised for s in subjects])
        except Exception as error:
            alone = [f for s in subjects if (f := examine(int(s.name[1:]), (target,))) is not None]
            report.failures += alone or [Failure(seeds[0], "batch", f"{len(seeds)} graphs together: {error!r}")]
        else:
            suspects += [int(s.name[1:]) for s in subjects if _fails(partial(check, s, program, stage=target))]
    for seed in suspects:
        report.failures.append(
            examine(seed, targets) or Failure(seed, "batch", "fails only when compiled together with others")
        )
    return report


def case_of(seed: int) -> Case:
    return random_case(Random(seed), f"f{seed}")


def _fails(check: Callable[[], None]) -> Exception | None:
    try:
        check()
    except Exception as error:
        return error
    return None


def examine(seed: int, targets: Sequence[str] = NATIVE) -> Failure | None:
    """Run one seed alone; on failure, cut the graph down."""
    case = case_of(seed)
    error = _fails(lambda: check_all(case, targets))
    if error is None:
        return None
    failed = [target for target in targets if str(error).startswith(target)]
    smallest, error = reduce_case(case, error, lambda smaller: _fails(lambda: check_all(smaller, failed)))
    where = _frame(error)
    return Failure(seed, type(error).__name__, f"{error}{where}"[:1500], print_graph(smallest.graph))


def _frame(error: Exception) -> str:
    """The innermost place of an exception that no comparison raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if isinstance(error, Wrong) or trace is None:
        return ""
    return f" [{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}]"


# ------------------------------------------------------------------------------------------------------------------ CLI


def _alone(seed: int, targets: Sequence[str]) -> Report:
    """In a process of its own: a crash is a failure too."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(check_batch, [seed], targets).result()
        except BrokenProcessPool:
            return Report(graphs=1, failures=[Failure(seed, "crash", "the process died", print_graph(case_of(seed).graph))])


def fuzz(first: int, graphs: int, jobs: int, targets: Sequence[str], show: Callable[[Failure], None]) -> Report:
    """All seeds from `first`, in batches."""
    batches = [list(range(n, min(n + BATCH, first + graphs))) for n in range(first, first + graphs, BATCH)]
    report = Report()
    while batches:
        done: list[list[int]] = []
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            running = [(batch, pool.submit(check_batch, batch, targets)) for batch in batches]
            for batch, future in running:
                try:
                    part = future.result()
                except BrokenProcessPool:
                    break
                done.append(batch)
                report.add(part)
                for failure in part.failures:
                    show(failure)
        batches = batches[len(done) :]
        if batches:  # the process died in this batch or one that ran beside it
            for seed in batches.pop(0):
                part = _alone(seed, targets)
                report.add(part)
                for failure in part.failures:
                    show(failure)
    return report


@click.command()
@click.option("--graphs", default=200, help="How many random graphs.")
@click.option("--seed", default=0, help="Seed of the first one; the next ones follow.")
@click.option("--jobs", default=1, help="Processes.")
@click.option("--small-caches", is_flag=True, help="Schedule for small caches, too.")
@click.option("--any-schedule", is_flag=True, help="Compute products in any way, too.")
@click.option("--target", "others", multiple=True, type=click.Choice(OTHERS), help="Compile for this processor, too.")
@click.option("--cuda", is_flag=True, help="Run the source for GPUs too, on this processor; needs g++.")
def main(
    graphs: int, seed: int, jobs: int, small_caches: bool, any_schedule: bool, others: tuple[str, ...], cuda: bool
) -> None:
    """Compare numpy, the kernel interpreter and native code on random graphs."""
    if cuda and COMPILER is None:
        raise click.UsageError("--cuda needs g++, which was not found")
    start = time.monotonic()
    asked = {"small caches": small_caches, "any schedule": any_schedule, **dict.fromkeys(others, True), "CUDA source": cuda}
    targets = (*NATIVE, *(target for target, wanted in asked.items() if wanted))
    report = fuzz(seed, graphs, jobs, targets, lambda failure: click.echo(f"{failure}\n", nl=True))
    click.echo(f"{report} in {time.monotonic() - start:.0f} s")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
