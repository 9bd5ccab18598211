"""Kernels whose loops and arrays have places on a GPU.

In: nothing. Out: `Mapped`, a kernel of the Kernel IR with roles beside it. The roles say where code runs and memory lies,
never what is computed: run as it stands, loop by loop, the kernel means the same.

    task             a team of threads runs one task together; a block is one team or several
    for ... threads  one iteration on each thread of the team (at most as many as it has); outside of such loops all threads
                     do the same, and one of them stores what others can see
    for ... fold     over the threads too, around folds alone: afterwards every thread holds the result
    for ... mma      over the warps of the team, around one small product of matrices that a warp makes with one instruction,
                     from what its threads hold into what they hold (fragments.py)
    for ... packet   unrolled; its neighbouring elements are loaded and stored as 16 bytes where that is possible
    local array      shared by the team's threads, or cut into parts: thread t holds the elements from t * size;
                     all others are copies, the same on each thread
    barriers         the statements before which all threads of the block meet
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.ir.expr import Array
from graphc.ir.kernel import Kernel, Stmt

THREADS, FOLD, MMA, PACKET = "threads", "fold", "mma", "packet"


@dataclass(frozen=True)
class Mapped:
    """A kernel on its way to a GPU: `team` threads a task, `teams` of them a block; more than one only without barriers."""

    kernel: Kernel
    team: int
    teams: int
    shared: frozenset[Array] = frozenset()
    parts: Mapping[Array, int] = field(default_factory=dict)  # elements of an array that one thread holds
    barriers: frozenset[Stmt] = frozenset()
    resident: int = 1  # blocks for which a multiprocessor must have registers
    atomic: frozenset[Array] = frozenset()  # params that any thread may add to at any time, and nothing else is done with
    note: str = ""  # for who reads the text

    @property
    def block(self) -> int:
        """Threads of a block."""
        return self.team * self.teams

    @property
    def grid(self) -> int:
        """Blocks of a launch."""
        return -(-self.kernel.task.extent // self.teams)
