"""Rules of arithmetic, each under its equation: neutral elements, signs, powers, division, constants.

In and out: see graphc/ir/rewrite.py. Floats obey IEEE: x + 0.0 is not x where x is -0.0 (but x + -0.0 is), x * 0 and
x - x are NaN for some x, so these hold for integers only. Integers wrap, so they form a ring.
"""

from __future__ import annotations

from math import frexp, inf

import ml_dtypes

from graphc.dtype import DType
from graphc.ir.kernel import COMBINES
from graphc.ir.rewrite import Rule, number, op, rule, same_number, wild
from graphc.ir.values import Value, constant, full, like, make, splat

x, y, z = wild("x"), wild("y"), wild("z")
c, d = number("c"), number("d")


# ------------------------------------------------------------------------------------------------------------------ guards


def is_int(x: Value) -> bool:
    return x.dtype.is_int


def is_float(x: Value) -> bool:
    return x.dtype.is_float


_KEEP_SIGN = frozenset("add mul div min max reduce_sum reduce_max reduce_min broadcast reshape transpose slice".split())


def nonnegative(value: Value, depth: int = 4) -> bool:
    """Whether no element of a float value is below zero or -0.0 (NaN may occur). Says no where it does not see it."""
    if not value.dtype.is_float:  # integers wrap
        return False
    name, operands = value.op.name, value.operands
    number = splat(value)
    if number is not None:
        return number > 0 or same_number(number, 0.0)
    if name in ("abs", "exp", "sigmoid") or (name == "mul" and operands[0] is operands[1]):
        return True
    if name in _KEEP_SIGN:
        return depth > 0 and all(nonnegative(v, depth - 1) for v in operands)
    return False


def reciprocal(number: float, dtype: DType) -> float | None:
    """1 / number where dividing by `number` and multiplying by the result are the same: normal powers of two."""
    if number == 0 or number != number or abs(frexp(number)[0]) != 0.5:
        return None
    smallest = float(ml_dtypes.finfo(dtype.numpy).smallest_normal)  # type: ignore[no-untyped-call]
    inverse = 1 / number
    return inverse if min(abs(number), abs(inverse)) >= smallest else None


def constant_left(root: Value) -> bool:
    """Constants go to the right of anything else."""
    left, right = root.operands
    return _is_constant(left) and not _is_constant(right)


def _is_constant(value: Value) -> bool:
    return value.op.name == "constant" or splat(value) is not None


# ------------------------------------------------------------------------------------------------------------------- rules

MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}

ORDER: list[Rule] = [
    rule(
        "op(c, x) -> op(x, c), op commutative",
        op("add mul min max and or xor eq ne", ...),
        lambda root: make(root.op.name, *reversed(root.operands)),
        when=constant_left,
    ),
    rule(
        "c < x -> x > c",
        op(MIRRORED, ...),
        lambda root: make(MIRRORED[root.op.name], *reversed(root.operands)),
        when=constant_left,
    ),
]

NEUTRAL: list[Rule] = [
    rule("x + 0 -> x", x + 0, lambda x: x, when=is_int),
    rule("x + -0.0 -> x", x + -0.0, lambda x: x),
    rule("x - 0 -> x", x - 0, lambda x: x),
    rule("0 - x -> -x", 0 - x, lambda x: -x, when=is_int),
    rule("-0.0 - x -> -x", -0.0 - x, lambda x: -x),
    rule("x * 1 -> x", x * 1, lambda x: x),
    rule("x * -1 -> -x", x * -1, lambda x: -x),
    rule("x * 0 -> 0", x * 0, lambda x: like(x, 0), when=is_int, because="an int times 0 is 0"),
    rule("x / 1 -> x", x / 1, lambda x: x),
    rule("x / -1 -> -x", x / -1, lambda x: -x),
    rule("x // 1 -> x", op("floordiv", x, 1), lambda x: x, when=is_int),
    rule("x % 1 -> 0", op("mod", x, 1), lambda x: like(x, 0), when=is_int, because="every int is a multiple of 1"),
    rule("x - x -> 0", x - x, lambda x: like(x, 0), when=is_int, because="ints have no NaN and no infinity"),
    rule("x << 0 -> x", op("shl shr", x, 0), lambda x: x),
    rule("max(x, x) -> x", op("max min", x, x), lambda x: x),
    rule("max(x, lowest) -> x", op("max", x, c), lambda x: x, when=lambda x, c: c == COMBINES["max"](x.dtype)),
    rule("min(x, highest) -> x", op("min", x, c), lambda x: x, when=lambda x, c: c == COMBINES["min"](x.dtype)),
]

