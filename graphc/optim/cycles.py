"""Schedules that may move the momentum against the rate: OneCycleLR, CyclicLR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import GraphcError
from ..ir.location import here
from ..tensor import Tensor, where
from .optimizer import Optimizer, Options, check_range
from .schedule import LRScheduler, Rate, cosine, count, each, line


class CyclingLR(LRScheduler):
    """A schedule that may move the momentum (beta1, where there are betas) against the rate. Sets what the rate was before."""

    def __init__(
        self, optimizer: Optimizer, cycle_momentum: bool, base_momentum: Any, max_momentum: Any, last_epoch: int
    ) -> None:
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise GraphcError(
                f"{type(self).__name__}: {type(optimizer).__name__} has neither momentum nor betas; set cycle_momentum=False",
                here(),
            )
        self.cycle_momentum = cycle_momentum
        self.base_momentums = each("base_momentum", optimizer, base_momentum)
        self.max_momentums = each("max_momentum", optimizer, max_momentum)
        super().__init__(optimizer, last_epoch)

    def momentum(self, step: Tensor, group: int) -> Tensor:
        raise NotImplementedError

    def options(self, step: Tensor, base: Rate, group: int) -> Options:
        result = super().options(step, base, group)
        if self.cycle_momentum:
            moving, given = self.momentum(step, group), self.optimizer.param_groups[group]
            result |= {"betas": (moving, *given["betas"][1:])} if "betas" in given else {"momentum": moving}
        return result


class OneCycleLR(CyclingLR):
    """From max_lr / div_factor up to max_lr, and down to 1 / final_div_factor of the start (https://arxiv.org/abs/1708.07120).

    Beyond the last step the rate stays at its end.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise GraphcError("OneCycleLR needs total_steps, or epochs and steps_per_epoch", here())
        if anneal_strategy not in ("cos", "linear"):
            raise GraphcError(f"OneCycleLR: anneal_strategy is 'cos' or 'linear', not {anneal_strategy!r}", here())
        check_range("OneCycleLR", "pct_start", pct_start, 0.0, np.nextafter(1.0, 2.0))
        total = (epochs or 0) * (steps_per_epoch or 0) if total_steps is None else total_steps
        self.total_steps = count("OneCycleLR: total_steps", total)
        self.max_lrs = each("max_lr", optimizer, max_lr)
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self._anneal = cosine if anneal_strategy == "cos" else line
        peak, end = pct_start * total - 1, total - 1
        self._ends = [peak, 2 * pct_start * total - 2, end] if three_phase else [peak, end]
        super().__init__(optimizer, cycle_momentum, base_momentum, max_momentum, last_epoch)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        peak = self.max_lrs[group]
        start = peak / self.div_factor
        back = [start] if len(self._ends) == 3 else []
        return self._phases(step, [start, peak, *back, start / self.final_div_factor])

    def momentum(self, step: Tensor, group: int) -> Tensor:
        low, high = self.base_momentums[group], self.max_momentums[group]
        return self._phases(step, [high, low, high, high][: len(self._ends) + 1])

    def _phases(self, step: Tensor, heights: list[float]) -> Tensor:
        """From height to height, one phase each."""
        begins = [0.0, *self._ends[:-1]]
        parts = [
            self._anneal(heights[i], heights[i + 1], (step.minimum(self._ends[-1]) - begins[i]) / (self._ends[i] - begins[i]))
            for i in range(len(begins))
        ]
        result = parts[-1]
        for part, end in reversed(list(zip(parts[:-1], self._ends[:-1], strict=True))):
            result = where(step <= end, part, result)
        return result


class CyclicLR(CyclingLR):
    """Triangles between base_lr and max_lr (https://arxiv.org/abs/1506.01186), as high as `mode` or scale_fn says."""

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[Tensor], Rate] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:
        modes: dict[str, tuple[str, Callable[[Tensor], Rate]]] = {
            "triangular": ("cycle", lambda cycle: 1.0),
            "triangular2": ("cycle", lambda cycle: 0.5 ** (cycle - 1)),
            "exp_range": ("iterations", lambda step: gamma**step),
        }
        if scale_fn is None and mode not in modes:
            raise GraphcError(f"CyclicLR: mode is one of {', '.join(modes)}, not {mode!r}", here())
        self.scale_mode, self.scale_fn = modes[mode] if scale_fn is None else (scale_mode, scale_fn)
        up = count("CyclicLR: step_size_up", step_size_up)
        self.total_size = up + (up if step_size_down is None else count("CyclicLR: step_size_down", step_size_down))
        self.step_ratio = up / self.total_size
        self.base_lrs, self.max_lrs = each("base_lr", optimizer, base_lr), each("max_lr", optimizer, max_lr)
        super().__init__(optimizer, cycle_momentum, base_momentum, max_momentum, last_epoch)

    def _height(self, step: Tensor) -> Tensor:
        cycle = (1 + step / self.total_size).floor()
        x = 1 + step / self.total_size - cycle
        triangle = where(x <= self.step_ratio, x / self.step_ratio, (x - 1) / (self.step_ratio - 1))
        return triangle * self.scale_fn(cycle if self.scale_mode == "cycle" else step)

    def rate(self, step: Tensor, base: Rate, group: int) -> Rate:
        return self.base_lrs[group] + (self.max_lrs[group] - self.base_lrs[group]) * self._height(step)

    def momentum(self, step: Tensor, group: int) -> Tensor:
        low, high = self.base_momentums[group], self.max_momentums[group]
        return high - (high - low) * self._height(step)
