"""Kernels that only map: every element has a thread, and neighbouring threads have neighbouring elements.

    for task: for v < n vector: a[..] = f(..)   ->   for item < tasks * n / p:  for j < p packet: the same at
                                                     task = item // (n / p),  v = item % (n / p) * p + j

In: a kernel whose tasks are one loop over lanes (or one of two, chosen by an `if`). Out: the kernel with an item a task, where
p elements make 16 bytes; None for kernels of another shape.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from graphc.ir.expr import Array, Expr, Index, Load, Temp, Var, as_index, linear
from graphc.ir.kernel import VECTOR, Accumulate, For, If, Kernel, Let, Local, Stmt, Store, expressions, walk
from graphc.ir.kernel_rewrite import Renamed

from .expressions import below
from .packets import PACKET_BYTES
from .roles import PACKET
from .tidy import serial


def flatten(kernel: Kernel) -> Kernel | None:
    """The kernel with a task for each packet of elements."""
    lets = tuple(stmt for stmt in kernel.body if isinstance(stmt, Let))
    rest = tuple(stmt for stmt in kernel.body if not isinstance(stmt, Let))
    if len(rest) != 1 or kernel.body[: len(lets)] != lets:
        return None
    loops = _loops(rest[0])
    if not loops or any(_folds(loop) for loop in loops):
        return None
    extent = max(loop.var.extent for loop in loops)
    width = packet_width(loops, kernel.params)
    steps = max(-(-extent // width), 1)
    item = Var("item", kernel.task.extent * steps)
    where: dict[Var | Temp, Index] = {kernel.task: item // steps}
    body = tuple(Renamed(where).stmt(let) for let in lets)
    step = item % steps

    def spread(loop: For) -> tuple[Stmt, ...]:
        lane = Var("lane", width)
        moved = Renamed(where | {loop.var: step * width + lane})
        inner = moved.block(serial(loop.body))
        if width > 1:
            inner = (For(lane, inner, PACKET),)
        inside = step * width < loop.var.extent
        return inner if steps * width <= loop.var.extent else (If(inside, inner),)

    if isinstance(rest[0], If):
        then, orelse = (spread(loop) for loop in loops)
        return Kernel(kernel.name, kernel.params, item, (*body, If(Renamed(where).expr(rest[0].condition), then, orelse)))
    return Kernel(kernel.name, kernel.params, item, (*body, *spread(loops[0])))


def _loops(stmt: Stmt) -> list[For]:
    """The one loop over lanes, or both that an `if` chooses from; none where there is more."""
    branches = (stmt.then, stmt.orelse) if isinstance(stmt, If) else ((stmt,),)
    alone = [b[0] for b in branches if len(b) == 1 and isinstance(b[0], For) and b[0].kind == VECTOR]
    return [loop for loop in alone if isinstance(loop, For)] if len(alone) == len(branches) else []


def _folds(loop: For) -> bool:
    """Whether iterations meet in a cell."""
    own = {stmt.array for stmt in walk(loop.body) if isinstance(stmt, Local)}
    return any(isinstance(stmt, Accumulate) and stmt.array not in own for stmt in walk(loop.body))


def packet_width(loops: list[For], params: Container[Array]) -> int:
    """How many neighbouring elements a thread takes: 16 bytes of the widest array, where that divides all extents and any
    param is walked element by element; else 1, so that neighbouring threads have neighbouring elements."""
    found: dict[Array, list[bool]] = {}
    for loop in loops:
        for array, index in _accesses(loop):
            found.setdefault(array, []).append(linear(as_index(index))[0].get(loop.var) == 1)
    width = PACKET_BYTES // max((array.dtype.size for array in found), default=PACKET_BYTES)
    together = any(any(steps) for array, steps in found.items() if array in params)
    return width if together and all(loop.var.extent % width == 0 and loop.var.extent for loop in loops) else 1


def _accesses(loop: For) -> Iterator[tuple[Array, Expr]]:
    for stmt in walk(loop.body):
        if isinstance(stmt, Store | Accumulate):
            yield stmt.array, stmt.index
        for root in expressions(stmt):
            yield from ((part.array, part.index) for part in below(root) if isinstance(part, Load))
