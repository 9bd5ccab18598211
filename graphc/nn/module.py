"""The module: parameters, buffers and children under names, as in PyTorch.

In: attributes of a user's class. Out: qualified names ("fc1.weight"), which are also the variables' names in a compiled
program's state. A variable shared by several modules is named after the first place in definition order. Two modules
compiled into one program may name variables alike; the compiler then tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from os import PathLike
from typing import Any, TypeVar

import numpy as np

from ..dtype import float32
from ..errors import GraphcError, GraphError, ShapeError
from ..ir.location import here
from ..tensor import Tensor, Variable
from ..tensor.core import wanted_dtype
from .parameter import Buffer, Parameter
from .serialization import load_state

M = TypeVar("M", bound="Module")

HELD = ("_parameters", "_buffers", "_modules")  # what a module holds under names, in order of definition
COMPUTED = "_computed"


class StateError(GraphcError, KeyError):
    """Names of a state that do not match a module's."""

    def __str__(self) -> str:
        return str(self.args[0])


class Hook:
    """A registered function, until it is removed."""

    def __init__(self, hooks: dict[Hook, Callable[..., Any]], function: Callable[..., Any]) -> None:
        self._hooks = hooks
        hooks[self] = function

    def remove(self) -> None:
        """No longer call the function."""
        self._hooks.pop(self, None)

    def __enter__(self) -> Hook:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Module:
    """Base class of layers and networks; subclasses define `forward`."""

    training: bool

    def __init__(self) -> None:
        for name in (*HELD, COMPUTED, "_before", "_after"):
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_path", "")
        object.__setattr__(self, "training", True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise GraphError(f"{type(self).__name__} defines no forward(self, ...)", here())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, np.ndarray) for x in args):
            raise GraphError(
                f"{type(self).__name__} takes symbolic tensors, not arrays: make x = gc.placeholder(shape, dtype), compile "
                "program = gc.compile(f=gc.function([x], net(x))), and give the array to program.f; an array that belongs to "
                "the model becomes a tensor by gc.constant(array)",
                here(),
            )
        for before in self._before.values():
            changed = before(self, args)
            args = args if changed is None else changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for after in self._after.values():
            changed = after(self, args, result)
            result = result if changed is None else changed
        return result

    # Hooks see what goes in and comes out while a graph is declared; what they return, unless None, takes its place.
    def register_forward_pre_hook(self, hook: Callable[[Module, tuple[Any, ...]], Any]) -> Hook:
        """Call hook(module, arguments) before forward; returns a handle with remove()."""
        return Hook(self._before, hook)

    def register_forward_hook(self, hook: Callable[[Module, tuple[Any, ...], Any], Any]) -> Hook:
        """Call hook(module, arguments, result) after forward; returns a handle with remove()."""
        return Hook(self._after, hook)

    # Attributes. Parameters, buffers and modules live in dictionaries of their own, in order of definition.
    def __setattr__(self, name: str, value: Any) -> None:
        slots = self.__dict__
        if "_modules" not in slots:
            if isinstance(value, Module | Variable):
                raise GraphError(f"call super().__init__() before assigning {type(self).__name__}.{name}", here())
            object.__setattr__(self, name, value)
            return
        kind = _kind(value)
        if value is None and name in self._parameters:
            kind = "_parameters"
        for other in (*HELD, COMPUTED):
            if other != kind:
                slots[other].pop(name, None)
        if kind is None:
            object.__setattr__(self, name, value)
            return
        slots.pop(name, None)
        known = isinstance(value, Variable) and getattr(value, "_owned", False)
        slots[kind][name] = value
        if not known:
            self._name_variables()

    def __getattr__(self, name: str) -> Any:
        for kind in HELD:
            if name in self.__dict__.get(kind, ()):
                return self.__dict__[kind][name]
        if name in self.__dict__.get(COMPUTED, ()):
            return self.__dict__[COMPUTED][name](self)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for kind in (*HELD, COMPUTED):
            if self.__dict__[kind].pop(name, self) is not self:
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules, *self._computed]

    def _name_variables(self) -> None:
        """Give every variable below the name of its place, starting from this module's own place."""
        for path, module in self._walk(self._path, set()):
            object.__setattr__(module, "_path", path)
        seen: set[Variable] = set()
        for path, module in self._walk(self._path, set()):
            for name, variable in (*module._parameters.items(), *module._buffers.items()):
                if variable is not None and variable not in seen:
                    seen.add(variable)
                    variable.name = _join(path, name)
                    variable._owned = True

    def _walk(self, prefix: str, seen: set[Module]) -> Iterator[tuple[str, Module]]:
        if self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child._walk(_join(prefix, name), seen)

    # Registration by name.
    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        if parameter is None:
            self._parameters[name] = None
        else:
            setattr(self, name, parameter)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """A variable that is saved (if persistent) but not trained; None keeps the name free."""
        if tensor is None:
            self._buffers[name] = None
        else:
            setattr(self, name, tensor if isinstance(tensor, Buffer) else Buffer(tensor, persistent))

    def register_computed(self, name: str, compute: Callable[[Module], Tensor]) -> None:
        """A tensor computed from the module's variables whenever it is read, in the place of a parameter of this name."""
        self._parameters.pop(name, None)
        self._computed[name] = compute

    def register_module(self, name: str, module: Module | None) -> None:
        self.add_module(name, module)

    def add_module(self, name: str, module: Module | None) -> None:
        """A child under a name that need not be an identifier."""
        if module is not None and not isinstance(module, Module):
            raise GraphError(f"{name}: {type(module).__name__} is no Module", here())
        self._modules[name] = module
        self._name_variables()

    # Looking in.
    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below, each once."""
        return self._walk(prefix, set())

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, child) for name, child in self._modules.items() if child is not None)

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def _named(self, kind: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[Variable] = set()
        for path, module in self._walk(prefix, set()) if recurse else [(prefix, self)]:
            for name, variable in module.__dict__[kind].items():
                if variable is not None and variable not in seen:
                    seen.add(variable)
                    yield _join(path, name), variable

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Trained variables by qualified name, each once."""
        return self._named("_parameters", prefix, recurse)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return found

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Buffer]]:
        """Untrained state by qualified name, each once."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path."""
        module = self
        for name in filter(None, target.split(".")):
            if name not in module._modules:
                raise AttributeError(f"{type(module).__name__} has no module {name!r} (in {target!r})")
            module = module._modules[name]
        return module

    # Modes. What a graph contains is decided when forward runs, so the mode must be set before.
    def train(self: M, mode: bool = True) -> M:
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
        return self

    def eval(self: M) -> M:
        return self.train(False)

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call `function` on every module below, then on this one."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # State.
    def _state(self, prefix: str = "") -> Iterator[tuple[str, Variable]]:
        """Parameters and persistent buffers under every name they have."""
        for name, variable in (*self._parameters.items(), *self._buffers.items()):
            if variable is not None and getattr(variable, "persistent", True):
                yield _join(prefix, name), variable
        for name, child in self.named_children():
            yield from child._state(_join(prefix, name))

    def state_dict(self) -> dict[str, np.ndarray]:
        """What the next compilation starts from, under PyTorch's names. Live values are in `program.state_dict()`."""
        return {name: variable.initial.copy() for name, variable in self._state()}

    def load_state_dict(
        self, state: Mapping[str, Any] | str | PathLike[str], strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """Set what the next compilation starts from; returns (missing, unexpected) names.

        state: arrays by name, or the path of a safetensors or .pth file of them.
        Raises StateError (strict) for names that do not match, ShapeError for shapes that do not. Nothing is changed then.
        """
        if isinstance(state, str | PathLike):
            state = load_state(state)
        if not isinstance(state, Mapping):
            raise StateError(f"load_state_dict: expected arrays by name, or a file of them, not {type(state).__name__}", here())
        own = dict(self._state())
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        if strict and (missing or unexpected):
            raise StateError(_mismatch(type(self).__name__, missing, unexpected), here())
        arrays = {name: _as_array(state[name]) for name in own if name in state}
        for name, array in arrays.items():
            if array.dtype.kind in "OUSmM":
                raise StateError(f"load_state_dict: {name} is {state[name]!r:.60}, not an array of numbers", here())
            if array.shape != own[name].shape:
                raise ShapeError(f"load_state_dict: {name} has shape {own[name].shape}, the given array {array.shape}", here())
        for name, array in arrays.items():
            own[name].initial = array.astype(own[name].dtype.numpy)
        return missing, unexpected

    def to(self: M, dtype: Any) -> M:
        """Float parameters and buffers in another dtype: new variables, so call it before the first use. "cpu" is let pass."""
        if dtype == "cpu":
            return self
        kind = wanted_dtype(dtype, float32)
        for module in self.modules():
            for variables in (module._parameters, module._buffers):
                for name, variable in variables.items():
                    if variable is not None and variable.dtype.is_float and variable.dtype is not kind:
                        variables[name] = variable.twin(kind)
        self._name_variables()
        return self

    def cpu(self: M) -> M:
        """This module, for the sake of ported programs."""
        return self

    def cuda(self: M) -> M:
        """Refused, with what to do."""
        return self.to("cuda")

    def float(self: M) -> M:
        return self.to("float32")

    def double(self: M) -> M:
        return self.to("float64")

    def half(self: M) -> M:
        return self.to("float16")

    def bfloat16(self: M) -> M:
        return self.to("bfloat16")

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Whether optimisers train the parameters below; call it before `minimize`."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}({extra}\n  " + "\n  ".join(lines) + "\n)"


def _kind(value: Any) -> str | None:
    if isinstance(value, Parameter):
        return "_parameters"
    return "_modules" if isinstance(value, Module) else "_buffers" if isinstance(value, Buffer) else None


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _as_array(data: Any) -> np.ndarray:
    if isinstance(data, Variable):
        return data.initial
    if isinstance(data, Tensor):
        raise GraphError("load_state_dict takes arrays; a symbolic tensor has no value", here())
    return np.asarray(data)


def _mismatch(owner: str, missing: list[str], unexpected: list[str]) -> str:
    unexpected = [str(name) for name in unexpected]
    parts = [f"load_state_dict: the names do not match those of {owner}"]
    if missing:
        parts.append(f"missing: {', '.join(missing)}")
    if unexpected:
        parts.append(f"unexpected: {', '.join(unexpected)}")
    near = [(name, get_close_matches(name, unexpected, 1)) for name in missing[:8]]
    parts += [f"{name} may be what is called {found[0]} there" for name, found in near if found]
    return "; ".join(parts) + " (strict=False loads what matches)"
