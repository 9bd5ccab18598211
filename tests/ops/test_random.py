"""The generator against published vectors; streams, distributions and every refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.dtype import bfloat16, dtype, float16, float32, float64, int32
from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.interp.graph import evaluate
from graphc.ir.values import Value, constant
from graphc.ops.random import bernoulli, normal, randint, random_bits, threefry_numpy, uniform

MANY = 20_000


def state(seed: int = 3, counter: int = 0) -> tuple[Value, Value]:
    return constant(np.int64(seed)), constant(np.int64(counter))


def value_of(result: Value) -> np.ndarray:
    return evaluate([result], {})[0]


def bits(seed: int = 3, counter: int = 0, stream: int = 0, shape: tuple[int, ...] = (64,)) -> np.ndarray:
    return value_of(random_bits(*state(seed, counter), shape=shape, stream=stream))


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(key: Any, counter: Any, words: Any) -> None:
    first, second = threefry_numpy(*(tuple(np.array([w], np.uint32) for w in pair) for pair in (key, counter)))
    assert (first[0], second[0]) == words


def test_bits_are_the_first_word_at_key_and_position() -> None:
    assert bits(seed=0, shape=(1,)).view(np.uint32)[0] == 0x6B200159
    wanted, _ = threefry_numpy((np.uint32(9), np.uint32(4)), (np.arange(6, dtype=np.uint32), np.full(6, 7, np.uint32)))
    np.testing.assert_array_equal(bits(9, 7, 4, (2, 3)).view(np.uint32).reshape(-1), wanted)


@pytest.mark.parametrize("other", [{"seed": 4}, {"seed": 3 + 2**32}, {"counter": 1}, {"stream": 1}])
def test_seed_counter_and_stream_each_change_all_bits(other: dict[str, int]) -> None:
    assert np.mean(bits() == bits(**other)) < 0.05


def test_a_draw_depends_on_its_position_only() -> None:
    np.testing.assert_array_equal(bits(shape=(10,)), bits(shape=(64,))[:10])
    np.testing.assert_array_equal(bits(shape=(8, 8)).reshape(-1), bits(shape=(64,)))


def test_each_bit_is_a_fair_coin_and_neighbours_are_independent() -> None:
    words = bits(shape=(MANY,)).view(np.uint32)
    coins = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    assert np.abs(coins.mean(0) - 0.5).max() < 5 * 0.5 / MANY**0.5
    assert abs(np.corrcoef(words[:-1], words[1:])[0, 1]) < 5 / MANY**0.5


@pytest.mark.parametrize(("kind", "significant"), [(float16, 11), (bfloat16, 8), (float32, 24), (float64, 53)])
def test_uniform_is_uniform_on_its_grid(kind: Any, significant: int) -> None:
    draw = value_of(uniform(*state(), shape=(MANY,), stream=0, dtype=kind))
    assert dtype(draw.dtype) is kind
    wide = draw.astype(np.float64)
    assert wide.min() >= 0 and wide.max() < 1
    grid = wide * 2.0**significant
    assert (grid == np.floor(grid)).all() and (grid % 2 == 1).any()
    assert np.abs(np.histogram(wide, 8, (0, 1))[0] - MANY / 8).max() < 5 * (MANY / 8) ** 0.5


@pytest.mark.parametrize("kind", [float16, bfloat16, float32, float64])
def test_normal_has_the_moments_of_the_normal_distribution(kind: Any) -> None:
    draw = value_of(normal(*state(), shape=(MANY,), stream=0, dtype=kind))
    assert dtype(draw.dtype) is kind
    wide = draw.astype(np.float64)
    assert np.isfinite(wide).all()
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(wide**power) - moment) < 5 * (spread / MANY) ** 0.5 + 0.01


@pytest.mark.parametrize("p", [0.0, 0.25, 0.9, 1.0])
def test_bernoulli_is_true_as_often_as_asked(p: float) -> None:
    draw = value_of(bernoulli(*state(), p, shape=(MANY,), stream=0))
    assert draw.dtype == bool and abs(draw.mean() - p) <= 5 * (p * (1 - p) / MANY) ** 0.5


def test_randint_covers_its_range_evenly() -> None:
    draw = value_of(randint(*state(), -3, 4, shape=(MANY,), stream=0))
    assert draw.dtype == np.int64 and draw.min() == -3 and draw.max() == 3
    assert np.abs(np.bincount(draw + 3) - MANY / 7).max() < 5 * (MANY / 7) ** 0.5
    assert (value_of(randint(*state(), 5, 6, shape=(9,), stream=0)) == 5).all()
    wide = value_of(randint(*state(), -(2**30), 2**30, shape=(MANY,), stream=0))
    assert wide.min() < -(2**29) and wide.max() > 2**29


def test_refusals() -> None:
    seed, counter = state()
    for wrong in (constant(np.int32(1)), constant(np.zeros(2, np.int64))):
        with pytest.raises(DTypeError, match="seed must be one int64"):
            random_bits(wrong, counter, shape=(2,), stream=0)
        with pytest.raises(DTypeError, match="counter must be one int64"):
            random_bits(seed, wrong, shape=(2,), stream=0)
    with pytest.raises(ShapeError, match="not be negative"):
        random_bits(seed, counter, shape=(-1,), stream=0)
    with pytest.raises(GraphError, match="stream -1"):
        random_bits(seed, counter, shape=(1,), stream=-1)
    with pytest.raises(GraphError, match="0 <= p <= 1"):
        bernoulli(seed, counter, 1.5, shape=(1,), stream=0)
    for low, high in ((3, 3), (0, 2**31 + 1)):
        with pytest.raises(GraphError, match="low < high"):
            randint(seed, counter, low, high, shape=(1,), stream=0)
    for draw in (uniform, normal):
        with pytest.raises(DTypeError, match="floats, not int32"):
            draw(seed, counter, shape=(1,), stream=0, dtype=int32)
