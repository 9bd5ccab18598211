"""Indices: int64 expressions with known bounds, kept as canonical sums.

In: loop variables, ints, int64 expressions. Out: `Index` objects. Equal indices are one object, and bounds known from loop
extents remove divisions and comparisons that cannot matter. (Operators and the algebra that they call need each other.)
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import gcd, prod

from ..dtype import bool_, int64
from .scalar import UNBOUNDED, Array, Const, Expr, Load, Temp, call, const, intern, interned


class Index(Expr):
    """An int64 index with its inclusive bounds `low` and `high`; + - * // % and comparisons simplify."""

    __slots__ = ("high", "low")
    low: int
    high: int

    def __add__(self, other: Expr | float) -> Index:
        return combine([(self, 1), (as_index(other), 1)])

    def __radd__(self, other: Expr | float) -> Index:
        return combine([(as_index(other), 1), (self, 1)])

    def __sub__(self, other: Expr | float) -> Index:
        return combine([(self, 1), (as_index(other), -1)])

    def __rsub__(self, other: Expr | float) -> Index:
        return combine([(as_index(other), 1), (self, -1)])

    def __mul__(self, factor: Expr | float) -> Index:
        assert isinstance(factor, int), "an index is multiplied by a known int"
        return combine([(self, factor)])

    __rmul__ = __mul__

    def __neg__(self) -> Index:
        return combine([(self, -1)])

    def __floordiv__(self, divisor: int) -> Index:
        return _divide(self, divisor)[0]

    def __mod__(self, divisor: int) -> Index:
        return _divide(self, divisor)[1]

    def __lt__(self, other: Expr | float) -> Expr:
        return _compare("lt", self, as_index(other))

    def __le__(self, other: Expr | float) -> Expr:
        return _compare("le", self, as_index(other))

    def __gt__(self, other: Expr | float) -> Expr:
        return _compare("lt", as_index(other), self)

    def __ge__(self, other: Expr | float) -> Expr:
        return _compare("le", as_index(other), self)

    def equals(self, other: Expr | float) -> Expr:
        other = as_index(other)
        difference = self - other
        if difference.low > 0 or difference.high < 0 or (difference.low == difference.high == 0):
            return const(difference.low == difference.high == 0, bool_)
        return call("eq", self, other)


class Var(Index):
    """A loop variable: 0 <= v < extent. Each object is its own variable; names are unique within a kernel."""

    __slots__ = ("extent", "name")
    name: str
    extent: int

    def __init__(self, name: str, extent: int) -> None:
        self.name, self.extent, self.dtype, self.low, self.high = name, extent, int64, 0, max(extent - 1, 0)


class Affine(Index):
    """`constant + sum(coefficient * atom)`; never a lone atom with coefficient 1 and constant 0, unless it is data."""

    __slots__ = ("constant", "terms")
    terms: tuple[tuple[Expr, int], ...]
    constant: int


class Div(Index):
    """`index // divisor`, rounding down."""

    __slots__ = ("divisor", "index")
    index: Index
    divisor: int


class Mod(Index):
    """`index % divisor`, in [0, divisor); `quotient` is `index // divisor`."""

    __slots__ = ("divisor", "index", "quotient")
    index: Index
    divisor: int
    quotient: Index


def as_index(value: Expr | float) -> Index:
    """An int, an index, or an int64 expression (a data-dependent index) as `Index`."""
    if isinstance(value, Index):
        return value
    if isinstance(value, Const):
        value = value.value
    if isinstance(value, Expr):
        assert value.dtype is int64, f"an index is int64, not {value.dtype}"
        return _affine({value: 1}, 0)
    return _affine({}, int(value))


def linear(index: Index) -> tuple[dict[Expr, int], int]:
    """`index` as ({atom: coefficient}, constant)."""
    if isinstance(index, Affine):
        return dict(index.terms), index.constant
    return {index: 1}, 0


def combine(parts: Iterable[tuple[Index, int]]) -> Index:
    """The canonical sum of `factor * index`."""
    terms: dict[Expr, int] = {}
    constant = 0
    for index, factor in parts:
        if isinstance(index, Affine):
            constant += index.constant * factor
            for atom, coefficient in index.terms:
                terms[atom] = terms.get(atom, 0) + coefficient * factor
        else:
            terms[index] = terms.get(index, 0) + factor
    return _affine(*_rejoin(terms, constant))


def _rejoin(terms: dict[Expr, int], constant: int) -> tuple[dict[Expr, int], int]:
    """c * (x // c) + x % c  ->  x, until there is none."""
    for atom, factor in terms.items():
        if factor and isinstance(atom, Mod):
            quotient = atom.quotient
            if terms.get(quotient) == factor * atom.divisor:
                inner, offset = linear(atom.index)
                rest = {part: c for part, c in terms.items() if part is not atom and part is not quotient}
                for part, coefficient in inner.items():
                    rest[part] = rest.get(part, 0) + factor * coefficient
                return _rejoin(rest, constant + factor * offset)
    return terms, constant


