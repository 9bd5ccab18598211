"""The law book of the Graph IR, and its judge.

In: a graph. Out: nothing, or a VerifyError with the law's number, its text, the offending value and the lines around it.
LAWS is the list; `level` is a dial: 1 checks what costs nothing, 2 repeats every type rule, 3 also that values are
hash-consed. Not verified: that a rewrite kept the meaning (the interpreter compares numbers), and attributes beyond what
the type rules look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from ..dtype import DTYPES
from ..errors import GraphcError, VerifyError
from .graph import Graph
from .op import OPS, Expand, Lowering, Marker
from .text import GraphPrinter
from .values import Value, make

_AROUND = 3  # lines shown before and after the offending one


@dataclass(frozen=True)
class Law:
    """`check` yields what breaks it: the offending value and what about it; None where no value is to blame."""

    number: str
    text: str
    level: int
    check: Callable[[Graph], Iterator[tuple[Value | None, str]]]


Found = Iterator[tuple[Value | None, str]]


def _registered(graph: Graph) -> Found:
    for value in graph.values():
        if OPS.get(value.op.name) is not value.op:
            yield value, f"{value.op.name} is no registered op"


def _types_are_sound(graph: Graph) -> Found:
    for value in graph.values():
        if value.dtype not in DTYPES or any(not isinstance(n, int) or n < 0 for n in value.shape):
            yield value, f"{value.type} has no such type"


def _inputs_are_placeholders(graph: Graph) -> Found:
    for value in graph.inputs:
        if value.op.name != "placeholder":
            yield value, f"{value.op.name} is among the inputs"
    if len(set(graph.inputs)) != len(graph.inputs):
        yield next(v for v in graph.inputs if graph.inputs.count(v) > 1), "it is an input twice"


def _placeholders_are_inputs(graph: Graph) -> Found:
    for value in graph.values():
        if value.op.name == "placeholder" and value not in graph.inputs:
            yield value, "it is no input of the graph"


def _updates_target_variables(graph: Graph) -> Found:
    for variable, new in graph.updates:
        if variable.op.name != "variable":
            yield variable, f"an update targets a {variable.op.name}"
        elif variable.type != new.type:
            yield new, f"a variable of {variable.type} is set to a value of {new.type}"


def _updated_once(graph: Graph) -> Found:
    targets = [variable for variable, _ in graph.updates]
    for target in dict.fromkeys(targets):
        if targets.count(target) > 1:
            yield target, f"it is updated {targets.count(target)} times"


def _types_follow_rules(graph: Graph) -> Found:
    for value in graph.values():
        try:
            found = value.op.infer(*(v.type for v in value.operands), **value.attrs)
        except (GraphcError, TypeError, AssertionError) as error:
            yield value, f"the rule of {value.op.name} refuses its operands: {error}"
            continue
        if found != value.type:
            yield value, f"it says {value.type}, the rule of {value.op.name} says {found}"


def _hash_consed(graph: Graph) -> Found:
    for value in graph.values():
        if make(value.op.name, *value.operands, **value.attrs) is not value:
            yield value, "another object has its op, operands and attributes"


LAWS: tuple[Law, ...] = (
    Law("G1", "every op is the registered one of its name", 1, _registered),
    Law("G2", "every value has an element type of graphc and a shape of non-negative ints", 1, _types_are_sound),
    Law("G3", "inputs are distinct placeholders", 1, _inputs_are_placeholders),
    Law("G4", "every placeholder that is used is an input", 1, _placeholders_are_inputs),
    Law("G5", "updates target variables, with values of the variable's type", 1, _updates_target_variables),
    Law("G6", "a variable is updated at most once", 1, _updated_once),
    Law("G7", "the type of a value is what its op's rule says", 2, _types_follow_rules),
    Law("G8", "equal values are the same object", 3, _hash_consed),
)
ABSENT = "G9"


def verify_graph(graph: Graph, level: int = 2, absent: tuple[type[Lowering], ...] = ()) -> None:
    """Raise VerifyError at the first law up to `level` that `graph` breaks.

    `absent` names lowering kinds of which no op may be left, for example (Marker,) after differentiation and
    (Marker, Expand) before lowering: law G9.
    """
    for law in LAWS:
        if law.level <= level:
            for value, what in law.check(graph):
                _refuse(graph, law.number, law.text, value, what)
    for value in graph.values():
        if isinstance(value.op.lower, absent):
            kind = type(value.op.lower).__name__
            _refuse(graph, ABSENT, f"no {kind} is left at this stage", value, f"{value.op.name} is one")


def _refuse(graph: Graph, number: str, law: str, value: Value | None, what: str) -> NoReturn:
    where = "" if value is None else "\n" + neighbourhood(graph, value)
    location = None if value is None else value.location
    raise VerifyError(f"graph {graph.name} breaks law {number} ({law}): {what}{where}", location)


def neighbourhood(graph: Graph, value: Value) -> str:
    """The lines around `value` in the graph's text, its own marked."""
    printer = GraphPrinter(graph, elide=True)
    at = printer.values.index(value)
    shown = printer.values[max(at - _AROUND, 0) : at + _AROUND + 1]
    near = [v for v in value.operands if v not in shown]
    return "\n".join(("  > " if v is value else "    ") + printer.line(v) for v in [*near, *shown])


__all__ = ["LAWS", "Expand", "Law", "Marker", "neighbourhood", "verify_graph"]
