"""Every sample of every op, and its gradient: numpy reference, kernel interpreter and native code agree."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from programs import natives, optimised, planned
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

from graphc.interp.kernel import run_function
from graphc.ir.kernel import KernelProgram
from graphc.ir.op import Op, Sample
from graphc.runtime.program import Program


def over(ops: list[Op]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("op", ops, ids=[op.name for op in ops])


@cache
def program_of(op: Op) -> tuple[list[Sample], KernelProgram]:
    """Every sample as a function f0, f1 ... of one program."""
    samples = list(op.samples())
    return samples, planned(forward_graph(f"f{n}", op, sample) for n, sample in enumerate(samples))


@over(COMPUTED)
def test_kernels_compute_the_reference(op: Op) -> None:
    samples, program = program_of(op)
    for n, sample in enumerate(samples):
        (actual,) = run_function(program, f"f{n}", sample.arrays, backwards=n % 2 == 1)
        agree(op, sample, actual, reference(op, sample))


def call_alike(programs: list[Program], name: str, arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """The results, the same bytes whatever the number of threads."""
    results: list[list[np.ndarray]] = [getattr(program, name)(*arrays) for program in programs]
    for other in results[1:]:
        assert [a.tobytes() for a in other] == [a.tobytes() for a in results[0]], "results depend on the number of threads"
    return results[0]


@over(COMPUTED)
def test_native_code_computes_the_reference(op: Op) -> None:
    samples, program = program_of(op)
    programs = natives(program, (1, 2))
    for n, sample in enumerate(samples):
        (actual,) = call_alike(programs, f"f{n}", sample.arrays)
        agree(op, sample, actual, reference(op, sample))


@over(DIFFERENTIABLE)
def test_native_gradients_equal_those_of_the_interpreter(op: Op) -> None:
    samples = smooth_samples(op)
    graphs = [gradient_graph(f"f{n}", op, sample) for n, sample in enumerate(samples)]
    programs = natives(planned(map(optimised, graphs)), (1, 2))
    for graph, sample in zip(graphs, samples, strict=True):
        agree_on_gradients(graph, sample, call_alike(programs, graph.name, sample.arrays))
