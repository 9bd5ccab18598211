"""Scalar expressions of the Kernel IR, hash-consed, and the algebra of indices.

In: constants, loop variables, loads, words. Out: `Expr` objects, one per distinct expression.

    expr  ::= const | index | temp | load(array, index, guard?) | word(expr*) : dtype
    index ::= var | sum(coefficient * atom) + constant | index // c | index % c        (int64, floor semantics, c > 0)
    atom  ::= var | index // c | index % c | any int64 expr (a data-dependent index)

Indices are kept as canonical sums, so equal indices are the same object, and bounds known from loop extents remove
divisions and comparisons that cannot matter. Words are named in `WORDS`; what a target cannot say is expanded later.
(One file past the usual size: the operators of `Index` and the algebra they call need each other.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd, prod
from typing import Any
from weakref import WeakValueDictionary

from ..dtype import DType, bool_, int64

_interned: WeakValueDictionary[tuple[Any, ...], Expr] = WeakValueDictionary()
_UNBOUNDED = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, eq=False)
class Array:
    """Memory that a kernel addresses: a parameter, or scratch declared by `Local`. Identity is the object's."""

    name: str
    dtype: DType
    size: int  # elements


class Expr:
    """Base of all scalar expressions; `dtype` is the element type of its value."""

    __slots__ = ("__weakref__", "dtype")
    dtype: DType

    # Arithmetic on data: both sides have one dtype, a Python number is a constant of it. Index overrides + - * // %.
    def __add__(self, other: Expr | float) -> Expr:
        return call("add", self, lift(other, self.dtype))

    def __radd__(self, other: float) -> Expr:
        return call("add", lift(other, self.dtype), self)

    def __sub__(self, other: Expr | float) -> Expr:
        return call("sub", self, lift(other, self.dtype))

    def __rsub__(self, other: float) -> Expr:
        return call("sub", lift(other, self.dtype), self)

    def __mul__(self, other: Expr | float) -> Expr:
        return call("mul", self, lift(other, self.dtype))

    def __rmul__(self, other: float) -> Expr:
        return call("mul", lift(other, self.dtype), self)

    def __truediv__(self, other: Expr | float) -> Expr:
        return call("div", self, lift(other, self.dtype))

    def __rtruediv__(self, other: float) -> Expr:
        return call("div", lift(other, self.dtype), self)

    def __neg__(self) -> Expr:
        return call("neg", self)

    def __and__(self, other: Expr | int) -> Expr:
        return call("and", self, lift(other, self.dtype))

    def __or__(self, other: Expr | int) -> Expr:
        return call("or", self, lift(other, self.dtype))

    def __xor__(self, other: Expr | int) -> Expr:
        return call("xor", self, lift(other, self.dtype))

    def __invert__(self) -> Expr:
        return call("not", self)

    def __lshift__(self, other: Expr | int) -> Expr:
        return call("shl", self, lift(other, self.dtype))

    def __rshift__(self, other: Expr | int) -> Expr:
        return call("shr", self, lift(other, self.dtype))

    def __lt__(self, other: Expr | float) -> Expr:
        return call("lt", self, lift(other, self.dtype))

    def __le__(self, other: Expr | float) -> Expr:
        return call("le", self, lift(other, self.dtype))

    def __gt__(self, other: Expr | float) -> Expr:
        return call("gt", self, lift(other, self.dtype))

    def __ge__(self, other: Expr | float) -> Expr:
        return call("ge", self, lift(other, self.dtype))

    def equals(self, other: Expr | float) -> Expr:
        return call("eq", self, lift(other, self.dtype))

    def differs(self, other: Expr | float) -> Expr:
        return call("ne", self, lift(other, self.dtype))


class Const(Expr):
    """A number of a dtype. `value` is a Python bool, int or float (f16 and bf16 values are stored exactly as float)."""

    __slots__ = ("text", "value")
    value: bool | int | float
    text: str  # repr of the value: tells 0.0 from -0.0, and makes NaN one object


class Temp(Expr):
    """A value bound by a `Let` statement; each object is its own name. An int64 one may promise inclusive bounds."""

    __slots__ = ("bounds", "name")
    name: str
    bounds: tuple[int, int]


