"""Fused graphs to a program of kernels over buffers.

In: one `FusedGraph` per function, and the machine's numbers. Out: a `KernelProgram` in which every stored value has a
buffer of its own (no memory is shared yet) and every cluster is one launch, or two where an operand is packed.
Results are computed where they are wanted: straight into the caller's output or the variable, else copied at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

import numpy as np

from graphc.errors import CompileError
from graphc.ir.expr import Array, Var, all_of, const, load
from graphc.ir.kernel import (
    ARENA,
    CONSTANT,
    INPUT,
    OUTPUT,
    VARIABLE,
    VECTOR,
    Buffer,
    For,
    If,
    Kernel,
    KernelFunction,
    KernelProgram,
    Launch,
    Stmt,
    Store,
)
from graphc.ir.op import Loops
from graphc.ir.values import Value, splat

from .alike import Lowered, likeness
from .blocks import blocks
from .borders import fill
from .contract import Contract
from .element import is_joint, storage
from .frame import Frame
from .fuse import BLOCKS, BORDER, CONTRACTION, LOOPS, OPAQUE, Cluster, FusedGraph
from .machine import Machine
from .nest import Nest
from .order import spare
from .panels import Common
from .schedule import Frugal, Problem, Scheduler, choose
from .tiles import Schedule

COPY_CHUNK = 4096  # elements of one task of a plain copy


def lower(
    functions: Iterable[FusedGraph],
    machine: Machine,
    initial: Mapping[Value, np.ndarray] | None = None,
    scheduler: Scheduler = choose,
) -> KernelProgram:
    """All functions over one set of variables and constants. `initial` replaces what some variables start from."""
    shared = Shared(initial or {})
    lowered = tuple(_Function(fused, shared, machine, scheduler).lower() for fused in functions)
    used = {buffer for function in lowered for launch in function.launches for buffer in launch.args}
    constants = tuple(buffer for buffer in (*shared.constants.values(), *shared.panels.constants.values()) if buffer in used)
    return KernelProgram(lowered, tuple(shared.variables.values()), constants, {})


def contractions(
    functions: Iterable[FusedGraph], machine: Machine, initial: Mapping[Value, np.ndarray] | None = None
) -> Iterator[Callable[[Scheduler], Contract]]:
    """Every contraction by itself, as a scheduler wants it: it shares no panels with others."""
    shared = Shared(initial or {})
    for fused in functions:
        yield from _Function(fused, shared, machine, choose).contractions()


class Shared:
    """Buffers that functions have in common. Variable names are made unique here: `name`, `name_2`, ..."""

    def __init__(self, initial: Mapping[Value, np.ndarray]) -> None:
        self.initial = initial
        self.variables: dict[Value, Buffer] = {}
        self.constants: dict[Value, Buffer] = {}
        self.panels = Common()
        self.lowered: dict[Hashable, Lowered] = {}  # clusters, by their likeness

    def buffer(self, source: Value) -> Buffer:
        """The buffer of a variable or constant."""
        if source.op.name == "variable":
            if source not in self.variables:
                info = source.attrs["info"]
                name = _unique(info.name or "variable", {b.name for b in self.variables.values()})
                self.variables[source] = Buffer(
                    name, source.dtype, source.shape, VARIABLE, self.initial.get(source, info.initial)
                )
            return self.variables[source]
        if source not in self.constants:
            array = source.attrs["literal"].array
            self.constants[source] = Buffer(f"constant{len(self.constants)}", source.dtype, source.shape, CONSTANT, array)
        return self.constants[source]


class _Function:
    def __init__(self, fused: FusedGraph, shared: Shared, machine: Machine, scheduler: Scheduler) -> None:
        self.fused, self.graph, self.shared, self.machine, self.scheduler = fused, fused.graph, shared, machine, scheduler
        self.buffers: dict[Value, Buffer] = {}
        self.copies: list[tuple[Value, Buffer]] = []  # value -> where the caller wants it
        self.spare = spare(fused.clusters, fused.stored, {storage(root) for root in fused.graph.roots}, fused.insets)
        self.panels = shared.panels.of_function(c.anchor for c in fused.clusters if c.kind == CONTRACTION)

    def lower(self) -> KernelFunction:
        inputs = tuple(
            Buffer(v.attrs["info"].name or f"input{n}", v.dtype, v.shape, INPUT) for n, v in enumerate(self.graph.inputs)
        )
        self.buffers.update(zip(self.graph.inputs, inputs, strict=True))
        for value in self.graph.values():
            if value.op.name in ("variable", "constant"):
                self.buffers[value] = self.shared.buffer(value)
            elif value.op.name == "placeholder" and value not in self.buffers:
                raise CompileError(f"placeholder {value.attrs['info'].name} is used but is no input of {self.graph.name}")
        outputs = self._place_outputs()
        updates = self._place_updates()
        for value in self.graph.values():
            if value in self.fused.stored and value not in self.buffers:
                self.buffers[value] = self._place(value)
        launches = [launch for cluster in self.fused.clusters for launch in self._cluster(cluster)]
        launches += [self._copy(value, buffer) for value, buffer in self.copies]
        launches += [launch for value, buffer in updates for launch in self._late_update(value, buffer)]
        launches += [transfer(held, buffer, self.machine) for held, buffer in self.late]
        return KernelFunction(self.graph.name, inputs, outputs, tuple(launches))

    def _place(self, value: Value) -> Buffer:
        """The memory of a stored value: its own, or that of the padded one around it."""
        if value in self.fused.insets:
            host = self.fused.insets[value].host
            self.buffers[host] = self.buffers.get(host) or self._place(host)
            return self.buffers[host]
        return Buffer(f"{value.op.name}{len(self.buffers)}", value.dtype, value.shape, ARENA)

    def _place_outputs(self) -> tuple[Buffer, ...]:
        """The caller's buffers; a value computed by a cluster goes straight into its first one."""
        outputs: list[Buffer] = []
        names = self.graph.output_names or tuple(f"output{n}" for n in range(len(self.graph.outputs)))
        taken = {v.attrs["info"].name for v in self.graph.inputs}
        for name, root in zip(names, self.graph.outputs, strict=True):
            buffer = Buffer(_unique(name, taken | {b.name for b in outputs}), root.dtype, root.shape, OUTPUT)
            value = storage(root)
            if value in self.fused.home and value not in self.buffers:
                self.buffers[value] = buffer
            else:
                self.copies.append((root, buffer))
            outputs.append(buffer)
        return tuple(outputs)

    def _place_updates(self) -> list[tuple[Value, Buffer]]:
        """Updates in place; the others are returned, to be written when everything has been read."""
        late = []
        self.late: list[tuple[Buffer, Buffer]] = []
        for variable, new in self.graph.updates:
            buffer = self.shared.buffer(variable)
            if variable in self.fused.in_place:
                self.buffers[storage(new)] = buffer
            elif new is not variable:
                late.append((new, buffer))
        return late

    def _cluster(self, cluster: Cluster) -> list[Launch]:
        stored = [v for v in cluster.members if v in self.buffers]
        comment = ", ".join(dict.fromkeys(v.op.name for v in cluster.members))
        name = (
            cluster.members[-1].op.name if len(cluster.members) == 1 else f"fused{cluster.number}_{cluster.members[0].op.name}"
        )
        if all(v.type.size == 0 for v in stored) or (cluster.kind == BORDER and cluster.anchor in self.fused.insets):
            return []
        if cluster.kind != OPAQUE and not self._shares_panels(cluster):
            return self._alike(name, cluster, stored, comment)
        return self._lowered(name, cluster, stored, comment, self._scheduler(cluster))

    def _alike(self, name: str, cluster: Cluster, stored: list[Value], comment: str) -> list[Launch]:
        """A cluster with the kernels of one that is like it, if there has been one and they are scheduled alike."""
        like, scheduler = likeness(cluster, self.buffers, self.fused.insets), self._scheduler(cluster)
        found = self.shared.lowered.get(like.key)
        if found is not None and all(scheduler(problem) == schedule for problem, schedule in found.chosen):
            return found.over(like.buffers)
        chosen: list[tuple[Problem, Schedule]] = []

        def choosing(problem: Problem) -> Schedule:
            chosen.append((problem, scheduler(problem)))
            return chosen[-1][1]

        launches = self._lowered(name, cluster, stored, comment, choosing)
        self.shared.lowered[like.key] = Lowered(like.buffers, launches, chosen)
        return launches

    def _lowered(self, name: str, cluster: Cluster, stored: list[Value], comment: str, scheduler: Scheduler) -> list[Launch]:
        value = cluster.anchor
        if cluster.kind == LOOPS:
            return [Nest(cluster, stored, self._frame(), self.machine).launch(name, comment)]
        if cluster.kind == CONTRACTION:
            return self._contract(name, cluster, stored, self.panels, scheduler).launches(comment)
        if cluster.kind == BLOCKS:
            return [blocks(name, cluster, stored, self._frame(), self.machine, comment)]
        if cluster.kind == BORDER:
            return [fill(name, value, self._frame(), self.machine)]
        if is_joint(value):
            return [join([self._memory(v) for v in value.operands], self.buffers[value], self.machine)]
        assert isinstance(value.op.lower, Loops)
        copies, arrays = self._distinct([self._memory(v) for v in value.operands])
        return [*copies, Launch(value.op.lower.kernel(value), (*arrays, self.buffers[value]), comment)]

    def _shares_panels(self, cluster: Cluster) -> bool:
        return any(self.panels.count(cluster.anchor, side) > 1 for side in (0, 1))

    def _contract(self, name: str, cluster: Cluster, stored: list[Value], panels: Common, scheduler: Scheduler) -> Contract:
        return Contract(name, cluster, stored, self.buffers, self.fused.insets, self.machine, panels, scheduler)

    def _scheduler(self, cluster: Cluster) -> Scheduler:
        """What decides how the cluster is computed, in the memory that is left then."""
        return Frugal(self.scheduler, self.spare[cluster]) if cluster in self.spare else self.scheduler

    def contractions(self) -> Iterator[Callable[[Scheduler], Contract]]:
        self.lower()  # every value has memory then
        for cluster in self.fused.clusters:
            stored = [v for v in cluster.members if v in self.buffers]
            if cluster.kind == CONTRACTION and any(v.type.size for v in stored):
                yield partial(self._contract, cluster.anchor.op.name, cluster, stored, replace(self.panels, filled={}))

    def _frame(self) -> Frame:
        return Frame(self.buffers, self.fused.insets)

    def _distinct(self, arrays: list[Buffer]) -> tuple[list[Launch], list[Buffer]]:
        """Copies of buffers that come more than once, and the buffers then: params of a kernel never overlap."""
        copies: list[Launch] = []
        distinct: list[Buffer] = []
        for buffer in arrays:
            again = buffer in distinct
            distinct.append(Buffer(f"{buffer.name}_again", buffer.dtype, buffer.shape, ARENA) if again else buffer)
            copies += [transfer(buffer, distinct[-1], self.machine)] if again else []
        return copies, distinct

    def _memory(self, value: Value) -> Buffer:
        return self.buffers[storage(value)]

    def _copy(self, value: Value, target: Buffer) -> Launch:
        """Write `value` (a number, or stored somewhere) to `target`."""
        number = splat(value)
        return transfer(number if number is not None else self._memory(value), target, self.machine)

    def _late_update(self, value: Value, target: Buffer) -> list[Launch]:
        """Keep the new value aside, unless it already has memory that no update changes."""
        held = None if splat(value) is not None else self.buffers[storage(value)]
        if held is not None and held.kind != VARIABLE:
            self.late.append((held, target))
            return []
        temporary = Buffer(f"{target.name}_new", target.dtype, target.shape, ARENA)
        self.late.append((temporary, target))
        return [self._copy(value, temporary)]


