"""How the launches of a function are shared among workers.

In: a function of a planned program. Out: steps in order: each launch with whether all workers share its tasks or worker 0
runs them alone, and whether everybody meets at a barrier before it. Holds: two launches that touch the same memory, one of
them storing, are in order. Decided from static sizes alone, so that results and control flow never depend on timing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from graphc.ir.kernel import (
    ARENA,
    CONSTANT,
    VARIABLE,
    Buffer,
    Call,
    Expr,
    For,
    If,
    Kernel,
    KernelFunction,
    Launch,
    Load,
    Stmt,
    expressions,
    operands,
)

# In scalar operations, of which a core does some thirty a nanosecond. Waking a worker takes up to twenty microseconds,
# a barrier a tenth of one.
PARALLEL_WORK = 5_000_000  # a function with less runs on its caller's thread
SHARED_WORK = 20_000  # a launch with less runs on worker 0

# Words that take many instructions: operations they count for.
_HEAVY = dict.fromkeys("exp expm1 log log1p sin cos tan asin acos atan sinh cosh tanh erf pow atan2".split(), 20)
_HEAVY |= dict.fromkeys("div quot rem mod floordiv sqrt rsqrt".split(), 5)

Region = tuple[Hashable, int, int]  # address space, first byte, byte behind the last


@dataclass(frozen=True)
class Step:
    launch: Launch
    shared: bool
    barrier: bool  # before the launch


@dataclass(frozen=True)
class Sharing:
    """`parallel` says whether workers take part at all. `meet` says whether worker 0 must await them behind the last step.
    `work` is that of the whole function."""

    parallel: bool
    steps: tuple[Step, ...]
    meet: bool
    work: int


def share(function: KernelFunction, offsets: dict[Buffer, int], work: Callable[[Kernel], int]) -> Sharing:
    """Plan a function. `work` estimates a kernel's scalar operations."""
    launches = tuple(launch for launch in function.launches if launch.kernel.task.extent)
    costs = {id(launch): work(launch.kernel) for launch in launches}
    shared = [launch.kernel.task.extent > 1 and costs[id(launch)] >= SHARED_WORK for launch in launches]
    total = sum(costs.values())
    if total < PARALLEL_WORK or not any(shared):
        return Sharing(False, tuple(Step(launch, False, False) for launch in launches), False, total)
    steps: list[Step] = []
    pending: list[tuple[Launch, bool]] = []
    for launch, wide in zip(launches, shared, strict=True):
        barrier = any((wide or other_wide) and _conflict(launch, other, offsets) for other, other_wide in pending)
        if barrier:
            pending.clear()
        pending.append((launch, wide))
        steps.append(Step(launch, wide, barrier))
    return Sharing(True, tuple(steps), any(wide for _, wide in pending), total)


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
    """Scalar operations of all tasks of a kernel, as if no branch were skipped."""
    return kernel.task.extent * _block(kernel.body)


def _block(body: tuple[Stmt, ...]) -> int:
    return sum(_stmt(stmt) for stmt in body)


def _stmt(stmt: Stmt) -> int:
    if isinstance(stmt, For):
        return stmt.var.extent * _block(stmt.body)
    inner = _block(stmt.then) + _block(stmt.orelse) if isinstance(stmt, If) else 0
    return 1 + inner + _operations(stmt)


def _operations(stmt: Stmt) -> int:
    """Distinct loads and words that a statement evaluates; index arithmetic is taken as free."""
    seen: set[Expr] = set()
    todo = list(expressions(stmt))
    count = 0
    while todo:
        expr = todo.pop()
        if expr not in seen:
            seen.add(expr)
            count += _HEAVY.get(expr.word, 1) if isinstance(expr, Call) else isinstance(expr, Load)
            todo.extend(operands(expr))
    return count