class Load(Expr):
    """`array[index]`. Where `guard` is present and false, nothing is read and the value is 0."""

    __slots__ = ("array", "guard", "index")
    array: Array
    index: Expr
    guard: Expr | None


class Call(Expr):
    """A word applied to arguments."""

    __slots__ = ("args", "word")
    word: str
    args: tuple[Expr, ...]


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
    """`index % divisor`, in [0, divisor)."""

    __slots__ = ("divisor", "index")
    index: Index
    divisor: int


def _intern(cls: type, dtype: DType, **parts: Any) -> Any:
    key = (cls, dtype, *parts.values())
    found = _interned.get(key)
    if found is not None:
        return found
    new: Any = object.__new__(cls)
    new.dtype = dtype
    for name, part in parts.items():
        setattr(new, name, part)
    _interned[key] = new
    return new


def const(value: bool | int | float, dtype: DType) -> Const:
    """The constant `value`, which must be representable in `dtype`."""
    value = bool(value) if dtype.is_bool else int(value) if dtype.is_int else float(value)
    key = (Const, dtype, repr(value))
    found = _interned.get(key)
    if isinstance(found, Const):
        return found
    new = object.__new__(Const)
    new.dtype, new.value, new.text = dtype, value, repr(value)
    _interned[key] = new
    return new


def lift(value: Expr | float, dtype: DType) -> Expr:
    """`value` as an expression of `dtype`."""
    return value if isinstance(value, Expr) else const(value, dtype)


def temp(name: str, dtype: DType, bounds: tuple[int, int] = _UNBOUNDED) -> Temp:
    """A fresh name for a `Let`."""
    new = object.__new__(Temp)
    new.name, new.dtype, new.bounds = name, dtype, bounds
    return new


def load(array: Array, index: Expr | int, guard: Expr | None = None) -> Expr:
    """`array[index]`; a guard known to be true is dropped, one known to be false gives 0."""
    if isinstance(guard, Const):
        if not guard.value:
            return const(0, array.dtype)
        guard = None
    found: Expr = _intern(Load, array.dtype, array=array, index=as_index(index), guard=guard)
    return found


def all_of(*guards: Expr | None) -> Expr | None:
    """The conjunction of the guards that are present; None means true."""
    result: Expr | None = None
    for guard in guards:
        if guard is None or (isinstance(guard, Const) and guard.value):
            continue
        result = guard if result is None else call("and", result, guard)
    return result


COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
PREDICATES = (*COMPARISONS, "isnan", "isinf")

# word -> number of arguments. Result: bool for predicates, the named dtype for cast and bitcast, the dtype of the last
# argument otherwise. Integers wrap. div is IEEE division of floats; quot and rem truncate integers (x/0 = 0, x rem 0 = 0,
# MIN quot -1 = MIN); shl, shr (arithmetic when signed) and lshr (logical) take counts in [0, bits); min and max give NaN
# when either side is NaN; round is to nearest even; float-to-int cast truncates, saturates, and sends NaN to 0.
WORDS: dict[str, int] = (
    dict.fromkeys("neg abs not sqrt floor ceil round trunc isnan isinf cast bitcast".split(), 1)
    | dict.fromkeys("exp expm1 log log1p sin cos tan asin acos atan sinh cosh tanh erf rsqrt sign".split(), 1)
    | dict.fromkeys("add sub mul div quot rem min max and or xor shl shr lshr pow atan2 mod floordiv scalb".split(), 2)
    | dict.fromkeys(COMPARISONS, 2)
    | {"fma": 3, "select": 3}
)


