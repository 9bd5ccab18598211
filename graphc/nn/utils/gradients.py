"""Gradients made smaller: clipping by their norm and by value.

In: gradients, as `gc.grad` or `optimizer.gradients` gives them: a tensor, a list with None where there is none, a dict. Out:
new gradients in the same structure; nothing is changed in place, for there are no numbers yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...dtype import float32
from ...errors import GraphError
from ...ir.location import here
from ...tensor import Tensor, Variable, as_tensor, stack


def get_total_norm(tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """The norm of all gradients as one vector, a scalar; float32 for halves."""
    if error_if_nonfinite:
        raise GraphError("a compiled function raises nothing: make the norm an output, and look at it", here())
    gradients = [g for g in _listed("get_total_norm", tensors) if g is not None]
    if not gradients:
        return as_tensor(np.float32(0))
    norms = stack([_norm(g, norm_type) for g in gradients])
    return norms.amax() if norm_type == math.inf else _norm(norms, norm_type)


def clip_grads_with_norm(grads: Any, max_norm: float, total_norm: Tensor) -> Any:
    """Gradients times max_norm / total_norm, if that is below 1; a list for a list, a dict for a dict."""
    factor = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
    return _mapped("clip_grads_with_norm", grads, lambda g: (g * factor).to(g.dtype))


def clip_grad_norm(grads: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Any:
    """Gradients scaled down together, so that their norm is at most max_norm; `get_total_norm` gives the norm itself."""
    if isinstance(grads, Iterable) and not isinstance(grads, Mapping | Tensor):
        grads = list(grads)
    return clip_grads_with_norm(grads, max_norm, get_total_norm(grads, norm_type, error_if_nonfinite))


def clip_grad_value(grads: Any, clip_value: float) -> Any:
    """Gradients with each element clamped to [-clip_value, clip_value]."""
    return _mapped("clip_grad_value", grads, lambda g: g.clamp(-clip_value, clip_value))


clip_grad_norm_, clip_grad_value_ = clip_grad_norm, clip_grad_value  # PyTorch's names; given parameters, they say what to do


def _norm(x: Tensor, kind: float) -> Tensor:
    """sum(|x| ** kind) ** (1 / kind)."""
    size = (x.to(float32) if x.dtype.size < float32.size else x).abs()
    if kind == math.inf:
        return size.amax()
    if kind == 2:
        return (size * size).sum().sqrt()
    return size.sum() if kind == 1 else (size**kind).sum() ** (1 / kind)


def _listed(name: str, grads: Any) -> list[Tensor | None]:
    if not isinstance(grads, Iterable):
        raise GraphError(f"{name}: takes gradients, such as gc.grad(loss, parameters), not {grads!r}", here())
    listed = list(grads.values()) if isinstance(grads, Mapping) else [grads] if isinstance(grads, Tensor) else list(grads)
    for g in listed:
        if isinstance(g, Variable):
            raise GraphError(
                f"{name}: {g.name} is a variable and has no .grad; take grads = optimizer.gradients(loss), or gc.grad(loss, "
                f"parameters), then updates = optimizer.updates(nn.utils.{name}(grads, ...))",
                here(),
            )
        if g is not None and not isinstance(g, Tensor):
            raise GraphError(f"{name}: a gradient is a tensor, not {type(g).__name__}", here())
    return listed


def _mapped(name: str, grads: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The function of every gradient that is there, in the structure in which they came."""
    if isinstance(grads, Iterable) and not isinstance(grads, Mapping | Tensor):
        grads = list(grads)
    new = [None if g is None else function(g) for g in _listed(name, grads)]
    if isinstance(grads, Mapping):
        return dict(zip(grads, new, strict=True))
    return new[0] if isinstance(grads, Tensor) else new
