"""How well the warps of mapped kernels use the memory of a GPU, found without one.

In: a `Mapped` kernel. Out: for each array of its arguments the bytes that warps ask for, and the sectors of 32 bytes that
memory moves for them: a load or store of a warp moves every sector that one of its lanes touches. A few warps of a few
blocks are looked at, and of loops over more than two rounds the first and one in the middle. Integers that only the data
knows are made up. What caches hold between accesses is not counted, so that shares are lower bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphc.codegen.cuda.expressions import below
from graphc.codegen.cuda.packets import PACKET_BYTES, together
from graphc.codegen.cuda.roles import FOLD, PACKET, THREADS, Mapped
from graphc.interp.words import meaning
from graphc.ir.expr import Affine, Array, Call, Const, Div, Expr, Load, Mod, Temp, Var
from graphc.ir.kernel import Accumulate, For, If, Let, Stmt, Store, expressions

SECTOR, WARP = 32, 32
_LOOSE, _MANY = 40503, 4096  # made-up data: a multiple of the address, below so many

Lane = dict[Expr, Any]  # what names stand for on one thread


@dataclass
class Traffic:
    """Bytes that are asked for, and moved in sectors, by all warps of a launch."""

    asked: float = 0.0
    moved: float = 0.0

    @property
    def share(self) -> float:
        """How much of what is moved was asked for."""
        return self.asked / self.moved if self.moved else 1.0


def traffic(mapped: Mapped) -> dict[tuple[str, str], Traffic]:
    """What a launch asks for and moves, by array and "load" or "store"."""
    warps = -(-mapped.block // WARP)
    chosen = {(b, w) for b in {0, mapped.grid // 2} for w in {0, warps // 2}}
    walker = _Walker(mapped, mapped.grid * warps / len(chosen))
    for block, warp in sorted(chosen):
        walker.warp(block, warp)
    return walker.found


def total(found: dict[tuple[str, str], Traffic]) -> Traffic:
    """All arrays together."""
    return Traffic(sum(t.asked for t in found.values()), sum(t.moved for t in found.values()))


@dataclass
class _Walker:
    """Goes through the statements with the lanes of a warp side by side. `weight`: warps that each looked-at one stands for."""

    mapped: Mapped
    weight: float
    found: dict[tuple[str, str], Traffic] = field(default_factory=dict)

    def warp(self, block: int, warp: int) -> None:
        mapped = self.mapped
        lanes: list[Lane] = []
        for number in range(warp * WARP, min((warp + 1) * WARP, mapped.block)):
            task = block * mapped.teams + number // mapped.team
            if task < mapped.kernel.task.extent:
                lanes.append({mapped.kernel.task: task, _THREAD: number % mapped.team})
        self.block(mapped.kernel.body, lanes, self.weight)

    def block(self, body: tuple[Stmt, ...], lanes: list[Lane], weight: float, done: frozenset[object] = frozenset()) -> None:
        for stmt in body if lanes else ():
            self.stmt(stmt, lanes, weight, done)

    def stmt(self, stmt: Stmt, lanes: list[Lane], weight: float, done: frozenset[object]) -> None:
        for read in dict.fromkeys(part for root in expressions(stmt) for part in below(root)):
            if isinstance(read, Load) and read not in done:
                there = [lane for lane in lanes if read.guard is None or _value(read.guard, lane)]
                self.access("load", read.array, read.index, there, read.dtype.size, weight)
        match stmt:
            case Let():
                for lane in lanes:
                    lane[stmt.temp] = _value(stmt.value, lane)
            case Store() | Accumulate():
                self.write(stmt, lanes, weight, done)
            case If():
                chosen = [bool(_value(stmt.condition, lane)) for lane in lanes]
                self.block(stmt.then, [x for x, yes in zip(lanes, chosen, strict=True) if yes], weight, done)
                self.block(stmt.orelse, [x for x, yes in zip(lanes, chosen, strict=True) if not yes], weight, done)
            case For():
                self.loop(stmt, lanes, weight, done)

    def loop(self, loop: For, lanes: list[Lane], weight: float, done: frozenset[object]) -> None:
        extent = loop.var.extent
        if loop.kind in (THREADS, FOLD):
            inside = [lane | {loop.var: lane[_THREAD], _MEMBER: True} for lane in lanes if lane[_THREAD] < extent]
            return self.block(loop.body, inside, weight, done)
        if loop.kind == PACKET:
            loads, stores = together(loop, self.visible)
            here = [lane | {loop.var: 0} for lane in lanes]
            for each in (*loads, *stores):
                self.access("load" if isinstance(each, Load) else "store", each.array, each.index, here, PACKET_BYTES, weight)
            done = done | {*loads, *stores}
        rounds = [0] if loop.kind == PACKET else sorted({0, extent // 2} if extent > 2 else set(range(extent)))
        for number in rounds:
            self.block(loop.body, [lane | {loop.var: number} for lane in lanes], weight * extent / len(rounds), done)

    @property
    def visible(self) -> set[Array]:
        return {*self.mapped.kernel.params, *self.mapped.shared}

    def write(self, stmt: Store | Accumulate, lanes: list[Lane], weight: float, done: frozenset[object]) -> None:
        if stmt in done:
            return
        guard = stmt.guard if isinstance(stmt, Store) else None
        there = [lane for lane in lanes if guard is None or _value(guard, lane)]
        if self.mapped.team > 1:  # outside of loops over threads one of them stores
            there = [lane for lane in there if _MEMBER in lane or lane[_THREAD] == 0]
        if isinstance(stmt, Accumulate):
            self.access("load", stmt.array, stmt.index, there, stmt.array.dtype.size, weight)
        self.access("store", stmt.array, stmt.index, there, stmt.array.dtype.size, weight)

    def access(self, how: str, array: Array, index: Expr, lanes: list[Lane], size: int, weight: float) -> None:
        if array not in self.mapped.kernel.params or not lanes:
            return
        starts = {_value(index, lane) * array.dtype.size for lane in lanes}
        touched = {start + byte for start in starts for byte in range(0, size, array.dtype.size)}
        found = self.found.setdefault((array.name, how), Traffic())
        found.asked += weight * len(touched) * array.dtype.size
        found.moved += weight * SECTOR * len({place // SECTOR for place in touched})


_THREAD, _MEMBER = Var("thread", WARP), Var("member", 2)  # keys of lanes: the thread's number; inside a loop over threads


def _value(root: Expr, lane: Lane) -> Any:
    """An expression on one thread."""
    known: dict[Expr, Any] = {}
    for part in below(root):
        known[part] = lane[part] if part in lane else _part(part, known)
    return known[root]


def _part(part: Expr, known: dict[Expr, Any]) -> Any:
    match part:
        case Const(value=value):
            return value
        case Temp() | Var():
            return 0  # a name of an array's element, in registers
        case Affine(terms=terms, constant=constant):
            return constant + sum(factor * known[atom] for atom, factor in terms)
        case Div(index=index, divisor=divisor):
            return known[index] // divisor
        case Mod(index=index, divisor=divisor):
            return known[index] % divisor
        case Load(index=index, dtype=dtype):
            return 1.0 if dtype.is_float else True if dtype.is_bool else known[index] * _LOOSE % _MANY
        case Call(word=word, args=args, dtype=dtype):
            return meaning(word, args[-1].dtype, dtype)(*(known[arg] for arg in args))
    raise AssertionError(f"no such expression: {type(part).__name__}")
