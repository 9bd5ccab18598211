"""Activations and dropout as modules.

In: the function's options, as attributes. Out: modules that call the function of the same name.
"""

from __future__ import annotations

import numpy as np

from ..errors import GraphcError
from ..ir.location import here
from ..tensor import Tensor
from . import functional
from .module import Module
from .parameter import Parameter


class ReLU(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x)


class ReLU6(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(x)


class Sigmoid(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.sigmoid(x)


class LogSigmoid(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.logsigmoid(x)


class Tanh(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.tanh(x)


class SiLU(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x)


class Mish(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.mish(x)


class SELU(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.selu(x)


class Hardswish(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.hardswish(x)


class Hardsigmoid(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.hardsigmoid(x)


class Softsign(Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.softsign(x)


class GELU(Module):
    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class LeakyReLU(Module):
    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """leaky_relu with learned slopes: one, or one per channel."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return functional.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return functional.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class CELU(ELU):
    def forward(self, x: Tensor) -> Tensor:
        return functional.celu(x, self.alpha)


class Hardtanh(Module):
    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Tensor) -> Tensor:
        return functional.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Softplus(Module):
    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _AlongDim(Module):
    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def _axis(self, x: Tensor) -> int:
        """PyTorch's choice where the user made none."""
        return self.dim if self.dim is not None else 0 if x.ndim in (0, 1, 3) else 1

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    def forward(self, x: Tensor) -> Tensor:
        return functional.softmax(x, self._axis(x))


class LogSoftmax(_AlongDim):
    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(x, self._axis(x))


class Softmin(_AlongDim):
    def forward(self, x: Tensor) -> Tensor:
        return functional.softmin(x, self._axis(x))


class GLU(Module):
    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return functional.glu(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Dropout(Module):
    """In training, elements zeroed with probability p and the others divided by 1 - p; each call of the compiled function
    draws anew."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise GraphcError(f"{type(self).__name__}: the probability must be between 0 and 1, not {p}", here())
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout1d(Dropout):
    """Whole channels zeroed."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout1d(x, self.p, self.training)


class Dropout2d(Dropout1d):
    """Whole channels zeroed."""
