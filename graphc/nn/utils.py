"""Functions of gradients and parameters, after torch.nn.utils, for a graph that is declared once.

In: gradients, as `gc.grad` or `optimizer.gradients` gives them, or parameters. Out: new gradients, tensors, updates: nothing
is changed in place, for there are no numbers yet.

    grads = nn.utils.clip_grad_norm(optimizer.gradients(loss), 1.0)
    train_step = gc.function([x, y], loss, updates=optimizer.updates(grads))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..dtype import float32
from ..errors import GraphError, ShapeError
from ..ir.location import here
from ..tensor import Tensor, Variable, as_tensor, cat, stack
from .module import Module
from .parameter import Parameter


# Gradients.
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


# Penalties, to be added to a loss.
def l1_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of the absolute values of all elements."""
    return _summed("l1_penalty", [p.abs().sum() for p in parameters])


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of the squares of all elements; w / 2 of it is what weight_decay=w of SGD adds to the loss."""
    return _summed("l2_penalty", [(p * p).sum() for p in parameters])


def _summed(name: str, terms: list[Tensor]) -> Tensor:
    if not terms:
        raise GraphError(f"{name} got no parameters; pass net.parameters()", here())
    return sum(terms[1:], start=terms[0])


# Parameters as one vector.
def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements, one parameter after the other; gradients, too."""
    listed = [p.reshape(-1) for p in parameters]
    if not listed:
        raise GraphError("parameters_to_vector got no parameters; pass net.parameters()", here())
    return cat(listed)


def vector_to_parameters(vec: Any, parameters: Iterable[Variable]) -> dict[Variable, Tensor]:
    """The updates that set parameters to the parts of a vector."""
    listed, vector = list(parameters), as_tensor(vec)
    total = sum(p.numel() for p in listed)
    if vector.shape != (total,):
        raise ShapeError(f"vector_to_parameters: the parameters have {total} elements, the vector is {vector.shape}", here())
    result, start = {}, 0
    for p in listed:
        result[p] = vector[start : start + p.numel()].reshape(p.shape).to(p.dtype)
        start += p.numel()
    return result


# Weights computed from other parameters.
def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Replace a parameter w by g * v / |v|: `name`_g, the norms, and `name`_v, the direction (https://arxiv.org/abs/1602.07868).

    One norm for each index of `dim`; None: one for the whole. Returns the module, whose `name` is computed from both.
    """
    own = module._parameters.get(name)
    if own is None:
        raise GraphError(f"weight_norm: {type(module).__name__} has no parameter {name!r}", here())
    if dim is not None and not -own.ndim <= dim < own.ndim:
        raise ShapeError(f"weight_norm: {name} has {own.ndim} dimensions, there is no dimension {dim}", here())
    axes = None if dim is None else tuple(i for i in range(own.ndim) if i != dim % own.ndim)
    del module._parameters[name]
    module.register_parameter(f"{name}_g", Parameter(_initial_norm(own.initial, axes)))
    module.register_parameter(f"{name}_v", Parameter(own.initial))
    kind = type(module)
    computed = property(lambda self: _normalised(getattr(self, f"{name}_g"), getattr(self, f"{name}_v"), axes))
    body = {name: computed, "__module__": kind.__module__, "_normed": (kind, name, axes)}
    object.__setattr__(module, "__class__", type(kind.__name__, (kind,), body))
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """The parameter as it was before `weight_norm`, from the values the next compilation would start from."""
    kind, normed, axes = getattr(type(module), "_normed", (None, None, None))
    if kind is None or normed != name:
        raise GraphError(f"remove_weight_norm: {name!r} of {type(module).__name__} is not what was normalised last", here())
    g, v = module._parameters.pop(f"{name}_g"), module._parameters.pop(f"{name}_v")
    assert g is not None and v is not None, name
    object.__setattr__(module, "__class__", kind)
    module.register_parameter(name, Parameter(v.initial * (g.initial / _initial_norm(v.initial, axes))))
    return module


def _initial_norm(array: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    return np.asarray(np.sqrt(np.square(array).sum(axes, keepdims=axes is not None)), array.dtype)


def _normalised(g: Tensor, v: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    square = v * v
    return v * (g / (square.sum() if axes is None else square.sum(axes, keepdim=True) if axes else square).sqrt())
