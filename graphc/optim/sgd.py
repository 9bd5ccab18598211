"""Stochastic gradient descent, with momentum (https://pytorch.org/docs/stable/generated/torch.optim.SGD.html)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import GraphcError
from ..ir.location import here
from ..tensor import Tensor, Variable, where
from .optimizer import Optimizer, Options, Updates, decayed


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
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def _check(self, options: Options) -> None:
        super()._check(options)
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise GraphcError("SGD: nesterov needs a positive momentum and no dampening", here())

    def _step(self, p: Variable, g: Tensor, group: Options, updates: Updates) -> Tensor:
        g = decayed(p, g, group)
        momentum = group["momentum"]
        if momentum:
            old = self.buffer(p, "momentum_buffer")
            new = momentum * old + self._damped(g, group["dampening"])
            updates[old] = new
            g = g + momentum * new if group["nesterov"] else new
        return p - group["lr"] * g

    def _damped(self, g: Tensor, dampening: float) -> Tensor:
        """(1 - dampening) g, but all of g in the first step, when the buffer is still 0."""
        return g * where(self.step_number() == 1, 1.0, 1.0 - dampening) if dampening else g
