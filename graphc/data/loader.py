"""The loader: samples in batches of one static shape.

In: a data set. Out: per epoch, batches of numpy arrays, in an order that depends on the seed and the epoch alone. A
compiled function takes one batch size, so the last batch is never smaller: what does not fill a batch is dropped
(`drop_last=True`) or filled up with samples from the start of the epoch; `last`, `valid` and `repr` say which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..config import default_seed
from ..errors import GraphcError, ShapeError


class DataLoader:
    """Iterates over batches; each iteration is an epoch.

    last: "drop", "pad", or "whole" when batches fill up exactly. valid: how many samples of the batch just yielded are
    not padding. A numpy `generator` replaces the seed. collate_fn makes a batch of a list of samples.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        generator: np.random.Generator | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise GraphcError(f"DataLoader: the batch size must be a positive int, not {batch_size!r}")
        if len(dataset) == 0 or (drop_last and len(dataset) < batch_size):
            raise GraphcError(f"DataLoader: {len(dataset)} samples give no batch of {batch_size}; use a smaller batch_size")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.seed, self.generator, self.collate_fn = seed, generator, collate_fn
        self.epoch = 0
        self.valid = batch_size

    @property
    def last(self) -> str:
        """What happens to the samples that do not fill a batch."""
        return "whole" if len(self.dataset) % self.batch_size == 0 else "drop" if self.drop_last else "pad"

    @property
    def padding(self) -> int:
        """How many samples of the last batch are repetitions."""
        return -len(self.dataset) % self.batch_size if self.last == "pad" else 0

    def set_epoch(self, epoch: int) -> None:
        """The number of the next epoch, for a run that continues an earlier one."""
        self.epoch = epoch

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        order = self._order()
        self.epoch += 1
        return self._batches(order)

    def _order(self) -> np.ndarray:
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        if self.generator is not None:
            return self.generator.permutation(count)
        seed = default_seed() if self.seed is None else self.seed
        return np.random.default_rng((seed % 2**63, self.epoch)).permutation(count)

    def _batches(self, order: np.ndarray) -> Iterator[Any]:
        for i in range(len(self)):
            chosen = order[i * self.batch_size : (i + 1) * self.batch_size]
            self.valid = len(chosen)
            yield self._batch(self._filled(chosen, order))

    def _filled(self, chosen: np.ndarray, order: np.ndarray) -> np.ndarray:
        missing = self.batch_size - len(chosen)
        return np.concatenate([chosen, np.resize(order, missing)]) if missing else chosen

    def _batch(self, indices: np.ndarray) -> Any:
        numbers = indices.tolist()
        if self.collate_fn is not None:
            return self.collate_fn([self.dataset[i] for i in numbers])
        fetch = getattr(self.dataset, "__getitems__", None)
        batch = None if fetch is None else fetch(numbers)
        return default_collate([self.dataset[i] for i in numbers]) if batch is None else batch

    def __repr__(self) -> str:
        ends = {
            "whole": "all batches full",
            "drop": f"drops the last {len(self.dataset) % self.batch_size} samples",
            "pad": f"pads the last batch with {self.padding} samples from the start",
        }
        return f"DataLoader({len(self.dataset)} samples, {len(self)} batches of {self.batch_size}, {ends[self.last]})"


def default_collate(samples: Sequence[Any]) -> Any:
    """Samples stacked: arrays and numbers along a new first dimension; tuples, lists and dicts part by part."""
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple | list):
        return tuple(default_collate(part) for part in zip(*samples, strict=True))
    try:
        batch = np.stack([np.asarray(sample) for sample in samples])
    except ValueError:
        shapes = ", ".join(sorted({str(np.shape(sample)) for sample in samples}))
        raise ShapeError(f"samples of shapes {shapes} do not make a batch; bring them to one shape with a transform") from None
    if batch.dtype == object:
        raise GraphcError(f"samples of type {type(first).__name__} do not make a batch; give a collate_fn")
    return batch.astype(np.float32) if isinstance(first, float) and not isinstance(first, np.generic) else batch
