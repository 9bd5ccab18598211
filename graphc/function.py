"""Functions and gradients as graphs: what the user declares, before anything is compiled.

In: tensors. Out: a `Function`: named inputs, outputs in the structure they were given in, updates of variables; checked,
so that whoever compiles it need not. Nothing runs here, and gradient markers stay in the graph for the autodiff pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .errors import DTypeError, GraphError, ShapeError
from .ir.graph import Graph
from .ir.location import Location, here
from .ir.values import Value, make, topological
from .tensor import Tensor, Variable, as_tensor
from .tensor.core import cast_value
from .tensor.tensor import is_placeholder

Updates = Mapping[Variable, Any]


class Function:
    """Outputs and updates as a function of inputs; symbolic until `gc.compile` makes a program of it.

    structure: how outputs were given ("bare", "list", "tuple", "dict"), and so how results are returned.
    """

    def __init__(self, inputs: Sequence[Tensor], outputs: Any, updates: Updates | None = None) -> None:
        self.location = here()
        self.inputs = _checked_inputs(inputs)
        self.input_names = _names(self.inputs)
        self.structure, named = _flatten(outputs)
        self.output_names = tuple(named)
        self.outputs = tuple(named.values())
        self.updates = _checked_updates(updates or {})
        self._check_placeholders()

    def _check_placeholders(self) -> None:
        known = {x.value for x in self.inputs}
        roots = [x.value for x in self.outputs] + [new for _, new in self.updates]
        for value in topological(roots):
            if is_placeholder(value) and value not in known:
                name = value.attrs["info"].name or "without a name"
                raise GraphError(
                    f"placeholder {name} of type {value.type}{_made(value.location)} is used but is no input of the function; "
                    "add it to the inputs",
                    here(),
                )

    def graph(self, name: str) -> Graph:
        """The function as a graph called `name`; gradient and update markers are still in it."""
        outputs = tuple(x.value for x in self.outputs)
        return Graph(name, tuple(x.value for x in self.inputs), outputs, self.updates, self.output_names)

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise GraphError(
            "a gc.function is symbolic and cannot be called; compile it first: program = gc.compile(f=f), then "
            "program.f(arrays)",
            here(),
        )

    def __repr__(self) -> str:
        arguments = ", ".join(f"{n}: {x.value.type}" for n, x in zip(self.input_names, self.inputs, strict=True))
        results = ", ".join(str(x.value.type) for x in self.outputs)
        return f"<function ({arguments}) -> {results}, {len(self.updates)} updates>"


def function(inputs: Sequence[Tensor], outputs: Any, updates: Updates | None = None) -> Function:
    """A function of placeholders.

    outputs: a tensor, or a list, tuple or dict of tensors; results come back the same way.
    updates: variable -> its new value; all variables are read before any is written.
    Raises GraphError, ShapeError or DTypeError where these do not make a function.
    """
    return Function(inputs, outputs, updates)


def grad(loss: Tensor, wrt: Any) -> Any:
    """d loss / d wrt for one tensor, or a list for a list; symbolic, so it can be differentiated again.

    Raises ShapeError if the loss is no scalar, DTypeError if anything is not float, GraphError if the loss does not
    depend on a tensor.
    """
    several = isinstance(wrt, list | tuple)
    tensors = [_checked_wrt(t) for t in (wrt if several else [wrt])]
    _check_loss(loss)
    below = set(topological([loss.value]))
    for tensor in tensors:
        if tensor.value not in below:
            raise GraphError(
                f"grad: the loss{_made(loss.location)} does not depend on {tensor!r}{_made(tensor.location)}; "
                "differentiate with respect to a tensor that the loss was computed from",
                here(),
            )
    results = [Tensor(make("grad", loss.value, t.value)) for t in tensors]
    return results if several else results[0]


def depends(loss: Tensor, variables: Sequence[Variable]) -> list[Variable]:
    """Those of `variables` that the loss was computed from."""
    below = set(topological([loss.value]))
    return [v for v in variables if v.value in below]


def _made(location: Location | None) -> str:
    return f" (made at {location})" if location else ""


def _check_loss(loss: Any) -> None:
    if not isinstance(loss, Tensor):
        raise GraphError(f"grad: the loss must be a tensor, not {type(loss).__name__}", here())
    if loss.shape != ():
        raise ShapeError(
            f"grad: the loss has shape {loss.shape}{_made(loss.location)}; a gradient needs a scalar: reduce it first, "
            "for example with .mean() or .sum()",
            here(),
        )
    if not loss.dtype.is_float:
        raise DTypeError(f"grad: the loss is {loss.dtype}{_made(loss.location)}; only float tensors have gradients", here())


def _checked_wrt(tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise GraphError(f"grad: can only differentiate with respect to tensors, not {type(tensor).__name__}", here())
    if not tensor.dtype.is_float:
        made = _made(tensor.location)
        raise DTypeError(f"grad: {tensor!r}{made} is {tensor.dtype}; only float tensors have gradients", here())
    return tensor


def _checked_inputs(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    if isinstance(inputs, Tensor):
        raise GraphError("function: the inputs are a list of placeholders; write [x] for a single one", here())
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise GraphError(
                f"function: input {i} is a {type(x).__name__}, not a placeholder; make one: gc.placeholder", here()
            )
        if not is_placeholder(x.value):
            kind = "variable: functions read variables without listing them" if isinstance(x, Variable) else "computed tensor"
            raise GraphError(f"function: input {i}, {x!r}{_made(x.location)}, is no placeholder but a {kind}", here())
    if len({x.value for x in inputs}) != len(inputs):
        raise GraphError("function: a placeholder is listed twice in the inputs", here())
    return tuple(inputs)


def _names(inputs: tuple[Tensor, ...]) -> tuple[str, ...]:
    """The placeholders' names; one without a name is called after its position."""
    names = tuple(x.value.attrs["info"].name or f"input{i}" for i, x in enumerate(inputs))
    for i, name in enumerate(names):
        if name in names[:i]:
            first, second = inputs[names.index(name)], inputs[i]
            raise GraphError(
                f"function: two inputs are called {name!r}{_made(first.location)}{_made(second.location)}; rename one",
                here(),
            )
    return names


