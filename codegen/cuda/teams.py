"""Kernels whose tasks walk rows: a team of threads runs each task, with the lanes of its loops spread over them.

    for v < n vector: body(v)      ->  for t threads: for k < n / (T p): for j < p packet: body((k T + t) p + j)
    acc[i] combine= x(v)  in there ->  part[t, i] combine= x(v);  afterwards  for t fold: acc[i] combine= part[t, i]

In: a kernel with loops over lanes. Out: a `Mapped` kernel, or None where the rules below do not allow it:
iterations of a loop over lanes are independent but for folds into cells that are the same for all lanes. Scratch arrays
that only lanes touch, each its own element, are cut into parts that threads keep in registers; small ones that hold the
same for all lanes are copied; the others are shared, and threads meet between stores and loads (sync.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.ir.expr import Array, Expr, Index, Load, Temp, Var, as_index, cast, const, linear, load
from graphc.ir.kernel import (
    COMBINES,
    SERIAL,
    UNROLLED,
    VECTOR,
    Accumulate,
    For,
    If,
    Kernel,
    Let,
    Local,
    Stmt,
    Store,
    expressions,
    walk,
)
from graphc.ir.kernel_rewrite import Rewriter

from .expressions import below
from .maps import packet_width
from .roles import FOLD, PACKET, THREADS, Mapped
from .sync import barriers
from .target import Gpu
from .tidy import serial, tidy

SHORT_ROW = 16  # lanes below which many tasks are better run by a thread each
MANY_TASKS = 1024
COPIED = 64  # elements up to which an array that is the same for all threads is copied, and a fold has cells
HELD = 64  # bytes of arrays in a thread's registers up to which two blocks of the largest teams fit a multiprocessor
UNROLL = 8  # rounds that are written out
SHARES = ((16, 8), (4, 4), (0, 1))  # tasks for each multiprocessor -> packets of lanes for each thread


class _Unfit(Exception):
    """The kernel cannot be run by teams."""


def spread(kernel: Kernel, gpu: Gpu, share: int | None = None) -> Mapped | None:
    """The kernel with a team for each task; `share` packets of lanes on each thread, where that is known."""
    loops = list(_lane_loops(kernel.body))
    longest = max((loop.var.extent for loop in loops), default=0)
    if longest < 2 or (longest < SHORT_ROW and kernel.task.extent >= MANY_TASKS):
        return None
    width = packet_width([loop for loop in loops if loop.var.extent == longest], kernel.params)
    threads = -(-longest // (width * (share or _share(kernel.task.extent, gpu))))
    team = min(max(gpu.warp, 1 << (threads - 1).bit_length()), gpu.team)
    try:
        return _Team(kernel, team, gpu).mapped()
    except _Unfit:
        return None


def _share(tasks: int, gpu: Gpu) -> int:
    """Packets for each thread: with tasks enough to fill the GPU, warps that keep their rows to themselves never wait for each
    other; with few tasks the threads come from the rows."""
    return next(packets for enough, packets in SHARES if tasks >= enough * gpu.processors)


def _lane_loops(body: tuple[Stmt, ...]) -> Iterator[For]:
    """The outermost loops over lanes."""
    for stmt in body:
        if isinstance(stmt, For) and stmt.kind == VECTOR:
            yield stmt
        elif isinstance(stmt, For):
            yield from _lane_loops(stmt.body)
        elif isinstance(stmt, If):
            yield from _lane_loops(stmt.then)
            yield from _lane_loops(stmt.orelse)


@dataclass(frozen=True)
class Access:
    """A use of an array: in which loop over lanes (None: where all threads do the same), and how ("load", "store", or the
    word of a fold)."""

    array: Array
    index: Expr
    loop: For | None
    how: str

    @property
    def same_for_all(self) -> bool:
        """Whether all lanes use the same cell."""
        assert self.loop is not None
        inner = {s.temp for s in walk(self.loop.body) if isinstance(s, Let)} | {self.loop.var}
        return not any(part in inner or isinstance(part, Load) for part in below(self.index))

    @property
    def own(self) -> bool:
        """Whether each lane has a cell of its own."""
        terms, _ = linear(as_index(self.index))
        assert self.loop is not None
        rest = [part for atom in terms if atom is not self.loop.var for part in below(atom)]
        inner = {s.temp for s in walk(self.loop.body) if isinstance(s, Let)} | {self.loop.var}
        return self.loop.var in terms and not any(part in inner for part in rest)


def _accesses(body: tuple[Stmt, ...], loop: For | None = None) -> Iterator[Access]:
    for stmt in body:
        for root in expressions(stmt):
            yield from (Access(e.array, e.index, loop, "load") for e in below(root) if isinstance(e, Load))
        if isinstance(stmt, Store):
            yield Access(stmt.array, stmt.index, loop, "store")
        elif isinstance(stmt, Accumulate):
            yield Access(stmt.array, stmt.index, loop, stmt.combine)
        elif isinstance(stmt, For):
            yield from _accesses(stmt.body, loop or (stmt if stmt.kind == VECTOR else None))
        elif isinstance(stmt, If):
            yield from _accesses((*stmt.then, *stmt.orelse), loop)


class _Team:
    def __init__(self, kernel: Kernel, team: int, gpu: Gpu) -> None:
        self.kernel, self.team, self.gpu = kernel, team, gpu
        self.loops = list(_lane_loops(kernel.body))
        self.accesses = list(_accesses(kernel.body))
        self.inner = {s.array for loop in self.loops for s in walk(loop.body) if isinstance(s, Local)}
        self.folded = {a.array for a in self.accesses if a.loop is not None and a.how in COMBINES and self._folds(a)}
        self._check()
        self.cut: dict[Array, Array] = {}  # scratch -> the same, a part for each thread
        self.parts: dict[Array, int] = {}
        self.shared: set[Array] = set()
        self._place()
        self.partial: dict[Array, Array] = {}

    def _folds(self, access: Access) -> bool:
        return access.array not in self.inner and access.same_for_all

    def _check(self) -> None:
        """Lanes store cells of their own, or fold."""
        for access in self.accesses:
            if access.loop is None or access.how == "load" or access.array in self.inner:
                continue
            if access.array in self.folded:
                if access.how == "store" or not access.same_for_all:
                    raise _Unfit
            elif access.how != "store" and not access.own:
                raise _Unfit

    def _place(self) -> None:
        """Which scratch arrays are cut into parts, copied, or shared."""
        for stmt in walk(self.kernel.body):
            if not isinstance(stmt, Local) or stmt.array in self.inner:
                continue
            uses = [a for a in self.accesses if a.array is stmt.array]
            loops = [a.loop for a in uses]
            extents = {loop.var.extent for loop in loops if loop is not None}
            if len(extents) == 1 and None not in loops and all(a.index is a.loop.var for a in uses if a.loop is not None):
                rounds, width, threads = self._split(extents.pop())
                cut = Array(stmt.array.name, stmt.array.dtype, threads * rounds * width)
                self.cut[stmt.array], self.parts[cut] = cut, rounds * width
            elif any(a.loop is not None and a.how == "store" for a in uses) or stmt.array.size > COPIED:
                self.shared.add(stmt.array)
        if sum(array.size * array.dtype.size for array in self.shared) > self.gpu.shared_bytes - 1024:
            raise _Unfit

    def _split(self, extent: int) -> tuple[int, int, int]:
        """(rounds, elements a round, threads) of loops of `extent` lanes."""
        width = packet_width([loop for loop in self.loops if loop.var.extent == extent], self.kernel.params)
        width = width if extent // width >= self.gpu.warp else 1
        steps = -(-extent // width)
        return -(-steps // self.team), width, min(steps, self.team)

    def mapped(self) -> Mapped:
        kernel = tidy(Kernel(self.kernel.name, self.kernel.params, self.kernel.task, self._block(self.kernel.body)))
        visible = self.shared | set(kernel.written)
        meets = barriers(kernel.body, visible)
        alone = self.team > self.gpu.warp or meets or self.shared
        teams = 1 if alone else min(self.gpu.block // self.team, kernel.task.extent)
        held = sum(size * array.dtype.size for array, size in self.parts.items())
        resident = 2 if self.team == self.gpu.team and held <= HELD else 1
        return Mapped(kernel, self.team, teams, frozenset(self.shared), self.parts, meets, resident)

    # --------------------------------------------------------------------------------------------------------- statements

    def _block(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        result: list[Stmt] = []
        for stmt in body:
            if isinstance(stmt, For) and any(True for _ in _lane_loops((stmt,))):
                result += self._region(stmt)
            elif isinstance(stmt, If):
                result.append(If(stmt.condition, self._block(stmt.then), self._block(stmt.orelse)))
            elif isinstance(stmt, Local):
                result.append(Local(self.cut.get(stmt.array, stmt.array)))
            else:
                result += serial((stmt,))
        return tuple(result)

    def _region(self, loop: For) -> list[Stmt]:
        """A loop with, around it, the partial results of folds that only it takes part in."""
        uses: dict[Array, set[str]] = {}
        everywhere: set[Array] = set()
        for access in _accesses((loop,)):
            uses.setdefault(access.array, set()).add(access.how)
            everywhere |= {access.array} if access.loop is None else set()
        here = [a for a, hows in uses.items() if a in self.folded - self.partial.keys() and hows & COMBINES.keys()]
        alone = [array for array in here if len(uses[array]) == 1 and array not in everywhere]
        if loop.kind == VECTOR and alone != here:
            raise _Unfit
        before: list[Stmt] = []
        behind: list[Stmt] = []
        for array in alone:
            (word,) = uses[array]
            before += self._start(array, word)
            behind += self._finish(array, word)
        middle = self._threads(loop) if loop.kind == VECTOR else For(loop.var, self._block(loop.body), loop.kind, loop.width)
        for array in alone:
            del self.partial[array]
        return [*before, middle, *behind]

    def _start(self, array: Array, word: str) -> list[Stmt]:
        """A partial result for each thread, neutral at first."""
        if array.size > COPIED:
            raise _Unfit
        dtype = array.dtype.accumulator
        part = self.partial[array] = Array(f"{array.name}_part", dtype, self.team * array.size)
        self.parts[part] = array.size
        thread, cell = Var("thread", self.team), Var("i", array.size)
        neutral = const(-0.0 if word == "add" and dtype.is_float else COMBINES[word](dtype), dtype)
        store = Store(part, thread * array.size + cell, neutral)
        return [Local(part), For(thread, (_over(cell, store),), THREADS)]

    def _finish(self, array: Array, word: str) -> list[Stmt]:
        thread, cell = Var("thread", self.team), Var("i", array.size)
        value = cast(load(self.partial[array], thread * array.size + cell), array.dtype.accumulator)
        return [For(thread, (_over(cell, Accumulate(array, as_index(cell), word, value)),), FOLD)]

    def _threads(self, loop: For) -> For:
        """The loop over lanes, spread over the team."""
        extent = loop.var.extent
        rounds, width, threads = self._split(extent)
        thread, lane = Var("thread", threads), Var("lane", width)
        number = Var("round", rounds)
        step = number * self.team + thread
        at = step * width + lane
        own = thread * (rounds * width) + number * width + lane
        body = _Lanes(self, loop.var, thread, at, own).block(serial(loop.body))
        if width > 1:
            body = (For(lane, body, PACKET),)
        if rounds > 1:
            guarded = body if rounds * self.team * width == extent else (If(step * width < extent, body),)
            body = (For(number, guarded, UNROLLED if rounds <= UNROLL else SERIAL),)
        return For(thread, body, THREADS)


def _over(cell: Var, stmt: Stmt) -> Stmt:
    return For(cell, (stmt,), UNROLLED)


class _Lanes(Rewriter):
    """The body of a loop over lanes, for the lanes of one thread."""

    def __init__(self, team: _Team, var: Var, thread: Var, at: Index, own: Index) -> None:
        super().__init__()
        self.team, self.var, self.thread, self.at, self.own = team, var, thread, at, own

    def name(self, expr: Temp | Var) -> Expr:
        return self.at if expr is self.var else expr

    def load(self, array: Array, index: Index, guard: Expr | None) -> Expr:
        cut = self.team.cut.get(array)
        return load(array, index, guard) if cut is None else load(cut, self.own, guard)

    def stmt(self, stmt: Stmt) -> Stmt:
        new = super().stmt(stmt)
        if isinstance(new, Accumulate) and new.array in self.team.partial:
            part, size = self.team.partial[new.array], new.array.size
            return Accumulate(part, self.thread * size + new.index, new.combine, cast(new.value, part.dtype))
        cut = self.team.cut.get(new.array) if isinstance(new, Store | Accumulate) else None
        if cut is not None:
            if isinstance(new, Store):
                return Store(cut, self.own, new.value, new.guard)
            assert isinstance(new, Accumulate)
            return Accumulate(cut, self.own, new.combine, new.value)
        return new
