"""What each stage did to a program, as a table: kernels and bytes of intermediate results, before -> after.

In: the driver's stages. Out: a rich table. Before fusion every value that computes counts as a kernel and has memory of its
own; afterwards a kernel is a launch, and memory is what the launches need beside inputs, outputs and variables.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from rich.table import Table

from ..driver import Stages
from ..ir.kernel import ARENA, Buffer, KernelFunction, KernelProgram
from ..passes.fuse import FusedGraph
from ..passes.liveness import liveness, lower_bound


class Row(NamedTuple):
    stage: str
    kernels: int
    nbytes: int
    milliseconds: float | None = None


def passes_table(stages: Stages) -> Table:
    """One section per function, one row per stage, then what the program needs as a whole."""
    table = Table("function", "stage", "kernels", "memory", "ms", title="what each stage leaves: before -> after")
    for column in table.columns[2:]:
        column.justify = "right"
    for number, name in enumerate(stages.functions):
        rows = list(rows_of(stages, name, number))
        for before, after in pairwise(rows):
            time = "" if after.milliseconds is None else f"{after.milliseconds:.1f}"
            kernels = _change(str(before.kernels), str(after.kernels))
            table.add_row(name, after.stage, kernels, _change(kibibytes(before.nbytes), kibibytes(after.nbytes)), time)
        launches = stages.planned.functions[number].launches
        bound = lower_bound(liveness(launches), len(launches))
        table.add_row(name, "(no plan needs less than)", "", kibibytes(bound), "", end_section=True)
    planned = stages.planned
    table.add_row("(all)", "arena", "", kibibytes(planned.arena_size), "")
    table.add_row("(all)", f"{len(planned.variables)} variables", "", kibibytes(planned.state_size), "")
    return table


def rows_of(stages: Stages, name: str, number: int) -> Iterator[Row]:
    """What a function looks like before the first stage, and after each."""
    steps = stages.steps[name]
    yield Row("graph", steps[0].sizes[0].kernels, steps[0].sizes[0].nbytes)
    for step in steps:
        after = step.sizes[1]
        yield Row(step.done.name, after.kernels, after.nbytes, step.seconds * 1e3)
    yield _fused(stages.fused[number])
    yield _launched("lower", stages.kernels, number)
    yield _launched("overwrite", stages.overwritten, number)
    yield _launched("slice", stages.sliced, number)
    yield Row("place", len(stages.planned.functions[number].launches), _extent(stages.planned, number))


def _fused(fused: FusedGraph) -> Row:
    return Row("fuse", len(fused.clusters), sum(value.type.nbytes for value in fused.stored))


def _launched(stage: str, program: KernelProgram, number: int) -> Row:
    function = program.functions[number]
    return Row(stage, len(function.launches), sum(b.nbytes for b in _arena(function)))


def _arena(function: KernelFunction) -> set[Buffer]:
    return {b for launch in function.launches for b in launch.args if b.kind == ARENA}


def _extent(program: KernelProgram, number: int) -> int:
    """Bytes of the arena that one function uses."""
    return max((program.offsets[b] + b.nbytes for b in _arena(program.functions[number])), default=0)


def kibibytes(size: int) -> str:
    return f"{size / 1024:.1f} KiB"


def _change(before: str, after: str) -> str:
    return after if before == after else f"{before} -> {after}"
