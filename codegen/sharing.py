"""How the launches of a function are shared among workers.

In: a function of a planned program. Out: parts in order: a launch whose tasks all workers share, or a run of launches that the
caller's thread, worker 0, does alone; with it, what must be finished before it starts. Holds: two launches that touch the same
memory, one of them storing, are in order. Decided from static sizes alone, so that control flow never depends on timing; who
runs a task does, and nothing that a task computes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from graphc.ir.kernel import (
    ARENA,
    CONSTANT,
    VARIABLE,
    Accumulate,
    Buffer,
    Call,
    For,
    If,
    Kernel,
    KernelFunction,
    Launch,
    Load,
    Stmt,
    evaluated,
)

# In multiply-adds of a contraction, of which a core does nearly a hundred a nanosecond. A worker that sleeps takes some twenty
# microseconds to come; one that spins reads what another has written at eight bytes a nanosecond, the first of them after 100.
PARALLEL_WORK = 2_000_000  # a function with less runs on its caller's thread
SHARED_WORK = 600_000  # a launch with less runs on worker 0
HANDED_WORK = 200_000  # unless it has so much, and others share the launch that reads its results
CHUNK_WORK = 1_000_000  # what is claimed at once at the end of a share, at most that of a launch by 2 ** MOST_CUTS
MOST_CUTS = 12
OPERATION = 8  # multiply-adds that any other operation takes as long as
BYTE = 3  # multiply-adds while a byte comes from memory
FAR_BYTES = 1 << 20  # that a launch touches, from which they come from there
ELEMENT_BYTES = 4  # that a multiply-add reads for itself, at most

# Words that take many instructions: operations they count for.
_HEAVY = dict.fromkeys("exp expm1 log log1p sin cos tan asin acos atan sinh cosh tanh erf ndtr pow atan2".split(), 20)
_HEAVY |= dict.fromkeys("div quot rem mod floordiv sqrt rsqrt".split(), 5)

Region = tuple[Hashable, int, int]  # address space, first byte, byte behind the last


@dataclass(frozen=True)
class Part:
    """`shared`: one launch for all workers, each share of which is claimed in `cuts` chunks; else launches for worker 0.
    `barrier`: all parts before must be finished first. `start`: units of work in the parts before, where a unit is a task
    of a shared launch, or a whole part that is not shared."""

    launches: tuple[Launch, ...]
    shared: bool
    barrier: bool
    start: int
    cuts: int = 1

    @property
    def units(self) -> int:
        return self.launches[0].kernel.task.extent if self.shared else 1


@dataclass(frozen=True)
class Sharing:
    """`parallel` says whether workers take part at all. `meet` says whether worker 0 must await them behind the last part.
    `work` is that of the whole function."""

    parallel: bool
    parts: tuple[Part, ...]
    meet: bool
    work: int

    @property
    def units(self) -> int:
        return sum(part.units for part in self.parts)


def share(function: KernelFunction, offsets: dict[Buffer, int], work: Callable[[Kernel], int]) -> Sharing:
    """Plan a function. `work` estimates a kernel's time, in multiply-adds."""
    launches = tuple(launch for launch in function.launches if launch.kernel.task.extent)
    costs = [_cost(launch, work(launch.kernel)) for launch in launches]
    total = sum(costs)
    wide = _wide(launches, costs)
    if total < PARALLEL_WORK or not any(wide):
        return Sharing(False, (Part(launches, False, False, 0),) if launches else (), False, total)
    parts: list[Part] = []
    pending: list[tuple[Launch, bool]] = []
    start = 0
    for launch, cost, shared in zip(launches, costs, wide, strict=True):
        barrier = any(
            (shared and other_shared and _is_limited(other)) or ((shared or other_shared) and _conflict(launch, other, offsets))
            for other, other_shared in pending
        )
        if barrier:
            pending.clear()
        pending.append((launch, shared))
        if parts and not (shared or parts[-1].shared or barrier):
            parts[-1] = replace(parts[-1], launches=(*parts[-1].launches, launch))
            continue
        parts.append(Part((launch,), shared, barrier, start, _cuts(cost) if shared else 1))
        start += parts[-1].units
    return Sharing(True, tuple(parts), any(shared for _, shared in pending), total)


