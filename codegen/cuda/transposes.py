"""Kernels that only map but read across: tiles go through shared memory, so that reads and writes have neighbours side by side.

    for i: for v < n vector: a[.. + v] = f(x[v * s + i], ..)
    ->  for each tile of 32 i and 32 v:
        for threads: tile[v, i] = x[v * s + i], neighbouring threads along i;   (all meet)
        for threads: a[.. + v] = f(tile[v, i], ..), neighbouring threads along v

In: a tidy kernel whose tasks are one loop over lanes. Out: a `Mapped` kernel; None where no load counts by 1 along another
axis than its lanes. Rows of a tile are 33 elements apart, so that its columns lie in different banks.
"""

from __future__ import annotations

from itertools import takewhile
from math import ceil, prod

from graphc.dtype import int64
from graphc.ir.expr import Array, Index, Load, Temp, Var, all_of, as_index, linear, load, temp, unravel
from graphc.ir.kernel import UNROLLED, VECTOR, For, If, Kernel, Let, Local, Stmt, Store, expressions
from graphc.ir.kernel_rewrite import Renamed

from .expressions import below
from .roles import THREADS, Mapped
from .sync import barriers
from .target import Gpu
from .tidy import serial, tidy

SIDE, PITCH = 32, 33  # elements of a tile, and from row to row
LEAST = 16  # elements of both axes from which tiles pay
MOST = 4  # tiles of a block

Name = Temp | Var


def transpose(kernel: Kernel, gpu: Gpu) -> Mapped | None:
    """The kernel in tiles."""
    lets = [stmt for stmt in takewhile(lambda stmt: isinstance(stmt, Let), kernel.body) if isinstance(stmt, Let)]
    rest = kernel.body[len(lets) :]
    if len(rest) != 1 or not isinstance(rest[0], For) or rest[0].kind != VECTOR:
        return None
    lanes = rest[0]
    kept: dict[Name, int] = {let.temp: let.temp.bounds[1] + 1 for let in lets} or {kernel.task: kernel.task.extent}
    named = unravel(kernel.task, tuple(kept.values()))
    if lets and any(let.value is not part for let, part in zip(lets, named, strict=True)):
        return None
    if not _maps(lanes, kernel):
        return None
    loads = dict.fromkeys(part for stmt in lanes.body for root in expressions(stmt) for part in below(root))
    across = {part: _across(part, lanes.var, kept) for part in loads if isinstance(part, Load)}
    axis = next((name for name in across.values() if name is not None), None)
    tiled = [read for read, name in across.items() if name is axis is not None]
    if axis is None or len(tiled) > MOST or min(kept[axis], lanes.var.extent) < LEAST:
        return None
    return _mapped(kernel, lanes, kept, axis, tiled, gpu)


def _maps(lanes: For, kernel: Kernel) -> bool:
    """Whether each lane stores elements beside those of its neighbours, and reads nothing that is stored."""
    stores = [stmt for stmt in lanes.body if isinstance(stmt, Store)]
    if len(stores) + sum(isinstance(stmt, Let) for stmt in lanes.body) != len(lanes.body):
        return False
    reads = {part.array for s in lanes.body for root in expressions(s) for part in below(root) if isinstance(part, Load)}
    return not reads & kernel.written and all(linear(store.index)[0].get(lanes.var) == 1 for store in stores)


def _across(read: Load, lane: Var, kept: dict[Name, int]) -> Name | None:
    """The axis along which a load counts by 1 where its lanes are apart; None where there is no such axis."""
    if read.guard is not None:
        return None
    terms, _ = linear(as_index(read.index))
    plain = [atom for atom in terms if atom is lane or atom in kept]
    hidden = [part for atom in terms if atom not in plain for part in below(atom)]
    if abs(terms.get(lane, 0)) < 2 or lane in hidden:
        return None
    return next((name for name in kept if terms.get(name) == 1 and name not in hidden), None)


def _mapped(kernel: Kernel, lanes: For, kept: dict[Name, int], axis: Name, tiled: list[Load], gpu: Gpu) -> Mapped:
    others = {name: extent for name, extent in kept.items() if name is not axis}
    counts = (*others.values(), ceil(kept[axis] / SIDE), ceil(lanes.var.extent / SIDE))
    task = Var("task", prod(counts))
    fresh = [temp(f"task{n}", int64, (0, extent - 1)) for n, extent in enumerate(counts)]
    lets = tuple(Let(name, at) for name, at in zip(fresh, unravel(task, counts), strict=True))
    first, first_lane = (as_index(name) * SIDE for name in fresh[-2:])
    tiles = {read: Array(f"{read.array.name}_tile", read.dtype, SIDE * PITCH) for read in tiled}
    names: dict[Name, Index] = {name: as_index(each) for name, each in zip(others, fresh, strict=False)}
    step = gpu.block // SIDE

    def phase(body: list[Stmt], at: Index, at_lane: Index, thread: Var, number: Var) -> For:
        inside = all_of(at < kept[axis], at_lane < lanes.var.extent)
        whole = tuple(body) if inside is None else (If(inside, tuple(body)),)
        return For(thread, (For(number, whole, UNROLLED),), THREADS)

    thread, number = Var("thread", gpu.block), Var("row", SIDE // step)
    row, column = number * step + thread // SIDE, thread % SIDE
    moved = Renamed(names | {axis: first + column, lanes.var: first_lane + row})
    fill: list[Stmt] = [Store(tiles[read], row * PITCH + column, moved.expr(read)) for read in tiled]
    filling = phase(fill, first + column, first_lane + row, thread, number)

    thread, number = Var("thread", gpu.block), Var("row", SIDE // step)
    row, column = number * step + thread // SIDE, thread % SIDE
    moved = Renamed(names | {axis: first + row, lanes.var: first_lane + column})
    moved.done.update({read: load(tile, column * PITCH + row) for read, tile in tiles.items()})
    drain = list(moved.block(serial(lanes.body)))
    draining = phase(drain, first + row, first_lane + column, thread, number)

    new = tidy(Kernel(kernel.name, kernel.params, task, (*lets, *map(Local, tiles.values()), filling, draining)))
    shared = frozenset(tiles.values())
    return Mapped(new, gpu.block, 1, shared, barriers=barriers(new.body, shared | new.written))
