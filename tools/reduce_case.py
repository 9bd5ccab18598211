"""Cuts a failing case down: fewer calls and results, and values replaced by inputs or by their operands.

In: a case, the error it gave, and what finds errors. Out: a case from which no single cut keeps the error, or the smallest
found in the time given. An error is the same if its type and the first words of its message are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from random_graphs import Case

from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph, rebuild
from graphc.ir.values import Value
from graphc.ops.source import placeholder
from graphc.passes.autodiff import autodiff
from graphc.passes.updates import extract_updates

Check = Callable[[Case], Exception | None]


def reduce_case(case: Case, error: Exception, check: Check, seconds: float = 40) -> tuple[Case, Exception]:
    """A small case on which `check` finds an error of the same kind, and that error."""
    deadline = time.monotonic() + seconds
    size = None
    while size != (size := len(case.graph.values()) + len(case.graph.roots)):
        for shrink in (_fewer_calls, _without_markers, _one_value, _fewer_outputs, _fewer_updates, _cut, _bypass):
            position = 0
            while (smaller := shrink(case, position)) is not None and time.monotonic() < deadline:
                found = check(smaller)
                if found is not None and _alike(found, error):
                    case, error = smaller, found
                else:
                    position += 1
    return case, error


def _alike(a: Exception, b: Exception) -> bool:
    return type(a) is type(b) and str(a).split(":")[0][:20] == str(b).split(":")[0][:20]


# Each gives the smaller case number `position`, or None where there is no such case any more.


def _fewer_calls(case: Case, position: int) -> Case | None:
    return replace(case, calls=case.calls[:-1]) if len(case.calls) > 1 and position == 0 else None


def _one_value(case: Case, position: int) -> Case | None:
    """Only one value is wanted, the earliest that fails."""
    graph, values = case.graph, case.graph.values()
    if _marked(graph) or position >= len(values) or (len(graph.roots) == 1 and values[position] is graph.roots[0]):
        return None
    return _trimmed(case, replace(graph, outputs=(values[position],), updates=()))


def _fewer_outputs(case: Case, position: int) -> Case | None:
    outputs = case.graph.outputs
    if position >= len(outputs):
        return None
    return _trimmed(case, replace(case.graph, outputs=outputs[:position] + outputs[position + 1 :]))


def _fewer_updates(case: Case, position: int) -> Case | None:
    updates = case.graph.updates
    if position >= len(updates):
        return None
    return _trimmed(case, replace(case.graph, updates=updates[:position] + updates[position + 1 :]))


def _marked(graph: Graph) -> bool:
    return any(v.op.name in ("grad", "update") for v in graph.values())


def _without_markers(case: Case, position: int) -> Case | None:
    if position or not _marked(case.graph):
        return None
    return _trimmed(case, extract_updates(autodiff(case.graph)))


def _bypass(case: Case, position: int) -> Case | None:
    """A value becomes one of its operands."""
    if _marked(case.graph):
        return None
    pairs = [(v, x) for v in reversed(case.graph.values()) for x in v.operands if x.type == v.type]
    if position >= len(pairs):
        return None
    return _trimmed(case, case.graph.with_roots(_replaced(case.graph, *pairs[position])))


def _cut(case: Case, position: int) -> Case | None:
    """A value becomes an input that holds what it was."""
    graph = case.graph
    values = [v for v in reversed(graph.values()) if v.operands or (v.op.name == "constant" and v.type.size > 1)]
    if _marked(graph) or position >= len(values):
        return None
    value = values[position]
    arrays = []
    for call in case.calls:
        with np.errstate(all="ignore"):
            arrays.append(evaluate([value], dict(zip(graph.inputs, call, strict=True)))[0])
    x = placeholder(f"cut{len(graph.values())}", value.type)
    replaced = graph.with_roots(_replaced(graph, value, x))
    calls = tuple((*call, array) for call, array in zip(case.calls, arrays, strict=True))
    return _trimmed(Case(graph, calls), replace(replaced, inputs=(*graph.inputs, x)))


def _trimmed(case: Case, graph: Graph) -> Case:
    """Without the inputs that nothing reads."""
    values = set(graph.values())
    kept = [n for n, x in enumerate(graph.inputs) if x in values]
    inputs = tuple(graph.inputs[n] for n in kept)
    return Case(replace(graph, inputs=inputs), tuple(tuple(call[n] for n in kept) for call in case.calls))


def _replaced(graph: Graph, old: Value, new: Value) -> tuple[Value, ...]:
    # Operands are mapped before their users: the value that `old` became is found by its position.
    position = graph.values().index(old)
    count = iter(range(len(graph.values())))
    return rebuild(graph.roots, lambda value: new if next(count) == position else None)
