"""Modules that hold modules: in a row, in a list, under names.

In: modules. Out: a module whose children carry PyTorch's names ("0", "1", ... or the given keys).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import index as as_int
from typing import Any

from ..errors import GraphcError
from ..ir.location import here
from .module import Module
from .parameter import Parameter


class _Numbered(Module):
    """Children named by their position."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> _Numbered:
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> _Numbered:
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        modules = list(self)
        modules.insert(index, module)
        self._modules.clear()
        self.extend(modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def _key(self, index: Any) -> str:
        number = as_int(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"{type(self).__name__} has {len(self)} modules, there is no number {number}")
        return list(self._modules)[number]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            chosen = type(self).__new__(type(self))
            Module.__init__(chosen)
            for name, module in list(self._modules.items())[index]:
                chosen._modules[name] = module
            return chosen
        return self._modules[self._key(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._key(index), module)

    def __delitem__(self, index: int) -> None:
        modules = [m for m in self if m is not self[index]]
        self._modules.clear()
        self.extend(modules)


class Sequential(_Numbered):
    """Modules applied one after the other; takes modules, or one dict of names and modules."""

    def __init__(self, *modules: Any) -> None:
        named = len(modules) == 1 and isinstance(modules[0], Mapping)
        super().__init__(() if named else modules)
        for name, module in modules[0].items() if named else ():
            self.add_module(name, module)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules; it has no forward of its own."""

    def __repr__(self) -> str:
        """Equal neighbours are shown once: (0-3): 4 x Layer(...)."""
        runs: list[tuple[int, int, str]] = []
        for i, text in enumerate(map(repr, self)):
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], i, text)
            else:
                runs.append((i, i, text))
        lines = [
            f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}"
            for first, last, text in runs
        ]
        indented = "".join("\n  " + line.replace("\n", "\n  ") for line in lines)
        return f"{type(self).__name__}({indented}\n)" if lines else f"{type(self).__name__}()"


class ModuleDict(Module):
    """A dict of modules; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        for name, module in modules.items():
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        return self._modules.items()


class ParameterList(Module):
    """A list of parameters named by their position; arrays become parameters."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(values)

    def append(self, value: Any) -> ParameterList:
        setattr(self, str(len(self)), _parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        for value in values:
            self.append(value)
        return self

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters.values())

    def __getitem__(self, index: Any) -> Any:
        """A parameter, or a list of those of a slice."""
        return ParameterList(list(self)[index]) if isinstance(index, slice) else list(self)[index]

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, list(self._parameters)[index], _parameter(value))

    def extra_repr(self) -> str:
        return _shown(self._parameters)


class ParameterDict(Module):
    """A dict of parameters; arrays become parameters."""

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self.update(parameters or {})

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        for name, value in dict(parameters).items():
            self[name] = value

    def __getitem__(self, name: str) -> Parameter:
        return self._parameters[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if hasattr(Module, name) or "." in name:
            raise GraphcError(f"ParameterDict: a parameter cannot be called {name!r}: modules use this name", here())
        setattr(self, name, _parameter(value))

    def __delitem__(self, name: str) -> None:
        del self._parameters[name]

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __contains__(self, name: object) -> bool:
        return name in self._parameters

    def keys(self) -> Iterable[str]:
        return self._parameters.keys()

    def values(self) -> Iterable[Parameter]:
        return self._parameters.values()

    def items(self) -> Iterable[tuple[str, Parameter]]:
        return self._parameters.items()

    def extra_repr(self) -> str:
        return _shown(self._parameters)


def _parameter(value: Any) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value)


def _shown(parameters: Mapping[str, Parameter]) -> str:
    return ", ".join(f"({name}): {p.value.type}" for name, p in parameters.items())
