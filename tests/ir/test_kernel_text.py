"""Kernels and programs as text: printed, read back, printed again and run; and what a mistake is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.dtype import DTYPES, bool_, float32, int32, int64
from graphc.errors import ParseError
from graphc.interp.kernel import initial_state, run_function, run_kernel
from graphc.ir.expr import Array, Var, cast, const, load, select, temp
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
from graphc.ir.kernel_text import parse_kernel, print_kernel, print_statement
from graphc.ir.program_text import parse_program, print_program

EXPONENTIAL = """\
kernel exponential(x: float32[64], y: float32[64]) tasks t < 4:
  for i < 16 vector 16:
    y[t*16 + i] = exp(x[t*16 + i])
"""

EVERYTHING = """\
kernel everything(x: float32[64], n: int64[8], y: float32[64], z: bool[8]) tasks t < 8:
  local acc: float32[4]
  for j < 4 unrolled:
    acc[j] = 0.0:float32
  let v = select(lt(n[t], 3:int64), x[n[t] % 64], -1.5e-07:float32)
  for p < 2:
    for j2 < 4 vector 4:
      %1 = mul(x[t*8 + p*4 + j2], v)
      acc[j2] add= add(%1, %1)
  if lt(t, 4):
    z[t] = xor(true, isnan(v))
    y[t*4 - 1] = cast.float32(index(n[t])) if ge(t, 1)
  else:
    local s: int32[2]
  for k < 4:
    y[t*4 + (k % 2)*2 + (k // 2)] = x[k - 1 if and(ge(k, 1), lt(n[k], index(n[t])))]
    y[-(k // 2)*2 + t*2 + 5] = inf:float32
    y[n[k]*2 + 1] = bitcast.float32(bitcast.int32(v))
"""


@pytest.mark.parametrize("text", [EXPONENTIAL, EVERYTHING], ids=["exponential", "everything"])
def test_printing_what_was_read_gives_the_text(text):
    assert print_kernel(parse_kernel(text)) == text


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("i + 16*t", "t*16 + i"),
        ("(t*16 + i) // 16", "t"),
        ("i % 16 + 2 * (t + 1) - 1", "t*2 + i + 1"),
        ("-(-i)", "i"),
        ("(3)", "3"),
    ],
)
def test_an_index_is_read_through_the_algebra(written, canonical):
    text = print_kernel(parse_kernel(EXPONENTIAL.replace("y[t*16 + i]", f"y[{written}]")))
    assert f"y[{canonical}] = " in text


def test_an_empty_block_is_a_pass():
    text = "kernel k() tasks t < 1:\n  for i < 2:\n    pass\n"
    assert print_kernel(parse_kernel(text)) == text


def test_a_read_kernel_runs():
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    y = np.zeros(64, np.float32)
    run_kernel(parse_kernel(EXPONENTIAL), [x, y])
    np.testing.assert_allclose(y, np.exp(x), rtol=1e-6)


def sample_kernel():
    """Two variables and two arrays of one name, an array whose name is no name, sharing, all statements."""
    x, y, n = Array("fc1/weight", float32, 8), Array("for", float32, 8), Array("n", int64, 4)
    s1, s2 = Array("s", float32, 4), Array("s", float32, 2)
    i1, i2, t = Var("i", 4), Var("i", 2), Var("t", 2)
    v = temp("v", float32)
    deep = load(x, t * 4 + i1) + 1
    for _ in range(30):
        deep = deep * deep
    where = load(n, i2)
    body = (
        Local(s1),
        Local(s2),
        For(i1, (Store(s1, i1, deep),), VECTOR, 4),
        For(i2, (Store(s2, i2, const(0, float32)), Accumulate(s2, i2, "max", load(s1, i2))), UNROLLED),
        For(i1, (Let(v, load(s1, i1)), Store(y, t * 4 + i1, v * 2, i1 < 3))),
        For(i2, (If(where < 1, (Store(y, t * 4 + i2 % 2, select(where < 2, v, cast(where, float32))),), ()),)),
    )
    return Kernel("sample kernel", (x, y, n), t, body)


def test_printing_is_stable_and_as_long_as_the_graph():
    text = print_kernel(sample_kernel())
    assert print_kernel(parse_kernel(text)) == text
    assert len(text) < 4000
    assert text.startswith("kernel sample_kernel(fc1_weight: float32[8], for_2: float32[8], n: int64[4]) tasks t < 2:")


def test_a_read_kernel_computes_the_same():
    text = EVERYTHING.replace("y[t*4 - 1]", "y[t*4]")
    rng = np.random.default_rng(0)
    results = []
    for kernel in (parse_kernel(text), parse_kernel(print_kernel(parse_kernel(text)))):
        arrays = [rng.random(64, np.float32) * 0 + 3, np.arange(8), np.zeros(64, np.float32), np.zeros(8, bool)]
        run_kernel(kernel, arrays)
        results.append(arrays)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    assert results[0][2].any()


def test_a_statement_is_printed_with_the_names_of_its_kernel():
    kernel = sample_kernel()
    assert print_statement(kernel, kernel.body[3]).splitlines() == [
        "  for i_2 < 2 unrolled:",
        "    s_2[i_2] = 0.0:float32",
        "    s_2[i_2] max= s[i_2]",
    ]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_constants_keep_dtype_and_bits(dtype):
    y, z = Array("y", dtype, 1), Var("z", 1)
    values = [0, 1] if dtype.is_bool else [0, 100] if dtype.is_int else [-0.0, 0.1, float("inf"), -float("inf"), float("nan")]
    for number in values:
        value = const(dtype.numpy.type(number).item() if dtype.kind != "f" else float(dtype.numpy.type(number)), dtype)
        kernel = Kernel("k", (y,), z, (Store(y, 0 * z, value),))
        assert parse_kernel(print_kernel(kernel)).body[0].value is value


def test_an_int64_constant_is_not_an_index():
    y, z = Array("y", int64, 1), Var("z", 1)
    one, other = Store(y, 0 * z, const(3, int64)), Store(y, 0 * z, 0 * z + 3)
    kernel = parse_kernel(print_kernel(Kernel("k", (y,), z, (one, other))))
    assert [s.value for s in kernel.body] == [one.value, other.value]


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "expected"),
    [
        ("tasks t < 4", "tasks t 4", 1, 60, "'<'"),
        ("float32[64], y", "float33[64], y", 1, 23, "an element type"),
        ("vector 16", "vectr 16", 2, 14, "':'"),
        ("vector 16", "vector 1.5", 2, 21, "the width of the vector loop"),
        ("y[t*16 + i] =", "q[t*16 + i] =", 3, 5, "a statement"),
        ("y[t*16 + i] =", "y[t*16 + u] =", 3, 14, "an expression"),
        ("y[t*16 + i] =", "y[t*i] =", 3, 9, "a known factor"),
        ("y[t*16 + i] =", "y[t % 0] =", 3, 11, "a positive divisor"),
        ("y[t*16 + i] =", "y[t*16 + i] avg=", 3, 17, "'=' or one of add"),
        ("y[t*16 + i] =", "y[x[i]] =", 3, 7, "an int64 index, which a float32 is not"),
        ("exp(x[t*16 + i])", "exp(x[t*16 + i], x[i])", 3, 19, "a word of 2 arguments"),
        ("exp(x[t*16 + i])", "expo(x[t*16 + i])", 3, 19, "a word of 1 arguments"),
        ("exp(x[t*16 + i])", "cast(x[t*16 + i])", 3, 19, "a word of 1 arguments"),
        ("exp(x[t*16 + i])", "cast.float8(x[t*16 + i])", 3, 19, "cast.DTYPE"),
        ("exp(x[t*16 + i])", "exp(x[t*16 + i]", 3, 34, "','"),
        ("exp(x[t*16 + i])", "1.5", 3, 22, "':' and the dtype"),
        ("exp(x[t*16 + i])", "1.5:int32", 3, 23, "a dtype that holds 1.5"),
        ("exp(x[t*16 + i])", "$", 3, 19, "a token"),
        ("exp(x[t*16 + i])", "x[t*16 + i] x", 3, 31, "the end of the line"),
        ("    y[t", "  y[t", 2, 24, "an indented block"),
        ("    y[t", "    pass\n      y[t", 4, 5, "a line indented by 4 spaces"),
    ],
)
def test_a_mistake_is_pointed_at(old, new, line, column, expected):
    assert old in EXPONENTIAL
    with pytest.raises(ParseError) as caught:
        parse_kernel(EXPONENTIAL.replace(old, new, 1))
    message = str(caught.value)
    assert message.startswith(f"line {line}, column {column}: expected {expected}")
    assert message.splitlines()[2] == " " * (4 + column - 1) + "^"


def test_text_after_the_kernel_is_refused():
    with pytest.raises(ParseError, match="expected the end of the text"):
        parse_kernel(EXPONENTIAL + EXPONENTIAL)


# ---------------------------------------------------------------------------------------------------------------- programs


def sample_program(planned):
    x, h, y = (Buffer(n, float32, (2, 2), k) for n, k in (("x", INPUT), ("h", ARENA), ("x", OUTPUT)))
    w = Buffer("fc1.weight", float32, (2, 2), VARIABLE, np.ones((2, 2), np.float32))
    big = Buffer("big", float32, (64,), CONSTANT, np.arange(64, dtype=np.float32) / 3)
    flag = Buffer("flag", bool_, (), CONSTANT, np.array(True))
    count = Buffer("count", int32, (), VARIABLE)
    own = Buffer("own", float32, (4,), ARENA, parts=3)
    a, b, c, s = (Array(n, float32, z) for n, z in (("a", 4), ("b", 4), ("c", 4), ("s", 64)))
    i, t = Var("i", 4), Var("t", 1)
    add = Kernel("add", (a, b, c), t, (For(i, (Store(c, i, load(a, i) + load(b, i)),)),))
    scale = Kernel("add", (a, s, c), t, (For(i, (Store(c, i, load(a, i) * load(s, i + 9)),)),))
    launches = (
        Launch(add, (x, w, h), "x + w"),
        Launch(scale, (h, big, y)),
        Launch(add, (x, h, w), "two\nlines"),
        Launch(add, (x, w, own)),
    )
    functions = (KernelFunction("step", (x,), (y,), launches), KernelFunction("nothing", (), (), ()))
    offsets = {h: 64, w: 0, count: 64, own: 128} if planned else {}
    return KernelProgram(functions, (w, count), (big, flag), offsets, 128 * planned, 320 * planned)


@pytest.mark.parametrize("planned", [False, True])
def test_a_program_is_read_back(planned):
    program = sample_program(planned)
    text = print_program(program)
    again = parse_program(text)
    assert print_program(again) == text
    assert "add(x, fc1.weight, h)  # x + w" in text and "add_2(h, big, x_2)" in text and "# two lines" in text
    launches = again.functions[0].launches
    assert launches[0].kernel is launches[2].kernel is not launches[1].kernel
    assert [buffer.parts for buffer in launches[3].args] == [1, 1, 3]
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    results = []
    for p in (program, again):
        state = initial_state(p)
        results.append([*run_function(p, "step", [x], state), *state.values()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_elided_data_is_for_readers_only():
    text = print_program(sample_program(False), elide=True)
    assert "constant big: float32[64] = elided" in text
    with pytest.raises(ParseError, match="printed with elide"):
        parse_program(text)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("state 128 arena", "state 128 arean", "'arena'"),
        ("input x", "inputs x", r"a buffer \(variable"),
        ("output x_2", "output x", r"a new name \(x is taken\)"),
        ("at 64", "at there", "an offset in bytes"),
        ("= [1.0, 1.0,", "= [1.0,", r"4 numbers for a float32\[2, 2\]"),
        ("add_2(h, big", "add_3(h, big", "the name of a kernel"),
        ("add_2(h, big", "add_2(h, small", "the name of a buffer"),
        ("function step", "func step", "'function'"),
        ('base64 "', 'base64 "AAAA', "the compressed bytes"),
    ],
)
def test_a_mistake_in_a_program_is_pointed_at(old, new, expected):
    text = print_program(sample_program(True))
    assert old in text
    with pytest.raises(ParseError, match=rf"line \d+, column \d+: expected {expected}"):
        parse_program(text.replace(old, new, 1))


@given(st.sampled_from(DTYPES), st.binary(min_size=8, max_size=320))
def test_data_of_any_bits_is_kept(dtype, raw):
    raw = raw[: len(raw) // 8 * 8]
    data = (np.frombuffer(raw, np.uint8) % 2).view(np.bool_) if dtype.is_bool else np.frombuffer(raw, dtype.numpy)
    buffer = Buffer("c", dtype, data.shape, CONSTANT, data)
    program = KernelProgram((), (), (buffer,), {})
    assert parse_program(print_program(program)).constants[0].data.tobytes() == data.tobytes()
