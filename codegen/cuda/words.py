"""The words that CUDA C++ says, and how.

In: a word of `graphc.ir.expr.WORDS` and operands as C++ text. Out: text. Operands and results have exactly their register
types, integers wrap through unsigned types, no expression is undefined. Templates stand in tables, by kind of operand;
words that stand in none (`says` is False) must have been rewritten before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphc.dtype import DType, bfloat16, float16, float32, float64, tfloat32
from graphc.ir.expr import COMPARISONS

from . import types
from .prelude import FUNCTIONS

OTHER, SUM, PRODUCT, ATOM = range(4)  # how tightly a text binds

# Identifiers that the text of kernels uses itself, and macros of some compilers.
RESERVED = frozenset(FUNCTIONS) | frozenset("thread other task distance warp linux unix memcpy add_atomically".split())
RESERVED |= {f"{name}{suffix}" for name in "sqrt floor ceil trunc rint fabs fma".split() for suffix in ("", "f")}


@dataclass(frozen=True, slots=True)
class Text:
    """An operand: C++ text, its element type, and how tightly it binds."""

    text: str
    dtype: DType
    level: int = ATOM

    def at(self, level: int) -> str:
        """The text as an operand of an operator that binds like `level`."""
        return self.text if self.level >= level else f"({self.text})"

    def __str__(self) -> str:
        return self.at(ATOM)


# kind of operand -> word -> (template, level). {T} is the type, {U} the unsigned type of at least 32 bits, {f} the suffix
# of float functions; {0} ... are operands, {x0} ... without parentheses, {l0} ... in sums,
# {p0} ... in products, {n1} as a shift count.
_TEMPLATES: dict[str, dict[str, tuple[str, int]]] = {
    "f": {
        "add": ("{l0} + {p1}", SUM), "sub": ("{l0} - {p1}", SUM), "mul": ("mul({x0}, {x1})", ATOM),
        "div": ("{0} / {1}", PRODUCT), "neg": ("-{0}", PRODUCT), "sqrt": ("sqrt{f}({x0})", ATOM),
        "floor": ("floor{f}({x0})", ATOM), "ceil": ("ceil{f}({x0})", ATOM), "trunc": ("trunc{f}({x0})", ATOM),
        "round": ("rint{f}({x0})", ATOM), "abs": ("fabs{f}({x0})", ATOM), "fma": ("fma{f}({x0}, {x1}, {x2})", ATOM),
        "max": ("greater<{T}>({x0}, {x1})", ATOM), "min": ("lesser<{T}>({x0}, {x1})", ATOM), "isnan": ("{0} != {0}", OTHER),
        "isinf": ("fabs{f}({x0}) == {inf}", OTHER),
    },
    "i": {
        "add": ("{T}({U}({x0}) + {U}({x1}))", ATOM), "sub": ("{T}({U}({x0}) - {U}({x1}))", ATOM),
        "mul": ("{T}({U}({x0}) * {U}({x1}))", ATOM), "neg": ("{T}({U}(0) - {U}({x0}))", ATOM),
        "and": ("{T}({0} & {1})", ATOM), "or": ("{T}({0} | {1})", ATOM), "xor": ("{T}({0} ^ {1})", ATOM),
        "not": ("{T}(~{0})", ATOM), "shl": ("{T}({U}({x0}) << {n1})", ATOM), "shr": ("{T}({0} >> {n1})", ATOM),
        "lshr": ("{T}({V}({x0}) >> {n1})", ATOM), "max": ("greater<{T}>({x0}, {x1})", ATOM),
        "min": ("lesser<{T}>({x0}, {x1})", ATOM), "abs": ("{T}({0} < 0 ? {U}(0) - {U}({x0}) : {U}({x0}))", ATOM),
        "quot": ("quotient<{T}>({x0}, {x1})", ATOM), "rem": ("remainder_of<{T}>({x0}, {x1})", ATOM),
    },
    "b": {
        "and": ("{0} && {1}", OTHER), "or": ("{0} || {1}", OTHER), "xor": ("{0} != {1}", OTHER), "max": ("{0} || {1}", OTHER),
        "min": ("{0} && {1}", OTHER), "not": ("!{0}", PRODUCT),
    },
}  # fmt: skip
_TEMPLATES["u"] = _TEMPLATES["i"] | {"abs": ("{0}", ATOM)}
_OPERATORS = dict(zip(COMPARISONS, ("==", "!=", "<", "<=", ">", ">="), strict=True))


def says(word: str, dtype: DType) -> bool:
    """Whether `word` on operands of `dtype` is written directly. A cast is said between any two types."""
    if word in ("cast", "bitcast", "select"):
        return True
    return not types.is_half(dtype) and (word in _TEMPLATES[dtype.kind] or word in COMPARISONS)


def speak(word: str, dtype: DType, args: tuple[Text, ...]) -> Text:
    """`word(*args)`, of element type `dtype`."""
    if word == "cast":
        return convert(args[0], dtype)
    if word == "bitcast":
        return _bitcast(args[0], dtype)
    if word == "select":
        return Text(f"{args[0]} ? {args[1]} : {args[2]}", dtype, OTHER)
    operand = args[-1].dtype
    if word in COMPARISONS:
        small = "int" if operand.kind in "bu" else ""
        return Text(f"{small}{_closed(args[0], small)} {_OPERATORS[word]} {small}{_closed(args[1], small)}", dtype, OTHER)
    template, level = _TEMPLATES[operand.kind][word]
    if "{n1}" in template:
        return Text(template.format(*args, n1=_count(args[1]), **_words_of(operand), **_leveled(args)), dtype, level)
    return Text(template.format(*args, **_words_of(operand), **_leveled(args)), dtype, level)


def _count(arg: Text) -> str:
    """A shift count; masked, unless it is a number, so that no shift is undefined."""
    number = re.fullmatch(r"(?:\w+\()?(\d+)\)?", arg.text)
    return number[1] if number and int(number[1]) < arg.dtype.bits else f"({arg} & {arg.dtype.bits - 1})"


def _closed(arg: Text, function: str) -> str:
    return f"({arg.text})" if function else str(arg)


def _leveled(args: tuple[Text, ...]) -> dict[str, str]:
    levels = {"x": OTHER, "l": SUM, "p": PRODUCT}
    return {f"{letter}{n}": arg.at(level) for n, arg in enumerate(args) for letter, level in levels.items()}


def _words_of(dtype: DType) -> dict[str, object]:
    bits = max(dtype.bits, 32)
    return {
        "T": types.register(dtype), "U": f"uint{bits}_t", "V": f"uint{dtype.bits}_t",
        "f": "f" if dtype is float32 else "", "inf": types.number(float("inf"), dtype) if dtype.is_float else "",
    }  # fmt: skip


def convert(value: Text, dtype: DType) -> Text:
    """A value in another type: integers wrap, floats saturate, NaN becomes 0 or true, halves are rounded once."""
    source, kind = value.dtype, types.register(dtype)
    if source is dtype:
        return value
    if source is tfloat32:
        return convert(Text(value.text, float32, value.level), dtype)
    if dtype is tfloat32:
        return Text(f"to_tfloat({convert(value, float32).text})", dtype)
    if types.is_half(source):
        single = Text(f"{'from_bfloat' if source is bfloat16 else 'from_half'}({value.text})", float32)
        return convert(single, dtype)
    if types.is_half(dtype):
        exact = source is float32 or (not source.is_float and source.bits <= 16)
        wide = convert(value, float32).text if exact else f"odd_float({convert(value, float64).text})"
        return Text(f"{'to_half' if dtype is float16 else 'to_bfloat'}({wide})", dtype)
    if dtype.is_bool:
        return Text(f"{value} != {types.number(0, source)}", dtype, OTHER)
    if source.is_float and dtype.is_int:
        bits = dtype.bits - (dtype.kind == "i")
        low, high = (types.number(limit, dtype) for limit in (-(2**bits) if dtype.kind == "i" else 0, 2**bits - 1))
        return Text(f"saturate<{kind}, {types.register(source)}>({value.text}, {low}, {high})", dtype)
    return Text(f"{kind}({value.text})", dtype)


def _bitcast(value: Text, dtype: DType) -> Text:
    source, target = types.register(value.dtype), types.register(dtype)
    if source == target:
        return Text(value.text, dtype, value.level)
    assert dtype.bits == value.dtype.bits and not dtype.is_bool, f"no bitcast from {value.dtype} to {dtype}"
    real = {float32, float64} & {dtype, value.dtype}
    return Text(f"bitcast<{target}, {source}>({value.text})" if real else f"{target}({value.text})", dtype)


def combine(word: str, old: Text, new: Text) -> Text:
    """`old word new` in the type of `old`; half floats are combined as float32."""
    working = old.dtype.accumulator
    return convert(speak(word, working, (convert(old, working), convert(new, working))), old.dtype)
