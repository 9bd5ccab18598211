"""Every law of kernels and of programs, in a case in which it says no, next to one in which it says yes."""

import re
from dataclasses import replace

import numpy as np
import pytest

from graphc.dtype import bool_, float32, float64, int32, int64
from graphc.errors import VerifyError
from graphc.ir.expr import Array, Call, Var, call, cast, const, load, select, temp
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
    Store,
)
from graphc.ir.kernel_text import parse_kernel
from graphc.ir.kernel_verify import LAWS, verify_kernel
from graphc.ir.program_verify import LAWS as PROGRAM_LAWS
from graphc.ir.program_verify import verify_program

HEAD = "kernel k(x: float32[8], y: float32[8], n: int64[8], b: bool[8]) tasks t < 2:\n"


def kernel(*lines):
    return parse_kernel(HEAD + "".join(f"  {line}\n" for line in lines))


def refused(law, made, what=""):
    with pytest.raises(VerifyError, match=rf"breaks law {law} \(") as caught:
        verify_kernel(made)
    assert what in str(caught.value)
    return str(caught.value)


GOOD = [
    ["for i < 4 vector 4:", "  y[t*4 + i] = add(x[t*4 + i], 1.0:float32)"],
    ["for i < 4:", "  y[t*8 + i] = 1.0:float32 if lt(t, 1)"],
    ["for i < 4:", "  if lt(t, 1):", "    y[t*8 + i] = 1.0:float32"],
    ["y[t] = x[n[t] % 8]", "y[t] = x[n[t] if lt(n[t], 8)]"],
    ["for i < 8 vector 8:", "  if lt(t, 1):", "    y[i] = 1.0:float32"],
    ["for i < 8 vector 8:", "  y[t] add= x[i]"],
    ["for i < 4 vector 4:", "  for k < 2:", "    y[t*4 + i] add= x[k*4 + i]"],
    ["for i < 4 vector 4:", "  for k < 2 unrolled:", "    y[k] add= x[k*4 + i]"],
    ["for i < 4 vector 4:", "  y[t] = x[t]"],
    ["for i < 4 vector 4:", "  local s: float32[1]", "  s[0] = x[i]", "  y[i] = s[0]"],
    ["for i < 4 vector 4:", "  local s: float32[2]", "  for k < 2:", "    s[k] = 0.0:float32", "    s[k] add= x[i + k]"],
    ["for i < 2:", "  let v = x[i]", "  y[i] = v", "for i < 2:", "  let v = x[i]", "  y[i] = v"],
    ["for i < 0:", "  y[i + 100] = 1.0:float32"],
    ["for i < 2:", "  local s: float32[1]", "for i < 2:", "  local s: float32[1]"],
    ["b[t] = and(isnan(x[t]), le(n[t], 3:int64))", "b[t] or= true", "n[t] = cast.int64(b[t])"],
    ["for i < 8:", "  y[(3*i) % 8] = 1.0:float32"],
]  # fmt: skip


@pytest.mark.parametrize("lines", GOOD, ids=lambda lines: lines[0])
def test_legal_kernels_pass(lines):
    verify_kernel(kernel(*lines))


