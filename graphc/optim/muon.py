"""Muon: steps that change all directions of a matrix alike (https://kellerjordan.github.io/posts/muon/).

In: gradients of matrices. Out: the steps of torch.optim.Muon, with the iteration in the dtype of the arithmetic, where
PyTorch iterates in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import GraphcError, ShapeError
from ..ir.location import here
from ..tensor import Tensor
from .optimizer import Optimizer, Options, Slots, check_range, given, lerp, shrunk

ADJUSTMENTS: dict[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


class Muon(Optimizer):
    """p (1 - lr weight_decay) - lr' O(b), b being averaged gradients, O the nearest matrix with equal singular values.

    For the matrices of hidden layers; other parameters need another optimiser. `adjust_lr_fn` says how lr' depends on the
    shape: "original" (sqrt(max(1, rows / columns)), the default) or "match_rms_adamw".
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(params, given(locals()))

    def _check(self, options: Options) -> None:
        super()._check(options)
        check_range("Muon", "ns_steps", options["ns_steps"], 0, 100)
        if options["adjust_lr_fn"] not in (None, *ADJUSTMENTS):
            raise GraphcError(f"Muon: adjust_lr_fn is one of {', '.join(ADJUSTMENTS)}, not {options['adjust_lr_fn']!r}", here())
        for p in options["params"]:
            if p.ndim != 2:
                raise ShapeError(f"Muon is for matrices; {p.name} has shape {p.shape}: give it to another optimiser", here())

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        momentum = group["momentum"]
        buffer = state["momentum_buffer"] = lerp(state["momentum_buffer"], g, 1 - momentum)
        direction = _orthogonal(lerp(g, buffer, momentum) if group["nesterov"] else buffer, group)
        ratio = ADJUSTMENTS[group["adjust_lr_fn"] or "original"](*p.shape)
        return shrunk(p, group) - (group["lr"] * ratio) * direction


def _orthogonal(x: Tensor, group: Options) -> Tensor:
    """Singular values brought near to 1 by polynomials of odd degree (Newton and Schulz), without finding them."""
    a, b, c = group["ns_coefficients"]
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.transpose(0, 1)
    x = x / (x * x).sum().sqrt().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.transpose(0, 1)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.transpose(0, 1) if tall else x
