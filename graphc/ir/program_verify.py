"""The law book of kernel programs, and its judge.

In: a program, before or after its buffers are planned. Out: nothing, or a VerifyError with the law's number, its text and
the offending launch among its neighbours. Every kernel is verified too. Liveness is found here by itself, from first to
last mention, so that the planner is not its own judge. Not verified: that a kernel writes all of an output (poisoned
memory shows that in the interpreter).
"""

from __future__ import annotations

from itertools import combinations
from typing import NoReturn

from ..errors import VerifyError
from .kernel import (
    ALIGNMENT,
    ARENA,
    CONSTANT,
    INPUT,
    OUTPUT,
    VARIABLE,
    Accumulate,
    Array,
    Buffer,
    Kernel,
    KernelFunction,
    KernelProgram,
    Load,
    Stmt,
    evaluated,
    walk,
)
from .kernel_verify import verify_kernel
from .program_text import buffers

LAWS = {
    "P1": "a launch passes one buffer per param, of the param's dtype and size",
    "P2": "a launch passes a buffer once: params never overlap",
    "P3": "inputs and constants are never written",
    "P4": "a function uses its own inputs and outputs and the program's variables and constants, each of its kind",
    "P5": "an arena or output buffer is written before it is read, and every output is written",
    "P6": "a constant has data, and data has the buffer's dtype and shape",
    "P7": "function names are distinct, and so are names of variables",
    "P8": "a planned buffer has an aligned offset and ends inside its memory",
    "P9": "no two variables overlap, and no two arena buffers that are live at the same time",
    "P10": "a buffer of several parts is of the arena, and belongs to one launch",
}
_AROUND = 2


def verify_program(program: KernelProgram) -> None:
    """Raise VerifyError at the first law that `program`, or one of its kernels, breaks."""
    for kernel in dict.fromkeys(launch.kernel for function in program.functions for launch in function.launches):
        verify_kernel(kernel)
    _names_are_distinct(program)
    for buffer in buffers(program):
        _data_fits(buffer)
    for function in program.functions:
        _buffers_belong(program, function)
        for at in range(len(function.launches)):
            _launch_fits(function, at)
        _reads_follow_writes(function)
        _parts_are_scratch(function)
    if program.offsets:
        _offsets_are_legal(program)
        _memory_is_exclusive(program)


def _refuse(law: str, what: str, function: KernelFunction | None = None, at: int | None = None) -> NoReturn:
    where = "the program" if function is None else f"function {function.name}"
    lines = ""
    if function is not None and at is not None:
        for n in range(max(at - _AROUND, 0), min(at + _AROUND + 1, len(function.launches))):
            launch = function.launches[n]
            args = ", ".join(b.name for b in launch.args)
            lines += f"\n  {'>' if n == at else ' '} {n}: {launch.kernel.name}({args})  {launch.comment}".rstrip()
    raise VerifyError(f"{where} breaks law {law} ({LAWS[law]}): {what}{lines}")


def _names_are_distinct(program: KernelProgram) -> None:
    for names in ([f.name for f in program.functions], [v.name for v in program.variables]):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            _refuse("P7", f"{twice[0]} is there {len(twice)} times")


def _data_fits(buffer: Buffer) -> None:
    if buffer.data is None:
        if buffer.kind == CONSTANT:
            _refuse("P6", f"the constant {buffer.name} has no data")
    elif buffer.data.shape != buffer.shape or buffer.data.dtype != buffer.dtype.numpy:
        found = f"{buffer.data.dtype}{list(buffer.data.shape)}"
        _refuse("P6", f"the data of {buffer.name} is {found}, expected {buffer.dtype}{list(buffer.shape)}")


def _buffers_belong(program: KernelProgram, function: KernelFunction) -> None:
    owned = {INPUT: function.inputs, OUTPUT: function.outputs, VARIABLE: program.variables, CONSTANT: program.constants}
    for kind, some in owned.items():
        for buffer in some:
            if buffer.kind != kind and not (kind == OUTPUT and buffer.kind != INPUT):
                _refuse("P4", f"{buffer.name}, {buffer.kind}, is listed as {kind}", function)
    for at, launch in enumerate(function.launches):
        for buffer in launch.args:
            if buffer.kind != ARENA and buffer not in owned[buffer.kind]:
                _refuse("P4", f"the {buffer.kind} {buffer.name} is not the function's", function, at)


def _parts_are_scratch(function: KernelFunction) -> None:
    owner: dict[Buffer, int] = {}
    for at, launch in enumerate(function.launches):
        for buffer in launch.args:
            if buffer.parts > 1 and (buffer.kind != ARENA or owner.setdefault(buffer, at) != at):
                _refuse("P10", f"the {buffer.kind} buffer {buffer.name} has {buffer.parts} parts", function, at)


