"""Data sets and loaders: batches, orders, collation, splits."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from graphc import data
from graphc.data import DataLoader, Dataset, Subset, TensorDataset, random_split
from graphc.errors import GraphcError, ShapeError


class Squares(Dataset):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return {"x": np.full(2, index, np.float32), "y": float(index * index), "n": index}


def numbers(count: int = 10) -> TensorDataset:
    return TensorDataset(np.arange(count), np.arange(count) * 2.0)


def epoch(loader: DataLoader) -> list[list[int]]:
    return [batch[0].tolist() for batch in loader]


def test_tensor_dataset() -> None:
    samples = TensorDataset(np.arange(6).reshape(3, 2), [1, 2, 3], transform=lambda x: x * 10)
    assert len(samples) == 3 and samples[1][0].tolist() == [20, 30] and samples[1][1] == 2
    assert next(iter(DataLoader(samples, 2)))[0].tolist() == [[0, 10], [20, 30]]
    with pytest.raises(ShapeError, match="3, 4 samples"):
        TensorDataset(np.zeros(3), np.zeros(4))
    with pytest.raises(ShapeError, match="at least one array"):
        TensorDataset()


def test_a_batch_has_one_shape_whatever_happens_to_the_last() -> None:
    padded, dropped, whole = DataLoader(numbers(), 4), DataLoader(numbers(), 4, drop_last=True), DataLoader(numbers(), 5)
    assert epoch(padded) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert epoch(dropped) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [(x.last, x.padding, len(x)) for x in (padded, dropped, whole)] == [("pad", 2, 3), ("drop", 0, 2), ("whole", 0, 2)]
    assert [padded.valid for _ in padded] == [4, 4, 2] and [dropped.valid for _ in dropped] == [4, 4]
    assert (
        "pads the last batch with 2" in repr(padded)
        and "drops the last 2" in repr(dropped)
        and "all batches full" in repr(whole)
    )
    assert epoch(DataLoader(numbers(2), 5)) == [[0, 1, 0, 1, 0]]


def test_shuffling_depends_on_seed_and_epoch_alone() -> None:
    a, b, c = (DataLoader(numbers(40), 8, shuffle=True, seed=seed) for seed in (1, 1, 2))
    first, second = epoch(a), epoch(a)
    assert first == epoch(b) and second == epoch(b) and first != second and first != epoch(c)
    assert sorted(n for batch in first for n in batch) == list(range(40))
    b.set_epoch(0)
    assert epoch(b) == first
    rng = DataLoader(numbers(40), 8, shuffle=True, generator=np.random.default_rng(1))
    assert epoch(rng) != epoch(rng)


def test_collation() -> None:
    batch = next(iter(DataLoader(Squares(5), 3)))
    assert batch["x"].shape == (3, 2) and batch["y"].dtype == np.float32 and batch["n"].dtype == np.int64
    assert batch["y"].tolist() == [0, 1, 4]
    assert next(iter(DataLoader(Squares(5), 3, collate_fn=len))) == 3
    with pytest.raises(ShapeError, match=r"\(1,\), \(2,\) do not make a batch"):
        data.default_collate([np.zeros(1), np.zeros(2)])
    with pytest.raises(GraphcError, match="collate_fn"):
        data.default_collate([object()])


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_batch_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(GraphcError, match="positive int"):
        DataLoader(numbers(), size)


def test_what_is_no_data_set() -> None:
    with pytest.raises(GraphcError, match=r"has a length and items.*NoneType is neither"):
        DataLoader(None, 3)


def test_no_batch_at_all() -> None:
    with pytest.raises(GraphcError, match="3 samples give no batch of 4"):
        DataLoader(numbers(3), 4, drop_last=True)
    with pytest.raises(GraphcError, match="0 samples"):
        DataLoader(numbers(0), 4)


def test_subsets_and_splits() -> None:
    assert epoch(DataLoader(Subset(numbers(), [3, 1]), 2)) == [[3, 1]]
    assert Subset(Squares(5), [4])[0]["n"] == 4 and DataLoader(Subset(Squares(5), [4, 2]), 2).last == "whole"
    assert next(iter(DataLoader(Subset(Squares(5), [4, 2]), 2)))["n"].tolist() == [4, 2]
    a, b = random_split(numbers(), [7, 3], seed=0)
    assert sorted(a.indices + b.indices) == list(range(10)) and (len(a), len(b)) == (7, 3)
    assert random_split(numbers(), [7, 3], seed=0)[0].indices == a.indices != random_split(numbers(), [7, 3], seed=1)[0].indices
    assert [len(s) for s in random_split(numbers(), [0.5, 0.25, 0.25])] == [6, 2, 2]
    with pytest.raises(GraphcError, match="must add up to 10"):
        random_split(numbers(), [7, 4])
    with pytest.raises(NotImplementedError, match="__len__"):
        len(Dataset())


def test_digits() -> None:
    pytest.importorskip("sklearn")
    train, test = data.Digits(), data.Digits(train=False, size=28)
    assert len(train) + len(test) == 1797 and len(test) == 359
    image, label = test[0]
    assert image.shape == (1, 28, 28) and image.dtype == np.float32 and 0 <= image.min() and image.max() <= 1
    assert label.dtype == np.int64 and set(train.arrays[1].tolist()) == set(range(10))


def test_without_scikit_learn_digits_say_so() -> None:
    program = (
        "import sys; sys.modules['sklearn'] = None; sys.modules['sklearn.datasets'] = None; import graphc as gc\n"
        "try:\n    gc.data.Digits()\nexcept gc.GraphcError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install scikit-learn" in result.stdout
    with pytest.raises(AttributeError, match="no attribute 'Letters'"):
        data.Letters  # noqa: B018
