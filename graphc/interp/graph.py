"""Runs a Graph by the numpy references of its ops: slow, and the meaning that everything else is compared with.

In: a graph (or values) and arrays for its placeholders and variables. Out: arrays of the exact dtype and shape of each
type. Works at every stage of the pipeline but one: a `grad` marker has no value until autodiff has replaced it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np

from ..errors import CallError
from ..ir.graph import Graph
from ..ir.values import Value, topological

State = MutableMapping[Value, np.ndarray]


def evaluate(roots: Graph | Sequence[Value], environment: Mapping[Value, np.ndarray]) -> list[np.ndarray]:
    """The arrays of `roots` (a graph's outputs), where `environment` gives values their arrays. A variable that is not
    in it has its initial value. Updates are not applied."""
    roots = roots.outputs if isinstance(roots, Graph) else tuple(roots)
    uses = Counter(roots) + Counter(operand for value in topological(roots) for operand in value.operands)
    arrays: dict[Value, np.ndarray] = {}
    for value in topological(roots):
        arrays[value] = _compute(value, [arrays[operand] for operand in value.operands], environment)
        for operand in value.operands:
            uses[operand] -= 1
            if not uses[operand]:
                del arrays[operand]
    return [arrays[root] for root in roots]


def run(graph: Graph, inputs: Sequence[np.ndarray], state: State) -> list[np.ndarray]:
    """Call the function: its outputs; then `state` (variable -> array) is updated, also by the `update` markers that
    the graph reaches. Variables that `state` lacks start from their initial value."""
    if len(inputs) != len(graph.inputs):
        raise CallError(f"{graph.name} takes {len(graph.inputs)} inputs, got {len(inputs)}")
    updates = dict(graph.updates)
    for value in graph.values():
        if value.op.name == "update":
            _, variable, new = value.operands
            updates[variable] = new
    environment = {**state, **dict(zip(graph.inputs, inputs, strict=True))}
    results = evaluate((*graph.outputs, *updates.values()), environment)
    count = len(graph.outputs)
    state.update((variable, new.copy()) for variable, new in zip(updates, results[count:], strict=True))
    return results[:count]


def _compute(value: Value, operands: list[np.ndarray], environment: Mapping[Value, np.ndarray]) -> np.ndarray:
    if value in environment:
        return _checked(value, np.asarray(environment[value]))
    if value.op.name == "variable":
        return _checked(value, np.asarray(value.attrs["info"].initial))
    result = np.asarray(value.op.reference(*operands, **value.attrs))
    assert (result.dtype, result.shape) == (value.dtype.numpy, value.shape), f"{value} computed {result.dtype}{result.shape}"
    return result


def _checked(value: Value, array: np.ndarray) -> np.ndarray:
    if array.shape != value.shape or array.dtype != value.dtype.numpy:
        name = value.attrs["info"].name if "info" in value.attrs else value.op.name
        raise CallError(f"{name!r} is {value.type}, got an array {array.dtype}{list(array.shape)}")
    return array
