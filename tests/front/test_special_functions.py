"""Special functions against mpmath, over their whole ranges: errors in units of float64's rounding.

A bound is relative to the larger of the value and 1 where the function has zeros in the range (lgamma, digamma).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.interp.graph import run

mpmath = pytest.importorskip("mpmath")

ROUNDING = 2.0**-52
CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], np.ndarray, float]] = {
    "lgamma": (gc.lgamma, lambda x: mpmath.loggamma(x).real, np.geomspace(1e-3, 1e5, 300), 40),
    "lgamma left": (gc.lgamma, lambda x: mpmath.log(abs(mpmath.gamma(x))), np.linspace(-9.97, -0.03, 250), 60),
    "digamma": (gc.digamma, mpmath.digamma, np.geomspace(1e-3, 1e5, 300), 8),
    "digamma left": (gc.digamma, mpmath.digamma, np.linspace(-9.97, -0.03, 250), 20),
    "erfinv": (gc.erfinv, mpmath.erfinv, np.linspace(-0.999, 0.999, 300), 40),
    "erfc": (gc.erfc, mpmath.erfc, np.linspace(-3, 5, 301), 30),
    "i0": (gc.i0, lambda x: mpmath.besseli(0, x), np.linspace(-60, 60, 301), 10),
    "asinh": (gc.asinh, mpmath.asinh, np.concatenate([-np.geomspace(1e-9, 1e12, 99), np.geomspace(1e-9, 1e12, 99)]), 4),
    "acosh": (gc.acosh, mpmath.acosh, 1 + np.geomspace(1e-6, 1e12, 199), 4),
    "atanh": (gc.atanh, mpmath.atanh, np.linspace(-0.999, 0.999, 200), 4),
    "sinc": (gc.sinc, lambda x: mpmath.sincpi(x), np.linspace(-3, 3, 201), 4),
}


@pytest.mark.parametrize("name", CASES)
def test_accuracy(name: str) -> None:
    ours, theirs, points, bound = CASES[name]
    found = run(gc.function([], [ours(points)]).graph("f"), [], {})[0]
    with mpmath.workdps(40):
        exact = [theirs(mpmath.mpf(float(x))) for x in points]
        errors = [float(abs(mpmath.mpf(float(a)) - e)) for a, e in zip(found, exact, strict=True)]
    size = np.abs(np.array([float(e) for e in exact]))
    scale = np.maximum(size, 1) if name.startswith(("lgamma", "digamma", "sinc")) else size
    worst = (np.array(errors) / scale / ROUNDING).max()
    assert worst <= bound, f"{worst:.0f} roundings at {points[np.argmax(np.array(errors) / scale)]}"
