"""Every sample of every op, and its gradient: the source for GPUs, run on the CPU, computes the reference.

Where no floats are added up it computes every bit of what the kernel interpreter does, in the words that CUDA has. Many ops
are one source, since compiling takes the time; every access of every thread is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulated_cuda import COMPILER, Net
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

from graphc.codegen.cuda.words import says
from graphc.codegen.expand import expand_kernel
from graphc.driver import GPU_THREAD
from graphc.dtype import dtype
from graphc.interp.kernel import run_function
from graphc.ir.graph import Graph
from graphc.ir.kernel import Accumulate, KernelFunction, KernelProgram, walk
from graphc.ir.op import Op, Sample

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++, which compiles CUDA source for the CPU")

PARTS = 4  # of the registry, each one source
QUICK = ("-O0",)  # the samples are small: compiling takes longer than running

Case = tuple[Op, Sample, Graph]


def part_of(ops: Sequence[Op], part: int) -> Sequence[Op]:
    """By name, so that ops of one family are in different parts."""
    return sorted(ops, key=lambda op: op.name)[part::PARTS]


def check(cases: Sequence[Case], net: Net, judge: Callable[[Case, list[np.ndarray]], None]) -> None:
    """Run all cases, and report together what is wrong."""
    wrong = []
    for case in cases:
        try:
            judge(case, net.call(case[2].name, *case[1].arrays))
        except AssertionError as error:
            wrong.append(f"{case[2].name}: {case[1].attrs}: {str(error)[:500]}")
    assert not wrong, f"{len(wrong)} of {len(cases)}\n" + "\n".join(wrong[:20])


def in_words_of_cuda(program: KernelProgram) -> KernelProgram:
    """The program as the interpreter must run it to compute the same bits."""
    return replace(
        program,
        functions=tuple(
            replace(f, launches=tuple(replace(launch, kernel=expand_kernel(launch.kernel, says)) for launch in f.launches))
            for f in program.functions
        ),
    )


def adds_floats(function: KernelFunction) -> bool:
    """Whether the function sums or multiplies up floats, whose order is free and whose products may be fused."""
    stmts = (stmt for launch in function.launches for stmt in walk(launch.kernel.body))
    return any(isinstance(s, Accumulate) and s.array.dtype.is_float and s.combine in ("add", "mul") for s in stmts)


def assert_same_bits(op: Op, actual: np.ndarray, expected: np.ndarray) -> None:
    """Of max and min, either zero; all NaNs are one."""
    if dtype(actual.dtype).is_float:
        wide, other = actual.astype(np.float64), expected.astype(np.float64)
        np.testing.assert_array_equal(wide, other)
        if op.name not in ("max", "min"):
            numbers = ~np.isnan(wide)
            np.testing.assert_array_equal(np.signbit(wide)[numbers], np.signbit(other)[numbers])
    else:
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("part", range(PARTS))
def test_cuda_source_computes_the_reference(part: int, tmp_path: Path) -> None:
    cases = [
        (op, sample, forward_graph(f"{op.name}_{n}", op, sample))
        for op in part_of(COMPUTED, part)
        for n, sample in enumerate(op.samples())
    ]
    program = planned((graph for _, _, graph in cases), GPU_THREAD)
    kernels = in_words_of_cuda(program)
    exact = {f.name for f in program.functions if not adds_floats(f)}

    def judge(case: Case, results: list[np.ndarray]) -> None:
        op, sample, graph = case
        agree(op, sample, results[0], reference(op, sample))
        if graph.name in exact:
            assert_same_bits(op, results[0], run_function(kernels, graph.name, sample.arrays)[0])

    check(cases, Net(program, tmp_path, host_arrays=part % 2 == 1, flags=QUICK), judge)
    assert len(exact) > 0.8 * len(cases)


@pytest.mark.parametrize("part", range(PARTS))
def test_gradients_of_cuda_source_equal_those_of_the_interpreter(part: int, tmp_path: Path) -> None:
    cases = [
        (op, sample, gradient_graph(f"{op.name}_{n}", op, sample))
        for op in part_of(DIFFERENTIABLE, part)
        for n, sample in enumerate(smooth_samples(op))
    ]
    net = Net(
        planned((optimised(graph) for _, _, graph in cases), GPU_THREAD), tmp_path, host_arrays=part % 2 == 0, flags=QUICK
    )
    check(cases, net, lambda case, results: agree_on_gradients(case[2], case[1], results))
