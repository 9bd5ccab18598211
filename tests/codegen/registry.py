"""Every sample of every op as a graph, and how near compiled code must come to its reference.

In: the registry. Out: graphs of the ops and of their gradients, for the tests of each target; `agree` judges results.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from laws import assert_close, gradients, is_differentiable, operands_of

import graphc.ops  # noqa: F401  fills the registry
from graphc.dtype import dtype
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.op import OPS, Blocked, Contraction, Expand, Marker, Op, Reduction, Sample, Source
from graphc.ir.values import constant, make
from graphc.ops.reduce import reduce_sum
from graphc.passes.expand import expand

COMPUTED = [op for op in OPS.values() if not isinstance(op.lower, Source | Marker)]
DIFFERENTIABLE = [op for op in COMPUTED if any(is_differentiable(op, s) for s in op.samples()) and callable(op.gradient)]

# What compiled code documents to be coarser than the reference (codegen/words): which elements must agree.
DOMAINS: dict[str, Callable[..., np.ndarray]] = {
    "sin": lambda x: np.abs(x) < 2.0**51,
    "cos": lambda x: np.abs(x) < 2.0**51,
    "tan": lambda x: np.abs(x) < 2.0**51,
    "mod": lambda x, y: (np.abs(x) <= np.abs(y) * 2.0**282) | (y == 0) | (x.dtype != np.float64),
}


def agree(op: Op, sample: Sample, actual: np.ndarray, expected: np.ndarray) -> None:
    """Elementwise ops to a few roundings of the element, sums to as many of the largest element."""
    folds = isinstance(op.lower, Reduction | Contraction | Blocked | Expand) or op.name in (
        "cumsum",
        "reduce_window",
        "window_spread",
    )
    if op.name in DOMAINS:
        with np.errstate(all="ignore"):
            inside = DOMAINS[op.name](*sample.arrays) | ~np.isfinite(expected.astype(np.float64))
        actual, expected = actual[inside], expected[inside]
    finite = np.abs(expected.astype(np.float64)[np.isfinite(expected.astype(np.float64))]) if folds else np.zeros(0)
    assert_close(actual, expected, dtype(expected.dtype), slack=8, scale=float(finite.max(initial=0)))


def reference(op: Op, sample: Sample) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(op.reference(*sample.arrays, **sample.attrs))


def forward_graph(name: str, op: Op, sample: Sample) -> Graph:
    """The op alone, with a placeholder for each operand."""
    xs = operands_of(sample)
    return expand(Graph(name, tuple(xs), (make(op.name, *xs, **sample.attrs),)))


def gradient_graph(name: str, op: Op, sample: Sample) -> Graph:
    """The gradients of a weighted sum of the op's result, by all float operands."""
    xs = operands_of(sample)
    y = make(op.name, *xs, **sample.attrs)
    weights = np.random.default_rng(0).uniform(-1, 1, y.shape).astype(y.dtype.numpy)
    loss = reduce_sum(y * constant(weights), range(y.type.rank))
    return Graph(name, tuple(xs), tuple(gradients(loss, [x for x in xs if x.dtype.is_float])))


def smooth_samples(op: Op) -> list[Sample]:
    """The samples that have gradients."""
    return [sample for sample in op.samples() if is_differentiable(op, sample)]


def agree_on_gradients(graph: Graph, sample: Sample, actual: list[np.ndarray]) -> None:
    """Within some roundings of the largest element of what the interpreter gives."""
    expected = evaluate(graph, dict(zip(graph.inputs, sample.arrays, strict=True)))
    for a, b in zip(actual, expected, strict=True):
        assert_close(a, b, dtype(b.dtype), slack=20, scale=float(np.abs(b.astype(np.float64)).max(initial=0)))
