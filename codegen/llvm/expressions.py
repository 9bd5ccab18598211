"""Expressions to instructions, one statement at a time.

In: an `Expr`, and what is bound around it. Out: a `Value`, scalar where all lanes agree. Expressions shared within a
statement are computed once; conditions that constants decide leave no code. Loads whose guard is false touch nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

from graphc.dtype import bool_, int32
from graphc.ir.conditions import conjuncts
from graphc.ir.expr import COMPARISONS, Array, Call, Const, Expr, Index, Load, Temp, Var, combine, linear
from graphc.ir.kernel import parts

from . import memory, words
from .builder import Builder, Preheader, Value, constant, each, every
from .indices import Indexer, Position, fits
from .memory import Place

MOST_ZEROS = 8192  # bytes that inner loops read in the place of what a guard forbids

_DECIDE = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """The end of the block before a loop, and the names that it knows."""

    preheader: Preheader
    temps: Mapping[Temp, Value]

    def changed(self, part: Expr, temps: Mapping[Temp, Value]) -> bool:
        """Whether a name means something else inside."""
        return isinstance(part, Temp) and self.temps.get(part) != temps[part]


@dataclass
class Scope:
    """What names mean where a statement stands. `lanes` is 1 outside vector loops; `mask` leaves out the lanes beyond
    the end of a vector loop (None: all run); `entries` are those of the loops around that count; `given` are expressions whose
    values are known."""

    b: Builder
    places: dict[Array, Place]
    bound: dict[Var, Position] = field(default_factory=dict)
    temps: dict[Temp, Value] = field(default_factory=dict)
    lanes: int = 1
    mask: Value | None = None
    entries: dict[Var, Entry] = field(default_factory=dict)
    given: dict[Expr, Value] = field(default_factory=dict)
    _values: dict[Expr, Value] = field(default_factory=dict)
    _positions: dict[Expr, Position] = field(default_factory=dict)

    def forget(self) -> None:
        """A new statement begins: memory may have changed."""
        self._values, self._positions = dict(self.given), {}

    @property
    def indexer(self) -> Indexer:
        return Indexer(self.b, self.bound, self.lanes, self.evaluate, self._positions)

    def place(self, array: Array) -> Place:
        return self.places[array]

    def evaluate(self, expr: Expr) -> Value:
        """The value of `expr` here."""
        found = self._values.get(expr)
        if found is None:
            found = self._values[expr] = self._evaluate(expr)
        return found

    def _evaluate(self, expr: Expr) -> Value:
        match expr:
            case Const(value=value, dtype=dtype):
                return constant(value, dtype)
            case Temp():
                return self.temps[expr]
            case Load():
                return self._load(expr)
            case Index():
                return self.indexer.value(expr)
            case Call(word="select", args=(condition, yes, no)):
                chosen = self.evaluate(condition)
                if chosen.known is not None:
                    return self.evaluate(yes if chosen.known else no)
            case Call(word="and" | "or", args=args, dtype=dtype) if dtype.is_bool:
                return self._logic(expr.word == "or", args)
            case Call(word=word, args=args) if word in COMPARISONS:
                return self._compare(word, *args)
            case Call(word="cast", args=(Index() as index,), dtype=dtype) if fits(index):
                return words.speak(self.b, "cast", dtype, (self._narrow(index),))
        assert isinstance(expr, Call), expr
        return self.say(expr.word, tuple(self.evaluate(arg) for arg in expr.args), expr)

    def say(self, word: str, args: tuple[Value, ...], result: Expr | None = None) -> Value:
        """`word(*args)`, in as many lanes as the widest operand has."""
        lanes = max(arg.lanes for arg in args)
        dtype = args[-1].dtype if result is None else result.dtype
        return words.speak(self.b, word, dtype, tuple(self.b.widen(arg, lanes) for arg in args))

    def _logic(self, decisive: bool, args: tuple[Expr, ...]) -> Value:
        """`and` (decided by a false side) or `or` (decided by a true one)."""
        left = self.evaluate(args[0])
        if left.known is not None:
            return left if bool(left.known) is decisive else self.evaluate(args[1])
        right = self.evaluate(args[1])
        if right.known is not None:
            return right if bool(right.known) is decisive else left
        if left.each and right.each:
            return _alike([(x or y) if decisive else (x and y) for x, y in zip(left.each, right.each, strict=True)])
        return self.say("or" if decisive else "and", (left, right))

    def _compare(self, word: str, x: Expr, y: Expr) -> Value:
        if isinstance(x, Index) and isinstance(y, Index) and self.lanes > 1:
            numbers = [self.indexer.position(side).numbers(self.lanes) for side in (x, y)]
            if numbers[0] and numbers[1]:
                return _alike([_DECIDE[word](*pair) for pair in zip(*numbers, strict=True)])
        narrow = isinstance(x, Index) and isinstance(y, Index) and fits(x) and fits(y)
        left, right = (self._narrow(side) if narrow and isinstance(side, Index) else self.evaluate(side) for side in (x, y))
        if left.known is not None and right.known is not None:
            return constant(_DECIDE[word](left.known, right.known), bool_)
        return self.say(word, (left, right))

    def _narrow(self, index: Index) -> Value:
        """An index that fits, as int32 where lanes differ: twice the lanes in a register."""
        indexer = self.indexer
        p = indexer.position(index)
        if p.is_constant:
            return Value(str(p.constant), int32, 1, p.constant)
        if p.varies:
            return Value(indexer.vector(p, 32), int32, self.lanes)
        return Value(self.b.op(f"trunc i64 {indexer.scalar(p)} to i32"), int32)

    def _load(self, expr: Load) -> Value:
        guard = None if expr.guard is None else self.evaluate(expr.guard)
        if guard is not None and guard.known is False:
            return constant(0, expr.dtype)
        place, indexer = self.place(expr.array), self.indexer
        run = None if guard is None or guard.known or guard.lanes > 1 or place.local else self._run(expr, place)
        if run is not None:
            return memory.load(indexer, *run, self.mask, None)
        position = memory.locate(indexer, place, indexer.position(expr.index))
        if position.rest is None and (position.steps or position.lane not in (0, 1)):
            picked = memory.pick_lanes(indexer, place, position, self.mask, *self._apart(expr.guard))
            if picked is not None:
                return picked
        return memory.load(indexer, place, position, self.mask, guard)

    def _apart(self, condition: Expr | None) -> tuple[Value | None, Value | None, Value | None]:
        """What of a condition is the same in all lanes, what is constant in each, and what is neither."""
        found = [value for value in map(self.evaluate, conjuncts(condition)) if value.known is None]
        same, varying = ([v for v in found if not v.each and (v.lanes > 1) is varies] for varies in (False, True))
        fixed = [v.each for v in found if v.each]
        uniform, rest = (reduce(lambda x, y: self.say("and", (x, y)), parts) if parts else None for parts in (same, varying))
        return uniform, every(*fixed) if fixed else None, rest

    def _run(self, expr: Load, place: Place) -> tuple[Place, Position] | None:
        """Where the guard of a load is the same for all rounds of inner loops: what these read instead, the array from where
        they start or as many zeros, as chosen before the first of them."""
        if not isinstance(expr.index, Index) or expr.guard is None:
            return None
        loops, known = [var for var, p in self.bound.items() if not p.is_constant], set(parts(expr.guard))
        inner = loops[max((n for n, var in enumerate(loops, 1) if var in known), default=0) :]
        while inner and not self._walk_on(expr, inner):
            del inner[0]
        along = _along(expr.index, inner)
        if not along.high:
            return None
        entry, start, size = self.entries[inner[0]], expr.index - along, (along.high + 1) * expr.dtype.size
        if any(isinstance(part, Load) or entry.changed(part, self.temps) for part in (*known, *parts(start))):
            return None
        with self.b.before(entry.preheader):
            before = replace(self, _values={}, _positions={})
            first, guard = before.indexer.position(start), before.evaluate(expr.guard)
            if first.varies:
                return None
            pointer = memory.or_zeros(self.b, memory.address(before.indexer, place, first), guard, size)
        return replace(place, pointer=pointer, whole=place.array), self.indexer.position(along)

    def _walk_on(self, expr: Load, inner: Sequence[Var]) -> bool:
        """Whether all that inner loops do to the index of a load is to move it on, and not too far."""
        assert isinstance(expr.index, Index)
        along = _along(expr.index, inner)
        near = (along.high + 1) * expr.dtype.size <= MOST_ZEROS
        return inner[0] in self.entries and near and set(parts(expr.index - along)).isdisjoint(inner)


def _alike(bits: Sequence[bool]) -> Value:
    """Constant bools of lanes, which may all be the same."""
    return constant(bits[0], bool_) if len(set(bits)) == 1 else each(bits)


def _along(index: Index, loops: Sequence[Var]) -> Index:
    """How far loops have moved an index on."""
    factors = linear(index)[0]
    return combine([(var, factors[var]) for var in loops if factors.get(var, 0) > 0])
