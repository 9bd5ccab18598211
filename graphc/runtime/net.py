"""A net in memory: one aligned block, its workers, and the lock that makes calls exclusive.

In: a Library and a number of threads. Out: `Net`, which programs, functions and state views share; it closes itself when
the last of them is gone, and at the end of the process. Holds: no call is under way when a process forks, so a child finds
every net at rest (and runs it on one thread, which gives the same numbers).
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable

import numpy as np

from ..errors import CallError, MemoryLimitError
from .host import thread_count
from .library import Library

ALIGNMENT = 64
_CLOSING_SECONDS = 5.0  # how long the end of a process waits for a call that is still running

_nets: weakref.WeakSet[Net] = weakref.WeakSet()
_held: list[threading.Lock] = []


class Net:
    """The memory of one program and the pool that works on it."""

    def __init__(self, library: Library, threads: int | None = None) -> None:
        manifest = library.manifest
        self.library = library
        self.lock = threading.Lock()
        self.closed = False
        size = _native(library, "size", ctypes.c_int64)()
        self.memory = _allocate(size, manifest.name)
        self.address: int = self.memory.ctypes.data
        self.end = self.address + size
        wanted = min(thread_count(threads, manifest.threads), manifest.max_threads)  # a senseless number is refused always
        workers = wanted if manifest.parallel else 1
        init = _native(library, "init", ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)
        self.check(init(self.address, workers), "init")
        if library.image is not None:
            _native(library, "bind", None, ctypes.c_void_p, ctypes.c_void_p)(self.address, library.image.ctypes.data)
        if library.set_state is not None:
            library.set_state(self.state)
        close = _native(library, "close", ctypes.c_int32, ctypes.c_void_p)
        self._finalizer = weakref.finalize(self, _close, close, self.address, self.memory, self.lock, library)
        _nets.add(self)

    @property
    def state(self) -> np.ndarray:
        """The bytes of all variables."""
        manifest = self.library.manifest
        return self.memory[manifest.state :][: manifest.state_size]

    def close(self) -> None:
        """Stop the workers; calls are refused from here on. State views stay valid. Closing twice does nothing."""
        self.closed = True
        self._finalizer()

    def function(self, symbol: str, arguments: int) -> Callable[..., int]:
        """The entry point `symbol`: call it with the net's address and `arguments` more; it releases the GIL."""
        kinds = [ctypes.c_void_p] * (1 + arguments)
        return ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)(self.library.address(symbol))

    def check(self, code: int, function: str) -> None:
        """Raise what an entry point's code means."""
        if code:
            text = self.library.manifest.errors.get(code, f"error {code}")
            raise CallError(f"{function}: {text}")


def _native(library: Library, word: str, result: type | None, *arguments: type) -> Callable[..., int]:
    return ctypes.CFUNCTYPE(result, *arguments)(library.address(f"{library.manifest.name}_{word}"))


def _allocate(size: int, name: str) -> np.ndarray:
    try:
        raw = np.empty(size + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError) as error:
        raise MemoryLimitError(
            f"program {name!r} needs {size} bytes ({size / 2**30:.2f} GiB) for its state and scratch memory, and the system "
            "refused them; use a smaller batch or model, or free memory"
        ) from error
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def _close(close: Callable[[int], int], address: int, memory: np.ndarray, lock: threading.Lock, library: Library) -> None:
    """`memory` and `library` are arguments so that they outlive the workers."""
    if not lock.acquire(timeout=_CLOSING_SECONDS):
        return  # a daemon thread is inside a call; the end of the process takes the workers with it
    try:
        close(address)
    finally:
        lock.release()


def _before_fork() -> None:
    _held.extend(net.lock for net in sorted(_nets, key=lambda net: net.address))
    for lock in _held:
        lock.acquire()


def _after_fork() -> None:
    for lock in _held:
        lock.release()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
