"""Programs on a GPU, through the driver API of cuda-python.

In: a `Recipe` (memory, launches, signatures) and a function that compiles kernels for an architecture. Out: `GpuProgram`, with
the functions of a `Program`. State lives on the device. A call takes numpy arrays, or arrays that lie on the device and
offer `__cuda_array_interface__` or DLPack (PyTorch, CuPy, JAX), without copying those; results are `DeviceArray`s where an
input was on the device, else numpy arrays. Nothing of CUDA is touched before the first call or look at the state, so that
a program can be made, read and exported on machines without a GPU.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ..errors import CallError, CompileError
from .arrays import bind, conform
from .device import DeviceArray, Driver, on_device, open_driver
from .functions import Functions
from .manifest import Port, Signature, Variable
from .program import packer
from .state import fitting

Compiler = Callable[[str], bytes]  # architecture -> cubin


@dataclass(frozen=True)
class Launch:
    """A kernel's symbol, its blocks and their threads, and for each argument (number of a caller's array or None, offset)."""

    symbol: str
    grid: int
    block: int
    arguments: tuple[tuple[int | None, int], ...]


@dataclass(frozen=True)
class Recipe:
    """A program for a GPU as data: device memory of `device_size` bytes starts with the state; constants lie at `constants`,
    and come with the initial state (from `initial` on) in `image`. `staged`: where each function's arrays have room there."""

    name: str
    source: str
    functions: tuple[Signature, ...]
    variables: tuple[Variable, ...]
    launches: tuple[tuple[Launch, ...], ...]
    staged: tuple[tuple[int, ...], ...]
    device_size: int
    constants: int
    image: np.ndarray
    initial: int
    state_size: int


class GpuProgram(Functions["GpuFunction"]):
    """Functions over shared variables that lie on a GPU; `source` is the program in CUDA C++.

    The GPU is opened by the first call. Raises CallError where there is none, where the driver or cuda-python is missing,
    and where arrays do not fit; MemoryLimitError where the device has too little memory.
    """

    def __init__(self, recipe: Recipe, compiler: Compiler) -> None:
        self._recipe = recipe
        self._net = _Net(recipe, compiler)
        rows = zip(recipe.functions, recipe.launches, recipe.staged, strict=True)
        super().__init__({s.name: GpuFunction(self._net, s, launches, staged) for s, launches, staged in rows})
        self._state = GpuState(self._net)

    @property
    def source(self) -> str:
        """The program in CUDA C++: kernels, and entry points for a host in C."""
        return self._recipe.source

    @property
    def state(self) -> GpuState:
        """The variables by name, as arrays on the device that are the variables themselves."""
        return self._state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all variables on the host."""
        return {name: array.numpy() for name, array in self._state.items()}

    def load_state_dict(self, values: Mapping[str, object], strict: bool = True) -> None:
        """Set variables from `values`; with `strict`, all of them. Raises CallError, with nothing touched, on a misfit."""
        self._state.load(values, strict)

    def save(self, path: object) -> NoReturn:
        """Refused, with what to do."""
        raise CompileError(
            "a program on a GPU is saved as source, without its present state: `graphc compile MODEL --target cuda -o FOLDER` "
            "writes it, program.source is its text, and gc.save_state(program.state_dict(), path) keeps the state"
        )

    def close(self) -> None:
        """Free the program's memory on the device, its state too. Calls are refused afterwards."""
        self._net.close()

    def __repr__(self) -> str:
        return "\n".join([f"GpuProgram {self._recipe.name!r}:", *(f"  {s}" for s in self._recipe.functions)])


