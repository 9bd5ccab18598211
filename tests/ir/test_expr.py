"""The algebra of indices: what it simplifies equals what was written, and equal sums are one object."""

import gc
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.dtype import bool_, float32, int32, int64
from graphc.ir.expr import (
    Affine,
    Array,
    Const,
    Div,
    Expr,
    Index,
    Mod,
    Var,
    all_of,
    as_index,
    call,
    cast,
    combine,
    const,
    load,
    ravel,
    select,
    temp,
    unravel,
)
from graphc.ir.kernel_parse import KernelParser
from graphc.ir.kernel_text import index_text
from graphc.ir.scalar import interned
from graphc.ir.scan import Scanner

VARS = tuple(Var(name, extent) for name, extent in (("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 6), ("f", 16)))
DATA = temp("n", int64)
NEGATIVE = st.integers(-9, 9)


def built(draw, depth):
    """A random index, and the function that computes naively what was written."""
    choice = draw(st.integers(0, 6 if depth else 1))
    if choice == 0:
        number = draw(NEGATIVE)
        return as_index(number), lambda env: number
    if choice == 1:
        var = draw(st.sampled_from((*VARS, DATA)))
        return as_index(var), lambda env: env[var]
    x, f = built(draw, depth - 1)
    if choice == 2:
        y, g = built(draw, depth - 1)
        return x + y, lambda env: f(env) + g(env)
    if choice == 3:
        y, g = built(draw, depth - 1)
        return x - y, lambda env: f(env) - g(env)
    if choice == 4:
        factor = draw(NEGATIVE)
        return x * factor, lambda env: f(env) * factor
    divisor = draw(st.sampled_from((1, 2, 3, 4, 6, 12)))
    if choice == 5:
        return x // divisor, lambda env: f(env) // divisor
    return x % divisor, lambda env: f(env) % divisor


@st.composite
def indices(draw):
    return built(draw, draw(st.integers(1, 5)))


@st.composite
def environments(draw):
    env = {var: draw(st.integers(0, var.extent - 1)) for var in VARS}
    return env | {DATA: draw(st.integers(-1000, 1000))}


def value(expr: Expr, env):
    match expr:
        case Const():
            return expr.value
        case Affine():
            return expr.constant + sum(value(a, env) * c for a, c in expr.terms)
        case Div():
            return value(expr.index, env) // expr.divisor
        case Mod():
            return value(expr.index, env) % expr.divisor
    if expr in env:
        return env[expr]
    a, b = (value(x, env) for x in expr.args)
    return {"lt": a < b, "le": a <= b, "eq": a == b}[expr.word]


@settings(max_examples=400)
@given(indices(), environments())
def test_a_simplified_index_has_the_written_value_within_its_bounds(index, env):
    simplified, naive = index
    assert value(simplified, env) == naive(env)
    assert simplified.low <= naive(env) <= simplified.high


@settings(max_examples=200)
@given(indices(), indices(), environments())
def test_comparisons_decide_what_is_true(one, other, env):
    (x, f), (y, g) = one, other
    a, b = f(env), g(env)
    assert value(x < y, env) == (a < b)
    assert value(x <= y, env) == (a <= b)
    assert value(x > y, env) == (a > b)
    assert value(x >= y, env) == (a >= b)
    assert value(x.equals(y), env) == (a == b)


@settings(max_examples=200)
@given(indices(), indices())
def test_addition_commutes_to_the_same_object(one, other):
    assert one[0] + other[0] is other[0] + one[0]


@settings(max_examples=200)
@given(st.permutations(VARS), st.lists(NEGATIVE, min_size=len(VARS), max_size=len(VARS)))
def test_equal_sums_are_the_same_object(order, factors):
    of = dict(zip(VARS, factors, strict=True))
    assert combine([(v, of[v]) for v in order]) is combine([(v, of[v]) for v in VARS])


@settings(max_examples=300)
@given(indices())
def test_an_index_is_read_back_as_the_same_object(index):
    parser = KernelParser(Scanner(index_text(index[0])))
    parser.things = {v.name: v for v in (*VARS, DATA)}
    parser.at.line(-1)
    assert as_index(parser.expr()) is index[0]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_unravel_inverts_ravel(shape):
    index = tuple(Var(f"i{n}", extent) for n, extent in enumerate(shape))
    assert unravel(ravel(index, tuple(shape)), tuple(shape)) == tuple(i if i.extent > 1 else as_index(0) for i in index)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_ravel_inverts_unravel(shape, data):
    position = Var("p", math.prod(shape))
    flat = ravel(unravel(position, tuple(shape)), tuple(shape))
    env = {position: data.draw(st.integers(0, position.extent - 1))}
    assert value(flat, env) == env[position]


def test_a_position_in_parts_comes_back_whole():
    """Also where what divides it leaves a quotient inside of another."""
    task, lane = Var("t", 1 << 10), Var("v", 1 << 12)
    for shape in ((8, 512, 1024), (64, 64, 32, 32), (1024, 2, 2048), (4096, 1, 2, 512)):
        position = task * (1 << 12) + lane
        assert ravel(unravel(position, shape), shape) is position
    assert (task * 3 + lane // 5) // 7 is (task * 15 + lane) // 35


def test_what_bounds_decide_is_decided():
    i, j = Var("i", 4), Var("j", 8)
    assert (i * 8 + j) // 8 is i
    assert (i * 8 + j) % 8 is j
    assert i // 4 is as_index(0) and i % 4 is i
    assert (j // 4) // 2 is as_index(0)
    assert (j // 4) * 4 + j % 4 is j
    assert (i < 4) is const(True, bool_)
    assert (j < 0) is const(False, bool_)
    assert isinstance(i < 3, Expr) and not isinstance(i < 3, Const)
    assert (i - 1) // 4 is not as_index(0)


def test_what_is_smaller_than_all_steps_leaves_a_division():
    i, j, lane = Var("i", 100), Var("j", 32), Var("lane", 4)
    assert (i * 32 + j) // 64 is i // 2 and (i * 32 + j) % 64 is (i % 2) * 32 + j
    assert (i * 32 + j + 96) // 64 is (i + 3) // 2
    assert (i * 8 + lane + 4) // 12 is (i * 2 + 1) // 3 and (i * 8 + lane + 4) % 12 is (i * 2 + 1) % 3 * 4 + lane
    assert (i * 8 + lane + 5) // 12 is not (i * 2 + 1) // 3  # lane + 1 reaches 4
    assert (i * 30 + j) // 60 is not i // 2
    assert (i * 32 + j) // 64 * 64 + (i * 32 + j) % 64 is i * 32 + j


def test_a_division_that_crosses_zero_stays():
    i = Var("i", 4)
    quotient = (i - 1) // 4
    assert (quotient.low, quotient.high) == (-1, 0)
    assert [value(quotient, {i: n}) for n in range(4)] == [-1, 0, 0, 0]


def test_an_index_is_multiplied_by_known_ints_and_divided_by_positive_ones():
    i, j = Var("i", 4), Var("j", 4)
    with pytest.raises(AssertionError, match="known int"):
        i * j
    with pytest.raises(AssertionError):
        i // 0
    with pytest.raises(AssertionError, match="int64"):
        as_index(temp("x", int32))


def test_expressions_are_hash_consed():
    x, i = Array("x", float32, 4), Var("i", 4)
    assert load(x, i) + 1 is load(x, i) + 1.0
    assert load(x, i) is not load(Array("x", float32, 4), i)
    assert Var("i", 4) is not Var("i", 4)
    assert temp("t", float32) is not temp("t", float32)


def test_constants_are_told_apart_by_bits():
    assert const(0.0, float32) is not const(-0.0, float32)
    assert const(math.nan, float32) is const(float("nan"), float32)
    assert const(1, int32) is not const(1, int64) and const(1, int32).value.__class__ is int
    assert const(1, bool_).value is True


def test_interned_expressions_are_forgotten_with_their_last_user():
    gc.collect()
    before = len(interned)
    i = Var("i", 4)
    kept = i * 3 + 1
    assert len(interned) == before + 1
    del kept
    gc.collect()
    assert len(interned) == before


def test_calls_that_change_nothing_are_dropped():
    x, y, c = temp("x", float32), temp("y", float32), temp("c", bool_)
    assert cast(x, float32) is x
    assert select(c, x, x) is x
    assert select(const(True, bool_), x, y) is x and select(const(False, bool_), x, y) is y
    assert select(c, x, 0.0).args[2] is const(0, float32)
    d, yes, no = temp("d", bool_), const(True, bool_), const(False, bool_)
    assert call("and", yes, c) is call("and", c, yes) is call("or", no, c) is call("or", c, no) is c
    assert call("and", no, c) is call("and", c, no) is no and call("or", yes, c) is call("or", c, yes) is yes
    assert call("and", c, d).args == (c, d)


def test_a_guarded_load_is_zero_by_itself():
    x, i, c, d = Array("x", float32, 4), Var("i", 4), temp("c", bool_), temp("d", bool_)
    guarded = load(x, i, c)
    assert select(c, guarded, 0.0) is guarded
    for condition, value, other in ((d, guarded, 0.0), (c, load(x, i), 0.0), (c, guarded, -0.0), (c, guarded, 1.0)):
        assert select(condition, value, other).word == "select"


def test_guards_known_beforehand_disappear():
    x, i = Array("x", float32, 4), Var("i", 4)
    assert load(x, i, i < 4) is load(x, i)
    assert load(x, i, i < 0) is const(0, float32)
    c, d = temp("c", bool_), temp("d", bool_)
    assert all_of(None, const(True, bool_)) is None
    assert all_of(None, c) is c
    assert all_of(c, d) is call("and", c, d)


def test_operators_build_words_of_the_left_dtype():
    x, n, b = temp("x", float32), temp("n", int32), temp("b", bool_)
    assert (2 - x) is call("sub", const(2, float32), x)
    assert (2 / x) is call("div", const(2, float32), x)
    assert (n << 3) is call("shl", n, const(3, int32))
    assert (n >> 3) is call("shr", n, const(3, int32))
    assert (b & ~b).word == "and" and (b | b).word == "or" and (n ^ 1).word == "xor"
    assert (x < 1).dtype is bool_ and x.equals(1).word == "eq" and x.differs(1).word == "ne"
    assert (-x).word == "neg" and (x * 2).dtype is float32
    assert not isinstance(x, Index)


def test_words_check_their_arguments():
    x = temp("x", float32)
    with pytest.raises(AssertionError, match="add takes 2 arguments"):
        call("add", x)
    with pytest.raises(AssertionError, match="cast needs a dtype"):
        call("cast", x)
