"""Loaders that stop and go on: in threads, in processes, on streams; and what happens when a worker fails."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.data import ConcatDataset, DataLoader, Dataset, IterableDataset, TensorDataset, default_collate
from graphc.errors import GraphcError

MANY = TensorDataset(np.arange(23))


class Slow(Dataset):
    """Later samples are ready earlier, so that order is not a matter of luck."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> int:
        time.sleep(0.002 * (12 - index))
        return index


class Broken(Dataset):
    """Sample 5 raises, or takes its process with it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> int:
        if index == 5 and self.how == "raise":
            raise ValueError("sample 5 is rotten")
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL) if self.how == "kill" else os._exit(3)
        return index


class Stuck(Dataset):
    """Sample 2 comes when `path` exists, or a minute later."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        end = time.monotonic() + 60
        while index == 2 and time.monotonic() < end and not self.path.exists():
            time.sleep(0.01)
        return os.getpid()


class Lines(IterableDataset):
    def __init__(self, count: int = 10) -> None:
        self.count = count
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(range(100 * self.epoch, 100 * self.epoch + self.count))


def rest(loader: DataLoader) -> list[list[int]]:
    return [np.asarray(batch[0] if isinstance(batch, tuple) else batch).tolist() for batch in loader]


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_workers_change_no_batch(kind: str) -> None:
    alone = DataLoader(Slow(), 5)
    ahead = DataLoader(Slow(), 5, num_workers=2, worker_kind=kind)
    assert rest(ahead) == rest(alone) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 0, 1, 2]]
    assert [ahead.valid for _ in ahead] == [5, 5, 2]


class Process(Dataset):
    """Which process makes a sample; sample 3 ends it, if so wished."""

    def __init__(self, fatal: bool = False) -> None:
        self.fatal = fatal

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if self.fatal and index == 3:
            os._exit(1)
        return os.getpid()


def test_persistent_workers_stay() -> None:
    def processes(persistent: bool) -> list[int]:
        loader = DataLoader(Process(), 4, num_workers=1, worker_kind="process", persistent_workers=persistent)
        return [batch[0] for _ in range(2) for batch in loader]

    first, second = processes(True)
    assert first == second != os.getpid()
    first, second = processes(False)
    assert first != second
    loader = DataLoader(Process(fatal=True), 2, num_workers=1, worker_kind="process", persistent_workers=True)
    for _ in range(2):  # the dead are replaced
        iterator = iter(loader)
        assert len(next(iterator)) == 2
        with pytest.raises(GraphcError, match="worker process died"):
            next(iterator)


def test_persistent_threads_start_a_new_epoch_after_one_that_was_left() -> None:
    loader = DataLoader(Slow(), 2, num_workers=2, persistent_workers=True)
    next(iter(loader))
    assert len(rest(loader)) == 6 and rest(loader)[0] == [0, 1]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_goes_on_where_another_was(workers: int, shuffle: bool) -> None:
    def loader() -> DataLoader:
        return DataLoader(MANY, 4, shuffle, seed=9, num_workers=workers)

    whole = loader()
    epochs = [rest(whole), rest(whole)]
    for stop in range(7):
        begun, resumed = loader(), loader()
        rest(begun)
        iterator = iter(begun)
        seen = [next(iterator)[0].tolist() for _ in range(stop)]
        state = json.loads(json.dumps(begun.state_dict()))
        assert (state["epoch"], state["batch"]) == (1, stop)
        resumed.load_state_dict(state)
        assert seen + rest(resumed) == epochs[1]
        assert rest(resumed) == [*rest(begun)] and resumed.epoch == 3


def test_a_resumed_generator_draws_the_same() -> None:
    def loader() -> DataLoader:
        return DataLoader(MANY, 4, True, generator=np.random.default_rng(3))

    begun = loader()
    rest(begun)
    iterator = iter(begun)
    next(iterator)
    resumed = loader()
    resumed.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    assert rest(resumed) == [b[0].tolist() for b in iterator] and rest(resumed) == rest(begun)


def test_a_state_of_other_samples_is_refused() -> None:
    state = DataLoader(MANY, 4, True, seed=1).state_dict()
    with pytest.raises(GraphcError, match="batch_size is 5, was 4"):
        DataLoader(MANY, 5, True, seed=1).load_state_dict(state)
    with pytest.raises(GraphcError, match="seed is 2, was 1"):
        DataLoader(MANY, 4, True, seed=2).load_state_dict(state)
    with pytest.raises(GraphcError, match="must be numbers"):
        DataLoader(MANY, 4, True, seed=1).load_state_dict({**state, "batch": -1})


def test_an_epoch_left_in_the_middle_is_over() -> None:
    loader = DataLoader(MANY, 4, num_workers=1)
    next(iter(loader))
    assert loader.state_dict()["batch"] == 1
    assert len(rest(loader)) == 6 and loader.state_dict() == {**loader.state_dict(), "epoch": 2, "batch": 0}


