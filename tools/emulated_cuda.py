"""Runs generated CUDA C++ source on the CPU, with every access checked (cuda_on_cpu/cuda_on_cpu.h).

In: a source, or a planned program of kernels. Out: a `Library` whose host entries are called with numpy arrays that lie in
the device's memory, or a `Net`, whose functions are called. What a GPU would not forgive (a race, a barrier not reached, an
access outside) is a `CudaFault`, which names kernel, block, thread and line. Nothing is said about speed, nor about what a
GPU rounds differently.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphc.codegen import abi
from graphc.codegen.cuda.header import HOST_ARRAYS
from graphc.codegen.cuda.target import DEFAULT_OPTIONS, Options, gpu
from graphc.export_cuda import CudaCompilation
from graphc.ir.kernel import Buffer, KernelProgram

COMPILER = shutil.which("g++")

HEADERS = Path(__file__).with_name("cuda_on_cpu")
# Products must be rounded as the source says, and each library must have its own variables.
_FLAGS = ("-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-fno-gnu-unique", "-fPIC", "-w")
_CHECKS = ("-fsanitize=bounds,shift,signed-integer-overflow,integer-divide-by-zero",)
_UNCHECKED = ("-DCUDA_ON_CPU_UNCHECKED",)


class CudaFault(AssertionError):
    """What a GPU would not have forgiven; `code` is what the host entry returned."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Library:
    """A compiled source, loaded."""

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))
        self._dll.cuda_on_cpu_take_fault.restype = ctypes.c_char_p
        self._dll.cuda_on_cpu_allocate.restype = ctypes.c_void_p

    def device(self, array: np.ndarray) -> np.ndarray:
        """A copy of `array` in the device's memory, for as long as the library is loaded."""
        address = self._dll.cuda_on_cpu_allocate(ctypes.c_size_t(array.nbytes))
        memory = (ctypes.c_uint8 * array.nbytes).from_address(address)
        copy = np.frombuffer(memory, np.uint8).view(array.dtype).reshape(array.shape)
        copy[...] = array
        self.mark(copy, written=True)
        return copy

    def mark(self, memory: np.ndarray, written: bool) -> None:
        """Say that device memory is written now, or that nobody has written it: to read it then is a fault."""
        self._dll.cuda_on_cpu_mark(ctypes.c_void_p(memory.ctypes.data), ctypes.c_size_t(memory.nbytes), int(written))

    def call(self, name: str, *args: np.ndarray | int | None) -> int:
        """What the entry `name` returns. Arrays are passed as their addresses. Raises CudaFault."""
        function = getattr(self._dll, name)
        function.restype = ctypes.c_int32
        result: int = function(*map(_argument, args))
        fault = self._dll.cuda_on_cpu_take_fault()
        if fault is not None:
            raise CudaFault(fault.decode(), result)
        return result


def _argument(value: np.ndarray | int | None) -> object:
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return ctypes.c_void_p(None) if value is None else ctypes.c_int64(value)


def build(source: str, folder: Path, *, checked: bool = True, flags: Sequence[str] = ()) -> Library:
    """The library of `source`; without checks it runs faster, and faults are found at barriers and launches only."""
    text, code, library = (folder / f"net.{suffix}" for suffix in ("cu", "o", "so"))
    text.write_text(source)
    chosen = [*_FLAGS, *(_CHECKS if checked else _UNCHECKED), *flags, f"-I{HEADERS}"]
    _run([str(COMPILER), *chosen, "-x", "c++", "-c", str(text), "-o", str(code)])
    # Linked apart from the checks' flags: their handlers are in faults.h, not in a library.
    _run([str(COMPILER), "-shared", str(code), "-o", str(library)])
    return Library(library)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:4000]


class Net:
    """A planned program, emitted, compiled and initialised. Nobody has written scratch memory and outputs before each call.

    With `host_arrays` the net copies the arrays of its calls itself; otherwise they lie on the device.
    """

    def __init__(
        self,
        program: KernelProgram,
        folder: Path,
        *,
        host_arrays: bool = False,
        checked: bool = True,
        flags: Sequence[str] = (),
        options: Options = DEFAULT_OPTIONS,
    ) -> None:
        made = CudaCompilation(program, "net", gpu(options=options))
        self.source = made.source
        self.program, self.host_arrays = program, host_arrays
        self.source = made.source
        self.library = build(made.source, folder, checked=checked, flags=flags)
        self._ports: dict[Buffer, np.ndarray] = {}
        self._memory = self.library.device(np.zeros(self.library.call("net_device_size"), np.uint8))
        self.library.mark(self._memory, written=False)
        self._arena = self._memory[made.plan.memory.arena :]
        self._self = np.zeros(self.library.call("net_size"), np.uint8)
        self._checked("net_init", self._self, self._memory, made.image, HOST_ARRAYS if host_arrays else 0, None)
        self.state = {v.name: self._variable(v) for v in program.variables}

    def _checked(self, name: str, *args: np.ndarray | int | None) -> None:
        code = self.library.call(name, *args)
        assert code == abi.OK, f"{name} gives {code}"

    def _variable(self, buffer: Buffer) -> np.ndarray:
        start = self.program.offsets[buffer]
        return self._memory[start : start + buffer.nbytes].view(buffer.dtype.numpy).reshape(buffer.shape)

    def _port(self, buffer: Buffer) -> np.ndarray:
        if buffer not in self._ports:
            empty = np.empty(buffer.shape, buffer.dtype.numpy)
            self._ports[buffer] = empty if self.host_arrays else self.library.device(empty)
        return self._ports[buffer]

    def call(self, name: str, *arrays: np.ndarray) -> list[np.ndarray]:
        """The outputs of a function. Raises CudaFault."""
        function = next(f for f in self.program.functions if f.name == name)
        for buffer, array in zip(function.inputs, arrays, strict=True):
            self._port(buffer)[...] = array
        self.library.mark(self._arena, written=False)
        for port in map(self._port, function.outputs):
            port.reshape(-1).view(np.uint8)[...] = 0xFF
            if not self.host_arrays:
                self.library.mark(port, written=False)
        self._checked(f"net_{name}", self._self, *map(self._port, function.inputs + function.outputs), None)
        return [self._port(buffer).copy() for buffer in function.outputs]
