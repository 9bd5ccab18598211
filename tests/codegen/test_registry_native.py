"""Every sample of every op, and its gradient: numpy reference, kernel interpreter and native code agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from laws import assert_close, gradients, is_differentiable, operands_of
from programs import natives, optimised, planned

import graphc.ops  # noqa: F401  fills the registry
from graphc.dtype import dtype
from graphc.interp.graph import evaluate
from graphc.interp.kernel import run_function
from graphc.ir.graph import Graph
from graphc.ir.kernel import KernelProgram
from graphc.ir.op import OPS, Contraction, Expand, Marker, Op, Reduction, Sample, Source
from graphc.ir.values import constant, make
from graphc.ops.reduce import reduce_sum
from graphc.passes.expand import expand
from graphc.runtime.program import Program

COMPUTED = [op for op in OPS.values() if not isinstance(op.lower, Source | Marker)]
DIFFERENTIABLE = [op for op in COMPUTED if any(is_differentiable(op, s) for s in op.samples()) and callable(op.gradient)]


def over(ops: list[Op]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("op", ops, ids=[op.name for op in ops])


# What native code documents to be coarser than the reference (codegen/words): which elements must agree.
DOMAINS: dict[str, Callable[..., np.ndarray]] = {
    "sin": lambda x: np.abs(x) < 2.0**51,
    "cos": lambda x: np.abs(x) < 2.0**51,
    "tan": lambda x: np.abs(x) < 2.0**51,
    "mod": lambda x, y: (np.abs(x) <= np.abs(y) * 2.0**282) | (y == 0) | (x.dtype != np.float64),
}


def agree(op: Op, sample: Sample, actual: np.ndarray, expected: np.ndarray) -> None:
    """Elementwise ops to a few roundings of the element, sums to as many of the largest element."""
    folds = isinstance(op.lower, Reduction | Contraction | Expand) or op.name in ("cumsum", "reduce_window")
    if op.name in DOMAINS:
        with np.errstate(all="ignore"):
            inside = DOMAINS[op.name](*sample.arrays) | ~np.isfinite(expected.astype(np.float64))
        actual, expected = actual[inside], expected[inside]
    finite = np.abs(expected.astype(np.float64)[np.isfinite(expected.astype(np.float64))]) if folds else np.zeros(0)
    assert_close(actual, expected, dtype(expected.dtype), slack=8, scale=float(finite.max(initial=0)))


def reference(op: Op, sample: Sample) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(op.reference(*sample.arrays, **sample.attrs))


@cache
def program_of(op: Op) -> tuple[list[Sample], KernelProgram]:
    """Every sample as a function f0, f1 ... of one program."""
    samples = list(op.samples())
    graphs = []
    for n, sample in enumerate(samples):
        xs = operands_of(sample)
        graphs.append(expand(Graph(f"f{n}", tuple(xs), (make(op.name, *xs, **sample.attrs),))))
    return samples, planned(graphs)


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


def gradient_graph(name: str, op: Op, sample: Sample) -> Graph:
    """The gradients of a weighted sum of the op's result, by all float operands."""
    xs = operands_of(sample)
    y = make(op.name, *xs, **sample.attrs)
    weights = np.random.default_rng(0).uniform(-1, 1, y.shape).astype(y.dtype.numpy)
    loss = reduce_sum(y * constant(weights), range(y.type.rank))
    return Graph(name, tuple(xs), tuple(gradients(loss, [x for x in xs if x.dtype.is_float])))


@over(DIFFERENTIABLE)
def test_native_gradients_equal_those_of_the_interpreter(op: Op) -> None:
    samples = [sample for sample in op.samples() if is_differentiable(op, sample)]
    graphs = [gradient_graph(f"f{n}", op, sample) for n, sample in enumerate(samples)]
    programs = natives(planned(map(optimised, graphs)), (1, 2))
    for graph, sample in zip(graphs, samples, strict=True):
        expected = evaluate(graph, dict(zip(graph.inputs, sample.arrays, strict=True)))
        for a, b in zip(call_alike(programs, graph.name, sample.arrays), expected, strict=True):
            assert_close(a, b, dtype(b.dtype), slack=20, scale=float(np.abs(b.astype(np.float64)).max(initial=0)))
