"""Graph values: immutable, hash-consed nodes of the Graph IR.

In: an op, operand values and attributes. Out: the one `Value` with exactly these parts (the same object for the same
parts, so `is` is equality, common subexpressions cannot exist, and caches are dictionaries). One op, one result, whose
type the op's rule has checked. The location is carried beside the value and is no part of its identity.

    value ::= op(operand*, attr*) : dtype[shape]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..dtype import DType, dtype
from ..errors import GraphcError, ShapeError
from .location import Location, here
from .op import OPS, Op
from .types import TensorType

MOST_BYTES = 1 << 56  # no machine addresses more; sums of such sizes and offsets stay far from the end of 64 bits


class Literal:
    """An array as an attribute: immutable, hashable by content."""

    __slots__ = ("__weakref__", "_hash", "array")

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.array(array, order="C", copy=True)
        self.array.flags.writeable = False
        self._hash = hash((self.array.dtype.name, self.array.shape, self.array.tobytes()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Literal)
            and self._hash == other._hash
            and self.array.dtype == other.array.dtype
            and self.array.shape == other.array.shape
            and self.array.tobytes() == other.array.tobytes()
        )

    def __repr__(self) -> str:
        return f"<{self.array.dtype.name}{list(self.array.shape)}>"


class Value:
    """One node of the graph. Make values with `make` (or the functions in graphc.ops), never directly."""

    __slots__ = ("__weakref__", "attrs", "location", "op", "operands", "type")
    op: Op
    operands: tuple[Value, ...]
    attrs: dict[str, Any]
    type: TensorType
    location: Location | None

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    def __repr__(self) -> str:
        return f"<{self.op.name}: {self.type}>"

    # The operator language shared by programs, gradients and rewrite rules. Operands have equal types; a Python number
    # or a 0-d array is a constant of this value's type.
    def __add__(self, other: Value | float) -> Value:
        return make("add", self, like(self, other))

    def __radd__(self, other: float) -> Value:
        return make("add", like(self, other), self)

    def __sub__(self, other: Value | float) -> Value:
        return make("sub", self, like(self, other))

    def __rsub__(self, other: float) -> Value:
        return make("sub", like(self, other), self)

    def __mul__(self, other: Value | float) -> Value:
        return make("mul", self, like(self, other))

    def __rmul__(self, other: float) -> Value:
        return make("mul", like(self, other), self)

    def __truediv__(self, other: Value | float) -> Value:
        return make("div", self, like(self, other))

    def __rtruediv__(self, other: float) -> Value:
        return make("div", like(self, other), self)

    def __neg__(self) -> Value:
        return make("neg", self)


_values: WeakValueDictionary[tuple[Any, ...], Value] = WeakValueDictionary()


def told_apart(attrs: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Attributes as a key: equal where they are the same. Floats are told apart by their text: 0.0 is not -0.0."""
    return tuple(sorted((k, repr(v) if v.__class__ is float else v) for k, v in attrs.items()))


def make(name: str, *operands: Value, **attrs: Any) -> Value:
    """The value `name(*operands, **attrs)`. Its type is checked by the op's rule, its location is the user's line.

    Raises ShapeError or DTypeError, naming that line, where the op's type rule refuses the operands.
    """
    op = OPS[name]
    key = (name, operands, told_apart(attrs))
    found = _values.get(key)
    if found is not None:
        return found
    try:
        type_ = op.infer(*(v.type for v in operands), **attrs)
        if type_.nbytes > MOST_BYTES:
            raise ShapeError(f"{name}: {type_} would take {type_.nbytes} bytes, more than a machine can address")
    except GraphcError as error:
        if error.location is None:
            raise type(error)(error.message, here()) from None
        raise
    value = object.__new__(Value)
    value.op, value.operands, value.attrs, value.type, value.location = op, operands, attrs, type_, here()
    _values[key] = value
    return value


def constant(data: Any, dtype_: DType | None = None) -> Value:
    """A constant of the array's own shape (and dtype, unless given)."""
    array = np.asarray(data, dtype=dtype_.numpy if dtype_ else None)
    return make("constant", literal=Literal(array))


def full(type_: TensorType, number: bool | int | float) -> Value:
    """A tensor of one number: a 0-d constant, broadcast."""
    scalar = constant(np.array(number).astype(type_.dtype.numpy))
    return scalar if type_.shape == () else make("broadcast", scalar, shape=type_.shape, dims=())


def like(value: Value, other: Value | float) -> Value:
    """`other` itself if it is a value, else the constant `other` of `value`'s type."""
    return other if isinstance(other, Value) else full(value.type, other)


def splat(value: Value) -> Any:
    """The one number a constant (or broadcast constant) holds everywhere, else None."""
    while value.op.name in ("broadcast", "reshape", "transpose"):
        value = value.operands[0]
    if value.op.name != "constant":
        return None
    array = value.attrs["literal"].array
    elements = array.reshape(-1)  # compared by bytes: 0.0 is not -0.0, and a NaN is itself
    for some in (elements[:16], elements):
        if some.tobytes() != elements[:1].tobytes() * some.size:
            return None
    return elements[0].item() if elements.size else None


def topological(roots: Iterable[Value]) -> list[Value]:
    """Every value the roots depend on, operands before users, in a fixed order."""
    order: list[Value] = []
    seen: set[Value] = set()
    stack: list[tuple[Value, Iterator[Value]]] = []
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        stack.append((root, iter(root.operands)))
        while stack:
            value, rest = stack[-1]
            for operand in rest:
                if operand not in seen:
                    seen.add(operand)
                    stack.append((operand, iter(operand.operands)))
                    break
            else:
                order.append(value)
                stack.pop()
    return order


__all__ = ["Literal", "Value", "constant", "dtype", "full", "like", "make", "splat", "topological"]
