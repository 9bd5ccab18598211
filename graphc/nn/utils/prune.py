"""Pruning, after torch.nn.utils.prune: parameters with a mask of zeros and ones.

In: modules, before the functions that use them are declared; what is chosen depends on the values that the next compilation
starts from, so a trained program's come in by `net.load_state_dict(program.state_dict(), strict=False)`. Out: the parameter
`weight` is trained as `weight_orig`, the mask is the buffer `weight_mask`, and `weight` is their product wherever it is read:
what is pruned stays zero in training. `remove` makes the product a parameter again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...config import generator
from ...errors import GraphcError, GraphError, ShapeError
from ...ir.location import here
from ...tensor import Tensor
from ..module import Module
from ..parameter import Buffer, Parameter


@dataclass(frozen=True)
class Masked:
    """orig * mask."""

    name: str

    def __call__(self, module: Module) -> Tensor:
        return getattr(module, f"{self.name}_orig") * getattr(module, f"{self.name}_mask")


@dataclass(frozen=True)
class Unstructured:
    """Base class: prune single elements. `amount`: how many (int), or which share (float) of those not pruned yet."""

    amount: float

    def order(self, scores: np.ndarray) -> np.ndarray:
        """Indices of the scores, the first to go first."""
        raise NotImplementedError

    def compute_mask(self, scores: np.ndarray, default_mask: np.ndarray) -> np.ndarray:
        """`default_mask` with `amount` more zeros. Raises GraphcError for an amount that cannot be."""
        mask = np.array(default_mask, order="C")
        kept = np.flatnonzero(mask)
        mask.reshape(-1)[kept[self.order(scores.reshape(-1)[kept])[: _count(self.amount, len(kept))]]] = 0
        return mask


class L1Unstructured(Unstructured):
    """The smallest absolute values go; of equal ones, the first."""

    def order(self, scores: np.ndarray) -> np.ndarray:
        return np.argsort(abs(scores), kind="stable")


class RandomUnstructured(Unstructured):
    """Chance decides, by the generator that `gc.manual_seed` seeds."""

    def order(self, scores: np.ndarray) -> np.ndarray:
        return generator().permutation(len(scores))


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Any = None) -> Module:
    """Prune the elements of a parameter that are smallest, or least important by scores of its shape; returns the module."""
    scores = {} if importance_scores is None else {(module, name): importance_scores}
    global_unstructured([(module, name)], L1Unstructured, scores, amount=amount)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune elements of a parameter by chance; returns the module."""
    global_unstructured([(module, name)], RandomUnstructured, amount=amount)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[Unstructured],
    importance_scores: Mapping[tuple[Module, str], Any] | None = None,
    *,
    amount: float,
) -> None:
    """Prune elements of several parameters, (module, name), as if they were one: the amount is that of all together.

    Raises GraphError where there is no such parameter or method, ShapeError for scores of another shape.
    """
    if not (isinstance(pruning_method, type) and issubclass(pruning_method, Unstructured)):
        raise GraphError(f"pruning takes a method such as prune.L1Unstructured, not {pruning_method!r}", here())
    pairs = list(parameters)
    if not pairs:
        raise GraphError("global_unstructured got no parameters; give pairs such as (net.fc1, 'weight')", here())
    given = importance_scores or {}
    scores, masks = [], []
    for module, name in pairs:
        values, mask = _pruned(module, name)
        scores.append(_fitting(given.get((module, name), values), name, values.shape, "importance scores"))
        masks.append(mask)
    flat = (np.concatenate([a.reshape(-1) for a in arrays]) for arrays in (scores, masks))
    joint = pruning_method(amount).compute_mask(*flat)
    ends = np.cumsum([mask.size for mask in masks])[:-1]
    for (module, name), part in zip(pairs, np.split(joint, ends), strict=True):
        custom_from_mask(module, name, part.reshape(_pruned(module, name)[0].shape))


