"""nn.utils: clipping, penalties, vectors of parameters, weight normalisation, by numbers and against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.errors import GraphcError

RNG = np.random.default_rng(5)
ARRAYS = [RNG.normal(size=(3, 4)), RNG.normal(size=4) * 5, RNG.normal(size=())]


def numbers(*tensors: Any) -> list[np.ndarray]:
    return gc.compile(f=gc.function([], list(tensors)), threads=1).f()


def constants() -> list[gc.Tensor]:
    return [gc.constant(a) for a in ARRAYS]


def test_norms_of_all_gradients_and_clipping_to_them() -> None:
    flat = np.concatenate([a.reshape(-1) for a in ARRAYS])
    kinds = [1.0, 2.0, 3.0, math.inf]
    found = numbers(*(nn.utils.get_total_norm(constants(), kind) for kind in kinds))
    expected = [np.linalg.norm(flat, kind) for kind in kinds]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for limit in (1.5, 100.0):
        factor = min(1.0, limit / (expected[1] + 1e-6))
        for got, array in zip(numbers(*nn.utils.clip_grad_norm(constants(), limit)), ARRAYS, strict=True):
            np.testing.assert_allclose(got, array * factor, rtol=1e-12)


def test_clipping_by_value_keeps_the_structure() -> None:
    a, b, c = constants()
    clipped = nn.utils.clip_grad_value({"a": a, "b": None, "c": c}, 0.5)
    assert list(clipped) == ["a", "b", "c"] and clipped["b"] is None
    np.testing.assert_array_equal(numbers(clipped["a"])[0], ARRAYS[0].clip(-0.5, 0.5))
    (single,) = numbers(nn.utils.clip_grad_value(b, 2))
    assert np.abs(single).max() == 2
    assert isinstance(nn.utils.clip_grad_norm(iter([a, b]), 1.0), list)


def test_halves_do_not_overflow() -> None:
    grads = [gc.constant(np.full(100, 300, np.float16))]
    norm, clipped = numbers(nn.utils.get_total_norm(grads), nn.utils.clip_grad_norm(grads, 30.0)[0])
    assert norm == 3000 and clipped.dtype == np.float16 and (clipped == 3).all()


def test_clipping_in_a_compiled_step() -> None:
    w = gc.variable(np.zeros(4), name="w")
    optimizer = optim.SGD([w], lr=1.0)
    grads = nn.utils.clip_grad_norm_(optimizer.gradients((w * 3).sum()), 1.0)
    program = gc.compile(step=gc.function([], [], updates=optimizer.updates(grads)), threads=1)
    program.step()
    np.testing.assert_allclose(program.state["w"], -0.5, rtol=1e-6)


def test_penalties() -> None:
    found = numbers(nn.utils.l1_penalty(constants()), nn.utils.l2_penalty(constants()))
    expected = [sum(float(f(a).sum()) for a in ARRAYS) for f in (np.abs, np.square)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_parameters_as_a_vector_and_back() -> None:
    net = nn.Linear(3, 2)
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (8,)
    program = gc.compile(read=gc.function([], vector), threads=1)
    state = net.state_dict()
    np.testing.assert_array_equal(program.read(), np.concatenate([state["weight"].reshape(-1), state["bias"]]))
    x = gc.placeholder((8,))
    program = gc.compile(write=gc.function([x], [], updates=nn.utils.vector_to_parameters(x, net.parameters())), threads=1)
    program.write(np.arange(8, dtype=np.float32))
    np.testing.assert_array_equal(program.state["weight"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(program.state["bias"], [6, 7])


@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm_is_the_weight_until_it_is_trained(dim: int | None) -> None:
    net = nn.Linear(3, 2)
    before = net.weight.initial
    assert nn.utils.weight_norm(net, dim=dim) is net and type(net).__name__ == "Linear"
    assert list(net.state_dict()) == ["bias", "weight_g", "weight_v"]
    np.testing.assert_allclose(numbers(net.weight)[0], before, rtol=1e-6)
    net.to("float64")
    x = gc.placeholder((1, 3), "float64")
    assert net(x).dtype is gc.float64
    updates = optim.SGD(net.parameters(), lr=0.1).minimize(net(x).square().sum())
    assert {v.name for v in updates} == {"bias", "weight_g", "weight_v"}
    nn.utils.remove_weight_norm(net)
    assert list(net.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(net.weight.initial, before, rtol=1e-6)


def test_weight_norm_against_torch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.utils.weight_norm(torch.nn.Conv2d(3, 4, 2).double())
    ours = nn.utils.weight_norm(nn.Conv2d(3, 4, 2).to("float64"))
    with torch.no_grad():
        theirs.weight_g.mul_(torch.tensor(RNG.uniform(0.5, 2, (4, 1, 1, 1))))
    ours.load_state_dict(theirs.state_dict())
    array = RNG.normal(size=(2, 3, 5, 5))
    x = gc.placeholder(array.shape, "float64")
    loss = ours(x).square().sum()
    f = gc.function([x], [loss, *gc.grad(loss, [ours.weight_g, ours.weight_v])])
    found = gc.compile(f=f, threads=1).f(array)
    expected = theirs(torch.tensor(array)).square().sum()
    expected.backward()
    for a, b in zip(found, (expected.detach(), theirs.weight_g.grad, theirs.weight_v.grad), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


REFUSED: list[tuple[str, Any]] = [
    (
        "has no .grad; take grads = optimizer.gradients(loss)",
        lambda: nn.utils.clip_grad_norm_(nn.Linear(2, 2).parameters(), 1.0),
    ),
    ("clip_grad_value: weight is a variable", lambda: nn.utils.clip_grad_value_(nn.Linear(2, 2).parameters(), 1.0)),
    ("a gradient is a tensor, not ndarray", lambda: nn.utils.clip_grad_norm([np.ones(2)], 1.0)),
    ("raises nothing", lambda: nn.utils.clip_grad_norm(constants(), 1.0, error_if_nonfinite=True)),
    ("l1_penalty got no parameters", lambda: nn.utils.l1_penalty([])),
    ("parameters_to_vector got no parameters", lambda: nn.utils.parameters_to_vector([])),
    ("have 6 elements, the vector is (5,)", lambda: nn.utils.vector_to_parameters(gc.ones(5), nn.Linear(2, 2).parameters())),
    ("takes gradients, such as gc.grad", lambda: nn.utils.clip_grad_norm(3, 1.0)),
    ("has no parameter 'kernel'", lambda: nn.utils.weight_norm(nn.Linear(2, 2), "kernel")),
    ("there is no dimension 2", lambda: nn.utils.weight_norm(nn.Linear(2, 2), dim=2)),
    ("is not normalised", lambda: nn.utils.remove_weight_norm(nn.Linear(2, 2))),
]


@pytest.mark.parametrize("part, action", REFUSED, ids=[part for part, _ in REFUSED])
def test_refusals(part: str, action: Any) -> None:
    with pytest.raises(GraphcError) as caught:
        action()
    assert part in str(caught.value) and __file__ in str(caught.value)
