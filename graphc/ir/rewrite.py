"""Rewrite rules as rows under their equations, and the engine that applies them.

In: roots of a graph and rules. Out: equal roots in which no rule matches any more; the identical tuple when nothing
fired. Rules, patterns and programs share operators, so a rule reads as the algebra it proves:

    x, c = wild("x"), number("c")
    rule("x * 1 -> x", x * 1, lambda x: x)
    rule("x - x -> 0", x - x, lambda x: like(x, 0), when=lambda x: x.dtype.is_int, because="x - x is 0 for every int")

Laws for rules: the right side costs no more than the left; floats only where exact to the bit (NaN, inf and the sign of
zero included) or where a comment states the bound; a rule that drops an operand says in `because` why that is allowed.
Not done here: rules that look at the users of a value, except to ask how many there are.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from math import copysign
from types import EllipsisType
from typing import Any

from .graph import Graph
from .location import Location, located
from .values import Value, make, splat, topological

COMMUTATIVE = frozenset("add mul min max and or xor eq ne".split())
DEPTH = 100  # rewrites of one value on top of each other; more can only be a loop

Bound = dict[str, Any]
Glance = tuple[tuple[int, frozenset[str]], ...]
SPLATS = frozenset("constant broadcast reshape transpose".split())  # the ops that `splat` looks through


# --------------------------------------------------------------------------------------------------------------- patterns


class Pattern:
    """What a value may look like; the operators build patterns of `add`, `sub`, `mul`, `div`, `pow` and `neg`."""

    def match(self, value: Any, bound: Bound) -> bool:
        """Whether `value` fits, given the names bound so far; binds the names of this pattern."""
        raise NotImplementedError

    def dropped(self, taken: frozenset[str]) -> frozenset[str]:
        """The values that a right side which takes the names `taken` does not see (a number is no loss)."""
        return frozenset()

    def variants(self) -> Sequence[Pattern]:
        """The same pattern with the operands of commutative ops in every order."""
        return [self]

    def __add__(self, other: Pattern | float) -> Node:
        return op("add", self, other)

    def __sub__(self, other: Pattern | float) -> Node:
        return op("sub", self, other)

    def __mul__(self, other: Pattern | float) -> Node:
        return op("mul", self, other)

    def __truediv__(self, other: Pattern | float) -> Node:
        return op("div", self, other)

    def __rtruediv__(self, other: float) -> Node:
        return op("div", other, self)

    def __rsub__(self, other: float) -> Node:
        return op("sub", other, self)

    def __pow__(self, other: Pattern | float) -> Node:
        return op("pow", self, other)

    def __neg__(self) -> Node:
        return op("neg", self)


@dataclass(frozen=True, eq=False)
class Wild(Pattern):
    """Any value (or attribute). The same name stands for the same value wherever it is written."""

    name: str

    def match(self, value: Any, bound: Bound) -> bool:
        known = bound.setdefault(self.name, value)
        return known is value or (not isinstance(value, Value) and bool(known == value))

    def dropped(self, taken: frozenset[str]) -> frozenset[str]:
        return frozenset([self.name]) - taken


@dataclass(frozen=True, eq=False)
class Number(Pattern):
    """A value that holds one number everywhere: this very number (0.0 is not -0.0, True is not 1), or any, by name."""

    literal: bool | int | float | None = None
    name: str = ""

    def match(self, value: Any, bound: Bound) -> bool:
        found = splat(value)
        if found is None:
            return False
        if self.literal is None:
            bound[self.name] = found
            return True
        return same_number(found, self.literal)


@dataclass(frozen=True, eq=False)
class Node(Pattern):
    """One of some ops applied to operands that fit, with attributes that fit. Operands `None` fit whatever there is."""

    ops: frozenset[str]
    operands: tuple[Pattern, ...] | None
    attrs: tuple[tuple[str, Any], ...] = ()
    name: str = ""

    def match(self, value: Any, bound: Bound) -> bool:
        if value.op.name not in self.ops:
            return False
        if self.name and bound.setdefault(self.name, value) is not value:
            return False
        if self.operands is not None:
            if len(self.operands) != len(value.operands):
                return False
            for pattern, operand in zip(self.operands, value.operands, strict=True):
                if not pattern.match(operand, bound):
                    return False
        for key, wanted in self.attrs:
            actual = value.attrs[key]
            if not (wanted.match(actual, bound) if isinstance(wanted, Pattern) else wanted == actual):
                return False
        return True

    def dropped(self, taken: frozenset[str]) -> frozenset[str]:
        parts = () if self.name in taken else self.operands or ()
        return frozenset[str]().union(*(p.dropped(taken) for p in parts))

    def glance(self) -> Glance:
        """What a look at the ops of the operands decides already: (operand, ops it can be)."""
        seen = ((i, _ops(p)) for i, p in enumerate(self.operands or ()))
        return tuple((i, ops) for i, ops in seen if ops is not None)

    def variants(self) -> Sequence[Node]:
        if self.operands is None:
            return [self]
        orders = permutations(self.operands) if self.ops <= COMMUTATIVE else [self.operands]
        choices = (choice for order in orders for choice in product(*(p.variants() for p in order)))
        return [Node(self.ops, choice, self.attrs, self.name) for choice in choices]


def _ops(pattern: Pattern) -> frozenset[str] | None:
    """The ops at which `pattern` can match; None if it could be any."""
    if isinstance(pattern, Node):
        return pattern.ops
    return SPLATS if isinstance(pattern, Number) else None


def wild(name: str) -> Wild:
    """Any value, known to the right side as `name`."""
    return Wild(name)


def number(name: str) -> Number:
    """Any value that is one number everywhere, known to the right side as that Python number."""
    return Number(name=name)


def op(names: str | Iterable[str], *operands: Pattern | float | EllipsisType, called: str = "", **attrs: Pattern | Any) -> Node:
    """The op(s) `names` over `operands`; `...` stands for any operands. A Wild as attribute binds it, a plain one must be
    equal. The node itself can be `called` something; the root of a rule is always called `root`."""
    known = frozenset(names.split() if isinstance(names, str) else names)
    parts = None if operands == (...,) else tuple(p if isinstance(p, Pattern) else Number(p) for p in operands)  # type: ignore[arg-type]
    return Node(known, parts, tuple(attrs.items()), called)


def same_number(a: float, b: float) -> bool:
    """Equal, of one sign (zeros too), and both truth values or both numbers."""
    return isinstance(a, bool) is isinstance(b, bool) and a == b and copysign(1, a) == copysign(1, b)


# ------------------------------------------------------------------------------------------------------------------ rules


@dataclass(frozen=True, eq=False)
class Rule:
    """`left -> right when guard`, called by its equation."""

    name: str
    left: Node
    right: Callable[..., Value | None]
    when: Callable[..., bool] | None
    because: str

    @cached_property
    def variants(self) -> Sequence[Node]:
        return self.left.variants()

    @cached_property
    def _takes(self) -> tuple[str, ...]:
        return _parameters(self.right)

    @cached_property
    def _asks(self) -> tuple[str, ...]:
        return _parameters(self.when) if self.when else ()

    def holds(self, bound: Bound) -> bool:
        return self.when is None or self.when(*(bound[name] for name in self._asks))

    def build(self, bound: Bound) -> Value | None:
        return self.right(*(bound[name] for name in self._takes))


def rule(
    name: str,
    left: Node,
    right: Callable[..., Value | None],
    when: Callable[..., bool] | None = None,
    because: str = "",
) -> Rule:
    """A rule. The parameters of `right` and `when` name what they want: names of the pattern, `root`, and (for `when`)
    `uses`, a function that counts the users of a value. `right` may answer None: the rule does not apply after all."""
    new = Rule(name, left, right, when, because)
    dropped = frozenset() if "root" in new._takes else left.dropped(frozenset(new._takes))
    assert not dropped or because, f"rule {name!r} drops {sorted(dropped)}: say why in `because`"
    return new


def _parameters(function: Callable[..., object]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


class Rules:
    """A list of rules, indexed by the op they can start at; the first that matches fires."""

    def __init__(self, *tables: Iterable[Rule]) -> None:
        self.rules = tuple(row for table in tables for row in table)
        assert len({row.name for row in self.rules}) == len(self.rules), "two rules of one name"
        self._at: dict[str, list[tuple[Rule, Node, Glance]]] = {}

    def candidates(self, value: Value) -> Iterator[tuple[Rule, Node]]:
        """The rules whose left side may fit `value`, once for each order of commutative operands."""
        name, operands = value.op.name, value.operands
        if name not in self._at:
            self._at[name] = [(row, p, p.glance()) for row in self.rules if name in row.left.ops for p in row.variants]
        for row, pattern, glance in self._at[name]:
            for place, ops in glance:
                if place >= len(operands) or operands[place].op.name not in ops:
                    break
            else:
                yield row, pattern


# ----------------------------------------------------------------------------------------------------------------- engine


@dataclass(frozen=True)
class Fired:
    """One application of a rule."""

    rule: str
    location: Location | None
    before: Value
    after: Value

    def __str__(self) -> str:
        return f"{self.location or 'unknown line'}: {self.rule}: {self.before} => {self.after}"


class RewriteLoop(AssertionError):
    """Rules that undo each other, or grow without end; the message names them in order."""


def rewrite(roots: tuple[Value, ...], rules: Rules | Sequence[Rule], trace: list[Fired] | None = None) -> tuple[Value, ...]:
    """Apply `rules` bottom-up until none matches, in one walk; what fired is appended to `trace`."""
    engine = _Engine(roots, rules if isinstance(rules, Rules) else Rules(rules), trace)
    new = tuple([engine.normalise(root) for root in roots])
    return roots if new == roots else new


def rewrite_graph(graph: Graph, rules: Rules | Sequence[Rule], trace: list[Fired] | None = None) -> Graph:
    """`rewrite` of all that a function computes; the identical graph when nothing fired."""
    return graph.with_roots(rewrite(graph.roots, rules, trace))


class _Engine:
    """Normal forms, values in the middle of being rewritten (outermost first), and numbers of users."""

    def __init__(self, roots: tuple[Value, ...], rules: Rules, trace: list[Fired] | None) -> None:
        self.rules, self.trace = rules, trace
        self.normal: dict[Value, Value] = {}
        self.active: dict[Value, str] = {}
        self.original = set(topological(roots))
        self.users: Counter[Value] = Counter(roots)
        for value in self.original:
            self.users.update(value.operands)

    def normalise(self, root: Value) -> Value:
        """The normal form of `root`; everything below it is brought to normal form first."""
        for value in self._pending(root):
            if value in self.normal:
                continue
            if value in self.active:
                raise self._loop()
            if value not in self.original:
                self.users.update(value.operands)
            operands = tuple([self.normal[v] for v in value.operands])
            with located(value.location):
                current = value if operands == value.operands else make(value.op.name, *operands, **value.attrs)
                result = self._settle(current)
            self.normal[value] = result
            if result is not value:
                self.users[result] += self.users[value]
        return self.normal[root]

    def _settle(self, value: Value) -> Value:
        """The normal form of a value whose operands are in normal form."""
        if value in self.normal:
            return self.normal[value]
        fired = self._fire(value)
        if fired is None:
            self.normal[value] = value
            return value
        name, replacement = fired
        self.active[value] = name
        if replacement in self.active or len(self.active) > DEPTH:
            raise self._loop()
        self._release(value)
        result = self.normalise(replacement)
        del self.active[value]
        self.normal[value] = result
        return result

    def _fire(self, value: Value) -> tuple[str, Value] | None:
        for row, pattern in self.rules.candidates(value):
            bound: Bound = {"root": value, "uses": self._uses}
            if not pattern.match(value, bound) or not row.holds(bound):
                continue
            after = row.build(bound)
            if after is None or after is value:
                continue
            assert after.type == value.type, f"rule {row.name!r} turns {value} into {after}"
            if self.trace is not None:
                self.trace.append(Fired(row.name, value.location, value, after))
            return row.name, after
        return None

    def _uses(self, value: Value) -> int:
        return self.users[value]

    def _release(self, value: Value) -> None:
        """`value` has no users any more: they moved to its replacement."""
        unused = [value]
        while unused:
            for operand in unused.pop().operands:
                self.users[operand] -= 1
                if self.users[operand] == 0:
                    unused.append(operand)

    def _pending(self, root: Value) -> Iterator[Value]:
        """Values below `root` without a normal form, operands first. Rewriting may settle some while this runs."""
        stack = [(root, False)]
        while stack:
            value, expanded = stack.pop()
            if value in self.normal:
                continue
            if expanded or all(v in self.normal for v in value.operands):
                yield value
            elif value in self.active:
                raise self._loop()
            else:
                stack.append((value, True))
                stack.extend((v, False) for v in reversed(value.operands))

    def _loop(self) -> RewriteLoop:
        names = list(self.active.values())[-12:]
        first = next(iter(self.active))
        return RewriteLoop(f"rules loop at {first} ({first.location or 'unknown line'}): " + " ; ".join(names) + " ; ...")
