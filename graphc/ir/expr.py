"""Scalar expressions of the Kernel IR, hash-consed: what kernels compute, and where.

In: constants, loop variables, loads, words. Out: `Expr` objects, one per distinct expression.

    expr  ::= const | index | temp | load(array, index, guard?) | word(expr*) : dtype
    index ::= var | sum(coefficient * atom) + constant | index // c | index % c        (int64, floor semantics, c > 0)
    atom  ::= var | index // c | index % c | any int64 expr (a data-dependent index)

Values are in scalar.py, indices and the loads at them in indices.py; all else imports both from here.
"""

from .indices import Affine, Div, Index, Mod, Var, as_index, combine, linear, load, ravel, unravel
from .scalar import (
    COMPARISONS,
    PREDICATES,
    WORDS,
    Array,
    Call,
    Const,
    Expr,
    Load,
    Temp,
    all_of,
    call,
    cast,
    const,
    lift,
    select,
    temp,
)

__all__ = [
    "COMPARISONS",
    "PREDICATES",
    "WORDS",
    "Affine",
    "Array",
    "Call",
    "Const",
    "Div",
    "Expr",
    "Index",
    "Load",
    "Mod",
    "Temp",
    "Var",
    "all_of",
    "as_index",
    "call",
    "cast",
    "combine",
    "const",
    "lift",
    "linear",
    "load",
    "ravel",
    "select",
    "temp",
    "unravel",
]
