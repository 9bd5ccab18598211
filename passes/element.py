"""Graph values as kernel expressions: one element of a value at a symbolic index.

In: a value, an index (one expression per dimension), and what is already at hand (`stored`: buffers, accumulators,
scratch). Out: the expression that computes this element, with views folded into the indices of its loads. This is how
fusion reads what it fuses and how lowering writes it: the same rule serves both, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

from graphc.dtype import DType
from graphc.ir.expr import Expr, Index, Var, all_of, as_index, call, const, linear, temp
from graphc.ir.kernel import COMBINES
from graphc.ir.op import Elementwise, Pointwise
from graphc.ir.values import Value, splat

Position = tuple[Index, ...]
Stored = Callable[[Value, Position, Expr | None], Expr | None]
Fold = Callable[[str, Sequence[int], DType, Callable[[Position], Expr]], Expr | None]

UNROLL_LIMIT = 32  # terms of a window that are written out rather than looped over
JOINT = 5  # parts from which a concatenation is copied on its own


def is_view(value: Value) -> bool:
    """Whether the value only moves (or counts) elements, so that recomputing it is free."""
    return isinstance(value.op.lower, Pointwise) and value.op.lower.view


def heaviness(value: Value) -> int:
    """How many functions that cost about as much as ten multiplications wait for each other in one element."""
    lower = value.op.lower
    return lower.heavy if isinstance(lower, Elementwise | Pointwise) else 0


def is_heavy(value: Value) -> bool:
    """Whether one element costs about as much as ten multiplications."""
    return heaviness(value) > 0


def storage(value: Value) -> Value:
    """The value whose memory holds `value`: reshapes are the same bytes, now and later."""
    while value.op.name in ("reshape", "after"):
        value = value.operands[0]
    return value


def is_joint(value: Value) -> bool:
    """Whether the value is many parts one after another in memory: copied part by part, not chosen from element by element."""
    if value.op.name != "concat" or len(value.operands) < JOINT:
        return False
    return all(n == 1 for n in value.shape[: value.attrs["axis"]])


@cache
def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without dimensions of one element, which hold no positions to tell apart."""
    return tuple(n for n in shape if n != 1)


def spread(parts: Sequence[Index], shape: tuple[int, ...]) -> Position:
    """An index of `shape` from the indices of its dimensions of more than one element."""
    rest = iter(parts)
    return tuple(as_index(0) if n == 1 else next(rest) for n in shape)


@cache
def variables(extents: tuple[int, ...]) -> Position:
    """Symbolic loop variables, the same objects each time, so that indices can be compared."""
    return tuple(Var(f"d{i}", n) for i, n in enumerate(extents))


@cache
def positions(shape: tuple[int, ...]) -> Position:
    """The symbolic index of a shape. Shapes that differ in dimensions of one element only share their variables."""
    return spread(variables(squeezed(shape)), shape)


def crossed(index: Index, shape: tuple[int, ...]) -> Expr | None:
    """The position of a shape along which an index of memory goes from element to element, if not the last one but one that
    would make lanes gather."""
    places = variables(squeezed(shape))
    terms, _ = linear(index)
    if not places or abs(terms.get(places[-1], 0)) < 2:
        return None
    return next((at for at in places if terms.get(at) == 1), None)


class Elements:
    """Evaluates values at indices. `stored` answers for values that are at hand; `fold` may loop over large windows."""

    def __init__(self, stored: Stored, fold: Fold | None = None) -> None:
        self._stored = stored
        self._fold = fold
        self._memo: dict[tuple[Value, Position, Expr | None], Expr] = {}

    def forget(self) -> None:
        """What was computed may have been overwritten or is out of scope: compute afresh."""
        self._memo.clear()

    def at(self, value: Value, index: Position, guard: Expr | None = None) -> Expr:
        """Element `index` of `value`; where `guard` is false nothing is loaded."""
        key = (value, index, guard)
        if key not in self._memo:
            self._memo[key] = self._compute(value, index, guard)
        return self._memo[key]

    def _compute(self, value: Value, index: Position, guard: Expr | None) -> Expr:
        number = splat(value)
        if number is not None:
            return const(number, value.dtype)
        stored = self._stored(value, index, guard)
        if stored is not None:
            return stored
        lower = value.op.lower
        if isinstance(lower, Elementwise):
            return lower.scalar(*(self.at(v, index, guard) for v in value.operands), **value.attrs)
        assert isinstance(lower, Pointwise), f"{value.op.name} cannot be computed element by element"
        return lower.element(value, index, _Reader(self, value, guard))

    def fold(self, combine: str, extents: Sequence[int], dtype: DType, term: Callable[[Position], Expr]) -> Expr:
        """Fold `term` over a box of indices: written out when small, looped over when the caller can."""
        offsets = list(product(*(range(n) for n in extents)))
        if len(offsets) > UNROLL_LIMIT and self._fold is not None:
            looped = self._fold(combine, extents, dtype, term)
            if looped is not None:
                return looped
        result: Expr | None = None
        for offset in offsets:
            part = term(tuple(as_index(i) for i in offset))
            result = part if result is None else call(combine, result, part)
        return const(COMBINES[combine](dtype), dtype) if result is None else result


class _Reader:
    """The operands of one value, for its `Pointwise` rule."""

    def __init__(self, elements: Elements, value: Value, guard: Expr | None) -> None:
        self._elements, self._value, self._guard = elements, value, guard

    def read(self, operand: int, index: Sequence[Expr], guard: Expr | None = None) -> Expr:
        at = tuple(as_index(i) for i in index)
        return self._elements.at(self._value.operands[operand], at, all_of(self._guard, guard))

    def reduce(self, combine: str, extents: Sequence[int], dtype: DType, term: Callable[[Position], Expr]) -> Expr:
        return self._elements.fold(combine, extents, dtype, term)


Read = tuple[Value, Position, Expr | None]


def leaf_reads(value: Value, index: Position, is_leaf: Callable[[Value], bool]) -> list[Read]:
    """Where `value` at `index` reads leaves (values that are stored somewhere), each with its index and guard."""
    found: list[Read] = []

    def record(leaf: Value, at: Position, guard: Expr | None) -> Expr | None:
        if leaf is value or not is_leaf(leaf):
            return None
        found.append((leaf, at, guard))
        return temp("leaf", leaf.dtype)

    Elements(record).at(value, index)
    return found
