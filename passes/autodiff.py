"""Replaces every `grad(loss, wrt)` marker by the gradient, said in ordinary ops.

In: a graph with grad markers, also inside the losses of others (gradients of gradients). Out: a graph without them; all
its other values, locations and `update` markers stay. For each loss there is one backward sweep, shared by all its
`wrt`, and it visits only values on a differentiable path from some `wrt` to the loss: integers, steps and stop_gradient
end a path. Where no path is left the gradient is zero. Simplifying the result is left to the passes that follow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphc.ir.graph import Graph
from graphc.ir.location import located
from graphc.ir.values import Value, full, make, topological


def autodiff(graph: Graph) -> Graph:
    """grad(loss, wrt)  ->  d loss / d wrt"""
    before = graph.values()
    targets: dict[Value, list[Value]] = {}  # loss -> every wrt
    for value in before:
        if value.op.name == "grad":
            targets.setdefault(value.operands[0], []).append(value.operands[1])
    if not targets:
        return graph
    mapped: dict[Value, Value] = {}
    gradients: dict[Value, dict[Value, Value]] = {}  # loss -> new wrt -> its gradient
    for value in before:  # operands first, so the loss of a marker is free of markers when the marker is reached
        operands = tuple(mapped[operand] for operand in value.operands)
        with located(value.location):
            if value.op.name != "grad":
                mapped[value] = value if operands == value.operands else make(value.op.name, *operands, **value.attrs)
                continue
            loss = value.operands[0]
            if loss not in gradients:  # a wrt that is not mapped yet is nothing the loss depends on
                gradients[loss] = backward(mapped[loss], [mapped[wrt] for wrt in targets[loss] if wrt in mapped])
            mapped[value] = gradients[loss].get(operands[1]) or full(value.type, 0)
    roots = _keep_updates([mapped[value] for value in before if value.op.name == "update"], [mapped[r] for r in graph.roots])
    return graph.with_roots(roots)


def backward(loss: Value, targets: Collection[Value]) -> dict[Value, Value]:
    """The gradient of the scalar `loss` for each target that it depends on; one sweep from the loss to the targets."""
    order = topological([loss])
    active = _active(order, frozenset(targets))
    contributions: dict[Value, list[Value]] = {loss: [full(loss.type, 1)]}
    found: dict[Value, Value] = {}
    for value in reversed(order):
        if value not in active or value not in contributions:
            continue
        with located(value.location):
            cotangent = _total(contributions.pop(value))
            if value in targets:
                found[value] = cotangent
            if any(operand in active for operand in value.operands) and callable(value.op.gradient):
                parts = value.op.gradient(value, cotangent)
                for operand, part in zip(value.operands, parts, strict=True):
                    if part is not None and operand in active:
                        assert part.type == operand.type, f"the gradient of {value} for {operand} has the type {part.type}"
                        contributions.setdefault(operand, []).append(part)
    return found


def _active(order: Sequence[Value], targets: Collection[Value]) -> set[Value]:
    """The float values that depend on a target through ops that have a gradient."""
    active: set[Value] = set()
    for value in order:
        passes_on = callable(value.op.gradient) and any(operand in active for operand in value.operands)
        if value.dtype.is_float and (passes_on or value in targets):
            active.add(value)
    return active


def _total(cotangents: list[Value]) -> Value:
    """The only place where cotangents are added: users nearest to the loss first."""
    total = cotangents[0]
    for cotangent in cotangents[1:]:
        total = total + cotangent
    return total


def _keep_updates(updates: Sequence[Value], roots: list[Value]) -> tuple[Value, ...]:
    """Hang `update` markers that only a differentiated loss had reached on the first root."""
    reached = set(topological(roots))
    for marker in updates:
        if marker not in reached:
            roots[0] = make("update", roots[0], *marker.operands[1:])
    return tuple(roots)
