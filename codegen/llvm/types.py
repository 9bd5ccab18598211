"""How element types and constants are written in LLVM IR.

In: a `DType`, a number of lanes. Out: type names, constants, intrinsic suffixes. A bool is one byte in memory and i1 in
registers; float16 and bfloat16 are their 16 bits as an integer, since only casts look inside them.
"""

from __future__ import annotations

import struct

import numpy as np

from graphc.dtype import DType

_REGISTER = {
    "bool": "i1", "uint8": "i8", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "float16": "i16", "bfloat16": "i16", "float32": "float", "float64": "double",
}  # fmt: skip
_SUFFIX = {"float": "f32", "double": "f64", "half": "f16", "ptr": "p0"}


def register(dtype: DType) -> str:
    """The scalar type of a value in a register."""
    return _REGISTER[dtype.name]


def memory(dtype: DType) -> str:
    """The scalar type of an element in memory."""
    return "i8" if dtype.is_bool else _REGISTER[dtype.name]


def vector(scalar: str, lanes: int) -> str:
    """`scalar` itself for one lane, a vector type for more."""
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def suffix(scalar: str, lanes: int) -> str:
    """How intrinsic names spell the type: f32, v16i32 ..."""
    name = _SUFFIX.get(scalar, scalar)
    return name if lanes == 1 else f"v{lanes}{name}"


def number(value: bool | int | float, dtype: DType) -> str:
    """A scalar constant of `dtype`."""
    if dtype.is_bool:
        return "true" if value else "false"
    if dtype.is_int:
        return str(int(value))
    if dtype.bits == 16:
        return str(int(np.asarray(value).astype(dtype.numpy).view(np.uint16)))
    rounded = np.asarray(value).astype(dtype.numpy).astype(np.float64)
    return f"0x{struct.unpack('<Q', struct.pack('<d', float(rounded)))[0]:016X}"


def splat(constant: str, scalar: str, lanes: int) -> str:
    """A scalar constant in every lane."""
    return constant if lanes == 1 else f"splat ({scalar} {constant})"


def vector_of(values: list[str], scalar: str) -> str:
    """A constant vector, lane by lane."""
    return "<" + ", ".join(f"{scalar} {v}" for v in values) + ">"
