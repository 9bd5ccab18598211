"""Whole programs as CUDA source, run on the CPU: random graphs, and the training of the examples."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import digits_mlp
import fuzz
import lenet
import numpy as np
import pytest
from emulated_cuda import COMPILER, Net
from random_graphs import Case
from training import accuracy, train

import graphc as gc
from graphc import data
from graphc.driver import Stages

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++, which compiles CUDA source for the CPU")

CUDA = ("CUDA source",)


@pytest.mark.parametrize("first", (100, 112))
def test_random_graphs_compute_what_numpy_does(first: int) -> None:
    report = fuzz.check_batch(range(first, first + 12), CUDA, share=0)
    assert not report.failures, "\n".join(map(str, report.failures))
    assert report.judged > 0.9 * report.elements


def digits(size: int, batch: int, steps: int) -> tuple[tuple[np.ndarray, ...], ...]:
    """The first batches of an epoch."""
    loader = data.DataLoader(data.Digits(train=True, size=size), batch, shuffle=True, drop_last=True, seed=0)
    return tuple(tuple(arrays) for arrays, _ in zip(loader, range(steps), strict=False))


CHOICES = lenet.Choices(batch_norm=True, dropout=0.2, l2=1e-4)
STEPS = {
    "mlp": lambda: (digits_mlp.declare()[0], digits(28, digits_mlp.BATCH, 3)),
    "lenet": lambda: (lenet.declare()[0], digits(32, lenet.BATCH, 2)),
    "lenet, normalised and dropping": lambda: (lenet.declare(CHOICES)[0], digits(32, lenet.BATCH, 2)),
}


@pytest.mark.parametrize("name", STEPS)
def test_training_steps_compute_what_numpy_does(name: str, tmp_path: Path) -> None:
    """Losses and every variable after each step, within what the roundings of the step allow; every access is checked."""
    step, calls = STEPS[name]()
    subject = fuzz.Subject(Case(step.graph("f"), calls), "f")
    subject.check_cuda(Net(Stages({"f": step}, "cuda").planned, tmp_path))


# After one epoch of LeNet an equal maximum in a window is enough for another course of the training.
EXAMPLES = {
    "mlp": (digits_mlp.declare, 28, digits_mlp.BATCH, 6),
    "lenet": (lenet.declare, 32, lenet.BATCH, 1),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_training_goes_as_native_code_does(name: str, tmp_path: Path) -> None:
    declare, size, batch, epochs = EXAMPLES[name]
    step, predict = declare()
    learn, test = (data.Digits(train=part, size=size) for part in (True, False))
    net = Net(Stages({"train_step": step, "predict": predict}, "cuda").planned, tmp_path, checked=False)
    emulated = SimpleNamespace(
        train_step=lambda *arrays: net.call("train_step", *arrays)[0], predict=lambda *arrays: net.call("predict", *arrays)[0]
    )
    results = []
    for program in (gc.compile(train_step=step, predict=predict), emulated):
        loader = data.DataLoader(learn, batch, shuffle=True, drop_last=True, seed=0)
        losses, _ = train(program, loader, epochs, quiet=True)
        results.append((losses, accuracy(program, test, batch)))
    (losses, share), (losses_of_cuda, share_of_cuda) = results
    np.testing.assert_allclose(losses_of_cuda, losses, rtol=1e-3)
    assert abs(share_of_cuda - share) <= 2 / len(test)
