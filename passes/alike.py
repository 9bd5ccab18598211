"""Clusters that are alike, of which the same kernels do for all: layers of a kind, steps that were unrolled.

In: a cluster, and where values lie in memory. Out: its `Likeness`: all that its kernels depend on, with values and buffers by
number, so that it is equal for clusters whose kernels differ in nothing but names; and the buffers that these numbers stand
for. What a scheduler decides, and panels that contractions share, do not belong to it.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphc.ir.kernel import ARENA, CONSTANT, INPUT, Buffer, Launch
from graphc.ir.values import Value, splat, told_apart

from .cluster import CONTRACTION, Cluster
from .element import storage
from .inset import Insets
from .schedule import Problem
from .tiles import Schedule


@dataclass(frozen=True)
class Likeness:
    key: Hashable
    buffers: tuple[Buffer, ...]


@dataclass(frozen=True)
class Lowered:
    """What a cluster with these buffers became, with the schedules that were `chosen`."""

    buffers: tuple[Buffer, ...]
    launches: Sequence[Launch]
    chosen: Sequence[tuple[Problem, Schedule]]

    def over(self, buffers: tuple[Buffer, ...]) -> list[Launch]:
        """The launches of a cluster that is like it: over its buffers, and others for what lies between the launches."""
        places = dict(zip(self.buffers, buffers, strict=True))
        for buffer in (buffer for launch in self.launches for buffer in launch.args if buffer not in places):
            places[buffer] = replace(buffer) if buffer.kind == ARENA else buffer
        return [replace(launch, args=tuple(places[buffer] for buffer in launch.args)) for launch in self.launches]


def likeness(cluster: Cluster, buffers: Mapping[Value, Buffer], insets: Insets) -> Likeness:
    """What there is to say of a cluster whose members are written to memory if they have buffers."""
    saying = _Saying(cluster.inside, buffers, insets, cluster.kind == CONTRACTION)
    prologues = tuple((saying.number(leaf), saying.cluster(prologue)) for leaf, prologue in cluster.prologues.items())
    key = saying.cluster(cluster), prologues, tuple(saying.lines)
    return Likeness(key, tuple(saying.places))


@dataclass
class _Saying:
    """Numbers values and buffers by first use, and says of each what it is. `inside` are values that the cluster computes;
    `given` says whether it matters who gives what it reads: constants are packed by the compiler."""

    inside: Collection[Value]
    buffers: Mapping[Value, Buffer]
    insets: Insets
    given: bool
    numbers: dict[Value, int] = field(default_factory=dict)
    places: dict[Buffer, int] = field(default_factory=dict)
    lines: list[Hashable] = field(default_factory=list)

    def cluster(self, cluster: Cluster) -> Hashable:
        """What it computes, in which order."""
        members = ((self.number(v), tuple(self.number(leaf) for leaf, _, _ in cluster.reads[v])) for v in cluster.members)
        return cluster.kind, cluster.domain, cluster.axes, tuple(members)

    def number(self, value: Value) -> int:
        """The number of a value, of which all has been said that matters."""
        if value not in self.numbers:
            line = value.dtype, value.shape, self._memory(value), self._memory(storage(value)), self._made(value)
            self.numbers[value] = len(self.numbers)
            self.lines.append(line)
        return self.numbers[value]

    def _memory(self, value: Value) -> Hashable:
        """Where a value lies, if it is stored."""
        if value not in self.buffers:
            return None
        buffer, inset = self.buffers[value], self.insets.get(value)
        origin = None if not self.given else buffer if buffer.kind == CONSTANT else buffer.kind == INPUT
        place = self.places.setdefault(buffer, len(self.places))
        return place, buffer.dtype, buffer.size, origin, inset and (inset.low, inset.host.shape)

    def _made(self, value: Value) -> Hashable:
        """How the kernel has a value that it does not read from memory, or that is one number."""
        if value in self.buffers and value not in self.inside:
            return repr(splat(value))
        operands = value.operands[:1] if value.op.name == "after" else value.operands  # it waits for the other one only
        return value.op.name, told_apart(value.attrs), tuple(map(self.number, operands))
