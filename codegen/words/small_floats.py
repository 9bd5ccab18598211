"""Every word of float16 and bfloat16: computed in float32 and rounded back.

float32 holds both exactly, and its rounding is fine enough that rounding once more gives the correctly rounded sums,
products, quotients and roots.
"""

from __future__ import annotations

from graphc.dtype import float32
from graphc.ir.expr import PREDICATES, Call, Const, Expr, call, cast, const


def through_float32(expr: Call) -> Expr:
    """word(x: f16) -> cast(word(cast(x, f32)), f16); predicates compare in float32."""
    small = expr.args[-1].dtype
    result = call(expr.word, *(_widened(arg) for arg in expr.args))
    return result if expr.word in PREDICATES else cast(result, small)


def _widened(x: Expr) -> Expr:
    return const(x.value, float32) if isinstance(x, Const) else cast(x, float32)
