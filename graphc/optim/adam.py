"""Adam and its relatives: Adam, AdamW, Adamax, NAdam, RAdam.

In: gradients g. Out: the steps of PyTorch's optimisers of the same name (https://pytorch.org/docs/stable/optim.html), from
m and v, the running averages of g and g squared (`exp_avg`, `exp_avg_sq`), and t, the number of the step, from 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..dtype import float32, float64
from ..tensor import Tensor, Variable, where
from .optimizer import Optimizer, Options, Slots, Updates, bias_correction, decayed, given, lerp, power, shrunk


class Adam(Optimizer):
    """p - lr * m' / (sqrt(v') + eps), with m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        (beta1, beta2), step = group["betas"], self.step_number()
        p, g = with_decay(p, g, group)
        mean, square = moments(g, group, state)
        if group["amsgrad"]:
            square = state["max_exp_avg_sq"] = state["max_exp_avg_sq"].maximum(square)
        size = square.sqrt() / bias_correction(beta2, step).sqrt() + group["eps"]
        return p - (group["lr"] / bias_correction(beta1, step)) * (mean / size)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter directly."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True, **hints)


class Adamax(Optimizer):
    """p - lr / (1 - beta1^t) * m / u, with u = max(beta2 u, |g| + eps)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        (beta1, beta2), g = group["betas"], decayed(p, g, group)
        mean = state["exp_avg"] = lerp(state["exp_avg"], g, 1 - beta1)
        largest = state["exp_inf"] = (state["exp_inf"] * beta2).maximum(g.abs() + group["eps"])
        return p - (group["lr"] / bias_correction(beta1, self.step_number())) * (mean / largest)


class NAdam(Optimizer):
    """Adam with Nesterov momentum, mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        lr, step = group["lr"], self.step_number()
        p, g = with_decay(p, g, group)
        mean, square = moments(g, group, state)
        size = (square / bias_correction(group["betas"][1], step)).sqrt() + group["eps"]
        mu, following = _momentum(group, step), _momentum(group, step + 1)
        product = self._new_product(group).to(float64)
        ahead = lr * following / (1 - product * following)
        return p - (lr * (1 - mu) / (1 - product)) * (g / size) - ahead * (mean / size)

    def _product(self, group: Options) -> Variable:
        """The product of mu_1 to mu_t."""
        return self.group_variable(group, "mu_product", 1.0)

    def _new_product(self, group: Options) -> Tensor:
        return self._product(group) * _momentum(group, self.step_number()).to(float32)

    def _group_updates(self, group: Options) -> Updates:
        return {self._product(group): self._new_product(group)}


def _momentum(group: Options, step: Tensor) -> Tensor:
    return group["betas"][0] * (1 - 0.5 * power(0.96, step * group["momentum_decay"]))


class RAdam(Optimizer):
    """Adam whose step is rectified while v is an average of few gradients (https://arxiv.org/abs/1908.03265)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **hints: Any,
    ) -> None:
        super().__init__(params, given(locals()), hints)

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        (beta1, beta2), step = group["betas"], self.step_number()
        p, g = with_decay(p, g, group)
        mean, square = moments(g, group, state)
        step_size = group["lr"] / bias_correction(beta1, step)
        correction = bias_correction(beta2, step)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * power(beta2, step) / correction
        enough = length > 5
        known = where(enough, length, 6.0)  # keeps the branch that is not taken finite
        rectified = ((known - 4) * (known - 2) * longest / ((longest - 4) * (longest - 2) * known)).sqrt()
        adaptive = mean / (square.sqrt() + group["eps"]) * (step_size * correction.sqrt() * rectified)
        return p - where(enough, adaptive, mean * step_size)


def with_decay(p: Tensor, g: Tensor, group: Options) -> tuple[Tensor, Tensor]:
    """Parameter and gradient after weight decay, which changes one of the two."""
    return (shrunk(p, group), g) if group["decoupled_weight_decay"] else (p, decayed(p, g, group))


def moments(g: Tensor, group: Options, state: Slots) -> tuple[Tensor, Tensor]:
    """The running averages of the gradient and of its square, with this one."""
    beta1, beta2 = group["betas"]
    mean = state["exp_avg"] = lerp(state["exp_avg"], g, 1 - beta1)
    square = state["exp_avg_sq"] = beta2 * state["exp_avg_sq"] + (1 - beta2) * (g * g)
    return mean, square
