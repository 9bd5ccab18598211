"""What every symbolic tensor is: a graph value, the user's line, and how operands meet.

In: graph values, arrays and Python numbers. Out: operands of one dtype and shape, as the primitive ops need them.
Promotion follows PyTorch (https://pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc): tensors with
dimensions rank before 0-d tensors, these before Python numbers. The classes of this package form one chain,
Core -> Shapes -> Elementwise -> Special -> Reductions -> Products -> Indexing -> Scans -> Positions -> Statistics ->
Algebra -> Compositions -> Tensor; each layer uses only those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator
from functools import wraps
from inspect import unwrap
from operator import index as as_int
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, TypeVar

import numpy as np

from ..dtype import DType, bool_, dtype, float32, int64, promote
from ..errors import DTypeError, GraphError, ShapeError
from ..ir.location import here
from ..ir.values import Value, constant, make

if TYPE_CHECKING:
    from .tensor import Tensor

Number = bool | int | float

_dtype = dtype  # where an argument is named dtype
F = TypeVar("F", bound=Callable[..., Any])


def numpy_names(function: F) -> F:
    """The function, which takes numpy's keywords too: `axis` for `dim`, `keepdims` for `keepdim`."""

    @wraps(function)
    def renamed(*args: Any, **kwargs: Any) -> Any:
        if "axis" in kwargs:
            kwargs["dim"] = kwargs.pop("axis")
        if "keepdims" in kwargs:
            kwargs["keepdim"] = kwargs.pop("keepdims")
        return function(*args, **kwargs)

    return renamed  # type: ignore[return-value]


def signature_names(function: FunctionType) -> tuple[str, ...]:
    """The names of the parameters."""
    code = unwrap(function).__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


class no_grad(ContextDecorator):
    """A block, or a decorated function, whose tensors no gradient flows through (torch.no_grad).

    with gc.no_grad():
        target = reward + discount * net(following).amax(1)
    """

    depth = 0  # how many blocks are open

    def __enter__(self) -> None:
        no_grad.depth += 1

    def __exit__(self, *_: object) -> None:
        no_grad.depth -= 1


