"""Reads the tensors of a file that torch.save wrote, without running any code in it.

In: a .pth or .pt file (the zip format of PyTorch 1.6 and later). Out: what was saved, with numpy arrays for tensors. The
pickle inside may name ordered dicts, tensors and their storages, nothing else: whatever more it asks for is refused
before it exists. Sizes are checked against the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from os import PathLike
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from ..errors import GraphcError

_STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class _Refused(Exception):
    """What the file asks for is not data."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """The element type of a storage; the pickle can name it and do nothing with it."""

    dtype: Any

    def __setstate__(self, _: Any) -> NoReturn:
        raise _Refused("it changes the type of a storage")


class _Rebuild:
    """Makes an array of (storage, offset, size, stride, ...); `_rebuild_parameter` hands on the array it gets."""

    __slots__ = ("parameter",)

    def __init__(self, parameter: bool) -> None:
        self.parameter = parameter

    def __setstate__(self, _: Any) -> NoReturn:
        raise _Refused("it changes how tensors are made")

    def __call__(self, *args: Any) -> np.ndarray:
        if self.parameter:
            if not args or not isinstance(args[0], np.ndarray):
                raise _Refused("a parameter is no tensor")
            return args[0]
        if len(args) < 4 or not isinstance(args[0], np.ndarray):
            raise _Refused("a tensor has no storage")
        return _view(args[0], args[1], args[2], args[3])


def _view(storage: np.ndarray, offset: Any, size: Any, stride: Any) -> np.ndarray:
    numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride):
        raise _Refused("the geometry of a tensor is not made of whole numbers")
    count = prod(size)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if count and (last >= storage.size or count > storage.size):
        raise _Refused(f"a tensor of size {size} reaches beyond its storage of {storage.size} elements")
    if not count:
        return np.empty(size, storage.dtype)
    strides = [s * storage.itemsize for s in stride]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(storage[offset:], size, strides)).reshape(size)


class _Unpickler(pickle.Unpickler):
    """Knows the few names that tensors need."""

    def __init__(self, archive: zipfile.ZipFile, root: str, order: str) -> None:
        super().__init__(archive.open(f"{root}data.pkl"))
        self.archive, self.root, self.order = archive, root, order
        self.known: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _Kind(_STORAGES[name])
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _Rebuild(parameter=name == "_rebuild_parameter")
        raise _Refused(f"it asks for {module}.{name}, which is not the data of a tensor")

    def persistent_load(self, pid: Any) -> np.ndarray:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], _Kind)):
            raise _Refused("it refers to something that is no storage")
        _, kind, key, _, count = pid
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise _Refused("a storage has no key or no size")
        if key not in self.known:
            data = self.archive.read(f"{self.root}data/{key}")
            dtype = np.dtype(kind.dtype)
            if len(data) < count * dtype.itemsize:
                raise _Refused(f"storage {key} has {len(data)} bytes, {count} elements of {dtype} need more")
            stored = dtype.newbyteorder(">") if self.order == "big" and dtype.kind in "fiu" else dtype
            self.known[key] = np.frombuffer(data, stored, count).astype(dtype)
        found = self.known[key]
        if found.dtype != np.dtype(kind.dtype):
            raise _Refused(f"storage {key} has two types")
        return found


def read_torch_file(path: str | PathLike[str]) -> Any:
    """What torch.save wrote, as dicts, lists, numbers and arrays.

    Raises GraphcError when the file is damaged, or holds anything but data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl") and name.count("/") <= 1]
            if len(names) != 1:
                raise _Refused("it has no data.pkl")
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise _Refused("its entries are compressed, which torch.save does not do")
            root = names[0].removesuffix("data.pkl")
            order = archive.read(f"{root}byteorder") if f"{root}byteorder" in archive.namelist() else b"little"
            return _Unpickler(archive, root, order.decode("ascii", "replace").strip()).load()
    except _Refused as refused:
        raise GraphcError(f"{path} is refused: {refused}; save only a state_dict of tensors, or use safetensors") from None
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise GraphcError(f"{path} is damaged: {error}") from None
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, IndexError) as error:
        raise GraphcError(f"{path} is damaged, or no file of torch.save: {type(error).__name__}: {error}") from None
    except (
        AttributeError,
        ImportError,
        RecursionError,
        MemoryError,
        OverflowError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise GraphcError(f"{path} is refused: its contents make no sense ({type(error).__name__}: {error})") from None
