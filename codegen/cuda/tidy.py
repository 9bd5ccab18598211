"""Kernels without what a C++ compiler would warn about, and without loops of one round.

In: a kernel. Out: an equal kernel in which every local array and temporary is read, and every loop has more than one round;
the identical object where nothing is to do. Loops over lanes become loops of one thread by `serial`.
"""

from __future__ import annotations

from graphc.ir.expr import Array, Load, Temp, as_index
from graphc.ir.kernel import SERIAL, UNROLLED, Accumulate, For, If, Kernel, Let, Local, Stmt, Store, expressions, walk
from graphc.ir.kernel_rewrite import Renamed

from .expressions import below
from .roles import FOLD, MMA, PACKET, THREADS


def tidy(kernel: Kernel) -> Kernel:
    """The kernel without loops of one round and dead stores."""
    body = _straight(kernel.body)
    while True:
        read: set[Array | Temp] = set()
        for stmt in walk(body):
            for part in (part for root in expressions(stmt) for part in below(root)):
                if isinstance(part, Load):
                    read.add(part.array)
                elif isinstance(part, Temp):
                    read.add(part)
        kept = _living(body, read | set(kernel.params))
        if kept == body:
            break
        body = kept
    return kernel if body == kernel.body else Kernel(kernel.name, kernel.params, kernel.task, body)


def _straight(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Loops of one round are their body, those of none are nothing."""
    result: list[Stmt] = []
    for stmt in body:
        match stmt:
            case For(var=var):
                if var.extent == 1 and stmt.kind not in (THREADS, FOLD, MMA):
                    result += _straight(Renamed({var: as_index(0)}).block(stmt.body))
                elif var.extent:
                    result.append(For(var, _straight(stmt.body), stmt.kind, stmt.width))
            case If(condition=condition, then=then, orelse=orelse):
                result.append(If(condition, _straight(then), _straight(orelse)))
            case _:
                result.append(stmt)
    return tuple(result)


def _living(body: tuple[Stmt, ...], read: set[Array | Temp]) -> tuple[Stmt, ...]:
    """The statements whose effect can be seen; the identical ones where all can."""
    result: list[Stmt] = []
    for stmt in body:
        match stmt:
            case Local(array=array) | Store(array=array) | Accumulate(array=array):
                if array in read:
                    result.append(stmt)
            case Let(temp=temp):
                if temp in read:
                    result.append(stmt)
            case For(var=var, body=inner):
                kept = _living(inner, read)
                if kept:
                    result.append(stmt if kept == inner else For(var, kept, stmt.kind, stmt.width))
            case If(condition=condition, then=then, orelse=orelse):
                yes, no = _living(then, read), _living(orelse, read)
                if yes or no:
                    result.append(stmt if (yes, no) == (then, orelse) else If(condition, yes, no))
    return tuple(result)


def serial(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Every loop over lanes as a loop of one thread."""
    return tuple(_serial(stmt) for stmt in body)


def _serial(stmt: Stmt) -> Stmt:
    match stmt:
        case For(var=var, body=body, kind=kind):
            return For(var, serial(body), kind if kind in (UNROLLED, PACKET) else SERIAL)
        case If(condition=condition, then=then, orelse=orelse):
            return If(condition, serial(then), serial(orelse))
    return stmt
