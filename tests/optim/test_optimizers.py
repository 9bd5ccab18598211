"""Optimisers: what becomes of names, groups, learning rates as variables, and of options that make no sense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.errors import GraphcError, GraphError
from graphc.interp.graph import run
from graphc.passes.autodiff import autodiff


def step(updates: Any, state: dict[Any, Any], times: int = 1) -> None:
    graph = autodiff(gc.function([], [], updates=updates).graph("step"))
    for _ in range(times):
        run(graph, [], state)


def weight(*numbers: float, name: str = "w") -> gc.Variable:
    return gc.variable(np.array(numbers, np.float64), name=name)


def test_updates_name_parameters_and_state() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    opt = optim.Adam(net.parameters())
    updates = opt.minimize(net(gc.ones(1, 2)).sum())
    assert sorted(v.name for v in updates) == sorted(
        ["adam.step", *(f"0.{p}{s}" for p in ("weight", "bias") for s in ("", ".exp_avg", ".exp_avg_sq"))]
    )
    nn.Sequential(nn.Identity(), net)
    assert "1.0.weight.exp_avg" in {v.name for v in updates}


def test_plain_descent_and_its_opposite() -> None:
    for maximize, sign in ((False, -1), (True, 1)):
        w, state = weight(1.0, 2.0), {}
        step(optim.SGD([w], lr=0.5, maximize=maximize).minimize((w * w).sum()), state)
        np.testing.assert_allclose(state[w.value], np.array([1, 2]) * (1 + sign))


def test_the_rate_may_be_a_variable_that_the_program_changes() -> None:
    w, lr = weight(1.0), gc.variable(0.5, name="lr")
    state: dict[Any, Any] = {}
    updates = optim.SGD([w], lr=lr).minimize(w.sum())
    step(updates, state)
    state[lr.value] = np.float32(0.25)
    step(updates, state)
    assert state[w.value] == 0.25 and lr not in updates


def test_a_parameter_the_loss_does_not_reach_stays() -> None:
    a, b = weight(1.0, name="a"), weight(1.0, name="b")
    assert list(optim.SGD([a, b], lr=1).minimize(a.sum())) == [a]
    with pytest.raises(GraphError, match="depends on none"):
        optim.SGD([b], lr=1).minimize(a.sum())


def test_gradients_may_be_given() -> None:
    a, b = weight(1.0, name="a"), weight(1.0, name="b")
    opt = optim.SGD([a, b], lr=1)
    for grads in ([gc.constant(np.array([0.25])), None], {a: np.array([0.25])}):
        state: dict[Any, Any] = {}
        step(opt.updates(grads), state)
        assert state[a.value] == 0.75 and b.value not in state
    with pytest.raises(GraphError, match="got 1 gradients for 2"):
        opt.updates([a])
    with pytest.raises(GraphError, match=r"the gradient of a \(1,\) has shape \(2,\)"):
        opt.updates({a: np.zeros(2)})


def test_two_losses_share_one_state() -> None:
    w = weight(1.0)
    opt = optim.SGD([w], lr=1, momentum=0.5)
    first, second = opt.minimize(w.sum()), opt.minimize((2 * w).sum())
    assert set(first) == set(second) and len(opt.state[w]) == 1


def test_groups() -> None:
    a, b = weight(1.0, name="a"), weight(1.0, name="b")
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.25)
    state: dict[Any, Any] = {}
    step(opt.minimize((a + b).sum()), state)
    assert (state[a.value], state[b.value]) == (0.75, 0.5)
    assert "lr=0.5" in repr(opt) and len(opt.param_groups) == 2


REFUSED: list[tuple[str, Any]] = [
    ("no parameters", lambda w: optim.SGD([])),
    ("float variables, not", lambda w: optim.SGD([w + 1])),
    ("float variables, not", lambda w: optim.SGD([gc.variable(1)])),
    ("twice in one", lambda w: optim.SGD([w, w])),
    ("in two groups", lambda w: optim.SGD([{"params": [w]}, {"params": [w]}])),
    ("has no option rate", lambda w: optim.SGD([{"params": [w], "rate": 1}])),
    ("lr must not be negative", lambda w: optim.SGD([w], lr=-1)),
    ("momentum must not be negative", lambda w: optim.RMSprop([w], momentum=-1)),
    ("betas[1] must be in [0, 1), got 1.0", lambda w: optim.Adam([w], betas=(0.9, 1.0))),
    ("nesterov needs", lambda w: optim.SGD([w], nesterov=True)),
    ("nesterov needs", lambda w: optim.SGD([w], momentum=0.9, dampening=0.1, nesterov=True)),
    ("no step()", lambda w: optim.SGD([w]).step()),
]


@pytest.mark.parametrize("part, action", REFUSED, ids=[f"{i}: {part}" for i, (part, _) in enumerate(REFUSED)])
def test_refusals(part: str, action: Any) -> None:
    with pytest.raises(GraphcError) as caught:
        action(weight(1.0))
    assert part in str(caught.value) and __file__ in str(caught.value)


def test_early_steps_of_adam_are_exact_in_float32() -> None:
    """1 - 0.999 ** 1 in float32 would be wrong by 5e-5 of itself."""
    w = gc.variable(np.array([1.0], np.float32), name="w")
    state: dict[Any, Any] = {}
    step(optim.Adam([w], lr=0.5, eps=0.0).minimize((3 * w).sum()), state)
    assert state[w.value][0] == pytest.approx(0.5, rel=2e-7)