class Core:
    """A symbolic tensor: it has a dtype and a static shape, and a value only when a compiled function runs.

    Methods of layers that take `dim` take `axis` as well.
    """

    __array_ufunc__ = None  # numpy arrays leave mixed operators to the tensor

    def __init_subclass__(cls) -> None:
        for name, method in list(vars(cls).items()):
            if isinstance(method, FunctionType) and "dim" in signature_names(method):
                setattr(cls, name, numpy_names(method))

    def __init__(self, value: Value) -> None:
        self.value = make("stop_gradient", value) if no_grad.depth and value.operands else value
        self.location = here()

    @staticmethod
    def wrap(value: Value) -> Tensor:
        """The tensor of a graph value."""
        raise NotImplementedError

    def lift(self, other: Any) -> Tensor:
        """`other` as a tensor: itself, or a constant; a number gets the dtype in which it meets this tensor."""
        if isinstance(other, Core):
            return other  # type: ignore[return-value]
        return self.wrap(of_dtype(as_number(other), result_type((self, other))) if is_number(other) else as_constant(other))

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.value.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the extent of one dimension."""
        return self.shape if dim is None else self.shape[axis(dim, self.ndim, "size")]

    def numel(self) -> int:
        """The number of elements."""
        return self.value.type.size

    ndimension, nelement = dim, numel

    def is_floating_point(self) -> bool:
        """Whether the elements are floats."""
        return self.dtype.is_float

    def to(self, dtype: Any, non_blocking: bool = False, copy: bool = False) -> Tensor:
        """The same elements in another dtype, or in that of a tensor. Float to integer truncates, saturates, NaN is 0.

        There are no devices to go to; "cpu" is let pass.
        """
        return self.wrap(cast_value(self.value, wanted_dtype(dtype, self.dtype)))

    def cpu(self) -> Tensor:
        """This tensor, for the sake of ported programs."""
        return self.to("cpu")

    def cuda(self) -> Tensor:
        """Refused, with what to do."""
        return self.to("cuda")

    def type_as(self, other: Tensor) -> Tensor:
        return self.to(other.dtype)

    def astype(self, dtype: Any) -> Tensor:
        return self.to(dtype)

    def detach(self) -> Tensor:
        """The same value, through which no gradient flows."""
        return self.wrap(make("stop_gradient", self.value))

    # A symbolic tensor has no numbers yet: whatever asks for them is told where they come from.
    def _no_value(self, asked: str) -> NoReturn:
        made = f" (made at {self.location})" if self.location else ""
        raise GraphError(
            f"{asked}: this is a symbolic tensor of type {self.value.type}{made}; it has no value until a compiled function "
            "runs. Make it an output: gc.compile(f=gc.function([inputs], tensor)), then f(arrays)",
            here(),
        )

    def __bool__(self) -> NoReturn:
        self._no_value("bool(tensor); to choose element by element use gc.where(condition, a, b)")

    def __float__(self) -> NoReturn:
        self._no_value("float(tensor)")

    def __int__(self) -> NoReturn:
        self._no_value("int(tensor)")

    def __index__(self) -> NoReturn:
        self._no_value("a tensor as a Python index")

    def __complex__(self) -> NoReturn:
        self._no_value("complex(tensor)")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._no_value("numpy.asarray(tensor)")

    def numpy(self) -> NoReturn:
        self._no_value("tensor.numpy()")

    def item(self) -> NoReturn:
        self._no_value("tensor.item()")

    def tolist(self) -> NoReturn:
        self._no_value("tensor.tolist()")

    def backward(self) -> NoReturn:
        raise GraphError(
            "there is no tape to run backward: use gradients = gc.grad(loss, [tensors]), or pass "
            "updates=optimizer.minimize(loss) to gc.function",
            here(),
        )

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len(tensor): a 0-d tensor has no length", here())
        return self.shape[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self  # immutable

    def __copy__(self) -> Any:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise GraphError(
            "a symbolic tensor cannot be pickled, nor a network that holds some: keep the numbers, by gc.save_state("
            "net.state_dict(), path), for net.load_state_dict(path)",
            here(),
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            changed = name.removesuffix("_")
            if name != changed and not name.startswith("_") and hasattr(type(self), changed):
                text += f": no tensor is changed in place; write x = x.{changed}(...)"
            raise AttributeError(text, name=name, obj=self)

    def __repr__(self) -> str:
        return f"Tensor({self.value.op.name}: {self.value.type})"

    __hash__ = object.__hash__


def as_constant(data: Any) -> Value:
    """A constant of a number, list or array; Python floats are float32 and Python ints int64, arrays keep their dtype."""
    if isinstance(data, np.ndarray | np.generic):
        return constant(np.asarray(data), dtype(data.dtype))
    if _holds_tensor(data):
        raise DTypeError("a list of tensors is no constant; use gc.stack(list) or gc.cat(list)", here())
    try:
        array = np.asarray(data)
        kind = {"f": float32, "i": int64, "b": bool_}.get(array.dtype.kind) if array.size else float32
    except ValueError as error:
        raise ShapeError(f"cannot make a tensor of {type(data).__name__}: {error}", here()) from None
    if kind is None:
        raise DTypeError(f"cannot make a tensor of {data!r}; expected a tensor, a numpy array, or numbers", here())
    return constant(array, kind)


def _holds_tensor(data: Any) -> bool:
    return isinstance(data, list | tuple) and any(isinstance(x, Core) or _holds_tensor(x) for x in data)


def result_type(operands: Any, *others: Any) -> DType:
    """The dtype in which tensors and Python numbers meet, given one by one or as one list."""
    operands = (operands, *others) if others or not isinstance(operands, Iterable) or isinstance(operands, Core) else operands
    ranks: tuple[list[DType], list[DType], list[DType]] = ([], [], [])
    for x in operands:
        if isinstance(x, Core):
            ranks[0 if x.shape else 1].append(x.dtype)
        else:
            x = as_number(x)
            ranks[2].append(bool_ if isinstance(x, bool) else int64 if isinstance(x, int) else float32)
    with_dims, zero_dims, numbers = (promote(*r) if r else None for r in ranks)
    result = _outrank(with_dims, _outrank(zero_dims, numbers))
    assert result is not None, "no operands"
    return result


def _outrank(high: DType | None, low: DType | None) -> DType | None:
    """`low` only lifts the kind of `high`."""
    if high is None or low is None:
        return high or low
    if high.is_float:
        return high
    return promote(high, low) if high.is_bool or low.is_float else high


def wanted_dtype(wanted: Any, own: DType) -> DType:
    """What `.to(wanted)` asks for: a dtype, that of a tensor, or `own` for "cpu". Raises DTypeError for other devices."""
    device = str(wanted).partition(":")[0] if not isinstance(wanted, DType | Core | type) else ""
    if device in ("cuda", "mps", "xpu"):
        raise DTypeError(
            f"tensors are on no device such as {wanted!r}: gc.compile(..., target=...) says where programs run", here()
        )
    return own if device == "cpu" else wanted.dtype if isinstance(wanted, Core) else dtype(wanted)


def is_number(x: Any) -> bool:
    """A Python number, or a numpy scalar, which counts as one."""
    return isinstance(x, bool | int | float | np.bool_ | np.integer | np.floating)


def as_number(x: Any) -> Number:
    return x.item() if isinstance(x, np.generic) else x


def cast_value(value: Value, to: DType) -> Value:
    return value if value.dtype is to else make("cast", value, dtype=to)


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape in which all meet (aligned at the right, extents equal or 1), or None."""
    result = [1] * max(map(len, shapes), default=0)
    for shape in shapes:
        for i in range(1, len(shape) + 1):
            if shape[-i] != 1:
                if result[-i] not in (1, shape[-i]):
                    return None
                result[-i] = shape[-i]
    return tuple(result)


