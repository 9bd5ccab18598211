"""The numbers of a target that scheduling needs, and nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.dtype import DType


@dataclass(frozen=True)
class Machine:
    """A core: bytes of a vector register, how many of them, fused multiply-adds a cycle, and its caches in bytes."""

    vector_bytes: int = 32
    vector_registers: int = 16
    l1: int = 32 << 10
    l2: int = 1 << 20

    def lanes(self, dtype: DType) -> int:
        """Lanes in which elements of `dtype` are computed (types narrower than 4 bytes are widened)."""
        return max(1, self.vector_bytes // max(dtype.size, 4))
