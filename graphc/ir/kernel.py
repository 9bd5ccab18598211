"""The Kernel IR: loops over buffers.

In: expressions (expr.py). Out: kernels, launches of kernels over buffers, and whole programs of them.

    program  ::= function*                    over shared variables
    function ::= launch*                      in order; every launch sees the stores of those before it
    launch   ::= kernel(buffer*)
    kernel   ::= name(array*) tasks var: stmt*      the tasks are independent of each other: any order, any thread
    stmt     ::= for var (serial|unrolled|vector): stmt*
               | local array                  fresh scratch of the task, contents undefined
               | let temp = expr
               | array[index] = expr          (if guard)
               | array[index] combine= expr   the order of such folds is free within the loops that enclose them
               | if expr: stmt* else: stmt*   the condition is the same for all lanes of an enclosing vector loop

Loop kinds change speed, never meaning: `unrolled` copies the body, `vector` runs lanes of `width` iterations at once
(its iterations are independent but for folds), both are exactly the serial loop. All extents are static.
Expressions are evaluated where their statement stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from ..dtype import DType
from .expr import (
    Affine,
    Array,
    Call,
    Const,
    Div,
    Expr,
    Index,
    Load,
    Mod,
    Temp,
    Var,
    all_of,
    as_index,
    call,
    cast,
    const,
    load,
    select,
    temp,
)

SERIAL, UNROLLED, VECTOR = "serial", "unrolled", "vector"


def _lowest(dtype: DType) -> float:
    return -np.inf if dtype.is_float else 0 if dtype.is_bool else int(np.iinfo(dtype.numpy).min)


def _highest(dtype: DType) -> float:
    return np.inf if dtype.is_float else 1 if dtype.is_bool else int(np.iinfo(dtype.numpy).max)


# combine word -> its neutral element. `and` and `or` fold bools only.
COMBINES: dict[str, Callable[[DType], float]] = {
    "add": lambda dtype: 0,
    "mul": lambda dtype: 1,
    "max": _lowest,
    "min": _highest,
    "and": lambda dtype: True,
    "or": lambda dtype: False,
}


@dataclass(frozen=True, eq=False)
class For:
    var: Var
    body: tuple[Stmt, ...]
    kind: str = SERIAL
    width: int = 1  # lanes of a vector loop; a remainder runs with lanes masked off


@dataclass(frozen=True, eq=False)
class Local:
    """Declares `array` for the rest of the enclosing block: scratch memory, or registers once loops are unrolled."""

    array: Array


@dataclass(frozen=True, eq=False)
class Let:
    temp: Temp
    value: Expr


@dataclass(frozen=True, eq=False)
class Store:
    array: Array
    index: Index
    value: Expr
    guard: Expr | None = None


@dataclass(frozen=True, eq=False)
class Accumulate:
    """`array[index] = combine(array[index], value)`; a mul added into a float array may be fused."""

    array: Array
    index: Index
    combine: str
    value: Expr


@dataclass(frozen=True, eq=False)
class If:
    condition: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


Stmt = For | Local | Let | Store | Accumulate | If


@dataclass(frozen=True, eq=False)
class Kernel:
    """`params` never overlap in memory: a launch passes a buffer once. Params that are stored to are outputs."""

    name: str
    params: tuple[Array, ...]
    task: Var
    body: tuple[Stmt, ...]

    @property
    def written(self) -> frozenset[Array]:
        """The params the kernel stores to."""
        stored = {s.array for s in walk(self.body) if isinstance(s, Store | Accumulate)}
        return frozenset(stored & set(self.params))


def walk(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement, outer before inner."""
    for stmt in body:
        yield stmt
        if isinstance(stmt, For):
            yield from walk(stmt.body)
        elif isinstance(stmt, If):
            yield from walk(stmt.then)
            yield from walk(stmt.orelse)


def nested(variables: Sequence[Var], *body: Stmt, kind: str = SERIAL) -> tuple[Stmt, ...]:
    """`body` inside loops, the first one outermost."""
    for var in reversed(variables):
        body = (For(var, body, kind),)
    return body


