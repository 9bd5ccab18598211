"""Initial values, as torch.nn.init: each function fills a variable's `initial` in place and returns the variable.

In: a variable and parameters of a distribution. Out: its new initial value, drawn from the generator that
`gc.manual_seed` seeds. Fans follow PyTorch: dimension 0 is out, dimension 1 in, the rest the receptive field.
"""

from __future__ import annotations

import math
from math import prod
from typing import TypeVar

import numpy as np

from ..config import generator
from ..errors import GraphcError, ShapeError
from ..ir.location import here
from ..tensor import Variable

V = TypeVar("V", bound=Variable)

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}


def _fill(variable: V, values: np.ndarray) -> V:
    variable.initial = values.astype(variable.dtype.numpy)
    return variable


def uniform_(variable: V, a: float = 0.0, b: float = 1.0) -> V:
    """Uniform in [a, b)."""
    return _fill(variable, generator().uniform(a, b, variable.shape))


def normal_(variable: V, mean: float = 0.0, std: float = 1.0) -> V:
    return _fill(variable, generator().normal(mean, std, variable.shape))


def trunc_normal_(variable: V, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> V:
    """Normal, drawn again until it lies in [a, b]."""
    values = generator().normal(mean, std, variable.shape)
    outside = (values < a) | (values > b)
    while outside.any():
        values[outside] = generator().normal(mean, std, int(outside.sum()))
        outside = (values < a) | (values > b)
    return _fill(variable, values)


def constant_(variable: V, val: float) -> V:
    return _fill(variable, np.full(variable.shape, val))


def zeros_(variable: V) -> V:
    return constant_(variable, 0.0)


def ones_(variable: V) -> V:
    return constant_(variable, 1.0)


def eye_(variable: V) -> V:
    """The identity matrix."""
    if variable.ndim != 2:
        raise ShapeError(f"eye_: takes a matrix, not {variable.shape}", here())
    return _fill(variable, np.eye(variable.shape[0], variable.shape[1]))


def dirac_(variable: V, groups: int = 1) -> V:
    """The identity as a convolution."""
    if variable.ndim not in (3, 4, 5) or variable.shape[0] % groups:
        raise ShapeError(f"dirac_: takes the weight of a convolution with {groups} groups, not {variable.shape}", here())
    values = np.zeros(variable.shape)
    centre = tuple(n // 2 for n in variable.shape[2:])
    per_group = variable.shape[0] // groups
    for out in range(variable.shape[0]):
        if out % per_group < variable.shape[1]:
            values[(out, out % per_group, *centre)] = 1
    return _fill(variable, values)


def fans(variable: Variable) -> tuple[int, int]:
    """(fan in, fan out) of a weight."""
    if variable.ndim < 2:
        raise ShapeError(f"fan in and fan out need at least 2 dimensions, got {variable.shape}", here())
    field = prod(variable.shape[2:])
    return variable.shape[1] * field, variable.shape[0] * field


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through an activation."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope * slope))
    if nonlinearity.startswith("conv"):
        return 1.0
    if nonlinearity not in _GAINS:
        raise GraphcError(f"no gain is known for {nonlinearity!r}; expected leaky_relu, conv..., {', '.join(_GAINS)}")
    return _GAINS[nonlinearity]


def xavier_uniform_(variable: V, gain: float = 1.0) -> V:
    bound = gain * math.sqrt(6 / sum(fans(variable)))
    return uniform_(variable, -bound, bound)


def xavier_normal_(variable: V, gain: float = 1.0) -> V:
    return normal_(variable, 0.0, gain * math.sqrt(2 / sum(fans(variable))))


def _kaiming_std(variable: Variable, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise GraphcError(f"mode must be 'fan_in' or 'fan_out', not {mode!r}")
    fan = fans(variable)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(variable: V, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> V:
    bound = math.sqrt(3) * _kaiming_std(variable, a, mode, nonlinearity)
    return uniform_(variable, -bound, bound)


def kaiming_normal_(variable: V, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> V:
    return normal_(variable, 0.0, _kaiming_std(variable, a, mode, nonlinearity))


def orthogonal_(variable: V, gain: float = 1.0) -> V:
    """Orthonormal rows (or columns) of the weight flattened to a matrix."""
    if variable.ndim < 2:
        raise ShapeError(f"orthogonal_: takes at least 2 dimensions, got {variable.shape}", here())
    rows, columns = variable.shape[0], prod(variable.shape[1:])
    q, r = np.linalg.qr(generator().normal(size=(max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    return _fill(variable, gain * (q.T if rows < columns else q).reshape(variable.shape))


def sparse_(variable: V, sparsity: float, std: float = 0.01) -> V:
    """Normal, with a fraction of each column zero."""
    normal_(variable, 0.0, std)
    values, zeros = variable.initial.copy(), math.ceil(sparsity * variable.shape[0])
    for column in values.T:
        column[generator().permutation(variable.shape[0])[:zeros]] = 0
    return _fill(variable, values)
