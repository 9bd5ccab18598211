"""The schedule that waits for a metric to stop becoming better."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtype import float64
from ..errors import GraphcError, GraphError
from ..ir.location import here
from ..tensor import Tensor, Variable, where
from .optimizer import Optimizer, Options, Updates, check_range
from .schedule import checked, each, scalar


class ReduceLROnPlateau:
    """Multiplies the rate by `factor` when a metric has not become better for more than `patience` steps.

    The metric is a tensor: a placeholder for a validation loss, or what the same function computes. Rates become variables
    ("sgd.lr"), which the host may set as well: program.state["sgd.lr"][...] = 0.01.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = checked("ReduceLROnPlateau", optimizer)
        check_range("ReduceLROnPlateau", "factor", factor, 0.0, 1.0)
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise GraphcError(
                f"ReduceLROnPlateau: mode is 'min' or 'max', threshold_mode 'rel' or 'abs'; got {mode!r}, {threshold_mode!r}",
                here(),
            )
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.min_lrs = each("min_lr", optimizer, min_lr)
        name = optimizer.label
        self.best = Variable(np.float64(math.inf if mode == "min" else -math.inf), f"{name}.best")
        self.num_bad_epochs = Variable(np.int64(0), f"{name}.num_bad_epochs")
        self.cooldown_counter = Variable(np.int64(0), f"{name}.cooldown_counter")
        self.rates = [_own_rate(group, name) for group in optimizer.param_groups]

    def step(self, metrics: Tensor) -> Updates:
        """The updates that take note of the metric, and change the rates when it is time."""
        if not isinstance(metrics, Tensor) or metrics.shape != ():
            raise GraphError(
                f"ReduceLROnPlateau: the metric is a scalar tensor, not {metrics!r}; make a placeholder for it",
                here(),
            )
        metric = metrics.to(float64)
        better = self._is_better(metric)
        bad = where(better, 0, self.num_bad_epochs + 1)
        cooling = self.cooldown_counter > 0
        bad = where(cooling, 0, bad)
        reduce = bad > self.patience
        waiting = where(cooling, self.cooldown_counter - 1, self.cooldown_counter)
        result: Updates = {
            self.best: where(better, metric, self.best),
            self.num_bad_epochs: where(reduce, 0, bad),
            self.cooldown_counter: where(reduce, self.cooldown, waiting),
        }
        for rate, smallest in zip(self.rates, self.min_lrs, strict=True):
            lower = (rate * self.factor).maximum(smallest)
            result[rate] = where(reduce & (rate - lower > self.eps), lower, rate)
        return result

    def _is_better(self, metric: Tensor) -> Tensor:
        sign = -1 if self.mode == "min" else 1
        bound = self.best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else self.best + sign * self.threshold
        return metric < bound if self.mode == "min" else metric > bound

    def get_last_lr(self) -> list[Tensor]:
        """The present rate of each group."""
        return [scalar(rate) for rate in self.rates]


def _own_rate(group: Options, name: str) -> Variable:
    """The rate of a group as a variable of its own."""
    lr = group["lr"]
    if isinstance(lr, Tensor) and not isinstance(lr, Variable):
        raise GraphcError("ReduceLROnPlateau: the rate follows another schedule; use a number or a variable", here())
    group["lr"] = lr if isinstance(lr, Variable) else Variable(np.float64(lr), f"{name}.lr")
    return group["lr"]
