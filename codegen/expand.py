"""Says the words that a target lacks in words it has.

In: a kernel, and `says(word, dtype)`: whether the target says `word` on operands of `dtype` (of the last argument). Out:
the kernel with every expression in the target's words; the same object when nothing changes. Expansions are branch-free
and basic: arithmetic, fma, comparisons, select, bits. Casts, bitcasts and selects are taken as said by every target.
Statements and loops are not touched, and no value is computed that the kernel did not ask for.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.dtype import DType, float32, float64
from graphc.ir.expr import Affine, Call, Const, Div, Expr, Index, Load, Mod, Temp, Var, as_index, call, combine, load
from graphc.ir.kernel import Accumulate, For, If, Kernel, Let, Local, Stmt, Store

from .words import divisions, exponentials, integers, logarithms, powers, small_floats, trigonometry

Says = Callable[[str, DType], bool]
Rule = Callable[..., Expr]

_SPOKEN_BY_ALL = ("cast", "bitcast", "select")

FLOAT_RULES: dict[str, Rule] = {
    "exp": exponentials.exp, "expm1": exponentials.expm1, "sinh": exponentials.sinh, "cosh": exponentials.cosh,
    "tanh": exponentials.tanh, "erf": exponentials.erf, "log": logarithms.log, "log1p": logarithms.log1p,
    "sin": trigonometry.sin, "cos": trigonometry.cos, "tan": trigonometry.tan, "asin": trigonometry.asin,
    "acos": trigonometry.acos, "atan": trigonometry.atan, "atan2": trigonometry.atan2, "pow": powers.pow,
    "rsqrt": divisions.rsqrt, "sign": divisions.sign, "mod": divisions.mod,
    "floordiv": divisions.floordiv,
}  # fmt: skip

INTEGER_RULES: dict[str, Rule] = {
    "floordiv": integers.floordiv, "mod": integers.mod, "pow": integers.power, "sign": integers.sign,
}  # fmt: skip


def expand_kernel(kernel: Kernel, says: Says) -> Kernel:
    """`kernel` in the words that `says` accepts."""
    body = _Expander(says).block(kernel.body)
    return kernel if body is kernel.body else Kernel(kernel.name, kernel.params, kernel.task, body)


def expand_expr(expr: Expr, says: Says) -> Expr:
    """One expression in the words that `says` accepts."""
    return _Expander(says).expr(expr)


def rule_for(word: str, dtype: DType) -> Rule | None:
    """How `word` on operands of `dtype` is said in other words; None where it is basic."""
    if dtype in (float32, float64):
        return FLOAT_RULES.get(word)
    return INTEGER_RULES.get(word) if dtype.is_int else None


class _Expander:
    def __init__(self, says: Says) -> None:
        self.says = says
        self.done: dict[Expr, Expr] = {}

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
        """`expr` in said words. Each distinct expression is rewritten once; a rewritten one stands for itself."""
        found = self.done.get(expr)
        if found is None:
            found = self._rewrite(expr)
            self.done[expr] = self.done[found] = found
        return found

    def index(self, index: Index) -> Index:
        new = self.expr(index)
        assert isinstance(new, Index), new
        return new

    def _rewrite(self, expr: Expr) -> Expr:
        match expr:
            case Const() | Temp() | Var():
                return expr
            case Load(array=array, index=index, guard=guard):
                return load(array, as_index(self.expr(index)), None if guard is None else self.expr(guard))
            case Affine(terms=terms, constant=constant):
                parts = [(as_index(self.expr(atom)), factor) for atom, factor in terms]
                return combine([*parts, (as_index(constant), 1)])
            case Div(index=index, divisor=divisor):
                return self.index(index) // divisor
            case Mod(index=index, divisor=divisor):
                return self.index(index) % divisor
            case Call():
                return self._call(expr)
        raise AssertionError(f"no such expression: {type(expr).__name__}")

    def _call(self, expr: Call) -> Expr:
        args = tuple(self.expr(arg) for arg in expr.args)
        word, dtype = expr.word, args[-1].dtype
        said = call(word, *args, dtype=expr.dtype)
        if word in _SPOKEN_BY_ALL or self.says(word, dtype) or not isinstance(said, Call):
            return said
        if dtype.is_float and dtype.bits == 16:
            return self.expr(small_floats.through_float32(said))
        rule = rule_for(word, dtype)
        assert rule is not None, f"the target must say the basic word {word} of {dtype}"
        return self.expr(rule(*args))
