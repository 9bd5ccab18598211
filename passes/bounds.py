"""What a contraction does at the bounds of its operands, where zeros lie around what is in memory.

In: addresses with bounds, the loops, and the schedule. Out: the guards of loads; and loops over products, of which those are
left out that multiply nothing but zeros with constants that are finite. Such a bound is asked as far outside as it is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphc.ir.expr import Expr, Index, Var, all_of, combine, linear
from graphc.ir.kernel import CONSTANT, SERIAL, UNROLLED, Buffer, For, If, Stmt
from graphc.ir.values import Value

from .operand import Address
from .tiles import Loop, Schedule

WORTH_ASKING = 16  # steps, at least, that one question spares


@dataclass(frozen=True)
class Bounds:
    """The bounds of both operands, in the order in which the loops say how they move them."""

    addresses: tuple[Address, Address]
    loops: tuple[Loop, ...]
    schedule: Schedule
    buffers: Mapping[Value, Buffer]

    def guards(self, side: int, at: Mapping[int, Index]) -> list[Expr]:
        """The conditions under which an operand is loaded at the indices of all axes."""
        asked = self._left(at)
        return [asked[number] >= 0 for number in self._of(side) if number not in self._outside]

    def products(self, steps: Sequence[Var], tile: Sequence[Var], at: Mapping[int, Index], product: Stmt) -> tuple[Stmt, ...]:
        """A statement with the products of one row, for all steps and rows of a tile but those that are left out."""
        left = {number: index for number, index in self._left(at).items() if number in self._outside}
        body: tuple[Stmt, ...] = (product,)
        for var, kind in reversed([*((v, SERIAL) for v in steps), *((v, UNROLLED) for v in tile)]):
            known = [number for number, index in left.items() if var in linear(index)[0]]
            body = (For(var, _where(map(left.pop, known), body), kind),)
        return _where(left.values(), body)

    def _of(self, side: int) -> Collection[int]:
        """The numbers of an operand's bounds."""
        lhs, rhs = (len(address.bounds) for address in self.addresses)
        return range(lhs, lhs + rhs) if side else range(lhs)

    def _left(self, at: Mapping[int, Index]) -> dict[int, Index]:
        """By bound, what is not negative inside of it, at the indices of all axes."""
        offsets = [bound.offset for address in self.addresses for bound in address.bounds]
        return {
            number: combine([(at[n], loop.bounds[number]) for n, loop in enumerate(self.loops)]) + offset
            for number, offset in enumerate(offsets)
        }

    @cached_property
    def _outside(self) -> frozenset[int]:
        """The bounds outside of which products are left out: all rows of a tile are on one side of them, or it is known which
        ones are, for many steps in turn. Without vectors they stay with the loads, for targets that have tiles of their own."""
        lane, tile = self.loops[self.schedule.lane], [(self.loops[axis], size) for axis, size in self.schedule.tile]
        last = self.loops[self.schedule.steps[-1]] if self.schedule.steps else None
        if self.schedule.width == 1 or lane.reduced or last is None or last.extent < WORTH_ASKING:
            return frozenset()
        met = (number for side in (0, 1) if self._of(side) and self._is_finite(1 - side) for number in self._of(side))
        uniform = (number for number in met if not lane.bounds[number] and not last.bounds[number])
        return frozenset(n for n in uniform if all(size in (1, loop.extent) for loop, size in tile if loop.bounds[n]))

    def _is_finite(self, side: int) -> bool:
        """Whether an operand is a constant without NaN and infinity."""
        buffer = self.buffers.get(self.addresses[side].leaf)
        if buffer is None or buffer.kind != CONSTANT or buffer.data is None:
            return False
        return bool(np.isfinite(buffer.data).all())


def _where(bounds: Iterable[Index], body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Statements where some indices are not negative."""
    condition = all_of(*(left >= 0 for left in bounds))
    return body if condition is None else (If(condition, body),)
