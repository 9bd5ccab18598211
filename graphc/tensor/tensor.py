"""The tensor a user holds, and the variable: a tensor that outlives a call.

In: values; for variables an initial numpy array. Out: `Tensor` with all methods of its layers. A `Variable` names
itself after where it lives ("fc1.weight") and passes a change of name on to the state derived from it.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..dtype import dtype
from ..errors import DTypeError, GraphError, ShapeError
from ..ir.location import here
from ..ir.types import TensorType
from ..ir.values import Value, make
from ..ops.source import PlaceholderInfo, VariableInfo
from ..ops.source import placeholder as make_placeholder
from ..ops.source import variable as make_variable
from .compositions import Compositions
from .core import Core, as_constant, cast_value, sizes

_dtype = dtype  # where an argument is named dtype


class Tensor(Compositions):
    """A symbolic tensor: static shape and dtype now, numbers when a compiled function runs."""

    __hash__ = Core.__hash__

    @staticmethod
    def wrap(value: Value) -> Tensor:
        return Tensor(value)

    def float(self) -> Tensor:
        return self.to("float32")

    def double(self) -> Tensor:
        return self.to("float64")

    def half(self) -> Tensor:
        return self.to("float16")

    def bfloat16(self) -> Tensor:
        return self.to("bfloat16")

    def int(self) -> Tensor:
        return self.to("int32")

    def long(self) -> Tensor:
        return self.to("int64")

    def short(self) -> Tensor:
        return self.to("int16")

    def char(self) -> Tensor:
        return self.to("int8")

    def byte(self) -> Tensor:
        return self.to("uint8")

    def bool(self) -> Tensor:
        return self.to("bool")


class Variable(Tensor):
    """State of a program: read by functions, replaced by their updates. `initial` is what a compilation starts from."""

    def __init__(self, initial: Any, name: str = "variable", dtype_: Any = None) -> None:
        if isinstance(initial, Core):
            raise GraphError("a variable starts from numbers, not from a symbolic tensor; give a numpy array", here())
        array = initial if isinstance(initial, np.ndarray) else as_constant(initial).attrs["literal"].array
        super().__init__(make_variable(name, array.astype(dtype(array.dtype if dtype_ is None else dtype_).numpy)))
        self._derived: list[tuple[str, Variable]] = []

    @property
    def info(self) -> VariableInfo:
        found: VariableInfo = self.value.attrs["info"]
        return found

    @property
    def name(self) -> str:
        """The key of this variable in the state of a program; two equal names are told apart when they are compiled."""
        return self.info.name

    @name.setter
    def name(self, name: str) -> None:
        self.info.name = name
        for suffix, variable in self._derived:
            variable.name = f"{name}.{suffix}"

    def derive(self, suffix: str, initial: Any) -> Variable:
        """A variable named after this one, such as the momentum of a parameter; it follows changes of the name."""
        variable = Variable(initial, f"{self.name}.{suffix}")
        self._derived.append((suffix, variable))
        return variable

    @property
    def initial(self) -> np.ndarray:
        """The value the next compilation starts from."""
        return self.info.initial

    @initial.setter
    def initial(self, data: Any) -> None:
        array = np.asarray(data)
        if array.shape != self.shape:
            raise ShapeError(f"{self.name} has shape {self.shape}; it cannot start from an array of {array.shape}", here())
        kinds = {"b": 0, "u": 1, "i": 1, "f": 2}
        if kinds[dtype(array.dtype).kind] > kinds[self.dtype.kind]:
            raise DTypeError(f"{self.name} is {self.dtype}; it cannot start from an array of {array.dtype}", here())
        self.info.initial = np.array(array, dtype=self.dtype.numpy, order="C", copy=True)

    def twin(self, dtype: Any = None) -> Self:
        """Another variable with the same attributes and initial value, in this or another dtype, that no module has named yet;
        what was derived from this one stays here."""
        other = type(self).__new__(type(self))
        Variable.__init__(other, self.initial, self.name, dtype)
        known = other.__dict__.keys() | {"_owned"}
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name not in known})
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self)] = other = self.twin()
        return other

    def __repr__(self) -> str:
        return f"Variable({self.name!r}: {self.value.type})"


def as_tensor(data: Any, dtype_: Any = None) -> Tensor:
    """`data` itself if it is a tensor, else a constant of it."""
    tensor = data if isinstance(data, Tensor) else Tensor(as_constant(data))
    return tensor if dtype_ is None else tensor.to(dtype_)


def constant(data: Any, dtype: Any = None) -> Tensor:
    """A constant: numbers, nested lists or an array. Python floats are float32, ints int64; arrays keep their dtype."""
    if isinstance(data, Tensor):
        raise GraphError("gc.constant takes numbers or arrays; this is a symbolic tensor already", here())
    if dtype is None:
        return Tensor(as_constant(data))
    array = data if isinstance(data, np.ndarray) else np.asarray(data)
    return Tensor(as_constant(array.astype(_dtype(dtype).numpy)))


def placeholder(shape: Any, dtype: Any = "float32", name: str | None = None) -> Tensor:
    """An input of a function. Without a name it is called after its position in the function's inputs."""
    extents = sizes((shape,), "placeholder")
    if min(extents, default=0) < 0:
        raise ShapeError(f"placeholder: the shape {extents} must be static: every extent a known int >= 0", here())
    if name is not None and not str(name).isidentifier():
        raise GraphError(f"placeholder: the name {name!r} must be an identifier, such as 'x' or 'labels'", here())
    return Tensor(make_placeholder(name or "", TensorType(_dtype(dtype), extents)))


def variable(init: Any, name: str = "variable", dtype: Any = None) -> Variable:
    """State that starts as `init`; functions read it, and their `updates` replace it."""
    return Variable(init, name, dtype)


def is_placeholder(value: Value) -> bool:
    return isinstance(value.attrs.get("info"), PlaceholderInfo)


def is_tensor(x: Any) -> bool:
    """Whether x is a symbolic tensor."""
    return isinstance(x, Tensor)


def from_numpy(array: np.ndarray) -> Tensor:
    """A constant of an array."""
    return constant(array)


def stop_gradient(x: Any) -> Tensor:
    """The same value, through which no gradient flows."""
    return as_tensor(x).detach()


def attach_update(x: Tensor, variable: Variable, new: Any) -> Tensor:
    """`x`; every function that reaches it also sets `variable` to `new`, once, after all reads."""
    value = as_tensor(new)
    if value.shape != variable.shape:
        raise ShapeError(f"the update of {variable.name} {variable.shape} has shape {value.shape}", here())
    return Tensor(make("update", x.value, variable.value, cast_value(value.value, variable.dtype)))
