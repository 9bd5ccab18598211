"""What a schedule of learning rates is: options of an optimiser's groups as functions of a step that the program counts.

In: an optimiser, before its updates are made. Out: `LRScheduler`, and the numbers and checks that schedules share.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtype import float64
from ..errors import GraphcError, GraphError
from ..ir.location import here
from ..tensor import Tensor, Variable, as_tensor, constant
from .optimizer import Optimizer, Options, Updates

Rate = Any  # a float, or a 0-d tensor


class LRScheduler:
    """Base class. A subclass says in `rate` what the rate is at a step; `last_epoch` is the epoch to start after."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked(type(self).__name__, optimizer)
        self.last_epoch = Variable(np.int64(last_epoch + 1), f"{optimizer.label}.last_epoch")
        for i, group in enumerate(optimizer.param_groups):
            group.setdefault("initial_lr", group["lr"])
            group.update(self.options(self.last_epoch.to(float64), group["lr"], i))

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        """The rate of a group at `step`, a float64 scalar counted from 0, where `base` is the rate without this schedule."""
        raise NotImplementedError

    def options(self, step: Tensor, base: Rate, group: int) -> Options:
        """All options of a group that follow the step."""
        return {"lr": self.rate(step, base, group)}

    def step(self) -> Updates:
        """The updates that move the schedule on by one."""
        return {self.last_epoch: self.last_epoch + 1}

    def get_last_lr(self) -> list[Tensor]:
        """The present rate of each group, as scalars that a function can put out."""
        return [scalar(group["lr"]) for group in self.optimizer.param_groups]


def checked(owner: str, optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise GraphcError(f"{owner}: {type(optimizer).__name__} is no optimiser", here())
    if optimizer.declared:
        raise GraphError(
            f"{owner}: the rate is part of the compiled step; make the schedule before optimizer.minimize(loss)", here()
        )
    return optimizer


def count(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise GraphcError(f"{what} must be a positive integer, got {value!r}", here())
    return value


def each(what: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value a group."""
    count = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise GraphcError(f"{what} has {len(value)} values for {count} parameter groups", here())
    return list(value)


def scalar(x: Any) -> Tensor:
    return as_tensor(x).to(float64) if isinstance(x, Tensor) else constant(x, float64)


def cosine(start: Rate, end: Rate, part: Tensor) -> Tensor:
    return end + (start - end) * (1 + (part * math.pi).cos()) / 2


def line(start: Rate, end: Rate, part: Tensor) -> Tensor:
    return start + (end - start) * part
