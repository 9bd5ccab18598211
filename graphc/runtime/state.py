"""The live variables of a program.

In: the memory of a net and its manifest. Out: `State`, a mapping from names to zero-copy, writable numpy views. Loading
checks every array before it touches any. A view may be read while no call is running, and outlives its program.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from ..errors import CallError
from .manifest import Variable, describe
from .net import Net


class State(Mapping[str, np.ndarray]):
    """name -> view. `state[name] = array` copies into the variable."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._variables = {v.name: v for v in net.library.manifest.variables}
        self._views = {name: _view(net.state, v) for name, v in self._variables.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._views[name]
        except KeyError:
            raise KeyError(f"no variable {name!r}{_near(name, self._views)}") from None

    def __setitem__(self, name: str, value: object) -> None:
        self.load({name: value}, strict=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        rows = (f"  {v.name}: {describe(v.dtype.name, v.shape)}" for v in self._variables.values())
        return "\n".join(["State:", *rows])

    def copy(self) -> dict[str, np.ndarray]:
        """Copies of all variables, taken between calls."""
        with self._net.lock:
            return {name: view.copy() for name, view in self._views.items()}

    def load(self, values: Mapping[str, object], strict: bool = True) -> None:
        """Copy `values` into the variables they name. Every name, shape and dtype is checked first.

        `strict` wants a value for each variable. Raises CallError, with nothing touched.
        """
        arrays = fitting(self._variables, values, strict)
        with self._net.lock:
            for name, array in arrays.items():
                self._views[name][...] = array


def fitting(variables: Mapping[str, Variable], values: Mapping[str, object], strict: bool) -> dict[str, np.ndarray]:
    """`values` as arrays, each of the shape of its variable, and of its dtype or one that fits in it. Raises CallError that
    says all that does not."""
    if not isinstance(values, Mapping):
        raise CallError(f"a state is a mapping of names to arrays, such as program.state_dict(), not {type(values).__name__}")
    unknown = [name for name in values if name not in variables]
    missing = [name for name in variables if name not in values] if strict else []
    problems = [f"no variable {name!r}{_near(name, variables)}" for name in unknown]
    problems += [f"no value for {name!r}{_near(name, unknown) if unknown else ''}" for name in missing]
    arrays = {name: np.asarray(values[name]) for name in values if name in variables}
    problems += [text for name, array in arrays.items() if (text := _problem(variables[name], array))]
    if problems:
        raise CallError("the state does not fit:\n  " + "\n  ".join(problems))
    return arrays


def _view(state: np.ndarray, variable: Variable) -> np.ndarray:
    dtype = variable.dtype.numpy
    count = int(np.prod(variable.shape, dtype=np.int64))
    return state[variable.offset :][: count * dtype.itemsize].view(dtype).reshape(variable.shape)


def _problem(variable: Variable, array: np.ndarray) -> str | None:
    wanted = describe(variable.dtype.name, variable.shape)
    given = describe(str(array.dtype), array.shape)
    fits = array.dtype == variable.dtype.numpy or np.can_cast(array.dtype, variable.dtype.numpy, "safe")
    if array.shape == variable.shape and fits:
        return None
    return f"{variable.name!r}: expected {wanted}, got {given}"


def _near(name: str, names: Collection[str]) -> str:
    if not names:
        return (
            " (this program has no state: nothing in it is updated, and it was compiled with freeze=True or without variables)"
        )
    close = difflib.get_close_matches(str(name), list(names), 1, 0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
