"""Rebuilds kernels with some of their expressions replaced.

In: statements and expressions. Out: the same with every expression rewritten, bottom up, each distinct one once; what does
not change is the identical object. A subclass says what becomes of calls and names (`call`, `name`); loops, loads and
index arithmetic are rebuilt through the constructors that simplify them.
"""

from __future__ import annotations

from collections.abc import Mapping

from .expr import Affine, Array, Call, Const, Div, Expr, Index, Load, Mod, Temp, Var, as_index, call, combine, load
from .kernel import Accumulate, For, If, Let, Local, Stmt, Store


class Rewriter:
    """The identity; override `call`, `name` or `load`."""

    def __init__(self) -> None:
        self.done: dict[Expr, Expr] = {}

    def call(self, expr: Call, args: tuple[Expr, ...]) -> Expr:
        """A word over rewritten arguments; bounds decide comparisons of indices."""
        if expr.word in ("lt", "le") and isinstance(args[0], Index):
            return args[0] < args[1] if expr.word == "lt" else args[0] <= args[1]
        return call(expr.word, *args, dtype=expr.dtype)

    def name(self, expr: Temp | Var) -> Expr:
        """A temporary or a loop variable."""
        return expr

    def load(self, array: Array, index: Index, guard: Expr | None) -> Expr:
        """A load at a rewritten index."""
        return load(array, index, guard)

    def block(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        new = tuple(self.stmt(stmt) for stmt in body)
        return body if all(a is b for a, b in zip(new, body, strict=True)) else new

    def stmt(self, stmt: Stmt) -> Stmt:
        match stmt:
            case For(var=var, body=body):
                new = self.block(body)
                return stmt if new is body else For(var, new, stmt.kind, stmt.width)
            case Let(temp=temp, value=value):
                return stmt if self.expr(value) is value else Let(temp, self.expr(value))
            case Store(array=array):
                guard = None if stmt.guard is None else self.expr(stmt.guard)
                store = Store(array, self.index(stmt.index), self.expr(stmt.value), guard)
                changed = (store.index, store.value, store.guard) != (stmt.index, stmt.value, stmt.guard)
                return store if changed else stmt
            case Accumulate(array=array, combine=word):
                fold = Accumulate(array, self.index(stmt.index), word, self.expr(stmt.value))
                return fold if (fold.index, fold.value) != (stmt.index, stmt.value) else stmt
            case If(condition=condition):
                then, orelse, new_condition = self.block(stmt.then), self.block(stmt.orelse), self.expr(condition)
                same = then is stmt.then and orelse is stmt.orelse and new_condition is condition
                return stmt if same else If(new_condition, then, orelse)
            case Local():
                return stmt

    def expr(self, expr: Expr) -> Expr:
        """`expr` rewritten."""
        found = self.done.get(expr)
        if found is None:
            found = self.done[expr] = self._rewrite(expr)
        return found

    def index(self, index: Index) -> Index:
        return as_index(self.expr(index))

    def _rewrite(self, expr: Expr) -> Expr:
        match expr:
            case Const():
                return expr
            case Temp() | Var():
                return self.name(expr)
            case Load(array=array, index=index, guard=guard):
                return self.load(array, as_index(self.expr(index)), None if guard is None else self.expr(guard))
            case Affine(terms=terms, constant=constant):
                parts = [(as_index(self.expr(atom)), factor) for atom, factor in terms]
                return combine([*parts, (as_index(constant), 1)])
            case Div(index=index, divisor=divisor):
                return self.index(index) // divisor
            case Mod(index=index, divisor=divisor):
                return self.index(index) % divisor
            case Call(args=args):
                return self.call(expr, tuple(self.expr(arg) for arg in args))
        raise AssertionError(f"no such expression: {type(expr).__name__}")


class Renamed(Rewriter):
    """Replaces variables and temporaries by other indices."""

    def __init__(self, names: Mapping[Var | Temp, Index]) -> None:
        super().__init__()
        self.names = names

    def name(self, expr: Temp | Var) -> Expr:
        return self.names.get(expr, expr)
