"""Ten steps of each optimiser against PyTorch, through gradients of a small network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import normal, torch

import graphc as gc
from graphc import nn, optim
from graphc.interp.graph import run
from graphc.passes.autodiff import autodiff

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.01, "momentum": 0.5, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.01, "betas": (0.0, 0.99)}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5, "amsgrad": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "weight_decay": 0.1, "alpha": 0.9}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
]


def net(m: Any) -> Any:
    return m.Sequential(m.Linear(4, 5), m.Tanh(), m.Linear(5, 2))


def train(name: str, options: dict[str, Any], groups: bool = False) -> tuple[list[float], list[float], float]:
    """Losses here, losses there, and the largest difference of a parameter at the end."""
    torch.manual_seed(0)
    theirs, ours = net(torch.nn).double(), net(nn).to("float64")
    ours.load_state_dict(theirs.state_dict())
    x, y = gc.placeholder((6, 4), "float64"), gc.placeholder((6, 2), "float64")
    loss = nn.functional.mse_loss(ours(x), y)
    chosen = [[m[0].parameters(), m[2].parameters()] for m in (ours, theirs)]
    split = [
        [{"params": a}, {"params": b, "lr": 0.003}] if groups else m.parameters()
        for m, (a, b) in zip((ours, theirs), chosen, strict=True)
    ]
    here = getattr(optim, name)(split[0], **options)
    there = getattr(torch.optim, name)(split[1], **options)
    step = autodiff(gc.function([x, y], loss, updates=here.minimize(loss)).graph("step"))
    state: dict[Any, np.ndarray] = {}
    losses: tuple[list[float], list[float]] = ([], [])
    for i in range(10):
        a, b = normal(6, 4, seed=i), normal(6, 2, seed=100 + i)
        losses[0].append(float(run(step, [a, b], state)[0]))
        there.zero_grad()
        reference = torch.nn.functional.mse_loss(theirs(torch.tensor(a)), torch.tensor(b))
        reference.backward()
        there.step()
        losses[1].append(reference.item())
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return *losses, max(float(np.abs(state[p.value] - q.detach().numpy()).max()) for p, q in pairs)


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_ten_steps(name: str, options: dict[str, Any]) -> None:
    ours, theirs, difference = train(name, options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert difference < 1e-6


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_groups_with_their_own_rates(name: str) -> None:
    ours, theirs, difference = train(name, {"lr": 0.05}, groups=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert difference < 1e-6
