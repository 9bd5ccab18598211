"""Data sets: numbered samples, or streams of them.

In: arrays, or a user's class with `__len__` and `__getitem__`, or with `__iter__`. Out: samples by index, subsets, splits,
one after the other. Nothing here knows about graphs: samples are numpy arrays and numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..config import default_seed
from ..errors import GraphcError, ShapeError


class Dataset:
    """Base class: a subclass defines `__len__` and `__getitem__(i)`, which returns one sample.

    It may define `get_batch(indices)` too: a whole batch at once, or None where samples must be fetched one by one.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Any) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset:
    """Base class of streams: a subclass defines `__iter__`, which starts anew every time.

    Loaders resume by passing over the samples already seen, so an iteration must repeat itself for the same epoch:
    `set_epoch(epoch)` is called before each, if it exists.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class TensorDataset(Dataset):
    """Arrays of equal length; sample i is the tuple of their rows i. `transform` is applied to the first of them."""

    def __init__(self, *arrays: Any, transform: Callable[[Any], Any] | None = None) -> None:
        self.arrays = tuple(np.asarray(a) for a in arrays)
        self.transform = transform
        if not self.arrays or any(a.ndim == 0 for a in self.arrays):
            raise ShapeError("TensorDataset: takes at least one array, each with a first dimension of samples")
        if len({len(a) for a in self.arrays}) > 1:
            raise ShapeError(
                f"TensorDataset: the arrays hold {', '.join(str(len(a)) for a in self.arrays)} samples; must be equal"
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        first, *rest = (a[index] for a in self.arrays)
        return (first if self.transform is None else self.transform(first), *rest)

    def get_batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...] | None:
        """A whole batch at once, or None when samples must be transformed one by one."""
        return None if self.transform is not None else tuple(a[np.asarray(indices)] for a in self.arrays)


class Subset(Dataset):
    """The samples of a data set that `indices` names."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def get_batch(self, indices: Sequence[int]) -> Any:
        """A whole batch at once, if the data set can."""
        fetch = getattr(self.dataset, "get_batch", None)
        return None if fetch is None else fetch([self.indices[i] for i in indices])


class ConcatDataset(Dataset):
    """Data sets one after the other."""

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets or any(isinstance(part, IterableDataset) for part in self.datasets):
            raise GraphcError("ConcatDataset: takes at least one data set, and only data sets with a length")
        self.ends = list(accumulate(len(part) for part in self.datasets))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Any:
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        part = bisect_right(self.ends, at)
        return self.datasets[part][at - (self.ends[part - 1] if part else 0)]


def random_split(dataset: Any, lengths: Sequence[float], seed: int | None = None) -> list[Subset]:
    """Disjoint random subsets of the given sizes; fractions that add up to 1 are shares of the whole."""
    sizes = _shares(len(dataset), lengths) if all(0 < n <= 1 for n in lengths) and abs(sum(lengths) - 1) < 1e-6 else lengths
    if sum(sizes) != len(dataset) or any(n != int(n) or n < 0 for n in sizes):
        raise GraphcError(f"random_split: sizes {list(lengths)} must add up to {len(dataset)} samples (or, as fractions, to 1)")
    order = np.random.default_rng(default_seed() if seed is None else seed).permutation(len(dataset)).tolist()
    starts = [int(sum(sizes[:i])) for i in range(len(sizes))]
    return [Subset(dataset, order[start : start + int(n)]) for start, n in zip(starts, sizes, strict=True)]


def _shares(total: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers near the fractions; what rounding leaves over goes to the first ones."""
    sizes = [int(total * f) for f in fractions]
    for i in range(total - sum(sizes)):
        sizes[i % len(sizes)] += 1
    return sizes
