"""Making batches: samples by number, or from a stream, put together.

In: a data set, and jobs that say which samples. Out: (batch, how many of its samples are not padding). Fetchers are
picklable where their data set is, so that they run in other threads and processes; what they make does not depend on where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import GraphcError, ShapeError
from .draws import drawing_for
from .samplers import set_epoch

Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Job:
    """One batch: the epoch, the place in it of the first sample, sample numbers, how many of them are not padding."""

    epoch: int
    start: int
    indices: Sequence[int]
    valid: int


@dataclass
class Fetcher:
    """Batches of a data set with numbered samples."""

    dataset: Any
    collate: Collate | None

    def __call__(self, job: Job) -> tuple[Any, int]:
        return self._batch(job), job.valid

    def _batch(self, job: Job) -> Any:
        whole = None if self.collate is not None else getattr(self.dataset, "get_batch", None)
        batch = None if whole is None else whole(job.indices)
        if batch is not None:
            return batch
        several = getattr(self.dataset, "__getitems__", None)  # PyTorch's protocol: a list of samples
        if several is None:
            samples = list(self._samples(job))
        else:
            with drawing_for(job.epoch, job.start, job.indices[0]):
                samples = several(list(job.indices))
        return (self.collate or default_collate)(samples)

    def _samples(self, job: Job) -> Iterator[Any]:
        for place, index in enumerate(job.indices, job.start):
            with drawing_for(job.epoch, place, index):
                yield self.dataset[index]


@dataclass
class StreamFetcher:
    """Batches of a stream, in order: a job's `indices` are a range of places. None: the stream has ended."""

    dataset: Any
    collate: Collate | None
    drop_last: bool

    def __post_init__(self) -> None:
        self.stream: Iterator[Any] | None = None
        self.place = 0
        self.first: list[Any] = []

    def __call__(self, job: Job) -> tuple[Any, int] | None:
        if self.stream is None:
            set_epoch(self.dataset, job.epoch)
            self.stream = iter(self.dataset)
        size = len(job.indices)
        while self.place < job.start:  # a resumed epoch: pass over what has been seen
            passed = self._take(job.epoch, min(size, job.start - self.place))
            if not passed:
                return None
        samples = self._take(job.epoch, size)
        if not samples or (self.drop_last and len(samples) < size):
            return None
        valid = len(samples)
        filling = [self.first[i % len(self.first)] for i in range(size - valid)]
        return (self.collate or default_collate)(samples + filling), valid

    def _take(self, epoch: int, count: int) -> list[Any]:
        assert self.stream is not None
        taken: list[Any] = []
        while len(taken) < count:
            with drawing_for(epoch, self.place, self.place):
                try:
                    taken.append(next(self.stream))
                except StopIteration:
                    break
            self.place += 1
        self.first = self.first or taken
        return taken


def default_collate(samples: Sequence[Any]) -> Any:
    """Samples stacked: arrays and numbers along a new first dimension; tuples, lists and dicts part by part; text as lists."""
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, str | bytes):
        return list(samples)
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
