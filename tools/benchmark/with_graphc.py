"""graphc's side of the benchmark: compile, call, and what its graphs say about the work there is to do."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import prod
from time import perf_counter, process_time

import numpy as np

import graphc as gc
from graphc import nn, optim
from graphc.driver import Stages
from graphc.ir.kernel import KernelProgram
from graphc.ir.values import Value, topological
from graphc.passes.liveness import liveness, lower_bound
from graphc.runtime.program import Program

from .prepared import Prepared
from .workloads import FREE, LEARNING_RATE, MOMENTUM, TO_FIRST, TO_LAST, TRAINED_STEPS, Workload, weights

STAGES = {
    "passes": "steps",
    "fuse": "fused",
    "lower": "kernels",
    "overwrite": "overwritten",
    "slice": "sliced",
    "place": "planned",
}


def build(workload: Workload) -> nn.Module:
    """The module with the weights of the workload."""
    net = workload.build(gc)
    net.load_state_dict(weights({name: value.shape for name, value in net.state_dict().items()}))
    return net.train(workload.training)


def declare(workload: Workload, net: nn.Module) -> gc.Function:
    """The function that is timed."""
    free = workload.layout == FREE  # channels come in last, and go out last
    shapes = [tuple(x.shape[i] for i in TO_LAST) if free else x.shape for x in workload.inputs]
    inputs = [gc.placeholder(s, x.dtype, name=f"x{i}") for i, (s, x) in enumerate(zip(shapes, workload.inputs, strict=True))]
    result = workload.output(gc, net, [x.permute(TO_FIRST) for x in inputs] if free else inputs)
    if free:
        result = result.permute(TO_LAST)
    if not workload.training:
        return gc.function(inputs, result)
    optimizer = optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    return gc.function(inputs, result, updates=optimizer.minimize(result))


def prepare(workload: Workload, threads: int, model: str, variant: str) -> Prepared:
    """Compile, in memory. The seconds count declaring the graph, too, but not making weights."""
    net, arrays = build(workload), given(workload)
    start = perf_counter()
    function, stages, program, times = compiled(workload, net, threads)
    seconds = perf_counter() - start
    trained = [parameter.value for parameter in net.parameters()] if workload.training else []
    facts = {"flops": float(flops(function, trained)), "bytes": float(moved(function, net))}
    run = program.run
    facts |= {"cpu_seconds": sum(times.values())} | {f"{stage}_cpu_s": time for stage, time in times.items()}
    facts |= memory(stages.planned)
    results = partial(_results, workload, program, net, arrays)
    return Prepared(lambda: run(*arrays), results, seconds, facts)


def compiled(workload: Workload, net: nn.Module, threads: int) -> tuple[gc.Function, Stages, Program, dict[str, float]]:
    """What is timed, and the seconds on a processor that each stage of making it took."""
    times, last = {}, process_time()

    def done(stage: str) -> None:
        nonlocal last
        now = process_time()
        times[stage], last = now - last, now

    function = declare(workload, net)
    done("declare")
    stages = Stages({"run": function}, freeze=not workload.training)
    for name, stage in STAGES.items():
        getattr(stages, stage)
        done(name)
    program = stages.compilation.load(threads)
    done("code")
    return function, stages, program, times


def given(workload: Workload) -> list[np.ndarray]:
    """The arrays for the function of `declare`."""
    return [x.transpose(TO_LAST) if workload.layout == FREE else x for x in workload.arrays()]


def _results(workload: Workload, program: Program, net: nn.Module, arrays: list[np.ndarray]) -> list[np.ndarray]:
    if not workload.training:
        y = program.run(*arrays)
        return [y.transpose(TO_FIRST) if workload.layout == FREE else y]
    losses = np.array([program.run(*arrays) for _ in range(TRAINED_STEPS)])
    return [losses, *(program.state[name].copy() for name, _ in net.named_parameters())]


def memory(program: KernelProgram) -> dict[str, float]:
    """Scratch memory, and the least that any plan of it needs."""
    bounds = [lower_bound(liveness(function.launches), len(function.launches)) for function in program.functions]
    return {"arena_bytes": float(program.arena_size), "arena_lower_bound": float(max(bounds))}


# ------------------------------------------------------------------------------------------------------- the work to do


def flops(function: gc.Function, trained: Iterable[Value]) -> int:
    """Operations of all products and convolutions, and of the gradients of their operands that depend on `trained`."""
    dependent, total = set(trained), 0
    for node in topological([x.value for x in function.outputs]):
        gradients = sum(x in dependent for x in node.operands)
        if gradients:
            dependent.add(node)
        total += _contracted(node) * (1 + gradients)
    return total


def _contracted(node: Value) -> int:
    """2 x multiplications of one node."""
    size = 2 * prod(node.shape)
    match node.op.name:
        case "dot_general":
            return size * prod(node.operands[0].shape[i] for i in node.attrs["contract"][0])
        case "conv_general":
            weight = node.operands[1].shape
            return size * prod(weight) // max(1, weight[node.attrs["rhs_spec"][0]])
    return 0


def moved(function: gc.Function, net: nn.Module) -> int:
    """Bytes of inputs, outputs and weights."""
    tensors = [*function.inputs, *function.outputs, *net.parameters()]
    return sum(prod(x.shape) * x.dtype.size for x in tensors)
