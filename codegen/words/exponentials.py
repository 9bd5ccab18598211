"""exp, expm1, sinh, cosh, tanh, erf and ndtr of float32 and float64.

exp(x) = 2**n * exp(r) with n = round(x / ln2) and |r| <= ln2 / 2; n is found by adding a large number, so that it stands
in the low bits of the sum, one shift away from the exponent field of 2**n. Where the target looks powers of 2**(1/16) up, n
is a multiple of 1/16, and exp(r) a shorter polynomial. At most 2 units in the last place in float32, 4 in float64; denormal
results lose bits once only, at the end.
"""

from __future__ import annotations

import math

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
    double = call("min", magnitude(x), number(form.coarse / 2, x)) * 2
    n, mark = nearest(double, form.bias)
    scale = power(mark)
    t = fma(scale, _expm1_near_zero(rest(double, n)), scale - 1)
    ratio, half = t / (t + 2), t * 0.5
    return with_sign(select(t < 1, fma(-half, ratio, half), ratio), x)


def erf(x: Expr) -> Expr:
    """-expm1(log(erfc |x|)), whose logarithm is |x| times a polynomial; beyond its interval erf is 1."""
    form = format_of(x)
    single = form is F32
    size = call("min", magnitude(x), number(3.95 if single else 5.95, x))
    log = fma(size, polynomial(size, table.ERF_32 if single else table.ERF_64), -size)
    n, mark = nearest(log, form.bias)
    scale = power(mark)
    rest = fma(n, number(-math.log(2), x), log)  # one rounding more does not matter where n is not 0
    return with_sign(fma(-scale, _expm1_near_zero(rest), 1 - scale), x)


def ndtr(x: Expr) -> Expr:
    """2**log / 2 below 0 and 1 - 2**log / 2 above, with log = log2(2 * ndtr(-|x|)), which is |x| times a polynomial. Beyond its
    interval that falls on; at 9.957 it is -126, half of whose power has an exponent field of 0: the number 0."""
    form = format_of(x)
    if form is not F32:
        return fma(call("erf", x * math.sqrt(0.5)), 0.5, 0.5)
    mark, r = _log_of_tail(x, 9.957, form.round_offset + form.bias - 1)
    tail = power(mark) * fma(r, polynomial(r, table.EXP2_32), 1.0)
    return select(x < 0, tail, 1 - tail)


def exp_of_roots(x: Expr) -> Expr:
    """exp where the target says root16: n counts sixteenths, and |r| <= ln2 / 32 takes a short polynomial."""
    bounded = call("min", x, number(format_of(x).exp_limits[1], x))
    n, mark = nearest(bounded, 0, parts=16)
    r, root = rest(bounded, n), call("root16", mark)
    return scaled(fma(polynomial(r, table.EXP_ROOTS_32), r * root, root), n, x)


def ndtr_of_roots(x: Expr) -> Expr:
    """ndtr for the same targets. At 13 log is -797, which is 0 for scalb."""
    large = format_of(x).round_offset / 16
    mark, r = _log_of_tail(x, 13, large)
    root = call("root16", mark)
    tail = call("scalb", fma(polynomial(r, table.EXP2_ROOTS_32), r * root, root), mark - (large + 1))
    return select(x < 0, tail, 1 - tail)


def _log_of_tail(x: Expr, end: float, large: float) -> tuple[Expr, Expr]:
    """log2(2 * ndtr(-|x|)) up to |x| = `end`, in two: rounded by adding `large`, which stays in the sum, and the rest."""
    size = call("min", magnitude(x), number(end, x))
    slope = polynomial(size, table.NDTR_32)
    mark = fma(size, slope, number(large, x))
    return mark, fma(size, slope, number(large, x) - mark)


def _exp(x: Expr, halvings: int) -> Expr:
    """exp(x) / 2**halvings."""
    bounded = call("min", x, number(format_of(x).exp_limits[1] + halvings, x))
    n, _ = nearest(bounded, 0)
    return scaled(_exp_near_zero(rest(bounded, n)), n - halvings if halvings else n, x)


def scaled(size: Expr, n: Expr, x: Expr) -> Expr:
    """size * 2**n = exp(x), but 0 at once where nothing is left of it: processors are slow to find out themselves."""
    return select(x < format_of(x).exp_limits[0], 0.0, call("scalb", size, n))


def scalb(x: Expr, n: Expr) -> Expr:
    """x * 2**n for whole |n| <= 2 * bias, as a product with two powers of two: one alone may be out of range."""
    form = format_of(x)
    first, second = _power_pair(n + number(form.round_offset + 2 * form.bias, n))
    return x * first * second


def nearest(x: Expr, offset: int, parts: int = 1) -> tuple[Expr, Expr]:
    """n = x / ln2, rounded to whole `parts` of 1, and a float whose low bits count those of n + offset."""
    large = number(format_of(x).round_offset / parts + offset, x)
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


def _power_pair(mark: Expr) -> tuple[Expr, Expr]:
    """Two powers of two whose exponent fields add up to the low bits of `mark`; what lies above is shifted out."""
    form, bits = format_of(mark), bits_of(mark)
    half = call("lshr", bits, const(1, form.bits))
    return float_of(half << form.mantissa), float_of((bits - half) << form.mantissa)