BAD = [
    ("K1", ["local s: float32[1]", "local s: float32[1]"], "s is declared already"),
    ("K1", ["local x: float32[8]"], "x is declared already"),
    ("K2", ["for i < 2:", "  for i < 2:", "    y[i] = 0.0:float32"], "i is a loop variable already"),
    ("K2", ["for t < 2:", "  y[t] = 0.0:float32"], "t is a loop variable already"),
    ("K3", ["for i < 2:", "  pass", "y[i] = 0.0:float32"], "the loop variable i is not in scope"),
    ("K3", ["for i < 2:", "  let v = x[i]", "y[0] = v"], "the temporary v is not in scope"),
    ("K3", ["for i < 2:", "  local s: float32[1]", "s[0] = 0.0:float32"], "the array s is not in scope"),
    ("K3", ["for i < 2:", "  local s: float32[1]", "y[0] = s[0]"], "the array s is not in scope"),
    ("K4", ["y[0] = add(x[0], 1.0:float64)"], "add of float32, float64"),
    ("K4", ["y[0] = select(x[0], x[1], x[2])"], "select on a float32"),
    ("K4", ["y[0] = quot(x[0], x[0])"], "quot of float32"),
    ("K4", ["n[0] = exp(n[0])"], "exp of int64"),
    ("K4", ["b[0] = add(b[0], b[0])"], "add of bool"),
    ("K4", ["y[0] = and(x[0], x[0])"], "and of float32"),
    ("K4", ["n[0] = bitcast.int64(x[0])"], "bitcast from float32 to int64"),
    ("K5", ["y[t*8] = 0.0:float32"], "the index of y runs from 0 to 8 of 8 elements"),
    ("K5", ["for i < 8:", "  y[i] = x[i - 1]"], "the index of x runs from -1 to 6"),
    ("K5", ["for i < 9:", "  y[0] add= x[i]"], "the index of x runs from 0 to 8"),
    ("K5", ["for i < 18:", "  y[i // 2] = 0.0:float32"], "the index of y runs from 0 to 8"),
    ("K6", ["if n[0]:", "  pass"], "the condition is int64"),
    ("K6", ["y[0] = x[0 if x[1]]"], "the guard of x is float32"),
    ("K6", ["y[0] = x[0] if n[0]"], "the guard of y is int64"),
    ("K7", ["y[0] = n[0]"], "y is float32, the value int64"),
    ("K7", ["y[0] add= n[0]"], "y is float32, the value int64"),
    ("K7", ["n[0] and= n[0]"], "and does not fold int64"),
    ("K7", ["b[0] add= b[0]"], "add does not fold bool"),
    ("K8", ["for i < 2 vector 0:", "  pass"], "width 0"),
    ("K9", ["for i < 8 vector 8:", "  if lt(i, 3):", "    y[i] = 0.0:float32"], "the condition depends on a lane"),
    ("K9", ["for i < 8 vector 8:", "  let v = x[i]", "  if isnan(v):", "    pass"], "the condition depends on a lane"),
    ("K10", ["for i < 8 vector 8:", "  y[0] = x[i]"], "every lane stores to y"),
    ("K10", ["for i < 8 vector 8:", "  y[0] = x[0] if lt(i, 3)"], "every lane stores to y"),
    ("K11", ["for i < 4 vector 4:", "  for k < 2:", "    y[k] add= x[k*4 + i]"], "changes inside the vector loop"),
    ("K11", ["for i < 4 vector 4:", "  y[0] add= x[i]", "  n[i] = cast.int64(y[0])"], "y is read inside the vector loop"),
    ("K11", ["for i < 4 vector 4:", "  y[0] = 0.0:float32", "  y[0] add= x[i]"], "y is stored inside the vector loop"),
    ("K12", ["let v = x[0]", "let v = x[1]"], "v is bound already"),
]  # fmt: skip


@pytest.mark.parametrize(("law", "lines", "what"), BAD, ids=[f"{law}-{what}" for law, _, what in BAD])
def test_a_broken_law_is_named(law, lines, what):
    message = refused(law, kernel(*lines), what)
    assert LAWS[law] in message


def test_the_message_shows_the_statement():
    message = refused("K7", kernel("for i < 2:", "  y[i] = n[i]"))
    assert message.splitlines()[1:] == ["    y[i] = n[i]"]


X, Y, T = Array("x", float32, 8), Array("y", float32, 8), Var("t", 2)


def raw(*body, params=(X, Y), task=T):
    return Kernel("k", params, task, body)


def forged(word, dtype, *args):
    """A call as no builder makes it."""
    made = object.__new__(Call)
    made.word, made.args, made.dtype = word, args, dtype
    return made


