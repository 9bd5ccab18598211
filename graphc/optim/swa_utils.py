"""Averages of weights: exponential moving averages, and stochastic weight averaging.

In: a module. Out: `AveragedModel`, a module with variables of its own, and updates that move them towards the module's.
Call it like the module: `predict = gc.function([x], averaged(x))`. Names and rules of torch.optim.swa_utils.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import GraphcError, GraphError
from ..ir.location import here
from ..nn import Buffer, Module
from ..tensor import Tensor, Variable, as_tensor, where
from .optimizer import Optimizer, Updates
from .schedule import LRScheduler, Rate, cosine, each, line

Average = Callable[[Tensor, Tensor, Tensor], Tensor]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """decay * average + (1 - decay) * new."""
    if not 0 <= decay <= 1:
        raise GraphcError(f"decay must be in [0, 1], got {decay}", here())
    return lambda average, new, count: decay * average + (1 - decay) * new


def get_swa_avg_fn() -> Average:
    """The mean of all so far."""
    return lambda average, new, count: average + (new - average) / (count + 1)


class AveragedModel(Module):
    """A copy of a module whose parameters average the module's; the first average is the module's first value.

    avg_fn(average, new, how many were averaged) is the mean of all, if not given. use_buffers: average running statistics
    too, instead of copying them.
    """

    def __init__(self, model: Module, *, avg_fn: Average | None = None, use_buffers: bool = False) -> None:
        super().__init__()
        self.module = _copied(model)
        self.n_averaged = Buffer(np.int64(0))
        self.avg_fn = avg_fn or get_swa_avg_fn()
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module, updates: Mapping[Variable, Any] | None = None) -> Updates:
        """The updates that average the values which variables of `model` have after `updates`, else the present ones.

            updates = optimizer.minimize(loss)
            updates |= averaged.update_parameters(net, updates)

        Running statistics are taken as they were before the call: layers attach their updates to the values they return.
        """
        pairs = [*_pairs(self.module.parameters(), model.parameters())]
        buffers = [*_pairs(self.module.buffers(), model.buffers())]
        averaged = {v for v, _ in (pairs + buffers if self.use_buffers else pairs) if v.dtype.is_float}
        result: Updates = {self.n_averaged: self.n_averaged + 1}
        for average, source in pairs + buffers:
            new = as_tensor((updates or {}).get(source, source))
            if average in averaged:
                moved = self.avg_fn(average, new, self.n_averaged).to(average.dtype)
                result[average] = where(self.n_averaged == 0, new, moved)
            else:
                result[average] = new
        return result


class SWALR(LRScheduler):
    """From the rate as it is to swa_lr in anneal_epochs steps, along half a cosine or a line, and no further."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise GraphcError(f"SWALR: anneal_strategy is 'cos' or 'linear', not {anneal_strategy!r}", here())
        self.swa_lrs, self.anneal_epochs = each("swa_lr", optimizer, swa_lr), anneal_epochs
        self._anneal = cosine if anneal_strategy == "cos" else line
        super().__init__(optimizer, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        if self.anneal_epochs < 1:
            return self.swa_lrs[group]
        return self._anneal(base, self.swa_lrs[group], step.minimum(self.anneal_epochs) / self.anneal_epochs)


def _pairs(averages: Any, sources: Any) -> list[tuple[Variable, Variable]]:
    own, other = list(averages), list(sources)
    if [v.shape for v in own] != [v.shape for v in other]:
        raise GraphError("update_parameters: the model has other parameters than the one this is an average of", here())
    return list(zip(own, other, strict=True))


def _copied(model: Module) -> Module:
    """The same layers over new variables, which start as the old ones do."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        memo |= {id(x): x for x in vars(module).values() if isinstance(x, Tensor)}
        for variable in (*module._parameters.values(), *module._buffers.values()):
            if variable is not None and id(variable) not in memo:
                memo[id(variable)] = _twin(variable)
    return copy.deepcopy(model, memo)


def _twin(variable: Variable) -> Variable:
    if isinstance(variable, Buffer):
        return Buffer(variable.initial, variable.persistent)
    return type(variable)(variable.initial)
