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
    ("no numbers of its own", lambda w: optim.SGD([w]).state_dict()),
    ("a list, not a tensor; write [parameter]", lambda w: optim.SGD(w)),
    ("a list, not Linear; pass net.parameters()", lambda w: optim.SGD(nn.Linear(1, 1))),
    ("a list, not a dict", lambda w: optim.SGD({"params": [w]})),
    ("a group is a dict with 'params'", lambda w: optim.SGD([{"parameters": [w]}])),
    ("the parameter w is twice in one group", lambda w: optim.Adam([{"params": [w, w]}])),
    ("has no option momemtum; did you mean momentum?", lambda w: optim.SGD([w], momemtum=0.9)),
    ("lr must be a number, got '0.1'", lambda w: optim.SGD([w], lr="0.1")),
    ("lr must not be negative, got nan", lambda w: optim.SGD([w], lr=float("nan"))),
    ("lr must be a float scalar", lambda w: optim.SGD([w], lr=gc.ones(2))),
    ("lr must not be negative", lambda w: optim.Lion([{"params": [w], "lr": -1}])),
    ("betas must be two numbers, got 0.9", lambda w: optim.Adam([w], betas=0.9)),
    ("rho must be in [0, 1]", lambda w: optim.Adadelta([w], rho=1.5)),
    ("a factor below 1 and one above", lambda w: optim.Rprop([w], etas=(1.2, 0.5))),
    ("it has no schedule", lambda w: optim.Rprop([w], lr=gc.variable(0.1)).updates([gc.ones(1)])),
    ("d at least 1, got -0.8, 0.5", lambda w: optim.Adafactor([w], d=0.5)),
    ("Muon is for matrices; w has shape (1,)", lambda w: optim.Muon([w])),
    ("adjust_lr_fn is one of", lambda w: optim.Muon([gc.variable(np.ones((2, 2)))], adjust_lr_fn="rms")),
    ("eps[0] must not be negative", lambda w: optim.Adafactor([w], eps=(-1.0, 1e-3))),
    ("write [gradient]", lambda w: optim.SGD([w]).updates(w * 2)),
    ("Variable('other': float32[]) is no parameter", lambda w: optim.SGD([w]).updates({gc.variable(1.0, name="other"): w})),
    ("got no gradient for any parameter", lambda w: optim.SGD([w]).updates([None])),
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


def test_lion_follows_its_paper() -> None:
    """Algorithm 2 of https://arxiv.org/abs/2302.06675, in numpy."""
    start, grads = np.array([1.0, -2.0, 0.5]), np.random.default_rng(0).normal(size=(10, 3))
    lr, beta1, beta2, decay = 0.1, 0.8, 0.95, 0.2
    w, x = weight(*start), gc.placeholder((3,), "float64")
    optimizer = optim.Lion([w], lr, (beta1, beta2), decay)
    program = gc.compile(step=gc.function([x], [], updates=optimizer.updates([x])), threads=1)
    theta, m = start, np.zeros(3)
    for g in grads:
        program.step(g)
        c = beta1 * m + (1 - beta1) * g
        theta = theta - lr * (np.sign(c) + decay * theta)
        m = beta2 * m + (1 - beta2) * g
    np.testing.assert_allclose(program.state["w"], theta, rtol=1e-12)
    np.testing.assert_allclose(program.state["w.exp_avg"], m, rtol=1e-12)


def test_named_parameters_and_hints_of_torch_are_taken() -> None:
    net = nn.Linear(2, 2)
    opt = optim.AdamW(net.named_parameters(), fused=True, foreach=None)
    assert opt.parameters == list(net.parameters()) and "fused" not in opt.param_groups[0]


def test_two_optimisers_of_one_kind_count_their_own_steps() -> None:
    a, b = weight(1.0, name="a"), weight(1.0, name="b")
    steps = [gc.function([], [], updates=optim.Adam([v], lr=0.5).minimize(v.sum())) for v in (a, b)]
    program = gc.compile(first=steps[0], second=steps[1], threads=1)
    program.first()
    program.second()
    program.second()
    assert sorted(float(v) for name, v in program.state.items() if "adam.step" in name) == [1, 2]
    assert program.state["a"] == pytest.approx(0.5) and program.state["b"] == pytest.approx(0.0, abs=1e-6)


def test_a_saved_program_goes_on_with_its_schedule(tmp_path: Any) -> None:
    def trained() -> Any:
        w = weight(1.0)
        optimizer = optim.NAdam([w], lr=0.1)
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
        updates = optimizer.minimize((w * w).sum()) | schedule.step()
        program = gc.compile(step=gc.function([], schedule.get_last_lr(), updates=updates), threads=1)
        program.step()
        return program

    whole, part = trained(), trained()
    part.save(tmp_path / "part.so")
    again = gc.load(tmp_path / "part.so")
    for _ in range(3):
        assert whole.step() == again.step()
    assert whole.state["w"].tobytes() == again.state["w"].tobytes()


def test_frozen_parameters_stay() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    net.get_parameter("1.bias").requires_grad = False
    updates = optim.SGD(net.parameters(), lr=1, momentum=0.9).minimize(net(gc.ones(1, 2)).sum())
    assert {v.name for v in updates} == {"1.weight", "1.weight.momentum_buffer"}
    net.requires_grad_(False)
    with pytest.raises(GraphError, match="requires_grad=False"):
        optim.SGD(net.parameters(), lr=1).minimize(net(gc.ones(1, 2)).sum())
    assert net.double().get_parameter("0.weight").requires_grad is False
    net.register_buffer("table", np.zeros(2, np.float32), persistent=False)
    assert "table" not in net.half().state_dict()
