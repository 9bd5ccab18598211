"""Functions made of several ops, of float16 and bfloat16: computed in float32, and rounded once.

In: a function of tensors. Out: the function; given 16-bit floats it works on float32 and gives the dtype in which they meet.
PyTorch's kernels keep what they compute on the way in float32, too: a square of 300 is not infinite there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from .core import Core, result_type

F = TypeVar("F", bound=Callable[..., Any])


def is_short(x: Any) -> bool:
    """Whether x is a tensor of 16-bit floats."""
    return isinstance(x, Core) and x.dtype.is_float and x.dtype.accumulator is not x.dtype


def widened(x: Any) -> Any:
    """A tensor of 16-bit floats in float32, made where it was; anything else itself."""
    if not is_short(x):
        return x
    wide = x.to(x.dtype.accumulator)
    wide.location = x.location
    return wide


def rounded_once(function: F) -> F:
    """The function of tensors, computed in float32 where they are 16-bit floats."""

    @wraps(function)
    def rounding(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        short = next(filter(is_short, given), None)
        if short is None:
            return function(*args, **kwargs)
        kind = result_type([short.lift(x) for x in given if _is_real(x)])
        result = function(*map(widened, args), **{name: widened(x) for name, x in kwargs.items()})
        return result.to(kind) if result.dtype is kind.accumulator else result

    return rounding  # type: ignore[return-value]


def _is_real(x: Any) -> bool:
    """Whether x is an array of floats."""
    return x.dtype.is_float if isinstance(x, Core) else isinstance(x, np.ndarray) and x.dtype.kind not in "biu"
