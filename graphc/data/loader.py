"""The loader: samples in batches of one static shape.

In: a data set. Out: per epoch, batches of numpy arrays, in an order that depends on the seed and the epoch alone. A
compiled function takes one batch size, so the last batch is never smaller: what does not fill a batch is dropped
(`drop_last=True`) or filled up with samples from the start of the epoch; `last`, `valid` and `repr` say which.
`state_dict` says how far an epoch has come, and a loader that loads it goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from itertools import accumulate, count
from typing import Any

import numpy as np

from ..config import default_seed
from ..errors import GraphcError
from .dataset import IterableDataset
from .fetch import Fetcher, Job, StreamFetcher
from .samplers import BatchSampler, RandomSampler, SequentialSampler, set_epoch

WORKER_KINDS = ("thread", "process")


class DataLoader:
    """Iterates over batches; each iteration is an epoch.

    last: "drop", "pad", or "whole" when batches fill up exactly (which is not known of a stream).
    valid: how many samples of the batch just yielded are not padding. A numpy `generator` replaces the seed. collate_fn makes
    a batch of a list of samples. sampler, batch_sampler: iterables over sample numbers, or lists of them, instead of `shuffle`.
    num_workers: how many threads or processes (`worker_kind`) make batches, `prefetch_factor` each, ahead of time; a stream has
    one at most. Their number changes no batch. persistent_workers: they stay between epochs, with the data set as it was when
    they began; starting processes takes its time. timeout: seconds to wait for a batch from workers, GraphcError after them; 0
    waits forever. pin_memory is there for programs written for PyTorch, and means nothing.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        worker_kind: str = "thread",
        prefetch_factor: int = 2,
        persistent_workers: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        seed: int | None = None,
        generator: np.random.Generator | None = None,
        pin_memory: bool = False,
        timeout: float = 0,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise GraphcError(f"DataLoader: the batch size must be a positive int, not {batch_size!r}")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.seed, self.generator, self.collate_fn = seed, generator, collate_fn
        self.batch_sampler = batch_sampler
        self.num_workers, self.worker_kind, self.prefetch_factor = num_workers, worker_kind, prefetch_factor
        self.persistent_workers, self.timeout = persistent_workers, timeout
        self._workers: Any = None
        self.streams = isinstance(dataset, IterableDataset)
        self.epoch = 0
        self.valid = batch_size
        self._seen = 0  # batches of the epoch under way, or to be passed over in the next
        self._under_way = False
        self._before: Any = None  # the generator's state when the epoch began
        self._check(sampler)
        self.sampler: Any = None if self.streams else sampler or self._default_sampler()
        if not self.streams and batch_sampler is None and len(self) == 0:
            raise GraphcError(f"DataLoader: {self._count} samples give no batch of {batch_size}; use a smaller batch_size")

    def _check(self, sampler: Any) -> None:
        if not self.streams and not (hasattr(self.dataset, "__len__") and hasattr(self.dataset, "__getitem__")):
            kind = type(self.dataset).__name__
            raise GraphcError(f"DataLoader: a data set has a length and items, or is an IterableDataset; {kind} is neither")
        chosen = self.shuffle or self.generator is not None or sampler is not None
        if sampler is not None and self.shuffle:
            raise GraphcError("DataLoader: a sampler has an order of its own; give either it or shuffle=True")
        if self.batch_sampler is not None and (chosen or self.drop_last or self.batch_size != 1):
            raise GraphcError("DataLoader: a batch_sampler decides alone; leave out batch_size, shuffle, sampler and drop_last")
        if self.streams and (chosen or self.batch_sampler is not None):
            raise GraphcError("DataLoader: a stream has the order it has; shuffle and samplers need a data set with a length")
        if self.worker_kind not in WORKER_KINDS:
            raise GraphcError(f"DataLoader: worker_kind must be 'thread' or 'process', not {self.worker_kind!r}")
        if self.num_workers < 0 or self.prefetch_factor < 1:
            raise GraphcError("DataLoader: num_workers must not be negative, and prefetch_factor must be at least 1")
        if not self.timeout >= 0 or (self.timeout and not self.num_workers):
            raise GraphcError("DataLoader: timeout is 0, or the seconds to wait for a batch from workers, so num_workers > 0")

    def _default_sampler(self) -> Any:
        if len(self.dataset) and self.shuffle:
            return RandomSampler(self.dataset, seed=self.seed)
        return SequentialSampler(self.dataset)

    @property
    def _count(self) -> int:
        return len(self.sampler)

    @property
    def last(self) -> str:
        """What happens to the samples that do not fill a batch."""
        if self.streams:
            return "drop" if self.drop_last else "pad"
        if self.batch_sampler is not None:
            return "whole"
        return "whole" if self._count % self.batch_size == 0 else "drop" if self.drop_last else "pad"

    @property
    def padding(self) -> int:
        """How many samples of the last batch are repetitions; of a stream, `valid` says it when the batch is there."""
        if self.streams:
            raise TypeError("how much the last batch of a stream is padded is not known before it is there")
        return -self._count % self.batch_size if self.last == "pad" else 0

    def set_epoch(self, epoch: int) -> None:
        """The number of the next epoch, for a run that continues an earlier one."""
        self.epoch, self._seen, self._under_way = epoch, 0, False

    def __len__(self) -> int:
        """The number of batches in an epoch. Streams have none."""
        if self.streams:
            raise TypeError(f"a DataLoader of a stream ({type(self.dataset).__name__}) has no length")
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        return len(BatchSampler(self.sampler, self.batch_size, self.drop_last))

    def __iter__(self) -> Iterator[Any]:
        if self._under_way:  # an epoch that was left in the middle
            self._seen = 0
        first, epoch = self._seen, self.epoch
        jobs, fetcher = self._jobs(epoch, first)
        self.epoch += 1
        self._under_way = True
        return self._run(jobs, fetcher, first)

    def _run(self, jobs: Iterator[Job], fetcher: Any, first: int) -> Iterator[Any]:
        for seen, result in enumerate(self._made(jobs, fetcher), first + 1):
            if result is None:
                break
            batch, self.valid = result
            self._seen = seen
            yield batch
        self._seen, self._under_way = 0, False

    def _made(self, jobs: Iterator[Job], fetcher: Any) -> Iterator[Any]:
        """The results of the jobs, made here or by workers."""
        if not self.num_workers:
            yield from map(fetcher, jobs)
            return
        count = 1 if self.streams else self.num_workers
        stay = self.persistent_workers and not self.streams  # who reads a stream has a place in it
        prefetch = import_module("graphc.data.prefetch")  # multiprocessing is slow to load
        workers = self._workers or prefetch.Workers(fetcher, count, self.worker_kind, count * self.prefetch_factor)
        self._workers = workers if stay else None
        try:
            yield from workers.fetch(jobs, self.timeout)
        except GraphcError:
            self._workers = None
            raise
        finally:
            if not stay:
                workers.close()

    # -------------------------------------------------------------------------------------------------- which samples

    def _jobs(self, epoch: int, first: int) -> tuple[Iterator[Job], Any]:
        size = self.batch_size
        if self.streams:
            starts = count(first * size, size)
            fetcher = StreamFetcher(self.dataset, self.collate_fn, self.drop_last)
            return (Job(epoch, start, range(start, start + size), size) for start in starts), fetcher
        set_epoch(self.batch_sampler or self.sampler, epoch)
        batches = self._lists()
        places = accumulate(map(len, batches), initial=0)
        jobs = [self._job(epoch, place, batch) for place, batch in zip(places, batches, strict=False)]
        return iter(jobs[first:]), Fetcher(self.dataset, self.collate_fn)

    def _job(self, epoch: int, start: int, batch: list[int]) -> Job:
        if self.batch_sampler is not None:
            return Job(epoch, start, batch, len(batch))
        missing = self.batch_size - len(batch)
        filling = np.resize(self._order, missing).tolist() if missing else []
        return Job(epoch, start, [*batch, *filling], len(batch))

    def _lists(self) -> list[list[int]]:
        if self.batch_sampler is not None:
            return [list(batch) for batch in self.batch_sampler]
        if self.generator is not None and self.shuffle:
            self._before = self.generator.bit_generator.state
            self._order = self.generator.permutation(self._count).tolist()
        else:
            self._order = [int(index) for index in self.sampler]
        return list(BatchSampler(self._order, self.batch_size, self.drop_last))

    # ------------------------------------------------------------------------------------------------------- resuming

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a state to mean the same samples."""
        seed = default_seed() if self.seed is None else self.seed
        return {
            "samples": None if self.streams or self.batch_sampler is not None else self._count,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "seed": seed if self.shuffle and self.generator is None else None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: the epoch, and the batches of it that have been yielded. Numbers and text, fit for JSON."""
        state = {**self._identity(), "epoch": self.epoch - self._under_way, "batch": self._seen}
        if self.generator is not None and self.shuffle:
            state["generator"] = self._before if self._under_way else self.generator.bit_generator.state
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another loader of the same samples was: the next iteration yields the rest of its epoch."""
        wrong = [
            f"{key} is {mine!r}, was {state.get(key)!r}" for key, mine in self._identity().items() if state.get(key) != mine
        ]
        if wrong or not all(isinstance(state.get(key), int) and state[key] >= 0 for key in ("epoch", "batch")):
            raise GraphcError(f"DataLoader: the state does not fit: {'; '.join(wrong) or 'epoch and batch must be numbers'}")
        if self.generator is not None and self.shuffle:
            self.generator.bit_generator.state = state["generator"]
        self.epoch, self._seen, self._under_way = state["epoch"], state["batch"], False

    def __repr__(self) -> str:
        if self.streams:
            ends = "drops what does not fill the last batch" if self.drop_last else "pads the last batch from the start"
            return f"DataLoader(stream of {type(self.dataset).__name__}, batches of {self.batch_size}, {ends})"
        if self.batch_sampler is not None:
            return f"DataLoader({len(self)} batches of {type(self.batch_sampler).__name__})"
        ends = {
            "whole": "all batches full",
            "drop": f"drops the last {self._count % self.batch_size} samples",
            "pad": f"pads the last batch with {self.padding} samples from the start",
        }[self.last]
        return f"DataLoader({self._count} samples, {len(self)} batches of {self.batch_size}, {ends})"
