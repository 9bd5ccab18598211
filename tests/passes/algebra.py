"""What every rule of the algebra must do: CASES (rule, before, after) and NEIGHBOURS (rule, a value it must leave alone)."""

from __future__ import annotations

import numpy as np

from graphc.dtype import DType, bfloat16, bool_, float16, float32, float64, int8, int32, uint8
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, like, make
from graphc.ops.contract import dot_general
from graphc.ops.reduce import reduce_any, reduce_max, reduce_prod, reduce_sum
from graphc.ops.shape import broadcast, concat, pad, reshape, reverse, slice_, transpose
from graphc.ops.source import placeholder
from graphc.ops.window import reduce_window
from graphc.ops.window_choice import window_argmax

INF = float("inf")


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


def outer(name: str, terms: int, *parts: str, size: int = 7) -> Value:
    """A product with a short sum: [terms, 7] by [terms, 8]; the operands are joined from `parts`."""
    left = [t(f"{part}_left", terms, size, dtype=int32) for part in parts or (name,)]
    right = [t(f"{part}_right", terms, 8, dtype=int32) for part in parts or (name,)]
    return dot_general(concat(left, 0), concat(right, 0), contract=((0,), (0,)))


def relu(x: Value) -> Value:
    return select(make("le", x, like(x, 0)), like(x, 0), x)


def scattered(dy: Value, x: Value) -> Value:
    """The gradient of the maxima over windows of two columns of `x` that overlap."""
    offsets = window_argmax(x, window=(1, 2), strides=(1, 1))
    return make("window_scatter", dy, offsets, shape=x.shape, **offsets.attrs)


def positive(y: Value, dy: Value) -> Value:
    """`dy` where the maximum over such a window is positive."""
    maxima = reduce_window(y, window=(1, 2), strides=(1, 1), kind="max")
    return select(make("le", maxima, like(maxima, 0)), like(dy, 0), dy)


dy = t("dy", 3, 3)

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
    (
        "x <= 0 ? 0 : scatter(dy, argmax relu(x)) -> scatter(max relu(x) <= 0 ? 0 : dy, argmax relu(x))",
        select(make("le", f, like(f, 0)), like(f, 0), scattered(dy, relu(f))),
        scattered(positive(relu(f), dy), relu(f)),
    ),
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
    ("op(view(x), view(y)) -> view(op(x, y))", across(row) * across(row2), across(row * row2)),
    ("op(view(x), view(y)) -> view(op(x, y))", e(across(row) * 3.0), across(e(row * 3.0))),
    ("op(view(x), view(y)) -> view(op(x, y))", e(reshape(cube, (6, 4))), reshape(e(cube), (6, 4))),
    (
        "op(view(x), view(y)) -> view(op(x, y))",
        transpose(f, (1, 0)) * transpose(g, (1, 0)) + 2.0,
        transpose(f * g + 2.0, (1, 0)),
    ),
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
    (
        "concat(reshape(x), reshape(y)) -> reshape(concat(x, y))",
        concat([reshape(f, (1, 3, 4)), reshape(t("long", 5, 4), (1, 5, 4))], 1),
        reshape(concat([f, t("long", 5, 4)], 0), (1, 8, 4)),
    ),
    ("dot(a, b) + dot(c, d) -> dot([c a], [d b])", outer("a", 1) + outer("c", 1), outer("ca", 1, "c", "a")),
    (
        "dot(a, b) + dot(c, d) -> dot([c a], [d b])",
        (outer("a", 1) + outer("c", 1)) + outer("e", 1),
        outer("eca", 1, "e", "c", "a"),
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
    (
        "x <= 0 ? 0 : scatter(dy, argmax relu(x)) -> scatter(max relu(x) <= 0 ? 0 : dy, argmax relu(x))",
        select(make("le", f, like(f, 0)), like(f, 0), scattered(dy, f)),
    ),
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
    ("op(view(x), view(y)) -> view(op(x, y))", across(row) * broadcast(column, (3, 4), (0,))),
    ("op(view(x), view(y)) -> view(op(x, y))", across(row) * f),
    ("op(view(x), view(y)) -> view(op(x, y))", f * 3.0),
    ("op(view(x), view(y)) -> view(op(x, y))", reshape(cube, (6, 4)) * reshape(t("flat", 24), (6, 4))),
    ("op(view(x), view(y)) -> view(op(x, y))", transpose(t("s", 4, 4), (1, 0)) * reshape(t("l", 16), (4, 4))),
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
    ("concat(reshape(x), reshape(y)) -> reshape(concat(x, y))", concat([reshape(f, (1, 3, 4)), t("z", 1, 3, 4)], 1)),
    ("concat(reshape(x), reshape(y)) -> reshape(concat(x, y))", concat([reshape(f, (1, 3, 4)), reshape(row, (1, 1, 4))], 1)),
    ("concat(reshape(x), reshape(y)) -> reshape(concat(x, y))", concat([reshape(f, (3, 1, 4)), reshape(g, (3, 1, 4))], 1)),
    ("dot(a, b) + dot(c, d) -> dot([c a], [d b])", outer("a", 9) + outer("c", 9)),  # operands larger than the result
    ("dot(a, b) + dot(c, d) -> dot([c a], [d b])", outer("a", 9) + outer("c", 1)),
    ("dot(a, b) + dot(c, d) -> dot([c a], [d b])", outer("a", 1) + outer("c", 1) * 2),
    (
        "dot(a, b) + dot(c, d) -> dot([c a], [d b])",  # another order of operands
        outer("a", 1) + dot_general(t("l", 7, 1, dtype=int32), t("r", 1, 8, dtype=int32), contract=((1,), (0,))),
    ),
    (
        "dot(a, b) + dot(c, d) -> dot([c a], [d b])",  # one of the products is wanted alone, too
        concat([outer("a", 1) + (both := outer("c", 1)), both], 0),
    ),
]
