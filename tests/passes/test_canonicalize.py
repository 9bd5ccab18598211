"""Every rule of the algebra: what it makes of a value, the same numbers to the bit, and a neighbour it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dtype import DType, bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.rewrite import Fired
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, like, make, topological
from graphc.ops.contract import dot_general
from graphc.ops.reduce import reduce_any, reduce_max, reduce_prod, reduce_sum
from graphc.ops.shape import broadcast, concat, pad, reshape, reverse, slice_, transpose
from graphc.ops.source import placeholder
from graphc.passes.canonicalize import ALGEBRA, canonicalize
from graphc.passes.logic_rules import represents

INF = float("inf")
SPECIAL = {
    "f": [0.0, -0.0, 1.5, -2.25, INF, -INF, float("nan"), 1e-40, 3.0, -7.0, 1e-30, -1e30],
    "i": [0, 1, -1, 2, -128, 127, 5, -7, 100, 3],
    "u": [0, 1, 255, 2, 128, 127, 5, 7],
    "b": [True, False, False, True, True],
}


def t(name: str, *shape: int, dtype: DType = float32) -> Value:
    return placeholder(name, TensorType(dtype, shape))


f, g, h = (t(name, 3, 4) for name in "fgh")
n, m = (t(name, 3, 4, dtype=int32) for name in "nm")
u = t("u", 3, 4, dtype=uint8)
p, q = (t(name, 3, 4, dtype=bool_) for name in "pq")
row, row2, column = t("row", 4), t("row2", 4), t("column", 3)
cube = t("cube", 2, 3, 4)
ones = t("ones", 1, 3, 1, 4)
a, b = t("a", 5, 2, 3), t("b", 5, 3, 4)


def across(x: Value) -> Value:
    """[4] -> [3, 4]"""
    return broadcast(x, (3, 4), (1,))


def e(x: Value) -> Value:
    return make("exp", x)


def select(*operands: Value) -> Value:
    return make("select", *operands)


def cast(x: Value, dtype: DType) -> Value:
    return make("cast", x, dtype=dtype)


CASES: list[tuple[str, Value, Value]] = [
    ("[c, c, ..] -> broadcast(c)", f * constant(np.full((3, 4), 7, np.float32)), f * 7.0),
    ("op(c, x) -> op(x, c), op commutative", 3.0 + f, f + 3.0),
    ("c < x -> x > c", make("lt", like(f, 2), f), make("gt", f, like(f, 2))),
    ("x + 0 -> x", n + 0, n),
    ("x + -0.0 -> x", f + -0.0, f),
    ("x - 0 -> x", f - 0.0, f),
    ("0 - x -> -x", 0 - n, -n),
    ("-0.0 - x -> -x", -0.0 - f, -f),
    ("x * 1 -> x", f * 1.0, f),
    ("x * -1 -> -x", f * -1.0, -f),
    ("x * 0 -> 0", n * 0, like(n, 0)),
    ("x / 1 -> x", f / 1.0, f),
    ("x / -1 -> -x", f / -1.0, -f),
    ("x // 1 -> x", make("floordiv", n, like(n, 1)), n),
    ("x % 1 -> 0", make("mod", n, like(n, 1)), like(n, 0)),
    ("x - x -> 0", n - n, like(n, 0)),
    ("x << 0 -> x", make("shl", n, like(n, 0)), n),
    ("max(x, x) -> x", make("max", f, f), f),
    ("max(x, lowest) -> x", make("max", f, like(f, -INF)), f),
    ("min(x, highest) -> x", make("min", n, like(n, 2**31 - 1)), n),
    ("-(-x) -> x", -(-f), f),  # noqa: B002
    ("x + -y -> x - y", f + -g, f - g),
    ("x - -y -> x + y", f - -g, f + g),
    ("-(x - y) -> y - x", -(n - m), m - n),
    ("-x * -y -> x * y", -f * -g, f * g),
    ("-x / -y -> x / y", -f / -g, f / g),
    ("-x * c -> x * -c", -f * 3.0, f * -3.0),
    ("-x / c -> x / -c", -f / 3.0, f / -3.0),
    ("-(x * c) -> x * -c", -(f * 3.0), f * -3.0),
    ("-(x / c) -> x / -c", -(f / 3.0), f / -3.0),
    ("|-x| -> |x|", make("abs", -f), make("abs", f)),
    ("|x| -> x", make("abs", e(f)), e(f)),
    ("|x| * |x| -> x * x", make("abs", f) * make("abs", f), f * f),
    ("x ** 1 -> x", make("pow", f, like(f, 1)), f),
    ("x ** 0 -> 1", make("pow", f, like(f, 0)), like(f, 1)),
    ("x ** 2 -> x * x", make("pow", f, like(f, 2)), f * f),
    ("x ** 3 -> x * x * x", make("pow", f, like(f, 3)), f * f * f),
    ("x ** -1 -> 1 / x", make("pow", f, like(f, -1)), like(f, 1) / f),
    ("x ** 0.5 -> sqrt(x), x >= 0", make("pow", f * f, like(f, 0.5)), make("sqrt", f * f)),
    (
        "x ** 0.5 -> x == -inf ? inf : |sqrt(x)|",
        make("pow", f, like(f, 0.5)),
        select(make("eq", f, like(f, -INF)), like(f, INF), make("abs", make("sqrt", f))),
    ),
    ("x ** -0.5 -> rsqrt(x), x >= 0", make("pow", e(f), like(f, -0.5)), make("rsqrt", e(f))),
    ("x / c -> x * (1 / c), c a power of two", f / 8.0, f * 0.125),
    ("(x + c) + d -> x + (c + d)", (u + 200) + 100, u + 44),
    ("(x * c) * d -> x * (c * d)", (n * 6) * 7, n * 42),
    ("x - c -> x + -c", n - 3, n + -3),
    ("not not x -> x", make("not", make("not", n)), n),
    ("x and x -> x", make("or", p, p), p),
    ("x xor x -> 0", make("xor", p, p), like(p, False)),
    ("x and ones -> x", make("and", u, like(u, 255)), u),
    ("x and 0 -> 0", make("and", p, like(p, False)), like(p, False)),
    ("x or 0 -> x", make("or", n, like(n, 0)), n),
    ("x or ones -> ones", make("or", n, like(n, -1)), like(n, -1)),
    ("x xor ones -> not x", make("xor", p, like(p, True)), make("not", p)),
    ("x == x -> true", make("eq", n, n), like(p, True)),
    ("x != x -> false", make("lt", n, n), like(p, False)),
    ("not (x == y) -> x != y", make("not", make("eq", f, g)), make("ne", f, g)),
    ("not (x < y) -> x >= y", make("not", make("lt", n, m)), make("ge", n, m)),
    ("x == true -> x", make("eq", p, like(p, True)), p),
    ("x == false -> not x", make("eq", p, like(p, False)), make("not", p)),
    ("x != false -> x", make("ne", p, like(p, False)), p),
    ("x != true -> not x", make("ne", p, like(p, True)), make("not", p)),
    ("p ? x : x -> x", select(p, f, f), f),
    ("true ? x : y -> x", select(like(p, True), f, g), f),
    ("false ? x : y -> y", select(like(p, False), f, g), g),
    ("not p ? x : y -> p ? y : x", select(make("not", p), f, g), select(p, g, f)),
    ("p ? true : false -> p", select(p, like(p, True), like(p, False)), p),
    ("p ? false : true -> not p", select(p, like(p, False), like(p, True)), make("not", p)),
    ("p ? (p ? x : y) : z -> p ? x : z", select(p, select(p, f, g), h), select(p, f, h)),
    ("p ? x : (p ? y : z) -> p ? x : z", select(p, f, select(p, g, h)), select(p, f, h)),
    ("cast(x) -> x, same type", cast(f, float32), f),
    ("cast(cast(x)) -> cast(x), middle type wide enough", cast(cast(u, float32), float64), cast(u, float64)),
    ("cast(x) != 0 -> x != 0, to a wider type", make("ne", cast(u, float32), like(f, 0)), make("ne", u, like(u, 0))),
    ("reshape(x) -> x, same shape", make("reshape", f, shape=(3, 4)), f),
    ("reshape(reshape(x)) -> reshape(x)", reshape(reshape(f, (12,)), (4, 3)), reshape(f, (4, 3))),
    ("transpose(x) -> reshape(x), only extents of 1 move", transpose(ones, (1, 0, 3, 2)), reshape(ones, (3, 1, 4, 1))),
    ("transpose(transpose(x)) -> transpose(x)", transpose(transpose(cube, (1, 2, 0)), (0, 2, 1)), transpose(cube, (1, 0, 2))),
    ("broadcast(x) -> x, same shape", make("broadcast", f, shape=(3, 4), dims=(0, 1)), f),
    ("broadcast(x) -> reshape(x), same size", broadcast(f, (1, 3, 1, 4), (1, 3)), reshape(f, (1, 3, 1, 4))),
    (
        "broadcast(x[.., 1, ..]) -> broadcast(reshape(x))",
        broadcast(ones, (1, 3, 5, 4), (0, 1, 2, 3)),
        broadcast(reshape(ones, (3, 4)), (1, 3, 5, 4), (1, 3)),
    ),
    (
        "broadcast(broadcast(x)) -> broadcast(x)",
        broadcast(across(row), (2, 3, 5, 4), (1, 3)),
        broadcast(row, (2, 3, 5, 4), (3,)),
    ),
    (
        "transpose(broadcast(x)) -> broadcast(transpose(x))",
        transpose(broadcast(f, (3, 5, 4), (0, 2)), (2, 1, 0)),
        broadcast(transpose(f, (1, 0)), (4, 5, 3), (0, 2)),
    ),
    (
        "slice(broadcast(x)) -> broadcast(slice(x))",
        slice_(broadcast(row, (9, 4), (1,)), (1, 1), (7, 4), (2, 2)),
        broadcast(slice_(row, (1,), (4,), (2,)), (3, 2), (1,)),
    ),
    (
        "reshape(broadcast(x)) -> broadcast(x), extents of 1 come or go",
        reshape(across(row), (3, 1, 4, 1)),
        broadcast(row, (3, 1, 4, 1), (2,)),
    ),
    ("op(broadcast(x), broadcast(y)) -> broadcast(op(x, y))", across(row) * across(row2), across(row * row2)),
    ("op(broadcast(x), broadcast(y)) -> broadcast(op(x, y))", e(across(row) * 3.0), across(e(row * 3.0))),
    ("slice(x) -> x, all of it", make("slice", f, start=(0, 0), stop=(3, 4), stride=(1, 1)), f),
    (
        "slice(slice(x)) -> slice(x)",
        slice_(slice_(t("long", 30), (3,), (29,), (2,)), (1,), (12,), (3,)),
        slice_(t("long", 30), (5,), (24,), (6,)),
    ),
    (
        "slice(concat(x, y)) -> slice(x)",
        slice_(concat([f, g, h], 1), (0, 5), (3, 7), (1, 1)),
        slice_(g, (0, 1), (3, 3)),
    ),
    ("slice(pad(x)) -> slice(x)", slice_(pad(f, (2, 1), (0, 5)), (2, 2), (5, 5)), slice_(f, (0, 1), (3, 4))),
    ("pad(x, 0, 0) -> x", make("pad", f, low=(0, 0), high=(0, 0), interior=(0, 0), value=0), f),
    ("pad(x, -a, -b) -> slice(x)", pad(f, (-1, 0), (0, -2)), slice_(f, (1, 0), (3, 2))),
    ("pad(pad(x)) -> pad(x)", pad(pad(f, (1, 0), (0, 2)), (1, 1), (0, 1)), pad(f, (2, 1), (0, 3))),
    ("reverse(x) -> x, along extents of 1", make("reverse", ones, axes=(0, 1)), reverse(ones, (1,))),
    ("reverse(reverse(x)) -> reverse(x)", reverse(reverse(cube, (0, 1)), (1, 2)), reverse(cube, (0, 2))),
    ("concat(x) -> x", make("concat", f, axis=0), f),
    ("concat(x, concat(y, z)) -> concat(x, y, z)", concat([f, concat([g, h], 1)], 1), concat([f, g, h], 1)),
    ("reduce(x, ()) -> x", make("reduce_sum", f, axes=()), f),
    ("reduce(x[.., 1, ..]) -> reduce(reshape(x))", reduce_sum(ones, (0, 1)), reduce_sum(reshape(ones, (3, 1, 4)), (0,))),
    ("reduce(reduce(x)) -> reduce(x)", reduce_max(reduce_max(cube, (1,)), (1,)), reduce_max(cube, (1, 2))),
    (
        "reduce(transpose(x)) -> transpose(reduce(x))",
        reduce_sum(transpose(cube, (2, 0, 1)), (2,)),
        transpose(reduce_sum(cube, (1,)), (1, 0)),
    ),
    ("sum(broadcast(x)) -> sum(x) * n", reduce_sum(across(row), (0, 1)), reduce_sum(row, (0,)) * 3.0),
    ("max(broadcast(x)) -> max(x)", reduce_max(broadcast(f, (7, 3, 4), (1, 2)), (0, 2)), reduce_max(f, (1,))),
    (
        "dot(transpose(x), y) -> dot(x, y)",
        dot_general(transpose(f, (1, 0)), t("w", 3, 7), contract=((1,), (0,))),
        dot_general(f, t("w", 3, 7), contract=((0,), (0,))),
    ),
    (
        "dot(x, transpose(y)) -> dot(x, y)",
        dot_general(a, transpose(b, (1, 2, 0)), contract=((2,), (0,)), batch=((0,), (2,))),
        dot_general(a, b, contract=((2,), (1,)), batch=((0,), (0,))),
    ),
    (
        "transpose(dot(x, y)) -> dot(y, x)",
        transpose(dot_general(a, b, contract=((2,), (1,)), batch=((0,), (0,))), (0, 2, 1)),
        dot_general(b, a, contract=((1,), (2,)), batch=((0,), (0,))),
    ),
]
ROUNDED = (
    "reduce(x, ()) -> x",  # the sign of a zero sum is free
    "x ** 3 -> x * x * x",
    "sum(broadcast(x)) -> sum(x) * n",
    "reduce(reduce(x)) -> reduce(x)",
)

NEIGHBOURS: list[tuple[str, Value]] = [
    ("op(c, x) -> op(x, c), op commutative", like(f, 3) - f),
    ("x + 0 -> x", f + 0.0),
    ("x - 0 -> x", f - -0.0),
    ("0 - x -> -x", 0 - f),
    ("x * 1 -> x", f * 1.5),
    ("x * 0 -> 0", f * 0.0),
    ("x - x -> 0", f - f),
    ("max(x, x) -> x", make("max", f, g)),
    ("max(x, lowest) -> x", make("max", f, like(f, -1e30))),
    ("max(x, lowest) -> x", make("max", f, like(f, INF))),
    ("min(x, highest) -> x", make("min", n, like(n, -(2**31)))),
    ("-(x - y) -> y - x", -(f - g)),
    ("-x * c -> x * -c", -f * g),
    ("|x| -> x", make("abs", f)),
    ("|x| -> x", make("abs", n * n)),
    ("|x| -> x", make("abs", f * g)),
    ("|x| -> x", make("abs", e(f) - e(g))),
    ("x ** 2 -> x * x", make("pow", f, like(f, 2.5))),
    ("x ** -1 -> 1 / x", make("pow", n, like(n, -1))),
    ("x ** 0.5 -> sqrt(x), x >= 0", make("pow", f, like(f, 0.5))),
    ("x ** -0.5 -> rsqrt(x), x >= 0", make("pow", f, like(f, -0.5))),
    ("x / c -> x * (1 / c), c a power of two", f / 3.0),
    ("x / c -> x * (1 / c), c a power of two", f / 0.0),
    ("x / c -> x * (1 / c), c a power of two", f / INF),
    ("x / c -> x * (1 / c), c a power of two", f / 2.0**127),
    ("x / c -> x * (1 / c), c a power of two", t("half", 3, dtype=float16) / 2.0**15),
    ("(x + c) + d -> x + (c + d)", (f + 1.0) + 2.0),
    ("(x * c) * d -> x * (c * d)", (f * 3.0) * 2.0),
    ("x - c -> x + -c", f - 3.0),
    ("x and ones -> x", make("and", n, like(n, 1))),
    ("x and 0 -> 0", make("and", n, like(n, 2))),
    ("x or ones -> ones", make("or", n, like(n, 1))),
    ("x or 0 -> x", make("or", p, like(p, True))),
    ("x xor ones -> not x", make("xor", n, like(n, 1))),
    ("x == x -> true", make("eq", f, f)),
    ("x != x -> false", make("ne", f, f)),
    ("not (x < y) -> x >= y", make("not", make("lt", f, g))),
    ("p ? x : x -> x", select(p, f, g)),
    ("p ? (p ? x : y) : z -> p ? x : z", select(p, select(q, f, g), h)),
    ("cast(x) -> x, same type", cast(f, float64)),
    ("cast(cast(x)) -> cast(x), middle type wide enough", cast(cast(f, int32), float32)),
    ("cast(cast(x)) -> cast(x), middle type wide enough", cast(cast(f, bfloat16), float32)),
    ("cast(cast(x)) -> cast(x), middle type wide enough", cast(cast(u, float32), int8)),
    ("cast(x) != 0 -> x != 0, to a wider type", make("ne", cast(f, int32), like(n, 0))),
    ("cast(x) != 0 -> x != 0, to a wider type", make("ne", cast(u, float32), like(f, 3))),
    ("transpose(x) -> reshape(x), only extents of 1 move", transpose(ones, (3, 0, 1, 2))),
    ("broadcast(x) -> reshape(x), same size", across(row)),
    ("broadcast(x[.., 1, ..]) -> broadcast(reshape(x))", across(row)),
    ("reshape(broadcast(x)) -> broadcast(x), extents of 1 come or go", reshape(across(row), (12,))),
    ("op(broadcast(x), broadcast(y)) -> broadcast(op(x, y))", across(row) * broadcast(column, (3, 4), (0,))),
    ("op(broadcast(x), broadcast(y)) -> broadcast(op(x, y))", across(row) * f),
    ("op(broadcast(x), broadcast(y)) -> broadcast(op(x, y))", f * 3.0),
    ("slice(x) -> x, all of it", slice_(f, (0, 1), (3, 4))),
    ("slice(concat(x, y)) -> slice(x)", slice_(concat([f, g], 1), (0, 3), (3, 5))),
    ("slice(pad(x)) -> slice(x)", slice_(pad(f, (2, 1), (0, 5)), (1, 2), (5, 5))),
    ("slice(pad(x)) -> slice(x)", slice_(pad(f, (0, 0), (0, 0), (1, 0)), (0, 0), (2, 4))),
    ("pad(x, 0, 0) -> x", pad(f, (0, 0), (0, 0), (1, 0))),
    ("pad(x, -a, -b) -> slice(x)", pad(f, (-1, 0), (1, 0))),
    ("pad(pad(x)) -> pad(x)", pad(pad(f, (1, 0), (0, 2)), (1, 1), (0, 1), None, 3.0)),
    ("pad(pad(x)) -> pad(x)", pad(pad(f, (1, 0), (0, 2)), (-1, 1), (0, 1))),
    ("pad(pad(x)) -> pad(x)", pad(pad(f, (1, 0), (0, 2)), (1, 1), (0, 1), (1, 0))),
    ("reverse(x) -> x, along extents of 1", reverse(cube, (0,))),
    ("concat(x, concat(y, z)) -> concat(x, y, z)", concat([concat([f, g], 0), concat([g, h], 0)], 1)),
    ("reduce(x, ()) -> x", reduce_sum(f, (0,))),
    ("reduce(x[.., 1, ..]) -> reduce(reshape(x))", reduce_sum(ones, (1,))),
    ("reduce(reduce(x)) -> reduce(x)", reduce_max(reduce_sum(cube, (1,)), (1,))),
    (
        "reduce(reduce(x)) -> reduce(x)",
        concat([reduce_sum(reduce_sum(cube, (1,)), (1,)), reduce_sum(reduce_sum(cube, (1,)), (0,))], 0),
    ),
    ("sum(broadcast(x)) -> sum(x) * n", reduce_sum(across(row), (1,))),
    ("sum(broadcast(x)) -> sum(x) * n", reduce_sum(broadcast(t("tiny", dtype=float16), (70001,), ()), (0,))),
    ("sum(broadcast(x)) -> sum(x) * n", reduce_sum(broadcast(t("brain", dtype=bfloat16), (257,), ()), (0,))),
    ("max(broadcast(x)) -> max(x)", reduce_max(across(row), (1,))),
    ("max(broadcast(x)) -> max(x)", reduce_prod(across(row), (0,))),
    ("max(broadcast(x)) -> max(x)", reduce_any(broadcast(t("truth", dtype=bool_), (0,), ()), (0,))),
    (
        "dot(transpose(x), y) -> dot(x, y)",
        dot_general(transpose(cube, (1, 0, 2)), t("w", 4, 7), contract=((2,), (0,))),
    ),
    (
        "dot(x, transpose(y)) -> dot(x, y)",
        dot_general(t("w", 7, 4), transpose(cube, (1, 0, 2)), contract=((1,), (2,))),
    ),
    ("transpose(dot(x, y)) -> dot(y, x)", transpose(dot_general(a, b, contract=((2,), (1,)), batch=((0,), (0,))), (1, 0, 2))),
]


def numbers(x: Value, seed: int) -> np.ndarray:
    """Special values in random order."""
    rng = np.random.default_rng(seed)
    info = None if x.dtype.is_float or x.dtype.is_bool else np.iinfo(x.dtype.numpy)
    pool = SPECIAL[x.dtype.kind] + ([int(info.min), int(info.max)] if info else [])
    with np.errstate(over="ignore"):
        return np.array([pool[i] for i in rng.integers(0, len(pool), x.type.size)]).astype(x.dtype.numpy).reshape(x.shape)


def same_numbers(before: Value, after: Value, exact: bool) -> None:
    inputs = [v for v in topological((before, after)) if v.op.name == "placeholder"]
    for seed in range(4):
        environment = {x: numbers(x, 10 * seed + i) for i, x in enumerate(inputs)}
        with np.errstate(all="ignore"):
            old, new = evaluate([before, after], environment)
        if not exact:
            np.testing.assert_allclose(new.astype(float), old.astype(float), rtol=3e-7, atol=1e-44)
            continue
        np.testing.assert_array_equal(new, old)
        if before.dtype.is_float:
            known = ~np.isnan(old)
            np.testing.assert_array_equal(np.signbit(new)[known], np.signbit(old)[known])


def fired(value: Value) -> tuple[Value, list[str]]:
    trace: list[Fired] = []
    graph = canonicalize(Graph("f", (), (value,)), trace)
    return graph.outputs[0], [step.rule for step in trace]


@pytest.mark.parametrize("name, before, after", CASES, ids=[name for name, _, _ in CASES])
def test_rule(name: str, before: Value, after: Value) -> None:
    found, names = fired(before)
    assert name in names
    inputs = {v.attrs["info"].name: v for v in topological((before,)) if v.op.name == "placeholder"}
    expected = _with_inputs(after, inputs)
    assert found is expected
    same_numbers(before, found, name not in ROUNDED)


def _with_inputs(value: Value, inputs: dict[str, Value]) -> Value:
    """`value` over the placeholders of these names (a case may write `t("w", ..)` on both of its sides)."""
    mapped: dict[Value, Value] = {}
    for v in topological((value,)):
        operands = tuple(mapped[o] for o in v.operands)
        mapped[v] = inputs[v.attrs["info"].name] if v.op.name == "placeholder" else make(v.op.name, *operands, **v.attrs)
    return mapped[value]


@pytest.mark.parametrize("name, value", NEIGHBOURS, ids=[name for name, _ in NEIGHBOURS])
def test_rule_stays_away_from_its_neighbour(name: str, value: Value) -> None:
    found, names = fired(value)
    assert name in {row.name for row in ALGEBRA.rules} and name not in names
    if value.type.size < 1000:
        same_numbers(value, found, exact=True)


def test_every_rule_has_a_case_and_every_guard_a_neighbour() -> None:
    tested, refused = {name for name, _, _ in CASES}, {name for name, _ in NEIGHBOURS}
    assert {row.name for row in ALGEBRA.rules} == tested
    self_evident = {
        "x // 1 -> x",
        "x % 1 -> 0",
        "-x / c -> x / -c",
        "-(x * c) -> x * -c",
        "-(x / c) -> x / -c",
    }  # ints only, floats only
    guarded = {row.name for row in ALGEBRA.rules if row.when is not None}
    assert guarded - refused - self_evident <= {
        "c < x -> x > c",
        "reshape(x) -> x, same shape",
        "broadcast(x) -> x, same shape",
    }


def test_casts_that_lose_nothing() -> None:
    every = [bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64]
    for narrow in every:
        for wide in every:
            pool = np.arange(-(2**15), 2**15).astype(narrow.numpy) if narrow.bits <= 16 else None
            if pool is None or narrow.is_float:
                continue
            back = pool.astype(wide.numpy).astype(narrow.numpy)
            exact = bool((back == pool).all()) and bool((pool.astype(wide.numpy).astype(float) == pool.astype(float)).all())
            assert represents(wide, narrow) == (exact or wide is narrow), f"{narrow} in {wide}"
    assert represents(float32, float16) and represents(float32, bfloat16) and represents(float64, float32)
    assert not (represents(float16, bfloat16) or represents(bfloat16, float16) or represents(float32, int32))
    assert represents(float64, int32) and not represents(float64, int64)


def test_full_values_keep_their_type() -> None:
    for dtype in (float16, bfloat16, float64):
        x = t("x", 3, dtype=dtype)
        found, _ = fired(make("select", t("c", 3, dtype=bool_), x * 1.0, full(x.type, 2.0) * 1.0))
        assert found.dtype is dtype and found.operands[2].op.name == "broadcast"


def test_canonical_graphs_are_returned_as_they_are() -> None:
    graph = Graph("f", (f, row), (across(row) + f, reduce_sum(e(f), (0,))))
    assert canonicalize(graph) is graph


def test_the_layout_of_a_convolution_stays() -> None:
    image, kernel = t("image", 1, 5, 5, 3), t("kernel", 2, 3, 3, 3)
    conv = make(
        "conv_general",
        transpose(image, (0, 3, 1, 2)),
        kernel,
        strides=(1, 1),
        padding=((0, 0), (0, 0)),
        lhs_dilation=(1, 1),
        rhs_dilation=(1, 1),
        feature_groups=1,
        batch_groups=1,
        lhs_spec=(0, 1, 2, 3),
        rhs_spec=(0, 1, 2, 3),
        out_spec=(0, 1, 2, 3),
    )
    assert fired(conv)[0] is conv
