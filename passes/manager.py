"""Runs a list of passes over a graph, and tells one observer what each of them did.

In: a graph and passes, each a pure function Graph -> Graph that says which properties it needs, gives and breaks. Out:
the last graph. A pass whose need is not met is refused before it runs. What is not here, because values are hash-consed
and a graph is what its roots reach: common subexpressions cannot exist, and dead values are gone as soon as nothing
refers to them, so neither has a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

from graphc.errors import VerifyError
from graphc.ir.graph import Graph
from graphc.ir.op import Marker, Pointwise, Source
from graphc.ir.values import Value


@dataclass(frozen=True, eq=False)
class Property:
    """Something that holds of a graph; `violation` finds the first value that breaks it."""

    name: str
    violation: Callable[[Graph], Value | None]

    def __repr__(self) -> str:
        return f"<{self.name}>"


@dataclass(frozen=True, eq=False)
class Pass:
    """A named step. `breaks` are properties that may not hold any more once the pass has changed something. What is not
    `exact` computes the same as before only for the variables' initial values."""

    name: str
    run: Callable[[Graph], Graph]
    needs: tuple[Property, ...] = ()
    gives: tuple[Property, ...] = ()
    breaks: tuple[Property, ...] = ()
    exact: bool = True


@dataclass(frozen=True)
class Size:
    """How large a graph is: its values, how many of them compute, and the bytes of their results if each were stored."""

    values: int
    kernels: int
    nbytes: int

    def __str__(self) -> str:
        return f"{self.values} values, {self.nbytes / 2**20:.2f} MiB"


def size(graph: Graph) -> Size:
    """Views and sources take no memory of their own."""
    values = graph.values()
    computed = [v for v in values if not _is_free(v)]
    return Size(len(values), len(computed), sum(v.type.nbytes for v in computed))


def _is_free(value: Value) -> bool:
    lower = value.op.lower
    return isinstance(lower, Source | Marker) or (isinstance(lower, Pointwise) and lower.view)


@dataclass(frozen=True)
class Step:
    """What one pass did; number 1 is the first of its list."""

    number: int
    done: Pass
    before: Graph
    after: Graph
    seconds: float

    @cached_property
    def sizes(self) -> tuple[Size, Size]:
        """Before and after."""
        first = size(self.before)
        return first, first if self.after is self.before else size(self.after)

    def __str__(self) -> str:
        before, after = self.sizes
        change = f"{before} -> {after}" if self.after is not self.before else f"{before}, unchanged"
        return f"{self.before.name}: {self.done.name}: {change}, {self.seconds * 1e3:.1f} ms"


Observer = Callable[[Step], None]


def run_passes(graph: Graph, passes: Sequence[Pass], observe: Observer | None = None) -> Graph:
    """Apply `passes` in order; `observe` sees every step.

    Raises VerifyError where a pass needs a property that the graph does not have, and names the value that lacks it.
    """
    held: set[Property] = set()
    broken: set[Property] = set()
    for number, step in enumerate(passes, 1):
        for need in step.needs:
            if need not in held:
                _require(graph, step, need, need in broken)
                held.add(need)
        start = perf_counter()
        after = step.run(graph)
        seconds = perf_counter() - start
        if after is not graph:
            held.difference_update(step.breaks)
            broken.update(step.breaks)
        held.update(step.gives)
        broken.difference_update(step.gives)
        if observe is not None:
            observe(Step(number, step, graph, after, seconds))
        graph = after
    return graph


def _require(graph: Graph, step: Pass, need: Property, broken: bool) -> None:
    """Refuse unless `need` holds. What an earlier pass may have broken counts as not holding, whatever this graph is."""
    value = need.violation(graph)
    if value is not None:
        raise VerifyError(f"pass {step.name} needs {need.name!r}, and {value} breaks it in {graph.name}", value.location)
    if broken:
        raise VerifyError(f"pass {step.name} needs {need.name!r}, which an earlier pass of this list may break")
