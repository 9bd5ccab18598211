"""One-line helpers shared by all tests: numbers that agree, and the laws that every op record obeys.

`check_reference` compares an op's reference with its type rule, `check_gradient` its gradient with finite differences
in f64, to the second order, `check_body` its loop body with the reference. All take a record and one of its samples, so
a test over the registry is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from graphc.dtype import DType, bfloat16, dtype, float16, float32, float64
from graphc.interp.graph import evaluate
from graphc.interp.kernel import run_kernel
from graphc.ir.expr import Array, Expr, Var, as_index, call, const, load, ravel, unravel
from graphc.ir.graph import Graph
from graphc.ir.kernel import COMBINES, Kernel, Store
from graphc.ir.op import Elementwise, Index, Op, Pointwise, Sample
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, make
from graphc.ops.reduce import reduce_sum
from graphc.ops.source import grad, placeholder
from graphc.passes.autodiff import autodiff

# Relative tolerance of one rounding in a dtype, a few units in the last place.
TOLERANCE = {float16: 2e-3, bfloat16: 1.6e-2, float32: 1e-6, float64: 1e-14}
STEP = 1e-4


def assert_close(actual: np.ndarray, expected: np.ndarray, dtype_: DType, *, slack: float = 1, scale: float = 0) -> None:
    """Exact dtype and shape; integers and bools exact; floats within `slack` roundings of `dtype_`, relative to the
    element or to `scale` if that is larger. NaN equals NaN, infinities are exact."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype == dtype_.numpy, f"{actual.dtype}, expected {expected.dtype}, both {dtype_}"
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if not dtype_.is_float:
        np.testing.assert_array_equal(actual, expected)
        return
    tolerance = TOLERANCE[dtype_] * slack
    wide = (x.astype(np.float64) for x in (actual, expected))
    np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance * scale)


def types_of(sample: Sample) -> list[TensorType]:
    """The operand types of a sample."""
    return [TensorType(dtype(a.dtype), a.shape) for a in sample.arrays]


def operands_of(sample: Sample) -> list[Value]:
    """A placeholder for every operand of a sample."""
    return [placeholder(f"x{i}", type_) for i, type_ in enumerate(types_of(sample))]


def gradients(loss: Value, wrt: Sequence[Value]) -> list[Value]:
    """d loss / d each of `wrt`, without markers."""
    return list(autodiff(Graph("gradients", (), tuple(grad(loss, x) for x in wrt))).outputs)


def check_reference(op: Op, sample: Sample) -> np.ndarray:
    """The reference gives exactly the type the rule says, leaves its operands alone, and repeats itself."""
    expected = op.infer(*types_of(sample), **sample.attrs)
    kept = [array.copy() for array in sample.arrays]
    result, again = (np.asarray(op.reference(*sample.arrays, **sample.attrs)) for _ in range(2))
    assert (result.dtype, result.shape) == (expected.dtype.numpy, expected.shape)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(sample.arrays, kept, strict=True))
    assert result.tobytes() == again.tobytes()
    return result


def is_differentiable(op: Op, sample: Sample) -> bool:
    """Whether `check_gradient` has something to check."""
    floats = any(type_.dtype.is_float for type_ in types_of(sample))
    return sample.smooth and floats and op.infer(*types_of(sample), **sample.attrs).dtype.is_float


def check_gradient(op: Op, sample: Sample) -> None:
    """The first and second derivatives equal finite differences, in f64."""
    arrays = [a.astype(np.float64) if dtype(a.dtype).is_float else a for a in sample.arrays]
    operands = operands_of(Sample(tuple(arrays)))
    floats = [x for x in operands if x.dtype.is_float]
    environment = dict(zip(operands, arrays, strict=True))
    first = _weighted([make(op.name, *operands, **sample.attrs)], seed=1)
    found = _check_derivative(first, floats, environment)
    _check_derivative(_weighted(found, seed=2), floats, environment)


def _weights(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def _weighted(values: Sequence[Value], seed: int) -> Value:
    """One scalar in which every element of `values` has its own weight."""
    terms = [v * constant(_weights(v.shape, seed + i)) for i, v in enumerate(values)]
    sums = [reduce_sum(term, range(term.type.rank)) for term in terms]
    total = sums[0]
    for other in sums[1:]:
        total = total + other
    return total


def _check_derivative(loss: Value, wrt: Sequence[Value], environment: dict[Value, np.ndarray]) -> list[Value]:
    """Compare along two random directions of each of `wrt`; returns the gradients."""
    found = gradients(loss, wrt)
    for x, slope in zip(wrt, evaluate(found, environment), strict=True):
        for seed in (3, 4):
            direction = _weights(x.shape, seed)
            ahead, behind = (
                evaluate([loss], environment | {x: environment[x] + step * direction})[0] for step in (STEP, -STEP)
            )
            expected, actual = (ahead - behind) / (2 * STEP), np.sum(slope * direction)
            np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * max(1, np.abs(slope).max(initial=0)))
    return found


class LoadingReader:
    """Answers element rules with plain loads; small folds are written out."""

    def __init__(self, node: Value, arrays: Sequence[Array]) -> None:
        self.node, self.arrays = node, arrays

    def read(self, operand: int, index: Index, guard: Expr | None = None) -> Expr:
        place = ravel(map(as_index, index), self.node.operands[operand].shape)
        return load(self.arrays[operand], place, guard)

    def reduce(self, combine: str, extents: Sequence[int], dtype: DType, term: Callable[[Index], Expr]) -> Expr:
        terms = [term(tuple(map(as_index, place))) for place in np.ndindex(*extents)]
        return reduce(lambda a, b: call(combine, a, b), terms, const(COMBINES[combine](dtype), dtype))


def check_body(op: Op, sample: Sample) -> None:
    """The scalar or element rule, run as a kernel one element a task, gives what the reference gives."""
    node = make(op.name, *operands_of(sample), **sample.attrs)
    if not node.type.size:
        return
    params = [Array(f"p{i}", v.dtype, v.type.size) for i, v in enumerate((*node.operands, node))]
    task = Var("i", node.type.size)
    reader, index = LoadingReader(node, params), unravel(task, node.shape)
    if isinstance(op.lower, Elementwise):
        value = op.lower.scalar(*(reader.read(i, index) for i in range(len(node.operands))), **node.attrs)
    else:
        assert isinstance(op.lower, Pointwise)
        value = op.lower.element(node, index, reader)
    assert value.dtype is node.dtype, f"the body gives {value.dtype}, the rule says {node.dtype}"
    result = np.zeros(node.type.size, node.dtype.numpy)
    kernel = Kernel(op.name, tuple(params), task, (Store(params[-1], task, value),))
    run_kernel(kernel, [*(np.ascontiguousarray(a).reshape(-1) for a in sample.arrays), result])
    expected = np.asarray(op.reference(*sample.arrays, **sample.attrs))
    assert_close(result.reshape(node.shape), expected, node.dtype, slack=2)
