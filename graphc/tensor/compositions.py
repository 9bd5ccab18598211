"""Methods that say in one word what others say in a few.

In: tensors. Out: what PyTorch's (or numpy's) method of that name gives, as a composition of the layers below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .core import Core, axis
from .elementwise import where
from .indexing import Indexing
from .reductions import Extreme

if TYPE_CHECKING:
    from .tensor import Tensor


class Compositions(Indexing):
    """Short names."""

    __hash__ = Core.__hash__

    # Elements.
    def clamp_min(self, min: Any) -> Tensor:
        return self.clamp(min=min)

    def clamp_max(self, max: Any) -> Tensor:
        return self.clamp(max=max)

    def hypot(self, other: Any) -> Tensor:
        """The square root of the sum of squares, which does not overflow before it must."""
        a, b = self.abs(), abs(self.lift(other))
        large, small = a.maximum(b), a.minimum(b)
        ratio = where(large == 0, 0, small / where(large == 0, 1, large))
        return large * (1 + ratio * ratio).sqrt()

    def logaddexp(self, other: Any) -> Tensor:
        """log(exp(x) + exp(y))."""
        other = self.lift(other)
        top = self.maximum(other)
        gap = where(self == other, 0, -abs(self - other))  # equal infinities have no difference
        return top + gap.exp().log1p()

    def logit(self, eps: float | None = None) -> Tensor:
        """log(x / (1 - x)), of x kept between eps and 1 - eps."""
        x = self if eps is None else self.clamp(eps, 1 - eps)
        return (x / (1 - x)).log()

    def addcmul(self, tensor1: Any, tensor2: Any, value: float = 1) -> Tensor:
        """self + value * tensor1 * tensor2."""
        return self + self.lift(tensor1) * tensor2 * value

    def addcdiv(self, tensor1: Any, tensor2: Any, value: float = 1) -> Tensor:
        """self + value * tensor1 / tensor2."""
        return self + self.lift(tensor1) / tensor2 * value

    def isclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        """|x - y| <= atol + rtol |y|, or equal."""
        other = self.lift(other)
        near = (self == other) | ((abs(self - other) <= atol + rtol * abs(other)) & other.isfinite())
        return near | (self.isnan() & other.isnan()) if equal_nan else near

    def allclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        return self.isclose(other, rtol, atol, equal_nan).all()

    # Shapes.
    def ravel(self) -> Tensor:
        return self.flatten()

    def expand_dims(self, axis: int) -> Tensor:
        return self.unsqueeze(axis)

    def swapdims(self, dim0: int, dim1: int) -> Tensor:
        return self.transpose(dim0, dim1)

    def tile(self, *dims: Any) -> Tensor:
        """repeat, with counts of 1 for dimensions in front that are not named."""
        counts = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
        return self.repeat((1,) * (self.ndim - len(counts)) + counts)

    def select(self, dim: int, index: int) -> Tensor:
        """One slice along `dim`, without it."""
        d = axis(dim, self.ndim, "select")
        return self[(slice(None),) * d + (index,)]

    def fliplr(self) -> Tensor:
        return self.flip(1)

    def flipud(self) -> Tensor:
        return self.flip(0)

    # Along dimensions.
    def diff(self, n: int = 1, dim: int = -1) -> Tensor:
        """Differences of neighbours, n times."""
        d = axis(dim, self.ndim, "diff")
        x = self.wrap(self.value)
        for _ in range(n):
            size = x.shape[d]
            x = x.narrow(d, min(1, size), max(size - 1, 0)) - x.narrow(d, 0, max(size - 1, 0))
        return x

    def median(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The lower of the middle elements; with `dim` (values, indices)."""
        if dim is None:
            return self.flatten().sort(0).values[(self.numel() - 1) // 2]
        d = axis(dim, self.ndim, "median")
        found = [x.narrow(d, (self.shape[d] - 1) // 2, 1) for x in self.sort(d)]
        return Extreme(*(x if keepdim else x.squeeze(d) for x in found))

    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
        return self.amin(dim, keepdim), self.amax(dim, keepdim)

    def var_mean(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
        return self.var(dim, correction, keepdim), self.mean(dim, keepdim)

    def std_mean(self, dim: Any = None, correction: int = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
        return self.std(dim, correction, keepdim), self.mean(dim, keepdim)

    # Products, and writes.
    def baddbmm(self, batch1: Tensor, batch2: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * (batch1 @ batch2)."""
        return self * beta + batch1.bmm(batch2) * alpha

    def index_add(self, dim: int, index: Any, source: Tensor, alpha: float = 1) -> Tensor:
        """A copy to whose slices named by a 1-d index along `dim` those of `source` are added."""
        d = axis(dim, self.ndim, "index_add")
        chosen = self.lift(index).reshape(tuple(-1 if i == d else 1 for i in range(self.ndim)))
        return self.scatter_add(d, chosen.broadcast_to(source.shape), source * alpha)
