"""Optimisers that scale each element's step by its own gradients: RMSprop, Adagrad, Adadelta, Adafactor.

In: gradients. Out: the steps of PyTorch's optimisers of the same name (https://pytorch.org/docs/stable/optim.html).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import GraphcError
from ..ir.location import here
from ..tensor import Tensor
from .optimizer import Optimizer, Options, Slots, check_range, decayed, given, is_zero, lerp, shrunk


class RMSprop(Optimizer):
    """p - lr * g / (sqrt(average of g squared) + eps); centered subtracts the squared average of g first."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        g, alpha = decayed(p, g, group), group["alpha"]
        square = state["square_avg"] = alpha * state["square_avg"] + (1 - alpha) * (g * g)
        if group["centered"]:
            mean = state["grad_avg"] = lerp(state["grad_avg"], g, 1 - alpha)
            square = square - mean * mean
        step = g / (square.sqrt() + group["eps"])
        if not is_zero(group["momentum"]):
            step = state["momentum_buffer"] = group["momentum"] * state["momentum_buffer"] + step
        return p - group["lr"] * step


class Adagrad(Optimizer):
    """p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(sum of g squared) + eps)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        g, lr = decayed(p, g, group), group["lr"]
        state.start("sum", group["initial_accumulator_value"])
        total = state["sum"] = state["sum"] + g * g
        if group["lr_decay"]:
            lr = lr / (1 + (self.step_number() - 1) * group["lr_decay"])
        return p - lr * (g / (total.sqrt() + group["eps"]))


class Adadelta(Optimizer):
    """p - lr * d, d = g * sqrt(average of d squared + eps) / sqrt(average of g squared + eps)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _check(self, options: Options) -> None:
        super()._check(options)
        if not 0 <= options["rho"] <= 1:
            raise GraphcError(f"Adadelta: rho must be in [0, 1], got {options['rho']}", here())

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        g, rho, eps = decayed(p, g, group), group["rho"], group["eps"]
        square = state["square_avg"] = rho * state["square_avg"] + (1 - rho) * (g * g)
        delta = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * g
        state["acc_delta"] = rho * state["acc_delta"] + (1 - rho) * (delta * delta)
        return p - group["lr"] * delta


class Adafactor(Optimizer):
    """Adaptive steps from the average squares of rows and columns alone (https://arxiv.org/abs/1804.04235).

    A matrix keeps `row_var` and `col_var`, over its last two dimensions, a vector its whole `variance`. Steps are relative
    to the size of the parameter, and clipped to the root mean square `d`. eps[0] None is the smallest step of the dtype at 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _check(self, options: Options) -> None:
        super()._check({**options, "eps": options["eps"][1]})
        check_range("Adafactor", "eps[0]", options["eps"][0] or 0.0, 0.0, math.inf)
        if options["beta2_decay"] > 0 or options["d"] < 1:
            given = f"{options['beta2_decay']}, {options['d']}"
            raise GraphcError(f"Adafactor: beta2_decay must be at most 0 and d at least 1, got {given}", here())

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        step, (eps1, eps2) = self.step_number(), group["eps"]
        if eps1 is None:
            eps1 = float(np.finfo(p.dtype.numpy).eps)
        weight = step ** group["beta2_decay"]
        rate = (1 / step.sqrt()).minimum(group["lr"])
        estimate = self._factored(g, weight, eps1, state) if g.ndim > 1 else self._whole(g, weight, state)
        update = g * estimate.clamp(min=eps1 * eps1).rsqrt()
        excess = (_root_mean_square(update) / group["d"]).clamp(min=1.0)
        return shrunk(p, group) - (rate * _root_mean_square(p).clamp(min=eps2) / excess) * update

    @staticmethod
    def _factored(g: Tensor, weight: Tensor, eps: float, state: Slots) -> Tensor:
        state.start("row_var", 0.0, (*g.shape[:-1], 1))
        state.start("col_var", 0.0, (*g.shape[:-2], 1, g.shape[-1]))
        square = g * g
        rows = state["row_var"] = lerp(state["row_var"], square.mean(-1, keepdim=True), weight)
        columns = state["col_var"] = lerp(state["col_var"], square.mean(-2, keepdim=True), weight)
        return rows * columns / rows.mean(-2, keepdim=True).clamp(min=eps)

    @staticmethod
    def _whole(g: Tensor, weight: Tensor, state: Slots) -> Tensor:
        variance = state["variance"] = lerp(state["variance"], g * g, weight)
        return variance


def _root_mean_square(x: Tensor) -> Tensor:
    return (x * x).mean().sqrt()
