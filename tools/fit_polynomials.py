"""Fits the polynomials of the elementary functions and writes them as codegen/words/coefficients.py.

In: the table FITS, one row per polynomial: the function it stands for, its interval, its weight and its degrees. Out: the
file of coefficients, lowest first, rounded to the type they are used in. Afterwards the weighted error is equal at all of
its extrema (Remez exchange, in 60 digits). Needs mpmath; users never run it.

    python tools/fit_polynomials.py > codegen/words/coefficients.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Real = Callable[[mp.mpf], mp.mpf]
TINY = mp.mpf(10) ** -9  # intervals that start at a removable singularity start here instead


@dataclass(frozen=True)
class Fit:
    """`f(x)` by a polynomial in x so that `weight(x) * error` is smallest; `degrees` for float32 and float64, if needed."""

    name: str
    meaning: str
    f: Real
    low: mp.mpf
    high: mp.mpf | tuple[mp.mpf, mp.mpf]
    weight: Real
    degrees: tuple[int | None, int | None]
    short_in_f64: bool = False  # float32 takes the short polynomial, but evaluates it in float64


def _sqrt_argument(f: Real) -> Real:
    return lambda z: f(mp.sqrt(z))


EDGE = mp.log(2) / 2 * mp.mpf("1.001")
QUARTER = (mp.pi / 4 * mp.mpf("1.0001")) ** 2

FITS = (
    Fit("EXP", "(exp(r) - 1 - r) / r**2 on |r| <= ln2 / 2",
        lambda r: (mp.expm1(r) - r) / r**2, -EDGE, EDGE, lambda r: r**2 / mp.exp(r), (4, 9)),
    Fit("EXPM1", "(exp(r) - 1 - r) / r**2 on |r| <= ln2 / 2, relative to expm1",
        lambda r: (mp.expm1(r) - r) / r**2, -EDGE, EDGE, lambda r: abs(r**2 / mp.expm1(r)), (5, 10)),
    Fit("LOG", "(log(1 + f) - f + f**2 / 2) / f**3 on sqrt(1/2) - 1 <= f <= sqrt(2) - 1",
        lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1,
        lambda f: f**3 / mp.log1p(f), (7, 18)),
    Fit("POWER_LOG", "(log(1 + f) - f + f**2 / 2) / f**3 on sqrt(1/2) - 1 <= f <= sqrt(2) - 1",
        lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1,
        lambda f: f**3 / mp.log1p(f), (10, None), short_in_f64=True),
    Fit("POWER_EXP", "(exp(r) - 1 - r) / r**2 on |r| <= ln2 / 2",
        lambda r: (mp.expm1(r) - r) / r**2, -EDGE, EDGE, lambda r: r**2 / mp.exp(r), (5, None), short_in_f64=True),
    Fit("ATANH", "(2 * atanh(s) / s - 2 - 2/3 * z) / z**2 with z = s**2 <= 0.02944",
        _sqrt_argument(lambda s: (2 * mp.atanh(s) / s - 2 - 2 * s**2 / 3) / s**4), TINY, mp.mpf("0.02944"),
        _sqrt_argument(lambda s: s**4), (None, 7)),
    Fit("SINH", "(sinh(x) / x - 1) / z with z = x**2 <= 1",
        _sqrt_argument(lambda x: (mp.sinh(x) / x - 1) / x**2), TINY, mp.mpf(1),
        _sqrt_argument(lambda x: x**3 / mp.sinh(x)), (3, 6)),
    Fit("ERF", "log(erfc(x)) / x + 1 on 0 <= x <= 3.95 (float32) or 5.95 (float64), relative to erf",
        lambda x: mp.log(mp.erfc(x)) / x + 1, TINY, (mp.mpf("3.95"), mp.mpf("5.95")), lambda x: x * mp.erfc(x) / mp.erf(x),
        (8, 26)),
    Fit("NDTR", "log2(2 * ndtr(-x)) / x on 0 <= x <= 6, relative to 1 / 2",
        lambda x: mp.log(mp.erfc(x / mp.sqrt(2)), 2) / x, TINY, mp.mpf(6),
        lambda x: x * mp.log(2) * mp.erfc(x / mp.sqrt(2)), (7, None)),
    Fit("EXP2", "(2**r - 1) / r on |r| <= 1/2",
        lambda r: (mp.mpf(2) ** r - 1) / r, mp.mpf(-0.5), mp.mpf(0.5), lambda r: abs(r) / mp.mpf(2) ** r, (5, None)),
    Fit("EXP_ROOTS", "(exp(r) - 1) / r on |r| <= ln2 / 32",
        lambda r: mp.expm1(r) / r, -EDGE / 16, EDGE / 16, lambda r: abs(r) / mp.exp(r), (2, None)),
    Fit("EXP2_ROOTS", "(2**r - 1) / r on |r| <= 1/32",
        lambda r: (mp.mpf(2) ** r - 1) / r, mp.mpf(-1) / 32, mp.mpf(1) / 32, lambda r: abs(r) / mp.mpf(2) ** r, (2, None)),
    Fit("SIN", "(sin(r) / r - 1) / z with z = r**2, |r| <= pi / 4",
        _sqrt_argument(lambda r: (mp.sin(r) / r - 1) / r**2), TINY, QUARTER,
        _sqrt_argument(lambda r: r**3 / mp.sin(r)), (2, 5), short_in_f64=True),
    Fit("COS", "(cos(r) - 1 + z / 2) / z**2 with z = r**2, |r| <= pi / 4",
        _sqrt_argument(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4), TINY, QUARTER,
        _sqrt_argument(lambda r: r**4 / mp.cos(r)), (2, 5), short_in_f64=True),
    Fit("ASIN", "(asin(x) / x - 1) / z with z = x**2 <= 1/4",
        _sqrt_argument(lambda x: (mp.asin(x) / x - 1) / x**2), TINY, mp.mpf("0.25"),
        _sqrt_argument(lambda x: x**3 / mp.asin(x)), (5, 12), short_in_f64=True),
    Fit("ATAN", "(atan(x) / x - 1) / z with z = x**2 <= 1",
        _sqrt_argument(lambda x: (mp.atan(x) / x - 1) / x**2), TINY, mp.mpf(1),
        _sqrt_argument(lambda x: x**3 / mp.atan(x)), (9, 20), short_in_f64=True),
)  # fmt: skip


def remez(fit: Fit, low: mp.mpf, high: mp.mpf, which: int) -> tuple[list[mp.mpf], mp.mpf]:
    """Coefficients (lowest first) and the weighted error of the best polynomial, by exchange of all extrema."""

    def heed(x: mp.mpf) -> mp.mpf:
        return max(fit.weight(x), TINY)

    middle, half = (low + high) / 2, (high - low) / 2
    f, degree = fit.f, fit.degrees[which]
    assert degree is not None
    count = degree + 2
    nodes = [_off_zero(middle - half * mp.cos(mp.pi * (2 * i + 1) / (2 * count))) for i in range(count)]
    grid = [_off_zero(middle - half * mp.cos(mp.pi * i / (24 * count))) for i in range(24 * count + 1)]
    exact = [f(x) for x in grid]
    weights = [heed(x) for x in grid]
    error = mp.mpf(0)
    for _ in range(12):
        rows = [[((x - middle) / half) ** k for k in range(degree + 1)] + [(-1) ** i / heed(x)] for i, x in enumerate(nodes)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([f(x) for x in nodes]))
        scaled = list(solution)[:-1]
        errors = [w * (mp.polyval(scaled[::-1], (x - middle) / half) - y)
                  for x, y, w in zip(grid, exact, weights, strict=True)]  # fmt: skip
        error = max(abs(e) for e in errors)
        if error < abs(solution[degree + 1]) * mp.mpf("1.02"):
            break
        nodes = _extrema(grid, errors, count)
    return _unscale(scaled, middle, half), error


def _off_zero(x: mp.mpf) -> mp.mpf:
    return x if abs(x) > TINY else TINY


def _extrema(grid: list[mp.mpf], errors: list[mp.mpf], count: int) -> list[mp.mpf]:
    """One extremum per run of equal sign; of too many runs, the outer smaller ones are dropped."""
    runs: list[tuple[mp.mpf, mp.mpf]] = []
    for x, e in zip(grid, errors, strict=True):
        if runs and (runs[-1][1] > 0) == (e > 0):
            runs[-1] = max(runs[-1], (x, e), key=lambda run: abs(run[1]))
        else:
            runs.append((x, e))
    while len(runs) > count:
        runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
    assert len(runs) == count, f"{len(runs)} extrema for {count} unknowns: give the fit more digits"
    return [x for x, _ in runs]


def _unscale(scaled: list[mp.mpf], middle: mp.mpf, half: mp.mpf) -> list[mp.mpf]:
    """Coefficients in (x - middle) / half as coefficients in x."""
    result = [mp.mpf(0)] * len(scaled)
    power = [mp.mpf(1)]
    for c in scaled:
        for k, p in enumerate(power):
            result[k] += c * p
        shifted = [mp.mpf(0), *power]
        power = [(s - middle * p) / half for s, p in zip(shifted, [*power, mp.mpf(0)], strict=True)]
    return result


def _row(values: list[mp.mpf], single: bool) -> str:
    rounded = [float(np.float32(float(v))) if single else float(v) for v in values]
    return "".join(f"    {v!r},\n" for v in rounded)


def _write(name: str, comment: str, values: list[mp.mpf], single: bool) -> None:
    print(f"\n{name} = (  # {comment}\n{_row(values, single)})")


def main() -> None:
    print('"""Coefficients of the elementary functions, lowest first. Written by tools/fit_polynomials.py; do not edit."""')
    for fit in FITS:
        for i, bits in enumerate((32, 64)):
            if fit.degrees[i] is None:
                continue
            high = fit.high[i] if isinstance(fit.high, tuple) else fit.high
            values, error = remez(fit, fit.low, high, i)
            note = f"{fit.meaning}; weighted error 2**{float(mp.log(error, 2)):.1f}"
            _write(f"{fit.name}_{bits}", note, values, bits == 32 and not fit.short_in_f64)
            print(fit.name, bits, note, file=sys.stderr)


if __name__ == "__main__":
    main()
