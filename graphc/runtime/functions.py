"""What all compiled programs are to their users: functions under names.

In: the functions of a program by name. Out: `Functions`, the base class of programs: each function is an attribute, a name
that is none is answered with those that are, and a `with` block closes the program. Programs hold machine code and memory
at fixed addresses: they are saved, and neither pickled nor copied.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import TracebackType
from typing import Generic, NoReturn, Self, SupportsIndex, TypeVar

from ..errors import GraphcError

F = TypeVar("F")


class Functions(Generic[F]):
    """Functions by name; raises GraphcError for a name that a program needs for itself."""

    def __init__(self, functions: Mapping[str, F]) -> None:
        for name in functions:
            if name.startswith("_") or hasattr(type(self), name):
                raise GraphcError(f"a function cannot be called {name!r}: every program has attributes of its own; rename it")
        self._functions = dict(functions)
        vars(self).update(self._functions)

    def __getattr__(self, name: str) -> F:
        functions = vars(self).get("_functions", {})
        close = difflib.get_close_matches(name, functions, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"its functions are {', '.join(functions)}"
        raise AttributeError(f"the program has no function {name!r}; {hint}", name=name, obj=None)

    @property
    def functions(self) -> Mapping[str, F]:
        """All functions by name."""
        return dict(self._functions)

    def close(self) -> None:
        """Give back what the program holds. Calls are refused afterwards."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise GraphcError(
            "a compiled program is machine code, which is neither pickled nor copied: keep its variables by "
            "gc.save_state(program.state_dict(), path), or all of it by program.save(path), for gc.load(path)"
        )
