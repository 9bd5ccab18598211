"""Programs on a GPU, with a driver that stands in for the real one: the same calls, on memory of the host.

Kernels are Python functions here: what is tested is what the host does, not what a GPU does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.dtype import bfloat16, float32
from graphc.errors import CallError, CompileError, GraphcError, MemoryLimitError
from graphc.runtime import cuda, device
from graphc.runtime.cuda import GpuProgram, Launch, Recipe
from graphc.runtime.device import DeviceArray, Driver
from graphc.runtime.manifest import LIST, Port, Signature, Variable

SUCCESS, OUT_OF_MEMORY = 0, 2


class FakeDriver:
    """cuda.bindings.driver, as far as it is used: every function gives (code, results...)."""

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major", CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor"
    )
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread")
    CUdeviceptr = staticmethod(int)
    CUstream = staticmethod(lambda n: f"stream {n}")

    def __init__(self, kernels: dict[str, Callable[..., None]], limit: int = 1 << 20) -> None:
        self.kernels, self.limit, self.devices = kernels, limit, 1
        self.blocks: dict[int, Any] = {}
        self.log: list[str] = []
        self.recording: list[tuple[str, tuple[int, ...]]] | None = None

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if not name.startswith("cu"):
            raise AttributeError(name)
        return lambda *args: (
            SUCCESS,
            *{"cuDeviceGetAttribute": lambda: (9,) if args[0] == "major" else (0,)}.get(name, lambda: (0,))(),
        )

    def cuDeviceGetCount(self) -> tuple[int, int]:
        return SUCCESS, self.devices

    def cuGetErrorString(self, code: int) -> tuple[int, bytes]:
        return SUCCESS, {OUT_OF_MEMORY: b"out of memory"}.get(code, b"?")

    def cuMemGetInfo(self) -> tuple[int, int, int]:
        return SUCCESS, self.limit, 2 * self.limit

    def cuMemAlloc(self, size: int) -> tuple[int, int]:
        if size > self.limit:
            return OUT_OF_MEMORY, 0
        block = ctypes.create_string_buffer(size + 64)
        address = -(-ctypes.addressof(block) // 64) * 64
        self.blocks[address] = block
        return SUCCESS, address

    def cuMemFree(self, address: int) -> tuple[int]:
        del self.blocks[int(address)]
        return (SUCCESS,)

    def cuMemAllocAsync(self, size: int, stream: Any) -> tuple[int, int]:
        return self.cuMemAlloc(size)

    def cuMemFreeAsync(self, address: int, stream: Any) -> tuple[int]:
        return self.cuMemFree(address)

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: Any) -> tuple[int]:
        return self.cuMemcpyDtoH(target, source, size)

    def cuMemcpyHtoD(self, target: int, source: int, size: int) -> tuple[int]:
        ctypes.memmove(int(target), source, size)
        return (SUCCESS,)

    def cuMemcpyDtoH(self, target: int, source: int, size: int) -> tuple[int]:
        ctypes.memmove(target, int(source), size)
        return (SUCCESS,)

    def cuModuleGetFunction(self, module: Any, symbol: bytes) -> tuple[int, str]:
        return SUCCESS, symbol.decode()

    def cuLaunchKernel(self, kernel: str, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, *rest: Any) -> tuple[int]:
        _, _, (values, types), extra = rest
        assert (gy, gz, by, bz, extra) == (1, 1, 1, 1, 0) and set(types) == {ctypes.c_void_p}
        if self.recording is not None:
            self.recording.append((kernel, values))
        else:
            self.log.append("launch")
            self.kernels[kernel](*values)
        return (SUCCESS,)

    def cuStreamBeginCapture(self, stream: Any, mode: Any) -> tuple[int]:
        self.recording = []
        return (SUCCESS,)

    def cuStreamEndCapture(self, stream: Any) -> tuple[int, Any]:
        recorded, self.recording = self.recording, None
        return SUCCESS, recorded

    def cuGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, Any]:
        return SUCCESS, graph

    def cuGraphLaunch(self, graph: Any, stream: Any) -> tuple[int]:
        self.log.append("graph")
        for kernel, values in graph:
            self.kernels[kernel](*values)
        return (SUCCESS,)


def floats(address: int, count: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_float * count).from_address(address), np.float32)


def step(x: int, total: int, constant: int, y: int) -> None:
    """total += x; y = total * constant"""
    floats(total, 4)[:] += floats(x, 4)
    floats(y, 4)[:] = floats(total, 4) * floats(constant, 4)


IMAGE = np.concatenate([np.full(16, 3, np.float32), np.arange(16, dtype=np.float32)]).view(np.uint8)
RECIPE = Recipe(
    name="net",
    source="// source",
    functions=(Signature("step", "net_step", (Port("x", float32, (4,)),), (Port("y", float32, (4,)),), LIST),),
    variables=(Variable("total", float32, (4,), 0),),
    launches=((Launch("net_k0", 1, 32, ((0, 0), (None, 0), (None, 64), (1, 0))),),),
    staged=((128, 192),),
    device_size=256,
    constants=64,
    image=IMAGE,
    initial=64,
    state_size=64,
)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    fake = FakeDriver({"net_k0": step})
    driver = Driver(fake)
    monkeypatch.setattr(cuda, "open_driver", lambda: driver)
    monkeypatch.setattr(device, "open_driver", lambda: driver)
    yield fake


@pytest.fixture
def program(api: FakeDriver) -> GpuProgram:
    return GpuProgram(RECIPE, lambda arch: arch.encode())


ONES = np.ones(4, np.float32)


def test_arrays_of_the_host_come_back_to_the_host(program: GpuProgram) -> None:
    (y,) = program.step(ONES)
    np.testing.assert_array_equal(y, 3 * (np.arange(4) + 1))
    (y,) = program.step(x=ONES)
    np.testing.assert_array_equal(y, 3 * (np.arange(4) + 2))


def test_arrays_on_the_device_stay_there(program: GpuProgram) -> None:
    x = device.open_driver().upload(ONES)
    first, second = program.step(x)[0], program.step(x)[0]
    assert isinstance(first, DeviceArray) and isinstance(second, DeviceArray)
    np.testing.assert_array_equal(np.asarray(first), 3 * (np.arange(4) + 1))
    np.testing.assert_array_equal(np.asarray(second), 3 * (np.arange(4) + 2))


def test_a_call_with_the_arrays_of_the_call_before_is_a_graph(program: GpuProgram, api: FakeDriver) -> None:
    results = [program.step(ONES)[0] for _ in range(3)]
    assert api.log == ["launch", "graph", "graph"]
    np.testing.assert_array_equal(results[-1], 3 * (np.arange(4) + 3))
    program.step(device.open_driver().upload(ONES))
    assert api.log[-1] == "launch"


class Foreign:
    """An array of another library."""

    def __init__(self, owner: DeviceArray, **changes: Any) -> None:
        self.owner = owner
        self.__cuda_array_interface__ = owner.__cuda_array_interface__ | changes


def test_arrays_of_other_libraries_are_taken_where_they_are(program: GpuProgram) -> None:
    x = device.open_driver().upload(ONES)
    assert isinstance(program.step(Foreign(x))[0], DeviceArray)


class Exported:
    """An array of another library that speaks DLPack; its memory is the host's, as all memory is here."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # kDLCUDA

    def __dlpack__(self, stream: int) -> object:
        assert stream == 1  # the legacy default stream
        return self.array.__dlpack__()