def _bounds(value: Expr) -> tuple[int, int]:
    return (value.low, value.high) if isinstance(value, Index) else value.bounds if isinstance(value, Temp) else UNBOUNDED


def _span(terms: Iterable[tuple[Expr, int]], constant: int) -> tuple[int, int]:
    """The bounds of a sum."""
    low = high = constant
    for atom, factor in terms:
        least, most = _bounds(atom)
        low += factor * (least if factor > 0 else most)
        high += factor * (most if factor > 0 else least)
    return low, high


def _affine(terms: dict[Expr, int], constant: int) -> Index:
    kept = [term for term in terms.items() if term[1] and _bounds(term[0]) != (0, 0)]
    if constant == 0 and len(kept) == 1 and kept[0][1] == 1 and isinstance(kept[0][0], Index):
        return kept[0][0]
    key = (Affine, frozenset(kept), constant)  # the order of equal coefficients is no part of the identity
    found = interned.get(key)
    if not isinstance(found, Affine):
        found = object.__new__(Affine)
        kept.sort(key=lambda term: -abs(term[1]))
        found.dtype, found.terms, found.constant = int64, tuple(kept), constant
        found.low, found.high = _span(kept, constant)
        interned[key] = found
    return found


@lru_cache(1 << 12)  # the same ones, again and again
def _divide(index: Index, divisor: int) -> tuple[Index, Index]:
    """(index // divisor, index % divisor): whole multiples leave the division, and what bounds decide is decided."""
    assert divisor > 0, divisor
    if divisor == 1:
        return index, as_index(0)
    terms, constant = linear(index)
    whole = {atom: factor // divisor for atom, factor in terms.items() if factor % divisor == 0}
    rest = {atom: factor for atom, factor in terms.items() if factor % divisor}
    remainder = _affine(rest, constant % divisor)
    quotient = _affine(whole, constant // divisor)
    if 0 <= remainder.low and remainder.high < divisor:
        return quotient, remainder
    low, high = remainder.low // divisor, remainder.high // divisor
    if low == high:
        return quotient + low, remainder - low * divisor
    coarse = _coarse(rest, constant % divisor, divisor)
    if coarse is not None:  # (g * a + r) // (g * b) = a // b where 0 <= r < g
        step, large, small = coarse
        inner, left = _divide(large, divisor // step)
        return quotient + inner, combine([(left, step), (small, 1)])
    parts = [atom for atom, factor in rest.items() if factor == 1 and isinstance(atom, Div)]
    if len(parts) == 1:  # (a + x // b) // c = (a * b + x) // (b * c)
        (part,) = parts
        joined = combine([(remainder, part.divisor), (part, -part.divisor), (part.index, 1)])
        inner = joined // (part.divisor * divisor)
    else:
        inner = intern(Div, int64, index=remainder, divisor=divisor, low=low, high=high)
    return quotient + inner, intern(Mod, int64, index=remainder, divisor=divisor, quotient=inner, low=0, high=divisor - 1)


def _coarse(terms: dict[Expr, int], constant: int, divisor: int) -> tuple[int, Index, Index] | None:
    """(g, a, r) with g * a + r the sum, where g > 1 divides the divisor and 0 <= r < g; None where there is no such g."""
    ordered = sorted(terms.items(), key=lambda term: abs(term[1]))
    for count in range(len(ordered)):
        large = ordered[count:]
        step = gcd(divisor, *(factor for _, factor in large))
        low, high = _span(ordered[:count], constant % step)
        if step > 1 and 0 <= low and high < step:
            small = _affine(dict(ordered[:count]), constant % step)
            return step, _affine({atom: factor // step for atom, factor in large}, constant // step), small
    return None


def _compare(word: str, a: Index, b: Index) -> Expr:
    difference = b - a
    needed = 1 if word == "lt" else 0
    if difference.low >= needed:
        return const(True, bool_)
    if difference.high < needed:
        return const(False, bool_)
    return call(word, a, b)


def ravel(index: Iterable[Index], shape: tuple[int, ...]) -> Index:
    """The row-major position of a multi-index."""
    strides = (prod(shape[i + 1 :]) for i in range(len(shape)))
    return combine([(i, s) for i, s in zip(index, strides, strict=True)])


def unravel(position: Index, shape: tuple[int, ...]) -> tuple[Index, ...]:
    """The multi-index of a row-major position."""
    result: list[Index] = []
    for i, extent in enumerate(shape):
        stride = prod(shape[i + 1 :])
        quotient = position // stride if stride else position
        result.append(quotient % extent if i and extent else quotient)
    return tuple(result)


def load(array: Array, index: Expr | int, guard: Expr | None = None) -> Expr:
    """`array[index]`; a guard known to be true is dropped, one known to be false gives 0."""
    if isinstance(guard, Const):
        if not guard.value:
            return const(0, array.dtype)
        guard = None
    found: Expr = intern(Load, array.dtype, array=array, index=as_index(index), guard=guard)
    return found
