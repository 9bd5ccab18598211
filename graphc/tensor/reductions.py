"""Tensors folded along dimensions: sums, extremes, statistics, softmax.

In: a tensor, `dim` (one, several, or None for all) and `keepdim`. Out: what PyTorch's function of that name gives.
Integer sums are int64; float16 and bfloat16 accumulate in float32; softmax and logsumexp subtract the maximum first.
"""

from __future__ import annotations

import math
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from ..dtype import bool_, float32, int64
from ..errors import DTypeError, ShapeError
from ..ir.location import here
from ..ir.values import make
from ..ops.softmax import softmax
from .core import axes, axis
from .elementwise import where
from .precision import rounded_once
from .shapes import reshape_value
from .special import Special

if TYPE_CHECKING:
    from .tensor import Tensor


class Extreme(NamedTuple):
    """What max and min along one dimension give, and sort and topk."""

    values: Tensor
    indices: Tensor


class Reductions(Special):
    """Methods that fold dimensions."""

    def _reduce(self, name: str, dim: Any, keepdim: bool) -> Tensor:
        chosen = axes(dim, self.ndim, name.removeprefix("reduce_"))
        value = make(name, self.value, axes=chosen) if chosen else self.value
        if keepdim:
            value = reshape_value(value, tuple(1 if d in chosen else n for d, n in enumerate(self.shape)))
        return self.wrap(value)

    def _count(self, dim: Any, name: str) -> int:
        return prod(self.shape[d] for d in axes(dim, self.ndim, name))

    def _must_be_float(self, name: str) -> None:
        if not self.dtype.is_float:
            raise DTypeError(f"{name} is defined on floats, not {self.dtype}; use .float().{name}(...)", here())

    def _must_have_elements(self, dim: Any, name: str) -> None:
        if self._count(dim, name) == 0:
            raise ShapeError(f"{name}: there are no elements to choose from along {dim} of {self.shape}", here())

    def sum(self, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        """The sum; of bools and integers it is int64 unless `dtype` says otherwise."""
        kind = dtype or (self.dtype if self.dtype.is_float else int64)
        return self.to(kind)._reduce("reduce_sum", dim, keepdim)

    def prod(self, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        """The product; of bools and integers it is int64 unless `dtype` says otherwise."""
        kind = dtype or (self.dtype if self.dtype.is_float else int64)
        return self.to(kind)._reduce("reduce_prod", dim, keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        x = self if dtype is None else self.to(dtype)
        x._must_be_float("mean")
        return x._mean(dim, keepdim)

    @rounded_once
    def _mean(self, dim: Any, keepdim: bool) -> Tensor:
        total, count = self.sum(dim, keepdim), self._count(dim, "mean")
        return total / count if count else total * math.nan

    def amax(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The largest element; NaN where there is one."""
        self._must_have_elements(dim, "amax")
        if self.dtype.is_bool:
            return self.any(dim, keepdim)
        return self._reduce("reduce_max", dim, keepdim)

    def amin(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The smallest element; NaN where there is one."""
        self._must_have_elements(dim, "amin")
        if self.dtype.is_bool:
            return self.all(dim, keepdim)
        return self._reduce("reduce_min", dim, keepdim)

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """Without arguments the largest element; with `dim` (values, indices); with a tensor the elementwise maximum."""
        if dim is None:
            return self.amax(None, keepdim)
        return self.maximum(dim) if isinstance(dim, Reductions) else self._extreme("max", dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """Without arguments the smallest element; with `dim` (values, indices); with a tensor the elementwise minimum."""
        if dim is None:
            return self.amin(None, keepdim)
        return self.minimum(dim) if isinstance(dim, Reductions) else self._extreme("min", dim, keepdim)

    def _extreme(self, name: str, dim: int, keepdim: bool) -> Extreme:
        values = self.amax(dim, keepdim) if name == "max" else self.amin(dim, keepdim)
        return Extreme(values, self.argmax(dim, keepdim) if name == "max" else self.argmin(dim, keepdim))

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The int64 index of the first largest element, of the flattened tensor when `dim` is None."""
        return self._arg("argmax", dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The int64 index of the first smallest element, of the flattened tensor when `dim` is None."""
        return self._arg("argmin", dim, keepdim)

    def _arg(self, name: str, dim: int | None, keepdim: bool) -> Tensor:
        self._must_have_elements(dim, name)
        if dim is None or not self.ndim:
            flat = self.flatten()._arg(name, 0, False)
            return flat.reshape((1,) * self.ndim) if keepdim else flat
        d = axis(dim, self.ndim, name)
        result = self.wrap(make(name, self.value, axis=d))
        return result.unsqueeze(d) if keepdim else result

    def any(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return self.to(bool_)._reduce("reduce_any", dim, keepdim)

    def all(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return self.to(bool_)._reduce("reduce_all", dim, keepdim)

    def count_nonzero(self, dim: Any = None) -> Tensor:
        return (self != 0).sum(dim)

    @rounded_once
    def var(self, dim: Any = None, correction: float | None = 1, keepdim: bool = False, unbiased: bool | None = None) -> Tensor:
        """The variance; `correction` (None: 1) is subtracted from the number of elements (0: of a population)."""
        self._must_be_float("var")
        if isinstance(dim, bool):  # var(unbiased)
            return self.var(None, 1, keepdim, dim)
        centred = self - self.mean(dim, keepdim=True)
        total = (centred * centred).sum(dim, keepdim)
        lost = 1.0 if correction is None else float(correction)
        count = self._count(dim, "var")
        freedom = count - (lost if unbiased is None else float(unbiased))
        return total / freedom if count and freedom > 0 else total / 0.0

    @rounded_once
    def std(self, dim: Any = None, correction: float | None = 1, keepdim: bool = False, unbiased: bool | None = None) -> Tensor:
        """The square root of the variance."""
        return self.var(dim, correction, keepdim, unbiased).sqrt()

    @rounded_once
    def norm(self, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The p-norm; its gradient at 0 is 0."""
        self._must_be_float("norm")
        if p in (math.inf, -math.inf, "inf"):
            size = self.abs()
            return size.amin(dim, keepdim) if p == -math.inf else size.amax(dim, keepdim)
        if p == 0:
            return (self != 0).sum(dim, keepdim).to(self.dtype)
        if p == 1:
            return self.abs().sum(dim, keepdim)
        squares = p in (2, "fro")
        total = (self * self if squares else self.abs() ** p).sum(dim, keepdim)
        zero = total == 0
        safe = where(zero, 1, total)
        return where(zero, 0, safe.sqrt() if squares else safe ** (1 / p))

    def _shifted(self, dim: Any) -> tuple[Tensor, Tensor]:
        """(x minus its finite maximum along dim, that maximum): exp of the first does not overflow."""
        top = self.amax(dim, keepdim=True).detach()
        return self - top, top

    @rounded_once
    def logsumexp(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """log of the sum of exponentials; -inf where all elements are -inf."""
        if not self.dtype.is_float:
            return self.to(float32).logsumexp(dim, keepdim)
        if not self._count(dim, "logsumexp"):
            return self.sum(dim, keepdim).log()
        top = self.amax(dim, keepdim=True).detach()
        top = where(top.isinf(), 0, top)
        result = (self - top).exp().sum(dim, keepdim=True).log() + top
        return result if keepdim else result.reshape(self._reduce("reduce_sum", dim, False).shape)

    def softmax(self, dim: int, dtype: Any = None) -> Tensor:
        """exp(x) over its sum along `dim`."""
        x = self if dtype is None else self.to(dtype)
        x._must_be_float("softmax")
        if not x.numel() or not x.ndim:
            return x * 0 + 1
        return x.wrap(softmax(x.value, axis(dim, self.ndim, "softmax")))

    def log_softmax(self, dim: int, dtype: Any = None) -> Tensor:
        """The logarithm of softmax."""
        x = self if dtype is None else self.to(dtype)
        x._must_be_float("log_softmax")
        return x._log_softmax(dim) if x.numel() and x.ndim else x * 0

    @rounded_once
    def _log_softmax(self, dim: int) -> Tensor:
        shifted = self._shifted(axis(dim, self.ndim, "log_softmax"))[0]
        return shifted - shifted.exp().sum(dim, keepdim=True).log()
