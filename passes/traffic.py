"""What the tiles of a contraction move between caches, one order or another.

In: a schedule whose register tile is chosen, and loops over its tiles. Out: cycles in which operands and results come into the
first cache, estimated from footprints: the bytes that a part of each axis touches of an array.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod

from .machine import Machine
from .tiles import BEYOND_L1, ELEMENT_BYTES, LINE_BYTES, RESULT, STAYING, Loop, Schedule, moves, span_of

AHEAD = 0.15  # of the time of vectors from the second cache that is seen: they are fetched before they are needed
KEPT = 0.75  # of a cache that one operand may fill and stay, beside what passes by
EXPOSED = 0.25  # of the lesser one of arithmetic and traffic that does not hide behind the other

Walk = Sequence[tuple[int, int]]  # loops, slowest first: an axis, and how much of it has been covered when the loop ends
Extents = dict[int, int]  # by axis


def beside(arithmetic: float, moved: float) -> float:
    """The cycles of both side by side."""
    return max(arithmetic, moved) + EXPOSED * min(arithmetic, moved)


@dataclass(frozen=True)
class Tiles:
    """A contraction in tiles that are as yet in no order. `results`: how many arrays are read and written at the place of a
    result."""

    loops: tuple[Loop, ...]
    schedule: Schedule
    machine: Machine
    results: int

    def walk(self, order: tuple[int, ...]) -> Walk:
        """Loops over all of some axes."""
        return [(axis, self.loops[axis].extent) for axis in order]

    def traffic(self, walk: Walk) -> float:
        """Cycles to bring operands and results into the first cache again, after the first time: what one step of a loop
        touches is still there in the next if it fits, and comes again if not. In the second cache vectors lie beside those of
        the next tile, unless they are all that there are."""
        cycles = -self.once
        for side, count, ahead in self.arrays:
            share = STAYING if ahead else KEPT
            for size, next_too, cost in ((self.l2, ahead, 1 / self.machine.beyond_l2), (self.machine.l1, False, _near(ahead))):
                inside = dict(self.tile)
                moved = touched = self.footprint(inside, side)
                for axis, covered in reversed(walk):
                    steps, inside[axis] = ceil(covered / inside[axis]), covered
                    before, touched = touched, self.footprint(inside, side)
                    held = before + min(before, self.sizes[side] - before) if next_too else before
                    moved *= touched / max(before, 1) if held <= size * share else steps
                cycles += count * moved * cost
        return cycles

    @cached_property
    def once(self) -> float:
        """Cycles to bring everything from memory once, which no order avoids. Panels may repeat what is there once."""
        cycles = 0.0
        for side, count, ahead in self.arrays:
            moved = min(self.sizes[side], span_of(self.loops, side) * ELEMENT_BYTES)
            cycles += count * moved * (1 / self.machine.beyond_l2 + _near(ahead))
        return cycles

    @cached_property
    def arrays(self) -> tuple[tuple[int, int, bool], ...]:
        """Operands and result: how many arrays are walked like each; whether it comes ahead, in vectors beside broadcasts."""
        lhs, rhs = (moves(self.loops[self.schedule.lane], side) != 0 for side in (0, 1))
        return (0, 1, lhs > rhs), (1, 1, rhs > lhs), (RESULT, self.results, False)

    @property
    def l2(self) -> int:
        return self.machine.l2

    @cached_property
    def whole(self) -> Extents:
        return {n: loop.extent for n, loop in enumerate(self.loops)}

    @cached_property
    def sizes(self) -> list[float]:
        """Bytes of all of the operands and of a result."""
        return [self.footprint(self.whole, side) for side in (0, 1, RESULT)]

    @cached_property
    def reduced(self) -> Extents:
        return {n: loop.extent for n, loop in enumerate(self.loops) if loop.reduced}

    @cached_property
    def tile(self) -> Extents:
        """What one tile covers, with all of the reduced axes."""
        return {n: loop.extent if loop.reduced else self.schedule.tile_of(n) for n, loop in enumerate(self.loops)}

    @cached_property
    def tiled(self) -> tuple[int, ...]:
        """The axes that a tile runs along, its lanes first."""
        return self.schedule.lane, *dict(self.schedule.tile)

    def tiles(self, axis: int) -> int:
        return self.schedule.tiles(self.loops, axis)

    def tasks(self, axes: Iterable[int], sizes: dict[int, int]) -> int:
        """Groups of so many tiles along some axes."""
        return prod(ceil(self.tiles(n) / sizes.get(n, 1)) for n in axes)

    def covered(self, sizes: dict[int, int]) -> Extents:
        """What a group of so many tiles covers of the kept axes."""
        return {n: min(size * self.tile[n], self.loops[n].extent) for n, size in sizes.items()}

    def part(self, block: tuple[int, int]) -> Extents:
        """What one visit covers of the reduced axes."""
        return self.schedule.visit(self.loops, block)

    def operands(self, extents: Extents) -> float:
        """Bytes of both operands that these parts of the axes touch."""
        return self.footprint(extents, 0) + self.footprint(extents, 1)

    def footprint(self, extents: Extents, side: int) -> float:
        """Bytes that these parts of the axes touch of an array: in panels its elements, where it lies whole lines."""
        if side in self.schedule.packed:
            return prod(extents.get(axis, 1) for _, axis in self.strides[side]) * ELEMENT_BYTES
        run = rows = span = 1
        for stride, axis in self.strides[side]:
            extent = extents.get(axis, 1)
            if stride <= run:
                run += (extent - 1) * stride
            else:
                rows *= extent
            span += (extent - 1) * stride
        return min(rows * max(run, LINE_BYTES // ELEMENT_BYTES), span) * ELEMENT_BYTES

    @cached_property
    def strides(self) -> list[list[tuple[int, int]]]:
        """For operands and result the strides of the axes that move them, and these axes, by rising stride."""
        moved = [[(abs(moves(loop, side)), n) for n, loop in enumerate(self.loops)] for side in (0, 1, RESULT)]
        return [sorted(pair for pair in pairs if pair[0]) for pairs in moved]


def _near(ahead: bool) -> float:
    """Cycles that are seen of a byte from the second cache."""
    return (AHEAD if ahead else 1) / BEYOND_L1
