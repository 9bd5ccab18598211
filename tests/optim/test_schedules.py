"""Schedules in compiled programs: what they count, when they must be made, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import optim
from graphc.errors import GraphcError
from graphc.optim import lr_scheduler


def sgd(*rates: float, **options: Any) -> optim.SGD:
    groups = [{"params": [gc.variable(np.zeros(2), name=f"w{i}")], "lr": lr} for i, lr in enumerate(rates or (0.5,))]
    return optim.SGD(groups, **options)


def test_the_step_may_advance_once_an_epoch_and_be_set_by_the_host() -> None:
    optimizer = sgd(1.0)
    schedule = lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    train = gc.function([], [], updates=optimizer.updates([gc.ones(2)]))
    epoch = gc.function([], schedule.get_last_lr(), updates=schedule.step())
    program = gc.compile(train=train, epoch=epoch, threads=1)
    for expected in (-1.0, -2.0, -2.5):
        program.train()
        assert program.state["w0"][0] == expected
        program.epoch()
    program.state["sgd.last_epoch"][...] = 20
    assert program.epoch() == [np.float64(2.0**-10)]
    assert program.state["sgd.last_epoch"] == 21


def test_schedules_may_start_later() -> None:
    schedule = lr_scheduler.ExponentialLR(sgd(1.0), 0.5, last_epoch=2)
    assert gc.compile(f=gc.function([], schedule.get_last_lr())).f() == [0.125]


def test_a_rate_that_is_a_variable_stays_the_hosts() -> None:
    lr = gc.variable(np.float64(1.0), name="lr")
    optimizer = optim.SGD([gc.variable(np.zeros(2))], lr=lr)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: gc.where(step < 1, 1.0, 0.25))
    program = gc.compile(f=gc.function([], schedule.get_last_lr(), updates=schedule.step()), threads=1)
    assert program.f() == [1.0]
    program.state["lr"][...] = 8.0
    assert program.f() == [2.0]


def test_a_plateau_moves_a_variable_that_the_host_sees() -> None:
    optimizer, metric = sgd(0.5), gc.placeholder((), name="metric")
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    assert optimizer.param_groups[0]["lr"] is schedule.rates[0]
    program = gc.compile(f=gc.function([metric], [], updates=schedule.step(metric)), threads=1)
    rates = []
    for value in (1.0, 2.0, 2.0, 0.5):
        program.f(np.float32(value))
        rates.append(float(program.state["sgd.lr"]))
    assert rates == [0.5, 0.25, 0.125, 0.125]


def test_one_cycle_stays_at_its_end() -> None:
    schedule = lr_scheduler.OneCycleLR(sgd(1.0, momentum=0.9), 1.0, 4)
    program = gc.compile(f=gc.function([], schedule.get_last_lr()), threads=1)
    rates = []
    for step in (3, 4, 100):
        program.state["sgd.last_epoch"][...] = step
        rates.append(program.f()[0])
    assert rates == pytest.approx([1 / 25 / 1e4] * 3)


def after_updates(optimizer: Any) -> Any:
    optimizer.updates([gc.ones(2)])
    return lr_scheduler.StepLR(optimizer, 3)


REFUSED: list[tuple[str, Any]] = [
    ("make the schedule before optimizer.minimize", after_updates),
    ("float is no optimiser", lambda o: lr_scheduler.StepLR(0.1, 3)),
    ("StepLR: step_size must be a positive integer, got 0", lambda o: lr_scheduler.StepLR(o, 0)),
    ("T_max must be a positive integer, got 2.5", lambda o: lr_scheduler.CosineAnnealingLR(o, 2.5)),
    ("LinearLR: start_factor must be in", lambda o: lr_scheduler.LinearLR(o, 1.5)),
    ("lr_lambda has 3 values for 1 parameter groups", lambda o: lr_scheduler.LambdaLR(o, [lambda t: t] * 3)),
    ("gc.where(step < 10, a, b) instead of if", lambda o: lr_scheduler.LambdaLR(o, lambda t: 1.0 if t < 3 else 0.5)),
    ("needs total_steps", lambda o: lr_scheduler.OneCycleLR(o, 1.0, epochs=3)),
    ("anneal_strategy is", lambda o: lr_scheduler.OneCycleLR(o, 1.0, 9, anneal_strategy="cosine")),
    ("neither momentum nor betas", lambda o: lr_scheduler.OneCycleLR(optim.Rprop(o.parameters), 1.0, 9)),
    ("mode is one of triangular", lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, mode="square")),
    ("need 1 growing milestones", lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 3)] * 2, [1, 2])),
    ("StepLR is no schedule by steps of the same", lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(sgd(), 3)], [])),
    ("ChainedScheduler got no schedulers", lambda o: lr_scheduler.ChainedScheduler([])),
    ("factor must be in [0, 1)", lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.5)),
    ("mode is 'min' or 'max'", lambda o: lr_scheduler.ReduceLROnPlateau(o, "low")),
    ("the metric is a scalar tensor, not 0.5", lambda o: lr_scheduler.ReduceLROnPlateau(o).step(0.5)),
]


@pytest.mark.parametrize("part, action", REFUSED, ids=[part for part, _ in REFUSED])
def test_refusals(part: str, action: Any) -> None:
    with pytest.raises(GraphcError) as caught:
        action(sgd(0.5))
    assert part in str(caught.value) and __file__ in str(caught.value)


def test_a_plateau_cannot_follow_another_schedule() -> None:
    optimizer = sgd()
    lr_scheduler.StepLR(optimizer, 3)
    with pytest.raises(GraphcError, match="follows another schedule"):
        lr_scheduler.ReduceLROnPlateau(optimizer)
