"""Where values come from, and the annotations that passes remove.

In: information objects that the front makes, array literals, values. Out: the ops placeholder, variable, constant
(no computation) and the markers grad, update, stop_gradient (their value is operand 0 until a pass has read them).
`info` objects compare by identity: two placeholders with one name are two placeholders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtype import dtype, float32
from ..errors import DTypeError, GraphError, ShapeError
from ..ir.op import Marker, Op, Sample, Source, register
from ..ir.types import TensorType
from ..ir.values import Literal, Value, make


@dataclass(eq=False)
class PlaceholderInfo:
    """An input of a function: what the caller passes."""

    name: str
    type: TensorType


@dataclass(eq=False)
class VariableInfo:
    """State of a program. `initial` is what the next compilation starts from; `name` is its key in the state."""

    name: str
    type: TensorType
    initial: np.ndarray


Info = PlaceholderInfo | VariableInfo


def placeholder(name: str, type_: TensorType) -> Value:
    """A new input of `type_`."""
    return make("placeholder", info=PlaceholderInfo(name, type_))


def variable(name: str, initial: np.ndarray) -> Value:
    """A new variable that starts as a copy of `initial`."""
    array = np.array(initial, order="C", copy=True)
    return make("variable", info=VariableInfo(name, TensorType(dtype(array.dtype), array.shape), array))


def grad(loss: Value, wrt: Value) -> Value:
    """d loss / d wrt, a marker until autodiff replaces it. The loss is a float scalar."""
    return make("grad", loss, wrt)


def update(x: Value, variable: Value, new: Value) -> Value:
    """`x`; every function that reaches it also sets `variable` to `new`, once, after all reads."""
    return make("update", x, variable, new)


def stop_gradient(x: Value) -> Value:
    """`x`, through which no gradient flows."""
    return make("stop_gradient", x)


def _unbound(*, info: Info) -> np.ndarray:
    raise GraphError(f"{info.name!r} has no value of its own; bind it in the environment of the evaluation")


def _literal_type(*, literal: Literal) -> TensorType:
    return TensorType(dtype(literal.array.dtype), literal.array.shape)


def _infer_grad(loss: TensorType, wrt: TensorType) -> TensorType:
    if not loss.dtype.is_float:
        raise DTypeError(f"the gradient of {loss} is not defined: the loss must be a float tensor")
    if loss.shape != ():
        raise ShapeError(f"a gradient needs a scalar loss, got {loss}; reduce it first, for example with .sum() or .mean()")
    if not wrt.dtype.is_float:
        raise DTypeError(f"the gradient with respect to {wrt} is not defined: only float tensors have gradients")
    return wrt


def _infer_update(x: TensorType, variable: TensorType, new: TensorType) -> TensorType:
    if variable != new:
        fix = "cast" if variable.shape == new.shape else "reshape"
        error = DTypeError if variable.shape == new.shape else ShapeError
        raise error(f"the update of a variable {variable} is {new}; {fix} the new value to {variable}")
    return x


def _replaced(*_: Any) -> Any:
    raise GraphError("a gradient marker has no value before the autodiff pass has replaced it")


def _gradient_of_marker(node: Value, ct: Value) -> Sequence[Value | None]:
    raise AssertionError("autodiff resolves grad markers from the inside out and never differentiates one")


register(
    Op(
        "placeholder",
        infer=lambda *, info: info.type,
        reference=_unbound,
        gradient="it has no operands",
        lower=Source(),
        samples=lambda: (),
        doc="An input of the function.",
    )
)
register(
    Op(
        "variable",
        infer=lambda *, info: info.type,
        reference=_unbound,
        gradient="it has no operands",
        lower=Source(),
        samples=lambda: (),
        doc="The value a variable had before the call.",
    )
)
register(
    Op(
        "constant",
        infer=_literal_type,
        reference=lambda *, literal: literal.array,
        gradient="it has no operands",
        lower=Source(),
        samples=lambda: [Sample((), {"literal": Literal(np.arange(6, dtype=np.float32).reshape(2, 3))})],
        doc="A literal array.",
    )
)
register(
    Op(
        "grad",
        infer=_infer_grad,
        reference=_replaced,
        gradient=_gradient_of_marker,
        lower=Marker(),
        samples=lambda: (),
        doc="grad(loss, wrt): d loss / d wrt.",
    )
)
register(
    Op(
        "update",
        infer=_infer_update,
        reference=lambda x, variable, new: x,
        gradient=lambda node, ct: [ct, None, None],
        lower=Marker(),
        samples=lambda: [Sample(tuple(np.full(s, 2, float32.numpy) for s in ((2, 3), (4,), (4,))), smooth=False)],
        doc="update(x, variable, new) = x; the function that reaches it sets variable := new after all reads.",
    )
)
register(
    Op(
        "stop_gradient",
        infer=lambda x: x,
        reference=lambda x: x,
        gradient="stop_gradient ends it here",
        lower=Marker(),
        samples=lambda: [Sample((np.ones((2, 3), np.float32),))],
        doc="stop_gradient(x) = x, with gradient 0.",
    )
)
