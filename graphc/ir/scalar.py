"""Scalar expressions, hash-consed: constants, names, loads and words.

In: numbers and expressions. Out: `Expr` objects, one per distinct expression; `call` drops what changes nothing. Words are
named in `WORDS`; what a target cannot say is expanded later. Indices, a kind of expression with an algebra of their own, are
in indices.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from ..dtype import DType, bool_

interned: WeakValueDictionary[tuple[Any, ...], Expr] = WeakValueDictionary()
UNBOUNDED = (-(2**63), 2**63 - 1)  # what is known of an int64


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


def intern(cls: type, dtype: DType, **parts: Any) -> Any:
    """The one object of a class with these parts."""
    key = (cls, dtype, *parts.values())
    found = interned.get(key)
    if found is not None:
        return found
    new: Any = object.__new__(cls)
    new.dtype = dtype
    for name, part in parts.items():
        setattr(new, name, part)
    interned[key] = new
    return new


def const(value: bool | int | float, dtype: DType) -> Const:
    """The constant `value`, which must be representable in `dtype`."""
    value = bool(value) if dtype.is_bool else int(value) if dtype.is_int else float(value)
    key = (Const, dtype, repr(value))
    found = interned.get(key)
    if isinstance(found, Const):
        return found
    new = object.__new__(Const)
    new.dtype, new.value, new.text = dtype, value, repr(value)
    interned[key] = new
    return new


def lift(value: Expr | float, dtype: DType) -> Expr:
    """`value` as an expression of `dtype`."""
    return value if isinstance(value, Expr) else const(value, dtype)


def temp(name: str, dtype: DType, bounds: tuple[int, int] = UNBOUNDED) -> Temp:
    """A fresh name for a `Let`."""
    new = object.__new__(Temp)
    new.name, new.dtype, new.bounds = name, dtype, bounds
    return new


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
# when either side is NaN; ndtr is the normal distribution function, to 2 units in the last place of 1/2; round is to nearest
# even; float-to-int cast truncates, saturates, and sends NaN to 0. Only expansions say scalb, x * 2**n for a whole n, and what
# some targets have: root16, 2**(k / 16) of the four lowest bits k of a float32; n is rounded down there.
WORDS: dict[str, int] = (
    dict.fromkeys("neg abs not sqrt floor ceil round trunc isnan isinf cast bitcast".split(), 1)
    | dict.fromkeys("exp expm1 log log1p sin cos tan asin acos atan sinh cosh tanh erf ndtr rsqrt sign root16".split(), 1)
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
    found: Expr = intern(Call, dtype, word=word, args=args)
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
