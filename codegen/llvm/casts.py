"""Conversions between any two element types.

In: a `Value`. Out: its value in another type. Integers wrap; floats become integers by truncation that saturates and
sends NaN to 0; anything but 0 (NaN too) is true. float16 and bfloat16 go through float32, rounded once, to nearest even.
"""

from __future__ import annotations

from graphc.dtype import DType, bfloat16, bool_, float32, float64

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
    if value.dtype is bfloat16:
        wide = b.op(f"zext {types.vector('i16', n)} {value.text} to {types.vector('i32', n)}")
        bits = b.op(f"shl {types.vector('i32', n)} {wide}, {types.splat('16', 'i32', n)}")
        return Value(b.op(f"bitcast {types.vector('i32', n)} {bits} to {types.vector('float', n)}"), float32, n)
    half = b.op(f"bitcast {types.vector('i16', n)} {value.text} to {types.vector('half', n)}")
    return Value(b.op(f"fpext {types.vector('half', n)} {half} to {types.vector('float', n)}"), float32, n)


def _to_half(b: Builder, value: Value, dtype: DType) -> Value:
    if value.dtype is float64:
        value = _round_to_odd(b, value)
    if dtype is bfloat16:
        return _to_bfloat(b, value)
    n = value.lanes
    half = b.op(f"fptrunc {_type(value)} {value.text} to {types.vector('half', n)}")
    return Value(b.op(f"bitcast {types.vector('half', n)} {half} to {types.vector('i16', n)}"), dtype, n)


def _to_bfloat(b: Builder, value: Value) -> Value:
    """Adds half of the last place kept (less one where that place is even), then cuts; NaN stays a quiet NaN."""
    n = value.lanes
    i32 = types.vector("i32", n)

    def k(number: int) -> str:
        return types.splat(str(number), "i32", n)

    bits = b.op(f"bitcast {_type(value)} {value.text} to {i32}")
    last = b.op(f"and {i32} {b.op(f'lshr {i32} {bits}, {k(16)}')}, {k(1)}")
    rounded = b.op(f"add {i32} {b.op(f'add {i32} {bits}, {k(0x7FFF)}')}, {last}")
    quiet = b.op(f"or {i32} {bits}, {k(0x400000)}")
    nan = b.op(f"fcmp uno {_type(value)} {value.text}, {value.text}")
    chosen = b.op(f"select {types.vector('i1', n)} {nan}, {i32} {quiet}, {i32} {rounded}")
    cut = b.op(f"lshr {i32} {chosen}, {k(16)}")
    return Value(b.op(f"trunc {i32} {cut} to {types.vector('i16', n)}"), bfloat16, n)


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
