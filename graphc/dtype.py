"""Element types and their promotion.

In: names, numpy dtypes, Python scalars. Out: `DType` singletons. Promotion follows PyTorch
(https://pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc): kinds rank bool < integer < floating,
a Python scalar is weak (it only lifts the kind), and integers of both signs meet in the next larger signed type.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from .errors import DTypeError


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """One element type: `name`, `kind` (b, u, i or f), `bits` in memory, and its numpy dtype."""

    name: str
    kind: str
    bits: int
    numpy: np.dtype

    @property
    def size(self) -> int:
        """Bytes of one element in memory."""
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_int(self) -> bool:
        return self.kind in "ui"

    @property
    def is_bool(self) -> bool:
        return self.kind == "b"

    @property
    def accumulator(self) -> DType:
        """The type in which sums and products of many elements are kept: float32 for the 16-bit floats, else itself."""
        return float32 if self.is_float and self.bits == 16 else self

    def __repr__(self) -> str:
        return f"graphc.{self.name}"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return dtype, (self.name,)


bool_ = DType("bool", "b", 8, np.dtype(np.bool_))
uint8 = DType("uint8", "u", 8, np.dtype(np.uint8))
int8 = DType("int8", "i", 8, np.dtype(np.int8))
int16 = DType("int16", "i", 16, np.dtype(np.int16))
int32 = DType("int32", "i", 32, np.dtype(np.int32))
int64 = DType("int64", "i", 64, np.dtype(np.int64))
float16 = DType("float16", "f", 16, np.dtype(np.float16))
bfloat16 = DType("bfloat16", "f", 16, np.dtype(ml_dtypes.bfloat16))
float32 = DType("float32", "f", 32, np.dtype(np.float32))
float64 = DType("float64", "f", 64, np.dtype(np.float64))

# What tensor cores read of a float32: 10 bits of fraction. Kernels hold it, tensors do not, so it is none of DTYPES.
tfloat32 = DType("tfloat32", "f", 32, np.dtype(np.float32))

DTYPES = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
FLOATS = tuple(d for d in DTYPES if d.is_float)
INTS = tuple(d for d in DTYPES if d.is_int)

_BY_NAME = {d.name: d for d in DTYPES} | {"half": float16, "float": float32, "double": float64, "long": int64, "int": int32}
_BY_NUMPY = {d.numpy: d for d in DTYPES}
_BY_PYTHON: dict[type, DType] = {bool: bool_, int: int64, float: float32}


def dtype(spec: object) -> DType:
    """The `DType` that `spec` names: a DType, a name, a Python type, or anything `numpy.dtype` takes.

    Raises DTypeError for a type graphc does not have (complex, strings, uint32 ...).
    """
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, str) and spec in _BY_NAME:
        return _BY_NAME[spec]
    if isinstance(spec, type) and spec in _BY_PYTHON:
        return _BY_PYTHON[spec]
    try:
        found = _BY_NUMPY.get(np.dtype(spec).newbyteorder("="))  # type: ignore[call-overload]
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(f"{spec!r} is no element type of graphc; expected one of {', '.join(d.name for d in DTYPES)}")
    return found


def promote(*dtypes: DType) -> DType:
    """The type in which values of all `dtypes` meet, as PyTorch promotes tensors with dimensions."""
    result = dtypes[0]
    for other in dtypes[1:]:
        result = _promote_pair(result, other)
    return result


def promote_scalar(tensor: DType, scalar: bool | int | float) -> DType:
    """The type of `tensor op scalar`: the scalar is weak and lifts the kind only (float scalars lift to float32)."""
    if isinstance(scalar, bool) or tensor.is_float:
        return tensor
    if isinstance(scalar, int):
        return int64 if tensor.is_bool else tensor
    return float32


def _promote_pair(a: DType, b: DType) -> DType:
    if a is b:
        return a
    rank = {"b": 0, "u": 1, "i": 1, "f": 2}
    if rank[a.kind] != rank[b.kind]:
        return a if rank[a.kind] > rank[b.kind] else b
    if a.bits != b.bits and a.kind == b.kind:
        return a if a.bits > b.bits else b
    if a.is_float:  # float16 with bfloat16
        return float32
    signed = a if a.kind == "i" else b  # uint8 with a signed type
    return int16 if signed.bits == 8 else signed
