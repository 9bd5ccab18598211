"""The type of a graph value: element type and static shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..dtype import DType


@dataclass(frozen=True, slots=True)
class TensorType:
    """`dtype[d0, d1, ...]`; every extent is a known non-negative int."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.size

    @property
    def strides(self) -> tuple[int, ...]:
        """Row-major strides in elements."""
        return tuple(prod(self.shape[i + 1 :]) for i in range(len(self.shape)))

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
