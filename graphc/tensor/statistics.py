"""Order statistics, counts, moments of several variables, searches.

In: tensors. Out: what PyTorch's function of that name gives, as far as its shape is known when the graph is built: bins
are counted by number, never by the data. Positions among equals follow PyTorch on CPU; sorting puts NaN last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..dtype import bool_, float32, int32, int64
from ..errors import GraphcError, ShapeError
from ..ir.location import here
from ..ir.types import TensorType
from ..ir.values import full, make
from ..ops.index import gather
from ..ops.nth import is_nth, nth_in_order
from ..ops.top import first_in_order
from .core import Core, axis, sizes
from .elementwise import where
from .positions import Positions
from .precision import rounded_once
from .reductions import Extreme
from .shapes import cat

if TYPE_CHECKING:
    from .tensor import Tensor

MANY = 128  # ordered elements: a place among so many is not found by comparing all
_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


class Statistics(Positions):
    """Methods about the distribution of elements."""

    __hash__ = Core.__hash__

    # Ranks.
    def _nth(self, ranks: Tensor, d: int) -> Tensor:
        """The positions along dimension d of the elements that a stable sort would bring to these ranks."""
        return self.wrap(nth_in_order(self.value, ranks.value, d))

    def _of_ranks(self, ranks: Tensor) -> Tensor:
        """The elements along the last dimension that a sort would bring to these ranks."""
        return self.gather(-1, self._nth(ranks.to(int64), self.ndim - 1))

    def kthvalue(self, k: int, dim: int = -1, keepdim: bool = False) -> Extreme:
        """(the k-th smallest elements along `dim`, counted from 1, their indices)."""
        if not self.ndim:
            return Extreme(*(x.reshape(()) for x in self.reshape(1).kthvalue(k, dim)))
        d = axis(dim, self.ndim, "kthvalue")
        (k,) = sizes([k], "kthvalue")
        if not 1 <= k <= self.shape[d]:
            raise ShapeError(f"kthvalue: k = {k} is not within 1 to {self.shape[d]}, dimension {dim} of {self.shape}", here())
        if is_nth(self.value.type, d, k):
            shape = tuple(1 if i == d else n for i, n in enumerate(self.shape))
            index = self._nth(self.wrap(full(TensorType(int64, shape), k - 1)), d)
        else:
            index = self.wrap(first_in_order(self.value, d, k)).narrow(d, k - 1, 1)
        found = (self.gather(d, index), index)
        return Extreme(*(x if keepdim else x.squeeze(d) for x in found))

    def median(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The lower of the middle elements, NaN where there is one; with `dim` (values, indices)."""
        return self._middle(dim, keepdim, ignore=False)

    def nanmedian(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The lower of the middle elements that are not NaN; with `dim` (values, indices)."""
        return self._middle(dim, keepdim, ignore=True)

    def _middle(self, dim: int | None, keepdim: bool, ignore: bool) -> Any:
        if dim is None and not self.numel() and self.dtype.is_float:
            return self.mean()  # NaN
        if dim is None or not self.ndim:
            found = self.flatten()._middle(0, False, ignore)
            return found.values if dim is None else Extreme(*found)
        self._must_have_elements(dim, "median")
        d = axis(dim, self.ndim, "median")
        n = self.shape[d]
        lost = self.isnan()
        known = n - lost.sum(d, keepdim=True)
        place = where(known == 0, 0, (known - 1) // 2)
        if not ignore:  # the first NaN is the first behind what is known
            place = where(known == n, place, known.clamp(max=n - 1))
        index = self._nth(place, d)
        found = (self.gather(d, index), index)
        return Extreme(*(x if keepdim else x.squeeze(d) for x in found))

    def mode(self, dim: int = -1, keepdim: bool = False) -> Extreme:
        """(the most frequent value along `dim`, the smallest of several, the index of its last occurrence)."""
        if not self.ndim:
            return Extreme(*(x.reshape(()) for x in self.reshape(1).mode(0)))
        d = axis(dim, self.ndim, "mode")
        self._must_have_elements(d, "mode")
        values, order = self.sort(d)
        place = self.wrap(make("iota", dtype=int64, shape=self.shape, axis=d))
        n = self.shape[d]
        fresh = values.narrow(d, 1, n - 1) != values.narrow(d, 0, n - 1)
        low = tuple(1 if i == d else 0 for i in range(self.ndim))
        zero = (0,) * self.ndim
        begins = self.wrap(make("pad", fresh.value, low=low, high=zero, interior=zero, value=True))
        length = place - where(begins, place, 0).cummax(d).values
        index = order.gather(d, length.argmax(d, keepdim=True))
        found = (self.gather(d, index), index)
        return Extreme(*(x if keepdim else x.squeeze(d) for x in found))

    def quantile(self, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Tensor:
        """The quantiles q (in [0, 1]), in front of the other dimensions if q is a vector; NaN where there is one."""
        return self._quantile("quantile", q, dim, keepdim, interpolation, ignore=False)

    def nanquantile(self, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Tensor:
        """The quantiles of the elements that are not NaN."""
        return self._quantile("nanquantile", q, dim, keepdim, interpolation, ignore=True)

    def _quantile(self, name: str, q: Any, dim: int | None, keepdim: bool, interpolation: str, ignore: bool) -> Tensor:
        self._must_be_float(name)
        if interpolation not in _INTERPOLATIONS:
            raise GraphcError(f"{name}: interpolation is one of {', '.join(_INTERPOLATIONS)}, not {interpolation!r}", here())
        levels = self.lift(q).to(self.dtype)
        if levels.ndim > 1:
            raise ShapeError(f"{name}: q must be a number or a vector, got {levels.shape}", here())
        if dim is None or not self.ndim:
            flat = self.flatten()._quantile(name, levels, 0, False, interpolation, ignore)
            return flat.reshape((*levels.shape, *(1,) * self.ndim)) if keepdim else flat
        d = axis(dim, self.ndim, name)
        self._must_have_elements(d, name)
        x = self.movedim(d, -1)
        lost = x.isnan()
        count = where(lost, 0, 1).sum(-1, keepdim=True)
        rank = levels.reshape(-1) * where(count == 0, 0, count - 1).to(self.dtype)
        if not ignore:
            rank = where(lost.any(-1, keepdim=True), self.shape[d] - 1.0, rank)  # the last of the sorted is NaN then
        picked = _interpolated(x, rank, interpolation).movedim(-1, 0)
        picked = picked.unsqueeze(d + 1) if keepdim else picked
        return picked if levels.ndim else picked.squeeze(0)

    # Sums and moments.
    def nansum(self, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        """The sum of the elements that are not NaN."""
        return where(self.isnan(), 0, self).to(self.dtype).sum(dim, keepdim, dtype)

    def nanmean(self, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        """The mean of the elements that are not NaN."""
        x = self if dtype is None else self.to(dtype)
        x._must_be_float("nanmean")
        return x.nansum(dim, keepdim) / (~x.isnan()).sum(dim, keepdim).to(x.dtype)

    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
        """(the smallest, the largest) element."""
        return self.amin(dim, keepdim), self.amax(dim, keepdim)

    def var_mean(
        self, dim: Any = None, correction: float | None = 1, keepdim: bool = False, unbiased: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """(variance, mean)."""
        return self.var(dim, correction, keepdim, unbiased), self.mean(None if isinstance(dim, bool) else dim, keepdim)

    def std_mean(
        self, dim: Any = None, correction: float | None = 1, keepdim: bool = False, unbiased: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """(standard deviation, mean)."""
        return self.std(dim, correction, keepdim, unbiased), self.mean(None if isinstance(dim, bool) else dim, keepdim)

    @rounded_once
    def cov(self, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
        """The covariance matrix of variables (rows) over observations (columns), each counted fweights * aweights times."""
        if self.ndim > 2:
            raise ShapeError(f"cov: takes at most 2 dimensions, got {self.shape}", here())
        kind = self.dtype if self.dtype.is_float else float32
        x = self.to(kind).reshape((1, -1) if self.ndim < 2 else self.shape)
        given = [self.lift(w).to(kind) for w in (fweights, aweights) if w is not None]
        weights: Any = given[0] * given[1] if len(given) == 2 else given[0] if given else None
        if weights is None:
            total: Any = float(x.shape[1])
            centred = x - x.mean(1, keepdim=True)
            product = centred.matmul(centred.mT)
        else:
            total = weights.sum()
            centred = x - (x * weights).sum(1, keepdim=True) / total
            product = (centred * weights).matmul(centred.mT)
        loss = correction * ((weights * given[-1]).sum() / total) if aweights is not None else correction
        freedom = total - loss
        spread = product / (max(freedom, 0.0) if isinstance(freedom, float) else freedom.clamp(min=0))
        return spread.reshape(()) if x.shape[0] == 1 else spread

    @rounded_once
    def corrcoef(self) -> Tensor:
        """The correlation coefficients of variables (rows) over observations (columns)."""
        covariance = self.cov()
        if not covariance.ndim:
            return covariance / covariance
        size = covariance.diagonal().sqrt()
        return (covariance / size.unsqueeze(1) / size.unsqueeze(0)).clamp(-1, 1)

    @rounded_once
    def renorm(self, p: float, dim: int, maxnorm: float) -> Tensor:
        """Each slice along `dim` whose p-norm exceeds maxnorm scaled down to it."""
        d = axis(dim, self.ndim, "renorm")
        size = self.norm(p, tuple(i for i in range(self.ndim) if i != d), keepdim=True)
        over = size > maxnorm
        return self * where(over, maxnorm / where(over, size + 1e-7, 1), 1)

    # Counts and searches.
    def bincount(self, weights: Any = None, minlength: int = 0) -> Tensor:
        """How often (or with what total weight) each of 0 ... minlength - 1 occurs in a vector of integers.

        The number of bins is static: PyTorch's result is longer when an element is not below minlength; here it is left out.
        """
        if self.ndim != 1 or not self.dtype.is_int:
            raise ShapeError(f"bincount: takes a vector of integers, got {self.value.type}", here())
        if minlength < 1:
            raise ShapeError("bincount: minlength must say how many bins there are, since shapes are static", here())
        if weights is None:
            return self._in_bins(self.lift(1).to(int64), minlength)
        each = self.lift(weights)
        return self._in_bins(each if each.dtype.is_float else each.to("float64"), minlength)

    def _in_bins(self, each: Tensor, bins: int) -> Tensor:
        """The sum of what belongs to the elements of this vector that name each bin; others are left out."""
        return self.wrap(full(TensorType(each.dtype, (bins,)), 0)).scatter_add(0, self.to(int64), each.broadcast_to(self.shape))

    def histc(self, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
        """How many elements lie in each of `bins` equal parts of [min, max]; of the range of the elements when both are 0."""
        self._must_be_float("histc")
        if bins < 1 or min > max:
            raise ShapeError(f"histc: expected bins > 0 and min <= max, got {bins} bins from {min} to {max}", here())
        x = self.flatten().detach()
        low, high = (x.amin(), x.amax()) if min == max == 0 and x.numel() else (x.lift(min), x.lift(max))
        low, high = (where(low == high, e, b) for e, b in ((low - 1, low), (high + 1, high)))
        place = ((x - low) / (high - low) * bins).floor()
        place = where(x == high, bins - 1, place)
        inside = (x >= low) & (x <= high)
        return where(inside, place, -1)._in_bins(self.lift(1), bins).to(self.dtype)

    def bucketize(self, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Tensor:
        """For each element the number of boundaries (a sorted vector) below it, or with `right` not above it."""
        edges = self.lift(boundaries)
        if edges.ndim != 1:
            raise ShapeError(f"bucketize: the boundaries must be a vector, got {edges.shape}", here())
        return edges.searchsorted(self, out_int32=out_int32, right=right)

    def searchsorted(
        self, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None
    ) -> Tensor:
        """Where the elements of `input` would stand in the last dimension of this sorted tensor: before equals, or with
        `right` (side="right") behind them. Compares with every element, or, of many, with one for each bit of their number.
        """
        values = self.lift(input)
        ordered = self.wrap(self.value) if sorter is None else self.gather(-1, sorter)
        if self.ndim != 1 and self.shape[:-1] != values.shape[:-1]:
            raise ShapeError(f"searchsorted: {values.shape} must agree with {self.shape} but for the last dimension", here())
        if side not in (None, "left", "right") or (side == "left" and right):
            raise GraphcError(f"searchsorted: side is 'left' or 'right', not {side!r} with right={right}", here())

        def passed(element: Tensor, value: Tensor) -> Tensor:
            return ~(element > value) if right or side == "right" else ~(element >= value)  # NaN stands behind all

        if self.shape[-1] > MANY:
            place = _bisected(ordered, values, passed)
        else:
            place = passed(ordered.unsqueeze(-2) if self.ndim > 1 else ordered, values.unsqueeze(-1)).sum(-1)
        return place.to(int32 if out_int32 else int64)

    def isin(self, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
        """Whether each element is one of `test_elements`."""
        found = (self.unsqueeze(-1) == self.lift(test_elements).flatten()).any(-1)
        return ~found if invert else found

    def equal(self, other: Any) -> Tensor:
        """Whether shape and all elements are equal, as a 0-d bool."""
        other = self.lift(other)
        return (self == other).all() if self.shape == other.shape else self.lift(False).to(bool_)

    def allclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        """Whether all elements are close (see isclose), as a 0-d bool."""
        return self.isclose(other, rtol, atol, equal_nan).all()


def _bisected(ordered: Tensor, values: Tensor, passed: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """How many of the ordered elements (in the last dimension) each value has passed."""
    n = ordered.shape[-1]
    place = ordered.wrap(full(TensorType(int64, values.shape), 0))
    for bit in reversed(range(n.bit_length())):
        tried = place + (1 << bit)
        at = tried.clamp(max=n) - 1
        element = ordered.gather(-1, at) if ordered.ndim > 1 else ordered.wrap(gather(ordered.value, at.value, axes=(0,)))
        place = where((tried <= n) & passed(element, values), tried, place)
    return place


def _interpolated(x: Tensor, rank: Tensor, how: str) -> Tensor:
    """Elements along the last dimension of fractional ranks."""
    if how == "nearest":
        return x._of_ranks(rank.round())
    low, high = rank.floor(), rank.ceil()
    if how in ("lower", "higher"):
        return x._of_ranks(low if how == "lower" else high)
    below, above = x._of_ranks(cat([low, high], -1)).chunk(2, -1)
    return below.lerp(above, 0.5 if how == "midpoint" else rank - low)
