"""Rules of truth values, bits, choices, comparisons and casts, each under its equation.

In and out: see graphc/ir/rewrite.py. A NaN compares unequal to itself, so x == x is true for integers only, and
not (x < y) is x >= y for integers only.
"""

from __future__ import annotations

from graphc.dtype import DType
from graphc.ir.rewrite import Rule, number, op, rule, wild
from graphc.ir.values import Value, full, like, make

x, y, z, p = wild("x"), wild("y"), wild("z"), wild("p")
c, d = number("c"), number("d")
COMPLEMENT = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "le": "gt", "gt": "le"}
MANTISSA = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
EXPONENT = {"float16": 5, "bfloat16": 8, "float32": 8, "float64": 11}


def discrete(x: Value) -> bool:
    return not x.dtype.is_float


def all_ones(dtype: DType) -> int | bool:
    """The value with every bit set."""
    return True if dtype.is_bool else 2**dtype.bits - 1 if dtype.kind == "u" else -1


# --------------------------------------------------------------------------------------------------------------- bits

BITS: list[Rule] = [
    rule("not not x -> x", op("not", op("not", x)), lambda x: x),
    rule("x and x -> x", op("and or", x, x), lambda x: x),
    rule("x xor x -> 0", op("xor", x, x), lambda x: like(x, 0), because="equal bits cancel"),
    rule("x and ones -> x", op("and", x, c), lambda x: x, when=lambda x, c: c == all_ones(x.dtype)),
    rule("x and 0 -> 0", op("and", x, c), lambda x: like(x, 0), when=lambda c: c == 0, because="0 has no bit to share"),
    rule("x or 0 -> x", op("or xor", x, c), lambda x: x, when=lambda c: c == 0),
    rule(
        "x or ones -> ones",
        op("or", x, c),
        lambda x, c: like(x, c),
        when=lambda x, c: c == all_ones(x.dtype),
        because="every bit is set already",
    ),
    rule("x xor ones -> not x", op("xor", x, c), lambda x: make("not", x), when=lambda x, c: c == all_ones(x.dtype)),
]

# -------------------------------------------------------------------------------------------------------- comparisons

COMPARISONS: list[Rule] = [
    rule("x == x -> true", op("eq le ge", x, x), lambda root: full(root.type, True), when=lambda x: discrete(x)),
    rule("x != x -> false", op("ne lt gt", x, x), lambda root: full(root.type, False), when=lambda x: discrete(x)),
    rule(
        "not (x == y) -> x != y",
        op("not", op("eq ne", x, y, called="test")),
        lambda test: make(COMPLEMENT[test.op.name], *test.operands),
    ),
    rule(
        "not (x < y) -> x >= y",
        op("not", op("lt le gt ge", x, y, called="test")),
        lambda test: make(COMPLEMENT[test.op.name], *test.operands),
        when=lambda x: discrete(x),
    ),
    rule("x == true -> x", op("eq", x, True), lambda x: x),
    rule("x == false -> not x", op("eq", x, False), lambda x: make("not", x)),
    rule("x != false -> x", op("ne", x, False), lambda x: x),
    rule("x != true -> not x", op("ne", x, True), lambda x: make("not", x)),
]

# ------------------------------------------------------------------------------------------------------------- choices

SELECT: list[Rule] = [
    rule("p ? x : x -> x", op("select", p, x, x), lambda x: x, because="both choices are the same"),
    rule("true ? x : y -> x", op("select", True, x, y), lambda x: x, because="y is never chosen"),
    rule("false ? x : y -> y", op("select", False, x, y), lambda y: y, because="x is never chosen"),
    rule("not p ? x : y -> p ? y : x", op("select", op("not", p), x, y), lambda p, x, y: make("select", p, y, x)),
    rule("p ? true : false -> p", op("select", p, True, False), lambda p: p),
    rule("p ? false : true -> not p", op("select", p, False, True), lambda p: make("not", p)),
    rule(
        "p ? (p ? x : y) : z -> p ? x : z",
        op("select", p, op("select", p, x, y), z),
        lambda p, x, z: make("select", p, x, z),
        because="y is chosen only where p is both true and false",
    ),
    rule(
        "p ? x : (p ? y : z) -> p ? x : z",
        op("select", p, x, op("select", p, y, z)),
        lambda p, x, z: make("select", p, x, z),
        because="y is chosen only where p is both true and false",
    ),
]

# ------------------------------------------------------------------------------------------------------------ windows


def _of_maxima(x: Value, y: Value, dy: Value, offsets: Value, root: Value) -> Value:
    """The gradient of relu behind that of the maximum over windows of its result, the other way round: where a window's maximum
    is not positive, no element of it is, and NaN is the maximum. What chooses is as large as the maxima."""
    attrs = offsets.attrs
    maxima = make("reduce_window", y, **attrs, kind="max")
    kept = make("select", make("le", maxima, like(maxima, 0)), like(dy, 0), dy)
    return make("window_scatter", kept, offsets, shape=root.shape, **attrs)


_POSITIVE = op("select", op("le", x, 0), 0, x, called="y")

WINDOWS: list[Rule] = [
    rule(
        "x <= 0 ? 0 : scatter(dy, argmax relu(x)) -> scatter(max relu(x) <= 0 ? 0 : dy, argmax relu(x))",
        op("select", op("le", x, 0), 0, op("window_scatter", wild("dy"), op("window_argmax", _POSITIVE, called="offsets"))),
        _of_maxima,
        because="x is not positive where the maximum of its window is chosen and not",
    ),
]

# --------------------------------------------------------------------------------------------------------------- casts


def represents(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` is a value of `wide`."""
    if wide is narrow or narrow.is_bool:
        return True
    if wide.is_float:
        if narrow.is_float:
            return all(bits[wide.name] >= bits[narrow.name] for bits in (MANTISSA, EXPONENT))
        magnitude = narrow.bits - (narrow.kind == "i")
        return MANTISSA[wide.name] >= magnitude and 2 ** (EXPONENT[wide.name] - 1) > magnitude
    if wide.is_bool or narrow.is_float:
        return False
    return (
        wide.bits > narrow.bits
        if (wide.kind, narrow.kind) == ("i", "u")
        else wide.kind == narrow.kind and wide.bits >= narrow.bits
    )


def passes_through(x: Value, middle: DType, root: Value) -> bool:
    """Whether casting `x` to `middle` on the way changes nothing. An int beyond the result's range wraps when cast
    directly, but saturates when it comes as a float."""
    saturates = middle.is_float and x.dtype.is_int and root.dtype.is_int
    return represents(middle, x.dtype) and (not saturates or represents(root.dtype, x.dtype))


CASTS: list[Rule] = [
    rule("cast(x) -> x, same type", op("cast", x), lambda x: x, when=lambda x, root: x.dtype is root.dtype),
    rule(
        "cast(cast(x)) -> cast(x), middle type wide enough",
        op("cast", op("cast", x, dtype=wild("middle"))),
        lambda x, root: make("cast", x, dtype=root.dtype),
        when=passes_through,
    ),
    rule(
        "cast(x) != 0 -> x != 0, to a wider type",
        op("eq ne", op("cast", x, dtype=wild("middle")), c),
        lambda x, c, root: make(root.op.name, x, like(x, c)),
        when=lambda x, middle, c: c == 0 and not x.dtype.is_bool and represents(middle, x.dtype),
    ),
]

LOGIC = [*BITS, *COMPARISONS, *SELECT, *WINDOWS, *CASTS]
