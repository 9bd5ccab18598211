"""Elementary functions as compiled, against numpy in a wider type: units in the last place, special values, signs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from maths_report import BINARY, RANGES, arguments, compiled, errors, points, reference, speak

from graphc.codegen.words.exponentials import exp, ndtr, scalb
from graphc.dtype import DType, bfloat16, float16, float32, float64
from graphc.ir.expr import Expr, call, const

BOUND = {float32: 2.0, float64: 4.0}
INF, NAN = math.inf, math.nan
UNARY = [word for word in RANGES if word not in BINARY]
SAMPLES = {float32: 40_000, float64: 20_000}

# Beyond these quotients a float64 remainder is not computed.
LIMITED = {("mod", float64, None)}

CASES = [(word, kind, low, high) for word in RANGES for kind in (float32, float64) for low, high in RANGES[word]
         if (word, kind, low) not in LIMITED]  # fmt: skip


@pytest.mark.parametrize(("word", "kind", "low", "high"), CASES)
def test_accuracy(word: str, kind: DType, low: float | None, high: float | None) -> None:
    count = 1000 if word == "erf" and kind is float64 else SAMPLES[kind]
    args = arguments(word, low, high, count, kind)
    found = errors(speak(word, *args), reference(word, *args))
    worst = int(found.argmax())
    assert found[worst] <= BOUND[kind], [float(a[worst]) for a in args]


@pytest.mark.parametrize("word", ["exp", "expm1", "log", "log1p", "tanh", "erf", "sinh", "sin", "tan", "asin", "atan", "rsqrt"])
@pytest.mark.parametrize("kind", [float32, float64], ids=str)
def test_denormals(word: str, kind: DType) -> None:
    """Arguments that are denormal, and just above."""
    step = float(np.finfo(kind.numpy).smallest_subnormal)
    whole = np.unique(np.geomspace(1, 2.0**26, 300).astype(np.int64)).astype(np.float64)
    top = np.finfo(kind.numpy).tiny * np.linspace(0.5, 2, 100)
    args = np.concatenate([whole * step, -whole * step, top, -top]).astype(kind.numpy)
    exact = args.astype(np.longdouble) if word == "erf" and kind is float64 else reference(word, args)
    if word == "erf" and kind is float64:
        exact = exact * np.longdouble(1.1283791670955126) + exact * np.longdouble(1.533545961316588e-17)
    assert errors(speak(word, args), exact).max() <= BOUND[kind]


@pytest.mark.parametrize(("low", "high"), RANGES["exp"])
def test_accuracy_of_exp_without_a_table(low: float | None, high: float | None) -> None:
    (x,) = arguments("exp", low, high, SAMPLES[float32], float32)
    assert errors(compiled(exp, (float32,))(x), reference("exp", x)).max() <= BOUND[float32]


@pytest.mark.parametrize("kind", [float32, float64], ids=str)
@pytest.mark.parametrize("said", [partial(call, "ndtr"), ndtr], ids=["the target's way", "without a table"])
def test_ndtr_is_exact_beside_one(kind: DType, said: Callable[..., Expr]) -> None:
    """What it falls to is 0, and it stays in [0, 1]."""
    x = np.concatenate([np.linspace(-9, 9, 40_001), -np.geomspace(9, 1e38, 5000)]).astype(kind.numpy)
    result, exact = compiled(said, (kind,))(x), np.array([math.erfc(-v * math.sqrt(0.5)) / 2 for v in x.tolist()])
    assert np.abs(result - exact).max() <= np.finfo(kind.numpy).eps
    assert result.min() == 0 and result.max() == 1 and (result[x < -14] == 0).all()


@pytest.mark.parametrize("said", [partial(call, "exp"), exp], ids=["the target's way", "without a table"])
def test_exp_underflows_gradually(said: Callable[..., Expr]) -> None:
    x = np.linspace(-200, -86, 100_000).astype(np.float32)
    result = compiled(said, (float32,))(x)
    assert errors(result, reference("exp", x)).max() <= 1
    assert (np.diff(result) >= 0).all()
    assert ((result > 0) & (result < np.finfo(np.float32).tiny)).sum() > 10_000


SPECIAL: dict[str, list[tuple[float, float]]] = {
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1e5, INF), (-1e5, 0)],
    "expm1": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -1), (-1e5, -1), (1e5, INF)],
    "log": [(1, 0), (0, -INF), (-0.0, -INF), (-1, NAN), (-INF, NAN), (INF, INF), (-1e-40, NAN)],
    "log1p": [(0, 0), (-0.0, -0.0), (-1, -INF), (-1.5, NAN), (-INF, NAN), (INF, INF)],
    "sinh": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e5, INF), (-1e5, -INF)],
    "cosh": [(0, 1), (-0.0, 1), (INF, INF), (-INF, INF), (-1e5, INF)],
    "tanh": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (30, 1), (-30, -1)],
    "erf": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (8, 1), (-8, -1)],
    "ndtr": [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (9, 1), (-40, 0), (3e38, 1), (-3e38, 0), (1e-40, 0.5)],
    "sin": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "tan": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "asin": [(0, 0), (-0.0, -0.0), (1.5, NAN), (INF, NAN), (-INF, NAN)],
    "acos": [(1, 0), (1.5, NAN), (-INF, NAN)],
    "atan": [(0, 0), (-0.0, -0.0)],
    "rsqrt": [(0, INF), (-0.0, -INF), (INF, 0), (-1, NAN), (4, 0.5)],
    "sign": [(0, 0), (-0.0, 0), (INF, 1), (-INF, -1), (1e-42, 1), (-1e-42, -1)],
}


def assert_same(result: np.ndarray, expected: np.ndarray) -> None:
    """Equal numbers, equal signs of zeros, NaN in the same places."""
    np.testing.assert_array_equal(result, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(result)[numbers], np.signbit(expected)[numbers])


@pytest.mark.parametrize("kind", [float32, float64], ids=str)
@pytest.mark.parametrize("word", SPECIAL)
def test_special_values(word: str, kind: DType) -> None:
    x, expected = np.array([*SPECIAL[word], (NAN, NAN)]).T.astype(kind.numpy)
    assert_same(speak(word, x), expected)


@pytest.mark.parametrize("kind", [float32, float64], ids=str)
def test_scalb_is_exact_down_to_denormals(kind: DType) -> None:
    reach = 2 * (127 if kind is float32 else 1023)
    x = points(-2, 2, 5000, kind)
    n = np.random.default_rng(1).integers(-reach, reach + 1, 5000).astype(kind.numpy)
    with np.errstate(all="ignore"):
        expected = np.ldexp(x, n.astype(np.int32))
    for said in (scalb, partial(call, "scalb")):  # in basic words, and as the processor says it
        assert_same(compiled(said, (kind, kind))(x, n), expected)


EDGES = [0.0, -0.0, 0.5, -0.5, 1, -1, 1.5, -1.5, 2, -2, 3, -3, 4, 1e30, -1e30, 2.0**24 + 2, 2.0**53, INF, -INF, NAN]


def edge_pairs(kind: DType) -> tuple[np.ndarray, np.ndarray]:
    edges = np.array(EDGES, kind.numpy)
    return np.repeat(edges, edges.size), np.tile(edges, edges.size)


@pytest.mark.parametrize("kind", [float32, float64], ids=str)
@pytest.mark.parametrize("word", ["pow", "atan2"])
def test_special_pairs(word: str, kind: DType) -> None:
    x, y = edge_pairs(kind)
    result, exact = speak(word, x, y), reference(word, x, y)
    assert errors(result, exact).max() <= BOUND[kind]
    with np.errstate(over="ignore"):
        rounded = exact.astype(kind.numpy)
    plain = (rounded == 0) | (rounded == 1) | np.isinf(rounded) | np.isnan(rounded)
    assert_same(result[plain], rounded[plain])


@pytest.mark.parametrize("kind", [float32, float64], ids=str)
@pytest.mark.parametrize("word", ["mod", "floordiv"])
def test_special_divisions(word: str, kind: DType) -> None:
    x, y = edge_pairs(kind)
    with np.errstate(all="ignore"):
        expected = np.remainder(x, y) if word == "mod" else np.floor_divide(x, y)
    assert_same(speak(word, x, y), expected)


def test_remainders_of_large_quotients_are_exact() -> None:
    random = np.random.default_rng(3)
    a = random.uniform(1, 2, 5000) * 2.0 ** random.integers(0, 180, 5000)
    b = random.uniform(1, 2, 5000)
    assert_same(speak("mod", a, b), np.remainder(a, b))


def test_remainders_of_any_two_float32() -> None:
    a, b = (points(None, None, 5000, float32, seed) for seed in (4, 5))
    b = b[::-1].copy()
    with np.errstate(all="ignore"):
        assert_same(speak("mod", a, b), np.remainder(a, b))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, -1.0, 0.5, 3.0])
def test_pow_of_a_constant_exponent(exponent: float) -> None:

    x = points(None, None, 5000, float32)
    result = compiled(lambda base: call("pow", base, const(exponent, float32)), (float32,))(x)
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), np.full(x.size, exponent))
    assert errors(result, exact).max() <= 2


def test_sine_of_huge_arguments_stays_in_bounds() -> None:
    for kind in (float32, float64):
        x = points(None, None, 20_000, kind)
        for word in ("sin", "cos"):
            result = speak(word, x)
            finite = np.isfinite(x)
            assert (np.abs(result[finite]) <= 1).all()
            assert np.isnan(result[~finite]).all()


def test_reduction_near_multiples_of_half_pi() -> None:
    """The nearest floats to n * pi / 2: nearly everything cancels."""
    n = np.concatenate([np.arange(1, 3000), np.random.default_rng(5).integers(1, 2**31, 3000)])
    x = (n.astype(np.longdouble) * (np.longdouble(np.pi) / 2 + np.longdouble(6.123233995736766e-17))).astype(np.float64)
    for word in ("sin", "cos", "tan"):
        assert errors(speak(word, x), reference(word, x)).max() <= 4
        assert errors(speak(word, x.astype(np.float32)), reference(word, x.astype(np.float32))).max() <= 2


# ---------------------------------------------------------------------------------------------------------- small floats


def every(kind: DType) -> np.ndarray:
    return np.arange(2**16, dtype=np.uint16).view(kind.numpy)


def rounded_through_float32(kind: DType, exact: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return exact.astype(np.float32).astype(kind.numpy)


def places_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many floats of 16 bits lie between a and b; 0 for two NaN."""
    ordered = [np.where(bits < 0, -32768 - bits, bits) for bits in (v.view(np.int16).astype(np.int64) for v in (a, b))]
    both_nan = np.isnan(a.astype(np.float32)) & np.isnan(b.astype(np.float32))
    return np.where(both_nan, 0, np.abs(ordered[0] - ordered[1]))


