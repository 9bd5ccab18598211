"""The kernel interpreter: words at every dtype, loops, and each complaint it makes."""

import math
import warnings
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.dtype import DTYPES, FLOATS, INTS, bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from graphc.errors import VerifyError
from graphc.interp.kernel import initial_state, run_function, run_kernel, source
from graphc.interp.words import meaning
from graphc.ir.expr import PREDICATES, WORDS, Array, Var, call, cast, const, load, select, temp
from graphc.ir.kernel import (
    ARENA,
    CONSTANT,
    INPUT,
    OUTPUT,
    UNROLLED,
    VARIABLE,
    VECTOR,
    Accumulate,
    Buffer,
    For,
    If,
    Kernel,
    KernelFunction,
    KernelProgram,
    Launch,
    Let,
    Local,
    Store,
)


def one_task(name, params, *body):
    return Kernel(name, params, Var("t", 1), body)


def map_kernel(n, dtype, function, out=None):
    x, y = Array("x", dtype, n), Array("y", out or dtype, n)
    i = Var("i", n)
    return one_task("map", (x, y), For(i, (Store(y, i, function(load(x, i))),), VECTOR, 8))


def apply(function, values, dtype, out=None):
    values = np.asarray(values).astype(dtype.numpy)
    result = np.zeros(values.shape, (out or dtype).numpy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_kernel(map_kernel(values.size, dtype, function, out), [values, result])
    return result


NUMPY_UNARY = {
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "round": np.rint,
    "trunc": np.trunc, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "sign": np.sign, "rsqrt": lambda x: 1 / np.sqrt(x), "erf": np.vectorize(math.erf),
    "ndtr": np.vectorize(lambda x: (1 + math.erf(x * math.sqrt(0.5))) / 2),
}  # fmt: skip
SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.1, -0.3, 1.0, -1.0, 7.25, 300.0, -300.0, 1e4, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("word", NUMPY_UNARY)
def test_a_float_word_is_the_float64_result_rounded_once(word, dtype):
    x = np.array(SPECIAL).astype(dtype.numpy)
    with np.errstate(all="ignore"):
        expected = NUMPY_UNARY[word](x.astype(np.float64)).astype(dtype.numpy)
    got = apply(lambda v: call(word, v), x, dtype)
    np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("dtype", INTS, ids=str)
@given(data=st.data())
def test_integers_wrap_like_numpy(dtype, data):
    info = np.iinfo(dtype.numpy)
    number = st.integers(int(info.min), int(info.max)) | st.sampled_from([int(info.min), int(info.max), 0, 1])
    a, b = (np.array([data.draw(number)], dtype.numpy) for _ in range(2))
    with np.errstate(all="ignore"):
        for word, function in {"add": np.add, "sub": np.subtract, "mul": np.multiply, "floordiv": np.floor_divide,
                               "mod": np.mod, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
                               "or": np.bitwise_or, "xor": np.bitwise_xor}.items():  # fmt: skip
            assert meaning(word, dtype, dtype)(int(a[0]), int(b[0])) == int(function(a, b)[0]), word
        for word, function in {"neg": np.negative, "abs": np.abs, "not": np.invert, "sign": np.sign}.items():
            assert meaning(word, dtype, dtype)(int(a[0])) == int(function(a)[0]), word


@pytest.mark.parametrize(
    ("word", "args", "expected"),
    [
        ("quot", (-7, 2), -3), ("quot", (7, -2), -3), ("quot", (7, 0), 0), ("quot", (-128, -1), -128),
        ("rem", (-7, 2), -1), ("rem", (7, -2), 1), ("rem", (7, 0), 0), ("rem", (-128, -1), 0),
        ("shl", (3, 6), -64), ("shr", (-2, 1), -1), ("lshr", (-2, 1), 127),
        ("pow", (3, 5), -13), ("pow", (2, -1), 0), ("pow", (-1, -3), -1), ("pow", (-1, -2), 1),
        ("pow", (0, -1), 0), ("pow", (0, 0), 1),
        ("fma", (100, 2, 1), -55),
    ],
)  # fmt: skip
def test_integer_words(word, args, expected):
    assert meaning(word, int8, int8)(*args) == expected


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_scalb_rounds_once(dtype):
    half = float(np.finfo(dtype.numpy).smallest_subnormal) if dtype.bits > 16 else 0.0
    scalb = meaning("scalb", dtype, dtype)
    with np.errstate(over="ignore"):
        assert [scalb(1.5, 3.0), scalb(-1.5, -1.0), scalb(1.0, 5000.0), scalb(-1.0, -5000.0)] == [12, -0.75, np.inf, 0]
    assert half == 0 or scalb(1.5, float(np.log2(half))) == 2 * half  # a tie, to even
    assert all(np.isnan(scalb(*args)) for args in ((np.nan, 1.0), (1.0, np.nan)))


def test_roots_are_those_of_the_lowest_bits():
    large = 1.5 * 2.0**19  # beside it, a float32 counts sixteenths
    root = meaning("root16", float32, float32)
    assert [root(large + k / 16) for k in (0, 8, 15, 16, -1)] == [np.float32(2 ** (k / 16)) for k in (0, 8, 15, 0, 15)]


def test_a_shift_count_out_of_range_gives_garbage_rather_than_zero():
    assert meaning("shl", int32, int32)(1, 32) not in (0, 1)
    assert meaning("shr", uint8, uint8)(200, -1) not in (0, 200)


def test_logical_shift_of_unsigned_is_arithmetic_shift():
    assert meaning("shr", uint8, uint8)(200, 3) == meaning("lshr", uint8, uint8)(200, 3) == 25


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(a=st.floats(width=16), b=st.floats(width=16))
def test_float_arithmetic_rounds_like_numpy(dtype, a, b):
    scalar = dtype.numpy.type
    x, y = scalar(a), scalar(b)
    with np.errstate(all="ignore"):
        for word, function in {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
                               "mod": np.mod, "floordiv": np.floor_divide, "min": np.minimum,
                               "max": np.maximum}.items():  # fmt: skip
            expected, got = float(function(x, y)), meaning(word, dtype, dtype)(float(x), float(y))
            assert got == expected or (got != got and expected != expected), word


@given(*[st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)] * 3)
def test_fma_rounds_once(a, b, c):
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    got = Fraction(meaning("fma", float32, float32)(a, b, c))
    below, above = (Fraction(float(np.nextafter(np.float32(got), np.float32(s)))) for s in (-np.inf, np.inf))
    assert abs(got - exact) <= min(abs(below - exact), abs(above - exact))
    assert Fraction(meaning("fma", float64, float64)(a, b, c)) == Fraction(exact.numerator / exact.denominator)