def sequences(body: tuple[Stmt, ...]) -> Iterator[tuple[Stmt, ...]]:
    """All statements that stand behind one another, outer before inner: the body itself, and those inside it."""
    yield body
    for stmt in body:
        if isinstance(stmt, For):
            yield from sequences(stmt.body)
        elif isinstance(stmt, If):
            yield from sequences(stmt.then)
            yield from sequences(stmt.orelse)


def operands(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of an expression."""
    match expr:
        case Call(args=args):
            return args
        case Load(index=index, guard=guard):
            return (index,) if guard is None else (index, guard)
        case Affine(terms=terms):
            return tuple(atom for atom, _ in terms)
        case Div(index=index) | Mod(index=index):
            return (index,)
    return ()


def parts(*exprs: Expr) -> Iterator[Expr]:
    """The expressions with all their parts, each once."""
    seen: set[Expr] = set()
    for whole in exprs:
        todo = [whole]
        while todo:
            expr = todo.pop()
            if expr not in seen:
                seen.add(expr)
                yield expr
                todo += operands(expr)


def evaluated(*stmts: Stmt) -> Iterator[Expr]:
    """Every expression that the statements themselves (not their bodies) evaluate, with all its parts, each once."""
    return parts(*(expr for stmt in stmts for expr in reversed(expressions(stmt))))


def expressions(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions that a statement itself evaluates (not those of its body)."""
    match stmt:
        case Let(value=value):
            return (value,)
        case Store(index=index, value=value, guard=guard):
            return (index, value) if guard is None else (index, value, guard)
        case Accumulate(index=index, value=value):
            return (index, value)
        case If(condition=condition):
            return (condition,)
    return ()


INPUT, OUTPUT, VARIABLE, CONSTANT, ARENA = "input", "output", "variable", "constant", "arena"


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory of a program. `kind` says where it lives: caller's arrays, the program's state, read-only data, or arena.

    An arena buffer of several `parts` is scratch of one launch: each worker has a part for itself, in which a task finds
    nothing. So many workers, at most, share the launch.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    kind: str
    data: np.ndarray | None = None  # contents of a constant; initial contents of a variable
    parts: int = 1

    @cached_property
    def size(self) -> int:
        """Elements of one part."""
        return prod(self.shape)

    @cached_property
    def pitch(self) -> int:
        """Bytes from one part to the next."""
        return aligned(self.size * self.dtype.size)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return (self.parts - 1) * self.pitch + self.size * self.dtype.size


@dataclass(frozen=True, eq=False)
class Launch:
    """Run all tasks of `kernel` over `args`, one buffer per param."""

    kernel: Kernel
    args: tuple[Buffer, ...]
    comment: str = ""  # the graph values it computes, for readers

    @property
    def written(self) -> frozenset[Buffer]:
        """The buffers the kernel stores to."""
        stored = self.kernel.written
        return frozenset(buffer for param, buffer in zip(self.kernel.params, self.args, strict=True) if param in stored)


@dataclass(frozen=True)
class KernelFunction:
    """An entry point: its caller's buffers, and launches in order."""

    name: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class KernelProgram:
    """Functions over shared variables. `offsets` places variables (from 0 of the state) and arena buffers (from 0 of the
    arena) in bytes, each a multiple of ALIGNMENT; it is empty until buffers are planned."""

    functions: tuple[KernelFunction, ...]
    variables: tuple[Buffer, ...]
    constants: tuple[Buffer, ...]
    offsets: dict[Buffer, int]
    state_size: int = 0
    arena_size: int = 0


ALIGNMENT = 64


def aligned(size: int) -> int:
    """`size` in bytes, rounded up to ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


__all__ = [
    "ALIGNMENT", "ARENA", "COMBINES", "CONSTANT", "INPUT", "OUTPUT", "SERIAL", "UNROLLED", "VARIABLE", "VECTOR",
    "Accumulate", "Affine", "Array", "Buffer", "Call", "Const", "Div", "Expr", "For", "If", "Index", "Kernel",
    "KernelFunction", "KernelProgram", "Launch", "Let", "Load", "Local", "Mod", "Stmt", "Store", "Temp", "Var",
    "aligned", "all_of", "as_index", "call", "cast", "const", "expressions", "load", "operands", "select", "sequences",
    "temp", "walk",
]  # fmt: skip
