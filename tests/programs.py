"""The way from graphs to programs, a step at a time, for tests that look in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from laws import assert_close

from graphc.codegen.target import Target, host, named
from graphc.driver import machine
from graphc.dtype import dtype
from graphc.export import Compilation
from graphc.interp.graph import run
from graphc.interp.kernel import initial_state, run_function
from graphc.ir.graph import Graph
from graphc.ir.kernel import KernelProgram
from graphc.ir.program_verify import verify_program
from graphc.ir.values import Value
from graphc.passes.buffers import plan_buffers
from graphc.passes.fuse import FusedGraph, fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine
from graphc.passes.manager import run_passes
from graphc.passes.pipelines import GRAPH
from graphc.passes.schedule import Scheduler, choose
from graphc.runtime.program import Program

HOST = machine(host())


def runnable(*specs: str) -> list[Target]:
    """Those of some named targets of x86-64 whose code this processor runs."""
    targets = map(named, specs)
    return [target for target in targets if host().arch == target.arch and host().vector_bits >= target.vector_bits]


def optimised(graph: Graph) -> Graph:
    """After all graph passes."""
    return run_passes(graph, GRAPH)


def planned(graphs: Iterable[Graph], target: Machine = HOST) -> KernelProgram:
    """The graphs (after all graph passes) as kernels over planned buffers."""
    return plan_buffers(lower([fuse(graph) for graph in graphs], target), target)


def natives(program: KernelProgram, threads: Sequence[int], target: Target | None = None) -> list[Program]:
    """The program compiled once, for this machine or one that it can be, loaded once for each number of threads. Results
    are lists."""
    library = Compilation(program, "net", target or host(), {f.name: "list" for f in program.functions}).library()
    return [Program(library, n) for n in threads]


def check_kernels(
    graph: Graph, target: Machine = HOST, calls: int = 2, seed: int = 0, scheduler: Scheduler = choose
) -> FusedGraph:
    """Kernels, in memory of their own and in planned memory, compute what numpy does, call after call, variables too."""
    fused = fuse(graph)
    separate = lower([fused], target, scheduler=scheduler)
    for program in (separate, plan_buffers(separate, target)):
        verify_program(program)
        for backwards in (False, True):
            _compare(graph, program, calls, seed, backwards)
    return fused


def _compare(graph: Graph, program: KernelProgram, calls: int, seed: int, backwards: bool) -> None:
    rng = np.random.default_rng(seed)
    expected_state: dict[Value, np.ndarray] = {v: v.attrs["info"].initial for v in graph.variables()}
    state = initial_state(program)
    by_name = {buffer.name: array for buffer, array in state.items()}
    for _ in range(calls):
        arrays = [random_array(rng, x) for x in graph.inputs]
        expected = run(graph, arrays, expected_state)
        outputs = run_function(program, graph.name, arrays, state, backwards)
        for a, b in zip(outputs, expected, strict=True):
            _assert_near(a, b)
        for variable in graph.variables():
            _assert_near(by_name[variable.attrs["info"].name], expected_state[variable])


def random_array(rng: np.random.Generator, x: Value) -> np.ndarray:
    """Data for an input."""
    draw = rng.standard_normal(x.shape) if x.dtype.is_float else rng.integers(0, 2 if x.dtype.is_bool else 5, x.shape)
    return np.asarray(draw).astype(x.dtype.numpy)


def _assert_near(actual: np.ndarray, expected: np.ndarray) -> None:
    scale = np.abs(expected.astype(np.float64)).max(initial=0) if dtype(expected.dtype).is_float else 0
    assert_close(actual, expected, dtype(expected.dtype), slack=16, scale=float(scale))


def clusters(fused: FusedGraph) -> list[tuple[str, list[str]]]:
    """Kind and ops of every cluster, in the order they run."""
    return [(c.kind, [v.op.name for v in c.members]) for c in fused.clusters]
