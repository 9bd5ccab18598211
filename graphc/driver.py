"""The composition root: user's functions -> graphs -> passes -> kernels -> target -> program.

In: `gc.function` objects by name. Out: a `Program` that runs in this process (`compile`), or the `Compilation` behind it,
from which every later stage can be had (`build`). This is the only file that knows the whole way.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .codegen.target import Target, named
from .config import default_seed
from .errors import GraphError
from .export import Compilation
from .function import Function
from .ir.graph import Graph
from .passes.autodiff import autodiff
from .passes.buffers import plan_buffers
from .passes.canonicalize import canonicalize
from .passes.expand import expand
from .passes.fold import fold
from .passes.fuse import fuse
from .passes.lower import lower
from .passes.machine import Machine
from .passes.split_reductions import split_reductions
from .passes.updates import extract_updates, remove_stop_gradient
from .runtime.program import Program
from .tensor.random import SEED

GRAPH_PASSES = (autodiff, extract_updates, remove_stop_gradient, canonicalize, fold, expand, canonicalize, split_reductions)


def compile(
    *, target: str = "cpu", threads: int | None = None, seed: int | None = None, name: str = "net", **functions: Function
) -> Program:
    """Compile functions over shared variables into one program; `program.f(arrays)` runs function `f`.

    target: "cpu" is this machine. threads: None means GRAPHC_THREADS, else the processors this process may use; results
    do not depend on it. seed: where the program's random numbers start (default: `gc.manual_seed`, else 0).
    Raises GraphError for something that is no `gc.function`, CompileError for what the target cannot compile.
    """
    return build(functions, target=target, seed=seed, name=name).load(threads)


def build(
    functions: Mapping[str, Function], *, target: str = "cpu", seed: int | None = None, name: str = "net"
) -> Compilation:
    """The compiled program before it is loaded or written."""
    for key, function in functions.items():
        if not isinstance(function, Function):
            raise GraphError(f"compile: {key} is a {type(function).__name__}, not a gc.function; wrap it: gc.function([x], y)")
    if not functions:
        raise GraphError("compile: there is nothing to compile; name at least one function: gc.compile(predict=predict)")
    machine_code = named(target)
    graphs = [_optimised(function.graph(key)) for key, function in functions.items()]
    initial = {SEED.value: np.array(default_seed() if seed is None else seed, np.int64)}
    program = plan_buffers(lower([fuse(graph) for graph in graphs], machine(machine_code), initial))
    structures = {key: _structure(function) for key, function in functions.items()}
    return Compilation(program, name, machine_code, structures)


def _structure(function: Function) -> str | tuple[str, ...]:
    return function.output_names if function.structure == "dict" else function.structure


def _optimised(graph: Graph) -> Graph:
    for run in GRAPH_PASSES:
        graph = run(graph)
    return graph


def machine(target: Target) -> Machine:
    """The numbers of a target that passes schedule for."""
    return Machine(target.vector_bits // 8, target.vector_registers, target.l1_bytes, target.l2_bytes)
