"""What every word of the Kernel IR computes, on single numbers.

In: a word, the dtypes of its arguments and result, and Python numbers (bool, int, or a float that the dtype holds
exactly). Out: the result as such a number: integers wrapped to their width, floats rounded to their dtype after each
word. This is the meaning that targets are tested against, so it prefers exactness to speed; transcendental functions are
computed in float64 and rounded once. Shift counts outside [0, bits) give garbage on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import c_float
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from ..dtype import DType, bfloat16, float16, float32, float64, tfloat32
from ..ir.expr import PREDICATES

Number = bool | int | float
Function = Callable[..., Any]

_GARBAGE = 0xABABABABABABABAB


def _round_tfloat32(x: float) -> float:
    """To 11 bits of precision, ties away from zero, where float32 has 24."""
    bits = (int(np.float32(x).view(np.uint32)) + 0x1000) & 0xFFFFE000
    return float(np.uint32(bits).view(np.float32)) if math.isfinite(x) else x


_ROUND: dict[DType, Function] = {
    float16: lambda x: float(np.float16(x)),
    bfloat16: lambda x: float(ml_dtypes.bfloat16(x)),
    float32: lambda x: c_float(x).value,  # the same as np.float32, four times as fast
    float64: float,
    tfloat32: _round_tfloat32,
}


def rounder(dtype: DType) -> Function:
    """The function that brings an exact result into `dtype`: wraps integers, rounds floats, makes bools of truth."""
    if dtype.is_bool:
        return bool
    if dtype.is_float:
        return _ROUND[dtype]
    mask, half = (1 << dtype.bits) - 1, 1 << (dtype.bits - 1)
    if dtype.kind == "u":
        return lambda x: x & mask
    return lambda x: ((x + half) & mask) - half


# ------------------------------------------------------------------------------------------------------------------ floats


def _divide(a: float, b: float) -> float:
    return a / b if b else math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _sign(x: float) -> float:
    return 1.0 if x > 0 else -1.0 if x < 0 else 0.0 if x == 0 else x


def _minimum(a: Any, b: Any) -> Any:
    return a if a < b or a != a or (a == b and math.copysign(1, a) < 0) else b


def _maximum(a: Any, b: Any) -> Any:
    return a if a > b or a != a or (a == b and math.copysign(1, a) > 0) else b


def _rsqrt(x: float) -> float:
    return _divide(1.0, float(np.sqrt(x)))


def _scalb(x: float, n: float) -> float:
    """x * 2**n for a whole n; others are rounded down."""
    return float(np.ldexp(x, math.floor(n))) if math.isfinite(n) else math.nan


def _root16(x: float) -> float:
    """2**(k / 16), with k in the four lowest bits of a float32."""
    k = int(np.float32(x).view(np.int32)) & 15
    return math.exp2(k / 16)


def _fma(a: float, b: float, c: float) -> float:
    """a * b + c, of a product that float64 holds exactly (so not of float64 itself), rounded to odd: rounding the
    result once more to a dtype of at most 51 bits of precision is then the one correct rounding."""
    product = a * b
    total = product + c
    if not math.isfinite(total):
        return total
    part = total - product
    error = (product - (total - part)) + (c - part)
    if error and not int(math.frexp(total)[0] * 2**53) & 1:
        return math.nextafter(total, math.inf if error > 0 else -math.inf)
    return total


def _fma_float64(a: float, b: float, c: float) -> float:
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return a * b + c
    (an, ad), (bn, bd), (cn, cd) = a.as_integer_ratio(), b.as_integer_ratio(), c.as_integer_ratio()
    numerator, denominator = an * bn * cd + cn * ad * bd, ad * bd * cd
    if numerator == 0:
        return a * b + c
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


def _numpy(name: str) -> Function:
    function = getattr(np, name)
    return lambda *args: float(function(*args))


def _pow(a: float, b: float) -> float:
    """The C function; of arrays, because numpy answers a lone exponent 0.5 with sqrt, which differs at -inf and -0."""
    return float(np.power([a, a], [b, b])[0])


_FLOAT: dict[str, Function] = {
    "neg": lambda a: -a,
    "abs": abs,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "min": _minimum,
    "max": _maximum,
    "fma": _fma,
    "scalb": _scalb,
    "root16": _root16,
    "sign": _sign,
    "erf": math.erf,
    "ndtr": lambda x: (1 + math.erf(x * math.sqrt(0.5))) / 2,
    "rsqrt": _rsqrt,
    "round": _numpy("rint"),
    "pow": _pow,
    "atan2": math.atan2,
    "asin": _numpy("arcsin"),
    "acos": _numpy("arccos"),
    "atan": _numpy("arctan"),
}
_FLOAT |= {name: _numpy(name) for name in "sqrt floor ceil trunc exp expm1 log log1p sin cos tan sinh cosh tanh".split()}


def _float_at_own_width(word: str, dtype: DType) -> Function:
    """Words that are defined by steps rounded at the dtype: numpy's own function on numpy's own scalars."""
    function, scalar = {"mod": np.mod, "floordiv": np.floor_divide}[word], dtype.numpy.type
    return lambda a, b: float(function(scalar(a), scalar(b)))


# ---------------------------------------------------------------------------------------------------------------- integers


def _quotient(a: int, b: int) -> int:
    if b == 0:
        return 0
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _power(base: int, exponent: int) -> int:
    if exponent >= 0:
        return pow(base, exponent, 1 << 64)
    return {1: 1, -1: -1 if exponent & 1 else 1}.get(base, 0)


def _shift(word: str, bits: int) -> Function:
    mask = (1 << bits) - 1
    shift: dict[str, Function] = {
        "shl": lambda a, n: a << n,
        "shr": lambda a, n: a >> n,
        "lshr": lambda a, n: (a & mask) >> n,
    }
    chosen = shift[word]
    return lambda a, n: chosen(a, n) if 0 <= n < bits else _GARBAGE


_INT: dict[str, Function] = {
    "neg": lambda a: -a,
    "abs": abs,
    "not": lambda a: ~a,
    "floor": int,
    "ceil": int,
    "round": int,
    "trunc": int,
    "sign": lambda a: (a > 0) - (a < 0),
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "quot": _quotient,
    "rem": lambda a, b: a - b * _quotient(a, b) if b else 0,
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "pow": _power,
    "fma": lambda a, b, c: a * b + c,
}

_BOOL: dict[str, Function] = {
    "not": lambda a: not a,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "xor": lambda a, b: a != b,
    "min": min,
    "max": max,
}

_PREDICATE: dict[str, Function] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "isnan": lambda a: a != a,
    "isinf": math.isinf,
}

# ------------------------------------------------------------------------------------------------------------- conversions


def _cast(source: DType, target: DType) -> Function:
    if target.is_bool:
        return bool
    if target.is_int and not source.is_float:
        wrap = rounder(target)
        return lambda x: wrap(int(x))
    if target.is_int:
        info = np.iinfo(target.numpy)
        low, high = int(info.min), int(info.max)
        return lambda x: 0 if x != x else low if x <= low else high if x >= high else int(x)
    if source.is_float:
        return rounder(target)
    scalar = target.numpy
    return lambda x: float(np.asarray(x, source.numpy).astype(scalar))


def _bitcast(source: DType, target: DType) -> Function:
    plain = bool if target.is_bool else int if target.is_int else float
    return lambda x: plain(np.array(x, source.numpy).view(target.numpy)[()])


def _select(condition: bool, yes: Number, no: Number) -> Number:
    return yes if condition else no


@cache
def meaning(word: str, argument: DType, result: DType) -> Function:
    """The function that `word` computes; `argument` is the dtype of its last argument. KeyError where it has none."""
    if word == "cast":
        return _cast(argument, result)
    if word == "bitcast":
        return _bitcast(argument, result)
    if word == "select":
        return _select
    if word in PREDICATES:
        return _PREDICATE[word]
    if argument.is_bool:
        return _BOOL[word]
    finish = rounder(result)
    if argument.is_float:
        if word in ("mod", "floordiv"):
            exact = _float_at_own_width(word, argument)
        else:
            exact = _fma_float64 if word == "fma" and argument is float64 else _FLOAT[word]
    else:
        exact = _shift(word, argument.bits) if word in ("shl", "shr", "lshr") else _INT[word]
    if finish is float:
        return exact
    return lambda *args: finish(exact(*args))
