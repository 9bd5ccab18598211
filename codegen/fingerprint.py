"""Structural identity of kernels.

In: a kernel. Out: a digest that is equal exactly for kernels that do the same to their params: names of arrays, variables
and temporaries do not count, order of params does. Used to emit identical kernels once. Not a key across versions.
"""

from __future__ import annotations

import hashlib

from graphc.ir.expr import Affine, Array, Call, Const, Div, Expr, Load, Mod, Temp, Var
from graphc.ir.kernel import Accumulate, For, If, Kernel, Let, Local, Stmt, Store, operands


def fingerprint(kernel: Kernel) -> str:
    """The digest of a kernel's structure."""
    return _Writer().kernel(kernel)


class _Writer:
    """Numbers every array, variable and expression by first use, and hashes one line for each new thing."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._hash = hashlib.sha256()

    def kernel(self, kernel: Kernel) -> str:
        for param in kernel.params:
            self._array(param)
        self._line("task", self._expr(kernel.task))
        self._block(kernel.body)
        return self._hash.hexdigest()

    def _line(self, *words: object) -> None:
        self._hash.update((" ".join(map(str, words)) + "\n").encode())

    def _define(self, thing: object, *words: object) -> int:
        number = self._numbers[thing] = len(self._numbers)
        self._line(number, *words)
        return number

    def _array(self, array: Array) -> int:
        found = self._numbers.get(array)
        return self._define(array, "array", array.dtype, array.size) if found is None else found

    def _expr(self, expr: Expr | None) -> int:
        if expr is None:
            return -1
        todo = [expr]
        while todo:  # without recursion: fused expressions are thousands deep
            missing = [part for part in operands(todo[-1]) if part not in self._numbers]
            if missing:
                todo += reversed(missing)
            else:
                top = todo.pop()
                if top not in self._numbers:
                    self._define(top, *self._parts(top))
        return self._numbers[expr]

    def _parts(self, expr: Expr) -> tuple[object, ...]:
        """What an expression says, its operands (which have numbers already) by number."""
        match expr:
            case Const(text=text):
                return ("const", expr.dtype, text)
            case Var(extent=extent):
                return ("var", extent)
            case Temp():
                return ("temp", expr.dtype)
            case Load(array=array, index=index, guard=guard):
                return ("load", self._array(array), self._expr(index), self._expr(guard))
            case Call(word=word, args=args):
                return (word, expr.dtype, *(self._expr(a) for a in args))
            case Affine(terms=terms, constant=constant):
                return ("sum", constant, *(part for atom, factor in terms for part in (self._expr(atom), factor)))
            case Div(index=index, divisor=divisor):
                return ("div", self._expr(index), divisor)
            case Mod(index=index, divisor=divisor):
                return ("mod", self._expr(index), divisor)
        raise AssertionError(f"unknown expression {type(expr).__name__}")

    def _block(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            self._stmt(stmt)
        self._line("end")

    def _stmt(self, stmt: Stmt) -> None:
        match stmt:
            case For():
                self._line("for", self._expr(stmt.var), stmt.kind, stmt.width)
                self._block(stmt.body)
            case If():
                self._line("if", self._expr(stmt.condition))
                self._block(stmt.then)
                self._block(stmt.orelse)
            case Local():
                self._line("local", self._array(stmt.array))
            case Let():
                value = self._expr(stmt.value)
                self._line("let", self._expr(stmt.temp), value)
            case Store():
                self._line("store", self._array(stmt.array), *map(self._expr, (stmt.index, stmt.value, stmt.guard)))
            case Accumulate():
                self._line("fold", self._array(stmt.array), stmt.combine, self._expr(stmt.index), self._expr(stmt.value))
