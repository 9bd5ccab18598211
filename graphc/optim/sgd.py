"""Stochastic gradient descent, with momentum or averaging: SGD, ASGD.

In: gradients g. Out: the steps of PyTorch's optimisers of the same name (https://pytorch.org/docs/stable/optim.html).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..dtype import float32, float64
from ..errors import GraphcError
from ..ir.location import here
from ..tensor import Tensor, where
from .optimizer import Optimizer, Options, Slots, Updates, decayed, given, is_zero, lerp


class SGD(Optimizer):
    """p - lr * g; with momentum m the buffer b = m b + (1 - dampening) g takes the place of g. The first b is g."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _check(self, options: Options) -> None:
        super()._check(options)
        if options["nesterov"] and (is_zero(options["momentum"]) or options["dampening"] != 0):
            raise GraphcError("SGD: nesterov needs a positive momentum and no dampening", here())

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        g, momentum = decayed(p, g, group), group["momentum"]
        if not is_zero(momentum):
            buffer = momentum * state["momentum_buffer"] + self._damped(g, group["dampening"])
            state["momentum_buffer"] = buffer
            g = g + momentum * buffer if group["nesterov"] else buffer
        return p - group["lr"] * g

    def _damped(self, g: Tensor, dampening: float) -> Tensor:
        """(1 - dampening) g, but all of g in the first step, when the buffer is still 0."""
        return where(self.step_number() == 1, g, (1 - dampening) * g) if dampening else g


class ASGD(Optimizer):
    """p (1 - lambd eta) - eta g, eta = lr / (1 + lambd lr t)^alpha; `ax` is p, and the average of p from step t0 on.

    "Acceleration of stochastic approximation by averaging" (https://doi.org/10.1137/0330046).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        g, first = decayed(p, g, group), self.step_number() == 1
        eta = where(first, group["lr"], self.group_variable(group, "eta", 0.0)).to(float32).to(float64)
        new = p * (1 - group["lambd"] * eta) - eta * g
        weight = (1 / (self.step_number() - 1 - group["t0"]).clamp(min=1.0)).to(float32).to(float64)
        state["ax"] = where(weight == 1, new, lerp(state["ax"], new, weight))
        return new

    def _group_updates(self, group: Options) -> Updates:
        lr, step = group["lr"], self.step_number()
        eta = lr / (1 + group["lambd"] * lr * step) ** group["alpha"]
        return {self.group_variable(group, "eta", 0.0): eta.to(float32)}