@pytest.mark.parametrize("workers, kind", [(0, "thread"), (2, "thread"), (1, "process")])
def test_streams(workers: int, kind: str) -> None:
    def loader(**more: Any) -> DataLoader:
        return DataLoader(Lines(), 4, num_workers=workers, worker_kind=kind, **more)

    padded = loader()
    assert rest(padded) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]] and padded.valid == 2 and padded.last == "pad"
    assert rest(padded)[0] == [100, 101, 102, 103]
    dropped = loader(drop_last=True)
    assert len(rest(dropped)) == 2 and dropped.last == "drop"
    resumed = loader()
    resumed.load_state_dict({**resumed.state_dict(), "epoch": 1, "batch": 2})
    assert rest(resumed) == [[108, 109, 100, 101]] and resumed.epoch == 2


def test_what_streams_cannot() -> None:
    loader = DataLoader(Lines(3), 2)
    assert rest(loader) == [[0, 1], [2, 0]] and rest(DataLoader(Lines(0), 2)) == []
    assert "pads the last batch" in repr(loader) and "drops" in repr(DataLoader(Lines(), 2, drop_last=True))
    for call in (lambda: len(loader), lambda: loader.padding):
        with pytest.raises(TypeError, match="stream"):
            call()
    with pytest.raises(GraphcError, match="order it has"):
        DataLoader(Lines(), 2, shuffle=True)
    with pytest.raises(GraphcError, match="with a length"):
        ConcatDataset([MANY, Lines()])
    with pytest.raises(NotImplementedError, match="__iter__"):
        iter(IterableDataset())


@pytest.mark.parametrize("workers, kind", [(0, "thread"), (2, "thread"), (2, "process")])
def test_what_a_worker_raises_ends_the_loop_with_its_traceback(workers: int, kind: str) -> None:
    loader = DataLoader(Broken("raise"), 3, num_workers=workers, worker_kind=kind)
    iterator = iter(loader)
    assert next(iterator).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="sample 5 is rotten") as caught:
        list(iterator)
    remote = str(caught.value.__cause__) if kind == "process" else "".join(str(entry) for entry in caught.traceback)
    assert "__getitem__" in remote and "rotten" in remote


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_worker_that_dies_ends_the_loop(how: str) -> None:
    with pytest.raises(GraphcError, match="worker process died"):
        list(DataLoader(Broken(how), 3, num_workers=2, worker_kind="process"))


@pytest.mark.parametrize("persistent", [False, True])
def test_a_thread_that_hangs_is_named_after_the_timeout(persistent: bool, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    loader = DataLoader(Stuck(go_on), 2, num_workers=1, timeout=0.3, persistent_workers=persistent)
    iterator = iter(loader)
    assert next(iterator)[0] == os.getpid()
    with pytest.raises(GraphcError, match=r"timeout of 0\.3 s: worker thread graphc-loader_0 is busy and cannot be ended"):
        next(iterator)
    go_on.touch()
    assert len(list(loader)) == 2  # with new workers


@pytest.mark.parametrize("left", [False, True])
def test_a_process_that_hangs_is_named_and_terminated_after_the_timeout(left: bool, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    go_on.touch()
    loader = DataLoader(Stuck(go_on), 2, num_workers=1, worker_kind="process", timeout=60, persistent_workers=True)
    workers = {int(batch[0]) for batch in loader}
    assert len(workers) == 1
    worker = workers.pop()
    go_on.unlink()
    loader.timeout = 2
    if left:
        next(iter(loader))  # the worker goes on with the second batch of an epoch that nobody wants any more
    with pytest.raises(GraphcError, match=f"timeout of 2 s: worker process {worker} was busy and is terminated"):
        list(loader)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{worker}").exists()


def test_a_timeout_before_a_process_has_begun_says_so() -> None:
    with pytest.raises(GraphcError, match="no worker process has started"):
        list(DataLoader(MANY, 2, num_workers=1, worker_kind="process", timeout=0.001))


def test_a_timeout_does_not_hide_one_of_the_data_set() -> None:
    def refuse(samples: list[Any]) -> Any:
        raise TimeoutError("the server is silent")

    with pytest.raises(TimeoutError, match="the server is silent"):
        list(DataLoader(MANY, 2, num_workers=1, collate_fn=refuse, timeout=60))


def test_what_cannot_go_to_a_process_says_so() -> None:
    with pytest.raises(GraphcError, match="picklable"):
        list(DataLoader(MANY, 2, collate_fn=lambda samples: samples, num_workers=1, worker_kind="process"))


def test_concatenation() -> None:
    both = TensorDataset(np.arange(3)) + TensorDataset(np.arange(10, 12))
    assert len(both) == 5 and [int(both[i][0]) for i in (0, 2, 3, 4, -1)] == [0, 2, 10, 11, 11]
    assert rest(DataLoader(both, 5)) == [[0, 1, 2, 10, 11]]
    for index in (5, -6):
        with pytest.raises(IndexError, match="of 5"):
            both[index]


class Listed(Dataset):
    """PyTorch's protocol for several samples at once."""

    def __len__(self) -> int:
        return 4

    def __getitems__(self, indices: list[int]) -> list[int]:
        return [10 * i for i in indices]


def test_lists_of_samples_and_text() -> None:
    assert rest(DataLoader(Listed(), 2)) == [[0, 10], [20, 30]]
    assert default_collate([("a", 1), ("b", 2)])[0] == ["a", "b"]
