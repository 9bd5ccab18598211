"""Kernels that follow one another run slice by slice, so that what they pass on stays in the cache.

In: a function in which every buffer has memory of its own. Out: the same, where runs of launches became one launch:

    S = Q K^T; P = softmax(S); O = P V   over heads   ->   for each head: S = Q K^T; P = softmax(S); O = P V

Its tasks are slices of the tasks of its members, one member after the other. A buffer that nobody else touches becomes
scratch memory of each worker, as large as one slice. Nothing is computed in another order or twice. Slices are found in
the kernels' indices: each launch must touch of every buffer that it shares with another the same part in a slice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import gcd

import networkx as nx

from graphc.ir.expr import Array, Index, Var
from graphc.ir.kernel import ARENA, Buffer, Kernel, KernelFunction, KernelProgram, Launch, Stmt

from .cut import Cut, Moved, Place, Touched, cut, first_access, may_divide
from .machine import Machine

NEAR = 0.25  # of the second cache: what a kernel leaves there for the next one
WORTH = 0.5  # bytes passed on, for each byte that slices move otherwise
KEPT = 1.0  # of the second cache: what a slice may touch and find again
MIN_SLICES = 8  # that leave something to share among threads
IN_FLIGHT = 16  # slices that may run at once; where there are many, a quarter of them


def slice_launches(program: KernelProgram, machine: Machine) -> KernelProgram:
    """Merge launches of every function where it keeps memory near."""
    return replace(program, functions=tuple(_Slices(function, machine).merged() for function in program.functions))


@dataclass(frozen=True)
class _Group:
    members: tuple[int, ...]
    count: int
    private: tuple[Buffer, ...]  # touched by nobody else
    touched: dict[Buffer, int]  # bytes of a slice

    @property
    def passed(self) -> int:
        """Bytes that members pass to each other only."""
        return sum(buffer.nbytes for buffer in self.private)

    @property
    def moved(self) -> int:
        """Bytes that the slices take from memory and bring there; what all of them touch stays near."""
        return sum(min(self.count * n, buffer.nbytes) for buffer, n in self.touched.items() if buffer not in self.private)

    @property
    def freed(self) -> int:
        """Bytes that the arena need not hold."""
        return self.passed - sum(scratch(buffer, self.count).nbytes for buffer in self.private)


class _Slices:
    def __init__(self, function: KernelFunction, machine: Machine) -> None:
        self.function, self.machine, self.launches = function, machine, function.launches
        self.users: defaultdict[Buffer, list[int]] = defaultdict(list)
        for n, launch in enumerate(self.launches):
            for buffer in launch.args:
                self.users[buffer].append(n)
        self.written = [launch.written for launch in self.launches]
        self.bits = {n: 1 << n for n in range(len(self.launches))}  # of what a node of the order stands for
        self.cuts: dict[tuple[Kernel, int], Cut] = {}
        self.first: dict[tuple[int, Buffer], Index | None] = {}
        self.may: dict[tuple[int, Buffer, int], bool] = {}  # divide a buffer so often
        self.numbers: dict[int, Var] = {}  # of slices, by how many there are

    def merged(self) -> KernelFunction:
        """The function with its best groups as one launch each."""
        large = [buffer for buffer in self.users if self._is_large(buffer)]
        if not large:
            return self.function
        self.order = self._dependences()
        self._find_paths()
        self.local = dict.fromkeys(b for b in large if len(self.users[b]) > 1 and self._is_convex(self.users[b]))
        groups: list[_Group] = []
        taken: set[int] = set()
        for buffer in self.local:
            group = self._best(buffer, taken)
            if group is not None:
                groups.append(group)
                taken.update(group.members)
                self._contract(group)
        return replace(self.function, launches=self._launches(groups)) if groups else self.function

    def _is_large(self, buffer: Buffer) -> bool:
        return buffer.kind == ARENA and buffer.nbytes >= NEAR * self.machine.l2

    def _dependences(self) -> nx.DiGraph[int]:
        """Which launches must come before which."""
        order: nx.DiGraph[int] = nx.DiGraph()
        order.add_nodes_from(range(len(self.launches)))
        writer: dict[Buffer, int] = {}
        readers: defaultdict[Buffer, list[int]] = defaultdict(list)
        for n, launch in enumerate(self.launches):
            for buffer in launch.args:
                before = [writer[buffer]] if buffer in writer else []
                if buffer in self.written[n]:
                    before += readers.pop(buffer, [])
                    writer[buffer] = n
                else:
                    readers[buffer].append(n)
                order.add_edges_from((m, n) for m in before if m != n)
        return order

    def _find_paths(self) -> None:
        """For each launch (a group: its first) the launches that must come behind it, and before it, as bits."""
        nodes = list(nx.topological_sort(self.order))
        self.after: dict[int, int] = {}
        self.before: dict[int, int] = {}
        for found, line, near in (
            (self.before, nodes, self.order.predecessors),
            (self.after, reversed(nodes), self.order.successors),
        ):
            for n in line:
                found[n] = 0
                for m in near(n):
                    found[n] |= found[m] | self.bits[m]

    # ------------------------------------------------------------------------------------------------ groups

    def _best(self, buffer: Buffer, taken: set[int]) -> _Group | None:
        """The group around all users of a buffer that keeps the most bytes out of memory, in as few slices as that takes."""
        users = self.users[buffer]
        together = gcd(*(self.launches[n].kernel.task.extent for n in users))
        counts = [n for n in range(MIN_SLICES, together + 1) if together % n == 0] if taken.isdisjoint(users) else []
        for count in sorted(counts, key=lambda n: (scratch(buffer, n).nbytes, n)):
            group = self._grown(users, count, taken) if self._is_divided(buffer, users, count) else None
            if group is not None and self._pays(group):
                return group
        return None

    def _grown(self, users: list[int], count: int, taken: set[int]) -> _Group | None:
        """The users of a buffer and, one buffer after the other, those of all that they share with others."""
        members: list[int] = []
        todo = [users]
        while todo:
            together = sorted({*members, *todo.pop(0)})
            if together != members and taken.isdisjoint(together) and self._fit(members, together, count):
                members = together
                shared = {b for n in members for b in self.launches[n].args if b in self.local}
                todo += [self.users[b] for b in self.local if b in shared]
            elif not members:
                return None
        return self._group(members, count)

    def _fit(self, members: list[int], together: list[int], count: int) -> bool:
        """Whether members and new ones read in each slice what they wrote in it, and nobody must run in between."""
        new = [n for n in together if n not in members]
        if any(self.launches[n].kernel.task.extent % count for n in new) or not self._is_convex(together):
            return False
        return all(self._is_divided(b, together, count) for b in {b for n in new for b in self.launches[n].args})

    def _is_divided(self, buffer: Buffer, members: list[int], count: int) -> bool:
        """Whether slices share nothing of the buffer, unless all members read it, or one alone uses it."""
        users = [n for n in self.users[buffer] if n in members]
        if len(users) < 2 or not any(buffer in self.written[n] for n in users):
            return True
        if buffer.size % count or not all(self._may_be_part(n, buffer, count) for n in users):
            return False
        return all(self._touched(n, buffer, count).is_part(buffer.size, count) for n in users)

    def _may_be_part(self, n: int, buffer: Buffer, count: int) -> bool:
        """Whether slices divide the buffer as far as that shows where a launch touches it first: cheaper to say than for all
        that it touches."""
        if (n, buffer, count) not in self.may:
            kernel = self.launches[n].kernel
            if (n, buffer) not in self.first:
                self.first[n, buffer] = first_access(kernel, _param(self.launches[n], buffer))
            index = self.first[n, buffer]
            may = index is None or may_divide(index, kernel.task, self._number(count), buffer.size)
            self.may[n, buffer, count] = may
        return self.may[n, buffer, count]

    def _pays(self, group: _Group) -> bool:
        near = sum(group.touched.values()) <= KEPT * self.machine.l2
        return near and group.passed >= WORTH * group.moved

    def _is_convex(self, members: Iterable[int]) -> bool:
        """Whether nobody must run after one member and before another."""
        inside = after = before = 0
        for n in members:
            inside, after, before = inside | 1 << n, after | self.after[n], before | self.before[n]
        return not after & before & ~inside

    def _touched(self, n: int, buffer: Buffer, count: int) -> Touched:
        launch = self.launches[n]
        return self._cut(launch.kernel, count).touched.get(_param(launch, buffer), Touched())

    def _cut(self, kernel: Kernel, count: int) -> Cut:
        if (kernel, count) not in self.cuts:
            self.cuts[kernel, count] = cut(kernel, self._number(count))
        return self.cuts[kernel, count]

    def _number(self, count: int) -> Var:
        return self.numbers.setdefault(count, Var("slice", count))

    def _group(self, members: list[int], count: int) -> _Group:
        inside = set(members)
        touched: defaultdict[Buffer, int] = defaultdict(int)
        for n in members:
            for buffer in self.launches[n].args:
                part = self._touched(n, buffer, count)
                touched[buffer] = max(touched[buffer], part.elements * buffer.dtype.size)
        private = tuple(b for b in touched if b.kind == ARENA and len(self.users[b]) > 1 and inside.issuperset(self.users[b]))
        return _Group(tuple(members), count, private, dict(touched))

    def _contract(self, group: _Group) -> None:
        """Make the group one node of the order."""
        first, *others = group.members
        for n in others:
            nx.contracted_nodes(self.order, first, n, self_loops=False, copy=False)
        self.bits[first] = sum(1 << n for n in group.members)
        self._find_paths()

    # ------------------------------------------------------------------------------------------------ launches

    def _launches(self, groups: list[_Group]) -> tuple[Launch, ...]:
        """All launches in order, a group where its last member was."""
        merged = {group.members[0]: group for group in groups}
        place = {n: group.members[-1] for n, group in merged.items()}
        order = nx.lexicographical_topological_sort(self.order, key=lambda n: place.get(n, n))
        return tuple(self._merge(merged[n]) if n in merged else self.launches[n] for n in order)

    def _merge(self, group: _Group) -> Launch:
        number = self._number(group.count)
        arrays: dict[Buffer, Array] = {}
        args: list[Buffer] = []
        body: list[Stmt] = []
        for n in group.members:
            launch = self.launches[n]
            part = self._cut(launch.kernel, group.count)
            places: dict[Array, Place] = {}
            for param, buffer in zip(launch.kernel.params, launch.args, strict=True):
                private = buffer in group.private
                if buffer not in arrays:
                    held = scratch(buffer, group.count) if private else buffer
                    arrays[buffer] = Array(held.name, held.dtype, held.size)
                    args.append(held)
                places[param] = Place(arrays[buffer], part.touched[param].step if private else 0)
            body += Moved(number, places).block(part.body)
        name = f"slices_{self.launches[group.members[0]].kernel.name}"
        comment = "; ".join(self.launches[n].comment for n in group.members)
        return Launch(Kernel(name, tuple(arrays.values()), number, tuple(body)), tuple(args), comment)


def scratch(buffer: Buffer, count: int) -> Buffer:
    """A slice of the buffer, for each of the workers that run slices at once."""
    parts = min(count, max(IN_FLIGHT, count // 4))
    return Buffer(f"{buffer.name}_slice", buffer.dtype, (buffer.size // count,), ARENA, parts=parts)


def _param(launch: Launch, buffer: Buffer) -> Array:
    return launch.kernel.params[launch.args.index(buffer)]
