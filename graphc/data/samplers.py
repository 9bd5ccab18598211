"""Samplers: in which order the samples of an epoch come.

In: a data set (or its length), a seed. Out: iterables over sample numbers, with a length. The order depends on the seed and
on `epoch` alone, so a run can be resumed in the middle of one; loaders call `set_epoch`. Any iterable with a length can take
their place; it is resumable if it yields the same numbers again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..config import default_seed
from ..errors import GraphcError


class Sampler:
    """Base class: a subclass defines `order()` for `self.epoch`, and `__len__`."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is."""
        self.epoch = epoch

    def generator(self) -> np.random.Generator:
        """The random numbers of this epoch."""
        seed = default_seed() if self.seed is None else self.seed
        return np.random.default_rng((seed % 2**63, self.epoch))

    def order(self) -> np.ndarray:
        """The sample numbers of this epoch."""
        raise NotImplementedError(f"{type(self).__name__} must define order")

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        super().__init__()
        self.count = _count(data_source)

    def order(self) -> np.ndarray:
        return np.arange(self.count)

    def __len__(self) -> int:
        return self.count


class RandomSampler(Sampler):
    """All samples in random order; with replacement, `num_samples` independent draws."""

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.count, self.replacement = _count(data_source), replacement
        self.num_samples = self.count if num_samples is None else num_samples
        if self.num_samples < 1 or self.count < 1:
            raise GraphcError(f"RandomSampler: cannot draw {self.num_samples} of {self.count} samples")

    def order(self) -> np.ndarray:
        rng = self.generator()
        if self.replacement:
            return rng.integers(0, self.count, self.num_samples)
        rounds = -(-self.num_samples // self.count)
        return np.concatenate([rng.permutation(self.count) for _ in range(rounds)])[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given samples in random order."""

    def __init__(self, indices: Sequence[int], seed: int | None = None) -> None:
        super().__init__(seed)
        self.indices = np.asarray(indices, np.int64)

    def order(self) -> np.ndarray:
        return self.generator().permutation(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """`num_samples` draws; sample i comes up in proportion to weights[i]."""

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, seed: int | None = None) -> None:
        super().__init__(seed)
        values = np.asarray(weights, np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
            raise GraphcError("WeightedRandomSampler: the weights must be a list of finite numbers, none negative, not all 0")
        if num_samples < 1 or (not replacement and num_samples > np.count_nonzero(values)):
            can = f"; without replacement, {np.count_nonzero(values)} can be drawn at most" if num_samples > 0 else ""
            raise GraphcError(f"WeightedRandomSampler: cannot draw {num_samples} samples{can}")
        self.shares, self.num_samples, self.replacement = values / values.sum(), num_samples, replacement

    def order(self) -> np.ndarray:
        return self.generator().choice(len(self.shares), self.num_samples, self.replacement, self.shares)

    def __len__(self) -> int:
        return self.num_samples


class DistributedSampler(Sampler):
    """The share of process `rank` out of `num_replicas`; together they see every sample, each the same number of them.

    What does not divide is dropped (`drop_last`), or made up for with samples from the start of the order.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int,
        rank: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(seed)
        if not 0 <= rank < num_replicas:
            raise GraphcError(f"DistributedSampler: rank {rank} is not in 0 .. {num_replicas - 1}")
        self.count, self.replicas, self.rank, self.shuffle = _count(dataset), num_replicas, rank, shuffle
        self.share = self.count // num_replicas if drop_last else -(-self.count // num_replicas)
        if self.share == 0:
            raise GraphcError(f"DistributedSampler: {self.count} samples are too few for {num_replicas} processes")

    def order(self) -> np.ndarray:
        everything = self.generator().permutation(self.count) if self.shuffle else np.arange(self.count)
        return np.resize(everything, self.share * self.replicas)[self.rank :: self.replicas]

    def __len__(self) -> int:
        return self.share


class BatchSampler:
    """Lists of `batch_size` sample numbers; `drop_last` leaves out a last list that would be shorter."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise GraphcError(f"BatchSampler: the batch size must be a positive int, not {batch_size!r}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is."""
        set_epoch(self.sampler, epoch)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole + (rest > 0 and not self.drop_last)


def set_epoch(sampler: Any, epoch: int) -> None:
    """Tell a sampler the epoch, if it wants to know."""
    tell = getattr(sampler, "set_epoch", None)
    if tell is not None:
        tell(epoch)


def _count(data_source: Any) -> int:
    return data_source if isinstance(data_source, int) else len(data_source)
