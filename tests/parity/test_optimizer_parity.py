"""Ten compiled steps of each optimiser against PyTorch: parameters and state, in float32 and float64.

All optimisers are functions of one program a dtype. Gradients are inputs, the same on both sides, so that what is compared
is the optimiser's arithmetic; two tests go through the loss of a small network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import normal, torch

import graphc as gc
from graphc import nn, optim

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.01, "momentum": 0.5, "maximize": True, "weight_decay": 0.5}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.01, "betas": (0.0, 0.99)}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5, "amsgrad": True, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.01, "momentum_decay": 6e-3, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.01, "momentum_decay": 0.0, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "weight_decay": 0.1, "alpha": 0.9, "maximize": True}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5, "eps": 1e-3}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.01, "rho": 0.95, "eps": 1e-3, "weight_decay": 0.9, "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.02, "lambd": 0.1, "alpha": 0.6, "t0": 4.0, "weight_decay": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (0.05, 0.2), "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "beta2_decay": -1.0, "d": 1.5, "weight_decay": 0.1, "eps": (1e-4, 1e-2), "maximize": True}),
]
SHAPES = ((3, 4), (4,), (), (2, 3, 2))
STEPS = 10
Run = tuple[dict[str, np.ndarray], Any, list[Any]]


def start(case: int, dtype: str) -> list[np.ndarray]:
    return [normal(*shape, seed=case + i, dtype=dtype) for i, shape in enumerate(SHAPES)]


def gradients(step: int, dtype: str) -> list[np.ndarray]:
    """Of very different sizes."""
    return [normal(*shape, seed=1000 + step, dtype=dtype) * 10.0 ** (i - 2) for i, shape in enumerate(SHAPES)]


def grouped(name: str, options: dict[str, Any], params: list[Any]) -> list[Any]:
    """Parameters for an optimiser: the last in a group of its own."""
    own: dict[str, Any] = {"lr": options.get("lr", 0.01) * 0.5}
    if "weight_decay" in options:
        own["weight_decay"] = 0.0
    return [{"params": params[:-1]}, {"params": params[-1:], **own}]


def trained_by_torch(case: int, dtype: str) -> tuple[Any, list[Any]]:
    name, options = CASES[case]
    params = [torch.tensor(x, requires_grad=True) for x in start(case, dtype)]
    optimizer = getattr(torch.optim, name)(grouped(name, options, params), **options)
    for step in range(STEPS):
        for p, g in zip(params, gradients(step, dtype), strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    return optimizer, params


@pytest.fixture(scope="module", params=["float32", "float64"])
def trained(request: pytest.FixtureRequest) -> tuple[str, dict[str, np.ndarray]]:
    """The state of a program after ten calls of the step of each case."""
    dtype = request.param
    inputs = [gc.placeholder(shape, dtype) for shape in SHAPES]
    functions = {}
    for case, (name, options) in enumerate(CASES):
        params = [gc.variable(x, name=f"case{case}.{i}") for i, x in enumerate(start(case, dtype))]
        optimizer = getattr(optim, name)(grouped(name, options, params), **options)
        updates = optimizer.updates(inputs)
        for variable in updates:
            if not variable.name.startswith("case"):
                variable.name = f"case{case}.{variable.name}"
        functions[f"case{case}"] = gc.function(inputs, [], updates=updates)
    program = gc.compile(**functions, threads=1)
    for step in range(STEPS):
        for function in program.functions.values():
            function(*gradients(step, dtype))
    return dtype, program.state_dict()


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{name} {options}" for name, options in CASES])
def test_parameters_and_state_after_ten_steps(trained: tuple[str, dict[str, np.ndarray]], case: int) -> None:
    dtype, state = trained
    optimizer, params = trained_by_torch(case, dtype)
    tolerance = {"float32": 5e-6, "float64": 1e-13}[dtype]
    for i, p in enumerate(params):
        expected = {f"case{case}.{i}": p.detach()}
        for key, value in optimizer.state[p].items():
            if value is not None and key not in ("step", "mu_product", "eta", "mu"):
                expected[f"case{case}.{i}.{key}"] = value
        for key, value in expected.items():
            assert state[key].shape == value.shape and state[key].dtype == dtype
            scale = float(value.abs().max())
            np.testing.assert_allclose(state[key], value, rtol=tolerance, atol=tolerance * scale, err_msg=key)
    for key, value in state.items():
        if key.startswith(f"case{case}.") and key.endswith(".step"):
            assert value == optimizer.state[params[0]].get("step", STEPS)


def net(m: Any) -> Any:
    return m.Sequential(m.Linear(4, 5), m.Tanh(), m.Linear(5, 2))


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_minimize_follows_the_losses_of_a_network(name: str) -> None:
    torch.manual_seed(0)
    theirs, ours = net(torch.nn).double(), net(nn).to("float64")
    ours.load_state_dict(theirs.state_dict())
    x, y = gc.placeholder((6, 4), "float64"), gc.placeholder((6, 2), "float64")
    loss = nn.functional.mse_loss(ours(x), y)
    groups = [[{"params": m[0].parameters()}, {"params": m[2].parameters(), "lr": 0.003}] for m in (ours, theirs)]
    here, there = getattr(optim, name)(groups[0], lr=0.05), getattr(torch.optim, name)(groups[1], lr=0.05)
    step = gc.compile(step=gc.function([x, y], loss, updates=here.minimize(loss)), threads=1).step
    for i in range(STEPS):
        a, b = normal(6, 4, seed=i), normal(6, 2, seed=100 + i)
        there.zero_grad()
        expected = torch.nn.functional.mse_loss(theirs(torch.tensor(a)), torch.tensor(b))
        expected.backward()
        there.step()
        np.testing.assert_allclose(step(a, b), expected.item(), rtol=1e-12)


def test_halves_are_computed_in_float32() -> None:
    """Closer to the step in float32 than one rounding."""
    start, g = normal(50, dtype=np.float32).astype(np.float16), normal(50, seed=1, dtype=np.float32).astype(np.float16)
    results = {}
    for dtype in ("float16", "float32"):
        w = gc.variable(start.astype(dtype), name="w")
        x = gc.placeholder((50,), dtype)
        program = gc.compile(step=gc.function([x], [], updates=optim.Adam([w], lr=0.1).updates([x])), threads=1)
        program.step(g.astype(dtype))
        results[dtype] = program.state["w"]
    assert np.array_equal(results["float16"], results["float32"].astype(np.float16))


@pytest.mark.parametrize("options", [{}, {"lr": 0.02, "nesterov": False, "momentum": 0.8, "adjust_lr_fn": "match_rms_adamw"}])
def test_muon_within_the_rounding_of_bfloat16(options: dict[str, Any]) -> None:
    """PyTorch iterates in bfloat16, so steps agree to a few of its roundings."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    shapes = [(6, 4), (3, 8)]
    start = [normal(*shape, dtype="float32") for shape in shapes]
    params = [gc.variable(x, name=f"p{i}") for i, x in enumerate(start)]
    inputs = [gc.placeholder(shape) for shape in shapes]
    program = gc.compile(step=gc.function(inputs, [], updates=optim.Muon(params, **options).updates(inputs)), threads=1)
    theirs = [torch.tensor(x, requires_grad=True) for x in start]
    optimizer = torch.optim.Muon(theirs, **options)
    for step in range(STEPS):
        grads = [normal(*shape, seed=step, dtype="float32") for shape in shapes]
        program.step(*grads)
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    for i, p in enumerate(theirs):
        moved = np.abs(program.state[f"p{i}"] - start[i]).max()
        np.testing.assert_allclose(program.state[f"p{i}"], p.detach(), rtol=0, atol=0.03 * moved)
        np.testing.assert_allclose(program.state[f"p{i}.momentum_buffer"], optimizer.state[p]["momentum_buffer"], rtol=1e-4)
