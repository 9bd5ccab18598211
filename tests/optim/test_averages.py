"""Averages of weights inside of the compiled step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.errors import GraphcError
from graphc.optim.swa_utils import SWALR, AveragedModel, get_ema_avg_fn

X = gc.placeholder((6, 4), "float64", name="x")
DATA = np.random.default_rng(0).normal(size=(5, 6, 4))


def network() -> Any:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh()).to("float64")


def trained(averaged_by: Any, use_buffers: bool = False) -> tuple[Any, list[dict[str, np.ndarray]]]:
    """The program, and the parameters of the network after each of five steps."""
    net = network()
    averaged = AveragedModel(net, avg_fn=averaged_by, use_buffers=use_buffers)
    loss = (net(X) - 1).square().mean()
    updates = optim.SGD(net.parameters(), lr=0.5).minimize(loss)
    updates |= averaged.update_parameters(net, updates)
    net.eval()
    averaged.eval()
    step, predict = gc.function([X], loss, updates=updates), gc.function([X], [net(X), averaged(X)])
    program = gc.compile(step=step, predict=predict, threads=1)
    states = []
    for x in DATA:
        states.append(program.state_dict())
        program.step(x)
    states.append(program.state_dict())
    return program, states


def test_exponential_average_of_the_values_after_each_step() -> None:
    program, states = trained(get_ema_avg_fn(0.8))
    average = states[1]["0.weight"]
    for state in states[2:]:
        average = 0.8 * average + 0.2 * state["0.weight"]
    np.testing.assert_allclose(program.state["module.0.weight"], average, rtol=1e-12)
    assert program.state["n_averaged"] == 5
    plain, smooth = program.predict(DATA[0])
    assert np.abs(plain - smooth).max() > 1e-3


def test_equal_average_and_buffers() -> None:
    program, states = trained(None, use_buffers=True)
    np.testing.assert_allclose(program.state["module.0.bias"], np.mean([s["0.bias"] for s in states[1:]], 0), rtol=1e-12)
    means = [s["1.running_mean"] for s in states[:-1]]
    np.testing.assert_allclose(program.state["module.1.running_mean"], np.mean(means, 0), rtol=1e-12)


def test_buffers_are_copied_otherwise() -> None:
    program, states = trained(None)
    assert np.array_equal(program.state["module.1.running_var"], states[-2]["1.running_var"])
    assert program.state["module.1.num_batches_tracked"] == 4


def test_without_updates_present_values_are_averaged() -> None:
    w = nn.Linear(2, 2)
    averaged = AveragedModel(w)
    program = gc.compile(f=gc.function([], [], updates=averaged.update_parameters(w)), threads=1)
    for value in (1.0, 4.0):
        program.state["weight"][...] = value
        program.f()
    assert (program.state["module.weight"] == 2.5).all()


def test_the_copy_has_variables_of_its_own_and_keeps_ties() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    copied = AveragedModel(net).module
    assert copied[0].weight is copied[1].weight is not net[0].weight
    assert repr(copied) == repr(net)
    assert list(copied.state_dict()) == list(net.state_dict())


def test_refusals() -> None:
    with pytest.raises(GraphcError, match=r"decay must be in \[0, 1\], got 1.5"):
        get_ema_avg_fn(1.5)
    with pytest.raises(GraphcError, match="anneal_strategy is 'cos' or 'linear', not 'step'"):
        SWALR(optim.SGD(nn.Linear(2, 2).parameters()), 0.1, anneal_strategy="step")
    with pytest.raises(GraphcError, match="other parameters"):
        AveragedModel(nn.Linear(2, 2)).update_parameters(nn.Linear(3, 2))