def test_fma_differs_from_two_roundings():
    a = 1 + 2.0**-12
    assert meaning("fma", float32, float32)(a, a, -1 - 2.0**-11) == 2.0**-24


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32, float64], ids=str)
def test_min_and_max_propagate_nan(dtype):
    for word in ("min", "max"):
        assert np.isnan(meaning(word, dtype, dtype)(1.0, np.nan)) and np.isnan(meaning(word, dtype, dtype)(np.nan, 1.0))


@pytest.mark.parametrize("dtype", INTS, ids=str)
def test_float_to_int_truncates_and_saturates(dtype):
    info = np.iinfo(dtype.numpy)
    got = apply(lambda v: cast(v, dtype), [1.9, -0.9, 1e30, -1e30, np.inf, -np.inf, np.nan], float32, dtype)
    assert got.tolist() == [1, 0, info.max, info.min, info.max, info.min, 0]


@pytest.mark.parametrize("source_", DTYPES, ids=str)
@pytest.mark.parametrize("target", DTYPES, ids=str)
def test_casts_of_small_numbers_agree_with_numpy(source_, target):
    values = np.array([0, 1, 3, 100]).astype(source_.numpy)
    np.testing.assert_array_equal(apply(lambda v: cast(v, target), values, source_, target), values.astype(target.numpy))


