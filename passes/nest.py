"""Loop clusters to kernels: one nest per domain, with its row reductions.

In: a cluster of kind `loops`. Out: a launch whose tasks are rows, or chunks of the last kept axis.

    for task (kept axes, chunk of the vector axis):
      pass 0:  accumulators = neutral;  for reduced axes: for vector axis: accumulate, store what is ready
      rows 1:  values of the kept axes that follow from pass 0
      pass 1:  ...

Axes that every access walks alike are collapsed first. The vector axis is the last one: when it is reduced, a row ends in a
horizontal fold; when it is kept (column sums), accumulators are vectors. What a map reads across it is read in squares of it
and of the axis along which it lies; short rows of a map share vectors, or tasks. Work is split by shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from graphc.dtype import DType
from graphc.ir.expr import Array, Expr, Index, Temp, Var, as_index, cast, const, linear, load, ravel, temp, unravel
from graphc.ir.kernel import COMBINES, SERIAL, VECTOR, Accumulate, For, If, Launch, Let, Local, Stmt, Store, nested, parts
from graphc.ir.op import Pointwise, Reduction
from graphc.ir.values import Value

from .element import Elements, Position, crossed, heaviness, is_heavy, leaf_reads, positions, spread
from .frame import Frame
from .fuse import FULL, Cluster
from .machine import Machine

SCRATCH_LIMIT = 64 << 10  # bytes of task-local memory for one value kept between passes
MAP_CHUNK = 4096  # elements of a task that only maps
MIN_CHUNK = 256
SQUARE = 64  # elements of each side of what a task transposes
COLUMN_LANES = 64  # accumulators side by side in a column reduction, at most
INTERLEAVED = 4  # vectors computed at once in a large domain; or twice as many, see _is_deep
LARGE_DOMAIN = 1 << 15  # elements
MAP_TASKS = 16  # tasks into which even a small map is split, down to MIN_CHUNK


@dataclass(frozen=True)
class Axis:
    """Adjacent axes of the domain walked as one loop."""

    dims: tuple[int, ...]
    extent: int
    reduced: bool


class Nest:
    """Lowers one cluster. `stored` members are written to their buffers."""

    def __init__(self, cluster: Cluster, stored: Sequence[Value], frame: Frame, machine: Machine) -> None:
        self.cluster, self.frame, self.machine = cluster, frame, machine
        self.members = cluster.members
        self.stored = [v for v in self.members if v in set(stored)]
        self.levels = _levels(cluster)
        self.lanes = machine.lanes(max((v.dtype for v in self.members), key=lambda d: d.size))
        self.axes = self._collapse()
        maps = self.lanes > 1 and not cluster.axes and prod(cluster.domain) > 0
        self.stepped = self._crossed() or self._next_to_short() if maps else None
        self.vector = self.axes[-1] if self.axes else None
        self.elements = Elements(self._at_hand, self._fold_window)
        self.rows: dict[Value, Array] = {}  # row values already computed in this task
        self.kept: dict[Value, Array] = {}  # full values written in an earlier pass: scratch
        self.named: dict[Value, Temp] = {}  # full values bound in this pass
        self.prelude: list[Stmt] = []
        self.width = self._width() if self.stepped is None else self.lanes

    def _width(self) -> int:
        """Lanes computed at once. In a large domain several vectors side by side hide the latency of each other."""
        together = 1
        if prod(self.cluster.domain) >= LARGE_DOMAIN:
            together = 2 * INTERLEAVED if self._is_deep() else INTERLEAVED
        while self.vector is not None and together > 1 and self.vector.extent < together * self.lanes:
            together //= 2
        return together * self.lanes

    def _is_deep(self) -> bool:
        """Whether the cluster maps one array by heavy functions that depend on each other: their latencies add up. Of a second
        array beside it, memory delivers so many vectors at a time more slowly."""
        depth: dict[Value, int] = {}
        outside: set[Value] = set()
        for value in self.members:
            leaves = [leaf for leaf, _, _ in self.cluster.reads[value]]
            depth[value] = heaviness(value) + max((depth.get(leaf, 0) for leaf in leaves), default=0)
            outside |= {leaf for leaf in leaves if leaf not in self.cluster.reads}
        whole = [leaf for leaf in outside if prod(leaf.shape) == prod(self.cluster.domain)]
        return not self.cluster.axes and len(whole) <= 1 and max(depth.values()) > 1

    # ------------------------------------------------------------------------------------------------ axes and tasks

    def _collapse(self) -> list[Axis]:
        """Merge neighbouring axes that every access outside the cluster walks with fitting strides."""
        domain, reduced = self.cluster.domain, self.cluster.axes or ()
        accesses = [*self._outside_reads(), *self._inset_stores()]
        axes: list[Axis] = []
        for dim in reversed(range(len(domain))):
            if domain[dim] == 1:
                continue
            new = Axis((dim,), domain[dim], dim in reduced)
            if axes and axes[0].reduced == new.reduced and axes[0].dims[0] == self._next(dim):
                inner = axes[0]
                outer, along = positions(domain)[dim], positions(domain)[inner.dims[-1]]
                if all(_fits(access, outer, along, inner.extent) for access in accesses):
                    axes[0] = Axis((dim, *inner.dims), domain[dim] * inner.extent, inner.reduced)
                    continue
            axes.insert(0, new)
        return axes

    def _next(self, dim: int) -> int:
        """The following axis of more than one element."""
        domain = self.cluster.domain
        return next((d for d in range(dim + 1, len(domain)) if domain[d] > 1), -1)

    def _crossed(self) -> Axis | None:
        """An outer axis of a map along which something is read whose lanes would lie apart. Tasks are then squares of both."""
        places = [crossed(as_index(index), self.cluster.domain) for index, *_ in self._outside_reads()]
        full = positions(self.cluster.domain)
        return next((axis for axis in self.axes if full[axis.dims[-1]] in places), None)

    def _next_to_short(self) -> Axis | None:
        """The axis of a map that tasks walk, too, where the last one is short and a task's number would be divided for each row
        of it. If rows fill parts of a vector, both axes become one: lanes of several rows are picked out of few vectors."""
        if len(self.axes) < 2:
            return None
        *_, outer, last = self.axes
        if last.extent < self.lanes and self.lanes % last.extent == 0:
            self.axes[-2:] = [Axis((*outer.dims, *last.dims), outer.extent * last.extent, reduced=False)]
            return self._next_to_short()
        return outer if len(self.axes) > 2 and last.extent < SQUARE else None

    def _outside_reads(self) -> list[list[Expr]]:
        """For each access to memory outside: its flat index and guard, at the symbolic index of the domain."""
        full = positions(self.cluster.domain)
        found: list[list[Expr]] = []
        for member in self.members:
            folds = isinstance(member.op.lower, Reduction)
            source, index = (member.operands[0], full) if folds else (member, self._index_of(member, full))
            if folds and source in self.cluster.reads:
                continue
            if folds and self.frame.is_stored(source):
                found.append([self.frame.position(source, index)])
                continue
            reads = leaf_reads(source, index, lambda v: v in self.cluster.reads or self.frame.is_stored(v))
            found += [[self.frame.position(leaf, at), *([guard] if guard is not None else [])] for leaf, at, guard in reads]
        return found

    def _inset_stores(self) -> list[list[Expr]]:
        """Where results go that do not lie in memory as the domain does, at its symbolic index."""
        full = positions(self.cluster.domain)
        return [[self.frame.position(v, self._index_of(v, full))] for v in self.stored if self.frame.is_inset(v)]

    def _index_of(self, value: Value, index: Position) -> Position:
        """The index of a member at an index of the domain."""
        if self.cluster.role(value) == FULL:
            return spread([i for i, n in zip(index, self.cluster.domain, strict=True) if n != 1], value.shape)
        return spread(self.cluster.row_part(index), value.shape)

    def _at(self, value: Value) -> Expr:
        """The member's element at the index of the task's loops."""
        return self.elements.at(value, self._index_of(value, self.index))

    def _store(self, value: Value, element: Expr) -> Stmt:
        return self.frame.store(value, self._index_of(value, self.index), element)

    def launch(self, name: str, comment: str) -> Launch:
        """The kernel and its arguments."""
        outer = [a for a in self.axes if not a.reduced and a not in (self.stepped, self.vector)]
        chunks = {axis: self._chunk(axis) for axis in (self.stepped, self.vector) if axis is not None}
        counts = (1 if axis.reduced else -(-axis.extent // chunk) for axis, chunk in chunks.items())
        task, parts, named = self.frame.task((*(axis.extent for axis in outer), *counts))
        body = self._cut(dict(zip((*outer, *chunks), parts, strict=True)), chunks, {})
        return self.frame.launch(name, task, (*named, *body), comment)

    def _cut(self, parts: Mapping[Axis, Index], chunks: Mapping[Axis, int], extents: Mapping[Axis, int]) -> tuple[Stmt, ...]:
        """The task at some indices of axes, and of chunks of those that are cut: of whole ones, and of what is left over."""
        axis = next((axis for axis in chunks if axis not in extents), None)
        if axis is None:
            return self._task(dict(parts), extents)
        whole, rest = divmod(axis.extent, chunks[axis])
        cases = [(parts[axis] * chunks[axis], chunks[axis])] if whole else []
        cases += [(as_index(axis.extent - rest), rest)] if rest or not whole else []
        bodies = [self._cut({**parts, axis: start}, chunks, {**extents, axis: extent}) for start, extent in cases]
        return bodies[0] if len(bodies) == 1 else (If(parts[axis] < whole, *bodies),)

    def _chunk(self, axis: Axis) -> int:
        """Elements of an axis in a task; a reduced one is never cut."""
        if axis.reduced:
            return axis.extent or 1
        if self.stepped is not None and self.vector is not None:
            other = self.stepped if axis is self.vector else self.vector
            return SQUARE * max(1, SQUARE // other.extent)
        if any(a.reduced for a in self.axes):
            return max(self.width, self._columns(axis))
        rows = prod(a.extent for a in self.axes if a is not axis)
        chunk = min(MAP_CHUNK, max(MIN_CHUNK, -(-axis.extent * rows // MAP_TASKS)))
        return -(-chunk // self.width) * self.width

    def _columns(self, axis: Axis) -> int:
        """Columns that a task folds: fewer where there would be too few tasks."""
        columns = COLUMN_LANES
        rows = prod(a.extent for a in self.axes if not a.reduced and a is not axis)
        while columns > self.machine.columns and rows * -(-axis.extent // columns) < self.machine.trees.tasks:
            columns //= 2
        return columns

    # ------------------------------------------------------------------------------------------------ one task

    def _task(self, indices: dict[Axis, Index], extents: Mapping[Axis, int]) -> tuple[Stmt, ...]:
        """All passes of one task, over so much of the axes that are cut, from their indices on."""
        self.rows, self.kept, self.named = {}, {}, {}
        self.elements.forget()
        self.steps: list[Var] = []
        if self.stepped is not None:
            self.steps.append(Var("k", extents[self.stepped]))
            indices[self.stepped] += self.steps[0]
        self.extent = 1 if self.vector is None else extents[self.vector]
        self.lane = Var("v", self.extent)
        if self.vector is not None:
            indices[self.vector] += self.lane
        self.loops = [(a, Var(f"r{n}", a.extent)) for n, a in enumerate(self.axes) if a.reduced and a is not self.vector]
        indices.update(self.loops)
        self.index = self._domain_index(indices)
        body = self._row_values(0)
        for level in range(max(self.levels.values(), default=0) + 1):
            body += self._pass(level)
            body += self._row_values(level + 1)
        return (*body, *self._row_stores())

    def _domain_index(self, indices: dict[Axis, Index]) -> Position:
        index: list[Index] = [as_index(0)] * len(self.cluster.domain)
        for axis, at in indices.items():
            for dim, part in zip(axis.dims, unravel(at, tuple(self.cluster.domain[d] for d in axis.dims)), strict=True):
                index[dim] = part
        return tuple(index)

    def _pass(self, level: int) -> list[Stmt]:
        """One walk over the domain: folds whose operand is ready, and full results of this level."""
        folds = [v for v in self.members if isinstance(v.op.lower, Reduction) and self.levels[v] == level + 1]
        stores = [v for v in self.stored if self.cluster.role(v) == FULL and self.levels[v] == level]
        if not folds and not stores:
            return []
        before: list[Stmt] = []
        inner: list[Stmt] = []
        self.prelude = []
        self.elements.forget()
        for value in self._worth_keeping(level):
            inner += self._keep(value, before)
        inner += self._name(self._needed(level))
        results = [(v, temp("t", v.dtype)) for v in stores]
        inner += [Let(t, self._at(v)) for v, t in results]
        inner += [self._store(v, t) for v, t in results]
        pending = {}
        for value in folds:
            combine = value.op.lower.combine  # type: ignore[union-attr]
            acc = self.frame.scratch("acc", value.dtype.accumulator, self._row_size())
            before += [Local(acc), self._over_row(Store(acc, self._row_at(), const(COMBINES[combine](acc.dtype), acc.dtype)))]
            element = cast(self.elements.at(value.operands[0], self.index), acc.dtype)
            inner.insert(len(inner) - len(results), Accumulate(acc, self._row_at(), combine, element))
            pending[value] = acc
        self.rows.update(pending)
        self.named = {}
        self.elements.forget()
        nest = nested([*self.steps, *(var for _, var in self.loops)], *self.prelude, self._lanes(tuple(inner)))
        return [*before, *nest]

    def _name(self, needed: set[Value]) -> list[Stmt]:
        """Bind members that are heavy or read more than once, so that each is computed once."""
        body: list[Stmt] = []
        for value in self.cluster.named():
            if value in needed:
                name = temp("n", value.dtype)
                body.append(Let(name, self._at(value)))
                self.named[value] = name
                self.elements.forget()
        return body

    def _row_values(self, level: int) -> list[Stmt]:
        """Values of the kept axes that became ready, computed once per task."""
        body: list[Stmt] = []
        for value in self.members:
            if self.cluster.role(value) == FULL or self.levels[value] != level or value in self.rows:
                continue
            array = self.frame.scratch("row", value.dtype, self._row_size())
            body += [Local(array), self._over_row(Store(array, self._row_at(), self._at(value)))]
            self.rows[value] = array
        return body

    def _row_stores(self) -> list[Stmt]:
        """Row results go to memory last, so that a variable updated in place was read by all."""
        rows = [v for v in self.stored if self.cluster.role(v) != FULL]
        self.elements.forget()
        return [self._over_row(self._store(v, self._at(v))) for v in rows]

    def _row_size(self) -> int:
        return 1 if self.vector is None or self.vector.reduced else self.extent

    def _row_at(self) -> Index:
        return as_index(0) if self.vector is None or self.vector.reduced else self.lane

    def _over_row(self, stmt: Stmt) -> Stmt:
        return stmt if self.vector is None or self.vector.reduced else self._lanes((stmt,))

    def _lanes(self, body: tuple[Stmt, ...]) -> Stmt:
        """The loop along the vector axis."""
        return For(self.lane, body, VECTOR, self.width) if self.extent > 1 else For(self.lane, body, SERIAL)

    # ------------------------------------------------------------------------------------------------ values at hand

    def _at_hand(self, value: Value, index: Position, guard: Expr | None) -> Expr | None:
        """Row values from their accumulators, kept values from scratch, everything outside from its buffer."""
        if value in self.named:
            return self.named[value]
        if value in self.rows:
            return cast(load(self.rows[value], self._row_at()), value.dtype)
        if value in self.kept:
            return load(self.kept[value], self._scratch_at(), guard)
        if value in self.cluster.reads or not self.frame.is_stored(value):
            return None
        return self.frame.load(value, index, guard)

    def _scratch_at(self) -> Index:
        extents = [a.extent for a, _ in self.loops]
        return ravel([*(v for _, v in self.loops), self.lane], (*extents, self.extent))

    def _worth_keeping(self, level: int) -> list[Value]:
        """Heavy full values first needed in this pass and needed again in a later one."""
        needed = [self._needed(p) for p in range(level, max(self.levels.values(), default=0) + 1)]
        size = prod(a.extent for a, _ in self.loops) * self.extent
        later: set[Value] = set().union(*needed[1:])
        return [
            v for v in self.members
            if v in needed[0] and v in later and v not in self.kept and size * v.dtype.size <= SCRATCH_LIMIT and is_heavy(v)
        ]  # fmt: skip

    def _needed(self, level: int) -> set[Value]:
        """Full members evaluated in a pass, down to what was kept."""
        stack: list[Value] = []
        for value in self.members:
            if isinstance(value.op.lower, Reduction) and self.levels[value] == level + 1:
                stack += value.operands
            elif value in self.stored and self.cluster.role(value) == FULL and self.levels[value] == level:
                stack.append(value)
        found: set[Value] = set()
        while stack:
            value = stack.pop()
            if value in found or value in self.kept or not self._inlined(value):
                continue
            found.add(value)
            stack += value.operands[:1] if value.op.name == "after" else value.operands  # it waits for the other one only
        return found

    def _inlined(self, value: Value) -> bool:
        if value in self.cluster.reads:
            return self.cluster.role(value) == FULL
        return isinstance(value.op.lower, Pointwise) and not self.frame.is_stored(value)

    def _keep(self, value: Value, before: list[Stmt]) -> list[Stmt]:
        size = prod(a.extent for a, _ in self.loops) * self.extent
        array = self.frame.scratch("kept", value.dtype, size)
        element = self._at(value)
        before.append(Local(array))
        self.kept[value] = array
        self.elements.forget()
        return [Store(array, self._scratch_at(), element)]

    def _fold_window(self, combine: str, extents: Sequence[int], dtype: DType, term: Callable[[Position], Expr]) -> Expr:
        """A window too large to write out: a loop of its own over the lanes, before the pass's own loop."""
        array = self.frame.scratch("window", dtype, self.extent)
        loops = [Var(f"{array.name}_{n}", extent) for n, extent in enumerate(extents)]
        at = self.lane
        body = nested(loops, self._lanes((Accumulate(array, at, combine, term(tuple(loops))),)))
        neutral = Store(array, at, const(COMBINES[combine](dtype), dtype))
        self.prelude += [Local(array), self._lanes((neutral,)), *body]
        return load(array, at)


def _levels(cluster: Cluster) -> dict[Value, int]:
    """How many reductions of the cluster lie before each member."""
    levels: dict[Value, int] = {}
    for value in cluster.members:
        before = [levels.get(leaf, 0) for leaf, _, _ in cluster.reads[value]]
        levels[value] = max(before, default=0) + isinstance(value.op.lower, Reduction)
    return levels


def _fits(read: list[Expr], outer: Expr, inner: Expr, extent: int) -> bool:
    """Whether an access moves `extent` times as far along `outer` as along `inner`, and neither otherwise."""
    index, *guards = read
    terms, _ = linear(index)  # type: ignore[arg-type]
    if terms.get(outer, 0) != terms.get(inner, 0) * extent:
        return False
    hidden = [atom for atom in terms if atom is not outer and atom is not inner] + guards
    return {outer, inner}.isdisjoint(parts(*hidden))
