"""Recurrences of first order along an axis, and running products, whose gradients they are.

    cumprod:     y[i] = x[i] * y[i-1],         y[-1] = 1
    recurrence:  h[i] = a[i] * h[i-1] + b[i],  h[-1] = 0

With `reverse` i - 1 is i + 1. The cotangents of h are a recurrence the other way, g[i] = ct[i] + a[i+1] * g[i+1]; that of b
is g, of a it is g[i] * h[i-1]. Nothing is divided by, so zeros are no exception, and derivatives of any order are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..dtype import dtype
from ..errors import DTypeError, ShapeError
from ..ir.expr import Array, Var, cast, const, load
from ..ir.kernel import For, Kernel, Local, Store
from ..ir.op import Loops, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .order import check_axis, running_type, walk
from .shape import pad


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
    "cumprod": (1, lambda h, x: h * x),
    "recurrence": (0, lambda h, a, b: h * a + b),
}


def _reference(op: str) -> Callable[..., np.ndarray]:
    first, step = _STEPS[op]

    def run(*operands: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
        found = np.empty_like(operands[0])
        out, *rows = (np.moveaxis(x, axis, 0)[:: -1 if reverse else 1] for x in (found, *operands))
        state = np.full(out.shape[1:], first, running_type(dtype(found.dtype)).numpy)
        with np.errstate(all="ignore"):
            for i in range(len(out)):
                state = step(state, *(row[i].astype(state.dtype) for row in rows))
                out[i] = state
        return found

    return run


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
        for n, name in enumerate(("float32", "float64", "float16", "bfloat16", "int8", "int64")):
            operands = [(3 * rng.standard_normal((2, 5, 3))).astype(dtype(name).numpy) for _ in range(count)]
            yield Sample(tuple(operands), {"axis": n % 3, "reverse": n % 2 == 1})
        for shape, axis in (((4, 37), 0), ((2, 3, 16), 1), ((33, 5), 1)):
            operands = [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]
            yield Sample(tuple(operands), {"axis": axis, "reverse": axis == 1})

    return samples


register(
    Op(
        name="cumprod",
        infer=_infer("cumprod"),
        reference=_reference("cumprod"),
        gradient=_gradient_cumprod,
        lower=Loops(_kernel),
        samples=_samples(1),
        doc="The running product along an axis; integers wrap.",
    )
)
register(
    Op(
        name="recurrence",
        infer=_infer("recurrence"),
        reference=_reference("recurrence"),
        gradient=_gradient_recurrence,
        lower=Loops(_kernel),
        samples=_samples(2),
        doc="h[i] = a[i] * h[i-1] + b[i] along an axis, from 0; integers wrap.",
    )
)
