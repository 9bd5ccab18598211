"""Samplers: orders that depend on seed and epoch alone, and what loaders make of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest

from graphc import data
from graphc.data import DataLoader, TensorDataset
from graphc.errors import GraphcError

TEN = TensorDataset(np.arange(10))


def epoch(loader: DataLoader) -> list[list[int]]:
    return [batch[0].tolist() for batch in loader]


def test_sequential_and_random() -> None:
    assert list(data.SequentialSampler(TEN)) == list(range(10))
    sampler = data.RandomSampler(TEN, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(10)) and first == list(sampler) == list(data.RandomSampler(10, seed=1))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert len(data.RandomSampler(TEN, num_samples=25, seed=1)) == 25
    assert np.bincount(list(data.RandomSampler(TEN, num_samples=25, seed=1))).tolist().count(2) == 5
    drawn = list(data.RandomSampler(TEN, replacement=True, num_samples=1000, seed=1))
    assert len(drawn) == 1000 and set(drawn) == set(range(10))
    assert sorted(data.SubsetRandomSampler([7, 3, 5], seed=0)) == [3, 5, 7]


def test_weighted() -> None:
    sampler = data.WeightedRandomSampler([0, 1, 3], 4000, seed=0)
    counts = np.bincount(list(sampler), minlength=3)
    assert counts[0] == 0 and 2.6 < counts[2] / counts[1] < 3.5 and len(sampler) == 4000
    assert sorted(data.WeightedRandomSampler([1, 0, 2], 2, replacement=False, seed=0)) == [0, 2]


def test_distributed_shares_cover_everything_equally() -> None:
    padded = [list(data.DistributedSampler(TEN, 3, rank)) for rank in range(3)]
    assert [len(share) for share in padded] == [4, 4, 4] and {*chain(*padded)} == set(range(10))
    dropped = [list(data.DistributedSampler(TEN, 3, rank, drop_last=True)) for rank in range(3)]
    assert [len(share) for share in dropped] == [3, 3, 3] and len({*chain(*dropped)}) == 9
    assert list(data.DistributedSampler(TEN, 3, 1, shuffle=False)) == [1, 4, 7, 0]
    sampler = data.DistributedSampler(TEN, 2, 0)
    loader = DataLoader(TEN, 5, sampler=sampler)
    assert len(loader) == 1 and epoch(loader) != epoch(loader)


def test_batches_of_samplers() -> None:
    batches = data.BatchSampler(data.SequentialSampler(TEN), 4)
    assert list(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] and len(batches) == 3
    assert len(data.BatchSampler(data.SequentialSampler(TEN), 4, drop_last=True)) == 2
    assert epoch(DataLoader(TEN, sampler=[3, 1, 2], batch_size=2)) == [[3, 1], [2, 3]]
    loader = DataLoader(TEN, batch_sampler=[[1, 2], [5, 4]])
    assert epoch(loader) == [[1, 2], [5, 4]] and loader.last == "whole" and len(loader) == 2
    shuffled = DataLoader(TEN, batch_sampler=data.BatchSampler(data.RandomSampler(TEN, seed=0), 5))
    assert epoch(shuffled) != epoch(shuffled) and "2 batches of BatchSampler" in repr(shuffled)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: data.RandomSampler(0), "cannot draw"),
        (lambda: data.RandomSampler(TEN, num_samples=0), "cannot draw 0"),
        (lambda: data.WeightedRandomSampler([1, -1], 2), "none negative"),
        (lambda: data.WeightedRandomSampler([0, 0], 2), "not all 0"),
        (lambda: data.WeightedRandomSampler([1, float("nan")], 2), "finite"),
        (lambda: data.WeightedRandomSampler([1, 0], 2, replacement=False), "1 can be drawn at most"),
        (lambda: data.DistributedSampler(TEN, 3, 3), "rank 3"),
        (lambda: data.DistributedSampler(TEN, 11, 0, drop_last=True), "too few"),
        (lambda: data.BatchSampler(TEN, 0), "positive int"),
        (lambda: DataLoader(TEN, 2, shuffle=True, sampler=[1]), "either it or shuffle"),
        (lambda: DataLoader(TEN, 2, batch_sampler=[[1]]), "decides alone"),
        (lambda: DataLoader(TEN, 2, num_workers=-1), "negative"),
        (lambda: DataLoader(TEN, 2, prefetch_factor=0), "at least 1"),
        (lambda: DataLoader(TEN, 2, worker_kind="fiber"), "fiber"),
        (lambda: DataLoader(TEN, 2, num_workers=1, timeout=-1), "timeout is 0"),
        (lambda: DataLoader(TEN, 2, num_workers=1, timeout=float("nan")), "timeout is 0"),
        (lambda: DataLoader(TEN, 2, timeout=1), "num_workers > 0"),
        (lambda: list(data.Sampler()), "order"),
        (lambda: len(data.Sampler()), "__len__"),
    ],
)
def test_guards(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((GraphcError, NotImplementedError), match=message):
        make()
