"""exp, expm1, sinh, cosh, tanh and erf of float32 and float64.

exp(x) = 2**n * exp(r) with n = round(x / ln2) and |r| <= ln2 / 2; n is found by adding a large number, so that it stands
in the low bits of the sum, one shift away from the exponent field of 2**n. At most 2 units in the last place in float32,
4 in float64; denormal results lose bits once only, at the end.
"""

from __future__ import annotations

from graphc.ir.expr import Expr, call, const, select

from . import coefficients as table
from .formats import (
    F32,
    between,
    bits_of,
    float_of,
    fma,
    format_of,
    magnitude,
    number,
    polynomial,
    small_stays,
    with_sign,
)


def exp(x: Expr) -> Expr:
    return _exp(x, halvings=0)


def expm1(x: Expr) -> Expr:
    """2 * (2**(n - 1) * expm1(r) + 2**(n - 1) - 1/2): the halves keep 2**n finite up to the largest result."""
    form = format_of(x)
    bounded = between(-form.coarse, x, form.exp_limits[1])
    n, mark = nearest(bounded, form.bias - 1)
    half = power(mark)
    result = fma(half, _expm1_near_zero(rest(bounded, n)), half - 0.5)
    return small_stays(x, result + result)


def sinh(x: Expr) -> Expr:
    z = x * x
    near = fma(x * z, polynomial(z, table.SINH_32 if format_of(x) is F32 else table.SINH_64), x)
    half = _exp(magnitude(x), halvings=1)
    return select(magnitude(x) < 1, near, with_sign(half - 0.25 / half, x))


def cosh(x: Expr) -> Expr:
    half = _exp(magnitude(x), halvings=1)
    return half + 0.25 / half


def tanh(x: Expr) -> Expr:
    """d = t / (t + 2) with t = expm1(2 |x|); where t is small, d = t / 2 - d * t / 2 carries less of its error."""
    form = format_of(x)
    double = between(0, magnitude(x), form.coarse / 2) * 2
    n, mark = nearest(double, form.bias)
    scale = power(mark)
    t = fma(scale, _expm1_near_zero(rest(double, n)), scale - 1)
    ratio, half = t / (t + 2), t * 0.5
    return with_sign(select(t < 1, fma(-half, ratio, half), ratio), x)


def erf(x: Expr) -> Expr:
    """Below 1 an odd polynomial; above, 1 - exp(polynomial), which is fitted to log(erfc)."""
    form = format_of(x)
    single = form is F32
    near = fma(x, polynomial(x * x, table.ERF_32 if single else table.ERF_64), x)
    beyond = between(1, magnitude(x), 3.95 if single else 5.95) - 1
    exponent = polynomial(beyond, table.ERF_TAIL_32 if single else table.ERF_TAIL_64)
    n, mark = nearest(exponent, form.bias)
    complement = _exp_near_zero(rest(exponent, n)) * power(mark)
    return select(magnitude(x) < 1, near, with_sign(1 - complement, x))


def _exp(x: Expr, halvings: int) -> Expr:
    """exp(x) / 2**halvings, as a product with two powers of two: one alone may be out of range."""
    form = format_of(x)
    x = between(form.exp_limits[0], x, form.exp_limits[1] + halvings)
    n, mark = nearest(x, 2 * form.bias - halvings)
    first, second = power_pair(mark)
    return _exp_near_zero(rest(x, n)) * first * second


def nearest(x: Expr, offset: int) -> tuple[Expr, Expr]:
    """n = round(x / ln2), and a float whose low bits are n + offset."""
    large = number(format_of(x).round_offset + offset, x)
    mark = fma(x, number(1.4426950408889634, x), large)
    return mark - large, mark


def rest(x: Expr, n: Expr) -> Expr:
    """x - n * ln2; the first product and difference are exact."""
    high, low = format_of(x).ln2
    return fma(n, number(-low, x), fma(n, number(-high, x), x))


def _exp_near_zero(r: Expr) -> Expr:
    q = polynomial(r, table.EXP_32 if format_of(r) is F32 else table.EXP_64)
    return fma(fma(q, r, 1.0), r, 1.0)


def _expm1_near_zero(r: Expr) -> Expr:
    q = polynomial(r, table.EXPM1_32 if format_of(r) is F32 else table.EXPM1_64)
    return fma(q, r * r, r)


def power(mark: Expr) -> Expr:
    """The power of two whose exponent field is the low bits of `mark`."""
    return float_of(bits_of(mark) << format_of(mark).mantissa)


def power_pair(mark: Expr) -> tuple[Expr, Expr]:
    """Two powers of two whose exponent fields add up to the low bits of `mark`; what lies above is shifted out."""
    form, bits = format_of(mark), bits_of(mark)
    half = call("lshr", bits, const(1, form.bits))
    return float_of(half << form.mantissa), float_of((bits - half) << form.mantissa)
