"""Running sums and products along an axis, and recurrences of first order, which the gradients of products are.

    cumsum:      y[i] = x[i] + y[i-1],         y[-1] = 0
    cumprod:     y[i] = x[i] * y[i-1],         y[-1] = 1
    recurrence:  h[i] = a[i] * h[i-1] + b[i],  h[-1] = 0

With `reverse` i - 1 is i + 1. The cotangents of h are a recurrence the other way, g[i] = ct[i] + a[i+1] * g[i+1]; that of b
is g, of a it is g[i] * h[i-1]. Nothing is divided by, so zeros are no exception, and derivatives of any order are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..dtype import DType, dtype, float32, float64
from ..errors import DTypeError, ShapeError
from ..ir.expr import Array, Var, cast, const, load
from ..ir.kernel import For, Kernel, Local, Store
from ..ir.op import Gradient, Loops, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .order import check_axis, walk
from .shape import pad


def cumsum(x: Value, axis: int, reverse: bool = False) -> Value:
    """The sum of all elements up to and including each one along `axis` (from each one on, when `reverse`)."""
    return make("cumsum", x, axis=axis, reverse=reverse)


def cumprod(x: Value, axis: int, reverse: bool = False) -> Value:
    """The product of all elements up to and including each one along `axis` (from each one on, when `reverse`)."""
    return make("cumprod", x, axis=axis, reverse=reverse)


def recurrence(a: Value, b: Value, axis: int, reverse: bool = False) -> Value:
    """Each element along `axis` is that before it (0 before the first) times that of a, plus that of b."""
    return make("recurrence", a, b, axis=axis, reverse=reverse)


def _infer(op: str) -> Callable[..., TensorType]:
    def rule(*operands: TensorType, axis: int, reverse: bool) -> TensorType:
        check_axis(op, operands[0], axis)
        if operands[0].dtype.is_bool:
            raise DTypeError(f"{op} takes numbers, got {operands[0]}; cast it first")
        if any(x != operands[0] for x in operands):
            raise ShapeError(f"{op} of {' and '.join(map(str, operands))}; expected one type")
        return operands[0]

    return rule


def _gradient_cumsum(node: Value, ct: Value) -> list[Value | None]:
    return [cumsum(ct, node.attrs["axis"], not node.attrs["reverse"])]


def _before(x: Value, axis: int, reverse: bool, first: float) -> Value:
    """The element before each along `axis`, or behind it."""
    shift = tuple((-1 if reverse else 1) if d == axis else 0 for d in range(x.type.rank))
    return pad(x, shift, tuple(-n for n in shift), value=first)


def _gradient_cumprod(node: Value, ct: Value) -> list[Value | None]:
    (x,), axis, reverse = node.operands, node.attrs["axis"], node.attrs["reverse"]
    return [_before(node, axis, reverse, 1) * recurrence(_before(x, axis, not reverse, 0), ct, axis, not reverse)]


def _gradient_recurrence(node: Value, ct: Value) -> list[Value | None]:
    (a, _), axis, reverse = node.operands, node.attrs["axis"], node.attrs["reverse"]
    g = recurrence(_before(a, axis, not reverse, 0), ct, axis, not reverse)
    return [g * _before(node, axis, reverse, 0), g]


# Of each op what it begins with, and what it does with that and its operands: of expressions, or of arrays.
_STEPS: dict[str, tuple[int, Callable[..., Any]]] = {
    "cumsum": (0, lambda h, x: h + x),
    "cumprod": (1, lambda h, x: h * x),
    "recurrence": (0, lambda h, a, b: h * a + b),
}


def running_type(kind: DType) -> DType:
    """What lines of a dtype run in: one step follows another, so float32 would lose what a tree of sums keeps."""
    return float64 if kind is float32 else kind.accumulator


def _accumulated(ufunc: np.ufunc) -> Callable[..., np.ndarray]:
    def run(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
        turned = np.flip(x, axis) if reverse else x
        with np.errstate(all="ignore"):
            found = ufunc.accumulate(turned, axis, dtype=running_type(dtype(x.dtype)).numpy).astype(x.dtype)
        return np.flip(found, axis) if reverse else found

    return run


def _reference_recurrence(a: np.ndarray, b: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
    found = np.empty_like(a)
    (first, step), kind = _STEPS["recurrence"], running_type(dtype(a.dtype)).numpy
    out, *rows = (np.moveaxis(x, axis, 0)[:: -1 if reverse else 1] for x in (found, a, b))
    state = np.full(out.shape[1:], first, kind)
    with np.errstate(all="ignore"):
        for i in range(len(out)):
            out[i] = state = step(state, *(row[i].astype(kind) for row in rows))
    return found


def _kernel(node: Value) -> Kernel:
    kind, size, found = node.dtype, node.type.size, walk(node, node.attrs["reverse"])
    first, step = _STEPS[node.op.name]
    sources, out = [Array(f"x{i}", kind, size) for i in range(len(node.operands))], Array("out", kind, size)
    state, clear, lane = Array("state", running_type(kind), found.together), Var("clear", found.together), found.lane
    elements = [cast(load(source, found.at, found.guard), state.dtype) for source in sources]
    advance = (
        Store(state, lane, step(load(state, lane), *elements)),
        Store(out, found.at, cast(load(state, lane), kind), found.guard),
    )
    start = found.lanes(clear, Store(state, clear, const(first, state.dtype)))
    body = (Local(state), start, For(found.i, (found.lanes(lane, *advance),)))
    return Kernel(node.op.name, (*sources, out), found.task, body)


def _samples(count: int) -> Callable[[], Iterator[Sample]]:
    def samples() -> Iterator[Sample]:
        rng = np.random.default_rng(0)
        for name in ("float32", "float64", "float16", "bfloat16", "int8", "int64"):
            operands = tuple((3 * rng.standard_normal((2, 5, 3))).astype(dtype(name).numpy) for _ in range(count))
            yield from (Sample(operands, {"axis": axis, "reverse": axis == 1}) for axis in range(3))
        for shape, axis in (((4, 37), 0), ((2, 3, 16), 1), ((33, 5), 1)):
            operands = tuple(rng.standard_normal(shape).astype(np.float32) for _ in range(count))
            yield Sample(operands, {"axis": axis, "reverse": axis == 1})

    return samples


def _running(name: str, operands: int, reference: Callable[..., np.ndarray], gradient: Gradient, doc: str) -> None:
    register(Op(name, _infer(name), reference, gradient, Loops(_kernel), _samples(operands), doc))


_running("cumsum", 1, _accumulated(np.add), _gradient_cumsum, "The running sum along an axis; integers wrap.")
_running("cumprod", 1, _accumulated(np.multiply), _gradient_cumprod, "The running product along an axis; integers wrap.")
_running(
    "recurrence",
    2,
    _reference_recurrence,
    _gradient_recurrence,
    "h[i] = a[i] * h[i-1] + b[i] along an axis, from 0; integers wrap.",
)
