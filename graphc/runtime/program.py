"""Compiled programs as users hold them.

In: a Library, compiled in this process or loaded from an artifact. Out: `Program`: its functions as attributes, its state,
saving. A call checks everything before any pointer is taken, waits for other calls on the same program, runs without the
GIL where it takes long, and returns fresh arrays. Arrays that fit as they are take the direct way (direct.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..errors import CallError
from . import artifact
from .address import address
from .arrays import bind, conform
from .direct import method
from .functions import Functions
from .library import Library
from .manifest import BARE, LIST, TUPLE, Signature
from .net import Net
from .state import State


class CompiledFunction(partial[Any]):
    """One function of a program: numpy arrays in, numpy arrays out. Inputs by position or by name.

    Raises CallError, with nothing touched, when they do not fit.
    """

    signature: Signature
    __name__: str

    def __new__(cls, net: Net, signature: Signature) -> CompiledFunction:
        careful = Careful(net, signature)
        self = super().__new__(cls, method(net, signature, careful, careful.pack) or careful)
        self.signature = signature
        self.__name__ = signature.name
        return self

    def __repr__(self) -> str:
        return f"<compiled {self.signature}>"


class Careful:
    """Any call of a function: arguments are bound, checked, and converted where nothing is lost."""

    def __init__(self, net: Net, signature: Signature) -> None:
        self.signature = signature
        self.pack = packer(signature.structure)
        self._net = net
        self._native: Callable[..., int] = net.function(signature.symbol, len(signature.inputs) + len(signature.outputs))
        self._inputs = tuple((port.dtype.numpy, port.shape, port.dtype.size, port) for port in signature.inputs)
        self._outputs = tuple((port.shape, port.dtype.numpy) for port in signature.outputs)

    def __call__(self, *args: Any, **named: Any) -> Any:
        net, function = self._net, self.signature.name
        if named or len(args) != len(self._inputs):
            args = bind(self.signature, args, named)
        arrays, pointers = [], []
        for value, (dtype, shape, itemsize, port) in zip(args, self._inputs, strict=True):
            if not (type(value) is np.ndarray and value.dtype == dtype and value.shape == shape and value.flags.c_contiguous):
                value = conform(value, port, function)
            at = address(value)
            # Code may assume that what it reads is not what it writes: views of the state are copied.
            if at % itemsize or net.address <= at < net.end:
                value = value.copy()
                at = address(value)
            arrays.append(value)  # alive until the call is over
            pointers.append(at)
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        pointers += map(address, outputs)
        with net.lock:
            if net.closed:
                raise CallError(f"{function}: the program is closed")
            code = self._native(net.address, *pointers)
        if code:
            net.check(code, function)
        return self.pack(outputs)


def packer(structure: str | tuple[str, ...]) -> Callable[[list[np.ndarray]], Any]:
    """How the outputs are handed back."""
    if structure == BARE:
        return lambda outputs: outputs[0]
    if structure == LIST:
        return lambda outputs: outputs
    if structure == TUPLE:
        return tuple
    return lambda outputs: dict(zip(structure, outputs, strict=True))


class Program(Functions[CompiledFunction]):
    """Functions over shared variables. Functions are attributes; `threads` is the size of the pool.

    A program may be used from several threads: calls wait for each other. It frees its workers when it is no longer
    referenced, or by `close()`, or as a context manager.
    """

    def __init__(self, library: Library, threads: int | None = None) -> None:
        self._net = Net(library, threads)
        super().__init__({s.name: CompiledFunction(self._net, s) for s in library.manifest.functions})
        self._state = State(self._net)

    @property
    def state(self) -> State:
        """The variables by name: zero-copy, writable views. Do not touch them while another thread runs a function."""
        return self._state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all variables."""
        return self._state.copy()

    def load_state_dict(self, values: Mapping[str, object], strict: bool = True) -> None:
        """Set variables from `values`; with `strict`, all of them. Raises CallError, with nothing touched, on a misfit."""
        self._state.load(values, strict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program with the *current* values of its variables as one shared library, with a C header (.h) and a
        list of the sources it depends on (.d, for make) beside it.

        Files appear whole or not at all. The same program in the same state gives the same bytes.
        Raises ArtifactError when they cannot be written, CompileError when no linker is found.
        """
        product = self._net.library.product()
        with self._net.lock:
            state = self._net.state.tobytes()
        artifact.save(path, product, state)

    def close(self) -> None:
        """Stop the workers. Calls are refused afterwards; state stays readable."""
        self._net.close()

    def __repr__(self) -> str:
        manifest = self._net.library.manifest
        count = len(manifest.variables)
        head = f"Program {manifest.name!r}: {count} variable{'' if count == 1 else 's'}, {manifest.state_size} bytes of state"
        return "\n".join([head, *(f"  {signature}" for signature in manifest.functions)])
