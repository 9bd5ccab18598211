"""Expressions to C++ text, one statement at a time.

In: expressions of the Kernel IR, and what names and arrays are called. Out: `Text`s, and lines that name what a statement
uses twice or what would be too long to read. Indices are `int` where 32 bits hold every part of them, else int64_t. Loads
whose guard is false touch nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from graphc.dtype import bool_, int32, int64
from graphc.ir.expr import COMPARISONS, Affine, Array, Call, Const, Div, Expr, Index, Load, Mod, Temp, Var, linear
from graphc.ir.kernel import operands

from .. import abi
from . import types, words
from .words import ATOM, OTHER, PRODUCT, SUM, Text

LONG = 90  # characters from which an expression is given a name
_INT = 2**31
_STEMS = {"f": "f", "i": "i", "u": "i", "b": "is"}  # names of values, by kind of dtype


def is_narrow(expr: Expr) -> bool:
    """Whether an index is computed in 32 bits: every part of its sum fits, in any order."""
    match expr:
        case Var(extent=extent):
            return extent < _INT
        case Temp(bounds=(low, high)):
            return low >= -_INT and high < _INT
        case Affine(terms=terms, constant=constant):
            return abs(constant) + sum(abs(factor) * _reach(atom) for atom, factor in terms) < _INT
        case Div(index=inner, divisor=divisor) | Mod(index=inner, divisor=divisor):
            return is_narrow(inner) and divisor < _INT
    return False


def _reach(atom: Expr) -> int:
    low, high = (atom.low, atom.high) if isinstance(atom, Index) else atom.bounds if isinstance(atom, Temp) else (0, 2**63)
    return max(abs(low), abs(high))


@dataclass
class Names:
    """C++ identifiers of one function, each given once."""

    taken: set[str] = field(default_factory=set)

    def fresh(self, wanted: str) -> str:
        """An identifier like `wanted` that is not in use."""
        plain = re.sub(r"_+", "_", abi.c_identifier(wanted)).strip("_") or "x"
        plain = plain if plain[0].isalpha() and plain not in words.RESERVED else f"v_{plain}"
        name, count = plain, 2
        while name in self.taken:
            name, count = f"{plain}_{count}", count + 1
        self.taken.add(name)
        return name


@dataclass
class Scope:
    """What names mean where a statement stands. `put` writes a line; `element` gives the text of an array's element."""

    put: Callable[[str], None]
    element: Callable[[Array, Index], str]
    names: Names
    bound: dict[Expr, str] = field(default_factory=dict)  # loop variables and temporaries
    packets: dict[Expr, Text] = field(default_factory=dict)  # loads that were made 16 bytes at a time
    renumbered: Container[Array] = ()  # arrays of which `element` computes the index anew

    def value(self, expr: Expr) -> Text:
        """One expression."""
        return self.values((expr,))[0]

    def values(self, exprs: Iterable[Expr]) -> list[Text]:
        """The expressions of one statement; what they share is computed once, in lines before it."""
        wanted = list(exprs)
        self._texts: dict[Expr, Text] = {}
        uses = _uses(wanted, self.packets, self.renumbered)
        for expr in uses:
            text = self._index(expr) if isinstance(expr, Index) else self._value(expr)
            self._texts[expr] = self._named(expr, text) if _worth_naming(expr, text, uses[expr]) else text
        return [self._as_data(expr) for expr in wanted]

    def position(self, index: Index) -> str:
        """An index that is all of a statement's expressions, as text for brackets."""
        self.values((index,))
        return self.index(index)

    def index(self, index: Index) -> str:
        """An index alone, as text for brackets. It must be an operand of the statement's expressions, or simple."""
        found = self._texts.get(index)
        if found is None:
            for part in _uses([index], self.packets, self.renumbered):
                if part not in self._texts:
                    self._texts[part] = self._index(part) if isinstance(part, Index) else self._value(part)
            found = self._texts[index]
        return found.text

    def _named(self, expr: Expr, text: Text) -> Text:
        index = isinstance(expr, Index)
        name = self.names.fresh("at" if index else _STEMS[expr.dtype.kind])
        kind = ("int" if is_narrow(expr) else "int64_t") if index else types.register(expr.dtype)
        self.put(f"const {kind} {name} = {text.text};")
        return Text(name, text.dtype)

    # ------------------------------------------------------------------------------------------------------------- values

    def _value(self, expr: Expr) -> Text:
        match expr:
            case Const(value=value, dtype=dtype):
                text = types.number(value, dtype)
                return Text(text, dtype, PRODUCT if text.startswith("-") else ATOM)
            case Temp(dtype=dtype):
                return Text(self.bound[expr], int32 if dtype is int64 and is_narrow(expr) else dtype)
            case Load():
                return self._load(expr)
            case Call(word="cast", args=(arg,), dtype=dtype):
                return words.convert(self._texts[arg], dtype)
            case Call(word=word, args=args) if word in COMPARISONS and all(self._texts[a].dtype is int32 for a in args):
                return words.speak(word, bool_, tuple(self._texts[arg] for arg in args))
            case Call(word=word, args=args):
                return words.speak(word, expr.dtype, tuple(self._as_data(arg) for arg in args))
        raise AssertionError(f"no such expression: {type(expr).__name__}")

    def _as_data(self, expr: Expr) -> Text:
        """The text in the register type of the expression's dtype: narrow indices become int64_t."""
        text = self._texts[expr]
        return text if text.dtype is expr.dtype else words.convert(text, expr.dtype)

    def _load(self, expr: Load) -> Text:
        if expr in self.packets:
            return self.packets[expr]
        text = self.element(expr.array, expr.index)  # type: ignore[arg-type]
        dtype = expr.dtype
        if expr.guard is None:
            return Text(f"{text} != 0", dtype, OTHER) if dtype.is_bool else Text(text, dtype)
        zero = types.number(0, dtype)
        read = f"{text} != 0" if dtype.is_bool else f"{types.register(dtype)}({text})"
        return Text(f"{self._texts[expr.guard]} ? {read} : {zero}", dtype, OTHER)

    # ------------------------------------------------------------------------------------------------------------ indices

    def _index(self, index: Index) -> Text:
        """The index as int (said by dtype int32) or int64_t."""
        narrow = is_narrow(index)
        dtype = int32 if narrow else int64
        match index:
            case Var():
                return Text(self.bound[index], dtype)
            case Div(index=inner, divisor=divisor) | Mod(index=inner, divisor=divisor):
                quotient = isinstance(index, Div)
                if inner.low >= 0:
                    return Text(f"{self._part(inner, narrow).at(PRODUCT)} {'/' if quotient else '%'} {divisor}", dtype, PRODUCT)
                kind = "int" if narrow else "int64_t"
                function = "floor_div" if quotient else "floor_mod"
                return Text(f"{function}<{kind}>({self._part(inner, narrow).text}, {divisor})", dtype)
            case Affine(terms=terms, constant=constant):
                return self._sum(terms, constant, narrow)
        raise AssertionError(f"no such index: {type(index).__name__}")

    def _part(self, atom: Expr, narrow: bool) -> Text:
        text = self._texts[atom]
        if (text.dtype is int32) == narrow:
            return text
        return Text(f"{'int' if narrow else 'int64_t'}({text.text})", int32 if narrow else int64)

    def _sum(self, terms: tuple[tuple[Expr, int], ...], constant: int, narrow: bool) -> Text:
        result = ""
        for atom, factor in terms:
            part = self._part(atom, narrow)
            if part.text == "0":
                continue
            size = part.at(SUM if not result else PRODUCT) if abs(factor) == 1 else f"{part.at(PRODUCT)} * {abs(factor)}"
            if result:
                result += f" {'-' if factor < 0 else '+'} {size}"
            elif factor < 0:
                result = f"-{part.at(ATOM)}" if factor == -1 else f"-{size}"
            else:
                result = size
        if constant or not result:
            result = f"{result} {'-' if constant < 0 else '+'} {abs(constant)}" if result else str(constant)
        level = ATOM if result.isalnum() else PRODUCT if len(terms) == 1 and not constant else SUM
        return Text(result, int32 if narrow else int64, level)


