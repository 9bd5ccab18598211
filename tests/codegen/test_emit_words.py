"""Every word of the Kernel IR as native code, on every type and at the borders of types, against the slow interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from native import assert_same, check_native, run_native
from small_kernels import each, mapping, sample, specials

from graphc.codegen.expand import expand_kernel
from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.words import says, speaker
from graphc.codegen.target import host, named
from graphc.dtype import DTYPES, INTS, DType, bfloat16, bool_, float16, float32, float64, int32
from graphc.ir.expr import Array, Expr, Var, as_index, call, cast, const, load
from graphc.ir.kernel import (
    VECTOR,
    Accumulate,
    For,
    Kernel,
    Store,
)

UNARY = ("neg", "abs", "not", "sqrt", "floor", "ceil", "round", "trunc", "isnan", "isinf")
BINARY = ("add", "sub", "mul", "div", "quot", "rem", "min", "max", "and", "or", "xor", "eq", "ne", "lt", "le", "gt", "ge")
WORD_CASES = [(word, dtype) for word in UNARY + BINARY for dtype in DTYPES if says(word, dtype)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_words_at_the_borders_of_their_types(dtype: DType) -> None:
    kernels, arrays = [], []
    for word in (w for w, d in WORD_CASES if d is dtype):
        inputs = 1 if word in UNARY else 2
        result = bool_ if word in ("isnan", "isinf", "eq", "ne", "lt", "le", "gt", "ge") else dtype
        for n, w in ((100, 16), (5, 1)):
            kernels.append(mapping(dtype, n, w, lambda *xs, word=word: call(word, *xs), result, inputs))
            arrays.append([*(specials(dtype, n, k) for k in range(inputs)), np.zeros(n, result.numpy)])
    if kernels:
        check_unordered_zeros(kernels, arrays)


def check_unordered_zeros(kernels: list[Kernel], arrays: list[list[np.ndarray]]) -> None:
    """As check_native, but 0.0 and -0.0 are the same: min and max may return either."""
    check_native(kernels, arrays, tolerance=1e-30)


@pytest.mark.parametrize("word", ("max", "min"))
def test_extremes_with_a_constant_keep_nan_in_one_comparison(word: str) -> None:
    x = specials(float32, 100)
    kernels = [mapping(float32, 100, 16, lambda v: call(word, v, const(1.0, float32)))]
    kernels.append(mapping(float32, 100, 16, lambda v: call(word, const(np.nan, float32), v)))
    out = run_native(kernels, [[x, np.zeros_like(x)]] * 2)
    reference = np.maximum if word == "max" else np.minimum
    np.testing.assert_array_equal(out[0][1], reference(x, np.float32(1)))
    assert np.isnan(out[1][1]).all()
    text = emit_kernel(kernels[0], "k", named("x86-64-v3")).text
    assert text.count("fcmp") == text.count("select") == len(range(0, 100, 16)) - 5  # loop, and the remainder


@pytest.mark.parametrize("dtype", (float32, float64), ids=str)
@pytest.mark.parametrize("word", ("max", "min"))
def test_extremes_find_nan_wherever_it_is(word: str, dtype: DType) -> None:
    kernels, arrays = [], []
    for size, width in ((1, 16), (7, 8), (33, 16), (130, 64), (130, 2)):
        x, y, i = Array("x", dtype, size), Array("y", dtype, 1), Var("i", size)
        start = Store(y, as_index(0), const(-np.inf if word == "max" else np.inf, dtype))
        fold = For(i, (Accumulate(y, as_index(0), word, load(x, i)),), VECTOR, width)
        kernel = each([start, fold], x, y)
        for place in (None, 0, size // 2, size - 1):
            data = np.linspace(-3, 5, size).astype(dtype.numpy)
            if place is not None:
                data[place] = np.nan
            for values in (data, -data, np.full_like(data, np.inf), np.full_like(data, -np.inf)):
                kernels.append(kernel)
                arrays.append([values, np.zeros(1, dtype.numpy)])
    check_native(kernels, arrays)
    for spec in ("x86-64-v3", "x86-64"):
        check_native(kernels[::3], arrays[::3], target=named(spec))


def test_powers_of_two_in_any_number_of_lanes() -> None:
    """Where the processor multiplies by them in one instruction: from one lane to several registers."""
    for dtype in (float32, float64):
        x, n = sample(dtype, 37), np.arange(37).astype(dtype.numpy) - 18
        kernels = [mapping(dtype, 37, w, lambda a, b: call("scalb", a, b), dtype, 2) for w in (1, 2, 4, 8, 16, 32)]
        check_native(kernels, [[x, n, np.zeros_like(x)] for _ in kernels])
    text = emit_kernel(mapping(float32, 64, 32, lambda a, b: call("scalb", a, b), float32, 2), "k", named("x86-64-v4")).text
    assert text.count("scalef.ps.512") == 4
    assert not speaker(named("x86-64-v3"))("scalb", float32) and not speaker(named("aarch64"))("scalb", float32)


def test_roots_of_two_in_any_number_of_lanes() -> None:
    """They are looked up by the four lowest bits, 16 lanes in one instruction; nobody asks for them where there is none."""
    x = (np.arange(37, dtype=np.int32) * 0x01234567 & 0x7F7FFFFF).view(np.float32)
    kernels = [mapping(float32, 37, w, lambda a: call("root16", a), float32) for w in (1, 2, 4, 8, 16, 32)]
    if speaker(host())("root16", float32):
        check_native(kernels, [[x, np.zeros_like(x)] for _ in kernels])
    for word in ("exp", "ndtr"):
        kernel = mapping(float32, 64, 32, lambda a, w=word: call(w, a), float32)
        for target, count in ((named("x86-64-v4"), 4), (named("x86-64-v3"), 0), (named("aarch64"), 0)):
            text = emit_kernel(expand_kernel(kernel, speaker(target)), "k", target).text
            assert text.count("permvar.sf.512") == count
    assert not speaker(named("x86-64-v4"))("root16", float64)


def test_shifts() -> None:
    for dtype in INTS:
        count = np.arange(64).astype(dtype.numpy) % dtype.bits
        kernels = [mapping(dtype, 64, 16, lambda x, y, w=w: call(w, x, y), None, 2) for w in ("shl", "shr", "lshr")]
        check_native(kernels, [[specials(dtype, 64), count, np.zeros(64, dtype.numpy)] for _ in kernels])


@pytest.mark.parametrize("source", DTYPES, ids=str)
def test_casts_between_all_types(source: DType) -> None:
    x = np.concatenate([specials(source, 70), sample(source, 30)])
    kernels = [mapping(source, 100, w, lambda v, d=d: cast(v, d), d) for d in DTYPES for w in (1, 16)]
    check_native(kernels, [[x, np.zeros(100, d.numpy)] for d in DTYPES for _ in (1, 16)])


def test_a_lone_half_waits_for_no_register() -> None:
    """x86-64 converts vectors only; the lanes beside it are zero, not whatever a register holds."""
    for spec, width, count in (("x86-64-v3", 1, 1), ("x86-64-v4", 1, 1), ("x86-64-v4", 16, 0), ("aarch64", 1, 0)):
        target = named(spec)
        kernel = mapping(float16, 64, width, lambda v: cast(v, float32), float32)
        text = emit_kernel(expand_kernel(kernel, speaker(target)), "k", target).text
        assert text.count("<8 x i16> zeroinitializer") == count


@pytest.mark.parametrize("spec", ("cpu", "x86-64"))
@pytest.mark.parametrize("half", (float16, bfloat16), ids=str)
@pytest.mark.parametrize("source", (float32, float64), ids=str)
def test_halves_round_once_to_nearest_even(source: DType, half: DType, spec: str) -> None:
    if host().arch != "x86_64" and spec == "x86-64":
        pytest.skip("runs x86-64 code")
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, 5000, dtype=np.uint32)
    with np.errstate(all="ignore"):
        x = bits.view(np.float32).astype(source.numpy)
        ties = (np.arange(2000, dtype=np.uint16) * 31).view(half.numpy).astype(np.float64)
        near = np.concatenate([ties * (1 + 2.0**-12), ties * (1 + 2.0**-9), ties * (1 + 2.0**-9 + 2.0**-40), ties])
        x = np.concatenate([x, near.astype(source.numpy), rng.normal(size=1000).astype(source.numpy) * 1e-7])
        kernel = mapping(source, x.size, 16, lambda v: cast(v, half), half)
        got = run_native([kernel], [[x, np.zeros(x.size, half.numpy)]], named(spec))[0][1]
        back = run_native([mapping(half, x.size, 16, lambda v: cast(v, float32), float32)], [[got, x.astype("f")]], named(spec))
        want = [_round_half(v, half) for v in x.astype(np.float64)]
    assert_same(got, np.array(want), 0, "rounding")
    assert_same(back[0][1], np.array(want), 0, "widening")


def _round_half(x: float, half: DType) -> float:
    """x rounded to the nearest number of the half type, by exact arithmetic on the two candidates."""
    if not np.isfinite(x) or x == 0:
        return x
    digits, least = (11, -24) if half is float16 else (8, -133)
    exponent = max(int(np.floor(np.log2(abs(x)))) - digits + 1, least)
    if abs(x) >= 2.0 ** (exponent + digits):
        exponent += 1
    scaled = np.round(np.ldexp(x, -exponent))  # exact: a power of two, then half to even
    result = float(np.ldexp(scaled, exponent))
    largest = 65504.0 if half is float16 else float(np.ldexp(255.0, 120))
    return result if abs(result) <= largest else np.copysign(np.inf, x)


def test_float_to_int_saturates_and_integers_divide_by_anything() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9, 2.9, -2.9, 300.5, -1.0], np.float32)
    kernel = mapping(float32, 9, 8, lambda v: cast(v, int32), int32)
    got = run_native([kernel], [[x, np.zeros(9, np.int32)]])[0][1]
    np.testing.assert_array_equal(got, [0, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31), 2, -2, 300, -1])
    a = np.array([7, -7, 5, -(2**31), -(2**31), 2**31 - 1], np.int32)
    b = np.array([2, 2, 0, -1, 0, -(2**31)], np.int32)
    for w in (1, 8):
        kernels = [mapping(int32, 6, w, lambda p, q, word=word: call(word, p, q), None, 2) for word in ("quot", "rem")]
        quot, rem = run_native(kernels, [[a, b, a * 0]] * 2)
        np.testing.assert_array_equal(quot[2], [3, -3, 0, -(2**31), 0, 0])
        np.testing.assert_array_equal(rem[2], [1, -1, 0, 0, 0, 2**31 - 1])


@pytest.mark.parametrize("divisor", (1, 3, 7, -1, 0, 8))
def test_division_by_constants(divisor: int) -> None:
    kernels = [mapping(int32, 50, 16, lambda x, w=w: call(w, x, const(divisor, int32))) for w in ("quot", "rem")]
    check_native(kernels, [[specials(int32, 50), np.zeros(50, np.int32)]] * 2)


def test_words_that_llvm_lacks_are_not_said() -> None:
    assert not says("exp", float32) and not says("add", float16) and not says("div", int32) and not says("sqrt", int32)
    assert says("cast", bfloat16) and says("fma", float64) and not says("fma", int32) and not says("add", bool_)
    value: Expr = call("exp", load(Array("x", float32, 1), 0))
    y = Array("y", float32, 1)
    with pytest.raises(AssertionError, match="no word exp"):
        emit_kernel(each([Store(y, as_index(0), value)], y, value.args[0].array), "k", host())  # type: ignore[attr-defined]
