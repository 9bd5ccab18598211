"""The memory of a GPU, and the few calls of the driver that programs need.

In: the driver API as cuda-python gives it (`cuda.bindings.driver`). Out: `Driver`, whose methods raise graphc's errors, and
`DeviceArray`. All work is ordered on the legacy default stream, as that of PyTorch and CuPy is unless they are told
otherwise. Nothing is imported or opened before `open_driver`.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..dtype import DType, dtype
from ..errors import CallError, MemoryLimitError
from .manifest import Port, describe

_MODULE = "cuda.bindings.driver"
_CUDA = 2  # kDLCUDA of DLPack
_DLPACK_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 6: "bool"}


class Driver:
    """Device 0 of this machine through `api`, the module cuda.bindings.driver (or what stands in for it)."""

    def __init__(self, api: Any) -> None:
        self.api = api
        try:
            self.call("cuInit", 0)
        except (RuntimeError, OSError) as error:  # cuda-python found no driver to load
            raise CallError(f"there is no GPU to run on: {error}") from error
        if self.call("cuDeviceGetCount") == 0:
            raise CallError("there is no GPU to run on: the driver finds no device")
        self.device = self.call("cuDeviceGet", 0)
        self.context = self.call("cuDevicePrimaryCtxRetain", self.device)
        self.enter()
        names = ("MAJOR", "MINOR")
        parts = [getattr(api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{name}") for name in names]
        major, minor = (self.call("cuDeviceGetAttribute", part, self.device) for part in parts)
        self.arch = f"sm_{major}{minor}"
        self.stream = api.CUstream(0)
        self.capture_stream = self.call("cuStreamCreate", 1)

    def call(self, name: str, *args: Any) -> Any:
        """One function of the driver: its result, without the code, which is raised where it is no success."""
        code, *results = getattr(self.api, name)(*args)
        if int(code) != 0:
            _, text = self.api.cuGetErrorString(code)
            said = text.decode() if isinstance(text, bytes) else str(text)
            raise CallError(f"{name} failed with code {int(code)}: {said}")
        return results[0] if results else None

    def enter(self) -> None:
        """Make the device's context the calling thread's."""
        self.call("cuCtxSetCurrent", self.context)

    def load(self, code: bytes) -> Any:
        """A module of machine code. Raises CallError with the driver's version, which may be too old for the compiler's."""
        try:
            return self.call("cuModuleLoadData", code)
        except CallError as error:
            version = self.call("cuDriverGetVersion")
            known = f"the driver is one for CUDA {version // 1000}.{version % 1000 // 10}, the GPU is {self.arch}"
            raise CallError(f"{error}; {known}: code of a newer CUDA compiler needs a newer driver") from error

    def unload(self, module: Any) -> None:
        self.api.cuModuleUnload(module)

    def kernel(self, module: Any, symbol: str) -> Any:
        return self.call("cuModuleGetFunction", module, symbol.encode())

    def launch(self, kernel: Any, grid: int, block: int, pointers: list[int], stream: Any) -> None:
        """Start a kernel whose arguments are all pointers."""
        arguments = (tuple(pointers), (ctypes.c_void_p,) * len(pointers))
        self.call("cuLaunchKernel", kernel, grid, 1, 1, block, 1, 1, 0, stream, arguments, 0)

    @contextmanager
    def capturing(self) -> Iterator[SimpleNamespace]:
        """What is launched inside on `.stream` becomes `.graph`, ready to be replayed; an error inside drops it."""
        captured = SimpleNamespace(stream=self.capture_stream, graph=None)
        mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.call("cuStreamBeginCapture", self.capture_stream, mode)
        try:
            yield captured
        finally:
            graph = self.call("cuStreamEndCapture", self.capture_stream)
        captured.graph = self.call("cuGraphInstantiate", graph, 0)
        self.call("cuGraphDestroy", graph)

    def replay(self, graph: Any) -> None:
        self.call("cuGraphLaunch", graph, self.stream)

    def destroy(self, graph: Any) -> None:
        self.call("cuGraphExecDestroy", graph)

    # ------------------------------------------------------------------------------------------------------------- memory

    def reserve(self, size: int, what: str) -> int:
        """The address of `size` bytes. Raises MemoryLimitError with the numbers."""
        try:
            return int(self.call("cuMemAlloc", max(size, 1)))
        except CallError as error:
            free, total = self.memory()
            raise MemoryLimitError(
                f"{what} needs {size} bytes ({size / 2**30:.2f} GiB) on the GPU, of whose {total / 2**30:.2f} GiB "
                f"{free / 2**30:.2f} are free; use a smaller batch or model, or free memory"
            ) from error

    def memory(self) -> tuple[int, int]:
        """(free bytes, all bytes)."""
        code, free, total = self.api.cuMemGetInfo()
        return (int(free), int(total)) if int(code) == 0 else (0, 0)

    def release(self, address: int) -> None:
        self.api.cuMemFree(self.api.CUdeviceptr(address))

    def allocate(self, shape: tuple[int, ...], kind: DType) -> DeviceArray:
        """A fresh array, from the driver's pool, in the order of the stream."""
        address = int(self.call("cuMemAllocAsync", max(prod(shape) * kind.size, 1), self.stream))
        return DeviceArray(self, address, shape, kind, _Owner(self, address))

    def copy(self, array: DeviceArray) -> DeviceArray:
        """A copy on the device."""
        result = self.allocate(array.shape, array.dtype)
        if array.nbytes:
            target, source = (self.api.CUdeviceptr(each.address) for each in (result, array))
            self.call("cuMemcpyDtoDAsync", target, source, array.nbytes, self.stream)
        return result

    def upload(self, array: np.ndarray) -> DeviceArray:
        """A copy of a host's array."""
        result = self.allocate(array.shape, dtype(array.dtype))
        self.copy_in(result.address, array)
        return result

    def copy_in(self, address: int, array: np.ndarray) -> None:
        if array.nbytes:
            array = np.ascontiguousarray(array)
            self.call("cuMemcpyHtoD", self.api.CUdeviceptr(address), array.ctypes.data, array.nbytes)

    def copy_out(self, array: np.ndarray, address: int) -> None:
        if array.nbytes:
            self.call("cuMemcpyDtoH", array.ctypes.data, self.api.CUdeviceptr(address), array.nbytes)


