"""Gradients over several calls: the same weights as one large batch, and nothing else moves in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.errors import GraphcError

DATA = np.random.default_rng(3).normal(size=(24, 5))


def net() -> Any:
    gc.manual_seed(1)
    return nn.Linear(5, 3).to("float64")


def program(batch: int, steps: int, mean: bool = True) -> Any:
    """AdamW with clipped gradients and a schedule, one step in every `steps` calls; 1: without accumulation."""
    model, x = net(), gc.placeholder((batch, 5), "float64", name="x")
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    loss = model(x).tanh().square().mean() * (1 if mean else 1 / steps)
    grads = optimizer.gradients(loss)
    if steps == 1:
        updates = optimizer.updates(nn.utils.clip_grad_norm(grads, 0.1)) | schedule.step()
    else:
        accumulation = optim.Accumulation(steps, mean)
        grads = nn.utils.clip_grad_norm(accumulation.gradients(grads), 0.1)
        updates = accumulation.updates(optimizer.updates(grads) | schedule.step())
    return gc.compile(step=gc.function([x], loss, updates=updates), threads=1)


@pytest.mark.parametrize("mean", [True, False])
def test_small_batches_make_the_steps_of_a_large_one(mean: bool) -> None:
    large, small = program(12, 1), program(4, 3, mean)
    for i in range(2):
        large.step(DATA[12 * i : 12 * i + 12])
        for k in range(3):
            before = small.state_dict()
            small.step(DATA[12 * i + 4 * k : 12 * i + 4 * k + 4])
            if k < 2:
                moved = {name for name, value in small.state.items() if not np.array_equal(value, before[name])}
                assert moved == {"weight.grad_sum", "bias.grad_sum", "accumulation.step"}
    assert small.state["adamw.step"] == small.state["adamw.last_epoch"] == 2
    assert small.state["accumulation.step"] == 0 and not small.state["weight.grad_sum"].any()
    for name, value in large.state.items():
        np.testing.assert_allclose(small.state[name], value, rtol=1e-9, err_msg=name)


REFUSED: list[tuple[str, Any]] = [
    ("at least 1, not 0", lambda: optim.Accumulation(0)),
    ("at least 1, not 2.0", lambda: optim.Accumulation(2.0)),  # type: ignore[arg-type]
    ("gradients are a dict", lambda: optim.Accumulation(2).gradients([gc.ones(2)])),  # type: ignore[arg-type]
    ("needs the gradients first", lambda: optim.Accumulation(2).updates({})),
]


@pytest.mark.parametrize("part, action", REFUSED, ids=[part for part, _ in REFUSED])
def test_refusals(part: str, action: Any) -> None:
    with pytest.raises(GraphcError) as caught:
        action()
    assert part in str(caught.value) and __file__ in str(caught.value)