def test_what_text_cannot_say_is_refused_too():
    zero, one = 0 * T, const(1, float32)
    refused("K1", raw(params=(X, X)))
    refused("K2", raw(For(Var("t", 2), (Store(Y, zero, one),))))
    refused("K3", raw(Store(Array("y", float32, 8), zero, one)), "the array y is not in scope")
    refused("K3", raw(Store(Y, 0 * T + Var("t", 2), one)), "the loop variable t is not in scope")
    refused("K4", raw(Store(Y, zero, forged("neg", float32, one, one))), "neg of 2 arguments")
    refused("K4", raw(Store(Y, zero, forged("lt", float32, one, one))), "lt of float32 gives float32")
    refused("K5", raw(Store(Y, const(0, int64), one)), "no int64 index")
    refused("K5", raw(Store(Y, const(0, int32), one)), "the index of y is int32")
    refused("K7", raw(Accumulate(Y, zero, "avg", one)), "avg does not fold float32")
    refused("K8", raw(For(Var("i", 2), (), "parallel")), "kind parallel")
    refused("K8", raw(For(Var("i", -2), ())), "extent -2")
    refused("K8", raw(task=Var("t", -1)), "-1 tasks")
    refused("K12", raw(Let(temp("v", float64), one)), "v is float64, its value float32")


def test_deep_shared_expressions_are_judged_in_linear_time():
    i = Var("i", 8)
    value = load(X, i)
    for _ in range(200):
        value = value * value
    verify_kernel(raw(For(i, (Store(Y, i, select(value < 1, value, 0.0)),), VECTOR, 8)))


def test_unrolled_loops_are_like_serial_ones():
    i = Var("i", 8)
    verify_kernel(raw(For(i, (If(call("lt", i, const(3, int64)), (Store(Y, i, cast(const(1, int32), float32)),)),), UNROLLED)))


def test_every_kernel_law_has_a_case():
    assert {law for law, _, _ in BAD} == set(LAWS)


# ---------------------------------------------------------------------------------------------------------------- programs


def copy_kernel(n=4, name="copy"):
    a, b, i = Array("a", float32, n), Array("b", float32, n), Var("i", n)
    return Kernel(name, (a, b), Var("t", 1), (For(i, (Store(b, i, load(a, i)),)),))


COPY = copy_kernel()
IN, OUT = Buffer("in", float32, (4,), INPUT), Buffer("out", float32, (4,), OUTPUT)
H1, H2, H3 = (Buffer(f"h{n}", float32, (4,), ARENA) for n in (1, 2, 3))
W1, W2 = (Buffer(f"w{n}", float32, (4,), VARIABLE, np.zeros(4, np.float32)) for n in (1, 2))
C = Buffer("c", float32, (4,), CONSTANT, np.zeros(4, np.float32))


def program(*pairs, offsets=None, state=128, arena=192, **changes):
    launches = tuple(Launch(COPY, pair, f"step {n}") for n, pair in enumerate(pairs))
    function = KernelFunction("f", (IN,), (OUT,), launches)
    made = KernelProgram((function,), (W1, W2), (C,), offsets or {}, state, arena)
    return replace(made, **changes)


CHAIN = ((IN, H1), (H1, H2), (H2, H3), (H3, OUT))
PLAN = {W1: 0, W2: 64, H1: 0, H2: 64, H3: 0}


def test_a_legal_program_passes():
    verify_program(program(*CHAIN))
    verify_program(program(*CHAIN, offsets=PLAN))
    verify_program(program((W1, OUT), (C, W1), (W1, W2)))


def test_what_has_no_elements_needs_no_writer():
    nothing, kernel = Buffer("nothing", float32, (0,), ARENA), copy_kernel(0)
    out = Buffer("out", float32, (0,), OUTPUT)
    verify_program(single(outputs=(out,), launches=(Launch(kernel, (nothing, out)),)))


def single(**parts):
    """A program whose only function has other parts."""
    base = program(*CHAIN).functions[0]
    return program(functions=(replace(base, **parts),))


