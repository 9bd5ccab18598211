"""The direct way from CPython into a compiled function.

In: a function of a net whose library has an entry for Python, and the careful way of calling it. Out: a built-in method that
runs the function at once for arrays that fit as they are, and hands every other call to the careful way, which alone converts,
copies and complains. None where this interpreter or this numpy keeps objects in another way than the entry takes for granted:
everything it relies on is tried first, once, on objects whose contents are known. Only public functions of CPython are called.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .manifest import BARE, Signature
from .net import Net

VERSION = 1  # of the record that entries expect

_CALLS = {
    "vectorcall": "PyObject_Vectorcall",
    "list_new": "PyList_New",
    "list_set": "PyList_SetItem",
    "save_thread": "PyEval_SaveThread",
    "restore_thread": "PyEval_RestoreThread",
    "decref": "Py_DecRef",
}
_OBJECTS = ("array_type", "empty", "locked", "acquire", "release", "false", "careful", "pack")
_FASTCALL_WITH_KEYWORDS = 0x80 | 0x02
_HEAD = 16  # bytes of an object without fields
_ARRAY = struct.Struct("=8xQQi4xQ16xQi")  # of an array: type, data, rank, shape, dtype, flags


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    )


class Record(ctypes.Structure):
    """All that an entry knows of Python: the `self` of its method. It owns what it refers to, and the collector sees that."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _CALLS),
        *((name, ctypes.py_object) for name in _OBJECTS),
        ("dtypes", ctypes.POINTER(ctypes.py_object)),
        ("outputs", ctypes.POINTER(ctypes.py_object)),
        ("net", ctypes.c_void_p),
        ("net_bytes", ctypes.c_int64),
        ("function", ctypes.c_int64),
        ("method", _Method),
    )


def method(net: Net, signature: Signature, careful: Callable[..., Any], pack: Callable[..., Any]) -> Callable[..., Any] | None:
    """The method for a function of `net`; `pack` brings a list of outputs into the form the user gets."""
    manifest = net.library.manifest
    if manifest.python != VERSION or not holds():
        return None
    record = Record(
        net=net.address,
        net_bytes=net.end - net.address,
        function=manifest.functions.index(signature),
        dtypes=_objects([port.dtype.numpy for port in signature.inputs]),
        outputs=_objects([part for port in signature.outputs for part in (port.shape, port.dtype.numpy)]),
        array_type=np.ndarray,
        empty=np.empty,
        locked=net.lock.locked,
        acquire=net.lock.acquire,
        release=net.lock.release,
        false=False,
        careful=careful,
        **{name: ctypes.cast(getattr(ctypes.pythonapi, symbol), ctypes.c_void_p).value for name, symbol in _CALLS.items()},
    )
    if signature.structure != BARE:
        record.pack = pack
    entry = net.library.address(f"{manifest.name}_python")
    documentation = f"{signature.name}(*inputs, **named)\n--\n\n{signature}"  # its first line is for `inspect.signature`
    record.method = _Method(signature.name.encode(), entry, _FASTCALL_WITH_KEYWORDS, documentation.encode())
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
        ("PyCFunction_NewEx", ctypes.pythonapi)
    )
    made: Callable[..., Any] = new(ctypes.addressof(record) + Record.method.offset, record, None)
    return made


def _objects(parts: list[Any]) -> ctypes.Array[Any]:
    return (ctypes.py_object * len(parts))(*parts)


@cache
def holds() -> bool:
    """Whether objects lie in memory as entries expect."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8 or object.__basicsize__ != _HEAD:
        return False
    record = Record()
    found = ctypes.c_void_p.from_address(id(record) + _HEAD).value == ctypes.addressof(record)
    return found and all(hasattr(ctypes.pythonapi, symbol) for symbol in _CALLS.values()) and arrays_hold(_ARRAY)


def arrays_hold(layout: struct.Struct) -> bool:
    """Whether `layout` tells the truth about arrays of several kinds."""
    base = np.arange(24, dtype=np.float32)
    samples = (base, base[3:], base.reshape(4, 6)[1:, 2:], base[::2], np.zeros(()), np.empty((0, 3)), np.zeros(3, ">i2"))
    return np.ndarray.__basicsize__ >= layout.size and all(_described(layout, sample) for sample in samples)


def _described(layout: struct.Struct, array: np.ndarray) -> bool:
    kind, data, rank, shape, dtype, flags = layout.unpack(ctypes.string_at(id(array), layout.size))
    known = (id(np.ndarray), array.__array_interface__["data"][0], array.ndim, id(array.dtype), array.flags.c_contiguous)
    if (kind, data, rank, dtype, bool(flags & 1)) != known:
        return False
    return rank == 0 or tuple((ctypes.c_int64 * rank).from_address(shape)) == array.shape
