"""Runs kernels and kernel programs in Python: slow, exact in the sense of words.py, and suspicious.

In: kernels and flat numpy arrays, or a program, inputs and its state. Out: written arrays. Every index is checked against
its array (negative ones too), scratch must be written before it is read, params may not overlap; a violation is a
VerifyError that names the kernel, the array, the index and the loop variables. Guards protect only the access they stand
on: every other expression of a statement is evaluated. With `backwards`, tasks and vector loops run in reverse, which
must not be seen but in the rounding of folds.

Each kernel is compiled once to a Python function whose text `source` shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_float
from itertools import combinations
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import numpy as np

from ..dtype import DType, bool_, float32
from ..errors import VerifyError
from ..ir.expr import Affine, Array, Call, Const, Div, Expr, Load, Mod, Temp, Var
from ..ir.kernel import (
    ARENA,
    CONSTANT,
    VARIABLE,
    VECTOR,
    Accumulate,
    Buffer,
    For,
    If,
    Kernel,
    KernelFunction,
    KernelProgram,
    Let,
    Local,
    Stmt,
    Store,
)
from .words import meaning

POISON = 0xAB  # every byte of memory that nobody has written yet

_INLINE = {
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "lt": "{0} < {1}",
    "le": "{0} <= {1}",
    "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "select": "{1} if {0} else {2}",
}
_INLINE_FLOAT32 = {
    "add": "c_float({0} + {1}).value",
    "sub": "c_float({0} - {1}).value",
    "mul": "c_float({0} * {1}).value",
    "neg": "-{0}",
}


def run_kernel(kernel: Kernel, arrays: Sequence[np.ndarray], backwards: bool = False) -> None:
    """Run all tasks of `kernel` over flat arrays, one per param; arrays of written params are written in place."""
    _check_arrays(kernel, arrays)
    lists = [_to_list(array) for array in arrays]
    with np.errstate(all="ignore"):
        _compiled(kernel, backwards)(*lists)
    written = kernel.written
    for param, array, values in zip(kernel.params, arrays, lists, strict=True):
        if param in written:
            array[:] = _from_list(values, param.dtype)


def run_function(
    program: KernelProgram,
    name: str,
    inputs: Sequence[np.ndarray],
    state: Mapping[Buffer, np.ndarray] | None = None,
    backwards: bool = False,
) -> list[np.ndarray]:
    """Call function `name`: its outputs, in order. `state` (see `initial_state`) is updated in place.

    Before buffers are planned each has its own memory; afterwards arena buffers share one array of `arena_size` bytes at
    their offsets. Memory starts out as POISON, so that whoever reads what was not written shows.
    """
    function = next(f for f in program.functions if f.name == name)
    memory = _memory(program, function, inputs, initial_state(program) if state is None else state)
    for launch in function.launches:
        run_kernel(launch.kernel, [memory[buffer] for buffer in launch.args], backwards)
    return [memory[buffer].reshape(buffer.shape).copy() for buffer in function.outputs]


def initial_state(program: KernelProgram) -> dict[Buffer, np.ndarray]:
    """A fresh array for every variable, holding its initial contents (POISON where it has none)."""
    return {
        v: _poisoned(v).reshape(v.shape) if v.data is None else np.array(v.data, v.dtype.numpy, order="C")
        for v in program.variables
    }


def source(kernel: Kernel, backwards: bool = False) -> str:
    """The Python text that runs `kernel`."""
    return _Writer(kernel, backwards).text


# ------------------------------------------------------------------------------------------------------------------ memory


def _memory(
    program: KernelProgram, function: KernelFunction, inputs: Sequence[np.ndarray], state: Mapping[Buffer, np.ndarray]
) -> dict[Buffer, np.ndarray]:
    arena = np.full(program.arena_size, POISON, np.uint8)
    memory: dict[Buffer, np.ndarray] = {}
    for buffer, array in zip(function.inputs, inputs, strict=True):
        assert array.shape == buffer.shape and array.dtype == buffer.dtype.numpy, (buffer, array.shape, array.dtype)
        memory[buffer] = np.array(array, order="C").reshape(-1)
    for buffer in [*function.outputs, *(b for launch in function.launches for b in launch.args)]:
        if buffer in memory:
            continue
        if buffer.kind == VARIABLE:
            memory[buffer] = state[buffer].reshape(-1)
            assert np.may_share_memory(memory[buffer], state[buffer]) or not buffer.size, f"{buffer.name}: not contiguous"
        elif buffer.kind == CONSTANT:
            memory[buffer] = np.array(buffer.data, buffer.dtype.numpy, order="C").reshape(-1)
            memory[buffer].flags.writeable = False
        elif buffer.kind == ARENA and program.offsets:
            start = program.offsets[buffer]
            assert start + buffer.nbytes <= program.arena_size, f"{buffer.name} lies outside the arena"
            memory[buffer] = arena[start : start + buffer.size * buffer.dtype.size].view(buffer.dtype.numpy)
        else:
            memory[buffer] = _poisoned(buffer)
    return memory


def _poisoned(buffer: Buffer) -> np.ndarray:
    return np.full(buffer.size * buffer.dtype.size, POISON, np.uint8).view(buffer.dtype.numpy)


def _check_arrays(kernel: Kernel, arrays: Sequence[np.ndarray]) -> None:
    assert len(arrays) == len(kernel.params), f"{kernel.name} takes {len(kernel.params)} arrays, got {len(arrays)}"
    for param, array in zip(kernel.params, arrays, strict=True):
        if array.shape != (param.size,) or array.dtype != param.dtype.numpy:
            raise VerifyError(
                f"kernel {kernel.name}: param {param.name} is {param.dtype}[{param.size}], got {array.dtype}{list(array.shape)}"
            )
        if param in kernel.written and not array.flags.writeable:
            raise VerifyError(f"kernel {kernel.name} writes to {param.name}, whose memory is read-only")
    for (a, x), (b, y) in combinations(zip(kernel.params, arrays, strict=True), 2):
        if np.may_share_memory(x, y):
            raise VerifyError(f"kernel {kernel.name}: params {a.name} and {b.name} overlap in memory")


def _to_list(array: np.ndarray) -> list[Any]:
    if array.dtype == np.bool_:
        return [byte != 0 for byte in array.view(np.uint8).tolist()]
    if array.dtype.itemsize == 2 and array.dtype.kind not in "iu":
        array = array.astype(np.float32)
    values: list[Any] = array.tolist()
    return values


def _from_list(values: list[Any], dtype: DType) -> np.ndarray:
    return np.array(values, np.float64 if dtype.is_float else dtype.numpy).astype(dtype.numpy)


# ---------------------------------------------------------------------------------------------------------------- to Python

_cache: WeakKeyDictionary[Kernel, dict[bool, Callable[..., None]]] = WeakKeyDictionary()


def _compiled(kernel: Kernel, backwards: bool) -> Callable[..., None]:
    versions = _cache.setdefault(kernel, {})
    if backwards not in versions:
        writer = _Writer(kernel, backwards)
        exec(compile(writer.text, f"<kernel {kernel.name}>", "exec"), writer.names)
        versions[backwards] = writer.names["kernel"]
    return versions[backwards]


class _Writer:
    """Writes a kernel as a Python function over lists: `text`, to be run in the namespace `names`."""

    def __init__(self, kernel: Kernel, backwards: bool) -> None:
        self.kernel, self.backwards = kernel, backwards
        self.names: dict[str, Any] = {"fail": self._fail, "inf": float("inf"), "nan": float("nan")}
        self.names["c_float"] = c_float
        self.lines: list[str] = []
        self.depth = 0
        self.count = 0
        self.python: dict[object, str] = {}  # the Python name of an array, loop variable or temp
        self.loops: list[Var] = []
        self.scratch: set[Array] = set()
        self.cache: dict[Expr, str] = {}  # what the statement being written has computed so far
        params = ", ".join(self._name(p, p.name) for p in kernel.params)
        self._line(f"def kernel({params}):")
        with self._indented():
            self._loop(kernel.task, kernel.body, backwards)
        self.text = "\n".join(self.lines) + "\n"

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    @contextmanager
    def _indented(self) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def _fresh(self, name: str) -> str:
        self.count += 1
        return f"{re.sub(r'[^A-Za-z0-9]', '_', name)}_{self.count}"

    def _name(self, thing: object, name: str) -> str:
        self.python[thing] = self._fresh("v" + name)
        return self.python[thing]

    def _fail(self, what: str, array: str, index: int, size: int, *loops: int) -> NoReturn:
        where = ", ".join(f"{var} = {value}" for var, value in zip(what.split()[1:], loops, strict=True))
        verb = what.split()[0]
        why = "was never written" if verb == "reads" and 0 <= index < size else f"is outside of its {size} elements"
        raise VerifyError(f"kernel {self.kernel.name} {verb} {array}[{index}], which {why} ({where})")

    # statements

    def _block(self, body: Sequence[Stmt]) -> None:
        with self._indented():
            for stmt in body:
                self.cache = {}
                self._statement(stmt)
            self._line("pass")

    def _loop(self, var: Var, body: Sequence[Stmt], backwards: bool) -> None:
        turns = f"range({var.extent - 1}, -1, -1)" if backwards else f"range({var.extent})"
        self._line(f"for {self._name(var, var.name)} in {turns}:")
        self.loops.append(var)
        self._block(body)
        self.loops.pop()

    def _statement(self, stmt: Stmt) -> None:
        match stmt:
            case For():
                self._loop(stmt.var, stmt.body, self.backwards and stmt.kind == VECTOR)
            case Local(array=array):
                self.scratch.add(array)
                self._line(f"{self._name(array, array.name)} = [None] * {array.size}")
            case Let():
                value = self._expr(stmt.value)
                self._line(f"{self._name(stmt.temp, stmt.temp.name)} = {value}")
            case If():
                self._line(f"if {self._expr(stmt.condition)}:")
                self._block(stmt.then)
                self._line("else:")
                self._block(stmt.orelse)
            case Store():
                self._store(stmt)
            case Accumulate():
                index, value = self._expr(stmt.index), self._expr(stmt.value)
                place = self._checked("folds", stmt.array, index)
                old = self._read(stmt.array, place)
                new = self._word(stmt.combine, [old, value], stmt.value, stmt.array.dtype)
                self._line(f"{self.python[stmt.array]}[{place}] = {new}")

    def _store(self, stmt: Store) -> None:
        index, value = self._expr(stmt.index), self._expr(stmt.value)
        if stmt.guard is None:
            self._line(f"{self.python[stmt.array]}[{self._checked('writes', stmt.array, index)}] = {value}")
            return
        self._line(f"if {self._expr(stmt.guard)}:")
        with self._indented():
            self._line(f"{self.python[stmt.array]}[{self._checked('writes', stmt.array, index)}] = {value}")

    # expressions

    def _bind(self, text: str) -> str:
        name = self._fresh("e")
        self._line(f"{name} = {text}")
        return name

    def _expr(self, expr: Expr) -> str:
        if expr not in self.cache:
            self.cache[expr] = self._compute(expr)
        return self.cache[expr]

    def _compute(self, expr: Expr) -> str:
        match expr:
            case Const():
                return f"({expr.text})"
            case Var() | Temp():
                return self.python[expr]
            case Affine():
                return self._bind(" + ".join([*(f"{self._expr(a)} * {c}" for a, c in expr.terms), str(expr.constant)]))
            case Div():
                return self._bind(f"{self._expr(expr.index)} // {expr.divisor}")
            case Mod():
                return self._bind(f"{self._expr(expr.index)} % {expr.divisor}")
            case Load():
                return self._load(expr)
            case Call():
                return self._bind(self._word(expr.word, [self._expr(a) for a in expr.args], expr.args[-1], expr.dtype))
        raise AssertionError(expr)

    def _word(self, word: str, args: list[str], last: Expr, result: DType) -> str:
        inline = _INLINE.get(word) or (_INLINE_FLOAT32.get(word) if last.dtype is float32 else None)
        if inline:
            return inline.format(*args)
        name = f"{word}_{last.dtype}" + (f"_{result}" if word in ("cast", "bitcast") else "")
        self.names[name] = meaning(word, last.dtype, result)
        return f"{name}({', '.join(args)})"

    def _load(self, expr: Load) -> str:
        index = self._expr(expr.index)
        if expr.guard is None:
            return self._read(expr.array, self._checked("reads", expr.array, index))
        name = self._fresh("e")
        self._line(f"{name} = {False if expr.dtype is bool_ else 0.0 if expr.dtype.is_float else 0}")
        self._line(f"if {self._expr(expr.guard)}:")
        with self._indented():
            value = self._read(expr.array, self._checked("reads", expr.array, index))
            self._line(f"{name} = {value}")
        return name

    def _failure(self, verb: str, array: Array, place: str) -> str:
        what = " ".join([verb, *(v.name for v in self.loops)])
        values = ", ".join([place, str(array.size), *(self.python[v] for v in self.loops)])
        return f"fail({what!r}, {array.name!r}, {values})"

    def _checked(self, verb: str, array: Array, index: str) -> str:
        self._line(f"if not 0 <= {index} < {array.size}: {self._failure(verb, array, index)}")
        return index

    def _read(self, array: Array, index: str) -> str:
        value = self._bind(f"{self.python[array]}[{index}]")
        if array in self.scratch:
            self._line(f"if {value} is None: {self._failure('reads', array, index)}")
        return value