@pytest.mark.parametrize("kind", [float16, bfloat16], ids=str)
@pytest.mark.parametrize("word", [*UNARY, "sqrt", "floor", "ceil", "round", "trunc", "neg", "abs", "sign"])
def test_every_small_float(word: str, kind: DType) -> None:
    x = every(kind)
    names = {"round": "rint", "neg": "negative"}
    exact = reference(names.get(word, word), x.astype(np.float32))
    if word in ("sin", "cos", "tan"):
        reduced = np.abs(x.astype(np.float32)) < 2.0**51
        x, exact = x[reduced], exact[reduced]
    apart = places_apart(speak(word, x), rounded_through_float32(kind, exact))
    assert apart.max() <= 1
    assert (apart != 0).mean() < 0.001


@pytest.mark.parametrize("kind", [float16, bfloat16], ids=str)
@pytest.mark.parametrize("word", ["add", "sub", "mul", "div"])
def test_small_arithmetic_is_correctly_rounded(word: str, kind: DType) -> None:
    random = np.random.default_rng(6)
    a, b = (random.permutation(every(kind)) for _ in range(2))
    functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    with np.errstate(all="ignore"):
        expected = functions[word](a.astype(np.float32), b.astype(np.float32)).astype(kind.numpy)
    assert places_apart(speak(word, a, b), expected).max() == 0


@pytest.mark.parametrize("kind", [float16, bfloat16], ids=str)
def test_small_comparisons(kind: DType) -> None:
    random = np.random.default_rng(7)
    a, b = (random.permutation(every(kind)) for _ in range(2))
    b[::3] = a[::3]
    wide = a.astype(np.float32), b.astype(np.float32)
    for word, function in {"lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal}.items():
        np.testing.assert_array_equal(speak(word, a, b), function(*wide))
    np.testing.assert_array_equal(speak("isnan", a), np.isnan(wide[0]))
    np.testing.assert_array_equal(speak("isinf", a), np.isinf(wide[0]))