def test_int64_to_float32_rounds_once():
    value = 2**60 + 2**36 + 1  # half way between two float32 but for the last bit
    assert apply(lambda v: cast(v, float32), [value], int64, float32)[0] == np.float32(2**60 + 2**37)


def test_bitcast_keeps_the_bits():
    got = apply(lambda v: call("bitcast", v, dtype=int32), [1.0, -0.0, np.inf], float32, int32)
    assert got.tolist() == [0x3F800000, -(2**31), 0x7F800000]
    assert apply(lambda v: call("bitcast", v, dtype=bfloat16), [0x3F80], int16, bfloat16)[0] == 1


def test_every_word_has_a_meaning_somewhere():
    for word in set(WORDS) - {"select", "cast", "bitcast"}:
        result = bool_ if word in PREDICATES else None
        found = []
        for dtype in DTYPES:
            try:
                found.append(meaning(word, dtype, result or dtype))
            except KeyError:
                continue
        assert found, word


def test_scalars_are_stored_exactly():
    for dtype in DTYPES:
        x = np.array([0, 1, 1]).astype(dtype.numpy)
        np.testing.assert_array_equal(apply(lambda v: v, x, dtype), x)


def matmul(n, m, k):
    a, b, c = Array("a", float32, n * k), Array("b", float32, k * m), Array("c", float32, n * m)
    t, j, p = Var("t", n), Var("j", m), Var("p", k)
    acc = Array("acc", float32, m)
    j2, j3 = Var("j2", m), Var("j3", m)
    body = (
        Local(acc),
        For(j, (Store(acc, j, const(0, float32)),), VECTOR, 4),
        For(p, (For(j2, (Accumulate(acc, j2, "add", load(a, t * k + p) * load(b, p * m + j2)),), UNROLLED),)),
        For(j3, (Store(c, t * m + j3, load(acc, j3)),), VECTOR, 4),
    )
    return Kernel("matmul", (a, b, c), t, body)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_contraction(backwards):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 4, (3, 5)).astype(np.float32), rng.integers(-4, 4, (5, 7)).astype(np.float32)
    c = np.zeros(21, np.float32)
    run_kernel(matmul(3, 7, 5), [a.reshape(-1), b.reshape(-1), c], backwards)
    np.testing.assert_array_equal(c.reshape(3, 7), a @ b)


def test_backwards_shows_a_task_that_needs_another():
    x, t = Array("x", float32, 4), Var("t", 3)
    kernel = Kernel("chain", (x,), t, (Store(x, t + 1, load(x, t)),))
    forwards, backwards = np.array([1, 2, 3, 4], np.float32), np.array([1, 2, 3, 4], np.float32)
    run_kernel(kernel, [forwards])
    run_kernel(kernel, [backwards], backwards=True)
    assert forwards.tolist() == [1, 1, 1, 1] and backwards.tolist() == [1, 1, 2, 3]


def test_let_if_guard_and_data_dependent_index():
    x, n, y = Array("x", float32, 4), Array("n", int64, 4), Array("y", float32, 4)
    i, v = Var("i", 4), temp("v", float32)
    where = load(n, i)
    inside = call("and", call("ge", where, const(0, int64)), call("lt", where, const(4, int64)))
    body = (
        Let(v, load(x, where, inside)),
        If(call("lt", i, const(2, int64)), (Store(y, i, v),), (Store(y, i, v * 2, inside),)),
    )
    result = np.full(4, -1, np.float32)
    run_kernel(one_task("k", (x, n, y), For(i, body)), [np.array([1, 2, 3, 4], np.float32), np.array([3, 9, 1, -5]), result])
    assert result.tolist() == [4, 0, 4, -1]


