"""Conversions between any two element types.

In: a `Value`. Out: its value in another type. Integers wrap; floats become integers by truncation that saturates and
sends NaN to 0; anything but 0 (NaN too) is true. float16 and bfloat16 go through float32, rounded once, to nearest even.
"""

from __future__ import annotations

from graphc.dtype import DType, bfloat16, bool_, float16, float32, float64

from . import types
from .builder import Builder, Value


def convert(b: Builder, value: Value, dtype: DType) -> Value:
    """`value` as `dtype`."""
    source = value.dtype
    if source is dtype:
        return value
    if _is_half(source):
        return convert(b, _from_half(b, value), dtype)
    if _is_half(dtype):
        return _to_half(b, convert(b, value, float32 if _exact(source) else float64), dtype)
    if dtype.is_bool:
        instruction = "fcmp une" if source.is_float else "icmp ne"
        zero = types.splat(types.number(0, source), types.register(source), value.lanes)
        return Value(b.op(f"{instruction} {_type(value)} {value.text}, {zero}"), bool_, value.lanes)
    if source.is_float and dtype.is_int:
        return _saturate(b, value, dtype)
    return _instruction(b, _between(source, dtype), value, dtype)


def _between(source: DType, dtype: DType) -> str | None:
    """The instruction from `source` to `dtype`; None where the bits stay."""
    unsigned = source.kind in "bu"
    if source.is_float:
        return "fpext" if dtype.bits > source.bits else "fptrunc"
    if dtype.is_float:
        return "uitofp" if unsigned else "sitofp"
    if source.is_bool or dtype.bits > source.bits:
        return "zext" if unsigned else "sext"
    return "trunc" if dtype.bits < source.bits else None


def _is_half(dtype: DType) -> bool:
    return dtype.is_float and dtype.bits == 16


def _exact(dtype: DType) -> bool:
    """Whether float32 holds every value of `dtype`."""
    return dtype is float32 or (not dtype.is_float and dtype.bits <= 16)


def _type(value: Value) -> str:
    return types.vector(types.register(value.dtype), value.lanes)


def _instruction(b: Builder, word: str | None, value: Value, dtype: DType) -> Value:
    if word is None:
        return Value(value.text, dtype, value.lanes)
    full = types.vector(types.register(dtype), value.lanes)
    return Value(b.op(f"{word} {_type(value)} {value.text} to {full}"), dtype, value.lanes)


def _saturate(b: Builder, value: Value, dtype: DType) -> Value:
    scalar, source = types.register(dtype), types.register(value.dtype)
    word = "fptoui" if dtype.kind == "u" else "fptosi"
    name = f"llvm.{word}.sat.{types.suffix(scalar, value.lanes)}.{types.suffix(source, value.lanes)}"
    result = b.call(name, types.vector(scalar, value.lanes), (_type(value), value.text))
    return Value(result, dtype, value.lanes)


def _from_half(b: Builder, value: Value) -> Value:
    """Exact: float32 holds every float16 and bfloat16."""
    n = value.lanes
    if value.dtype is float16 and b.target.has_half:
        if b.target.arch == "x86_64" and n == 1:
            return _from_lone_half(b, value)
        half = b.op(f"bitcast {types.vector('i16', n)} {value.text} to {types.vector('half', n)}")
        return Value(b.op(f"fpext {types.vector('half', n)} {half} to {types.vector('float', n)}"), float32, n)
    bits = _Bits(b, n)
    wide = b.op(f"zext {types.vector('i16', n)} {value.text} to {bits.kind}")
    if value.dtype is bfloat16:
        return bits.to_float(bits.op("shl", wide, 16))
    # The exponent is put right by a product, which is exact for subnormal numbers too; infinities and NaN by hand.
    size = bits.op("shl", bits.op("and", wide, 0x7FFF), 13)
    scale = types.splat(types.number(2.0**112, float32), "float", n)
    scaled = b.op(f"fmul {types.vector('float', n)} {bits.to_float(size).text}, {scale}")
    special = bits.select(bits.test("uge", size, 0x7C00 << 13), bits.op("or", size, 0x7F800000), bits.of_float(scaled))
    return bits.to_float(bits.op("or", special, bits.op("shl", bits.op("and", wide, 0x8000), 16)))


def _from_lone_half(b: Builder, value: Value) -> Value:
    """Converted in a vector of zeros: x86-64 would load it into some register and wait for what is there, a running sum."""
    alone = b.op(f"insertelement <8 x i16> zeroinitializer, i16 {value.text}, i32 0")
    half = b.op(f"bitcast <8 x i16> {alone} to <8 x half>")
    four = b.op(f"shufflevector <8 x half> {half}, <8 x half> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>")
    wide = b.op(f"fpext <4 x half> {four} to <4 x float>")
    return Value(b.op(f"extractelement <4 x float> {wide}, i32 0"), float32)


