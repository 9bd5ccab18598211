"""The two float formats that elementary functions are written for, and the idioms they are written in.

In: expressions of float32 or float64. Out: expressions in basic words only, without branches. The idioms rely on IEEE
arithmetic in round-to-nearest and on nothing else; NaN passes through all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.dtype import DType, float32, float64, int32, int64
from graphc.ir.expr import Expr, call, const, lift, select


@dataclass(frozen=True)
class Format:
    """A binary float format: its dtype, the integer of its width, stored mantissa bits, exponent bias, and constants
    split in two: `high` carries the leading bits, `low` the rest."""

    dtype: DType
    bits: DType
    mantissa: int
    bias: int
    ln2: tuple[float, float]
    exp_limits: tuple[float, float]  # below, exp is 0; above, it is infinite
    coarse: float  # exp(-coarse) vanishes beside 1, and tanh(coarse / 2) is 1

    @property
    def round_offset(self) -> float:
        """Added to a small number, it leaves the nearest integer in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def tiny(self) -> float:
        """f(x) = x below it, for an f with f(0) = 0 and f'(0) = 1."""
        return 2.0 ** -(self.mantissa + 2)

    @property
    def sign_bit(self) -> int:
        return -(1 << (self.bits.bits - 1))


F32 = Format(float32, int32, 23, 127, (0.6931471824645996, -1.9046542121259336e-09), (-104.0, 89.0), 18.0)
F64 = Format(float64, int64, 52, 1023, (0.6931471805599453, 2.3190468138462996e-17), (-746.0, 710.0), 40.0)
_FORMATS = {float32: F32, float64: F64}


def format_of(x: Expr) -> Format:
    return _FORMATS[x.dtype]


def number(value: float, like: Expr) -> Expr:
    """`value`, rounded to the dtype of `like`."""
    return const(float(np.float32(value)) if like.dtype is float32 else value, like.dtype)


def fma(a: Expr, b: Expr | float, c: Expr | float) -> Expr:
    return call("fma", a, lift(b, a.dtype), lift(c, a.dtype))


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """The polynomial with `coefficients` (lowest first): Horner's rule, on even and odd powers apart when it is long, so
    that two chains run side by side."""
    if len(coefficients) > 9:
        square = x * x
        return fma(x, _horner(square, coefficients[1::2]), _horner(square, coefficients[0::2]))
    return _horner(x, coefficients)


def _horner(x: Expr, coefficients: Sequence[float]) -> Expr:
    result = number(coefficients[-1], x)
    for c in reversed(coefficients[:-1]):
        result = fma(result, x, number(c, x))
    return result


def bits_of(x: Expr) -> Expr:
    """The bits of a float, as the integer of its width."""
    return call("bitcast", x, dtype=format_of(x).bits)


def float_of(bits: Expr) -> Expr:
    return call("bitcast", bits, dtype=float32 if bits.dtype is int32 else float64)


def magnitude(x: Expr) -> Expr:
    return call("abs", x)


def with_sign(size: Expr, x: Expr) -> Expr:
    """|size| with the sign of x, as bits: zeros and NaN have signs too."""
    sign = format_of(x).sign_bit
    return float_of((bits_of(size) & ~sign) | (bits_of(x) & sign))


def negative(x: Expr) -> Expr:
    """Whether the sign bit is set (-0 is negative)."""
    return bits_of(x) < 0


def between(low: float, x: Expr, high: float) -> Expr:
    """x, moved into [low, high]; NaN stays."""
    return call("max", call("min", x, number(high, x)), number(low, x))


def nan(like: Expr) -> Expr:
    return const(float("nan"), like.dtype)


def infinity(like: Expr) -> Expr:
    return const(float("inf"), like.dtype)


def small_stays(x: Expr, value: Expr) -> Expr:
    """`value`, but x itself where |x| is tiny: keeps -0 and denormals exact."""
    return select(magnitude(x) < format_of(x).tiny, x, value)


def two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a + b as (rounded, error), for |a| >= |b| or a = 0."""
    total = a + b
    return total, (a - total) + b


def two_product(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a * b as (rounded, error)."""
    product = a * b
    return product, fma(a, b, -product)
