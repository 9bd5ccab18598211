"""The numbers of a target that scheduling needs, and nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.dtype import DType


@dataclass(frozen=True)
class Trees:
    """When a reduction is worth partial results: where it has fewer than `tasks` tasks, each of `elements` or more, into
    `parts` of each result. A task folds `columns` results that lie beside each other. So is one whose results, up to `beside`
    of them, all lie beside each other, from so many elements on that one task would have them all from `memory`. Rows of fewer
    elements than `narrow` are folded several at a time."""

    tasks: int = 8
    elements: int = 16 << 10
    columns: int = 1
    parts: int = 64
    beside: int = 64
    memory: int = 1 << 20
    narrow: int = 16


@dataclass(frozen=True)
class Machine:
    """A core: bytes of a vector register, how many of them, and its caches in bytes; bytes a cycle that come from behind the
    second cache, and cycles that a load costs more in a step whose vectors come from there; how many columns a task folds side
    by side, at least, and when reductions become trees."""

    vector_bytes: int = 32
    vector_registers: int = 16
    l1: int = 32 << 10
    l2: int = 1 << 20
    beyond_l2: float = 4.0
    stream: float = 0.12
    columns: int = 64
    trees: Trees = Trees()

    def lanes(self, dtype: DType) -> int:
        """Lanes in which elements of `dtype` are computed (types narrower than 4 bytes are widened)."""
        return max(1, self.vector_bytes // max(dtype.size, 4))
