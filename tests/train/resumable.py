"""A training in which everything random matters, as a program that can be killed: dropout, shuffling, random crops, Adam.

    python resumable.py once FOLDER          train in FOLDER, or go on there; print what came out
    python resumable.py kill N FOLDER        N times: begin, kill at a random moment, go on to the end; print what came out

What comes out is a digest of all variables, the history and the log: two runs agree on it only if they agree on every bit.
`kill` compiles once and forks; the moments are drawn from the time that a run takes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import graphc as gc
from graphc import data, nn, optim
from graphc.data import transforms

BATCH = 16


def compile_() -> Any:
    gc.manual_seed(11)
    net = nn.Sequential(nn.Flatten(), nn.Linear(25, 24), nn.ReLU(), nn.Dropout(0.4), nn.Linear(24, 3))
    x = gc.placeholder((BATCH, 1, 5, 5), gc.float32, name="x")
    y = gc.placeholder((BATCH,), gc.int64, name="y")
    loss = nn.functional.cross_entropy(net(x), y)
    step = gc.function([x, y], loss, updates=optim.Adam(net.parameters(), lr=0.01).minimize(loss))
    net.eval()
    return gc.compile(train_step=step, predict=gc.function([x], net(x)), threads=1)


def samples() -> data.TensorDataset:
    rng = np.random.default_rng(5)
    crop = transforms.Compose([transforms.RandomCrop(5, padding=1, seed=1), transforms.RandomHorizontalFlip(seed=2)])
    images = rng.standard_normal((120, 1, 5, 5)).astype(np.float32)
    return data.TensorDataset(images, rng.integers(0, 3, 120), transform=crop)


def train(program: Any, folder: Path) -> str:
    loader = data.DataLoader(samples(), BATCH, shuffle=True, seed=3, num_workers=1)
    held_out = data.DataLoader(data.TensorDataset(samples().arrays[0][:40], samples().arrays[1][:40]), BATCH)
    metrics = {"accuracy": gc.train.accuracy}
    history = gc.train.fit(
        program,
        loader,
        epochs=4,
        evaluate=lambda: gc.train.evaluate(program.predict, held_out, metrics),
        early_stopping=gc.train.EarlyStopping("accuracy", patience=4, mode="max", restore_best=True),
        loggers=[gc.train.JSONLLogger(folder / "log.jsonl"), gc.train.CSVLogger(folder / "log.csv")],
        log_every=3,
        checkpoint=folder / "run.safetensors",
        checkpoint_every=3,
        quiet=True,
    )
    digest = hashlib.sha256(json.dumps(history.rows).encode())
    for name, array in sorted(program.state_dict().items()):
        digest.update(name.encode() + array.tobytes())
    last = gc.train.load_checkpoint(folder / "run.safetensors").state
    for name in sorted(last):
        digest.update(last[name].tobytes())
    for log in ("log.jsonl", "log.csv"):
        digest.update((folder / log).read_bytes())
    return digest.hexdigest()


def fork(program: Any, folder: Path) -> int:
    """Train in a child; its number."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            (folder / "digest").write_text(train(program, folder))
            code = 0
        finally:
            os._exit(code)
    return child


def finish(program: Any, folder: Path) -> str:
    _, status = os.waitpid(fork(program, folder), 0)
    assert status == 0, status
    return (folder / "digest").read_text()


def kill(program: Any, folder: Path, seconds: float) -> bool:
    """Begin, and kill. False if it was too late."""
    child = fork(program, folder)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def killed_runs(count: int, folder: Path) -> dict[str, Any]:
    program = compile_()
    started = time.perf_counter()
    reference = finish(program, folder / "whole")
    duration = time.perf_counter() - started
    digests, steps = [], []
    while len(digests) < count:
        place = folder / f"run{len(steps)}-{len(digests)}"
        if not kill(program, place, random.uniform(0, duration)):
            continue
        if random.random() < 0.5:
            kill(program, place, random.uniform(0, duration / 2))
        checkpoint = place / "run.safetensors"
        steps.append(gc.train.load_checkpoint(checkpoint).meta["step"] if checkpoint.exists() else 0)
        digests.append(finish(program, place))
    return {"reference": reference, "digests": digests, "steps": steps}


if __name__ == "__main__":
    *numbers, where = sys.argv[2:]
    if sys.argv[1] == "kill":
        print(json.dumps(killed_runs(int(numbers[0]), Path(where))))
    else:
        print(train(compile_(), Path(where)))
