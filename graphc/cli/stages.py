"""A model at every level between the user's file and machine code: to read, and to run.

In: the driver's stages of a compilation. Out: the text of one of STAGES, or what a function computes there: on numpy for
graphs, on the slow, bounds-checked interpreter for kernels.

    graph -> (graph passes, by name) -> kernels -> planned -> ll -> asm      for GPUs: cu -> ptx
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..driver import Stages
from ..export import Compilation
from ..export_cuda import CudaCompilation
from ..interp.graph import run as run_graph
from ..interp.kernel import run_function
from ..ir.graph import Graph
from ..ir.program_text import print_program
from ..ir.text import print_graph
from ..passes.pipelines import GRAPH
from .models import UserError


def pass_names() -> tuple[str, ...]:
    """The graph passes in order; one that runs again gets a number."""
    names = [step.name for step in GRAPH]
    counts = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return tuple(name if count == 1 else f"{name}-{count}" for name, count in zip(names, counts, strict=True))


GRAPHS = ("graph", *pass_names())
STAGES = (*GRAPHS, "kernels", "planned", *Compilation.texts)
GPU_STAGES = (*GRAPHS, "kernels", "planned", *CudaCompilation.texts)
RUNNABLE = (*GRAPHS, "kernels", "planned")


def text(stages: Stages, stage: str) -> str:
    """The program at a stage, for readers: without the contents of large arrays."""
    if stage in GRAPHS:
        return "\n".join(print_graph(_graph(stages, name, stage), elide=True) for name in stages.functions)
    if stage in ("kernels", "planned"):
        return print_program(getattr(stages, stage), elide=True)
    if stage in stages.compilation.texts:
        return stages.compilation.emit(stage).decode()
    if stage in (*STAGES, *GPU_STAGES):
        made = ", ".join(stages.compilation.texts)
        raise UserError(f"error: there is no stage {stage!r} on the way to target {stages.target}, which goes by {made}")
    raise UserError(f"error: there is no stage {stage!r}; expected one of {', '.join(STAGES)}")


def run_at(stages: Stages, stage: str, name: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What function `name` gives at a stage, from the initial state."""
    if stage in GRAPHS:
        graph = _graph(stages, name, stage)
        if any(value.op.name == "grad" for value in graph.values()):
            raise UserError(f"error: {name} holds gradients, which have no numbers before autodiff: use --emit {GRAPHS[1]}")
        return run_graph(graph, inputs, {})
    if stage in RUNNABLE:
        return run_function(getattr(stages, stage), name, inputs)
    raise UserError(f"error: nothing runs at {stage!r}; expected one of {', '.join(RUNNABLE)}")


def _graph(stages: Stages, name: str, stage: str) -> Graph:
    if stage == "graph":
        return stages.functions[name].graph(name)
    return stages.steps[name][pass_names().index(stage)].after
