"""sin, cos, tan and their inverses, for float32 and float64.

float32 is computed in float64 with shorter polynomials and rounded once. sin, cos and tan subtract n * pi / 2 in three
parts (two for float32), which is accurate for |x| < 2**51; larger arguments, whose neighbours are whole turns apart in
float64, are taken as 0. inf gives NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.dtype import float32, float64
from graphc.ir.expr import Expr, call, cast, const, select

from . import coefficients as table
from .formats import F64, bits_of, float_of, fma, infinity, magnitude, negative, polynomial, small_stays, two_product, with_sign

_HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
_LARGEST_ANGLE = 2.0**51


@dataclass(frozen=True)
class _Tables:
    """Coefficients that are enough for the result's dtype, and whether the remainder of an angle needs two floats."""

    sin: tuple[float, ...]
    cos: tuple[float, ...]
    asin: tuple[float, ...]
    atan: tuple[float, ...]
    two_floats: bool


_SHORT = _Tables(table.SIN_32, table.COS_32, table.ASIN_32, table.ATAN_32, two_floats=False)
_LONG = _Tables(table.SIN_64, table.COS_64, table.ASIN_64, table.ATAN_64, two_floats=True)


def _tables(x: Expr) -> _Tables:
    return _SHORT if x.dtype is float32 else _LONG


def _wide(x: Expr) -> Expr:
    return cast(x, float64)


# ----------------------------------------------------------------------------------------------------------------- angles


def sin(x: Expr) -> Expr:
    quadrant, sine, cosine = _turn(_wide(x), _tables(x))
    return small_stays(x, cast(_flipped(select(_odd(quadrant), cosine, sine), quadrant), x.dtype))


def cos(x: Expr) -> Expr:
    quadrant, sine, cosine = _turn(_wide(x), _tables(x))
    return cast(_flipped(select(_odd(quadrant), sine, cosine), quadrant + 1), x.dtype)


def tan(x: Expr) -> Expr:
    quadrant, sine, cosine = _turn(_wide(x), _tables(x))
    odd = _odd(quadrant)
    return small_stays(x, cast(select(odd, -cosine, sine) / select(odd, sine, cosine), x.dtype))


def _odd(quadrant: Expr) -> Expr:
    return (quadrant & 1).differs(0)


def _flipped(value: Expr, quadrant: Expr) -> Expr:
    """-value in the quadrants 2 and 3: their bit 1 is moved onto the sign bit."""
    return float_of(bits_of(value) ^ ((quadrant & 2) << 62))


def _turn(x: Expr, tables: _Tables) -> tuple[Expr, Expr, Expr]:
    """(n, sin r, cos r) with x = n * pi / 2 + r and |r| <= pi / 4; only the two low bits of n count."""
    x = select(magnitude(x) < _LARGEST_ANGLE, x, x - x)
    offset = F64.round_offset
    mark = fma(x, 0.6366197723675814, offset)
    n = mark - offset
    r, error = _angle_rest(x, n)
    z = r * r
    half = z * 0.5
    cubic = (r * z) * polynomial(z, tables.sin)
    quartic = (z * z) * polynomial(z, tables.cos)
    if tables.two_floats:
        cubic = fma(error, 1 - half, cubic)
        quartic = fma(-r, error, quartic)
    top = 1 - half
    return bits_of(mark), r + cubic, top + (((1 - top) - half) + quartic)


def _angle_rest(x: Expr, n: Expr) -> tuple[Expr, Expr]:
    """x - n * pi / 2 as a sum of two floats. The first step is exact: a multiple of 2**-52 below 2."""
    first = fma(n, -_HALF_PI[0], x)
    second, second_error = two_product(n, const(_HALF_PI[1], float64))
    r = first - second
    taken = first - r
    error = (first - (r + taken)) + (taken - second)
    return r, fma(n, -_HALF_PI[2], error - second_error)


# --------------------------------------------------------------------------------------------------------------- inverses


def asin(x: Expr) -> Expr:
    wide = _wide(x)
    far, part = _asin_parts(wide, _tables(x))
    return cast(with_sign(select(far, _from(_HALF_PI, part + part), part), wide), x.dtype)


def acos(x: Expr) -> Expr:
    wide = _wide(x)
    far, part = _asin_parts(wide, _tables(x))
    double = part + part
    near_one = select(wide > 0, double, _from(_PI, double))
    return cast(select(far, near_one, _from(_HALF_PI, with_sign(part, wide))), x.dtype)


def _asin_parts(x: Expr, tables: _Tables) -> tuple[Expr, Expr]:
    """(whether |x| > 1/2, asin s) with s = |x|, or sqrt((1 - |x|) / 2) for the larger ones; asin |x| = pi / 2 - 2 asin s."""
    size = magnitude(x)
    far = size > 0.5
    z = select(far, (1 - size) * 0.5, size * size)
    s = select(far, call("sqrt", z), size)
    return far, fma(s * z, polynomial(z, tables.asin), s)


_PI = (3.141592653589793, 1.2246467991473532e-16)


def _from(angle: tuple[float, ...], x: Expr) -> Expr:
    """angle - x."""
    return angle[0] - (x - angle[1])


def atan(x: Expr) -> Expr:
    wide = _wide(x)
    size = magnitude(wide)
    steep = size > 1
    part = _atan_below_one(select(steep, 1 / size, size), _tables(x))
    return cast(with_sign(select(steep, _from(_HALF_PI, part), part), wide), x.dtype)


def atan2(y: Expr, x: Expr) -> Expr:
    """The angle of the point (x, y), in [-pi, pi], with the sign of y; zeros count by their signs, inf / inf as 1."""
    tables, dtype = _tables(y), y.dtype
    y, x = _wide(y), _wide(x)
    height, width = magnitude(y), magnitude(x)
    steep = height > width
    small, large = select(steep, width, height), select(steep, height, width)
    ratio = select(small.equals(infinity(x)), const(1, float64), small / large)
    part = _atan_below_one(select(large.equals(0), const(0, float64), ratio), tables)
    part = select(steep, _from(_HALF_PI, part), part)
    part = select(negative(x), _from(_PI, part), part)
    unknown = call("isnan", x) | call("isnan", y)
    return cast(select(unknown, x + y, with_sign(part, y)), dtype)


def _atan_below_one(x: Expr, tables: _Tables) -> Expr:
    z = x * x
    return fma(x * z, polynomial(z, tables.atan), x)
