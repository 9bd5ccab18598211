"""Counter-based randomness: one op, `random_bits`, and the distributions composed of it.

In: a seed and a counter (0-d int64 values), a shape, and the number of the stream. Out: values that depend on nothing
else, so neither threads nor fusion nor the target change them. Who draws again advances the counter; two draws of one
program differ in their stream. The generator is Threefry-2x32 with 20 rounds: Salmon, Moraes, Dror, Shaw, "Parallel
random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from ..dtype import DType, float32, float64, int32, int64
from ..errors import DTypeError, GraphError, ShapeError
from ..ir.expr import Expr, as_index, call, const, ravel
from ..ir.expr import cast as cast_expr
from ..ir.op import Index, Op, Pointwise, Reader, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, like, make
from .elementwise import cast
from .shape import reshape, slice_

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)  # of the eight rounds that repeat
_PARITY = 0x1BD11BDA  # makes the third key word of all zeros
_SPREAD = 0x9E3779B1  # odd: mixes the seed's high half into its low half
_WORD = 0xFFFFFFFF

# ------------------------------------------------------------------------------------------------------------ builders


def random_bits(seed: Value, counter: Value, *, shape: Sequence[int], stream: int) -> Value:
    """int32 values whose 32 bits are independent fair coins."""
    return make("random_bits", seed, counter, shape=tuple(shape), stream=stream)


def uniform(seed: Value, counter: Value, *, shape: Sequence[int], stream: int, dtype: DType = float32) -> Value:
    """Uniform in [0, 1): a multiple of 2**-p, p the significant bits of `dtype`, each equally likely."""
    if not dtype.is_float:
        raise DTypeError(f"uniform gives floats, not {dtype}; use randint")
    shape = tuple(shape)
    if dtype is float64:
        both = random_bits(seed, counter, shape=(2, *shape), stream=stream)
        high, low = (cast(_top_bits(_half(both, side), n), float64) for side, n in ((0, 27), (1, 26)))
        return (high * 2.0**26 + low) * 2.0**-53
    bits = _SIGNIFICANT[dtype.name]
    return cast(_top_bits(random_bits(seed, counter, shape=shape, stream=stream), bits), dtype) * 2.0**-bits


_SIGNIFICANT = {"float16": 11, "bfloat16": 8, "float32": 24}


def bernoulli(seed: Value, counter: Value, p: float, *, shape: Sequence[int], stream: int) -> Value:
    """True with probability `p` (to 2**-24)."""
    if not 0 <= p <= 1:
        raise GraphError(f"bernoulli with probability {p}; expected 0 <= p <= 1")
    draw = uniform(seed, counter, shape=shape, stream=stream)
    return make("lt", draw, like(draw, p))


def normal(seed: Value, counter: Value, *, shape: Sequence[int], stream: int, dtype: DType = float32) -> Value:
    """Standard normal, by the transform of Box and Muller."""
    if not dtype.is_float:
        raise DTypeError(f"normal gives floats, not {dtype}; cast the result")
    both = uniform(seed, counter, shape=(2, *shape), stream=stream, dtype=dtype.accumulator)
    first, second = _half(both, 0), _half(both, 1)
    radius = make("sqrt", make("log", 1.0 - first) * -2.0)
    return cast(radius * make("cos", second * (2 * math.pi)), dtype)


def randint(seed: Value, counter: Value, low: int, high: int, *, shape: Sequence[int], stream: int) -> Value:
    """int64 in [low, high); for a span that is no power of two, probabilities differ by less than span / 2**32."""
    if not 1 <= high - low <= 2**31:
        raise GraphError(f"randint from {low} to {high}; expected low < high and a span of at most 2**31")
    bits = cast(random_bits(seed, counter, shape=shape, stream=stream), int64)
    draw = make("and", bits, like(bits, _WORD)) * (high - low)
    return make("shr", draw, like(draw, 32)) + low


def _half(both: Value, side: int) -> Value:
    """both[side]"""
    rest = both.shape[1:]
    return reshape(slice_(both, (side, *(0 for _ in rest)), (side + 1, *rest)), rest)


def _top_bits(bits: Value, count: int) -> Value:
    """The upper `count` < 32 bits of each word, as a number."""
    return make("and", make("shr", bits, like(bits, 32 - count)), like(bits, 2**count - 1))


# ----------------------------------------------------------------------------------------------------------- generator


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any], rotate: Any, word: Any) -> tuple[Any, Any]:
    """Threefry-2x32-20 in any arithmetic that wraps at 32 bits: `rotate(x, n)` turns left, `word(n)` is a constant."""
    keys = (*key, key[0] ^ key[1] ^ word(_PARITY))
    a, b = counter[0] + keys[0], counter[1] + keys[1]
    for number in range(20):
        a = a + b
        b = rotate(b, _ROTATIONS[number % 8]) ^ a
        if number % 4 == 3:
            block = number // 4 + 1
            a, b = a + keys[block % 3], b + keys[(block + 1) % 3] + word(block)
    return a, b


def threefry_numpy(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32-20 of uint32 arrays."""

    def rotate(x: np.ndarray, n: int) -> np.ndarray:
        return (x << np.uint32(n)) | (x >> np.uint32(32 - n))

    with np.errstate(over="ignore"):
        return threefry(key, counter, rotate, np.uint32)


