"""Functions that say which of their arguments is no tensor.

In: a function whose parameters are annotated. Out: the same function; where it fails on an array, a list or what an LSTM
returns in the place of a `Tensor`, the error names the argument instead of what that lacks. What does not fail is let pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from ...errors import DTypeError
from ...ir.location import here
from ...tensor import Tensor


def explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """Raises DTypeError where `function` fails for an argument that is no tensor."""

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (AttributeError, TypeError):
            wrong = _no_tensor(function, args, kwargs)
            if wrong is None:
                raise
        raise DTypeError(f"{function.__name__}: {wrong}", here())

    return called


def _no_tensor(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """The first argument that is annotated as a tensor, and is none."""
    try:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError:
        return None  # too few or too many: Python's own words are right
    for name, value in given.items():
        if function.__annotations__.get(name) == "Tensor" and not isinstance(value, Tensor):
            hint = (
                "take one of its elements"
                if isinstance(value, tuple)
                else "an input is a gc.placeholder, and numbers that belong to the model are a gc.constant"
            )
            return f"{name} must be a tensor, not a {type(value).__name__}: {hint}"
    return None
