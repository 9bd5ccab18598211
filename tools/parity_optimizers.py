"""PyTorch's own options of its optimisers, as cases that both libraries can run: weights after ten steps.

In: `optim_db` of torch.testing._internal. Out: entries whose cases compare by themselves. The gradients are given, the same on
both sides and of very different sizes, so that what is compared is the optimiser's arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from parity_samples import Case, Entry
from torch.testing._internal.common_optimizers import optim_db

import graphc as gc
from graphc import optim
from graphc.interp.graph import run

STEPS = 10
SHAPES = ((3, 4), (4,), (), (2, 3, 2))
MATRICES = ((3, 4), (6, 2))  # Muon takes nothing else
ROUNDING = {"Muon": 0.05}  # of the way a weight went: PyTorch iterates in bfloat16 there
HINTS = ("foreach", "fused", "capturable", "differentiable", "params")
NO_MEANING = {
    "LBFGS": "it evaluates the loss as often as values demand, and a compiled step has no loops on values",
    "SparseAdam": "there are no sparse tensors",
}


def optimizers() -> list[Entry]:
    """One entry for each optimiser, in PyTorch's order."""
    return [_entry(info.optim_cls.__name__, info) for info in optim_db]


def _entry(name: str, info: Any) -> Entry:
    return Entry(name, "optimizer", NO_MEANING.get(name, ""), partial(_cases, name, info))


def _cases(name: str, info: Any) -> Iterator[Case]:
    for given in info.optim_inputs_func("cpu"):
        options = {k: v for k, v in given.kwargs.items() if k not in HINTS}
        plain = {k: float(v) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        yield Case(check=partial(_check, name, plain))


def _arrays(name: str, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        np.asarray(rng.normal(size=shape)) * 10.0 ** (i - 2) for i, shape in enumerate(MATRICES if name == "Muon" else SHAPES)
    ]


def _check(name: str, options: dict[str, Any], compiled: bool) -> None:
    """Raises AssertionError where the weights differ after ten steps, in float64."""
    start = _arrays(name, 0)
    theirs = [torch.tensor(x, requires_grad=True) for x in start]
    teacher = getattr(torch.optim, name)(theirs, **options)
    params = [gc.variable(x, name=f"p{i}") for i, x in enumerate(start)]
    inputs = [gc.placeholder(x.shape, x.dtype) for x in start]
    function = gc.function(inputs, [], updates=getattr(optim, name)(params, **options).updates(inputs))
    program = gc.compile(step=function, threads=1) if compiled else None
    state: dict[Any, np.ndarray] = {}
    for step in range(1, STEPS + 1):
        gradients = _arrays(name, step)
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = torch.tensor(g)
        teacher.step()
        if program:
            program.step(*gradients)
        else:
            run(function.graph("step"), gradients, state)
    for i, (p, first) in enumerate(zip(theirs, start, strict=True)):
        found = program.state[f"p{i}"] if program else state[params[i].value]
        tolerance = {"rtol": 0, "atol": ROUNDING[name] * np.abs(found - first).max()} if name in ROUNDING else {"rtol": 1e-10}
        np.testing.assert_allclose(found, p.detach().numpy(), err_msg=f"weight {i}", **tolerance)
