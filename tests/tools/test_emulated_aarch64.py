"""Whole programs for aarch64, run by an emulator, and proof that it sees what a processor would refuse."""

from __future__ import annotations

from collections.abc import Callable

import digits_mlp
import fuzz
import lenet
import numpy as np
import pytest
from emulated_aarch64 import Fault, Net
from nets import counter
from random_graphs import Case
from subject import OTHERS, Subject, Wrong

import graphc as gc
from graphc.driver import Stages
from graphc.function import Function

Arrays = tuple[np.ndarray, ...]


def samples(batch: int, size: int) -> Arrays:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 1, size, size)).astype(np.float32), rng.integers(0, 10, batch)


def tiled() -> tuple[Function, Arrays]:
    """A step through a convolution that is computed by Winograd's algorithm."""
    conv = gc.nn.Conv2d(16, 16, 3, padding=1)
    x = gc.placeholder((1, 16, 12, 12), gc.float32, name="x")
    loss = conv(x).tanh().square().mean()
    data = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    return gc.function([x], loss, updates=gc.optim.SGD(conv.parameters(), lr=0.1).minimize(loss)), (data,)


STEPS: dict[str, Callable[[], tuple[Function, Arrays]]] = {
    "mlp": lambda: (digits_mlp.declare()[0], samples(digits_mlp.BATCH, 28)),
    "lenet": lambda: (lenet.declare(lenet.Choices(batch_norm=True, dropout=0.2, l2=1e-4))[0], samples(lenet.BATCH, 32)),
    "winograd": tiled,
}


@pytest.mark.parametrize("name", STEPS)
def test_training_steps_compute_what_numpy_does(name: str) -> None:
    """Losses and every variable after each of two steps, within what the roundings of the step allow."""
    step, arrays = STEPS[name]()
    subject = Subject(Case(step.graph("f"), (arrays, arrays)), "f")
    planned = Stages({"f": step}, "aarch64").planned
    assert (name == "winograd") == any("winograd" in launch.comment for f in planned.functions for launch in f.launches)
    subject.check_emulated(Net(planned), "aarch64")


def test_random_graphs_compute_what_numpy_does() -> None:
    report = fuzz.check_batch(range(200, 216), OTHERS[-1:], share=0)
    assert not report.failures, "\n".join(map(str, report.failures))
    assert report.judged > 0.9 * report.elements


def test_arguments_beyond_those_in_registers() -> None:
    xs = [gc.placeholder((3,), gc.float32, name=f"x{n}") for n in range(9)]
    net = Net(Stages({"f": gc.function(xs, [sum(xs, xs[0]), xs[8] - xs[0]])}, "aarch64").planned)
    arrays = [np.full(3, 2.0**n, np.float32) for n in range(9)]
    total, difference = net.call("f", *arrays)
    assert total.tolist() == [512.0] * 3 and difference.tolist() == [255.0] * 3


def test_accesses_outside_are_faults() -> None:
    net = Net(counter(size=2000).program)
    small = net.process.allocate(16)
    ports = [net.process.allocate(8000) for _ in range(3)]
    with pytest.raises(Fault, match=r"net_step: .*READ_UNMAPPED.* at k0"):
        net.process.call("net_step", net.memory, small, *ports)


def test_a_processor_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    step, arrays = STEPS["winograd"]()
    subject = Subject(Case(step.graph("f"), (arrays,)), "f")
    net = Net(Stages({"f": step}, "aarch64").planned)
    read = net.process.read
    monkeypatch.setattr(net.process, "read", lambda at, like: read(at, like) * np.float32(1.001))
    with pytest.raises(Wrong, match="aarch64: "):
        subject.check_emulated(net, "aarch64")