def call(word: str, *args: Expr, dtype: DType | None = None) -> Expr:
    """`word(*args)`. `dtype` is needed by cast and bitcast only. A select, a cast or a condition that changes nothing is
    dropped."""
    assert WORDS[word] == len(args), f"{word} takes {WORDS[word]} arguments, got {len(args)}"
    if word in ("cast", "bitcast"):
        assert dtype is not None, f"{word} needs a dtype"
        if args[0].dtype is dtype:
            return args[0]
    elif word in PREDICATES:
        dtype = bool_
    else:
        dtype = args[-1].dtype
    if word in ("and", "or") and dtype is bool_:
        for known, other in (args, args[::-1]):
            if isinstance(known, Const):
                return other if known.value is (word == "and") else known
    if word == "select":
        if isinstance(args[0], Const):
            return args[1] if args[0].value else args[2]
        if args[1] is args[2] or (_is_zero_unless(args[0], args[1]) and args[2] is const(0, args[2].dtype)):
            return args[1]
    found: Expr = _intern(Call, dtype, word=word, args=args)
    return found


def _is_zero_unless(condition: Expr, value: Expr) -> bool:
    """Whether the value is a load that gives 0 where the condition is false."""
    return isinstance(value, Load) and value.guard is condition


def cast(value: Expr, dtype: DType) -> Expr:
    return call("cast", value, dtype=dtype)


def select(condition: Expr, yes: Expr | float, no: Expr | float) -> Expr:
    """`yes` where condition, else `no`; one of the two may be a number."""
    dtype = yes.dtype if isinstance(yes, Expr) else no.dtype  # type: ignore[union-attr]
    return call("select", condition, lift(yes, dtype), lift(no, dtype))


# ---------------------------------------------------------------------------------------------------------------- indices


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
        atoms, offset = linear(index)
        constant += offset * factor
        for atom, coefficient in atoms.items():
            terms[atom] = terms.get(atom, 0) + coefficient * factor
    return _affine(*_rejoin(terms, constant))


def _rejoin(terms: dict[Expr, int], constant: int) -> tuple[dict[Expr, int], int]:
    """c * (x // c) + x % c  ->  x, until there is none."""
    for atom, factor in terms.items():
        if factor and isinstance(atom, Mod):
            quotient = atom.index // atom.divisor
            if terms.get(quotient) == factor * atom.divisor:
                inner, offset = linear(atom.index)
                rest = {part: c for part, c in terms.items() if part is not atom and part is not quotient}
                for part, coefficient in inner.items():
                    rest[part] = rest.get(part, 0) + factor * coefficient
                return _rejoin(rest, constant + factor * offset)
    return terms, constant


def _bounds(value: Expr) -> tuple[int, int]:
    return (value.low, value.high) if isinstance(value, Index) else value.bounds if isinstance(value, Temp) else _UNBOUNDED


def _affine(terms: dict[Expr, int], constant: int) -> Index:
    kept = tuple((atom, factor) for atom, factor in terms.items() if factor and _bounds(atom) != (0, 0))
    if constant == 0 and len(kept) == 1 and kept[0][1] == 1 and isinstance(kept[0][0], Index):
        return kept[0][0]
    low = high = constant
    for atom, factor in kept:
        a, b = (factor * bound for bound in _bounds(atom))
        low, high = low + min(a, b), high + max(a, b)
    kept = tuple(sorted(kept, key=lambda term: -abs(term[1])))
    key = (Affine, frozenset(kept), constant)  # the order of equal coefficients is no part of the identity
    found = _interned.get(key)
    if not isinstance(found, Affine):
        found = object.__new__(Affine)
        found.dtype, found.terms, found.constant, found.low, found.high = int64, kept, constant, low, high
        _interned[key] = found
    return found


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
        inner = _intern(Div, int64, index=remainder, divisor=divisor, low=low, high=high)
    return quotient + inner, _intern(Mod, int64, index=remainder, divisor=divisor, low=0, high=divisor - 1)


def _coarse(terms: dict[Expr, int], constant: int, divisor: int) -> tuple[int, Index, Index] | None:
    """(g, a, r) with g * a + r the sum, where g > 1 divides the divisor and 0 <= r < g; None where there is no such g."""
    ordered = sorted(terms.items(), key=lambda term: abs(term[1]))
    for count in range(len(ordered)):
        large = ordered[count:]
        step = gcd(divisor, *(factor for _, factor in large))
        small = _affine(dict(ordered[:count]), constant % step)
        if step > 1 and 0 <= small.low and small.high < step:
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
