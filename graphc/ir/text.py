"""Graphs as text, and back.

In: a graph. Out: text from which `parse_graph` makes an equal graph: hash-consing makes equal values the same objects.
What a placeholder or a variable is cannot be written, so the reader is told: `infos` maps printed names to the
information objects (`infos(graph)` is the mapping that gives back the very graph), or makes new ones.

    graph  ::= graph NAME "(" value,* ")" ":"  line*  "return" value,*  ("update" value ":=" value)*
    line   ::= value ":" type "=" OP ["(" value,* ")"] (KEY "=" attr)* ["#" FILE ":" LINE]     the comment: the user's line
    value  ::= "%" INT                            operands before users
    attr   ::= INT | FLOAT | true | false | none | STRING | dtype | "(" (attr ",")* ")"
             | "@" NAME                            the information of a placeholder or variable, by name
             | type data                           an array: numbers or compressed bytes (scan.py)
    type   ::= dtype "[" INT,* "]"

The type of a line repeats what the op's rule finds; a text that disagrees is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..dtype import DType, dtype
from ..errors import GraphcError
from .graph import Graph
from .location import Location, located
from .op import OPS
from .scan import Names, Scanner, print_data, quoted
from .types import TensorType
from .values import Literal, Value, make, topological

MakeInfo = Callable[[str, str, TensorType], Any]  # (op name, printed name, type) -> information object

_INFORMED = ("placeholder", "variable")


class GraphPrinter:
    """The text of a graph, and the names its parts have there."""

    def __init__(self, graph: Graph, elide: bool = False) -> None:
        self.graph, self.elide = graph, elide
        written = [variable for variable, _ in graph.updates]
        self.values = topological([*graph.inputs, *graph.roots, *written])
        self.numbers = {value: f"%{n}" for n, value in enumerate(self.values)}
        self.infos = Names()
        for value in self.values:
            if value.op.name in _INFORMED:
                self.infos(value.attrs["info"], value.attrs["info"].name)

    @property
    def text(self) -> str:
        lines = [f"graph {self.graph.name}({self._listed(self.graph.inputs)}):"]
        lines += [f"  {self.line(value)}" for value in self.values]
        lines.append(f"  return {self._listed(self.graph.outputs)}".rstrip())
        lines += [f"  update {self.numbers[variable]} := {self.numbers[new]}" for variable, new in self.graph.updates]
        return "\n".join(lines) + "\n"

    def line(self, value: Value) -> str:
        """The line of one value."""
        operands = f"({self._listed(value.operands)})" if value.operands else ""
        attrs = "".join(f" {key}={self._attr(attr)}" for key, attr in value.attrs.items())
        where = f"  # {value.location.file.rsplit('/', 1)[-1]}:{value.location.line}" if value.location else ""
        return f"{self.numbers[value]}: {value.type} = {value.op.name}{operands}{attrs}{where}"

    def _listed(self, values: tuple[Value, ...]) -> str:
        return ", ".join(self.numbers[v] for v in values)

    def _attr(self, attr: Any) -> str:
        if attr is None or isinstance(attr, bool):
            return {None: "none", True: "true", False: "false"}[attr]
        if isinstance(attr, int | float):
            return repr(attr)
        if isinstance(attr, str):
            return quoted(attr)
        if isinstance(attr, DType):
            return attr.name
        if isinstance(attr, tuple):
            return "(" + ", ".join(map(self._attr, attr)) + ("," if len(attr) == 1 else "") + ")"
        if isinstance(attr, Literal):
            type_ = TensorType(dtype(attr.array.dtype), attr.array.shape)
            return f"{type_} {print_data(attr.array, type_, self.elide)}"
        assert attr in self.infos.of, f"an attribute without notation: {attr!r}"
        return f"@{self.infos.of[attr]}"


def print_graph(graph: Graph, elide: bool = False) -> str:
    """The text of `graph`; with `elide`, for readers only, without the contents of large constants."""
    return GraphPrinter(graph, elide).text


def infos(graph: Graph) -> dict[str, Any]:
    """Printed name -> information object, for every placeholder and variable of `graph`."""
    return {name: info for info, name in GraphPrinter(graph).infos.of.items()}


def parse_graph(text: str, infos: Mapping[str, Any] | MakeInfo) -> Graph:
    """The graph that `text` describes. `infos` maps the names of placeholders and variables to their information, or
    makes it from (op name, name, type). Raises ParseError with line, column and what was expected."""
    return _GraphParser(Scanner(text), infos).graph()


class _GraphParser:
    def __init__(self, scanner: Scanner, infos: Mapping[str, Any] | MakeInfo) -> None:
        self.at, self.infos = scanner, infos
        self.values: dict[str, Value] = {}
        self.made: dict[str, Any] = {}

    def graph(self) -> Graph:
        at = self.at
        at.line(-1)
        at.expect("graph")
        name = at.name("the graph's name")
        at.expect("(")
        header = at.at  # the inputs are named before the lines that define them
        while not at.accept(")"):
            at.name("an input")
            if not at.peek(")"):
                at.expect(",")
        at.expect(":")
        indent = at.line(0)
        while indent is not None and at.token.text.startswith("%"):
            self._line()
            indent = at.line(0)
        if indent is None:
            at.fail("a line of a value, or return")
        at.expect("return")
        outputs = self._values("line", "end")
        updates: list[tuple[Value, Value]] = []
        while at.line(0) is not None:
            at.expect("update")
            variable = self._value()
            at.expect(":=")
            updates.append((variable, self._value()))
        at.finish()
        at.at = header
        return Graph(name, self._values(")"), outputs, tuple(updates))

    def _value(self) -> Value:
        found = self.values.get(self.at.token.text)
        if found is None:
            self.at.fail("a value defined above")
        self.at.name()
        return found

    def _values(self, *until: str) -> tuple[Value, ...]:
        """Values up to a token of one of these kinds or texts."""
        found: list[Value] = []
        while self.at.token.text not in until and self.at.token.kind not in until:
            if found:
                self.at.expect(",")
            found.append(self._value())
        return tuple(found)

    def _line(self) -> None:
        at, start = self.at, self.at.at
        name = at.name()
        if name in self.values:
            at.at = start
            at.fail("a new value")
        at.expect(":")
        type_ = at.type()
        at.expect("=")
        if at.token.text not in OPS:
            at.fail("an op")
        op = at.name()
        operands: tuple[Value, ...] = ()
        if at.accept("("):
            operands = self._values(")")
            at.expect(")")
        attrs: dict[str, Any] = {}
        while at.token.kind == "name":
            key = at.name("an attribute")
            at.expect("=")
            attrs[key] = self._attr(op, type_)
        with located(self._location()):
            self.values[name] = self._make(start, op, operands, attrs, type_)

    def _make(self, start: int, op: str, operands: tuple[Value, ...], attrs: dict[str, Any], type_: TensorType) -> Value:
        at, end = self.at, self.at.at
        at.at = start
        try:
            value = make(op, *operands, **attrs)
        except (GraphcError, TypeError, AssertionError) as error:  # the last two: another number of operands, other attributes
            raise at.error(f"operands and attributes that {op} takes ({getattr(error, 'message', error)})") from None
        if value.type != type_:
            at.fail(f"the type {value.type} of this {op} (not {type_})")
        at.at = end
        return value

    def _location(self) -> Location | None:
        file, _, line = self.at.comment().rpartition(":")
        return Location(file, int(line)) if file and line.isdigit() else None

    def _attr(self, op: str, type_: TensorType) -> Any:
        at = self.at
        word = at.token.text
        if at.token.kind == "string":
            return at.string()
        if word in ("none", "true", "false"):
            at.name()
            return {"none": None, "true": True, "false": False}[word]
        if at.accept("("):
            parts: list[Any] = []
            while not at.accept(")"):
                parts.append(self._attr(op, type_))
                if not at.peek(")"):
                    at.expect(",")
            return tuple(parts)
        if word.startswith("@"):
            return self._info(op, type_)
        if at.token.kind == "name" and word not in ("inf", "nan"):
            literal = at.tokens[at.at + 1].text == "["
            return Literal(at.data(at.type())) if literal else at.dtype()
        return at.number("an attribute")

    def _info(self, op: str, type_: TensorType) -> Any:
        name = self.at.token.text[1:]
        if name not in self.made:
            if not isinstance(self.infos, Mapping):
                self.made[name] = self.infos(op, name, type_)
            elif name in self.infos:
                self.made[name] = self.infos[name]
            else:
                self.at.fail(f"a placeholder or variable among {', '.join(self.infos) or 'none'}")
        self.at.name()
        return self.made[name]