class _Owner:
    """Gives memory back to the pool with the last array that refers to it."""

    def __init__(self, driver: Driver, address: int) -> None:
        self._driver, self._address = driver, address

    def __del__(self) -> None:
        self._driver.api.cuMemFreeAsync(self._driver.api.CUdeviceptr(self._address), self._driver.stream)


@cache
def open_driver() -> Driver:
    """The first GPU. Raises CallError that says what is missing."""
    try:
        found = importlib.util.find_spec(_MODULE)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise CallError("running on a GPU needs the package cuda-python: `pip install 'graphc[cuda]'`")
    return Driver(importlib.import_module(_MODULE))


class DeviceArray:
    """A dense array in device memory; NumPy, CuPy and PyTorch read it (`numpy()`, `cupy.asarray`, `torch.as_tensor`).

    bfloat16 has no name in the array interface: it is given as its 16 bits (uint16).
    """

    def __init__(self, driver: Driver, address: int, shape: tuple[int, ...], kind: DType, owner: object) -> None:
        self.address, self.shape, self.dtype = address, shape, kind
        self._driver, self._owner = driver, owner

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.size

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        plain = self.dtype.numpy if self.dtype.numpy.kind in "biuf" else np.dtype(np.uint16)
        data = (self.address, False)
        return {"shape": self.shape, "typestr": plain.str, "data": data, "strides": None, "version": 3, "stream": 1}

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        result = np.empty(self.shape, self.dtype.numpy)
        self._driver.copy_out(result, self.address)
        return result

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.numpy().astype(dtype or self.dtype.numpy, copy=False)

    def fill_from(self, array: np.ndarray) -> None:
        """Copy an array of the same shape and dtype into this one."""
        self._driver.copy_in(self.address, array)

    def __repr__(self) -> str:
        return f"DeviceArray({describe(self.dtype.name, self.shape)})"


# ------------------------------------------------------------------------------------------------------ arrays of others


def on_device(value: object, port: Port, function: str) -> DeviceArray | None:
    """An array that lies on the GPU already, as it is; None for one on the host. Raises CallError where it does not fit."""
    if isinstance(value, DeviceArray):
        found = value
    elif hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) == _CUDA:  # knows bfloat16
        found = _from_dlpack(value)
    elif hasattr(value, "__cuda_array_interface__"):
        found = _from_interface(value)
    else:
        return None
    if found.shape != port.shape or found.dtype is not port.dtype:
        expected, got = describe(port.dtype.name, port.shape), describe(found.dtype.name, found.shape)
        raise CallError(f"{function}: {port.name}: expected {expected}, got {got} on the GPU")
    if found.address % 16:
        raise CallError(f"{function}: {port.name}: arrays on the GPU must be aligned to 16 bytes; copy it first")
    return found


def _from_interface(value: Any) -> DeviceArray:
    given = value.__cuda_array_interface__
    shape, kind = tuple(given["shape"]), dtype(np.dtype(given["typestr"]))
    _refuse_strides(given.get("strides"), shape, kind.size)
    return DeviceArray(open_driver(), given["data"][0], shape, kind, value)


def _refuse_strides(strides: tuple[int, ...] | None, shape: tuple[int, ...], size: int) -> None:
    """Only dense, row-major arrays are taken; strides of extents of 1 mean nothing."""
    dense = [prod(shape[i + 1 :]) * size for i in range(len(shape))]
    if strides is not None and any(n > 1 and have != want for n, have, want in zip(shape, strides, dense, strict=True)):
        raise CallError(f"an array on the GPU has strides {tuple(strides)} bytes: make it contiguous first")


class _Tensor(ctypes.Structure):
    """DLTensor of DLPack (dlpack.h), which a managed tensor starts with."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("offset", ctypes.c_uint64),
    )  # fmt: skip


def _from_dlpack(value: Any) -> DeviceArray:
    """The capsule, never marked as used, frees what it holds when the array that owns it is gone."""
    capsule = value.__dlpack__(stream=1)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    name = _DLPACK_KINDS.get(tensor.code, "unknown")
    kind = dtype(name if name == "bool" else f"{name}{tensor.bits}")
    shape = tuple(tensor.shape[: tensor.rank])
    strides = tuple(kind.size * s for s in tensor.strides[: tensor.rank]) if tensor.strides else None
    _refuse_strides(strides, shape, kind.size)
    return DeviceArray(open_driver(), (tensor.data or 0) + tensor.offset, shape, kind, (value, capsule))