def _to_half(b: Builder, value: Value, dtype: DType) -> Value:
    if value.dtype is float64:
        value = _round_to_odd(b, value)
    n = value.lanes
    if dtype is float16 and b.target.has_half:
        text = value.text
        if n == 1:  # LLVM moves the sign of a float64 copysign behind both roundings, by a call of __truncdfhf2
            text = b.call("llvm.arithmetic.fence.f32", "float", ("float", text))
        half = b.op(f"fptrunc {_type(value)} {text} to {types.vector('half', n)}")
        return Value(b.op(f"bitcast {types.vector('half', n)} {half} to {types.vector('i16', n)}"), dtype, n)
    bits = _Bits(b, n)
    rounded = (_bfloat_bits if dtype is bfloat16 else _half_bits)(bits, value)
    return Value(b.op(f"trunc {bits.kind} {rounded} to {types.vector('i16', n)}"), dtype, n)


def _bfloat_bits(bits: _Bits, value: Value) -> str:
    """Adds half of the last place kept (less one where that place is even), then cuts; NaN stays a quiet NaN."""
    x = bits.of_float(value.text)
    last = bits.op("and", bits.op("lshr", x, 16), 1)
    rounded = bits.op("add", bits.op("add", x, 0x7FFF), last)
    nan = bits.b.op(f"fcmp uno {_type(value)} {value.text}, {value.text}")
    return bits.op("lshr", bits.select(nan, bits.op("or", x, 0x400000), rounded), 16)


def _half_bits(bits: _Bits, value: Value) -> str:
    """Normal numbers as for bfloat16; adding 0.5 rounds subnormal ones at the right place."""
    b, x = bits.b, bits.of_float(value.text)
    size = bits.op("and", x, 0x7FFFFFFF)
    last = bits.op("and", bits.op("lshr", size, 13), 1)
    normal = bits.op("lshr", bits.op("add", bits.op("add", size, 0xFFF - (112 << 23)), last), 13)
    half = types.splat(types.number(0.5, float32), "float", bits.lanes)
    shifted = b.op(f"fadd {types.vector('float', bits.lanes)} {bits.to_float(size).text}, {half}")
    small = bits.op("sub", bits.of_float(shifted), 0x3F000000)
    result = bits.select(bits.test("ult", size, 0x38800000), small, normal)
    result = bits.select(bits.test("uge", size, 0x477FF000), bits.number(0x7C00), result)
    result = bits.select(bits.test("ugt", size, 0x7F800000), bits.number(0x7E00), result)
    return bits.op("or", result, bits.op("and", bits.op("lshr", x, 16), 0x8000))


class _Bits:
    """Arithmetic on the 32 bits of float32 values."""

    def __init__(self, b: Builder, lanes: int) -> None:
        self.b, self.lanes, self.kind = b, lanes, types.vector("i32", lanes)

    def number(self, value: int) -> str:
        return types.splat(str(value), "i32", self.lanes)

    def op(self, word: str, x: str, y: str | int) -> str:
        return self.b.op(f"{word} {self.kind} {x}, {self.number(y) if isinstance(y, int) else y}")

    def test(self, condition: str, x: str, y: int) -> str:
        return self.b.op(f"icmp {condition} {self.kind} {x}, {self.number(y)}")

    def select(self, condition: str, yes: str, no: str) -> str:
        return self.b.op(f"select {types.vector('i1', self.lanes)} {condition}, {self.kind} {yes}, {self.kind} {no}")

    def of_float(self, x: str) -> str:
        return self.b.op(f"bitcast {types.vector('float', self.lanes)} {x} to {self.kind}")

    def to_float(self, x: str) -> Value:
        return Value(self.b.op(f"bitcast {self.kind} {x} to {types.vector('float', self.lanes)}"), float32, self.lanes)


def _round_to_odd(b: Builder, value: Value) -> Value:
    """float64 to float32 so that rounding again, to 16 bits, gives what one rounding would have given."""
    n = value.lanes
    i1, i32, single, double = (types.vector(kind, n) for kind in ("i1", "i32", "float", "double"))
    near = b.op(f"fptrunc {double} {value.text} to {single}")
    back = b.op(f"fpext {single} {near} to {double}")
    name = f"llvm.fabs.{types.suffix('double', n)}"
    sizes = [b.call(name, double, (double, operand)) for operand in (back, value.text)]
    beyond = b.op(f"fcmp ogt {double} {sizes[0]}, {sizes[1]}")
    inexact = b.op(f"fcmp one {double} {back}, {value.text}")
    bits = b.op(f"bitcast {single} {near} to {i32}")
    bits = b.op(f"sub {i32} {bits}, {b.op(f'zext {i1} {beyond} to {i32}')}")
    bits = b.op(f"or {i32} {bits}, {b.op(f'zext {i1} {inexact} to {i32}')}")
    return Value(b.op(f"bitcast {i32} {bits} to {single}"), float32, n)
