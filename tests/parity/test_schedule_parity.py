"""Learning rates, and momenta that move with them, over forty steps against torch.optim.lr_scheduler."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import normal, torch

import graphc as gc
from graphc import optim

STEPS = 40
Make = Callable[[Any, Any], Any]  # (the module lr_scheduler, an optimiser) -> a schedule


def warm_up_then_restarts(m: Any, o: Any) -> Any:
    return m.SequentialLR(o, [m.LinearLR(o, 0.1, total_iters=6), m.CosineAnnealingWarmRestarts(o, 5, 2, 1e-3)], [6])


def three_in_a_row(m: Any, o: Any) -> Any:
    return m.SequentialLR(o, [m.ConstantLR(o, 0.5, 4), m.ExponentialLR(o, 0.9), m.StepLR(o, 3, 0.5)], [10, 20])


SCHEDULES: dict[str, Make] = {
    "StepLR": lambda m, o: m.StepLR(o, 7, gamma=0.3),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [3, 11, 11, 30], gamma=0.5),
    "ConstantLR": lambda m, o: m.ConstantLR(o, 0.25, 9),
    "ConstantLR default": lambda m, o: m.ConstantLR(o),
    "LinearLR": lambda m, o: m.LinearLR(o, 0.1, 0.7, 12),
    "LinearLR default": lambda m, o: m.LinearLR(o),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.93),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o, 25, 1.7),
    "PolynomialLR default": lambda m, o: m.PolynomialLR(o),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 13, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 6, eta_min=1e-3),
    "CosineAnnealingWarmRestarts longer": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.5, total_steps=STEPS),
    "OneCycleLR linear": lambda m, o: m.OneCycleLR(
        o, [0.5, 0.2], epochs=5, steps_per_epoch=8, pct_start=0.4, anneal_strategy="linear", div_factor=10.0
    ),
    "OneCycleLR in three": lambda m, o: m.OneCycleLR(
        o, 0.5, STEPS, three_phase=True, base_momentum=0.7, max_momentum=0.9, final_div_factor=100.0
    ),
    "CyclicLR": lambda m, o: m.CyclicLR(o, 0.01, 0.1, step_size_up=5, step_size_down=3),
    "CyclicLR halving": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 6, mode="triangular2", cycle_momentum=False),
    "CyclicLR shrinking": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 6, mode="exp_range", gamma=0.97),
    "LambdaLR": lambda m, o: m.LambdaLR(o, [lambda t: 0.95**t, lambda t: 1 / (1 + 0.1 * t)]),
    "MultiplicativeLR": lambda m, o: m.MultiplicativeLR(o, lambda t: 0.9 + 0.001 * t),
    "SequentialLR": warm_up_then_restarts,
    "SequentialLR of three": three_in_a_row,
    "ChainedScheduler": lambda m, o: m.ChainedScheduler([m.LinearLR(o, 0.2, 1.0, 8), m.ExponentialLR(o, 0.95)]),
}
SWA: dict[str, dict[str, Any]] = {
    "SWALR": {"swa_lr": [0.05, 0.2]},
    "SWALR linear": {"swa_lr": 0.3, "anneal_epochs": 7, "anneal_strategy": "linear"},
    "SWALR at once": {"swa_lr": 0.3, "anneal_epochs": 0},
}
PLATEAUS: dict[str, dict[str, Any]] = {
    "ReduceLROnPlateau": {"factor": 0.5, "patience": 2},
    "ReduceLROnPlateau max": {"mode": "max", "factor": 0.3, "patience": 1, "cooldown": 3, "min_lr": [1e-3, 0.0]},
    "ReduceLROnPlateau abs": {"threshold_mode": "abs", "threshold": 0.3, "patience": 0, "factor": 0.9, "eps": 1e-3},
    "ReduceLROnPlateau max abs": {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 3},
}
NAMES = [*SCHEDULES, *SWA, *PLATEAUS]
METRICS = np.concatenate([np.linspace(3, 1, 10), 1 + 0.05 * normal(15), np.linspace(1, 2, 15)])
METRIC = gc.placeholder((), "float64", name="metric")


def groups(a: Any, b: Any) -> list[dict[str, Any]]:
    return [{"params": [a]}, {"params": [b], "lr": 0.02}]


def ours(name: str) -> gc.Function:
    """Puts out rates (and momenta), and moves the schedule on."""
    a, b = gc.variable(np.zeros(2)), gc.variable(np.zeros(2))
    optimizer = optim.SGD(groups(a, b), lr=0.1, momentum=0.8)
    if name in PLATEAUS:
        schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, **PLATEAUS[name])
        return gc.function([METRIC], schedule.get_last_lr(), updates=schedule.step(METRIC))
    if name in SWA:
        schedule = optim.swa_utils.SWALR(optimizer, **SWA[name])
    else:
        schedule = SCHEDULES[name](optim.lr_scheduler, optimizer)
    momenta = [m * gc.ones(()) for m in (group["momentum"] for group in optimizer.param_groups)]
    return gc.function([], [*schedule.get_last_lr(), *momenta], updates=schedule.step())


@pytest.fixture(scope="module")
def program() -> Any:
    return gc.compile(**{f"f{i}": ours(name) for i, name in enumerate(NAMES)}, threads=1)


def theirs(name: str) -> list[list[float]]:
    optimizer = torch.optim.SGD(groups(*(torch.zeros(2, requires_grad=True) for _ in range(2))), lr=0.1, momentum=0.8)
    result = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in PLATEAUS:
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **PLATEAUS[name])
        elif name in SWA:
            schedule = torch.optim.swa_utils.SWALR(optimizer, **SWA[name])
        else:
            schedule = SCHEDULES[name](torch.optim.lr_scheduler, optimizer)
        for metric in METRICS:
            momenta = [] if name in PLATEAUS else [group["momentum"] for group in optimizer.param_groups]
            result.append([*(group["lr"] for group in optimizer.param_groups), *momenta])
            schedule.step(*([metric] if name in PLATEAUS else []))
    return result


@pytest.mark.parametrize("name", NAMES)
def test_rates_over_forty_steps(program: Any, name: str) -> None:
    function = program.functions[f"f{NAMES.index(name)}"]
    inputs = [[np.array(m)] for m in METRICS] if name in PLATEAUS else [[]] * STEPS
    found = [[float(x) for x in function(*arrays)] for arrays in inputs]
    np.testing.assert_allclose(np.array(found), np.array(theirs(name)), rtol=1e-7, atol=1e-12)


def test_a_scheduled_optimiser_takes_the_steps_of_torch() -> None:
    """One cycle of rate and beta1 inside of AdamW's compiled step."""
    start = normal(5)
    w, x = gc.variable(start, name="w"), gc.placeholder((5,), "float64")
    optimizer = optim.AdamW([w], lr=0.1)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, STEPS)
    updates = optimizer.updates([x]) | schedule.step()
    program = gc.compile(step=gc.function([x], schedule.get_last_lr(), updates=updates), threads=1)
    v = torch.tensor(start, requires_grad=True)
    reference = torch.optim.AdamW([v], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(reference, 0.1, STEPS)
    for i in range(STEPS):
        g = normal(5, seed=i)
        (rate,) = program.step(g)
        assert math.isclose(rate, scheduler.get_last_lr()[0], rel_tol=1e-9)
        v.grad = torch.tensor(g)
        reference.step()
        if i < STEPS - 1:
            scheduler.step()
    np.testing.assert_allclose(program.state["w"], v.detach(), rtol=1e-10)