def aligned_ones(count: int) -> np.ndarray:
    raw = np.ones(count + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + count]


def test_arrays_are_taken_through_dlpack(program: GpuProgram) -> None:
    y = program.step(Exported(aligned_ones(4)))[0]
    assert isinstance(y, DeviceArray)
    np.testing.assert_array_equal(y, 3 * (np.arange(4) + 1))
    with pytest.raises(CallError, match=r"got float32\[8\] on the GPU"):
        program.step(Exported(aligned_ones(8)))
    with pytest.raises(CallError, match="make it contiguous"):
        program.step(Exported(aligned_ones(8)[::2]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": (2, 2)}, r"step: x: expected float32\[4\], got float32\[2, 2\] on the GPU"),
        ({"typestr": "<f8"}, r"expected float32\[4\], got float64\[4\]"),
        ({"strides": (8,)}, "make it contiguous"),
    ],
)
def test_arrays_on_the_device_that_do_not_fit_are_refused(program: GpuProgram, changes: dict[str, Any], said: str) -> None:
    x = device.open_driver().upload(ONES)
    with pytest.raises(CallError, match=said):
        program.step(Foreign(x, **changes))


def test_misaligned_arrays_on_the_device_are_refused(program: GpuProgram) -> None:
    x = device.open_driver().allocate((8,), float32)
    with pytest.raises(CallError, match="aligned to 16 bytes"):
        program.step(Foreign(x, shape=(4,), data=(x.address + 4, False)))


def test_host_arrays_that_do_not_fit_are_refused_before_anything_runs(program: GpuProgram, api: FakeDriver) -> None:
    with pytest.raises(CallError, match=r"expected float32\[4\]"):
        program.step(np.ones(5, np.float32))
    assert not api.log


