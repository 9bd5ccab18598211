"""Integer words as compiled: every pair of the small types, edges and random pairs of the large ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from maths_report import compiled, speak

from graphc.dtype import INTS, DType, int32
from graphc.ir.expr import call, const


def _power(a: int, b: int) -> int:
    if b < 0:
        return {1: 1, -1: 1 if b % 2 == 0 else -1}.get(a, 0)
    return pow(a, b, 2**64)


MEANING: dict[str, Callable[[int, int], int]] = {
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "pow": _power,
}


def _wrapped(values: list[int], kind: DType) -> np.ndarray:
    return np.array([v % 2**64 for v in values], np.uint64).astype(kind.numpy)


def _pairs(kind: DType) -> tuple[np.ndarray, np.ndarray]:
    if kind.bits == 8:
        everything = np.arange(256, dtype=np.uint8).view(kind.numpy)
        return np.repeat(everything, 256), np.tile(everything, 256)
    low, high = np.iinfo(kind.numpy).min, np.iinfo(kind.numpy).max
    random = np.random.default_rng(1)
    edges = [low, low + 1, -3, -2, -1, 0, 1, 2, 3, 7, 31, 62, 63, 64, high - 1, high]
    a, b = (random.integers(low, high, 3000, dtype=kind.numpy, endpoint=True) for _ in range(2))
    b[::2] %= 50
    return (
        np.concatenate([np.repeat(edges, len(edges)), a]).astype(kind.numpy),
        np.concatenate([np.tile(edges, len(edges)), b]).astype(kind.numpy),
    )


@pytest.mark.parametrize("kind", INTS, ids=str)
@pytest.mark.parametrize("word", MEANING)
def test_binary(word: str, kind: DType) -> None:
    a, b = _pairs(kind)
    meaning = MEANING[word]
    expected = _wrapped([meaning(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)], kind)
    np.testing.assert_array_equal(speak(word, a, b), expected)


@pytest.mark.parametrize("kind", INTS, ids=str)
def test_sign(kind: DType) -> None:
    a, _ = _pairs(kind)
    np.testing.assert_array_equal(speak("sign", a), np.sign(a))


@pytest.mark.parametrize("number", [1, 2, 3, 8, 64, -1, -2, -8, 7, 0])
@pytest.mark.parametrize("word", MEANING)
def test_known_second_operand(word: str, number: int) -> None:
    values = np.concatenate([np.arange(-128, 128), _pairs(int32)[0]]).astype(np.int32)
    result = compiled(lambda x: call(word, x, const(number, int32)), (int32,))(values)
    np.testing.assert_array_equal(result, _wrapped([MEANING[word](v, number) for v in values.tolist()], int32))
