"""Workers: batches made ahead of time, in threads or processes, and handed over in order.

In: a fetcher and its jobs. Out: its results, in the order of the jobs, at most `ahead` of them waiting. The pools are those
of concurrent.futures: what a worker raises is raised here with the worker's traceback, and a process that dies (a crash, the
system's memory killer) ends the iteration with an error; nothing waits for it.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from ..errors import GraphcError
from .fetch import Job

_inherited: dict[str, Any] = {}  # of a worker process: its pickled fetcher, and the fetcher once it was needed


class Workers:
    """A pool of `workers` threads or processes (`kind`) that all have `fetcher`; it ends with `close()` or this object."""

    def __init__(self, fetcher: Callable[[Job], Any], workers: int, kind: str) -> None:
        self.pool, self.task = _pool(fetcher, workers, kind)

    def fetch(self, jobs: Iterable[Job], ahead: int) -> Iterator[Any]:
        """fetcher(job) for each job, in order; `ahead` batches are being made while one is used."""
        coming = iter(jobs)
        waiting: deque[Future[Any]] = deque()
        try:
            waiting.extend(self.pool.submit(self.task, job) for job in islice(coming, ahead))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(self.pool.submit(self.task, job) for job in islice(coming, 1))
                yield result
        except BrokenProcessPool as error:
            raise GraphcError(
                "DataLoader: a worker process died before it could return a batch: it crashed (its traceback is above), left "
                "with os._exit, or was killed, as systems do when memory is short; num_workers=0 makes the batches right here"
            ) from error
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the pool, without waiting for it."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _pool(fetcher: Callable[[Job], Any], workers: int, kind: str) -> tuple[Executor, Callable[[Job], Any]]:
    if kind == "thread":
        return ThreadPoolExecutor(workers, "graphc-loader"), fetcher
    try:
        pickled = pickle.dumps(fetcher)
    except Exception as error:
        raise GraphcError(
            f"DataLoader: the data set and collate_fn must be picklable for worker processes ({error}); "
            "define them at the top level of a module, or use worker_kind='thread'"
        ) from error
    # A fork would copy the locks of the threads that are running now, as of compiled programs; a fresh process has none.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    return ProcessPoolExecutor(workers, context, _inherit, (pickled,)), _fetch_inherited


def _inherit(pickled: bytes) -> None:
    faulthandler.enable()  # a crash in native code shows its traceback
    _inherited["pickled"] = pickled


def _fetch_inherited(job: Job) -> Any:
    if "fetcher" not in _inherited:
        _inherited["fetcher"] = pickle.loads(_inherited["pickled"])
    return _inherited["fetcher"](job)
