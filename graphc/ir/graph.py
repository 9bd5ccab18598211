"""A function as a graph: inputs, outputs, and updates of variables.

In: values. Out: an immutable `Graph` that passes map to another one.

    graph ::= name(input*) -> output*, (variable := value)*

All variables are read before any is written. `rebuild` is the one way to replace values below the roots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .location import located
from .values import Value, make, topological


@dataclass(frozen=True)
class Graph:
    """`outputs` and new values of `updates` as functions of `inputs` (placeholders) and variables."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    updates: tuple[tuple[Value, Value], ...] = ()  # (variable, its value after the call)
    output_names: tuple[str, ...] = field(default=(), compare=False)  # for readers; empty: output0, output1, ...

    @property
    def roots(self) -> tuple[Value, ...]:
        return self.outputs + tuple(new for _, new in self.updates)

    def values(self) -> list[Value]:
        """All values, operands before users."""
        return topological(self.roots)

    def with_roots(self, roots: tuple[Value, ...]) -> Graph:
        """The same graph computing other roots; the identical object when nothing changed."""
        if roots == self.roots:
            return self
        n = len(self.outputs)
        updates = tuple((variable, new) for (variable, _), new in zip(self.updates, roots[n:], strict=True))
        return replace(self, outputs=roots[:n], updates=updates)

    def variables(self) -> list[Value]:
        """Variables read or written, in a fixed order."""
        found = [v for v in self.values() if v.op.name == "variable"]
        return list(dict.fromkeys(found + [variable for variable, _ in self.updates]))


def rebuild(roots: tuple[Value, ...], visit: Callable[[Value], Value | None]) -> tuple[Value, ...]:
    """Map every value bottom-up: `visit(value with mapped operands)` returns its replacement, or None to keep it.

    A replacement carries the location of the value it replaces.
    """
    mapped: dict[Value, Value] = {}
    for value in topological(roots):
        operands = tuple(mapped[v] for v in value.operands)
        with located(value.location):
            new = value if operands == value.operands else make(value.op.name, *operands, **value.attrs)
            mapped[value] = visit(new) or new
    return tuple(mapped[root] for root in roots)
