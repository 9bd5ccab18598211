"""Products and distances by their other names.

In: tensors of one or two dimensions, or batches of them. Out: what PyTorch's function of that name gives, from
`matmul`, outer products and norms. Factorisations (inverse, determinant, eigenvalues) do not exist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import DTypeError, GraphcError, ShapeError
from ..ir.location import here
from .core import Core, axis, broadcast_shapes, cast_value, result_type
from .elementwise import where
from .precision import rounded_once
from .products import dot
from .statistics import Statistics

if TYPE_CHECKING:
    from .tensor import Tensor


class Algebra(Statistics):
    """Methods of vectors and matrices."""

    __hash__ = Core.__hash__

    # beta * self + alpha * product.
    def _plus(self, product: Tensor, beta: float, alpha: float) -> Tensor:
        scaled = product if alpha == 1 else product * alpha
        if not beta:  # what is not counted may be NaN
            return scaled.broadcast_to(broadcast_shapes(self.shape, scaled.shape) or scaled.shape)
        return (self if beta == 1 else self * beta) + scaled

    def addmm(self, mat1: Tensor, mat2: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * (mat1 @ mat2)."""
        return self._plus(mat1.mm(mat2), beta, alpha)

    def addmv(self, mat: Tensor, vec: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * (mat @ vec)."""
        return self._plus(mat.mv(vec), beta, alpha)

    def addr(self, vec1: Tensor, vec2: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * outer(vec1, vec2)."""
        return self._plus(vec1.outer(vec2), beta, alpha)

    def baddbmm(self, batch1: Tensor, batch2: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * (batch1 @ batch2)."""
        return self._plus(batch1.bmm(batch2), beta, alpha)

    def addbmm(self, batch1: Tensor, batch2: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * the sum of the products of two batches of matrices."""
        return self._plus(batch1.bmm(batch2).sum(0, dtype=batch1.dtype), beta, alpha)

    # Products.
    def vdot(self, other: Tensor) -> Tensor:
        """The sum of products of two vectors; numbers are real here."""
        return self.dot(other)

    def ger(self, other: Tensor) -> Tensor:
        """outer."""
        return self.outer(other)

    def inner(self, other: Any) -> Tensor:
        """Sums of products along the last dimensions of both; a product where one is a number."""
        other = self.lift(other)
        if not self.ndim or not other.ndim:
            return self * other
        return self.tensordot(other, ((-1,), (-1,)))

    def tensordot(self, other: Any, dims: int | Sequence[Any] = 2) -> Tensor:
        """Sums of products along the last `dims` dimensions of this tensor and the first of the other, or along listed ones."""
        other = self.lift(other)
        if isinstance(dims, int):
            if not 0 <= dims <= min(self.ndim, other.ndim):
                raise ShapeError(f"tensordot: {self.shape} and {other.shape} have no {dims} dimensions to contract", here())
            left, right = tuple(range(self.ndim - dims, self.ndim)), tuple(range(dims))
        else:
            pairs = [tuple(d) if isinstance(d, tuple | list) else (d,) for d in dims]
            left, right = (
                tuple(axis(d, t.ndim, "tensordot") for d in given) for t, given in zip((self, other), pairs, strict=True)
            )
        extents = [tuple(t.shape[d] for d in chosen) for t, chosen in ((self, left), (other, right))]
        if any(n != m and 1 not in (n, m) for n, m in zip(*extents, strict=True)):
            raise ShapeError(
                f"tensordot: {self.shape} along {left} and {other.shape} along {right}: {extents[0]} is not {extents[1]}",
                here(),
            )
        if extents[0] != extents[1]:  # an extent of 1 stretches: what it meets is summed
            lone = [[d for d, m in zip(*given, strict=True) if m == 1] for given in ((left, extents[1]), (right, extents[0]))]
            thin = [t.sum(tuple(d), True, t.dtype) if d else t for t, d in zip((self, other), lone, strict=True)]
            return thin[0].tensordot(thin[1], (left, right))
        kind = result_type((self, other))
        return self.wrap(dot(cast_value(self.value, kind), cast_value(other.value, kind), (left, right)))

    def kron(self, other: Any) -> Tensor:
        """The Kronecker product: each element of this tensor times the whole other."""
        other = self.lift(other)
        rank = max(self.ndim, other.ndim)
        a, b = (t.reshape((1,) * (rank - t.ndim) + t.shape) for t in (self, other))
        split = a.reshape(tuple(n for size in a.shape for n in (size, 1))) * b.reshape(
            tuple(n for size in b.shape for n in (1, size))
        )
        return split.reshape(tuple(n * m for n, m in zip(a.shape, b.shape, strict=True)))

    def cross(self, other: Any, dim: int | None = None) -> Tensor:
        """The vector product along a dimension of extent 3: `dim`, or else the first."""
        other = self.lift(other)
        shape = broadcast_shapes(self.shape, other.shape)
        if shape is None or 3 not in (shape if dim is None else (shape[axis(dim, len(shape), "cross")],)):
            raise ShapeError(f"cross: {self.shape} and {other.shape} have no dimension of 3 elements at {dim}", here())
        d = shape.index(3) if dim is None else axis(dim, len(shape), "cross")
        a, b = self.broadcast_to(shape), other.broadcast_to(shape)
        return a.roll(-1, d) * b.roll(-2, d) - a.roll(-2, d) * b.roll(-1, d)

    def matrix_power(self, n: int) -> Tensor:
        """The product of n copies of a square matrix (or of a batch of them); of none, the identity."""
        if self.ndim < 2 or self.shape[-1] != self.shape[-2]:
            raise ShapeError(f"matrix_power: takes square matrices, got {self.shape}", here())
        if n < 0:
            raise GraphcError(f"matrix_power: the exponent must be at least 0, not {n}: there is no inverse", here())
        result, square = None, self.wrap(self.value)
        while n:
            result = (square if result is None else result.matmul(square)) if n & 1 else result
            n >>= 1
            square = square.matmul(square) if n else square
        if result is not None:
            return result
        return (self * 0 + 1).triu().tril()

    # Distances.
    @rounded_once
    def dist(self, other: Any, p: float = 2) -> Tensor:
        """The p-norm of the difference."""
        return (self - other).norm(p)

    @rounded_once
    def cdist(self, x2: Any, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
        """The p-norms of the differences between all rows of [..., n, k] and of [..., m, k]: [..., n, m]."""
        other = self.lift(x2)
        if self.ndim < 2 or other.ndim < 2 or self.shape[-1] != other.shape[-1]:
            raise ShapeError(f"cdist: takes (..., n, k) and (..., m, k), got {self.shape} and {other.shape}", here())
        if not (self.dtype.is_float and other.dtype.is_float):
            raise DTypeError(f"cdist is defined on floats, not {self.dtype} and {other.dtype}", here())
        gap = self.unsqueeze(-2) - other.unsqueeze(-3)
        if p == math.inf:
            return gap.abs().amax(-1) if gap.shape[-1] else gap.sum(-1)
        zero = gap == 0  # where a power of 0 has no slope
        if p in (0, 1, 2) or p > 1:
            return gap.norm(p, -1)
        total = where(zero, 0, where(zero, 1, gap).abs() ** p).sum(-1)
        nothing = total == 0
        return where(nothing, 0, where(nothing, 1, total) ** (1 / p))
