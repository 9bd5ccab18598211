"""Clusters: values that one kernel computes together.

In: values, and where each of them reads leaves. Out: what a cluster is made of, reads, and may do: its members are `full`
(shape of the domain) or `row` (the axes that its reductions keep), and read each other only at the very index that is
being computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from graphc.ir.expr import ravel
from graphc.ir.op import Blocked, Contraction, Reduction
from graphc.ir.values import Value

from .element import Position, Read, crossed, is_heavy, positions, spread, squeezed, variables

LOOPS, CONTRACTION, BLOCKS, OPAQUE, BORDER = "loops", "contraction", "blocks", "opaque", "border"
FULL, ROW = "full", "row"
HEAVY = 6  # what a heavy member weighs; others weigh 1
MAX_WEIGHT = 128  # of one cluster: bounds the size of one kernel
MUCH = 1 << 12  # elements that are better transposed into memory than gathered


@dataclass(eq=False, repr=False)
class Cluster:
    """Values computed by one kernel. `axes` are the reduced axes of `domain` (None: no reduction yet); `prologues` of a
    contraction make the leaves of its operands."""

    kind: str
    number: int
    domain: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    members: list[Value] = field(default_factory=list)
    reads: dict[Value, list[Read]] = field(default_factory=dict)  # member -> leaves it reads
    prologues: dict[Value, Cluster] = field(default_factory=dict)  # the leaf of an operand -> what computes it

    def __repr__(self) -> str:
        return f"<{self.kind} {self.number}: {', '.join(v.op.name for v in self.members)}>"

    @property
    def anchor(self) -> Value:
        return self.members[0]

    @property
    def is_map(self) -> bool:
        """Whether all members are computed index by index and nothing else."""
        return self.kind == LOOPS and self.axes is None

    @property
    def sources(self) -> set[Value]:
        """Every leaf that the members and prologues read, also of each other."""
        reads = {leaf for rs in self.reads.values() for leaf, _, _ in rs}
        return reads.union(*(prologue.sources for prologue in self.prologues.values()))

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(n for i, n in enumerate(self.domain) if i not in (self.axes or ()))

    def role(self, value: Value) -> str:
        """Whether a member spans the domain or its kept axes only."""
        if isinstance(value.op.lower, Reduction) or (self.axes and squeezed(value.shape) != squeezed(self.domain)):
            return ROW
        return FULL

    @property
    def weight(self) -> int:
        """How much code the members make."""
        return sum(HEAVY if is_heavy(v) else 1 for v in self.members)

    def named(self) -> list[Value]:
        """Members worth a name: heavy ones, and those that several others read."""
        readers = Counter(leaf for reads in self.reads.values() for leaf in {leaf for leaf, _, _ in reads})
        return [v for v in self.members if is_heavy(v) or readers[v] > 1]

    def row_part(self, index: Position) -> Position:
        """The part of an index of the domain that rows keep, dimensions of one element left out."""
        reduced = self.axes or ()
        return tuple(i for axis, i in enumerate(index) if axis not in reduced and self.domain[axis] != 1)

    @property
    def inside(self) -> set[Value]:
        """What the kernel computes for itself: members, and those of its prologues."""
        return set(self.reads).union(*(prologue.reads for prologue in self.prologues.values()))

    def may_read(self, readers: Mapping[Value, list[Read]], leaves: Collection[Value]) -> bool:
        """Whether members with these reads may read these members: at the index being computed, and one that is not
        computed index by index none."""
        for member, reads in readers.items():
            inside = [read for read in reads if read[0] in leaves]
            if not inside:
                continue
            if isinstance(member.op.lower, Contraction | Blocked):
                return False
            if not aligned(inside, self, FULL if isinstance(member.op.lower, Reduction) else self.role(member)):
                return False
        return True


def aligned(reads: list[Read], cluster: Cluster, role: str) -> bool:
    """Whether all reads of members are at the index being computed (rows: at its kept part)."""
    for leaf, at, guard in reads:
        if leaf in cluster.reads and (guard is not None or at != _expected(leaf, cluster, role)):
            return False
    return True


def _expected(leaf: Value, cluster: Cluster, role: str) -> Position | None:
    """Where a member that spans the domain, or its kept part, may read another one."""
    if cluster.role(leaf) == ROW:
        row = cluster.row_part(positions(cluster.domain)) if role == FULL else variables(squeezed(cluster.rows))
        return spread(row, leaf.shape)
    return positions(leaf.shape) if role == FULL else None


def gathers(members: Mapping[Value, list[Read]]) -> bool:
    """Whether lanes would gather much of what members read that are computed index by index. A map transposes it; a reduction
    or a contraction cannot."""
    for member, reads in members.items():
        if isinstance(member.op.lower, Contraction | Blocked):
            continue
        shape = member.operands[0].shape if isinstance(member.op.lower, Reduction) else member.shape
        if any(leaf.type.size >= MUCH and _lies_across(leaf.shape, at, shape) for leaf, at, _ in reads):
            return True
    return False


@lru_cache(maxsize=4096)
def _lies_across(leaf: tuple[int, ...], at: Position, shape: tuple[int, ...]) -> bool:
    return at != positions(leaf) and crossed(ravel(at, leaf), shape) is not None
