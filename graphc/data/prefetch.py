"""Workers: batches made ahead of time, in threads or processes, and handed over in order.

In: a fetcher and its jobs. Out: its results, in the order of the jobs, at most `ahead` of them waiting. The pools are those
of concurrent.futures: what a worker raises is raised here with the worker's traceback, and a process that dies (a crash, the
system's memory killer) ends the iteration with an error; nothing waits for it. A batch that a worker does not finish within a
timeout ends it too: a process that hangs is terminated, a thread cannot be.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import count, islice
from typing import Any, NoReturn

from ..errors import GraphcError
from .fetch import Job

Making = Callable[[], dict[int, int]]  # by worker (its number as a thread or process): the ticket of its batch, 0 for none
CELLS = 4096  # where worker processes say what they make: without locks, by their number, hardly ever the same modulo this

_inherited: dict[str, Any] = {}  # of a worker process: its pickled fetcher, its place in `made`, the fetcher once it was needed


class Workers:
    """A pool of `workers` threads or processes (`kind`) that all have `fetcher`; it ends with `close()` or this object.

    ahead: how many batches are being made while one is used. Each batch has a ticket, by which its worker is found.
    """

    def __init__(self, fetcher: Callable[[Job], Any], workers: int, kind: str, ahead: int) -> None:
        self.kind, self.ahead, self.tickets = kind, ahead, count(1)
        self.pool, self.task, self.making = (_threads if kind == "thread" else _processes)(fetcher, workers)

    def fetch(self, jobs: Iterable[Job], timeout: float = 0) -> Iterator[Any]:
        """fetcher(job) for each job, in order; waits at most `timeout` seconds for each, or forever if it is 0."""
        coming = iter(jobs)
        waiting: deque[tuple[int, Future[Any]]] = deque()
        try:
            waiting.extend(map(self._submit, islice(coming, self.ahead)))
            while waiting:
                ticket, future = waiting.popleft()
                if not wait([future], timeout or None).done:
                    self._give_up(ticket, timeout)
                result = future.result()
                waiting.extend(map(self._submit, islice(coming, 1)))
                yield result
        except BrokenProcessPool as error:
            raise GraphcError(
                "DataLoader: a worker process died before it could return a batch: it crashed (its traceback is above), left "
                "with os._exit, or was killed, as systems do when memory is short; num_workers=0 makes the batches right here"
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()

    def _submit(self, job: Job) -> tuple[int, Future[Any]]:
        ticket = next(self.tickets)
        return ticket, self.pool.submit(self.task, ticket, job)

    def _give_up(self, ticket: int, timeout: float) -> NoReturn:
        busy = {worker: made for worker, made in self.making().items() if made}
        late = [worker for worker, made in busy.items() if made == ticket] or list(busy)  # or those it waits for
        if self.kind == "process":
            for worker in late:  # the pool ends the others; the end of the program would wait for these
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGTERM)
            who = ", ".join(f"worker process {worker} was busy and is terminated" for worker in late)
        else:
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            who = ", ".join(f"worker thread {names[worker]} is busy and cannot be ended" for worker in late)
        raise GraphcError(
            f"DataLoader: no batch within the timeout of {timeout:g} s: {who or f'no worker {self.kind} has started yet'}; "
            "look for what the data set waits for, or give a longer timeout, or 0 to wait forever"
        )

    def close(self) -> None:
        """End the pool, without waiting for it."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _threads(fetcher: Callable[[Job], Any], workers: int) -> tuple[Executor, Callable[..., Any], Making]:
    made: dict[int, int] = {}

    def fetch(ticket: int, job: Job) -> Any:
        made[threading.get_ident()] = ticket
        try:
            return fetcher(job)
        finally:
            made[threading.get_ident()] = 0

    return ThreadPoolExecutor(workers, "graphc-loader"), fetch, made.copy


def _processes(fetcher: Callable[[Job], Any], workers: int) -> tuple[Executor, Callable[..., Any], Making]:
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
    ids, made = context.RawArray("q", CELLS), context.RawArray("q", CELLS)
    pool = ProcessPoolExecutor(workers, context, _inherit, (pickled, ids, made))
    return pool, _fetch_inherited, lambda: dict(zip(ids, made, strict=True))


def _inherit(pickled: bytes, ids: Any, made: Any) -> None:
    faulthandler.enable()  # a crash in native code shows its traceback
    place = os.getpid() % CELLS
    ids[place] = os.getpid()
    _inherited.update(pickled=pickled, made=made, place=place)


def _fetch_inherited(ticket: int, job: Job) -> Any:
    _inherited["made"][_inherited["place"]] = ticket
    try:
        if "fetcher" not in _inherited:
            _inherited["fetcher"] = pickle.loads(_inherited["pickled"])
        return _inherited["fetcher"](job)
    finally:
        _inherited["made"][_inherited["place"]] = 0
