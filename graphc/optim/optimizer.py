"""The optimiser: from a loss, or gradients, to new values of variables.

In: parameters (or groups of them with options of their own) and, per call, a scalar loss. Out: a dict variable -> new
value, for `updates=` of `gc.function`. State such as momentum is made on first use as variables named after their
parameter ("fc1.weight.momentum_buffer"), so it is saved, exported and restored like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from ..errors import GraphcError, GraphError
from ..function import depends, grad
from ..ir.location import here
from ..tensor import Tensor, Variable, as_tensor

Updates = dict[Variable, Tensor]
Options = dict[str, Any]


class Optimizer:
    """Base class; a subclass computes one parameter's step in `_step`."""

    def __init__(self, params: Iterable[Any], defaults: Options) -> None:
        self.defaults = defaults
        self.param_groups: list[Options] = []
        self.state: dict[Variable, dict[str, Variable]] = {}
        self._counter: Variable | None = None
        given = list(params)
        for group in given if given and isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(dict(group))
        if not any(group["params"] for group in self.param_groups):
            raise GraphError(f"{type(self).__name__} got no parameters; pass net.parameters()", here())

    def add_param_group(self, group: Options) -> None:
        """Parameters with options of their own; what is not given is the optimiser's default."""
        params = [group["params"]] if isinstance(group["params"], Variable) else list(group["params"])
        for p in params:
            if not isinstance(p, Variable) or not p.dtype.is_float:
                raise GraphError(f"{type(self).__name__}: parameters are float variables, not {p!r}", here())
        unknown = set(group) - set(self.defaults) - {"params"}
        if unknown:
            names = ", ".join(sorted(unknown))
            raise GraphcError(f"{type(self).__name__} has no option {names}; it has {', '.join(self.defaults)}", here())
        known = {p for other in self.param_groups for p in other["params"]}
        if known & set(params) or len(set(params)) != len(params):
            raise GraphError(f"{type(self).__name__}: a parameter is in two groups, or twice in one", here())
        options = {**self.defaults, **group, "params": params}
        self._check(options)
        self.param_groups.append(options)

    def minimize(self, loss: Tensor) -> Updates:
        """New values that make the loss smaller; parameters the loss does not depend on stay as they are."""
        params = depends(loss, [p for group in self.param_groups for p in group["params"]])
        if not params:
            raise GraphError(f"{type(self).__name__}: the loss depends on none of the parameters", here())
        return self.updates(dict(zip(params, grad(loss, params), strict=True)))

    def updates(self, grads: Mapping[Variable, Any] | Iterable[Any]) -> Updates:
        """New values for given gradients: a mapping, or one gradient (or None) per parameter in order."""
        if not isinstance(grads, Mapping):
            every = [p for group in self.param_groups for p in group["params"]]
            listed = list(grads)
            if len(listed) != len(every):
                raise GraphError(f"updates: got {len(listed)} gradients for {len(every)} parameters", here())
            grads = dict(zip(every, listed, strict=True))
        result: Updates = {}
        for group in self.param_groups:
            for p in group["params"]:
                if grads.get(p) is not None:
                    result[p] = self._step(p, self._gradient(p, grads[p], group), group, result)
        if self._counter is not None:
            result[self._counter] = self._counter + 1
        return result

    def _gradient(self, p: Variable, gradient: Any, group: Options) -> Tensor:
        g = as_tensor(gradient).to(p.dtype)
        if g.shape != p.shape:
            raise GraphError(f"updates: the gradient of {p.name} {p.shape} has shape {g.shape}", here())
        return -g if group.get("maximize") else g

    def _step(self, p: Variable, g: Tensor, group: Options, updates: Updates) -> Tensor:
        """The new value of p; changes of the optimiser's own state go into `updates`."""
        raise NotImplementedError

    def _check(self, options: Options) -> None:
        """Refuse options that make no sense."""
        for name in ("lr", "momentum", "weight_decay", "eps", "alpha", "lr_decay", "initial_accumulator_value"):
            value = options.get(name, 0)
            if not isinstance(value, Tensor) and value < 0:
                raise GraphcError(f"{type(self).__name__}: {name} must not be negative, got {value}", here())
        if not all(0 <= beta < 1 for beta in options.get("betas", ())):
            raise GraphcError(f"{type(self).__name__}: betas must be in [0, 1), got {options['betas']}", here())

    def buffer(self, p: Variable, name: str, fill: float = 0.0) -> Variable:
        """State of the shape of p, made on first use."""
        buffers = self.state.setdefault(p, {})
        if name not in buffers:
            buffers[name] = p.derive(name, np.full(p.shape, fill, p.dtype.numpy))
        return buffers[name]

    def step_number(self) -> Tensor:
        """1 in the first call of the compiled function, and so on; one float counter for all parameters."""
        if self._counter is None:
            self._counter = Variable(np.float32(0), f"{type(self).__name__.lower()}.step")
        return self._counter + 1

    def step(self) -> NoReturn:
        raise GraphError(
            "an optimiser has no step() here: gc.function([x, y], loss, updates=optimizer.minimize(loss)) makes a function "
            "that computes gradients and updates at every call",
            here(),
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: gradients are computed anew at every call, and never accumulate."""

    def __repr__(self) -> str:
        groups = "; ".join(
            f"{len(g['params'])} parameters, " + ", ".join(f"{k}={v}" for k, v in g.items() if k != "params")
            for g in self.param_groups
        )
        return f"{type(self).__name__}({groups})"


def decayed(p: Variable, g: Tensor, group: Options) -> Tensor:
    """The gradient with L2 regularisation."""
    return g + group["weight_decay"] * p if group["weight_decay"] else g


def bias_correction(beta: float, step: Tensor) -> Tensor:
    """1 - beta ** step, exact also while it is small."""
    return -((step * np.log(beta)).expm1()) if beta else step * 0 + 1