def _signed(number: int) -> Expr:
    return const(number - 2**32 if number >= 2**31 else number, int32)


def _rotate(x: Expr, n: int) -> Expr:
    return (x << n) | call("lshr", x, const(32 - n, int32))


# -------------------------------------------------------------------------------------------------------------- record


def _infer(seed: TensorType, counter: TensorType, *, shape: tuple[int, ...], stream: int) -> TensorType:
    for name, type_ in (("seed", seed), ("counter", counter)):
        if type_ != TensorType(int64, ()):
            raise DTypeError(f"random_bits: the {name} must be one int64 number, got {type_}")
    if not 0 <= stream <= _WORD:
        raise GraphError(f"random_bits: stream {stream} must be in 0..2**32 - 1")
    if any(n < 0 for n in shape) or prod(shape) > 2**32:
        raise ShapeError(f"random_bits of shape {list(shape)}: extents must not be negative, nor elements more than 2**32")
    return TensorType(int32, shape)


def _reference(seed: np.ndarray, counter: np.ndarray, *, shape: tuple[int, ...], stream: int) -> np.ndarray:
    number = int(seed)
    mixed = (number & _WORD) ^ ((number >> 32) * _SPREAD & _WORD)
    position = np.arange(prod(shape), dtype=np.uint32)
    draws = np.full(position.shape, int(counter) & _WORD, np.uint32)
    words, _ = threefry_numpy((np.uint32(mixed), np.uint32(stream)), (position, draws))
    return words.view(np.int32).reshape(shape)


def _element(node: Value, index: Index, reader: Reader) -> Expr:
    seed, counter = reader.read(0, ()), reader.read(1, ())
    high = cast_expr(call("shr", seed, const(32, int64)), int32)
    key = cast_expr(seed, int32) ^ (high * _signed(_SPREAD)), _signed(node.attrs["stream"])
    position = cast_expr(ravel(map(as_index, index), node.shape), int32)
    word: Expr = threefry(key, (position, cast_expr(counter, int32)), _rotate, _signed)[0]
    return word


def _samples() -> Iterator[Sample]:
    for seed, counter, shape, stream in ((0, 0, (2, 3), 0), (2**40 + 7, 5, (7,), 3), (-1, -(2**35), (), 2**32 - 1)):
        yield Sample((np.array(seed), np.array(counter)), {"shape": shape, "stream": stream})


register(
    Op(
        name="random_bits",
        infer=_infer,
        reference=_reference,
        gradient="random bits do not change smoothly with the seed or the counter",
        lower=Pointwise(_element, heavy=1),
        samples=_samples,
        doc="Threefry-2x32-20: key (seed, stream), counter (row-major position, counter); the first word.",
    )
)

__all__ = ["bernoulli", "normal", "randint", "random_bits", "threefry_numpy", "uniform"]
