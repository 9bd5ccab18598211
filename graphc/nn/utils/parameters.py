"""Parameters seen together: penalties on their size, all of them as one vector.

In: parameters, or gradients. Out: tensors to add to a loss or to compute with, and updates for a function.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import GraphError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, Variable, as_tensor, cat


# Penalties, to be added to a loss.
def l1_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of the absolute values of all elements."""
    return _summed("l1_penalty", [p.abs().sum() for p in parameters])


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of the squares of all elements; w / 2 of it is what weight_decay=w of SGD adds to the loss."""
    return _summed("l2_penalty", [(p * p).sum() for p in parameters])


def _summed(name: str, terms: list[Tensor]) -> Tensor:
    if not terms:
        raise GraphError(f"{name} got no parameters; pass net.parameters()", here())
    return sum(terms[1:], start=terms[0])


# Parameters as one vector.
def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements, one parameter after the other; gradients, too."""
    listed = [p.reshape(-1) for p in parameters]
    if not listed:
        raise GraphError("parameters_to_vector got no parameters; pass net.parameters()", here())
    return cat(listed)


def vector_to_parameters(vec: Any, parameters: Iterable[Variable]) -> dict[Variable, Tensor]:
    """The updates that set parameters to the parts of a vector."""
    listed, vector = list(parameters), as_tensor(vec)
    total = sum(p.numel() for p in listed)
    if vector.shape != (total,):
        raise ShapeError(f"vector_to_parameters: the parameters have {total} elements, the vector is {vector.shape}", here())
    result, start = {}, 0
    for p in listed:
        result[p] = vector[start : start + p.numel()].reshape(p.shape).to(p.dtype)
        start += p.numel()
    return result
