"""Memory planning: results that may overwrite an operand do, and buffers that are never alive together share bytes.

In: a program in which every value has a buffer of its own. Out: the same program with `offsets` for variables and arena
buffers, and its exact state and arena sizes. All functions use the same arena, one call at a time.

    overwrite    t = f(x[i]); y[i] = t   with x dead afterwards   ->   x[i] = f(x[i])
                 loops over x[i] of the task may come before, as those of a reduction do
    place        largest buffer first, at the lowest offset free of every buffer it interferes with; where that leaves gaps
                 behind, in other orders too
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from graphc.ir.expr import Array, Load
from graphc.ir.kernel import (
    ARENA,
    Accumulate,
    Buffer,
    For,
    If,
    Kernel,
    KernelFunction,
    KernelProgram,
    Launch,
    Stmt,
    Store,
    aligned,
    evaluated,
    sequences,
)

from .liveness import liveness, lower_bound
from .machine import Machine
from .slices import slice_launches

CLOSE = 1.003  # times the least that could do: near enough
TRIES = 40  # orders
SMALL = 1 / 512  # of the arena: what fits in where others leave room


def plan_buffers(program: KernelProgram, machine: Machine) -> KernelProgram:
    """Overwrite where possible, run in slices where it pays, then place every buffer."""
    return place_buffers(slice_launches(overwrite_operands(program), machine))


def overwrite_operands(program: KernelProgram) -> KernelProgram:
    """`overwrite` in every function."""
    return replace(program, functions=tuple(overwrite(function) for function in program.functions))


def place_buffers(program: KernelProgram) -> KernelProgram:
    """Give every variable and arena buffer its offset."""
    offsets: dict[Buffer, int] = {}
    state_size = _line_up(program.variables, offsets)
    arena_size = max((place(function, offsets) for function in program.functions), default=0)
    return replace(program, offsets=offsets, state_size=state_size, arena_size=arena_size)


def _line_up(buffers: tuple[Buffer, ...], offsets: dict[Buffer, int]) -> int:
    end = 0
    for buffer in buffers:
        offsets[buffer] = end
        end += aligned(buffer.nbytes)
    return end


def place(function: KernelFunction, offsets: dict[Buffer, int]) -> int:
    """Give every arena buffer of a function its offset; returns the bytes used."""
    spans = liveness(function.launches)
    buffers = sorted(spans, key=lambda b: -b.nbytes)
    room = _Room(np.array([[*spans[b], aligned(b.nbytes)] for b in buffers], np.int64).reshape(-1, 3))
    starts = room.placed(list(range(len(buffers))))
    bound = lower_bound(spans, len(function.launches))
    if room.end(starts) > CLOSE * bound:
        large = sum(buffer.nbytes >= SMALL * bound for buffer in buffers)
        starts = min(starts, room.placed([*room.searched(large, bound), *range(large, len(buffers))]), key=room.end)
    offsets.update(zip(buffers, starts.tolist(), strict=True))
    return room.end(starts)


class _Room:
    """Buffers as rows of (first launch, last launch, bytes), and where they can lie."""

    def __init__(self, rows: np.ndarray) -> None:
        self.first, self.last, self.sizes = rows.T

    def end(self, starts: np.ndarray) -> int:
        """The bytes that buffers take, the first ones of all, that start there."""
        return int((starts + self.sizes[: len(starts)]).max(initial=0))

    def placed(self, order: list[int]) -> np.ndarray:
        """Where buffers start that are placed in this order, each at the lowest offset that is free while it is alive."""
        first, last, sizes = self.first[order], self.last[order], self.sizes[order]
        starts, stops = np.zeros((2, len(order)), np.int64)
        for n, size in enumerate(sizes.tolist()):
            rivals = (first[:n] <= last[n]) & (last[:n] >= first[n])  # alive at once, and placed already
            starts[n] = _lowest_gap(starts[:n][rivals], stops[:n][rivals], size)
            stops[n] = starts[n] + size
        result = np.empty_like(starts)
        result[order] = starts
        return result

    def searched(self, count: int, bound: int) -> list[int]:
        """The best order found for the first `count` buffers. What is large for long comes first; then, what came to lie
        highest is placed sooner, again and again."""
        order = sorted(range(count), key=lambda n: int((self.first[n] - self.last[n]) * self.sizes[n]))
        found: list[tuple[int, list[int]]] = []
        for _ in range(TRIES):
            starts = self.placed(order)
            found.append((self.end(starts), list(order)))
            if found[-1][0] <= CLOSE * bound:
                break
            place = order.index(int((starts + self.sizes[:count]).argmax()))
            order.insert(place // 2, order.pop(place))
        return min(found)[1]


def _lowest_gap(starts: np.ndarray, stops: np.ndarray, size: int) -> int:
    """The lowest offset at which `size` bytes fit between the taken intervals."""
    by_start = np.argsort(starts, kind="stable")
    ends = np.concatenate([[0], np.maximum.accumulate(stops[by_start])])
    room = np.flatnonzero(ends[:-1] + size <= starts[by_start])
    return int(ends[room[0]] if room.size else ends[-1])


# ------------------------------------------------------------------------------------------------------------- overwriting


def overwrite(function: KernelFunction) -> KernelFunction:
    """Let kernels write a result over an operand that dies in them, where each element is read before it is written."""
    spans = liveness(function.launches)
    memory: dict[Buffer, Buffer] = {}  # result -> the operand that it is written over
    launches: list[Launch] = []
    for n, launch in enumerate(function.launches):
        launch = replace(launch, args=tuple(memory.get(buffer, buffer) for buffer in launch.args))
        while (pair := _overwritable(launch, n, spans)) is not None:
            dying, result = pair
            launch = _unify(launch, dying, result)
            memory[result] = dying
            spans[dying] = (spans[dying][0], spans[result][1])
        launches.append(launch)
    return replace(function, launches=tuple(launches))


def _overwritable(launch: Launch, n: int, spans: dict[Buffer, tuple[int, int]]) -> tuple[Buffer, Buffer] | None:
    """(operand, result) of launch number `n` that may share memory."""
    arrays = dict(zip(launch.args, launch.kernel.params, strict=True))
    written = launch.kernel.written
    arena = [buffer for buffer in launch.args if buffer.kind == ARENA]
    born = [b for b in arena if spans[b][0] == n and arrays[b] in written]
    dead = [b for b in arena if spans[b][0] < n and spans[b][1] == n and arrays[b] not in written]
    for result in born:
        for dying in dead:
            same = dying.size == result.size and dying.dtype is result.dtype
            if same and _element_by_element(launch.kernel, arrays[dying], arrays[result]):
                return dying, result
    return None


def _element_by_element(kernel: Kernel, source: Array, target: Array) -> bool:
    """Whether every load of `source` is at the index at which `target` is stored later: in the same innermost block, or by
    another statement of the task, after which nothing is loaded."""
    found = False
    for body in _alternatives(kernel.body):
        read: list[Load] = []
        stored = False
        for stmt in body:
            only, stores = [], False  # loads in blocks that do not store
            for block in sequences((stmt,)):
                loads = [e for part in block for e in _loads(part, source)]
                if loads and stored:
                    return False
                if not any(_stores(part, target) for part in block):
                    only += loads
                elif not _in_order(block, source, target, read):
                    return False
                else:
                    stores = True
            if only and stores:
                return False
            read += only
            stored |= stores
        if read and not stored:
            return False
        found |= stored
    return found


def _in_order(block: tuple[Stmt, ...], source: Array, target: Array, read: list[Load]) -> bool:
    """Whether one statement of the block stores `target`, behind all loads of `source`, at the index of all of them."""
    (n, *more) = [n for n, stmt in enumerate(block) if _stores(stmt, target)]
    store = block[n]
    if more or not isinstance(store, Store) or store.guard is not None:
        return False
    loads = [*read, *(e for stmt in block[: n + 1] for e in _loads(stmt, source))]
    late = any(True for stmt in block[n + 1 :] for _ in _loads(stmt, source))
    return bool(loads) and not late and all(e.index is store.index for e in loads)


def _stores(stmt: Stmt, array: Array) -> bool:
    return isinstance(stmt, Store | Accumulate) and stmt.array is array


def _alternatives(body: tuple[Stmt, ...]) -> Iterator[tuple[Stmt, ...]]:
    """The statements of a task, one after the other: for each way through a condition that ends it."""
    if body and isinstance(body[-1], If):
        for branch in (body[-1].then, body[-1].orelse):
            yield from _alternatives((*body[:-1], *branch))
    else:
        yield body


def _loads(stmt: Stmt, array: Array) -> Iterator[Load]:
    """The loads of `array` that the statement itself (not its body) evaluates."""
    return (expr for expr in evaluated(stmt) if isinstance(expr, Load) and expr.array is array)


def _unify(launch: Launch, dying: Buffer, result: Buffer) -> Launch:
    """The launch with `result` computed into the memory of `dying`."""
    arrays = dict(zip(launch.args, launch.kernel.params, strict=True))
    old, new = arrays[result], arrays[dying]
    body = tuple(_rename(stmt, old, new) for stmt in launch.kernel.body)
    params = tuple(p for p in launch.kernel.params if p is not old)
    kernel = replace(launch.kernel, params=params, body=body)
    return replace(launch, kernel=kernel, args=tuple(b for b in launch.args if b is not result))


def _rename(stmt: Stmt, old: Array, new: Array) -> Stmt:
    match stmt:
        case For(body=body):
            return replace(stmt, body=tuple(_rename(s, old, new) for s in body))
        case If(then=then, orelse=orelse):
            renamed = replace(stmt, then=tuple(_rename(s, old, new) for s in then))
            return replace(renamed, orelse=tuple(_rename(s, old, new) for s in orelse))
        case Store(array=array) | Accumulate(array=array) if array is old:
            return replace(stmt, array=new)
    return stmt
