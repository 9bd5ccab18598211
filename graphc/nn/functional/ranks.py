"""What functions of 1, 2 and 3 spatial dimensions share: their definition, and the checks of their arguments.

In: one function whose first argument is the number of spatial dimensions. Out: PyTorch's three functions, each with its own
name, signature and documentation, for `help` and for type checkers alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from ...errors import ShapeError
from ...ir.location import here
from ...tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
Size = int | tuple[int, ...]
_SPACES = ("L", "H, W", "D, H, W")


def for_ranks(function: Callable[Concatenate[int, P], R]) -> tuple[Callable[P, R], Callable[P, R], Callable[P, R]]:
    """`f(rank, ...)` as f1d, f2d and f3d; its docstring says {rank} and {space}, which is "H, W" for 2."""
    return _of_rank(function, 1), _of_rank(function, 2), _of_rank(function, 3)


def _of_rank(function: Callable[Concatenate[int, P], R], rank: int) -> Callable[P, R]:
    def ranked(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(rank, *args, **kwargs)

    signature = inspect.signature(function)
    ranked.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    ranked.__name__ = ranked.__qualname__ = f"{function.__name__}{rank}d"
    ranked.__module__ = function.__module__
    ranked.__doc__ = (function.__doc__ or "").format(rank=rank, space=_SPACES[rank - 1])
    return ranked


def per_axis(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """One int for all spatial dimensions, or one for each."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    values = values * rank if len(values) == 1 else values
    if len(values) != rank or not all(isinstance(v, int) for v in values):
        raise ShapeError(f"{name} must be an int or {rank} ints, not {value!r}", here())
    return values


def check_rank(name: str, x: Tensor, rank: int) -> None:
    """Refuse what is neither (N, C, spatial...) nor (C, spatial...)."""
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(f"{name}: takes (N, C, {_SPACES[rank - 1]}) or without N, got {x.shape}", here())