def _flatten(outputs: Any) -> tuple[str, dict[str, Tensor]]:
    """(structure, outputs by name)."""
    if isinstance(outputs, Mapping):
        for name in outputs:
            if not isinstance(name, str) or not name.isidentifier():
                raise GraphError(f"function: the output name {name!r} must be an identifier", here())
        return "dict", {name: _checked_output(x, repr(name)) for name, x in outputs.items()}
    if isinstance(outputs, list | tuple):
        kind = "list" if isinstance(outputs, list) else "tuple"
        return kind, {f"output{i}": _checked_output(x, str(i)) for i, x in enumerate(outputs)}
    return "bare", {"output": _checked_output(outputs, "")}


def _checked_output(x: Any, which: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise GraphError(
            f"function: output {which + ' ' if which else ''}is a {type(x).__name__}, not a tensor; outputs are a tensor, or a "
            "list, tuple or dict of tensors (gc.constant makes one of numbers)",
            here(),
        )
    return x


def _checked_updates(updates: Any) -> tuple[tuple[Value, Value], ...]:
    pairs = list(updates.items()) if isinstance(updates, Mapping) else updates
    if not isinstance(pairs, list | tuple) or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise GraphError("function: updates are a dict {variable: new value}, such as optimizer.minimize(loss) gives", here())
    result: dict[Value, Value] = {}
    for variable, new in pairs:
        if not isinstance(variable, Variable):
            raise GraphError(f"function: updates name variables; {variable!r} is none (make one: gc.variable)", here())
        if variable.value in result:
            raise GraphError(f"function: the variable {variable.name} is updated twice; combine the two new values", here())
        result[variable.value] = _new_value(variable, as_tensor(new))
    return tuple(result.items())


def _new_value(variable: Variable, new: Tensor) -> Value:
    if new.shape != variable.shape:
        raise ShapeError(
            f"function: the update of {variable.name} has shape {new.shape}{_made(new.location)}; the variable"
            f"{_made(variable.location)} has {variable.shape}",
            here(),
        )
    if new.dtype is not variable.dtype and new.value.op.name != "constant":
        raise DTypeError(
            f"function: the update of {variable.name} is {new.dtype}{_made(new.location)}; the variable"
            f"{_made(variable.location)} is {variable.dtype}: add .to(gc.{variable.dtype})",
            here(),
        )
    return cast_value(new.value, variable.dtype)
