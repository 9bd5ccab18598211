"""The words that LLVM says natively, and how.

In: a word of `graphc.ir.expr.WORDS` and operands of equal lanes. Out: instructions, and the result's `Value`. Instructions
and intrinsics are tables; what needs more than one instruction is a small function. No word ever traps. Words that are
in no table here (`says` is False) must have been rewritten before.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.dtype import DType, bool_, float32, float64, int32
from graphc.ir.expr import COMPARISONS, WORDS

from ..target import Target
from . import types
from .builder import Builder, Value, constant
from .casts import convert

# word -> instruction, for each kind of operand: f float32 and float64, i signed, u unsigned, b bool.
_INSTRUCTIONS: dict[str, dict[str, str]] = {
    "f": {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "neg": "fneg"},
    "i": {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl", "shr": "ashr",
          "lshr": "lshr"},
    "u": {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl", "shr": "lshr",
          "lshr": "lshr"},
    "b": {"and": "and", "or": "or", "xor": "xor", "max": "or", "min": "and"},
}  # fmt: skip

_INTRINSICS: dict[str, dict[str, str]] = {
    "f": {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven", "abs": "fabs",
          "fma": "fma"},
    "i": {"max": "smax", "min": "smin"},
    "u": {"max": "umax", "min": "umin"},
    "b": {},
}  # fmt: skip

# Comparisons with NaN are false, but for ne.
_COMPARE = {
    "f": ("fcmp", {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}),
    "i": ("icmp", {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}),
    "u": ("icmp", {"eq": "eq", "ne": "ne", "lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge"}),
    "b": ("icmp", {"eq": "eq", "ne": "ne", "lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge"}),
}

# Processors whose maximum instruction propagates NaN; elsewhere a compare and two selects are shorter.
_NATIVE_MAXIMUM = ("aarch64", "arm64", "wasm32")


def says(word: str, dtype: DType) -> bool:
    """Whether `word` on operands of `dtype` is written directly. A cast is said between any two types."""
    if word in ("cast", "bitcast", "select"):
        return True
    kind = _kind(dtype)
    if kind == "h":
        return False
    return (
        word in _INSTRUCTIONS[kind]
        or word in _INTRINSICS[kind]
        or word in COMPARISONS
        or ((word, kind) in _WRITTEN and word in WORDS)
    )


def speaker(target: Target) -> Callable[[str, DType], bool]:
    """`says`, and the words that only the processors of `target` have."""
    if not _has_avx512(target):
        return says
    return lambda word, dtype: says(word, dtype) or (word, dtype) in _AVX512


def has_maximum(target: Target) -> bool:
    """Whether max and min of floats are one instruction, NaN and all."""
    return target.arch in _NATIVE_MAXIMUM


def _has_avx512(target: Target) -> bool:
    return target.arch == "x86_64" and target.vector_bits == 512


def speak(b: Builder, word: str, dtype: DType, args: tuple[Value, ...]) -> Value:
    """`word(*args)`, of element type `dtype`. All args have the same lanes."""
    lanes, operand = args[0].lanes, args[-1].dtype
    if word in ("cast", "bitcast"):
        return convert(b, args[0], dtype) if word == "cast" else _bitcast(b, args[0], dtype)
    if word == "select":
        return _select(b, *args)
    kind, scalar = _kind(operand), types.register(operand)
    full = types.vector(scalar, lanes)
    texts = ", ".join(arg.text for arg in args)
    if kind != "h" and word in _INSTRUCTIONS[kind]:
        return Value(b.op(f"{_INSTRUCTIONS[kind][word]} {full} {texts}"), dtype, lanes)
    if kind != "h" and word in _INTRINSICS[kind]:
        name = f"llvm.{_INTRINSICS[kind][word]}.{types.suffix(scalar, lanes)}"
        return Value(b.call(name, full, *((full, arg.text) for arg in args)), dtype, lanes)
    if kind != "h" and word in COMPARISONS:
        instruction, conditions = _COMPARE[kind]
        return Value(b.op(f"{instruction} {conditions[word]} {full} {texts}"), bool_, lanes)
    if word in ("max", "min") and kind == "f" and has_maximum(b.target):
        name = f"llvm.{word}imum.{types.suffix(scalar, lanes)}"
        return Value(b.call(name, full, *((full, arg.text) for arg in args)), dtype, lanes)
    if (word, operand) in _AVX512 and _has_avx512(b.target):
        return _AVX512[word, operand](b, *args)
    assert (word, kind) in _WRITTEN, f"LLVM has no word {word} for {operand}"
    return _WRITTEN[word, kind](b, *args)


def _kind(dtype: DType) -> str:
    return "h" if dtype.is_float and dtype.bits == 16 else dtype.kind


def _of(b: Builder, value: Value, number: float) -> Value:
    """The constant `number` in the type and lanes of `value`."""
    return b.widen(constant(number, value.dtype), value.lanes)


def _type(value: Value) -> str:
    return types.vector(types.register(value.dtype), value.lanes)


def _select(b: Builder, condition: Value, yes: Value, no: Value) -> Value:
    bits = types.vector("i1", condition.lanes)
    text = b.op(f"select {bits} {condition.text}, {_type(yes)} {yes.text}, {_type(no)} {no.text}")
    return Value(text, yes.dtype, yes.lanes)


def _bitcast(b: Builder, value: Value, dtype: DType) -> Value:
    target = types.vector(types.register(dtype), value.lanes)
    if target == _type(value):
        return Value(value.text, dtype, value.lanes)
    assert dtype.bits == value.dtype.bits and not dtype.is_bool, f"no bitcast from {value.dtype} to {dtype}"
    return Value(b.op(f"bitcast {_type(value)} {value.text} to {target}"), dtype, value.lanes)


def _extreme(condition: str) -> Callable[[Builder, Value, Value], Value]:
    """max or min of floats: NaN when either side is NaN; which zero of two is free."""

    def write(b: Builder, x: Value, y: Value) -> Value:
        if _is_number(x):
            x, y = y, x
        if _is_number(y):  # a comparison with NaN is false and leaves x
            better = Value(b.op(f"fcmp {condition} {_type(x)} {y.text}, {x.text}"), bool_, x.lanes)
            return _select(b, better, y, x)
        better = Value(b.op(f"fcmp {condition} {_type(x)} {x.text}, {y.text}"), bool_, x.lanes)
        chosen = _select(b, better, x, y)
        return _select(b, _isnan(b, x), x, chosen)

    return write


def _is_number(value: Value) -> bool:
    """Whether the operand is written as a constant other than NaN."""
    return not value.text.startswith("%") and "0x7FF8" not in value.text and "0xFFF8" not in value.text


def _isnan(b: Builder, x: Value) -> Value:
    return Value(b.op(f"fcmp uno {_type(x)} {x.text}, {_of(b, x, 0).text}"), bool_, x.lanes)


def _isinf(b: Builder, x: Value) -> Value:
    size = speak(b, "abs", x.dtype, (x,))
    return Value(b.op(f"fcmp oeq {_type(x)} {size.text}, {_of(b, x, float('inf')).text}"), bool_, x.lanes)


def _by_registers(b: Builder, write: Callable[..., Value], *args: Value) -> Value:
    """What `write` makes of every vector register that the operands fill."""
    lanes, half = args[0].lanes, args[0].lanes // 2
    if lanes <= 512 // args[0].dtype.bits:
        return write(b, *args)
    low, high = (_by_registers(b, write, *(b.part(arg, start, half) for arg in args)) for start in (0, half))
    return b.joined(low, high)


def _scalb(b: Builder, x: Value, n: Value) -> Value:
    return _by_registers(b, _scaled, x, n)


def _scaled(b: Builder, x: Value, n: Value) -> Value:
    lanes = max(x.lanes, 128 // x.dtype.bits)
    a, c = b.part(x, 0, lanes), b.part(n, 0, lanes)
    letter, full = "s" if x.dtype is float32 else "d", _type(a)
    operands = [(full, a.text), (full, c.text), (full, a.text), ("i16" if lanes == 16 else "i8", "-1")]
    rounding = [("i32 immarg", "4")] if lanes == 512 // x.dtype.bits else []
    text = b.call(f"llvm.x86.avx512.mask.scalef.p{letter}.{lanes * x.dtype.bits}", full, *operands, *rounding)
    return b.part(Value(text, x.dtype, lanes), 0, x.lanes)


def _root16(b: Builder, x: Value) -> Value:
    return _by_registers(b, _looked_up, _bitcast(b, x, int32))


def _looked_up(b: Builder, k: Value) -> Value:
    """An element of the table of roots for every lane, by its four lowest bits."""
    roots = types.vector_of([constant(2 ** (i / 16), float32).text for i in range(16)], "float")
    all_lanes = ("<16 x i32>", b.part(k, 0, 16).text)
    text = b.call("llvm.x86.avx512.permvar.sf.512", "<16 x float>", ("<16 x float>", roots), all_lanes)
    return b.part(Value(text, float32, 16), 0, k.lanes)


def _negate(b: Builder, x: Value) -> Value:
    return Value(b.op(f"sub {_type(x)} {_of(b, x, 0).text}, {x.text}"), x.dtype, x.lanes)


def _absolute(b: Builder, x: Value) -> Value:
    name = f"llvm.abs.{types.suffix(types.register(x.dtype), x.lanes)}"
    return Value(b.call(name, _type(x), (_type(x), x.text), ("i1 immarg", "false")), x.dtype, x.lanes)


def _invert(b: Builder, x: Value) -> Value:
    ones = _of(b, x, True) if x.dtype.is_bool else _of(b, x, -1)
    return Value(b.op(f"xor {_type(x)} {x.text}, {ones.text}"), x.dtype, x.lanes)


def _identity(b: Builder, x: Value) -> Value:
    return x


def _compare(b: Builder, condition: str, x: Value, number: int) -> Value:
    return Value(b.op(f"icmp {condition} {_type(x)} {x.text}, {_of(b, x, number).text}"), bool_, x.lanes)


def _quot(b: Builder, x: Value, y: Value) -> Value:
    """x / 0 = 0 and MIN / -1 = MIN."""
    quotient = _divide(b, x, _safe_divisor(b, y), _plain(x, y))
    if y.dtype.kind == "i":
        quotient = _select(b, _compare(b, "eq", y, -1), _negate(b, x), quotient)
    return _select(b, _compare(b, "eq", y, 0), _of(b, x, 0), quotient)


def _rem(b: Builder, x: Value, y: Value) -> Value:
    """x rem 0 = 0 and x rem -1 = 0, as for a divisor of 1."""
    safe = _safe_divisor(b, y)
    if _plain(x, y):
        word = "urem" if x.dtype.kind == "u" else "srem"
        return Value(b.op(f"{word} {_type(x)} {x.text}, {safe.text}"), x.dtype, x.lanes)
    product = Value(b.op(f"mul {_type(x)} {_divide(b, x, safe, False).text}, {safe.text}"), x.dtype, x.lanes)
    return Value(b.op(f"sub {_type(x)} {x.text}, {product.text}"), x.dtype, x.lanes)


def _safe_divisor(b: Builder, y: Value) -> Value:
    """y, with 1 in place of 0 and -1."""
    unsafe = _compare(b, "eq", y, 0)
    if y.dtype.kind == "i":
        minus = _compare(b, "eq", y, -1)
        unsafe = Value(b.op(f"or {types.vector('i1', y.lanes)} {unsafe.text}, {minus.text}"), bool_, y.lanes)
    return _select(b, unsafe, _of(b, y, 1), y)


def _plain(x: Value, y: Value) -> bool:
    """Whether LLVM's own division is best: for scalars, and for constants, by which it multiplies."""
    return x.lanes == 1 or x.dtype.bits > 32 or not y.text.startswith("%")