def below(expr: Expr) -> list[Expr]:
    """The expression and all its parts, operands first, each once."""
    return list(_uses([expr]))


def is_injective(index: Index, axes: Iterable[Var]) -> bool:
    """Whether different positions along the axes have different indices, whatever else the index is made of: it counts
    each axis further than all smaller steps together reach, and no part hides one of them."""
    terms, _ = linear(index)
    steps = sorted((abs(terms.get(axis, 0)), axis.extent) for axis in axes)
    reach = 0
    for step, extent in steps:
        if step <= reach:
            return False
        reach += step * (extent - 1)
    return not any(axis in below(atom) for atom in terms for axis in axes if atom is not axis)


def _uses(roots: list[Expr], leaves: Container[Expr] = (), renumbered: Container[Array] = ()) -> dict[Expr, int]:
    """Every expression below the roots (but leaves and indices of renumbered arrays), operands first, with the number of its
    users."""
    uses: dict[Expr, int] = {}

    def parts(expr: Expr) -> tuple[Expr, ...]:
        if isinstance(expr, Load) and expr.array in renumbered:
            return () if expr.guard is None else (expr.guard,)
        return () if expr in leaves else operands(expr)

    for root in roots:
        todo: list[tuple[Expr, bool]] = [(root, False)]
        while todo:
            expr, ready = todo.pop()
            if ready:
                uses.setdefault(expr, 0)
            elif expr not in uses:
                todo.append((expr, True))
                todo += [(part, False) for part in reversed(parts(expr))]
    for expr in uses:
        for part in parts(expr):
            uses[part] += 1
    for root in roots:
        uses[root] += 1
    return uses


def _worth_naming(expr: Expr, text: Text, users: int) -> bool:
    if isinstance(expr, Const | Temp | Var):
        return False
    if len(text.text) > LONG:
        return True
    return users > 1 and not (isinstance(expr, Affine) and len(text.text) < LONG // 3)
