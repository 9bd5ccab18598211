"""Every sample of every op, and its gradient, as compiled for other processors: those that this one can be, and aarch64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import emulated_aarch64
import numpy as np
import pytest
from programs import natives, optimised, planned, runnable
from registry import (
    COMPUTED,
    DIFFERENTIABLE,
    agree,
    agree_on_gradients,
    forward_graph,
    gradient_graph,
    reference,
    smooth_samples,
)

from graphc.codegen.target import Target, host, named
from graphc.driver import machine
from graphc.ir.graph import Graph
from graphc.ir.op import Op

Call = Callable[..., Sequence[np.ndarray]]  # a function's name, and its arrays

TARGETS = [*runnable("x86-64", "x86-64-v3"), named("aarch64")]
PARTS = 4  # of the registry, each one program


def compiled(graphs: Sequence[Graph], target: Target) -> Call:
    program = planned(graphs, machine(target))
    if target.arch == "aarch64" != host().arch:
        return emulated_aarch64.Net(program).call
    (loaded,) = natives(program, (1,), target)
    return lambda name, *arrays: getattr(loaded, name)(*arrays)


def over(ops: Sequence[Op]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """All targets, and the ops in parts, by name, so that ops of one family are in different ones."""
    parts = [sorted(ops, key=lambda op: op.name)[part::PARTS] for part in range(PARTS)]

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        by_part = pytest.mark.parametrize("ops", parts, ids=range(PARTS))
        return pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)(by_part(test))

    return mark


@over(COMPUTED)
def test_the_reference_is_computed(ops: Sequence[Op], target: Target) -> None:
    cases = [(op, sample, forward_graph(f"{op.name}{n}", op, sample)) for op in ops for n, sample in enumerate(op.samples())]
    call = compiled([graph for *_, graph in cases], target)
    for op, sample, graph in cases:
        (actual,) = call(graph.name, *sample.arrays)
        agree(op, sample, actual, reference(op, sample))


@over(DIFFERENTIABLE)
def test_gradients_equal_those_of_the_interpreter(ops: Sequence[Op], target: Target) -> None:
    cases = [(s, gradient_graph(f"{op.name}{n}", op, s)) for op in ops for n, s in enumerate(smooth_samples(op))]
    call = compiled([optimised(graph) for _, graph in cases], target)
    for sample, graph in cases:
        agree_on_gradients(graph, sample, list(call(graph.name, *sample.arrays)))