def ln_structured(module: Module, name: str, amount: float, n: float, dim: int, importance_scores: Any = None) -> Module:
    """Prune whole channels, the slices of dimension `dim`, that have the smallest n-norm; returns the module.

    `amount`: how many, or which share of those that are not zero altogether.
    """
    values = _pruned(module, name)[0]
    scores = values if importance_scores is None else _fitting(importance_scores, name, values.shape, "importance scores")
    rows = np.moveaxis(scores, _axis(values, name, dim), 0).reshape(values.shape[dim], -1)
    norms = np.linalg.norm(rows, n, axis=1)
    return _without_channels(module, name, amount, dim, lambda alive: np.argsort(norms[alive], kind="stable"))


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune whole channels, the slices of dimension `dim`, by chance; returns the module."""
    return _without_channels(module, name, amount, dim, lambda alive: generator().permutation(len(alive)))


def _without_channels(module: Module, name: str, amount: float, dim: int, order: Callable[[np.ndarray], np.ndarray]) -> Module:
    """`order` gives places in the array of channels that are left, the first to go first."""
    values, old = _pruned(module, name)
    channels = np.moveaxis(old.copy(), _axis(values, name, dim), 0)
    alive = np.flatnonzero(channels.reshape(len(channels), -1).any(1))
    channels[alive[order(alive)[: _count(amount, len(alive))]]] = 0
    return custom_from_mask(module, name, np.moveaxis(channels, 0, dim))


def identity(module: Module, name: str) -> Module:
    """A mask that prunes nothing, to be loaded from a state; returns the module."""
    return custom_from_mask(module, name, np.ones_like(_pruned(module, name)[0]))


def custom_from_mask(module: Module, name: str, mask: Any) -> Module:
    """Prune the elements of a parameter where `mask` is zero, beside those that are pruned already; returns the module."""
    values, old = _pruned(module, name)
    new = (old * (_fitting(mask, name, values.shape, "mask") != 0)).astype(values.dtype)
    if is_masked(module, name):
        getattr(module, f"{name}_mask").initial = new
        return module
    module.register_computed(name, Masked(name))
    module.register_parameter(f"{name}_orig", Parameter(values))
    module.register_buffer(f"{name}_mask", Buffer(new))
    return module


def remove(module: Module, name: str) -> Module:
    """Make what is left after pruning the parameter itself; returns the module."""
    if not is_masked(module, name):
        raise GraphError(f"remove: {name!r} of {type(module).__name__} is not pruned", here())
    left = module._parameters.pop(f"{name}_orig").initial * module._buffers.pop(f"{name}_mask").initial
    module.register_parameter(name, Parameter(left))
    return module


def is_pruned(module: Module) -> bool:
    """Whether any parameter of the module, or of one below it, is pruned."""
    return any(isinstance(computed, Masked) for part in module.modules() for computed in part._computed.values())


def is_masked(module: Module, name: str) -> bool:
    """Whether this parameter of this module is pruned."""
    return isinstance(module._computed.get(name), Masked)


def _pruned(module: Module, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(values of a parameter, its mask, of ones where it is not pruned yet)."""
    if is_masked(module, name):
        return module._parameters[f"{name}_orig"].initial, module._buffers[f"{name}_mask"].initial
    parameter = module._parameters.get(name)
    if parameter is None:
        names = ", ".join(n for n, p in module._parameters.items() if p is not None) or "none"
        raise GraphError(f"pruning: {type(module).__name__} has no parameter {name!r} of its own (it has {names})", here())
    return parameter.initial, np.ones_like(parameter.initial)


def _fitting(given: Any, name: str, shape: tuple[int, ...], what: str) -> np.ndarray:
    array = np.asarray(given)
    if array.shape != shape:
        raise ShapeError(f"pruning: the {what} of {name} {shape} have shape {array.shape}", here())
    return array


def _axis(values: np.ndarray, name: str, dim: int) -> int:
    if values.ndim < 2 or not -values.ndim <= dim < values.ndim:
        raise ShapeError(
            f"pruning: channels of {name} {values.shape} are slices of one of two or more dimensions, not of {dim}", here()
        )
    return dim


def _count(amount: Any, size: int) -> int:
    """How many of `size` an amount means."""
    if isinstance(amount, bool) or not isinstance(amount, int | float | np.number):
        raise GraphcError(f"pruning: the amount is a number (int) or a share (float), not {amount!r}", here())
    whole = isinstance(amount, int | np.integer)
    if not 0 <= amount <= (size if whole else 1):
        limit = f"{size}, which are left" if whole else "1.0, all that is left"
        raise GraphcError(f"pruning: the amount {amount} must lie between 0 and {limit}", here())
    return int(amount) if whole else round(float(amount) * size)
