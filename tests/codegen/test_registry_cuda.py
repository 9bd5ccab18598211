"""Every sample of every op, and its gradient: the source for GPUs, run on the CPU, computes the reference.

Many ops are one source, since compiling takes the time; every access of every thread is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from cuda_cpu import MACHINE, Net, needs_compiler
from programs import optimised, planned
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

from graphc.ir.graph import Graph
from graphc.ir.op import Op, Sample

pytestmark = needs_compiler

PARTS = 4  # of the registry, each one source
QUICK = ("-O0",)  # the samples are small: compiling takes longer than running

Case = tuple[Op, Sample, Graph]


def part_of(ops: Sequence[Op], part: int) -> Sequence[Op]:
    return ops[part::PARTS]


def check(cases: Sequence[Case], net: Net, judge: Callable[[Case, list[np.ndarray]], None]) -> None:
    """Run all cases, and report together what is wrong."""
    wrong = []
    for case in cases:
        try:
            judge(case, net.call(case[2].name, *case[1].arrays))
        except AssertionError as error:
            wrong.append(f"{case[2].name}: {case[1].attrs}: {str(error)[:500]}")
    assert not wrong, f"{len(wrong)} of {len(cases)}\n" + "\n".join(wrong[:20])


def judge_forward(case: Case, results: list[np.ndarray]) -> None:
    op, sample, _ = case
    agree(op, sample, results[0], reference(op, sample))


@pytest.mark.parametrize("part", range(PARTS))
def test_cuda_source_computes_the_reference(part: int, tmp_path: Path) -> None:
    cases = [
        (op, sample, forward_graph(f"{op.name}_{n}", op, sample))
        for op in part_of(COMPUTED, part)
        for n, sample in enumerate(op.samples())
    ]
    net = Net(planned((graph for _, _, graph in cases), MACHINE), tmp_path, host_arrays=part % 2 == 1, flags=QUICK)
    check(cases, net, judge_forward)


@pytest.mark.parametrize("part", range(PARTS))
def test_gradients_of_cuda_source_equal_those_of_the_interpreter(part: int, tmp_path: Path) -> None:
    cases = [
        (op, sample, gradient_graph(f"{op.name}_{n}", op, sample))
        for op in part_of(DIFFERENTIABLE, part)
        for n, sample in enumerate(smooth_samples(op))
    ]
    net = Net(planned((optimised(graph) for _, _, graph in cases), MACHINE), tmp_path, host_arrays=part % 2 == 0, flags=QUICK)
    check(cases, net, lambda case, results: agree_on_gradients(case[2], case[1], results))
