"""Running values along a dimension: products, extremes, log-sums, differences, areas.

In: a tensor and a dimension. Out: a tensor of the same extent (one less per difference), what PyTorch's function of that
name gives. Running sums, products and places of extremes are primitive ops; logarithms of sums combine elements at distance
1, 2, 4, ... (Hillis and Steele, "Data parallel algorithms", 1986): as many steps as the extent has bits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtype import int64
from ..errors import ShapeError
from ..ir.location import here
from ..ops.recurrence import cumprod, cumsum
from ..ops.running import running_extreme
from ..ops.shape import pad
from .core import Core, axis
from .indexing import Indexing
from .precision import rounded_once
from .reductions import Extreme
from .shapes import cat

if TYPE_CHECKING:
    from .tensor import Tensor


class Scans(Indexing):
    """Methods whose result at a place depends on the elements up to it."""

    __hash__ = Core.__hash__

    def cumsum(self, dim: int, dtype: Any = None) -> Tensor:
        """Running sums along `dim`; of bools and integers they are int64 unless `dtype` says otherwise."""
        x, d = self.to(dtype or (self.dtype if self.dtype.is_float else int64)), axis(dim, max(self.ndim, 1), "cumsum")
        return self.wrap(cumsum(x.value, d)) if x.ndim else x

    def cumprod(self, dim: int, dtype: Any = None) -> Tensor:
        """Running products along `dim`; of bools and integers they are int64 unless `dtype` says otherwise."""
        x = self.to(dtype or (self.dtype if self.dtype.is_float else int64))
        d = axis(dim, max(self.ndim, 1), "cumprod")
        return self.wrap(cumprod(x.value, d)) if x.ndim else x

    @rounded_once
    def logcumsumexp(self, dim: int) -> Tensor:
        """The logarithm of the running sum of exponentials."""
        self._must_be_float("logcumsumexp")
        x, d, step = self.wrap(self.value), axis(dim, max(self.ndim, 1), "logcumsumexp"), 1
        while self.ndim and step < self.shape[d]:
            shift = tuple(step if i == d else 0 for i in range(self.ndim))
            before = pad(x.value, shift, tuple(-n for n in shift), value=-math.inf)
            x, step = self.wrap(before).logaddexp(x), step * 2
        return x

    def cummax(self, dim: int) -> Extreme:
        """(running maxima, the index of each: of the last of equals); NaN stays once met."""
        return self._running("cummax", dim, smallest=False)

    def cummin(self, dim: int) -> Extreme:
        """(running minima, the index of each: of the last of equals); NaN stays once met."""
        return self._running("cummin", dim, smallest=True)

    def _running(self, name: str, dim: int, smallest: bool) -> Extreme:
        if not self.ndim:
            axis(dim, 1, name)
            return Extreme(self.wrap(self.value), self.wrap(self.value).to(int64) * 0)
        index = self.wrap(running_extreme(self.value, axis(dim, self.ndim, name), smallest))
        return Extreme(self.gather(dim, index), index)

    def diff(self, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
        """Differences of neighbours, n times; of bools, whether they differ."""
        d = axis(dim, self.ndim, "diff")
        x = cat([self.lift(p) for p in (prepend, self, append) if p is not None and (n or p is self)], d)
        for _ in range(n):
            size = x.shape[d]
            after, before = x.narrow(d, min(1, size), max(size - 1, 0)), x.narrow(d, 0, max(size - 1, 0))
            x = after ^ before if x.dtype.is_bool else after - before
        return x

    def gradient(self, *, spacing: Any = 1.0, dim: Any = None, edge_order: int = 1) -> list[Tensor]:
        """The slope along each of `dim` (all), by central differences of second order, at the edges of first or second.

        spacing: a number, one per dimension, or a vector of coordinates per dimension (torch.gradient, numpy.gradient).
        """
        chosen = list(range(self.ndim)) if dim is None else [axis(d, self.ndim, "gradient") for d in np.atleast_1d(dim)]
        steps = list(spacing) if isinstance(spacing, tuple | list) else [1.0 if spacing is None else spacing] * len(chosen)
        if len(steps) != len(chosen) or edge_order not in (1, 2):
            raise ShapeError(f"gradient: {len(steps)} spacings for {len(chosen)} dimensions, edge_order {edge_order}", here())
        return [self._slope(d, step, edge_order) for d, step in zip(chosen, steps, strict=True)]

    def _slope(self, d: int, step: Any, edge_order: int) -> Tensor:
        n, spread = self.shape[d], (-1,) + (1,) * (self.ndim - 1 - d)
        if n <= edge_order:
            raise ShapeError(f"gradient: dimension {d} of {self.shape} needs more than {edge_order} elements", here())
        even = not isinstance(step, Core | np.ndarray) or not step.ndim
        width = self.lift(step).reshape(()).expand(n - 1) if even else self.lift(step).diff()
        rise = self.diff(dim=d) / width.reshape(spread)
        low, high = rise.narrow(d, 0, n - 2), rise.narrow(d, 1, n - 2)
        before, after = width[:-1].reshape(spread), width[1:].reshape(spread)
        inner = (low * after + high * before) / (before + after)
        first, last = rise.narrow(d, 0, 1), rise.narrow(d, n - 2, 1)
        if edge_order == 2:  # the parabola through three points
            first, last = first * 2 - inner.narrow(d, 0, 1), last * 2 - inner.narrow(d, n - 3, 1)
        return cat([first, inner, last], d)

    def _areas(self, name: str, x: Any, dx: Any, dim: int) -> Tensor:
        """Of the trapezoids between neighbours, at positions `x` or spaced by `dx`."""
        d = axis(dim, self.ndim, name)
        n = max(self.shape[d] - 1, 0)
        width: Any = 1 if dx is None else dx
        if x is not None:
            places = self.lift(x)
            if places.ndim == 1:
                places = places.reshape((-1,) + (1,) * (self.ndim - 1 - d))
            if places.shape[d - self.ndim] != self.shape[d]:
                raise ShapeError(f"{name}: {self.shape} has {self.shape[d]} values along {dim}, x is {places.shape}", here())
            width = places.diff(dim=d - self.ndim)
        return (self.narrow(d, min(1, n), n) + self.narrow(d, 0, n)) * width * 0.5

    def trapezoid(self, x: Any = None, dx: Any = None, dim: int = -1) -> Tensor:
        """The integral along `dim` by the trapezoidal rule, at positions `x` or spaced by `dx` (1)."""
        return self._areas("trapezoid", x, dx, dim).sum(dim)

    trapz = trapezoid

    def cumulative_trapezoid(self, x: Any = None, dx: Any = None, dim: int = -1) -> Tensor:
        """The running integral along `dim` by the trapezoidal rule; one element less."""
        return self._areas("cumulative_trapezoid", x, dx, dim).cumsum(dim)
