"""Says the words that a target lacks in words it has.

In: a kernel, and `says(word, dtype)`: whether the target says `word` on operands of `dtype` (of the last argument). Out:
the kernel with every expression in the target's words; the same object when nothing changes. Expansions are branch-free
and basic: arithmetic, fma, comparisons, select, bits. Casts, bitcasts and selects are taken as said by every target.
Statements and loops are not touched, and no value is computed that the kernel did not ask for.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.dtype import DType, float32, float64
from graphc.ir.expr import Call, Expr
from graphc.ir.kernel import Kernel
from graphc.ir.kernel_rewrite import Rewriter

from .words import divisions, exponentials, integers, logarithms, powers, small_floats, trigonometry

Says = Callable[[str, DType], bool]
Rule = Callable[..., Expr]

_SPOKEN_BY_ALL = ("cast", "bitcast", "select")

FLOAT_RULES: dict[str, Rule] = {
    "exp": exponentials.exp, "expm1": exponentials.expm1, "sinh": exponentials.sinh, "cosh": exponentials.cosh,
    "tanh": exponentials.tanh, "erf": exponentials.erf, "ndtr": exponentials.ndtr,
    "log": logarithms.log, "log1p": logarithms.log1p,
    "sin": trigonometry.sin, "cos": trigonometry.cos, "tan": trigonometry.tan, "asin": trigonometry.asin,
    "acos": trigonometry.acos, "atan": trigonometry.atan, "atan2": trigonometry.atan2, "pow": powers.pow,
    "scalb": exponentials.scalb, "rsqrt": divisions.rsqrt, "sign": divisions.sign, "mod": divisions.mod,
    "floordiv": divisions.floordiv,
}  # fmt: skip

# Of float32, where the target says root16, and scalb.
ROOT_RULES: dict[str, Rule] = {"exp": exponentials.exp_of_roots, "ndtr": exponentials.ndtr_of_roots}

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


class _Expander(Rewriter):
    def __init__(self, says: Says) -> None:
        super().__init__()
        self.says = says

    def expr(self, expr: Expr) -> Expr:
        """`expr` in said words; a rewritten one stands for itself."""
        found = super().expr(expr)
        self.done[found] = found
        return found

    def call(self, expr: Call, args: tuple[Expr, ...]) -> Expr:
        word, dtype = expr.word, args[-1].dtype
        said = super().call(expr, args)
        if word in _SPOKEN_BY_ALL or self.says(word, dtype) or not isinstance(said, Call):
            return said
        if dtype.is_float and dtype.bits == 16:
            return self.expr(small_floats.through_float32(said))
        looks_up = word in ROOT_RULES and dtype is float32 and self.says("root16", float32)
        rule = ROOT_RULES[word] if looks_up else rule_for(word, dtype)
        assert rule is not None, f"the target must say the basic word {word} of {dtype}"
        return self.expr(rule(*args))