OWN = Buffer("own", float32, (4,), ARENA, parts=3)
STRANGER = Buffer("stranger", float32, (4,), INPUT)
WIDE = Buffer("wide", float64, (4,), OUTPUT)
LONG = Buffer("long", float32, (5,), OUTPUT)
BROKEN_PROGRAMS = [
    ("P1", lambda: single(launches=(Launch(COPY, (IN,)),)), "1 buffers for 2 params"),
    ("P1", lambda: single(outputs=(WIDE,), launches=(Launch(COPY, (IN, WIDE)),)), "wide is float64[4], the param b float32[4]"),
    ("P1", lambda: single(outputs=(LONG,), launches=(Launch(COPY, (IN, LONG)),)), "long is float32[5]"),
    ("P2", lambda: program((IN, H1), (H1, H1)), "h1 is passed twice"),
    ("P3", lambda: program((W1, IN)), "the input in is written"),
    ("P3", lambda: program((IN, C)), "the constant c is written"),
    ("P4", lambda: program((STRANGER, OUT)), "the input stranger is not the function's"),
    ("P4", lambda: program((Buffer("w", float32, (4,), VARIABLE), OUT)), "the variable w is not the function's"),
    ("P4", lambda: program((IN, OUT), variables=(H1,)), "h1, arena, is listed as variable"),
    ("P5", lambda: program((H1, OUT)), "h1 is read before any launch wrote it"),
    ("P5", lambda: program((IN, H1)), "the output out is never written"),
    ("P6", lambda: program((IN, OUT), constants=(replace(C, data=None),)), "the constant c has no data"),
    (
        "P6",
        lambda: program((IN, OUT), constants=(replace(C, data=np.zeros(3, np.float32)),)),
        "is float32[3], expected",
    ),
    ("P6", lambda: program((IN, OUT), variables=(replace(W1, data=np.zeros(4)),)), "is float64[4], expected float32[4]"),
    ("P7", lambda: program(functions=program((IN, OUT)).functions * 2), "f is there 2 times"),
    ("P7", lambda: program((IN, OUT), variables=(W1, replace(W1))), "w1 is there 2 times"),
    ("P8", lambda: program(*CHAIN, offsets={k: v for k, v in PLAN.items() if k is not H3}), "h3 has no offset"),
    ("P8", lambda: program(*CHAIN, offsets=PLAN | {H3: 8}), "h3 lies at 8, no multiple of 64"),
    ("P8", lambda: program(*CHAIN, offsets=PLAN | {H3: 192}), "h3 ends at 208, its memory (arena) at 192"),
    ("P8", lambda: program(*CHAIN, offsets=PLAN | {W2: 128}), "w2 ends at 144, its memory (variable) at 128"),
    ("P9", lambda: program(*CHAIN, offsets=PLAN | {W2: 0}), "variables w1 at 0..16 and w2 at 0..16 overlap"),
    (
        "P9",
        lambda: program(*CHAIN, offsets=PLAN | {H2: 0}),
        "h1 at 0..16 and h2 at 0..16 overlap, both live in launches 1",
    ),
    (
        "P9",
        lambda: program((IN, H1), (IN, H2), (H2, H3), (H3, OUT), (H1, W1), offsets=PLAN),
        "h1 at 0..16 and h3 at 0..16 overlap, both live in launches 2 to 3",
    ),
    ("P10", lambda: program((IN, OWN), (OWN, OUT)), "the arena buffer own has 3 parts"),
]


@pytest.mark.parametrize(("law", "make", "what"), BROKEN_PROGRAMS, ids=[f"{law}-{what}" for law, _, what in BROKEN_PROGRAMS])
def test_a_broken_program_law_is_named(law, make, what):
    with pytest.raises(VerifyError, match=rf"breaks law {law} \({re.escape(PROGRAM_LAWS[law])}\): .*{re.escape(what)}"):
        verify_program(make())


def test_every_program_law_has_a_case():
    assert {law for law, _, _ in BROKEN_PROGRAMS} == set(PROGRAM_LAWS)


def test_a_program_law_shows_the_launches_around():
    with pytest.raises(VerifyError) as caught:
        verify_program(program(*CHAIN[:2], (H1, H1), *CHAIN[2:]))
    assert "  > 2: copy(h1, h1)  step 2" in str(caught.value) and "    1: copy(h1, h2)  step 1" in str(caught.value)


def test_the_kernels_of_a_program_are_verified():
    bad = Kernel("copy", COPY.params, COPY.task, (Store(COPY.params[1], 0 * COPY.task, const(True, bool_)),))
    with pytest.raises(VerifyError, match="kernel copy breaks law K7"):
        verify_program(single(launches=(Launch(bad, (IN, OUT)),)))


def test_two_functions_may_use_the_same_arena():
    function = program(*CHAIN).functions[0]
    other = replace(function, name="g", launches=(Launch(COPY, (IN, H2)), Launch(COPY, (H2, OUT))))
    verify_program(program(functions=(function, other), offsets=PLAN | {H2: 64}))