def _wide(launches: tuple[Launch, ...], costs: list[int]) -> list[bool]:
    """Which launches are shared: those with much work, and before them those that make what they read, so that each worker
    has some of it."""
    wide: list[bool] = []
    read: set[Buffer] = set()
    for launch, cost in zip(reversed(launches), reversed(costs), strict=True):
        written = launch.written
        enough = SHARED_WORK if read.isdisjoint(written) else HANDED_WORK
        wide.append(launch.kernel.task.extent > 1 and cost >= enough)
        read -= written
        if wide[-1]:
            read |= {*launch.args} - written
    return wide[::-1]


def _cost(launch: Launch, work: int) -> int:
    """A launch's time: its kernel's, or, for what multiplies each element of a large operand once, the time to bring that."""
    moved = min(sum(buffer.nbytes for buffer in set(launch.args)), ELEMENT_BYTES * work)
    return work if moved < FAR_BYTES else max(work, BYTE * moved)


def _cuts(cost: int) -> int:
    """Chunks of a share, each half of what is left of it: so many that the last has some CHUNK_WORK."""
    return min(MOST_CUTS, max(1, (cost // CHUNK_WORK).bit_length()))


def _is_limited(launch: Launch) -> bool:
    """Whether some workers may have no scratch memory for it. They pass it by, and would claim what comes behind it while
    shares of it are left, which says that none are (llvm/shares.py)."""
    return any(buffer.parts > 1 for buffer in launch.args)


def _conflict(a: Launch, b: Launch, offsets: dict[Buffer, int]) -> bool:
    reads_a, writes_a = _regions(a, offsets)
    reads_b, writes_b = _regions(b, offsets)
    return _overlap(writes_a, reads_b + writes_b) or _overlap(reads_a, writes_b)


def _regions(launch: Launch, offsets: dict[Buffer, int]) -> tuple[list[Region], list[Region]]:
    reads: list[Region] = []
    writes: list[Region] = []
    written = launch.kernel.written
    for param, buffer in zip(launch.kernel.params, launch.args, strict=True):
        if buffer.kind != CONSTANT:
            (writes if param in written else reads).append(_region(buffer, offsets))
    return reads, writes


def _region(buffer: Buffer, offsets: dict[Buffer, int]) -> Region:
    if buffer.kind in (VARIABLE, ARENA):
        return buffer.kind, offsets[buffer], offsets[buffer] + buffer.nbytes
    return id(buffer), 0, buffer.nbytes


def _overlap(some: list[Region], others: list[Region]) -> bool:
    return any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a in some for b in others)


def work(kernel: Kernel) -> int:
    """The time of all tasks of a kernel in multiply-adds, as if no branch were skipped."""
    return kernel.task.extent * _block(kernel.body)


def _block(body: tuple[Stmt, ...]) -> int:
    return sum(_stmt(stmt) for stmt in body)


def _stmt(stmt: Stmt) -> int:
    if isinstance(stmt, For):
        return stmt.var.extent * _block(stmt.body)
    if isinstance(stmt, Accumulate) and isinstance(stmt.value, Call) and stmt.value.word == "mul":
        return 1
    inner = _block(stmt.then) + _block(stmt.orelse) if isinstance(stmt, If) else 0
    return inner + OPERATION * (1 + _operations(stmt))


def _operations(stmt: Stmt) -> int:
    """Distinct loads and words that a statement evaluates; index arithmetic is taken as free."""
    return sum(_HEAVY.get(expr.word, 1) if isinstance(expr, Call) else isinstance(expr, Load) for expr in evaluated(stmt))
