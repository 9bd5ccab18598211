"""Weights as norms times directions.

In: a module with a parameter. Out: the module with two parameters in its place, from which the weight is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import GraphError, ShapeError
from ...ir.location import here
from ...tensor import Tensor
from ..module import Module
from ..parameter import Parameter


@dataclass(frozen=True)
class Normed:
    """g * v / |v|, where the norm is taken over `axes`; None: over all."""

    name: str
    axes: tuple[int, ...] | None

    def __call__(self, module: Module) -> Tensor:
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        square = v * v
        norm = square.sum() if self.axes is None else square.sum(self.axes, keepdim=True) if self.axes else square
        return v * (g / norm.sqrt())


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
    module.register_computed(name, Normed(name, axes))
    module.register_parameter(f"{name}_g", Parameter(_initial_norm(own.initial, axes)))
    module.register_parameter(f"{name}_v", Parameter(own.initial))
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """The parameter as it was before `weight_norm`, from the values the next compilation would start from."""
    normed = module._computed.get(name)
    if not isinstance(normed, Normed):
        raise GraphError(f"remove_weight_norm: {name!r} of {type(module).__name__} is not normalised", here())
    g, v = module._parameters.pop(f"{name}_g"), module._parameters.pop(f"{name}_v")
    assert g is not None and v is not None, name
    module.register_parameter(name, Parameter(v.initial * (g.initial / _initial_norm(v.initial, normed.axes))))
    return module


def _initial_norm(array: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    return np.asarray(np.sqrt(np.square(array).sum(axes, keepdims=axes is not None)), array.dtype)