class GpuFunction:
    """One function of a program on a GPU."""

    def __init__(self, net: _Net, signature: Signature, launches: tuple[Launch, ...], staged: tuple[int, ...]) -> None:
        self.signature = signature
        self.__name__ = signature.name
        self._net, self._launches, self._staged = net, launches, staged
        self._pack = packer(signature.structure)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Run. Inputs by position or by name; waits for the results where they go to the host."""
        if named or len(args) != len(self.signature.inputs):
            args = bind(self.signature, args, named)
        name = self.__name__
        given = [
            on_device(value, port, name) or conform(value, port, name)
            for value, port in zip(args, self.signature.inputs, strict=True)
        ]
        net = self._net
        stays = any(isinstance(value, DeviceArray) for value in given)
        with net.lock:
            driver = net.open()
            places = [net.address + offset for offset in self._staged]
            for n, value in enumerate(given):
                if isinstance(value, DeviceArray):
                    places[n] = value.address
                else:
                    driver.copy_in(places[n], value)
            net.launch(self._launches, places)
            ports = zip(self.signature.outputs, places[len(given) :], strict=True)
            results: list[Any] = [_result(driver, port, place, stays) for port, place in ports]
        return self._pack(results)

    def __repr__(self) -> str:
        return f"<compiled for a GPU {self.signature}>"


def _result(driver: Driver, port: Port, place: int, stays: bool) -> DeviceArray | np.ndarray:
    """A copy of a result, on the device or on the host."""
    found = DeviceArray(driver, place, port.shape, port.dtype, None)
    return driver.copy(found) if stays else found.numpy()


class GpuState(Mapping[str, "DeviceArray"]):
    """name -> array on the device. `state[name] = array` copies into the variable."""

    def __init__(self, net: _Net) -> None:
        self._net = net
        self._variables = {v.name: v for v in net.recipe.variables}

    def __getitem__(self, name: str) -> DeviceArray:
        variable = self._variables[name]
        with self._net.lock:
            driver = self._net.open()
        return DeviceArray(driver, self._net.address + variable.offset, variable.shape, variable.dtype, self._net)

    def __setitem__(self, name: str, value: object) -> None:
        self.load({name: value}, strict=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def load(self, values: Mapping[str, object], strict: bool = True) -> None:
        """Copy `values` into the variables they name, checked first."""
        for name, array in fitting(self._variables, values, strict).items():
            self[name].fill_from(np.ascontiguousarray(array, self._variables[name].dtype.numpy))


class _Net:
    """The memory of a program on the device, its kernels, and calls captured as graphs. Opened when first needed."""

    def __init__(self, recipe: Recipe, compiler: Compiler) -> None:
        self.recipe, self.compiler = recipe, compiler
        self.lock = threading.RLock()
        self.driver: Driver | None = None
        self.closed = False
        self.address = 0
        self._free: Callable[[], object] = lambda: None
        self._kernels: dict[str, Any] = {}
        self._graphs: dict[int, tuple[list[int], Any]] = {}  # launches -> arrays they were last called with, and their graph

    def open(self) -> Driver:
        """The driver, with the program's memory and kernels on its device. Raises what is missing, leaving nothing behind."""
        if self.closed:
            raise CallError(f"the program {self.recipe.name!r} is closed")
        if self.driver is not None:
            self.driver.enter()
            return self.driver
        driver, recipe = open_driver(), self.recipe
        module = driver.load(self.compiler(driver.arch))
        symbols = {launch.symbol for launches in recipe.launches for launch in launches}
        self._kernels = {symbol: driver.kernel(module, symbol) for symbol in symbols}
        self.address = driver.reserve(recipe.device_size, f"program {recipe.name!r}")
        self._free = weakref.finalize(self, _free, driver, self.address, module)
        driver.copy_in(self.address + recipe.constants, recipe.image[: recipe.initial])
        driver.copy_in(self.address, recipe.image[recipe.initial : recipe.initial + recipe.state_size])
        self.driver = driver
        return driver

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self._free()

    def launch(self, launches: tuple[Launch, ...], arrays: list[int]) -> None:
        """Run launches over the caller's arrays: one by one, or as a graph where the arrays are those of the call before."""
        driver = self.open()
        known, graph = self._graphs.get(id(launches), (None, None))
        if known != arrays:
            if graph is not None:
                driver.destroy(graph)
            self._graphs[id(launches)] = (arrays, None)
            self._run(driver, launches, arrays, driver.stream)
            return
        if graph is None:
            with driver.capturing() as captured:
                self._run(driver, launches, arrays, captured.stream)
            graph = captured.graph
            self._graphs[id(launches)] = (arrays, graph)
        driver.replay(graph)

    def _run(self, driver: Driver, launches: tuple[Launch, ...], arrays: list[int], stream: Any) -> None:
        for launch in launches:
            pointers = [offset + (self.address if n is None else arrays[n]) for n, offset in launch.arguments]
            driver.launch(self._kernels[launch.symbol], launch.grid, launch.block, pointers, stream)


def _free(driver: Driver, address: int, module: Any) -> None:
    """Give back what a net holds on the device."""
    driver.release(address)
    driver.unload(module)
