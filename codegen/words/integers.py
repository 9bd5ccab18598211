"""Integer division that rounds down, its remainder, powers and signs.

In: two integer expressions of one dtype. Out: numpy's floor_divide, remainder, power and sign; x // 0 = x % 0 = 0, and a
negative exponent gives 0, but 1 and -1 keep their powers. Everything wraps.
"""

from __future__ import annotations

from graphc.ir.expr import Const, Expr, call, const, select


def floordiv(a: Expr, b: Expr) -> Expr:
    shift = _power_of_two(b)
    if shift is not None:
        return call("shr", a, const(shift, a.dtype))
    quotient = call("quot", a, b)
    return quotient if b.dtype.kind == "u" else select(_rounds_up(a, b), quotient - 1, quotient)


def mod(a: Expr, b: Expr) -> Expr:
    shift = _power_of_two(b)
    if shift is not None:
        return a & ((1 << shift) - 1)
    rest = call("rem", a, b)
    return rest if b.dtype.kind == "u" else select(_rounds_up(a, b), rest + b, rest)


def _rounds_up(a: Expr, b: Expr) -> Expr:
    """Whether truncation of a / b went up: there is a remainder, and its sign is not b's."""
    rest = call("rem", a, b)
    return rest.differs(0) & ((rest ^ b) < 0)


def _power_of_two(b: Expr) -> int | None:
    if isinstance(b, Const) and b.value > 0 and int(b.value).bit_count() == 1:
        return int(b.value).bit_length() - 1
    return None


def power(base: Expr, exponent: Expr) -> Expr:
    """By squaring, one step per bit of the exponent; products wrap."""
    if isinstance(exponent, Const) and exponent.value >= 0:
        return _known_power(base, int(exponent.value))
    dtype = base.dtype
    result: Expr = const(1, dtype)
    square = base
    value_bits = dtype.bits if dtype.kind == "u" else dtype.bits - 1
    for i in range(value_bits):
        result = select((exponent & (1 << i)).differs(0), _times(result, square), result)
        square = _times(square, square)
    return result if dtype.kind == "u" else select(exponent < 0, _inverse_power(base, exponent), result)


def _known_power(base: Expr, exponent: int) -> Expr:
    """base**exponent for an exponent >= 0, by squaring."""
    result: Expr | None = None
    while exponent:
        if exponent & 1:
            result = base if result is None else _times(result, base)
        exponent >>= 1
        base = _times(base, base)
    return const(1, base.dtype) if result is None else result


def _times(a: Expr, b: Expr) -> Expr:
    return call("mul", a, b)  # the operator of an index takes numbers only


def _inverse_power(base: Expr, exponent: Expr) -> Expr:
    alternating = 1 - ((exponent & 1) << 1)
    return select(base.equals(1), 1, select(base.equals(-1), alternating, const(0, base.dtype)))


def sign(x: Expr) -> Expr:
    below: Expr = const(0, x.dtype) if x.dtype.kind == "u" else select(x < 0, -1, const(0, x.dtype))
    return select(x > 0, 1, below)
