"""Float division that rounds down, its remainder, sign and rsqrt.

In: expressions of float32 or float64. Out: numpy's floor_divide, remainder and sign, and 1 / sqrt(x). A remainder is exact
for every pair of float32; of float64 while the quotient stays below 2**282, beyond that it is reported as 0.
"""

from __future__ import annotations

from graphc.dtype import float32, float64
from graphc.ir.expr import Expr, call, cast, const, select

from .formats import bits_of, float_of, fma, infinity, magnitude, nan, with_sign


def sign(x: Expr) -> Expr:
    """NaN stays, both zeros give 0: x + 0 turns -0 into 0."""
    return select(x > 0, 1.0, select(x < 0, -1.0, x + 0.0))


def mod(a: Expr, b: Expr) -> Expr:
    """The remainder with the sign of b; a zero has the sign of b too. NaN for b = 0 and infinite a."""
    if a.dtype is float32:
        return cast(mod(cast(a, float64), cast(b, float64)), float32)
    size = magnitude(b)
    rest = _remainder(magnitude(a), size)
    rest = with_sign(select(size < infinity(b), rest, magnitude(a)), a)
    crossed = rest.differs(0) & ((rest < 0) ^ (b < 0))
    signed = select(rest.equals(0), with_sign(rest, b), select(crossed, rest + b, rest))
    return select((magnitude(a) < infinity(a)) & (size > 0), signed, nan(a))


_STEPS = 6
_KEPT = -(1 << 6)  # quotients keep 47 bits, so that their products with b leave exact remainders


def _remainder(rest: Expr, size: Expr) -> Expr:
    """rest mod size for sizes, by long division: each step finds 47 bits of the quotient."""
    for _ in range(_STEPS):
        quotient = call("min", call("floor", rest / size), const(2.0**1000, rest.dtype))
        rest = fma(-float_of(bits_of(quotient) & _KEPT), size, rest)
    rest = select(rest < 0, rest + size, rest)
    rest = select(rest >= size, rest - size, rest)
    return select(rest >= size, const(0, rest.dtype), rest)


def floordiv(a: Expr, b: Expr) -> Expr:
    """floor(a / b); a / b itself for b = 0, NaN for infinite a over another b. a / b may round up to an integer."""
    if a.dtype is float32:  # a float64 quotient of float32 numbers is never rounded up to an integer below 2**24
        return cast(_floor_of_quotient(cast(a, float64), cast(b, float64)), float32)
    quotient = _floor_of_quotient(a, b)
    rest = fma(-quotient, b, a)
    rounded_up = (((rest > 0) & (b < 0)) | ((rest < 0) & (b > 0))) & (magnitude(quotient) < 2.0**53)
    return select(rounded_up, quotient - 1, quotient)


def _floor_of_quotient(a: Expr, b: Expr) -> Expr:
    ratio = a / b
    vanished = ratio.equals(0) & a.differs(0) & ((a < 0) ^ (b < 0))
    floor = select(vanished, -1.0, call("floor", ratio))
    return select(magnitude(a).equals(infinity(a)) & b.differs(0), nan(a), floor)


def rsqrt(x: Expr) -> Expr:
    return 1.0 / call("sqrt", x)
