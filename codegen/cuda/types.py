"""How element types and numbers are written in CUDA C++.

In: a `DType`, a number. Out: type names and literals. A bool is one byte in memory and `bool` in registers; float16 and
bfloat16 are their 16 bits as an unsigned integer, since only casts look inside them.
"""

from __future__ import annotations

import math

import numpy as np

from graphc.dtype import DType, float32, int32, tfloat32

from .. import abi


def memory(dtype: DType) -> str:
    """The type of an element in memory."""
    return "float" if dtype is tfloat32 else abi.c_type(dtype)


def register(dtype: DType) -> str:
    """The type of a value in a register."""
    return "bool" if dtype.is_bool else memory(dtype)


def is_half(dtype: DType) -> bool:
    """Whether the dtype is held as 16 bits."""
    return dtype.is_float and dtype.bits == 16


def number(value: bool | int | float, dtype: DType) -> str:
    """A constant of `dtype`, of exactly its register type."""
    if dtype.is_bool:
        return "true" if value else "false"
    if is_half(dtype):
        return f"uint16_t({int(np.asarray(value).astype(dtype.numpy).view(np.uint16))})"
    if dtype.is_float:
        return _float(float(value), dtype)
    if dtype is int32 and value > -(2**31):
        return str(int(value))
    if value == -(2 ** (dtype.bits - 1)):
        return f"{memory(dtype)}({value + 1}{'LL' if dtype.bits == 64 else ''} - 1)"
    return f"{memory(dtype)}({int(value)}{'LL' if abs(int(value)) >= 2**31 else ''})"


def _float(value: float, dtype: DType) -> str:
    scalar = np.asarray(value).astype(dtype.numpy)[()]
    single = dtype is float32
    if not math.isfinite(scalar) or 0 < abs(scalar) < np.finfo(dtype.numpy).tiny:
        bits = int(scalar.view(np.uint32 if single else np.uint64))
        return f"bitcast<float>(0x{bits:08X}u)" if single else f"bitcast<double>(0x{bits:016X}ull)"
    return f"{scalar!s}f" if single else repr(float(scalar))
