"""A model at every level between the user's file and machine code, for readers.

In: functions and a target. Out: `Stages`: the text of any stage by name, and what each graph pass did.

    graph -> (graph passes, by name) -> kernels -> planned -> ll -> asm
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from ..codegen.target import named
from ..driver import build, machine
from ..export import Compilation
from ..function import Function
from ..ir.kernel import KernelProgram
from ..ir.program_text import print_program
from ..ir.text import print_graph
from ..passes.fuse import fuse
from ..passes.inspector import Inspector
from ..passes.lower import lower
from ..passes.manager import Step, run_passes
from ..passes.pipelines import GRAPH
from .models import UserError


def pass_names() -> tuple[str, ...]:
    """The graph passes in order; one that runs again gets a number."""
    result: list[str] = []
    for step in GRAPH:
        count = sum(name.split("-")[0] == step.name for name in result)
        result.append(f"{step.name}-{count + 1}" if count else step.name)
    return tuple(result)


STAGES = ("graph", *pass_names(), "kernels", "planned", "ll", "asm")


class Stages:
    """Everything is made when it is first asked for."""

    def __init__(self, functions: Mapping[str, Function], target: str, name: str) -> None:
        self._functions, self._target, self._name = functions, target, name

    def text(self, stage: str) -> str:
        """The text of one of STAGES."""
        if stage in ("graph", *pass_names()):
            return "\n".join(self._graph_texts(stage))
        if stage == "kernels":
            return print_program(self.kernels, elide=True)
        if stage == "planned":
            return print_program(self.compilation.program, elide=True)
        if stage in ("ll", "asm"):
            return self.compilation.emit(stage).decode()
        raise UserError(f"error: there is no stage {stage!r}; expected one of {', '.join(STAGES)}")

    def _graph_texts(self, stage: str) -> list[str]:
        if stage == "graph":
            return [print_graph(function.graph(name), elide=True) for name, function in self._functions.items()]
        number = pass_names().index(stage)
        return [print_graph(steps[number].after, elide=True) for steps in self.steps.values()]

    @cached_property
    def steps(self) -> dict[str, list[Step]]:
        """What each graph pass did, by function."""
        result = {}
        for name, function in self._functions.items():
            inspector = Inspector()
            run_passes(function.graph(name), GRAPH, inspector)
            result[name] = inspector.steps
        return result

    @cached_property
    def kernels(self) -> KernelProgram:
        """The program before its buffers share memory."""
        return lower([fuse(steps[-1].after) for steps in self.steps.values()], machine(named(self._target)))

    @cached_property
    def compilation(self) -> Compilation:
        return build(self._functions, target=self._target, name=self._name)