def test_the_state_is_on_the_device(program: GpuProgram) -> None:
    np.testing.assert_array_equal(program.state_dict()["total"], np.arange(4))
    program.load_state_dict({"total": ONES * 7})
    np.testing.assert_array_equal(program.step(ONES)[0], 3 * (ONES * 8))
    np.testing.assert_array_equal(program.state["total"].numpy(), ONES * 8)
    program.state["total"] = ONES
    np.testing.assert_array_equal(program.state["total"], ONES)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"totel": ONES}, "totel"),
        ({}, "no value for .*total"),
        ({"total": np.ones(3, np.float32)}, r"'total': expected float32\[4\], got float32\[3\]"),
    ],
)
def test_state_that_does_not_fit_is_refused(program: GpuProgram, values: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(CallError, match=said):
        program.load_state_dict(values)


def test_too_little_memory_is_told_with_the_numbers(api: FakeDriver) -> None:
    api.limit = 100
    program = GpuProgram(RECIPE, lambda arch: arch.encode())
    with pytest.raises(MemoryLimitError, match=r"program 'net' needs 256 bytes"):
        program.step(ONES)
    api.limit = 1 << 20
    np.testing.assert_array_equal(program.step(ONES)[0], 3 * (np.arange(4) + 1))  # nothing was left half done


def test_a_driver_that_is_too_old_is_told_with_its_version(api: FakeDriver) -> None:
    api.cuModuleLoadData = lambda code: (222, None)  # type: ignore[attr-defined]
    api.cuDriverGetVersion = lambda: (SUCCESS, 12040)  # type: ignore[attr-defined]
    program = GpuProgram(RECIPE, lambda arch: arch.encode())
    with pytest.raises(CallError, match=r"code 222: .*the driver is one for CUDA 12\.4, the GPU is sm_90: .* newer driver"):
        program.step(ONES)
    assert not api.blocks
    del api.cuModuleLoadData
    np.testing.assert_array_equal(program.step(ONES)[0], 3 * (np.arange(4) + 1))  # nothing was left half done


def test_memory_is_given_back(api: FakeDriver) -> None:
    program = GpuProgram(RECIPE, lambda arch: arch.encode())
    results = [program.step(device.open_driver().upload(ONES)) for _ in range(3)]
    assert len(api.blocks) == 4  # the net's own, and three results
    del results
    assert len(api.blocks) == 1
    del program
    assert not api.blocks


def test_a_closed_program_has_no_memory_and_refuses_calls(api: FakeDriver) -> None:
    with GpuProgram(RECIPE, lambda arch: arch.encode()) as program:
        program.step(ONES)
    assert not api.blocks
    program.close()
    for use in (lambda: program.step(ONES), lambda: program.state_dict()):
        with pytest.raises(CallError, match="'net' is closed"):
            use()


def test_kernels_are_compiled_for_the_gpu_that_is_there(api: FakeDriver) -> None:
    asked: list[str] = []
    program = GpuProgram(RECIPE, lambda arch: asked.append(arch) or b"")  # type: ignore[func-returns-value]
    assert not asked
    program.step(ONES)
    assert asked == ["sm_90"]


def test_bfloat16_is_offered_as_its_bits(api: FakeDriver) -> None:
    array = device.open_driver().allocate((2,), bfloat16)
    assert array.__cuda_array_interface__["typestr"] == "<u2"


def test_a_machine_without_a_gpu_says_so() -> None:
    fake = FakeDriver({})
    fake.devices = 0
    with pytest.raises(CallError, match="the driver finds no device"):
        Driver(fake)


def test_a_machine_without_cuda_python_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_MODULE", "no_such_package.driver")
    device.open_driver.cache_clear()
    program = gc.compile(f=gc.function([x := gc.placeholder((2,), gc.float32, name="x")], x + 1), target="cuda")
    with pytest.raises(CallError, match=r"pip install 'graphc\[cuda\]'"):
        program.f(np.ones(2, np.float32))
    assert "__global__" in program.source
    device.open_driver.cache_clear()


def test_functions_named_like_attributes_are_refused() -> None:
    x = gc.placeholder((2,), gc.float32, name="x")
    with pytest.raises(GraphcError, match="'state'"):
        gc.compile(state=gc.function([x], x), target="cuda")


def test_saving_says_what_to_do_instead(program: GpuProgram) -> None:
    with pytest.raises(CompileError, match=r"graphc compile MODEL --target cuda"):
        program.save("net.so")


def test_unknown_functions_are_named(program: GpuProgram) -> None:
    with pytest.raises(AttributeError, match="did you mean 'step'"):
        _ = program.stap
