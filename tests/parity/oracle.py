"""Compares graphc with PyTorch: the same function of the same arrays, its value and its gradients.

In: a graphc function, a torch function, arrays. Out: an assertion. graphc runs in its numpy interpreter after autodiff,
so what is compared is meaning, not generated code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.interp.graph import run
from graphc.passes.autodiff import autodiff

torch = pytest.importorskip("torch")


def call(outputs: Sequence[gc.Tensor], inputs: Sequence[gc.Tensor], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The numbers of tensors."""
    return run(autodiff(gc.function(inputs, list(outputs)).graph("f")), arrays, {})


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(dtype)


def same(ours: np.ndarray, theirs: Any, rtol: float = 1e-9, atol: float = 1e-9) -> None:
    """Equal shape, dtype and, within rounding, numbers."""
    expected = theirs.detach().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)
    assert ours.shape == expected.shape and ours.dtype == expected.dtype, (
        f"{ours.dtype}{ours.shape}, torch {expected.dtype}{expected.shape}"
    )
    np.testing.assert_allclose(ours, expected, rtol=rtol, atol=atol)


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray, rtol: float = 1e-9) -> None:
    """Values of all outputs, and gradients of a weighted sum of the float ones with respect to the float inputs."""
    inputs = [gc.placeholder(a.shape, a.dtype) for a in arrays]
    leaves = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    outputs, expected = _listed(ours(*inputs)), _listed(theirs(*leaves))
    assert len(outputs) == len(expected)
    chosen = [i for i, out in enumerate(outputs) if out.dtype.is_float and expected[i].requires_grad]
    weights = [normal(*outputs[i].shape, seed=9) for i in chosen]
    wrt = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    if chosen and wrt:
        loss = sum((outputs[i] * gc.constant(w, dtype=outputs[i].dtype)).sum() for i, w in zip(chosen, weights, strict=True))
        grads = gc.grad(loss, [inputs[i] for i in wrt])
        total = sum(
            (expected[i] * torch.tensor(w, dtype=expected[i].dtype)).sum() for i, w in zip(chosen, weights, strict=True)
        )
        found = torch.autograd.grad(total, [leaves[i] for i in wrt], allow_unused=True)
        expected += [torch.zeros_like(leaves[i]) if g is None else g for i, g in zip(wrt, found, strict=True)]
        outputs = [*outputs, *grads]
    for a, b in zip(call(outputs, inputs, arrays), expected, strict=True):
        same(a, b, rtol)


def _listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple | list) else [result]
