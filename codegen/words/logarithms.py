"""log and log1p of float32 and float64.

x = 2**k * (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), read from the bits; log(1 + f) = f - f**2 / 2 + f**3 * q(f), without
a division. log(0) = -inf, log of less is NaN.
"""

from __future__ import annotations

from graphc.ir.expr import Expr, call, const, select

from . import coefficients as table
from .formats import (
    F32,
    Format,
    bits_of,
    float_of,
    fma,
    format_of,
    infinity,
    nan,
    number,
    polynomial,
    small_stays,
)


def log(x: Expr) -> Expr:
    k, f = split(x)
    return _outside(x, 0, _log_of_parts(k, f))


def log1p(x: Expr) -> Expr:
    """1 + x rounds, but only chooses k: f = 2**-k * x + (2**-k - 1) is rounded once, and is x itself where k = 0."""
    form = format_of(x)
    biased = _biased_exponent(bits_of(x + 1), form)
    scale = float_of((2 * form.bias + 2 - biased) << form.mantissa)  # 4 * 2**-k: a quarter of it may be denormal
    f = fma(x * 0.25, scale, fma(scale, 0.25, -1.0))
    result = _log_of_parts(_as_float(biased, form), f)
    return small_stays(x, _outside(x, -1, result))


def split(x: Expr) -> tuple[Expr, Expr]:
    """(k as a float, f), for finite x > 0; denormals are scaled up first."""
    form = format_of(x)
    denormal = x < 2.0 ** (1 - form.bias)
    shift = form.mantissa + 1
    scaled = select(denormal, x * 2.0**shift, x)
    bits = bits_of(scaled)
    k = _as_float(_biased_exponent(bits, form), form)
    return k - select(denormal, number(shift, x), 0), _fraction(bits, form)


def _log_of_parts(k: Expr, f: Expr) -> Expr:
    """k * ln2 + log(1 + f), the small parts first."""
    high, low = format_of(f).ln2
    square = f * f
    cubic = (square * f) * polynomial(f, table.LOG_32 if format_of(f) is F32 else table.LOG_64)
    tail = fma(square, -0.5, fma(k, number(low, f), cubic))
    return fma(k, number(high, f), f + tail)


def _outside(x: Expr, pole: float, result: Expr) -> Expr:
    """`result` where pole < x < inf; else x where it is NaN or inf, -inf at the pole, NaN below."""
    below = select(x.equals(pole), -float("inf"), nan(x))
    return select(x > pole, select(x < infinity(x), result, x), below)


def _above_root(bits: Expr, form: Format) -> Expr:
    """`bits`, moved so that the exponent field steps at sqrt(1/2) * 2**i instead of 2**i."""
    return bits + ((form.bias << form.mantissa) - _root_bits(form))


def _root_bits(form: Format) -> int:
    """The bits of sqrt(1/2)."""
    return {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}[form.bits.bits]


def _biased_exponent(bits: Expr, form: Format) -> Expr:
    return call("lshr", _above_root(bits, form), const(form.mantissa, form.bits))


def _fraction(bits: Expr, form: Format) -> Expr:
    mantissa = _above_root(bits, form) & (2**form.mantissa - 1)
    return float_of(mantissa + _root_bits(form)) - 1


def _as_float(biased: Expr, form: Format) -> Expr:
    """A biased exponent as the number it stands for: put under the bits of 2**mantissa, it is a float at once."""
    whole = (form.bias + form.mantissa) << form.mantissa
    return float_of(biased + whole) - (2.0**form.mantissa + form.bias)
