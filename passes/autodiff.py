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
from graphc.ir.values import Value, full, make, splat, topological
from graphc.ops.shape import concat


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
    """The only place where cotangents are added: users nearest to the loss first, and slices before."""
    total, *others = _joined(cotangents)
    for cotangent in others:
        total = total + cotangent
    return total


def _joined(cotangents: list[Value]) -> list[Value]:
    """pad(a) + pad(b) + c  ->  concat(a, b) + c, where the cotangents of slices lie side by side and cover the whole value"""
    placed = [(place, ct) for ct in cotangents if (place := _place(ct)) is not None]
    for axis in {axis for (axis, _, _), _ in placed}:
        parts = {start: (stop, ct) for (along, start, stop), ct in placed if along == axis}
        ends = [0, *(parts[start][0] for start in sorted(parts))]
        if sorted(parts) == ends[:-1] and ends[-1] == cotangents[0].shape[axis] and len(parts) > 1:
            used = {ct for _, ct in parts.values()}
            whole = concat([parts[start][1].operands[0] for start in sorted(parts)], axis)
            return [whole, *_joined([ct for ct in cotangents if ct not in used])]
    return cotangents


def _place(cotangent: Value) -> tuple[int, int, int] | None:
    """(axis, start, stop) of what a pad surrounds with zeros along one axis."""
    if cotangent.op.name != "pad" or splat(cotangent.operands[0]) is not None:
        return None
    low, high, attrs = cotangent.attrs["low"], cotangent.attrs["high"], cotangent.attrs
    axes = [axis for axis, (a, b) in enumerate(zip(low, high, strict=True)) if a or b]
    if len(axes) != 1 or any(attrs["interior"]) or attrs["value"] != 0 or min((*low, *high)) < 0:
        return None
    (axis,) = axes
    return axis, low[axis], cotangent.shape[axis] - high[axis]


def _keep_updates(updates: Sequence[Value], roots: list[Value]) -> tuple[Value, ...]:
    """Hang `update` markers that only a differentiated loss had reached on the first root."""
    reached = set(topological(roots))
    for marker in updates:
        if marker not in reached:
            roots[0] = make("update", roots[0], *marker.operands[1:])
    return tuple(roots)
