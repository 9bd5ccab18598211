"""Indices while a kernel is emitted: sums of registers, of constants for each lane, and of what is neither.

In: an `Index` and what its variables are bound to. Out: a `Position`, from which addresses and vectors are made. Constants
are added up here, so unrolled code gets constant offsets; quotients that all lanes share stay scalar, and those that differ
by constants are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

from graphc.dtype import int64
from graphc.ir.expr import Affine, Const, Div, Expr, Index, Mod, Temp, Var

from . import types
from .builder import Builder, Value


@dataclass(frozen=True, slots=True)
class Position:
    """constant + sum(register * factor) + lane * (the lane's number) + rest.

    `steps` has a number for each lane, in the place of multiples of the lane's number, where lanes do not lie evenly. `rest` is
    a vector register with the bits of its elements, or None.
    """

    constant: int = 0
    terms: tuple[tuple[str, int], ...] = ()
    lane: int = 0
    rest: tuple[str, int] | None = None
    steps: tuple[int, ...] = ()

    @property
    def is_constant(self) -> bool:
        return not self.terms and not self.varies

    @property
    def varies(self) -> bool:
        """Whether lanes differ."""
        return self.lane != 0 or self.rest is not None or bool(self.steps)

    def across(self, lanes: int) -> tuple[int, ...]:
        """What is added for each lane, but for the constant and `rest`."""
        return self.steps or tuple(range(0, self.lane * lanes, self.lane) if self.lane else (0,) * lanes)

    def numbers(self, lanes: int) -> tuple[int, ...] | None:
        """The position in each lane, where all are constants."""
        return None if self.terms or self.rest else tuple(self.constant + step for step in self.across(lanes))

    def plus(self, factor: int, lane: int = 0) -> Position:
        """`factor` times the position (which has no `rest`), plus `lane` per lane."""
        assert self.rest is None
        terms = tuple((name, f * factor) for name, f in self.terms)
        steps = tuple(step * factor + lane * i for i, step in enumerate(self.steps))
        return Position(self.constant * factor, terms, 0 if steps else self.lane * factor + lane, steps=steps)


def fits(index: Index) -> bool:
    """Whether 32 bits hold every value of the index."""
    return index.low >= -(2**31) and index.high < 2**31


def _stays_narrow(terms: tuple[tuple[Expr, int], ...], constant: int) -> bool:
    """Whether 32 bits hold every part of the sum, in any order."""
    return abs(constant) + sum(abs(factor) * _reach(atom) for atom, factor in terms) < 2**31


def _reach(atom: Expr) -> int:
    """The greatest size of an atom's value."""
    low, high = (atom.low, atom.high) if isinstance(atom, Index) else atom.bounds if isinstance(atom, Temp) else (0, 2**63)
    return max(abs(low), abs(high))


@dataclass
class Indexer:
    """Turns indices into positions. `bound` says what loop variables are; `data` evaluates any other int64 expression."""

    b: Builder
    bound: dict[Var, Position]
    lanes: int
    data: Callable[[Expr], Value]
    memo: dict[Expr, Position]

    def position(self, index: Expr) -> Position:
        found = self.memo.get(index)
        if found is None:
            found = self.memo[index] = self._position(index)
        return found

    def _position(self, index: Expr) -> Position:
        match index:
            case Var():
                return self.bound[index]
            case Const(value=number):
                return Position(int(number))
            case Affine(terms=terms, constant=constant):
                return self._sum(terms, constant)
            case Div(index=inner, divisor=divisor) | Mod(index=inner, divisor=divisor):
                return self._divide(inner, divisor, isinstance(index, Div))
        value = self.data(index)
        if value.known is not None:
            return Position(int(value.known))
        return Position(0, ((value.text, 1),)) if value.lanes == 1 else Position(rest=(value.text, 64))

    def _sum(self, parts: tuple[tuple[Expr, int], ...], start: int) -> Position:
        terms: dict[str, int] = {}
        constant, lane, rest, bits = start, 0, None, 0
        uneven: list[tuple[int, ...]] = []
        for atom, factor in parts:
            p = self.position(atom)
            constant += p.constant * factor
            lane += p.lane * factor
            if p.steps:
                uneven.append(tuple(step * factor for step in p.steps))
            for name, f in p.terms:
                terms[name] = terms.get(name, 0) + f * factor
            if p.rest is not None:
                bits = bits or (32 if _stays_narrow(parts, start) else 64)
                rest = self._add(rest, self._scale(self._resize(p.rest, bits), factor, bits), bits)
        kept = tuple((name, f) for name, f in terms.items() if f)
        p = Position(constant, kept, lane, None if rest is None else (rest, bits))
        return replace(p, **self._stepping(map(sum, zip(p.across(self.lanes), *uneven, strict=True)))) if uneven else p

    def _stepping(self, numbers: Iterable[int]) -> dict[str, Any]:
        """Numbers of lanes as the lane and the steps of a position."""
        steps = tuple(numbers)
        lane = steps[1] - steps[0] if len(steps) > 1 else 0
        even = steps == Position(lane=lane).across(self.lanes)
        return {"lane": lane, "steps": ()} if even else {"lane": 0, "steps": steps}

    def _add(self, x: str | None, y: str, bits: int) -> str:
        return y if x is None else self.b.op(f"add {types.vector(f'i{bits}', self.lanes)} {x}, {y}")

    def _scale(self, vector: str, factor: int, bits: int) -> str:
        if factor == 1:
            return vector
        scalar = f"i{bits}"
        return self.b.op(f"mul {types.vector(scalar, self.lanes)} {vector}, {types.splat(str(factor), scalar, self.lanes)}")

    def _resize(self, rest: tuple[str, int], bits: int) -> str:
        vector, found = rest
        if found == bits:
            return vector
        word = "trunc" if bits < found else "sext"
        source, target = (types.vector(f"i{n}", self.lanes) for n in (found, bits))
        return self.b.op(f"{word} {source} {vector} to {target}")

    def _divide(self, inner: Index, divisor: int, quotient: bool) -> Position:
        """x // divisor or x % divisor, rounding down."""
        p = self.position(inner)
        if p.rest is None:
            split = self._whole_division(p, divisor, inner.low >= 0, quotient)
            if split is not None:
                return split
        if not p.varies:
            return Position(0, ((self._floor(self.scalar(p), "i64", divisor, inner.low >= 0, quotient), 1),))
        bits = 32 if fits(inner) else 64
        result = self._floor(self.vector(p, bits), types.vector(f"i{bits}", self.lanes), divisor, inner.low >= 0, quotient)
        return Position(rest=(result, bits))

    def _whole_division(self, p: Position, divisor: int, positive: bool, quotient: bool) -> Position | None:
        """Where all registers count in multiples of the divisor: constants for each lane. Where they count in steps that divide
        it and no lane crosses a step: lane 0 decides."""
        if all(f % divisor == 0 for _, f in p.terms):
            parts = [divmod(p.constant + step, divisor) for step in p.across(self.lanes)]
            numbers = [whole if quotient else rest for whole, rest in parts]
            terms = tuple((name, f // divisor) for name, f in p.terms) if quotient else ()
            return replace(Position(numbers[0], terms), **self._stepping(n - numbers[0] for n in numbers))
        step = gcd(divisor, *(f for _, f in p.terms))
        first = p.constant % step
        if p.steps or not 0 <= first + min(0, p.lane * (self.lanes - 1)) <= first + max(0, p.lane * (self.lanes - 1)) < step:
            return None
        if p.lane == 0:
            return None
        result = self._floor(self.scalar(Position(p.constant, p.terms)), "i64", divisor, positive, quotient)
        return Position(0, ((result, 1),), 0 if quotient else p.lane)

    def _floor(self, x: str, kind: str, divisor: int, positive: bool, quotient: bool) -> str:
        """Floor division by a positive constant; a shift or mask where it is a power of two."""
        scalar = "i32" if "i32" in kind else "i64"
        op = self.b.early if kind == "i64" else self.b.op

        def k(number: int) -> str:
            return str(number) if kind == scalar else f"splat ({scalar} {number})"

        if divisor & (divisor - 1) == 0:
            if quotient:
                return op(f"ashr {kind} {x}, {k(divisor.bit_length() - 1)}")
            return op(f"and {kind} {x}, {k(divisor - 1)}")
        if positive:
            return op(f"{'udiv' if quotient else 'urem'} {kind} {x}, {k(divisor)}")
        bits = "i1" if kind == scalar else kind.replace(scalar, "i1")
        remainder = op(f"srem {kind} {x}, {k(divisor)}")
        below = op(f"icmp slt {kind} {remainder}, {k(0)}")
        if quotient:
            down = op(f"sext {bits} {below} to {kind}")
            return op(f"add {kind} {op(f'sdiv {kind} {x}, {k(divisor)}')}, {down}")
        lifted = op(f"add {kind} {remainder}, {k(divisor)}")
        return op(f"select {bits} {below}, {kind} {lifted}, {kind} {remainder}")

    def scalar(self, p: Position, constant: bool = True) -> str:
        """The i64 of lane 0 without `rest`; `constant=False` leaves the constant out. What inner loops do not change is added
        up first."""
        total = ""
        for name, factor in sorted(p.terms, key=lambda term: self.b.depth(term[0])):
            part = name if factor == 1 else self.b.early(f"mul i64 {name}, {factor}")
            total = part if not total else self.b.early(f"add i64 {total}, {part}")
        if not total:
            return str(p.constant if constant else 0)
        return self.b.early(f"add i64 {total}, {p.constant}") if constant and p.constant else total

    def offsets(self, p: Position) -> tuple[str, int] | None:
        """What varies from lane to lane: `rest` plus a number for each, with its bits."""
        across = p.across(self.lanes)
        if not any(across):
            return p.rest
        bits = p.rest[1] if p.rest is not None else 32 if max(map(abs, across)) < 2**31 else 64
        numbers = types.vector_of([str(number) for number in across], f"i{bits}")
        return (numbers, bits) if p.rest is None else (self._add(p.rest[0], numbers, bits), bits)

    def vector(self, p: Position, bits: int) -> str:
        """The position in every lane, as integers of `bits` bits that hold it."""
        kind = types.vector(f"i{bits}", self.lanes)
        base = self.scalar(p)
        if p.terms and bits == 32:
            base = self.b.op(f"trunc i64 {base} to i32")
        whole = self.b.splat(base, f"i{bits}", self.lanes) if p.terms else types.splat(base, f"i{bits}", self.lanes)
        varying = self.offsets(p)
        if varying is None:
            return whole
        return self.b.op(f"add {kind} {whole}, {self._resize(varying, bits)}")

    def value(self, index: Index) -> Value:
        """The index as data."""
        p = self.position(index)
        if p.is_constant:
            return Value(str(p.constant), int64, 1, p.constant)
        if not p.varies:
            return Value(self.scalar(p), int64)
        return Value(self.vector(p, 64), int64, self.lanes)