SIGNS: list[Rule] = [
    rule("-(-x) -> x", op("neg", -x), lambda x: x),
    rule("x + -y -> x - y", x + -y, lambda x, y: x - y),
    rule("x - -y -> x + y", x - -y, lambda x, y: x + y),
    rule("-(x - y) -> y - x", -(x - y), lambda x, y: y - x, when=is_int),  # for floats x - x would change its sign
    rule("-x * -y -> x * y", -x * -y, lambda x, y: x * y),
    rule("-x / -y -> x / y", -x / -y, lambda x, y: x / y),
    rule("-x * c -> x * -c", -x * c, lambda x, c: x * -c, when=is_float),
    rule("-x / c -> x / -c", -x / c, lambda x, c: x / -c, when=is_float),
    rule("-(x * c) -> x * -c", -(x * c), lambda x, c: x * -c, when=is_float),
    rule("-(x / c) -> x / -c", -(x / c), lambda x, c: x / -c, when=is_float),
    rule("|-x| -> |x|", op("abs", -x), lambda x: make("abs", x)),
    rule("|x| -> x", op("abs", x), lambda x: x, when=lambda x: nonnegative(x)),
    rule("|x| * |x| -> x * x", op("abs", x) * op("abs", x), lambda x: x * x),
]

POWERS: list[Rule] = [
    rule("x ** 1 -> x", x**1, lambda x: x),
    rule("x ** 0 -> 1", x**0, lambda x: like(x, 1), because="pow(x, 0) is 1 for every x, NaN included"),
    rule("x ** 2 -> x * x", x**2, lambda x: x * x),
    rule("x ** 3 -> x * x * x", x**3, lambda x: x * x * x),  # floats: two roundings, within the 2 ULP that pow promises
    rule("x ** -1 -> 1 / x", x**-1, lambda x: like(x, 1) / x, when=is_float),
    rule("x ** 0.5 -> sqrt(x), x >= 0", x**0.5, lambda x: make("sqrt", x), when=lambda x: nonnegative(x)),
    rule(  # pow(-0.0, 0.5) is +0.0, pow(-inf, 0.5) is +inf
        "x ** 0.5 -> x == -inf ? inf : |sqrt(x)|",
        x**0.5,
        lambda x: make("select", make("eq", x, like(x, -inf)), like(x, inf), make("abs", make("sqrt", x))),
    ),
    rule("x ** -0.5 -> rsqrt(x), x >= 0", x**-0.5, lambda x: make("rsqrt", x), when=lambda x: nonnegative(x)),
]

CONSTANTS: list[Rule] = [
    rule(
        "x / c -> x * (1 / c), c a power of two",
        x / c,
        lambda x, c: x * float(reciprocal(c, x.dtype) or 0),
        when=lambda x, c: reciprocal(c, x.dtype) is not None,
    ),
    rule("(x + c) + d -> x + (c + d)", (x + c) + d, lambda x, c, d: _wrapped(x, "add", c, d), when=is_int),
    rule("(x * c) * d -> x * (c * d)", (x * c) * d, lambda x, c, d: _wrapped(x, "mul", c, d), when=is_int),
    rule("x - c -> x + -c", x - c, lambda x, c: x + full(x.type, 0 - c), when=lambda x, c: is_int(x) and c > 0),
]


def _wrapped(x: Value, name: str, c: int, d: int) -> Value:
    """x op (c op d), in the arithmetic of x's type."""
    number = make(name, full(x.type.with_shape(()), c), full(x.type.with_shape(()), d))
    folded = constant(number.op.reference(*(v.attrs["literal"].array for v in number.operands)), x.dtype)
    return make(name, x, full(x.type, folded.attrs["literal"].array.item()))


ARITHMETIC = [*ORDER, *NEUTRAL, *SIGNS, *POWERS, *CONSTANTS]
