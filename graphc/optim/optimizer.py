"""The optimiser: from a loss, or gradients, to new values of variables.

In: parameters (or groups of them with options of their own) and, per call, a scalar loss. Out: a dict variable -> new
value, for `updates=` of `gc.function`: the whole step is part of the compiled function. State such as momentum is made on
first use as variables named after their parameter ("fc1.weight.momentum_buffer"), under PyTorch's names, so it is saved,
exported and restored like any other. Rates and other factors are computed in float64, elements in the parameter's dtype
(float32 for halves). One optimiser counts one number of steps, for all its parameters.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from ..dtype import float32, float64
from ..errors import GraphcError, GraphError
from ..function import depends, grad
from ..ir.location import here
from ..tensor import Tensor, Variable, as_tensor
from ..tensor.core import is_number

Updates = dict[Variable, Tensor]
Options = dict[str, Any]

HINTS = ("foreach", "fused", "capturable", "differentiable")  # of torch.optim: how, not what; compiled steps need none
NOT_NEGATIVE = ("lr", "momentum", "weight_decay", "eps", "alpha", "lr_decay", "initial_accumulator_value", "momentum_decay")


class Slots:
    """The state of one parameter in one step: `slots[name]` is the value before, or what has been assigned since."""

    def __init__(self, parameter: Variable, variables: dict[str, Variable], updates: Updates) -> None:
        self._parameter, self._variables, self._updates = parameter, variables, updates

    def start(self, name: str, fill: float, shape: tuple[int, ...] | None = None) -> None:
        """What a variable is before the first step, where that is not zeros of the parameter's shape."""
        if name not in self._variables:
            p = self._parameter
            self._variables[name] = p.derive(name, np.full(p.shape if shape is None else shape, fill, p.dtype.numpy))

    def __getitem__(self, name: str) -> Tensor:
        self.start(name, 0.0)
        variable = self._variables[name]
        return working(self._updates.get(variable, variable))

    def __setitem__(self, name: str, new: Tensor) -> None:
        self.start(name, 0.0)
        self._updates[self._variables[name]] = new.to(self._parameter.dtype)