def _divide(b: Builder, x: Value, y: Value, plain: bool) -> Value:
    """x / y for a safe y. No processor divides vectors of integers; up to 32 bits, doubles give the same quotient."""
    unsigned = x.dtype.kind == "u"
    if plain:
        return Value(b.op(f"{'udiv' if unsigned else 'sdiv'} {_type(x)} {x.text}, {y.text}"), x.dtype, x.lanes)
    real = float32 if x.dtype.bits <= 8 else float64
    a, d = convert(b, x, real), convert(b, y, real)
    quotient = b.op(f"fdiv {_type(a)} {a.text}, {d.text}")
    wide = b.op(f"fptosi {_type(a)} {quotient} to {types.vector('i32', x.lanes)}")
    return convert(b, Value(wide, int32, x.lanes), x.dtype)


_Writer = Callable[..., Value]
_WRITTEN: dict[tuple[str, str], _Writer] = {
    ("max", "f"): _extreme("ogt"), ("min", "f"): _extreme("olt"), ("isnan", "f"): _isnan, ("isinf", "f"): _isinf,
    ("neg", "i"): _negate, ("neg", "u"): _negate, ("abs", "i"): _absolute, ("abs", "u"): _identity,
    ("not", "i"): _invert, ("not", "u"): _invert, ("not", "b"): _invert,
    ("quot", "i"): _quot, ("quot", "u"): _quot, ("rem", "i"): _rem, ("rem", "u"): _rem,
}  # fmt: skip

# Multiplying by powers of two, down to denormals, and looking up one of 16 numbers are one instruction each.
_AVX512: dict[tuple[str, DType], _Writer] = {
    ("scalb", float32): _scalb,
    ("scalb", float64): _scalb,
    ("root16", float32): _root16,
}