def broadcast_value(value: Value, shape: tuple[int, ...]) -> Value:
    """`value` stretched to `shape`, aligned at the right; the shapes are known to fit."""
    if value.shape == shape:
        return value
    first = len(shape) - len(value.shape)
    return make("broadcast", value, shape=shape, dims=tuple(range(first, len(shape))))


def meet(name: str, *operands: Any, to: DType | None = None, floating: bool = False) -> list[Value]:
    """Operands (at least one a tensor) as values of one shape and dtype.

    `floating` lifts integers to float32. Raises ShapeError with all shapes and what would fit.
    """
    anchor = next(x for x in operands if isinstance(x, Core))
    lifted = [as_number(x) if is_number(x) else anchor.lift(x) for x in operands]
    kind = to or result_type(lifted)
    if floating and not kind.is_float:
        kind = float32
    shape = common_shape(name, [x for x in lifted if isinstance(x, Core)])
    return [broadcast_value(of_dtype(x, kind), shape) for x in lifted]


def common_shape(name: str, tensors: Sequence[Core]) -> tuple[int, ...]:
    """The shape to which all broadcast. Raises ShapeError with the shapes, their lines and what would fit."""
    shape = broadcast_shapes(*(x.shape for x in tensors))
    if shape is None:
        raise ShapeError(_misfit(name, tensors), here())
    return shape


def of_dtype(x: Any, kind: DType) -> Value:
    """A tensor, or a Python number, as a value of a dtype."""
    if isinstance(x, Core):
        return cast_value(x.value, kind)
    return constant(np.array(x).astype(kind.numpy))


def origins(tensors: Iterable[Core]) -> str:
    """For messages: the lines where the operands were made, each once."""
    return "".join(dict.fromkeys(f"; {x.shape} was made at {x.location}" for x in tensors if x.location))


def _misfit(name: str, tensors: Sequence[Core]) -> str:
    shapes = " and ".join(str(x.shape) for x in tensors)
    return (
        f"{name}: shapes {shapes} do not broadcast{origins(tensors)}. Aligned at the right, extents must be equal or 1"
        + _hint(tensors[0].shape, tensors[-1].shape)
    )


def _hint(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    """A call that would make one of the shapes fit the other, where one `unsqueeze` does."""
    for small, large, which in ((b, a, "second"), (a, b, "first")):
        for dim in range(len(small), -1, -1):
            if broadcast_shapes((*small[:dim], 1, *small[dim:]), large) == large:
                return f"; unsqueeze({dim}) on the {which} would give {(*small[:dim], 1, *small[dim:])}, which fits"
    return ""


def axis(dim: Any, rank: int, name: str) -> int:
    """`dim` counted from the front. Raises ShapeError when there is no such dimension."""
    try:
        number = as_int(dim)
    except TypeError:
        raise ShapeError(f"{name}: a dimension is an int, not {dim!r}", here()) from None
    if not -rank <= number < rank:
        span = f"expected {-rank} to {rank - 1}" if rank else "a 0-d tensor has none"
        raise ShapeError(f"{name}: there is no dimension {number} in a tensor of {rank} dimensions; {span}", here())
    return number % rank


def axes(dim: Any, rank: int, name: str) -> tuple[int, ...]:
    """One, several or (None) all dimensions, sorted, each once."""
    if dim is None:
        return tuple(range(rank))
    if not rank and dim in (0, -1, (0,), (-1,)):  # PyTorch lets a 0-d tensor pass for one with a single element
        return ()
    chosen = [axis(d, rank, name) for d in (dim if isinstance(dim, tuple | list) else (dim,))]
    if len(set(chosen)) != len(chosen):
        raise ShapeError(f"{name}: dimensions {dim} name one twice", here())
    return tuple(sorted(chosen))


def sizes(args: Sequence[Any], name: str) -> tuple[int, ...]:
    """Extents given as `f(2, 3)` or `f((2, 3))`."""
    given = args[0] if len(args) == 1 and isinstance(args[0], tuple | list) else args
    try:
        return tuple(as_int(n) for n in given)
    except (TypeError, GraphError):  # GraphError: a symbolic tensor among them
        raise ShapeError(f"{name}: extents are ints known when the graph is built, not {tuple(given)!r}", here()) from None
