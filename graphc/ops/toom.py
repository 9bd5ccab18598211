"""The matrices of Winograd's algorithm for 3 taps: those of Cook and Toom for the points of `POINTS` and infinity.

In: m, the results on a side of a tile. Out: `transforms(m)`, in fractions: m results of 3 taps g over n = m + 2 data d
are A^T ((G g) * (B^T d)), of n products. Why these points: Barabasz et al., https://arxiv.org/abs/1803.10986.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod

TAPS = 3
POINTS: dict[int, tuple[Fraction, ...]] = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    3: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2)),
    4: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)),
}

Row = tuple[Fraction, ...]
Matrix = tuple[Row, ...]


@dataclass(frozen=True)
class Transforms:
    """The matrices for tiles of m results on a side: `data` is B^T (n, n), `kernel` G (n, 3), `result` A^T (m, n), and
    `cotangent` A."""

    data: Matrix
    kernel: Matrix
    result: Matrix

    @property
    def cotangent(self) -> Matrix:
        return tuple(zip(*self.result, strict=True))


@cache
def transforms(m: int) -> Transforms:
    """For the polynomial with a root at each point, its quotients by one root; values of the kernel; values of the result."""
    points = POINTS[m]
    quotients = [_polynomial(p for p in points if p != point) for point in points]
    scales = [prod(point - p for p in points if p != point) for point in points]
    data = (*((*quotient, Fraction(0)) for quotient in quotients), _polynomial(points))
    kernel = [tuple(point**k / scale for k in range(TAPS)) for point, scale in zip(points, scales, strict=True)]
    result = [(*(point**k for point in points), Fraction(k == m - 1)) for k in range(m)]
    return Transforms(data, (*kernel, (Fraction(0),) * (TAPS - 1) + (Fraction(1),)), tuple(result))


def _polynomial(roots: Iterable[Fraction]) -> Row:
    """The coefficients of the product of all (x - root), lowest first."""
    found = [Fraction(1)]
    for root in roots:
        found = [below - root * here for below, here in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return tuple(found)


def side(tile: int) -> int:
    """Rows, and columns, of the patch and of the points of a tile."""
    return tile + TAPS - 1
