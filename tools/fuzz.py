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
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from random import Random

import click
from emulated_cuda import COMPILER
from random_graphs import Case, random_case
from reduce_case import reduce_case
from subject import NATIVE, OTHERS, TARGETS, Subject, Wrong

from graphc.ir.text import print_graph

BATCH = 16


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


# -------------------------------------------------------------------------------------------------------- many of them


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
