"""The binary interface of a compiled program: memory layout of a net, error codes, and names in C.

In: a planned KernelProgram. Out: offsets and names that the entry points, the C header and the exporter share.

    net   ::= header (HEADER_SIZE bytes: worker pool, flags) state (variables) arena (scratch) arguments (pointers of a call)
              one block, the caller's
    image ::= constants, then the initial state                          read-only data, part of the library or of the host

Everything is aligned to ALIGNMENT bytes. A net holds no pointer into itself, the library has no mutable globals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from graphc.dtype import DType
from graphc.errors import CompileError
from graphc.ir.kernel import ALIGNMENT, Buffer, KernelFunction, KernelProgram, aligned

MAX_THREADS = 256

# Bytes from the start of the header. Fields that different threads write lie on different pairs of cache lines.
FIELDS = {
    "magic": 0,  # i64 MAGIC while the net is initialised
    "threads": 8,  # i64 workers, the caller among them
    "process": 16,  # i32 the process that started them: a forked child has none
    "busy": 24,  # i32 1 while a call is running
    "image": 32,  # ptr constants and initial state
    "epoch": 128,  # i64 twice the number of jobs handed out; odd while one is being described
    "body": 136,  # ptr the job: void (net, arguments, self); null ends the worker
    "base": 144,  # i64 `done` before the job
    "done": 256,  # i64 units of work finished, over all jobs (llvm/shares.py)
    "parked": 384,  # i64 1 while anybody may be asleep
    "tickets": 392,  # i64 workers that have taken a number
    "mutex": 448,  # pthread_mutex_t, at most 128 bytes on any system
    "condition": 576,  # pthread_cond_t, at most 128 bytes
    "handles": 1024,  # pthread_t for each worker but the caller
    "shares": 4096,  # i64 for each worker, SHARE_BYTES apart: what of its share is claimed
}
SHARE_BYTES = 128
HEADER_SIZE = FIELDS["shares"] + MAX_THREADS * SHARE_BYTES
MAGIC = 0x31637068_61726731

OK = 0
NULL_POINTER = 1
MISALIGNED = 2
BAD_THREADS = 3
NOT_READY = 4
BUSY = 5
ERRORS: dict[int, tuple[str, str]] = {
    NULL_POINTER: ("NULL", "a pointer is null"),
    MISALIGNED: ("ALIGNMENT", f"the memory of a net must be aligned to {ALIGNMENT} bytes"),
    BAD_THREADS: ("THREADS", f"the number of threads must be 1 ... {MAX_THREADS}"),
    NOT_READY: ("NOT_READY", "the net is not initialised, or was closed"),
    BUSY: ("BUSY", "another call is running on this net"),
}

# What the method of a function (llvm/python_entry.py) finds of Python's, bytes from the start of the record that
# graphc/runtime/direct.py makes; PYTHON_VERSION changes with it. Everything is a pointer but net_bytes and function.
PYTHON_VERSION = 1
RECORD = {
    field: 8 * place
    for place, field in enumerate(
        (
            *("vectorcall", "list_new", "list_set", "save_thread", "restore_thread", "decref"),  # functions of its C API
            *("array_type", "empty", "locked", "acquire", "release", "false", "careful", "pack"),  # objects
            *("dtypes", "outputs"),  # arrays of objects: dtypes of inputs; shape and dtype of each output
            *("net", "net_bytes", "function"),
        )
    )
}
# Where CPython and numpy keep what is asked of an array; direct.py tries them before it trusts them.
OBJECT_HEAD = 16
ARRAY = {
    "object_type": 8, "array_data": 16, "array_rank": 24, "array_shape": 32, "array_dtype": 56, "array_flags": 64,
}  # fmt: skip
DENSE = 1  # the flag of arrays that are C-contiguous

# The C type that holds one element; where C has no such type, the bits.
C_TYPES = {
    "bool": "uint8_t", "uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
    "float16": "uint16_t", "bfloat16": "uint16_t", "float32": "float", "float64": "double",
}  # fmt: skip
RESERVED = ("size", "init", "close", "bind", "python")  # NAME_<word> is part of the interface
_KEYWORDS = frozenset(
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr const_cast "
    "continue decltype default delete do double dynamic_cast else enum explicit export extern false float for friend goto if "
    "inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register "
    "reinterpret_cast restrict return short signed sizeof static static_assert static_cast struct switch template this "
    "thread_local throw true try typedef typeid typename typeof union unsigned using virtual void volatile wchar_t while xor "
    "xor_eq".split()
)


@dataclass(frozen=True)
class Layout:
    """Where things lie: `state`, `arena`, `arguments`, `size` in the memory of a net; `constants`, `initial` in the image."""

    state: int
    arena: int
    arguments: int
    size: int
    constants: dict[Buffer, int]
    initial: int
    image_size: int


def layout(program: KernelProgram) -> Layout:
    """The layout of a planned program."""
    constants: dict[Buffer, int] = {}
    at = 0
    for buffer in program.constants:
        constants[buffer] = at
        at = aligned(at + buffer.nbytes)
    arena = HEADER_SIZE + aligned(program.state_size)
    arguments = arena + aligned(program.arena_size)
    size = arguments + aligned(max((arguments_size(function) for function in program.functions), default=0))
    return Layout(HEADER_SIZE, arena, arguments, size, constants, at, at + aligned(program.state_size))


def arguments_size(function: KernelFunction) -> int:
    """Bytes of the pointers that a call passes."""
    return 8 * len(function.inputs + function.outputs)


def image(program: KernelProgram) -> np.ndarray:
    """The bytes of the image: constants, then variables with their initial values."""
    where = layout(program)
    result = np.zeros(where.image_size, np.uint8)
    result[: where.initial] = constants(program)
    set_state(program, result[where.initial :])
    return result


def constants(program: KernelProgram) -> np.ndarray:
    """The part of the image before the initial state, where vectors do not straddle lines of the cache."""
    where = layout(program)
    memory = np.zeros(where.initial + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    result = memory[start : start + where.initial]
    for buffer, offset in where.constants.items():
        _place(result, offset, buffer)
    return result


def set_state(program: KernelProgram, state: np.ndarray) -> None:
    """Write the initial values of all variables into the bytes of a state, and zeros between them."""
    state[:] = 0
    for buffer in program.variables:
        _place(state, program.offsets[buffer], buffer)


def _place(target: np.ndarray, offset: int, buffer: Buffer) -> None:
    data = buffer.data
    assert data is not None and data.size == buffer.size, f"buffer {buffer.name} has no contents of its shape {buffer.shape}"
    raw = np.ascontiguousarray(data, buffer.dtype.numpy).reshape(-1).view(np.uint8)
    target[offset : offset + buffer.nbytes] = raw


def c_identifier(name: str) -> str:
    """A C identifier for `name`: other characters become `_`, a keyword gets a `_` behind it."""
    plain = re.sub(r"[^0-9A-Za-z_]", "_", name) or "_"
    if plain[0].isdigit():
        plain = "_" + plain
    return plain + "_" if plain in _KEYWORDS else plain


def c_names(names: Iterable[str], taken: Iterable[str] = ()) -> tuple[str, ...]:
    """Distinct C identifiers for `names`, in order, none of them `taken`; clashes get a number behind them."""
    result: list[str] = []
    others = frozenset(taken)
    for name in names:
        plain = candidate = c_identifier(name)
        count = 2
        while candidate in result or candidate in others:
            candidate, count = f"{plain}_{count}", count + 1
        result.append(candidate)
    return tuple(result)


def c_type(dtype: DType) -> str:
    """The C type of one element of `dtype`."""
    return C_TYPES[dtype.name]


def variable_symbol(name: str, variable: str) -> str:
    """The exported function that gives the address of a variable; `variable` is a C name already."""
    return f"{name}_var_{variable}"


def check_names(program: KernelProgram, name: str) -> None:
    """Refuse names that C (or the interface itself) cannot take. Raises CompileError."""
    if c_identifier(name) != name:
        raise CompileError(f"{name!r} cannot be a program's name: expected a C identifier such as 'net'")
    for function in program.functions:
        symbol = f"{name}_{function.name}"
        if c_identifier(symbol) != symbol:
            raise CompileError(f"{function.name!r} cannot be a function's name: expected a C identifier such as 'predict'")
        if function.name in RESERVED or function.name.startswith("var_"):
            raise CompileError(f"{function.name!r} cannot be a function's name: {symbol} is part of every program's interface")
