"""Optimisers that follow the sign of a direction, not its size: Rprop, Lion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import GraphcError
from ..ir.location import here
from ..tensor import Tensor, where
from .optimizer import Optimizer, Options, Slots, given, lerp, shrunk


class Rprop(Optimizer):
    """p - s * sign(g); s grows while g keeps its sign (https://pytorch.org/docs/stable/generated/torch.optim.Rprop.html).

    s starts as lr, is multiplied by etas[1] or, where the sign of g changes, by etas[0], and stays within `step_sizes`. Where
    it changes, p rests once.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _check(self, options: Options) -> None:
        super()._check(options)
        if not 0 < options["etas"][0] < 1 < options["etas"][1]:
            raise GraphcError(f"Rprop: etas are a factor below 1 and one above, got {options['etas']}", here())

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        if isinstance(group["lr"], Tensor):
            raise GraphcError("Rprop: lr is what the step sizes start from, so a number; it has no schedule", here())
        (fewer, more), (smallest, largest) = group["etas"], group["step_sizes"]
        state.start("step_size", group["lr"])
        trend, size = g * state["prev"], state["step_size"]
        size = where(trend > 0, size * more, where(trend < 0, size * fewer, size))
        size = state["step_size"] = size.clamp(smallest, largest)
        g = state["prev"] = where(trend < 0, 0.0, g)
        return p - g.sign() * size


class Lion(Optimizer):
    """p - lr * (sign(beta1 m + (1 - beta1) g) + weight_decay p), then m = beta2 m + (1 - beta2) g.

    "Symbolic discovery of optimization algorithms" (https://arxiv.org/abs/2302.06675), algorithm 2; m is `exp_avg`. Its lr
    is best 3 to 10 times smaller than AdamW's, and weight_decay as much larger.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        beta1, beta2 = group["betas"]
        old = state["exp_avg"]
        state["exp_avg"] = lerp(old, g, 1 - beta2)
        return shrunk(p, group) - group["lr"] * lerp(old, g, 1 - beta1).sign()