def transfer(source: Buffer | float, target: Buffer, machine: Machine) -> Launch:
    """A kernel that copies a buffer, or writes one number everywhere."""
    array = Array(target.name, target.dtype, target.size)
    chunk = min(COPY_CHUNK, max(target.size, 1))
    task, lane = Var("task", -(-target.size // chunk)), Var("v", chunk)
    at = task * chunk + lane
    guard = all_of(at < target.size)
    origins = [Array(source.name, source.dtype, source.size)] if isinstance(source, Buffer) else []
    value = const(source, target.dtype) if not isinstance(source, Buffer) else load(origins[0], at, guard)
    body = For(lane, (Store(array, at, value, guard),), VECTOR, machine.lanes(target.dtype))
    args = (source, target) if isinstance(source, Buffer) else (target,)
    return Launch(Kernel("copy", (*origins, array), task, (body,)), args, f"copy to {target.name}")


def join(parts: Sequence[Buffer], target: Buffer, machine: Machine) -> Launch:
    """A kernel that copies buffers one after another; every task copies a piece of one of them."""
    array = Array(target.name, target.dtype, target.size)
    arrays = {part: Array(part.name, part.dtype, part.size) for part in parts}
    starts = list(accumulate((part.size for part in parts), initial=0))
    tasks = list(accumulate((-(-part.size // COPY_CHUNK) for part in parts), initial=0))
    task = Var("task", tasks[-1])

    def copied(first: int, last: int) -> tuple[Stmt, ...]:
        """What a task does that belongs to one of these parts."""
        if first + 1 < last:
            middle = (first + last) // 2
            return (If(task < tasks[middle], copied(first, middle), copied(middle, last)),)
        part = parts[first]
        lane = Var("v", min(COPY_CHUNK, part.size))
        at = (task - tasks[first]) * lane.extent + lane
        guard = all_of(at < part.size)
        store = Store(array, at + starts[first], load(arrays[part], at, guard), guard)
        return (For(lane, (store,), VECTOR, machine.lanes(target.dtype)),)

    kernel = Kernel("join", (*arrays.values(), array), task, copied(0, len(parts)))
    return Launch(kernel, (*arrays, target), f"parts of {target.name}")


def _unique(name: str, taken: set[str]) -> str:
    candidate, n = name, 1
    while candidate in taken:
        n += 1
        candidate = f"{name}_{n}"
    return candidate