def _launch_fits(function: KernelFunction, at: int) -> None:
    launch = function.launches[at]
    params, args = launch.kernel.params, launch.args
    if len(params) != len(args):
        _refuse("P1", f"{len(args)} buffers for {len(params)} params", function, at)
    for param, buffer in zip(params, args, strict=True):
        if param.dtype is not buffer.dtype or param.size != buffer.size:
            found = f"{buffer.name} is {buffer.dtype}[{buffer.size}]"
            _refuse("P1", f"{found}, the param {param.name} {param.dtype}[{param.size}]", function, at)
        if param in launch.kernel.written and buffer.kind in (INPUT, CONSTANT):
            _refuse("P3", f"the {buffer.kind} {buffer.name} is written", function, at)
    for one, other in combinations(args, 2):
        if one is other:
            _refuse("P2", f"{one.name} is passed twice", function, at)


def _reads_follow_writes(function: KernelFunction) -> None:
    written: set[Buffer] = set()
    for at, launch in enumerate(function.launches):
        read, stored = _read(launch.kernel), launch.kernel.written
        pairs = list(zip(launch.kernel.params, launch.args, strict=True))
        for param, buffer in pairs:
            needed = buffer.size and buffer.kind in (ARENA, OUTPUT)
            if needed and param in read and param not in stored and buffer not in written:
                _refuse("P5", f"{buffer.name} is read before any launch wrote it", function, at)
        written |= {buffer for param, buffer in pairs if param in stored}
    for buffer in function.outputs:
        if buffer.kind == OUTPUT and buffer.size and buffer not in written:
            _refuse("P5", f"the output {buffer.name} is never written", function)


def _read(kernel: Kernel) -> set[Array]:
    return {array for stmt in walk(kernel.body) for array in _arrays_read(stmt)}


def _arrays_read(stmt: Stmt) -> set[Array]:
    found = {stmt.array} if isinstance(stmt, Accumulate) else set()
    return found.union(expr.array for expr in evaluated(stmt) if isinstance(expr, Load))


def _offsets_are_legal(program: KernelProgram) -> None:
    sizes = {VARIABLE: program.state_size, ARENA: program.arena_size}
    for buffer in buffers(program):
        if buffer.kind not in sizes:
            continue
        if buffer not in program.offsets:
            _refuse("P8", f"the {buffer.kind} buffer {buffer.name} has no offset")
        start = program.offsets[buffer]
        if start < 0 or start % ALIGNMENT:
            _refuse("P8", f"{buffer.name} lies at {start}, no multiple of {ALIGNMENT}")
        if start + buffer.nbytes > sizes[buffer.kind]:
            end = start + buffer.nbytes
            _refuse("P8", f"{buffer.name} ends at {end}, its memory ({buffer.kind}) at {sizes[buffer.kind]}")


def _memory_is_exclusive(program: KernelProgram) -> None:
    for one, other in combinations(program.variables, 2):
        if _overlap(program, one, other):
            _refuse("P9", f"variables {_placed(program, one)} and {_placed(program, other)} overlap")
    for function in program.functions:
        live: list[tuple[Buffer, int]] = []  # with their last launch, at the start of the launch in view
        for buffer, (first, last) in _lives(function).items():
            live = [(other, end) for other, end in live if end >= first]
            for other, end in live:
                if _overlap(program, buffer, other):
                    when = f"both live in launches {first} to {min(last, end)}"
                    _refuse("P9", f"{_placed(program, other)} and {_placed(program, buffer)} overlap, {when}", function, first)
            live.append((buffer, last))


def _lives(function: KernelFunction) -> dict[Buffer, tuple[int, int]]:
    """Of every arena buffer of the function, in the order of the first: its first and its last launch."""
    lives: dict[Buffer, tuple[int, int]] = {}
    for at, launch in enumerate(function.launches):
        for buffer in launch.args:
            if buffer.kind == ARENA:
                lives[buffer] = (lives.get(buffer, (at, at))[0], at)
    for buffer in function.outputs:
        if buffer in lives:
            lives[buffer] = (lives[buffer][0], len(function.launches))
    return lives


def _overlap(program: KernelProgram, one: Buffer, other: Buffer) -> bool:
    a, b = program.offsets[one], program.offsets[other]
    return a < b + other.nbytes and b < a + one.nbytes and one.nbytes > 0 and other.nbytes > 0


def _placed(program: KernelProgram, buffer: Buffer) -> str:
    start = program.offsets[buffer]
    return f"{buffer.name} at {start}..{start + buffer.nbytes}"
