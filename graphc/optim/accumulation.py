"""Gradients summed over several calls, so that a large batch is trained in small ones.

In: the number of calls, gradients, and updates made from their sums. Out: updates that add gradients up in every call, and
change everything else in each last one of the calls only; the counter is a variable, all is part of the compiled step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import GraphError
from ..ir.location import here
from ..tensor import Tensor, Variable, as_tensor, where
from .optimizer import Updates, working


class Accumulation:
    """Makes one step of an optimiser out of `steps` calls.

        accumulation = optim.Accumulation(4)
        grads = accumulation.gradients(optimizer.gradients(loss))           # of this call and those before it
        updates = accumulation.updates(optimizer.updates(grads))            # what happens in every fourth call
        train_step = gc.function([x, y], loss, updates=updates)

    Gradients are averaged over the calls (`mean=False` adds them). What belongs to the step goes into the same dict: clipped
    gradients, `| scheduler.step()`, averages of weights.
    """

    def __init__(self, steps: int, mean: bool = True) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise GraphError(f"Accumulation: steps is how many calls make one step, at least 1, not {steps!r}", here())
        self.steps, self.mean = steps, mean
        self.counter = Variable(np.int64(0), "accumulation.step")
        self._sums: dict[Variable, Variable] = {}
        self._totals: Updates = {}

    @property
    def complete(self) -> Tensor:
        """Whether this call is the last one of its step."""
        return self.counter == self.steps - 1

    def gradients(self, grads: Mapping[Variable, Any]) -> dict[Variable, Tensor]:
        """The mean, or sum, of these gradients and those of the earlier calls of the step."""
        if not isinstance(grads, Mapping):
            raise GraphError("Accumulation: gradients are a dict, as optimizer.gradients(loss) gives it", here())
        result: dict[Variable, Tensor] = {}
        for p, gradient in grads.items():
            if gradient is None:
                continue
            g = working(as_tensor(gradient))
            if p not in self._sums:
                self._sums[p] = p.derive("grad_sum", np.zeros(g.shape, g.dtype.numpy))
            total = self._totals[self._sums[p]] = self._sums[p] + (g / self.steps if self.mean else g)
            result[p] = total
        return result

    def updates(self, updates: Mapping[Variable, Any]) -> Updates:
        """These updates where a step is complete; and what makes it complete."""
        if not self._totals:
            raise GraphError("Accumulation: updates() needs the gradients first: gradients(optimizer.gradients(loss))", here())
        complete = self.complete
        result = {v: where(complete, as_tensor(new), v) for v, new in updates.items()}
        result |= {v: where(complete, 0, total) for v, total in self._totals.items()}
        return {**result, self.counter: where(complete, 0, self.counter + 1)}
