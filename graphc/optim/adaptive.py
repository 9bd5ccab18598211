"""Optimisers that scale each element's step: Adam, AdamW, RMSprop, Adagrad.

In: gradients. Out: the steps of PyTorch's optimisers of the same name (https://pytorch.org/docs/stable/optim.html).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..tensor import Tensor, Variable
from .optimizer import Optimizer, Options, Updates, bias_correction, decayed


class Adam(Optimizer):
    """p - lr * m / (sqrt(v) + eps), m and v being bias-corrected averages of g and g squared."""

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})

    def _step(self, p: Variable, g: Tensor, group: Options, updates: Updates) -> Tensor:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        start: Tensor = p
        if self.decoupled and group["weight_decay"]:
            start = p * (1 - lr * group["weight_decay"])
        elif not self.decoupled:
            g = decayed(p, g, group)
        step = self.step_number()
        old_mean, old_square = self.buffer(p, "exp_avg"), self.buffer(p, "exp_avg_sq")
        mean = beta1 * old_mean + (1 - beta1) * g
        square = beta2 * old_square + (1 - beta2) * (g * g)
        updates[old_mean], updates[old_square] = mean, square
        if group["amsgrad"]:
            old_max = self.buffer(p, "max_exp_avg_sq")
            square = updates[old_max] = old_max.maximum(square)
        size = square.sqrt() / bias_correction(beta2, step).sqrt() + group["eps"]
        return start - (lr / bias_correction(beta1, step)) * (mean / size)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter directly."""

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize)


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
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "momentum": momentum, "centered": centered, "maximize": maximize})

    def _step(self, p: Variable, g: Tensor, group: Options, updates: Updates) -> Tensor:
        g, alpha = decayed(p, g, group), group["alpha"]
        old = self.buffer(p, "square_avg")
        square = updates[old] = alpha * old + (1 - alpha) * (g * g)
        if group["centered"]:
            old_mean = self.buffer(p, "grad_avg")
            mean = updates[old_mean] = alpha * old_mean + (1 - alpha) * g
            square = square - mean * mean
        step = g / (square.sqrt() + group["eps"])
        if group["momentum"]:
            buffer = self.buffer(p, "momentum_buffer")
            step = updates[buffer] = group["momentum"] * buffer + step
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
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps, "maximize": maximize}
        super().__init__(params, {**options, "initial_accumulator_value": initial_accumulator_value})

    def _step(self, p: Variable, g: Tensor, group: Options, updates: Updates) -> Tensor:
        g, lr = decayed(p, g, group), group["lr"]
        old = self.buffer(p, "sum", group["initial_accumulator_value"])
        total = updates[old] = old + g * g
        if group["lr_decay"]:
            lr = lr / (1 + (self.step_number() - 1) * group["lr_decay"])
        return p - lr * (g / (total.sqrt() + group["eps"]))
