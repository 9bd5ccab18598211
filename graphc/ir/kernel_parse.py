"""The parser of kernels: the reading half of kernel_text.py, which states the grammar.

In: a scanner at the word `kernel`. Out: a `Kernel` with fresh arrays and variables; indices come back through the index
algebra, so they are canonical whatever way they were written. A name means one thing in a kernel: declared again alike,
it is the same object. Nothing is checked but the grammar, and that names are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from ..dtype import bool_, dtype, int64
from ..errors import DTypeError
from .expr import WORDS
from .kernel import (
    COMBINES,
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    Array,
    Expr,
    For,
    If,
    Index,
    Kernel,
    Let,
    Local,
    Stmt,
    Store,
    Var,
    as_index,
    call,
    const,
    load,
    temp,
)
from .scan import Scanner

T = TypeVar("T")


class KernelParser:
    def __init__(self, scanner: Scanner) -> None:
        self.at = scanner
        self.things: dict[str, object] = {}  # every array, variable and temp of the kernel, and %INT

    def kernel(self) -> Kernel:
        """One kernel, from the word `kernel` to the end of its block."""
        at = self.at
        at.expect("kernel")
        name = at.name("the kernel's name")
        at.expect("(")
        params: list[Array] = []
        while not at.accept(")"):
            params.append(self._array())
            if not at.peek(")"):
                at.expect(",")
        at.expect("tasks")
        task = self._var()
        return Kernel(name, tuple(params), task, self._block(0))

    def _declare(self, name: str, new: T, same: Callable[[T], bool]) -> T:
        """The thing that `name` already stands for if it is the same again, else `new`."""
        old = self.things.get(name)
        if type(old) is type(new) and same(old):
            return old
        self.things[name] = new
        return new

    def _array(self) -> Array:
        name = self.at.name("an array's name")
        self.at.expect(":")
        kind = self.at.type()
        new = Array(name, kind.dtype, kind.size)
        return self._declare(name, new, lambda old: (old.dtype, old.size) == (new.dtype, new.size))

    def _var(self) -> Var:
        name = self.at.name("a loop variable")
        self.at.expect("<")
        extent = self.at.integer("an extent")
        return self._declare(name, Var(name, extent), lambda old: old.extent == extent)

    def _known(self, kind: type[T], what: str) -> T:
        found = self.things.get(self.at.token.text)
        if not isinstance(found, kind):
            self.at.fail(what)
        self.at.at += 1
        return found

    # statements

    def _block(self, indent: int) -> tuple[Stmt, ...]:
        self.at.expect(":")
        inner = self.at.line(indent)
        if inner is None:
            self.at.fail("an indented block (write `pass` for an empty one)")
        body = [*self._statement(inner)]
        while self.at.same_line(inner):
            body += self._statement(inner)
        return tuple(body)

    def _statement(self, indent: int) -> Iterator[Stmt]:
        at = self.at
        if at.accept("pass"):
            return
        if at.accept("for"):
            var = self._var()
            kind = VECTOR if at.accept("vector") else UNROLLED if at.accept("unrolled") else SERIAL
            width = at.integer("the width of the vector loop") if kind == VECTOR else 1
            yield For(var, self._block(indent), kind, width)
        elif at.accept("if"):
            yield self._if(indent)
        elif at.accept("local"):
            yield Local(self._array())
        elif at.accept("let"):
            name = at.name("the temporary's name")
            at.expect("=")
            value = self.expr()
            yield Let(self._declare(name, temp(name, value.dtype), lambda old: old.dtype is value.dtype), value)
        elif at.token.text.startswith("%"):
            name = at.name()
            at.expect("=")
            self.things[name] = self.expr()
        else:
            yield self._store()

    def _if(self, indent: int) -> If:
        condition = self.expr()
        then, orelse = self._block(indent), ()
        start = self.at.at
        if self.at.token.kind == "line" and len(self.at.token.text) == indent:
            self.at.at += 1
            if self.at.accept("else"):
                return If(condition, then, self._block(indent))
            self.at.at = start
        return If(condition, then, orelse)

    def _store(self) -> Store | Accumulate:
        at = self.at
        array = self._known(Array, "a statement (for, if, local, let, pass, or array[index] = ...)")
        at.expect("[")
        index = self._index()
        at.expect("]")
        if at.accept("="):
            value = self.expr()
            return Store(array, index, value, self.expr() if at.accept("if") else None)
        if at.token.text not in COMBINES:
            at.fail(f"'=' or one of {', '.join(COMBINES)} before '='")
        combine = at.name()
        at.expect("=")
        return Accumulate(array, index, combine, self.expr())

    # expressions

    def _index(self) -> Index:
        return self._as_index(self.at.at, self.expr())

    def _as_index(self, start: int, expr: Expr) -> Index:
        if expr.dtype is not int64:
            self.at.at = start
            self.at.fail(f"an int64 index, which a {expr.dtype} is not")
        return as_index(expr)

    def expr(self) -> Expr:
        """A whole expression: a sum of indices, or any one piece of data."""
        start = self.at.at
        left = self._product()
        while self.at.peek("+") or self.at.peek("-"):
            sign = 1 if self.at.accept("+") else -1
            self.at.at += sign < 0
            middle = self.at.at
            left = self._as_index(start, left) + self._as_index(middle, self._product()) * sign
        return left

    def _product(self) -> Expr:
        at, start = self.at, self.at.at
        left = self._piece()
        while at.token.text in ("*", "//", "%") and at.token.kind == "symbol":
            index = self._as_index(start, left)
            if at.accept("*"):
                known = index.low == index.high and at.token.kind != "number"  # 4*i as well as i*4
                left = self._as_index(at.at, self._piece()) * index.low if known else index * at.integer("a known factor")
                continue
            whole = at.accept("//") or not at.accept("%")
            divisor = at.integer("a known divisor")
            if divisor <= 0:
                at.at -= 1
                at.fail("a positive divisor")
            left = index // divisor if whole else index % divisor
        return left

    def _piece(self) -> Expr:
        at = self.at
        if at.accept("("):
            inner = self.expr()
            at.expect(")")
            return inner
        if at.token.kind == "number" or at.token.text in ("-", "inf", "nan"):
            return self._number()
        if at.token.text in ("true", "false"):
            return const(at.name() == "true", bool_)
        if self.at.tokens[at.at + 1].text == "(":
            return self._word()
        found = self.things.get(at.token.text)
        if isinstance(found, Array):
            return self._load()
        return self._known(Expr, "an expression (a known name, a number, or a word)")

    def _number(self) -> Expr:
        at, start = self.at, self.at.at
        if at.accept("-") and at.token.kind != "number" and at.token.text not in ("inf", "nan"):
            return -self._as_index(start + 1, self._product())
        at.at = start
        value = at.number()
        if at.accept(":"):
            kind = at.dtype()
            if kind.is_float or (isinstance(value, int) and kind.is_int):
                return const(value, kind)
            at.at -= 1
            at.fail(f"a dtype that holds {value}")
        if not isinstance(value, int):
            at.fail("':' and the dtype of the number")
        return as_index(value)

    def _load(self) -> Expr:
        array = self._known(Array, "an array")
        self.at.expect("[")
        index = self._index()
        guard = self.expr() if self.at.accept("if") else None
        self.at.expect("]")
        return load(array, index, guard)

    def _word(self) -> Expr:
        at, start = self.at, self.at.at
        word, _, kind = at.name("a word").partition(".")
        at.expect("(")
        args: list[Expr] = []
        while not at.accept(")"):
            args.append(self.expr())
            if not at.peek(")"):
                at.expect(",")
        if word == "index" and len(args) == 1:
            return self._as_index(start + 2, args[0])
        if WORDS.get(word) != len(args) or bool(kind) != (word in ("cast", "bitcast")):
            at.at = start
            at.fail(f"a word of {len(args)} arguments")
        try:
            return call(word, *args, dtype=dtype(kind) if kind else None)
        except DTypeError:
            at.at = start
            at.fail(f"{word}.DTYPE with an element type")
