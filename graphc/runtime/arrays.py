"""Arrays that users pass, brought to the form that compiled code reads.

In: anything array-like, and the Port it is for. Out: a C-contiguous, aligned, native-endian numpy array of exactly the
port's dtype and shape. Arrays are never converted between dtypes; Python numbers and lists are, when nothing is lost. And, for
those who only measure, made-up ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from ..dtype import DType
from ..errors import CallError
from .manifest import Port, Signature, describe


class Mismatch(Exception):
    """What does not fit: the text behind "expected ..., "."""


def bind(signature: Signature, args: Sequence[object], named: Mapping[str, object]) -> tuple[object, ...]:
    """One value for each input of a function, from those given by position and by name. Raises CallError."""
    function = signature.name
    names = [port.name for port in signature.inputs]
    if len(args) > len(names):
        raise CallError(f"{function} takes {len(names)} inputs ({signature}), got {len(args)}")
    given = dict(zip(names, args, strict=False))
    for name, value in named.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise CallError(f"{function} has no input {name!r} ({signature}){hint}")
        if name in given:
            raise CallError(f"{function}: input {name!r} was given twice")
        given[name] = value
    missing = [name for name in names if name not in given]
    if missing:
        raise CallError(f"{function}: no value for {', '.join(map(repr, missing))} ({signature})")
    return tuple(given[name] for name in names)


def conform(value: object, port: Port, function: str) -> np.ndarray:
    """`value` as an array for an input of `function`. Raises CallError."""
    try:
        return _conform(value, port)
    except Mismatch as problem:
        wanted = describe(port.dtype.name, port.shape)
        raise CallError(f"{function}: input {port.name!r}: expected {wanted}, {problem}") from None


def _conform(value: object, port: Port) -> np.ndarray:
    if isinstance(value, (bool, int, float, list, tuple)) and not isinstance(value, np.generic):
        array = _from_python(value, port)
    else:
        array = _as_array(value)
    _check(array, port)
    return np.require(array, port.dtype.numpy, ["C", "A"])


def _as_array(value: object) -> np.ndarray:
    try:
        array = np.asarray(value)
    except Exception as error:  # an object's own __array__ may raise anything
        raise Mismatch(f"got {type(value).__name__}, which numpy cannot read ({error})") from error
    if array.dtype.hasobject:
        what = "an array of Python objects" if isinstance(value, np.ndarray) else type(value).__name__
        raise Mismatch(f"got {what}; pass a numpy array of numbers")
    if array.dtype.kind in "USmMc":
        raise Mismatch(f"got {describe(_name(array.dtype), array.shape)}, which is not made of real numbers")
    return array


def _check(array: np.ndarray, port: Port) -> None:
    given = describe(_name(array.dtype), array.shape)
    if array.dtype.newbyteorder("=") != port.dtype.numpy:
        raise Mismatch(f"got {given}; pass it as .astype({port.dtype.name!r}) if that is what you mean")
    if array.shape != port.shape:
        raise Mismatch(f"got {given}; shapes are fixed when a function is compiled: compile another for this shape, or pad")


def _name(dtype: np.dtype) -> str:
    return str(dtype.newbyteorder("="))


def _from_python(value: object, port: Port) -> np.ndarray:
    try:
        raw = np.array(value)
    except (ValueError, OverflowError) as error:
        raise Mismatch(f"got a {type(value).__name__} that is no array ({error})") from error
    if raw.size == 0:
        return raw.astype(port.dtype.numpy)
    if raw.dtype.kind not in "biuf":
        raise Mismatch(f"got a {type(value).__name__} of {_name(raw.dtype)}")
    if not _kind_fits(raw.dtype.kind, port.dtype):
        raise Mismatch(f"got a Python {_python_name(raw.dtype.kind)}, which {port.dtype} cannot hold")
    with np.errstate(over="ignore", invalid="ignore"):
        result = raw.astype(port.dtype.numpy)
    if not _same(raw, result, port.dtype):
        raise Mismatch(f"got {value!r:.60}, which {port.dtype} cannot hold")
    return result


def _kind_fits(kind: str, dtype: DType) -> bool:
    """bool fits everywhere, whole numbers fit all numbers, fractions fit floats."""
    return kind == "b" or (kind in "iu" and not dtype.is_bool) or (kind == "f" and dtype.is_float)


def _python_name(kind: str) -> str:
    return {"b": "bool", "i": "int", "u": "int", "f": "float"}[kind]


def _same(raw: np.ndarray, result: np.ndarray, dtype: DType) -> bool:
    """Floats may round but not overflow; whole numbers must be exact."""
    if raw.dtype.kind == "f":
        return bool((np.isfinite(raw) <= np.isfinite(result.astype(np.float64))).all())
    back = result.astype(np.float64) if dtype.is_float else result
    return bool((back == raw).all())


def made_up(port: Port, generator: np.random.Generator) -> np.ndarray:
    """Normal numbers for floats, zeros and ones for the others: valid as labels and indices of anything."""
    if port.dtype.is_float:
        return generator.standard_normal(port.shape).astype(port.dtype.numpy)
    return generator.integers(0, 2, port.shape).astype(port.dtype.numpy)