class Optimizer:
    """Base class; a subclass computes one parameter's step in `_step`.

    Options are part of the compiled step, so changing `param_groups` later changes nothing: a rate that the host sets is a
    variable, lr=gc.variable(0.1, name="lr") and program.state["lr"][...] = 0.01; one that follows the step, a schedule.
    """

    def __init__(self, params: Iterable[Any], defaults: Options, hints: Options | None = None) -> None:
        unknown = [name for name in hints or {} if name not in HINTS]
        if unknown:
            raise GraphcError(_no_option(type(self).__name__, unknown, defaults), here())
        self.defaults = defaults
        self.param_groups: list[Options] = []
        self.state: dict[Variable, dict[str, Variable]] = {}
        self.declared = False  # whether updates were made, so that options cannot change any more
        self._counter: Variable | None = None
        self._shared: dict[int, dict[str, Variable]] = {}  # by the identity of a group, which lives as long as this does
        if isinstance(params, Tensor | Mapping):
            kind = "a tensor" if isinstance(params, Tensor) else "a dict"
            raise GraphError(f"{type(self).__name__}: the parameters are a list, not {kind}; write [parameter]", here())
        if not isinstance(params, Iterable):
            kind = f"{type(self).__name__}: the parameters are a list, not {type(params).__name__}"
            raise GraphError(f"{kind}; pass net.parameters()", here())
        given = list(params)
        for group in given if given and isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(dict(group))
        if not any(group["params"] for group in self.param_groups):
            raise GraphError(f"{type(self).__name__} got no parameters; pass net.parameters()", here())

    @property
    def label(self) -> str:
        """The first part of the names of variables that belong to no single parameter."""
        return type(self).__name__.lower()

    def add_param_group(self, group: Options) -> None:
        """Parameters with options of their own; what is not given is the optimiser's default."""
        name = type(self).__name__
        if "params" not in group:
            raise GraphError(f"{name}: a group is a dict with 'params' and options; this one has {', '.join(group)}", here())
        listed = [group["params"]] if isinstance(group["params"], Variable) else group["params"]
        params: list[Any] = [p[1] if isinstance(p, tuple) and len(p) == 2 else p for p in listed]  # named_parameters() will do
        for p in params:
            if not isinstance(p, Variable) or not p.dtype.is_float:
                raise GraphError(f"{name}: parameters are float variables, not {p!r}", here())
        unknown = [option for option in group if option not in self.defaults and option != "params"]
        if unknown:
            raise GraphcError(_no_option(name, unknown, self.defaults), here())
        self._check_listed_once(params)
        options = {**self.defaults, **group, "params": params}
        self._check(options)
        self.param_groups.append(options)

    def _check_listed_once(self, params: list[Variable]) -> None:
        seen = {p: "in two groups" for other in self.param_groups for p in other["params"]}
        for p in params:
            if p in seen:
                raise GraphError(f"{type(self).__name__}: the parameter {p.name} is {seen[p]}; list it once", here())
            seen[p] = "twice in one group"

    @property
    def parameters(self) -> list[Variable]:
        """All parameters, group by group."""
        return [p for group in self.param_groups for p in group["params"]]

    def minimize(self, loss: Tensor) -> Updates:
        """New values that make the loss smaller; parameters the loss does not depend on stay as they are."""
        return self.updates(self.gradients(loss))

    def gradients(self, loss: Tensor) -> dict[Variable, Tensor]:
        """The gradient of each parameter that requires one and that the loss depends on; clip it, say, and call `updates`."""
        trained = [p for p in self.parameters if getattr(p, "requires_grad", True)]
        params = depends(loss, trained) if isinstance(loss, Tensor) else trained
        if not params:
            frozen = ", and others have requires_grad=False" if len(trained) < len(self.parameters) else ""
            raise GraphError(f"{type(self).__name__}: the loss depends on none of the parameters{frozen}", here())
        return dict(zip(params, grad(loss, params), strict=True))

    def updates(self, grads: Mapping[Variable, Any] | Iterable[Any]) -> Updates:
        """New values for given gradients: a mapping, or one gradient (or None) per parameter in order."""
        given = self._by_parameter(grads)
        self.declared = True
        result: Updates = {}
        for group in self.param_groups:
            for p in group["params"]:
                if given.get(p) is not None:
                    slots = Slots(p, self.state.setdefault(p, {}), result)
                    new = self._step(working(p), self._gradient(p, given[p], group), group, slots)
                    result[p] = new.to(p.dtype)
            result.update(self._group_updates(group))
        if self._counter is not None:
            result[self._counter] = self._counter + 1
        return result

    def _by_parameter(self, grads: Mapping[Variable, Any] | Iterable[Any]) -> Mapping[Variable, Any]:
        every = self.parameters
        if isinstance(grads, Tensor):
            raise GraphError("updates: gradients are a list or a dict; write [gradient]", here())
        if not isinstance(grads, Mapping):
            listed = list(grads)
            if len(listed) != len(every):
                raise GraphError(f"updates: got {len(listed)} gradients for {len(every)} parameters", here())
            grads = dict(zip(every, listed, strict=True))
        known = set(every)
        strange = [v for v in grads if v not in known]
        if strange:
            raise GraphError(f"updates: {strange[0]!r} is no parameter of this {type(self).__name__}", here())
        if all(g is None for g in grads.values()):
            raise GraphError(f"updates: {type(self).__name__} got no gradient for any parameter", here())
        return grads

    def _gradient(self, p: Variable, gradient: Any, group: Options) -> Tensor:
        g = working(as_tensor(gradient).to(p.dtype))
        if g.shape != p.shape:
            raise GraphError(f"updates: the gradient of {p.name} {p.shape} has shape {g.shape}", here())
        return -g if group.get("maximize") else g

    def _step(self, p: Tensor, g: Tensor, group: Options, state: Slots) -> Tensor:
        """The new value of p; new values of its state are assigned to `state`."""
        raise NotImplementedError

    def _group_updates(self, group: Options) -> Updates:
        """New values of state that all parameters of a group share."""
        return {}

    def group_variable(self, group: Options, name: str, initial: float) -> Variable:
        """A number that all parameters of a group share, made on first use; float32, as PyTorch keeps it."""
        shared = self._shared.setdefault(id(group), {})
        if name not in shared:
            shared[name] = Variable(np.float32(initial), f"{self.label}.{name}")
        return shared[name]

    def _check(self, options: Options) -> None:
        """Refuse options that make no sense."""
        name = type(self).__name__
        lr = options.get("lr", 0.0)
        if isinstance(lr, Tensor) and (lr.shape != () or not lr.dtype.is_float):
            raise GraphcError(f"{name}: lr must be a float scalar, got {lr!r}", here())
        for option in NOT_NEGATIVE:
            if option in options:
                check_range(name, option, options[option], 0.0, math.inf)
        betas = options.get("betas", (0.0, 0.0))
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise GraphcError(f"{name}: betas must be two numbers, got {betas!r}", here())
        for i, beta in enumerate(betas):
            check_range(name, f"betas[{i}]", beta, 0.0, 1.0)

    def step_number(self) -> Tensor:
        """1 in the first call of the compiled function, and so on: float64, though counted in a float32 as PyTorch does."""
        if self._counter is None:
            self._counter = Variable(np.float32(0), f"{self.label}.step")
        return (self._counter + 1).to(float64)

    def step(self) -> NoReturn:
        raise GraphError(
            "an optimiser has no step() here: gc.function([x, y], loss, updates=optimizer.minimize(loss)) makes a function "
            "that computes gradients and updates at every call",
            here(),
        )

    def state_dict(self) -> NoReturn:
        raise GraphError(
            "an optimiser has no numbers of its own: program.state_dict() has its state beside the parameters, and "
            "program.load_state_dict() restores both",
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


def given(arguments: Options) -> Options:
    """The options among the arguments of an optimiser's constructor, which are its `locals()`."""
    return {name: value for name, value in arguments.items() if name not in ("self", "params", "hints", "__class__")}


def working(x: Tensor) -> Tensor:
    """x in the dtype of the arithmetic: halves are stored, not computed with."""
    return x.to(float32) if x.dtype.size < float32.size else x


def check_range(owner: str, option: str, value: Any, low: float, high: float) -> None:
    """Raises GraphcError unless low <= value < high; a tensor is known only when it runs, and passes."""
    if isinstance(value, Tensor):
        return
    if not is_number(value):
        raise GraphcError(f"{owner}: {option} must be a number, got {value!r}", here())
    if not low <= value < high:
        must = "must not be negative" if (low, high) == (0.0, math.inf) else f"must be in [{low:g}, {high:g})"
        raise GraphcError(f"{owner}: {option} {must}, got {value!r}", here())


def is_zero(option: Any) -> bool:
    """Whether an option, known now, makes its term vanish."""
    return not isinstance(option, Tensor) and option == 0


def decayed(p: Tensor, g: Tensor, group: Options) -> Tensor:
    """The gradient with L2 regularisation."""
    return g if is_zero(group["weight_decay"]) else g + group["weight_decay"] * p


def shrunk(p: Tensor, group: Options) -> Tensor:
    """The parameter after weight decay that is no part of the gradient."""
    return p if is_zero(group["weight_decay"]) else p * (1 - group["lr"] * group["weight_decay"])


def lerp(old: Tensor, new: Tensor, weight: Any) -> Tensor:
    """The average of old and new, with `weight` for the new."""
    return old + weight * (new - old)


def power(base: Any, exponent: Tensor) -> Tensor:
    """base ** exponent in float64, for 0 <= base < 1."""
    return base**exponent if isinstance(base, Tensor) or base == 0 else (exponent * math.log(base)).exp()


def bias_correction(beta: Any, step: Tensor) -> Tensor:
    """1 - beta ** step."""
    return 1 - power(beta, step)


def _no_option(owner: str, unknown: list[str], defaults: Options) -> str:
    close = difflib.get_close_matches(unknown[0], defaults, 1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(defaults)}"
    return f"{owner} has no option {', '.join(unknown)}; {hint}"
