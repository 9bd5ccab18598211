"""softmax as one op until gradients have been taken: its gradient needs nothing but its result.

    y = exp(x - max x) / sum(exp(x - max x))          dx = y * (dy - sum(y * dy))          sums along `axis`

In: floats. Out: floats of the same type that add up to 1 along `axis`. Behind autodiff it is what the first line says.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..dtype import FLOATS
from ..errors import DTypeError, ShapeError
from ..ir.op import Expand, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, like, make
from .elementwise import cast, select
from .reduce import reduce_max, reduce_sum, restore


def softmax(x: Value, axis: int, masked: bool = False) -> Value:
    """exp(x) over its sum along `axis`. `masked`: where all of x is -inf the result is 0, else NaN."""
    return make("softmax", x, axis=axis, masked=masked)


def _infer(x: TensorType, *, axis: int, masked: bool) -> TensorType:
    if not x.dtype.is_float:
        raise DTypeError(f"softmax: the operand is {x.dtype}, expected floats")
    if not 0 <= axis < x.rank or not x.shape[axis]:
        raise ShapeError(f"softmax: axis {axis} of {x}; expected an axis of at least one element")
    return x


def _reference(x: np.ndarray, *, axis: int, masked: bool) -> np.ndarray:
    wide = x.astype(np.float64)
    top = wide.max(axis, keepdims=True)
    nothing = (top == -np.inf) & masked
    with np.errstate(invalid="ignore"):
        e = np.exp(wide - np.where(nothing, 0, top))
        return (e / np.where(nothing, 1, e.sum(axis, keepdims=True))).astype(x.dtype)


def _gradient(node: Value, ct: Value) -> list[Value | None]:
    axes, kind = (node.attrs["axis"],), node.dtype
    y, ct = cast(node, kind.accumulator), cast(ct, kind.accumulator)
    return [cast(y * (ct - restore(reduce_sum(ct * y, axes), y.shape, axes)), kind)]


def _expand(node: Value) -> Value:
    x, axes = cast(node.operands[0], node.dtype.accumulator), (node.attrs["axis"],)
    top = reduce_max(x, axes)
    nothing = make("eq", top, like(top, -np.inf)) if node.attrs["masked"] else None
    e = make("exp", x - restore(top if nothing is None else select(nothing, like(top, 0), top), x.shape, axes))
    total = reduce_sum(e, axes)
    total = total if nothing is None else select(nothing, like(total, 1), total)
    return cast(e * restore(like(total, 1) / total, x.shape, axes), node.dtype)  # vectors divide slowly: once a row


def _samples() -> Iterator[Sample]:
    rows = np.random.default_rng(0).standard_normal((3, 5, 2))
    for dtype in FLOATS:
        yield from (Sample((rows.astype(dtype.numpy),), {"axis": axis, "masked": axis == 1}) for axis in (0, 1, 2))
    wild = np.array([[1, 2, -np.inf], [-np.inf] * 3, [np.inf, 0, 0], [np.nan, 0, 1], [88, -104, 300]], np.float32)
    yield from (Sample((wild,), {"axis": 1, "masked": masked}, smooth=False) for masked in (False, True))


register(
    Op(
        "softmax",
        infer=_infer,
        reference=_reference,
        gradient=_gradient,
        lower=Expand(_expand),
        samples=_samples,
        doc="exp(x) over its sum along `axis`; with `masked`, 0 where all of x is -inf.",
    )
)
