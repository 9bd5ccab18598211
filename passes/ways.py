"""How a contraction reads its operands.

In: a contraction cluster, and what is in memory. Out: the cheapest `Way`: where each operand is read, the loops then, and
their schedule. What prologues compute is read from memory or panels that they fill; but where one only surrounds a value
with zeros, the value may be read in place inside of bounds, if these are the same for all lanes: a test before the load
then takes the place of a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphc.ir import kernel
from graphc.ir.kernel import Buffer
from graphc.ir.op import Contraction
from graphc.ir.values import Value

from .axes import loops_of
from .cluster import Cluster
from .inset import Insets
from .machine import Machine
from .operand import Address, bounded_address
from .panels import Common
from .schedule import Problem, Scheduler
from .tiles import CONSTANT, Loop, Origin, Schedule, computed


@dataclass(frozen=True)
class Way:
    addresses: tuple[Address, Address]
    problem: Problem
    schedule: Schedule

    @property
    def loops(self) -> tuple[Loop, ...]:
        return self.problem.loops


@dataclass(frozen=True)
class Ways:
    """The ways to compute a cluster whose members `stored` are written to memory."""

    cluster: Cluster
    stored: Sequence[Value]
    buffers: Mapping[Value, Buffer]
    insets: Insets
    machine: Machine
    common: Common
    scheduler: Scheduler

    def cheapest(self) -> Way:
        """The way that takes the fewest cycles."""
        return min(self._all(), key=lambda way: way.schedule.cost)

    def _all(self) -> Iterator[Way]:
        made = self._address(0, True), self._address(1, True)
        assert made[0] is not None and made[1] is not None, f"an operand of {self.cluster.anchor} has no address"
        yield self._way((made[0], made[1]))
        in_place = self._address(0, False) or made[0], self._address(1, False) or made[1]
        if in_place != made:
            way = self._way(in_place)
            if self._reads_in_place(way):
                yield way

    def _reads_in_place(self, way: Way) -> bool:
        """Whether all lanes have the same bounds, no operand that has them is packed (its prologue fills panels as well), and
        none is overwritten while it is read."""
        schedule, written = way.schedule, {self.buffers[value] for value in self.stored}
        differ = schedule.columns > 1 and any(way.loops[schedule.lane].bounds)
        bounded = [side for side in (0, 1) if way.addresses[side].bounds]
        over = any(self.buffers[way.addresses[side].leaf] in written for side in bounded)
        return not (differ or over or any(side in schedule.packed for side in bounded))

    def _address(self, side: int, made: bool) -> Address | None:
        """Where an operand is read: from memory, or from what its prologue has `made`."""
        anchor, lower, prologues = self.cluster.anchor, self.cluster.anchor.op.lower, self.cluster.prologues
        assert isinstance(lower, Contraction)
        spec, operand = lower.spec(anchor), anchor.operands[side]
        return bounded_address(operand, spec, side, lambda v: v in self.buffers or (made and v in prologues), self.insets)

    def _way(self, addresses: tuple[Address, Address]) -> Way:
        is_leaf = lambda v: v in self.cluster.reads or v in self.buffers  # noqa: E731
        loops = loops_of(self.cluster, addresses, self.stored, self.insets, is_leaf)
        origins = self._origin(0, addresses[0].leaf), self._origin(1, addresses[1].leaf)
        width = self.machine.lanes(self.cluster.anchor.dtype.accumulator)
        problem = Problem(loops, width, self.machine, origins, self._results())
        return Way(addresses, problem, self.scheduler(problem))

    def _origin(self, side: int, leaf: Value) -> Origin:
        """What having the operand costs."""
        anchor, prologue = self.cluster.anchor, self.cluster.prologues.get(leaf)
        if prologue is not None:
            return computed(leaf.type.size, prologue.weight, self.machine.lanes(anchor.dtype.accumulator))
        kind = self.buffers[leaf].kind
        if kind == kernel.CONSTANT:
            return CONSTANT
        return Origin(readers=self.common.count(anchor, side), given=kind == kernel.INPUT)

    def _results(self) -> int:
        """How many arrays the epilogue reads and writes at the place of a result; a new value may take that of an old one."""
        anchor, reads = self.cluster.anchor, self.cluster.reads
        follow = [m for m in self.cluster.members if m is not anchor]
        read = {leaf for m in follow for leaf, _, _ in reads[m] if leaf not in reads}
        return len(self.stored) + sum(leaf.type.size == anchor.type.size for leaf in read)