def test_shared_expressions_do_not_explode():
    value = load(Array("x", float32, 1), 0)
    array = value.array
    for _ in range(60):
        value = value + value
    y = Array("y", float32, 1)
    result = np.zeros(1, np.float32)
    run_kernel(one_task("k", (array, y), Store(y, 0 * Var("z", 1), value)), [np.ones(1, np.float32), result])
    assert result[0] == 2.0**60


def kernel_reading(index, size=4):
    x, y = Array("x", float32, size), Array("y", float32, 1)
    i = Var("i", 5)
    return one_task("bad", (x, y), For(i, (Store(y, 0 * i, load(x, index(i))),)))


@pytest.mark.parametrize(("index", "said"), [(lambda i: i, r"x\[4\]"), (lambda i: i - 1, r"x\[-1\]")])
def test_a_load_out_of_bounds_is_named(index, said):
    with pytest.raises(VerifyError, match=rf"bad reads {said}.*outside of its 4 elements \(t = 0, i = "):
        run_kernel(kernel_reading(index), [np.zeros(4, np.float32), np.zeros(1, np.float32)])


@pytest.mark.parametrize("verb", ["writes", "folds"])
def test_a_store_out_of_bounds_is_named(verb):
    y, i = Array("y", float32, 4), Var("i", 5)
    one = const(1, float32)
    stmt = Store(y, i, one) if verb == "writes" else Accumulate(y, i, "add", one)
    with pytest.raises(VerifyError, match=rf"bad {verb} y\[4\].*i = 4"):
        run_kernel(one_task("bad", (y,), For(i, (stmt,))), [np.zeros(4, np.float32)])


def test_a_false_guard_protects_its_own_access_only():
    x, y, i = Array("x", float32, 4), Array("y", float32, 5), Var("i", 5)
    inside = i < 4
    guarded = one_task("k", (x, y), For(i, (Store(y, i, load(x, i, inside)),)))
    result = np.ones(5, np.float32)
    run_kernel(guarded, [np.ones(4, np.float32), result])
    assert result.tolist() == [1, 1, 1, 1, 0]
    unguarded = one_task("k", (x, y), For(i, (Store(y, i, load(x, i), inside),)))
    with pytest.raises(VerifyError, match=r"reads x\[4\]"):
        run_kernel(unguarded, [np.ones(4, np.float32), result])
    selected = one_task("k", (x, y), For(i, (Store(y, i, select(inside, load(x, i), 0.0)),)))
    with pytest.raises(VerifyError, match=r"reads x\[4\]"):
        run_kernel(selected, [np.ones(4, np.float32), result])


@pytest.mark.parametrize("fold", [False, True])
def test_scratch_must_be_written_first(fold):
    y, s = Array("y", float32, 1), Array("s", float32, 2)
    zero = 0 * Var("z", 1)
    use = Accumulate(s, zero + 1, "add", const(1, float32)) if fold else Store(y, zero, load(s, zero + 1))
    with pytest.raises(VerifyError, match=r"bad reads s\[1\], which was never written"):
        run_kernel(one_task("bad", (y,), Local(s), Store(s, zero, const(1, float32)), use), [np.zeros(1, np.float32)])


def test_scratch_is_fresh_each_time_it_is_declared():
    y, s, i = Array("y", float32, 2), Array("s", float32, 1), Var("i", 2)
    zero = 0 * i
    body = (Local(s), If(i.equals(0), (Store(s, zero, const(1, float32)),)), Store(y, i, load(s, zero)))
    with pytest.raises(VerifyError, match=r"s\[0\], which was never written \(t = 0, i = 1\)"):
        run_kernel(one_task("bad", (y,), For(i, body)), [np.zeros(2, np.float32)])


