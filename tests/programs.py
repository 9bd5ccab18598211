"""The way from graphs to programs, a step at a time, for tests that look in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from graphc.codegen import abi
from graphc.codegen.llvm.build import Jit
from graphc.codegen.llvm.entry import emit_program
from graphc.codegen.target import host
from graphc.driver import machine
from graphc.export import Compilation
from graphc.ir.graph import Graph
from graphc.ir.kernel import KernelProgram
from graphc.passes.buffers import plan_buffers
from graphc.passes.fuse import fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine
from graphc.passes.manager import run_passes
from graphc.passes.pipelines import GRAPH
from graphc.runtime.library import Library
from graphc.runtime.program import Program

HOST = machine(host())


def optimised(graph: Graph) -> Graph:
    """After all graph passes."""
    return run_passes(graph, GRAPH)


def planned(graphs: Iterable[Graph], target: Machine = HOST) -> KernelProgram:
    """The graphs (after all graph passes) as kernels over planned buffers."""
    return plan_buffers(lower([fuse(graph) for graph in graphs], target))


def natives(program: KernelProgram, threads: Sequence[int]) -> list[Program]:
    """The program compiled once for this machine, loaded once for each number of threads. Results are lists."""
    compilation = Compilation(program, "net", host(), {function.name: "list" for function in program.functions})
    jit = Jit(emit_program(program, "net", host(), embed_initial=False), host())
    set_state = partial(abi.set_state, program)
    library = Library(compilation.manifest(), jit.address, compilation.product, abi.constants(program), set_state)
    return [Program(library, n) for n in threads]
