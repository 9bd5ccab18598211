"""base ** exponent for float32 and float64, with the special cases of C99 and numpy.

|base| ** exponent = exp(exponent * log |base|). float32 computes in float64. float64 carries the logarithm and its product
with the exponent as unevaluated sums of two floats (66 bits), since exp turns their absolute error into a relative one.
"""

from __future__ import annotations

from graphc.dtype import float32, float64
from graphc.ir.expr import Const, Expr, call, cast, const, select

from . import coefficients as table
from .exponentials import nearest, power, rest, scaled
from .formats import between, bits_of, float_of, fma, format_of, infinity, magnitude, nan, polynomial, two_product, two_sum
from .logarithms import split

_LN2_HIGH, _LN2_LOW = 0.6931471805598903, 5.497923018708371e-14  # 42 bits: its product with an exponent is exact
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def pow(base: Expr, exponent: Expr) -> Expr:
    known = _known_power(base, exponent)
    if known is not None:
        return known
    size = _pow_float32(base, exponent) if base.dtype is float32 else _pow_float64(base, exponent)
    return _special_cases(size, base, exponent)


def _known_power(base: Expr, exponent: Expr) -> Expr | None:
    """The few exponents that one rounding gives."""
    if not isinstance(exponent, Const):
        return None
    known: dict[float, Expr] = {0: const(1, base.dtype), 1: base, 2: base * base, -1: 1.0 / base}
    return known.get(exponent.value)


def _special_cases(size: Expr, base: Expr, exponent: Expr) -> Expr:
    """The sign of a negative base to an odd exponent, NaN to a fraction, and 1 for base 1 and exponent 0.

    `size` is right for |base| of 0 and inf, and is NaN where either argument is, or for 1 ** inf and 0 * inf."""
    half = exponent * 0.5
    whole = call("floor", exponent).equals(exponent)
    odd = whole & call("floor", half).differs(half)
    sign = format_of(base).sign_bit
    signed = float_of(bits_of(size) ^ select(odd, bits_of(base) & sign, 0))
    fraction = (base < 0) & (base > -infinity(base)) & ~whole
    result = select(fraction, nan(base), signed)
    one = exponent.equals(0) | base.equals(1) | (base.equals(-1) & magnitude(exponent).equals(infinity(base)))
    return select(one, 1.0, result)


def _guarded_log(size: Expr, log: Expr) -> Expr:
    """log(0) = -inf, log(inf) = inf, log(NaN) = NaN."""
    return select(size > 0, select(size < infinity(size), log, size), select(size.equals(0), -infinity(size), size))


def _pow_float32(base: Expr, exponent: Expr) -> Expr:
    size = cast(magnitude(base), float64)
    k, f = split(size)
    square = f * f
    log = fma(k, _LN2, f + fma(square, -0.5, (square * f) * polynomial(f, table.POWER_LOG_32)))
    x = between(-200.0, cast(exponent, float64) * _guarded_log(size, log), 200.0)
    n, mark = nearest(x, format_of(x).bias)
    r = rest(x, n)
    return cast(fma(fma(polynomial(r, table.POWER_EXP_32), r, 1.0), r, 1.0) * power(mark), float32)


_LN2 = 0.6931471805599453


def _pow_float64(base: Expr, exponent: Expr) -> Expr:
    size = magnitude(base)
    high, low = _log_in_two(size)
    high = _guarded_log(size, high)
    factor = between(-(2.0**70), exponent, 2.0**70)  # more is infinite or 0 already
    product, error = two_product(factor, high)
    error = fma(factor, low, error)
    form = format_of(base)
    x = call("min", product, const(form.exp_limits[1], base.dtype))
    n, _ = nearest(x, 0)
    r = rest(x, n) + select(magnitude(product) < 800, error, 0.0)
    return scaled(fma(fma(polynomial(r, table.EXP_64), r, 1.0), r, 1.0), n, product)


def _log_in_two(size: Expr) -> tuple[Expr, Expr]:
    """log as high + low: log(1 + f) = 2 atanh(s) with s = f / (2 + f), 2 atanh(s) = s * (2 + s**2 * (2/3 + s**2 * q))."""
    k, f = split(size)
    divisor = f + 2
    divisor_error = f - (divisor - 2)
    inverse = 1.0 / divisor
    s = f * inverse
    s_error = fma(-s, divisor_error, fma(-s, divisor, f)) * inverse
    z, z_error = two_product(s, s)
    z_error = fma(s + s, s_error, z_error)
    inner, inner_error = two_sum(const(_TWO_THIRDS[0], size.dtype), z * polynomial(z, table.ATANH_64))
    u, u_error = two_product(z, inner)
    u_error = u_error + fma(z, inner_error + _TWO_THIRDS[1], z_error * inner)
    factor, factor_error = two_sum(const(2, size.dtype), u)
    log, log_error = two_product(s, factor)
    log_error = log_error + fma(s, factor_error + u_error, s_error * factor)
    high, error = two_sum(k * _LN2_HIGH, log)
    return two_sum(high, error + fma(k, _LN2_LOW, log_error))