def test_overlapping_wrong_and_read_only_arrays_are_refused():
    kernel = map_kernel(4, float32, lambda v: v)
    memory = np.zeros(6, np.float32)
    with pytest.raises(VerifyError, match="x and y overlap"):
        run_kernel(kernel, [memory[:4], memory[2:]])
    with pytest.raises(VerifyError, match=r"x is float32\[4\], got float64\[4\]"):
        run_kernel(kernel, [np.zeros(4), memory[:4]])
    with pytest.raises(VerifyError, match=r"x is float32\[4\], got float32\[2\]"):
        run_kernel(kernel, [memory[4:], memory[:4]])
    frozen = np.zeros(4, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(VerifyError, match="writes to y, whose memory is read-only"):
        run_kernel(kernel, [memory[:4], frozen])


def test_source_is_readable_python():
    text = source(matmul(2, 2, 2))
    assert text.startswith("def kernel(va_1, vb_2, vc_3):") and "for vt_" in text


def small_program(offsets=None, arena=0):
    """double(x) -> h * 2 where h = x + w, and w := h; h lives in the arena."""
    x, h, y = (Buffer(n, float32, (2, 2), k) for n, k in (("x", INPUT), ("h", ARENA), ("y", OUTPUT)))
    w = Buffer("w", float32, (2, 2), VARIABLE, np.ones((2, 2), np.float32))
    two = Buffer("two", float32, (), CONSTANT, np.array(2, np.float32))
    a, b, c, s = (Array(n, float32, z) for n, z in (("a", 4), ("b", 4), ("c", 4), ("s", 1)))
    i = Var("i", 4)
    add = one_task("add", (a, b, c), For(i, (Store(c, i, load(a, i) + load(b, i)),)))
    scale = one_task("scale", (a, s, c), For(i, (Store(c, i, load(a, i) * load(s, 0)),)))
    copy = one_task("copy", (a, c), For(i, (Store(c, i, load(a, i)),)))
    launches = (Launch(add, (x, w, h)), Launch(scale, (h, two, y)), Launch(copy, (h, w)))
    function = KernelFunction("double", (x,), (y,), launches)
    return KernelProgram((function,), (w,), (two,), {h: offsets} if offsets is not None else {}, 0, arena), w


@pytest.mark.parametrize("planned", [{}, {"offsets": 64, "arena": 128}])
def test_a_program_keeps_its_state(planned):
    program, w = small_program(**planned)
    state = initial_state(program)
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert run_function(program, "double", [x], state)[0].tolist() == (2 * (x + 1)).tolist()
    assert state[w].tolist() == (x + 1).tolist()
    assert run_function(program, "double", [x], state)[0].tolist() == (2 * (2 * x + 1)).tolist()


def test_overlapping_arena_buffers_clobber_each_other():
    x, p, q, y = (Buffer(n, float32, (2,), k) for n, k in (("x", INPUT), ("p", ARENA), ("q", ARENA), ("y", OUTPUT)))
    a, b, c, i = Array("a", float32, 2), Array("b", float32, 2), Array("c", float32, 2), Var("i", 2)
    plus = one_task("plus", (a, b), For(i, (Store(b, i, load(a, i) + 1),)))
    add = one_task("add", (a, b, c), For(i, (Store(c, i, load(a, i) + load(b, i)),)))
    launches = (Launch(plus, (x, p)), Launch(plus, (p, q)), Launch(add, (p, q, y)))
    run = lambda offsets, size: run_function(  # noqa: E731
        KernelProgram((KernelFunction("f", (x,), (y,), launches),), (), (), offsets, 0, size), "f", [np.zeros(2, np.float32)]
    )[0].tolist()
    assert run({p: 0, q: 64}, 128) == [3, 3]
    with pytest.raises(VerifyError, match="overlap in memory"):
        run({p: 0, q: 4}, 128)


def test_memory_nobody_wrote_is_poison():
    y = Buffer("y", uint8, (3,), OUTPUT)
    function = KernelFunction("f", (), (y,), ())
    assert run_function(KernelProgram((function,), (), (), {}), "f", [])[0].tolist() == [0xAB] * 3


def test_bfloat16_memory_round_trips():
    x = np.arange(5).astype(ml_dtypes.bfloat16)
    assert apply(lambda v: v + 1, x, bfloat16).tolist() == [1, 2, 3, 4, 5]
