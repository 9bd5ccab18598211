"""Module text to optimised machine code.

In: LLVM IR text and a `Target`. Out: an object file, assembly, optimised IR, or code in this process. The same text gives
the same bytes. Vectors are explicit in the text, so no vectoriser runs; text that LLVM rejects is our own bug.
"""

from __future__ import annotations

import ctypes
import re
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm

from ..target import Target

# Loops come scheduled, vectorised and unrolled, and nothing in them is computed twice: what is left is to put stack slots into
# registers and to join blocks. The code runs as fast as that of LLVM's -O2 and is ready in a fraction of the time.
PASSES = ("sroa", "simplify_cfg")

TURN = 0.0005  # seconds
_TURNS = threading.Lock()  # so that what is put back is what was there


def compile_module(text: str, target: Target, emit: str = "obj") -> bytes | str:
    """The module as "obj" (bytes), "asm" or "ll" (text), optimised for `target`."""
    assert emit in ("obj", "asm", "ll"), emit
    machine = _machine(target, jit=False)
    module = _optimised(text, target, machine)
    if emit == "ll":
        return str(module)
    return _object(module, machine) if emit == "obj" else str(machine.emit_assembly(module))


class Jit:
    """Modules' code in this process, for as long as the object lives. Symbols resolve against each other and the process.

    While LLVM compiles `threads` of the `modules`, Python may write the next. Code in `plain` ones runs for too short a time to
    be worth optimising: a translation as it stands takes a quarter of the time.
    """

    def __init__(self, modules: Iterable[str], target: Target, plain: Sequence[str] = (), threads: int = 1) -> None:
        def compiled(text: str, level: int = 2) -> bytes:
            machine = _machine(target, jit=True, level=level)
            return _object(_optimised(text, target, machine), machine)

        with _short_turns(), ThreadPoolExecutor(threads, "graphc-llvm") as beside:
            each = beside.map if _starts_threads(beside) else map
            soon, later = each(partial(compiled, level=0), plain), each(compiled, modules)
            objects = [*soon, *later]
        self._module = llvm.parse_assembly("", llvm.create_context())
        self._engine = llvm.create_mcjit_compiler(self._module, _machine(target, jit=True))
        for code in objects:
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        # Cyclic garbage is collected in any order, and a context must not go before what lives in it.
        # At the end of the process code stays: whoever still calls a closed program is told so by it.
        weakref.finalize(self, _dispose, self._engine, self._module).atexit = False

    def address(self, symbol: str) -> int:
        """Where the exported function or variable `symbol` is."""
        address: int = self._engine.get_function_address(symbol) or self._engine.get_global_value_address(symbol)
        assert address, f"no symbol {symbol} in the module"
        return address


def _starts_threads(executor: ThreadPoolExecutor) -> bool:
    """Python has none to give any more when what was registered with atexit runs."""
    try:
        executor.submit(int)
    except RuntimeError:
        return False
    return True


@contextmanager
def _short_turns() -> Iterator[None]:
    """Threads wait for Python less long than the usual 5 ms: LLVM's thread, after each of its calls."""
    with _TURNS:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(TURN)
        try:
            yield
        finally:
            sys.setswitchinterval(usual)


def _dispose(engine: Any, module: Any) -> None:
    """`module` is an argument so that it, and its context, outlive the engine."""
    engine.close()


@cache
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()


def _machine(target: Target, jit: bool, level: int = 2) -> Any:
    """Code that stays in this process names all places in full: its modules may lie anywhere."""
    _initialize()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=level,
        reloc="static" if jit else "pic",
        codemodel="large" if jit else "default",
        jit=jit,
    )


def _optimised(text: str, target: Target, machine: Any) -> Any:
    module = _parsed(text)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options())
    manager = llvm.create_new_module_pass_manager()
    for name in PASSES:
        getattr(manager, f"add_{name}_pass")()
    manager.run(module, builder)
    return module


def _object(module: Any, machine: Any) -> bytes:
    """The machine code of a module that nobody else works on, nor with its context or the machine."""
    lib = llvm.ffi.lib
    with llvm.ffi.OutputString() as error:
        code = _unlocked("LLVMPY_TargetMachineEmitToMemory")(machine, module, True, error)
        assert code, f"LLVM cannot compile what it has read: {error}"
    try:
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(code), lib.LLVMPY_GetBufferSize(code))
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(code)


@cache
def _unlocked(name: str) -> Any:
    """A function of llvmlite's library without the lock around all of them, which threads would wait for that share nothing:
    LLVM needs none then. With the lock, should llvmlite not tell any more where its library is."""
    locked, handle = getattr(llvm.ffi.lib, name), llvm.ffi.lib._handle
    if not isinstance(handle, int):
        return locked
    free = ctypes.CDLL(None, handle=handle)[name]
    free.argtypes, free.restype = locked.argtypes, locked.restype
    return free


def _parsed(text: str) -> Any:
    """The module, verified; an AssertionError shows the lines around what LLVM rejects."""
    try:
        module = llvm.parse_assembly(text, llvm.create_context())
        module.verify()
    except RuntimeError as error:
        raise AssertionError(f"LLVM rejects the emitted text: {error}\n{_neighbourhood(text, str(error))}") from error
    return module


def _neighbourhood(text: str, message: str) -> str:
    """The lines around the one that a parser message names, or around the instruction that a verifier message quotes."""
    lines = text.splitlines()
    named = re.search(r":(\d+):\d+: error", message)
    quoted = [line.strip() for line in message.splitlines() if line.startswith("  ")]
    spots = [int(named.group(1)) - 1] if named else [i for i, line in enumerate(lines) if line.strip() in quoted]
    spot = spots[0] if spots else 0
    return "\n".join(
        f"{'>' if i == spot else ' '} {i + 1:5} {lines[i]}" for i in range(max(0, spot - 5), min(len(lines), spot + 6))
    )
