"""Learning rates that follow the number of a step, as part of the compiled program.

In: an optimiser, before its updates are made. Out: the rate of each of its groups becomes a tensor, computed from the
variable `last_epoch` (float64, from 0), and `scheduler.step()` the update that adds one to it: in the training step for a
schedule by steps, in a function of its own for one by epochs. Nothing calls back to Python. Names, options and values are
those of torch.optim.lr_scheduler, in closed form; schedulers of one optimiser multiply as they do there.

    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=30)
    train_step = gc.function([x, y], loss, updates=optimizer.minimize(loss))
    next_epoch = gc.function([], scheduler.get_last_lr(), updates=scheduler.step())
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtype import float64
from ..errors import GraphcError, GraphError
from ..ir.location import here
from ..tensor import Tensor, Variable, constant, where
from .cycles import CyclicLR, OneCycleLR
from .optimizer import Optimizer, Options, Updates, check_range
from .plateau import ReduceLROnPlateau
from .schedule import LRScheduler, Rate, cosine, count, each, scalar


class LambdaLR(LRScheduler):
    """base * lr_lambda(step), for one function or one a group, of a symbolic step: gc.where, step.cos(), 0.95**step."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        self.lr_lambdas: list[Callable[[Tensor], Rate]] = each("lr_lambda", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return base * _called(self.lr_lambdas[group], step)


class MultiplicativeLR(LRScheduler):
    """The rate of the step before, times lr_lambda(step); the product is a variable."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        self.lr_lambdas: list[Callable[[Tensor], Rate]] = each("lr_lambda", optimizer, lr_lambda)
        self.factors = [Variable(np.float64(1), f"{optimizer.label}.lr_factor") for _ in self.lr_lambdas]
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return base * self.factors[group]

    def step(self) -> Updates:
        following = (self.last_epoch + 1).to(float64)
        pairs = zip(self.factors, self.lr_lambdas, strict=True)
        return {**super().step(), **{f: f * _called(function, following) for f, function in pairs}}


class StepLR(LRScheduler):
    """base * gamma ** (step // step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = count("StepLR: step_size", step_size), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return base * self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """base * gamma ** (how many milestones have been reached)."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return base * self.gamma ** sum((_is(step >= m) for m in self.milestones), start=constant(0.0, float64))


class ConstantLR(LRScheduler):
    """base * factor, until `total_iters`."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        check_range("ConstantLR", "factor", factor, 0.0, np.nextafter(1.0, 2.0))
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return base * (self.factor + _is(step >= self.total_iters) * (1 - self.factor))


class LinearLR(LRScheduler):
    """base times a factor that goes from start_factor to end_factor in `total_iters` steps: a warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_range("LinearLR", "start_factor", start_factor, np.nextafter(0.0, 1.0), np.nextafter(1.0, 2.0))
        check_range("LinearLR", "end_factor", end_factor, 0.0, np.nextafter(1.0, 2.0))
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = count("LinearLR: total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        part = step.minimum(self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class ExponentialLR(LRScheduler):
    """base * gamma ** step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return base * self.gamma**step


class PolynomialLR(LRScheduler):
    """base * (1 - step / total_iters) ** power, and 0 from there on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = count("PolynomialLR: total_iters", total_iters), power
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return base * (1 - step.minimum(self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from base to eta_min in T_max steps, then back, and so on."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = count("CosineAnnealingLR: T_max", T_max), eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return cosine(base, self.eta_min, step / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from base to eta_min, again and again: T_0 steps long at first, T_mult times longer each time."""

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        owner = "CosineAnnealingWarmRestarts"
        self.T_0, self.T_mult, self.eta_min = count(f"{owner}: T_0", T_0), count(f"{owner}: T_mult", T_mult), eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        if self.T_mult == 1:
            return cosine(base, self.eta_min, step % self.T_0 / self.T_0)
        starts, lengths = self._cycles()
        start = where(step >= constant(starts), constant(starts), 0.0).amax()
        length = where(step >= constant(starts), constant(lengths), 0.0).amax()
        return cosine(base, self.eta_min, (step - start) / length)

    def _cycles(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the cycles start and how long they are, as far as float64 counts steps."""
        starts, lengths = [0], [self.T_0]
        while starts[-1] + lengths[-1] < 2**53:
            starts.append(starts[-1] + lengths[-1])
            lengths.append(lengths[-1] * self.T_mult)
        return np.array(starts, np.float64), np.array(lengths, np.float64)


class SequentialLR(LRScheduler):
    """One schedule after the other; each starts anew at its milestone, from the optimiser's initial rate."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        _check_parts("SequentialLR", schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(set(milestones)):
            raise GraphcError(
                f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} growing milestones, "
                f"got {list(milestones)}",
                here(),
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        super().__init__(optimizer, last_epoch)

    def options(self, step: Tensor, base: Rate, group: int) -> Options:
        ends = [m - 1 for m in self.milestones] + [math.inf]
        result: Options = {}
        for scheduler, start, end in zip(self.schedulers, [0, *self.milestones], ends, strict=True):
            own = scheduler.options(step.clamp(start, end) - start, base, group)
            result |= {k: _choose(step >= start, new, result[k]) if k in result else new for k, new in own.items()}
        return result


class ChainedScheduler:
    """Several schedules at once, whose factors multiply: they do so anyway, this moves all of them on."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        _check_parts("ChainedScheduler", schedulers, optimizer or (schedulers[0].optimizer if schedulers else None))
        self.schedulers, self.optimizer = list(schedulers), schedulers[0].optimizer

    def step(self) -> Updates:
        """The updates that move all on by one."""
        return {variable: new for scheduler in self.schedulers for variable, new in scheduler.step().items()}

    def get_last_lr(self) -> list[Tensor]:
        """The present rate of each group."""
        return self.schedulers[-1].get_last_lr()


def _check_parts(owner: str, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
    if not schedulers:
        raise GraphcError(f"{owner} got no schedulers", here())
    for scheduler in schedulers:
        if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
            raise GraphcError(f"{owner}: {type(scheduler).__name__} is no schedule by steps of the same optimiser", here())


def _called(function: Callable[[Tensor], Rate], step: Tensor) -> Rate:
    try:
        return function(step)
    except (GraphError, TypeError) as error:
        raise GraphcError(
            "lr_lambda is compiled, so it computes with a symbolic step: gc.where(step < 10, a, b) instead of if, "
            f"step.cos() instead of math.cos(step). It said: {error}",
            here(),
        ) from error


def _is(condition: Tensor) -> Tensor:
    return condition.to(float64)


def _choose(condition: Tensor, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`, item by item of betas."""
    if isinstance(a, tuple):
        return tuple(_choose(condition, x, y) for x, y in zip(a, b, strict=True))
    return where(condition, scalar(a), scalar(b)) if isinstance(a, Tensor) or isinstance(b, Tensor) or a != b else a


__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
