"""Elementwise functions that are no primitive op: inverse hyperbolic, gamma, error, Bessel functions, and short names.

In: tensors. Out: what PyTorch's function of that name gives (https://pytorch.org/docs/stable/torch.html#pointwise-ops),
composed of primitives, so that gradients to any order come with it. Series are summed in float64 whatever the dtype:
their terms cancel. `where` keeps each formula inside the interval on which it is finite, for the sake of its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..dtype import float64
from ..errors import DTypeError
from ..ir.location import here
from .core import Core, Number, result_type
from .elementwise import Elementwise, where
from .precision import rounded_once

if TYPE_CHECKING:
    from .tensor import Tensor

# Coefficients of Stirling's series for log gamma, B(2k) / (2k (2k - 1)), and for digamma, B(2k) / 2k: DLMF 5.11.
_LOG_GAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)
_ROOT = 1e8  # the root of what 1 is lost in
_SHIFT = 8  # from here on the series above are exact to float64
# Series of the Bessel function I0 in x**2 / 4 (DLMF 10.25.2), and of sqrt(2 pi x) exp(-x) I0(x) in 1 / x (10.40.1).
_NEAR, _FAR = 18.0, 26
_I0_SMALL = tuple(1 / math.factorial(k) ** 2 for k in range(48))
_I0_LARGE = tuple(math.prod((2 * i - 1) ** 2 for i in range(1, k + 1)) / math.factorial(k) / 8**k for k in range(_FAR))
# log(erfc(x) / t) + x**2 for x >= 1 as a polynomial in 3 t - 1, t = 2 / (2 + x), through Chebyshev's points by mpmath.
_ERFC = (
    -0.8891660234348968, 0.4182613562010564, 0.03773345772695937, -0.007742687639027611, -0.003769115046221274,
    0.00015206393973799431, 0.0004234211063947598, 1.9272588867069955e-05, -5.4952131904776386e-05, -4.723980426780816e-06,
    8.046737458450162e-06, 6.114039375568971e-07, -1.2757438503006657e-06, -1.8714009215569383e-08, 2.0533808026974443e-07,
    -1.8952095815184717e-08, -3.060196128058992e-08, 7.406743227146118e-09, 3.6472010186301397e-09, -1.5962634910444372e-09,
    -2.521240640044883e-10, 1.7126142553857722e-10,
)  # fmt: skip


def polynomial(x: Any, coefficients: Iterable[float]) -> Any:
    """The sum of coefficients[i] * x**i."""
    total: Any = 0.0
    for c in reversed(tuple(coefficients)):
        total = total * x + c
    return total


class Special(Elementwise):
    """Elementwise functions made of others."""

    __hash__ = Core.__hash__

    def _in_float64(self) -> tuple[Tensor, Any]:
        """(this tensor in float64, the dtype of the result)."""
        real = self.wrap(self._floating())
        return real.to(float64), real.dtype

    # Operators with options.
    def add(self, other: Any, alpha: Number = 1) -> Tensor:
        """self + alpha * other."""
        return self + (other if alpha == 1 else self.lift(other) * alpha)

    def sub(self, other: Any, alpha: Number = 1) -> Tensor:
        """self - alpha * other."""
        return self - (other if alpha == 1 else self.lift(other) * alpha)

    def rsub(self, other: Any, alpha: Number = 1) -> Tensor:
        """other - alpha * self."""
        return other - (self if alpha == 1 else self * alpha)

    def div(self, other: Any, rounding_mode: str | None = None) -> Tensor:
        """self / other; rounded down ("floor") or towards 0 ("trunc"), and then of integers an integer."""
        if rounding_mode not in (None, "floor", "trunc"):
            raise DTypeError(f"div: rounding_mode is None, 'floor' or 'trunc', not {rounding_mode!r}", here())
        if rounding_mode == "floor":
            return self // other
        if rounding_mode is None or result_type((self, self.lift(other))).is_float:
            return self / other if rounding_mode is None else (self / other).trunc()
        return (self - self.fmod(other)) // other

    subtract, divide = sub, div

    # Inverse hyperbolic functions.
    def asinh(self) -> Tensor:
        """The inverse of sinh."""
        x = self.wrap(self._floating())
        wide = x.to(x.dtype.accumulator)
        size = where(wide < 0, -wide, wide)  # whose slope at 0 is 1
        large = size > _ROOT  # where x**2 + 1 is x**2
        inner = where(large, 1, size)
        near = (inner + inner * inner / (1 + (inner * inner + 1).sqrt())).log1p()
        return where(x < 0, -1, 1) * where(large, where(large, size, 1).log() + math.log(2), near).to(x.dtype)

    def acosh(self) -> Tensor:
        """The inverse of cosh; NaN below 1."""
        real = self.wrap(self._floating())
        x = real.to(real.dtype.accumulator)
        large = x > _ROOT
        inner = where(large, 2, where(x < 1, math.nan, x)) - 1
        near = (inner + (inner * (inner + 2)).sqrt()).log1p()
        return where(large, where(large, x, 1).log() + math.log(2), near).to(real.dtype)

    @rounded_once
    def atanh(self) -> Tensor:
        """The inverse of tanh; infinite at -1 and 1, NaN beyond."""
        x = self.wrap(self._floating())
        return 0.5 * (x.log1p() - (-x).log1p())

    # Gamma, error and Bessel functions.
    def lgamma(self) -> Tensor:
        """log |gamma(x)|, infinite at 0, -1, -2, ... and at infinities; its derivative is `digamma` (DLMF 5.5, 5.11)."""
        whole, kind = self._in_float64()
        infinite = whole.isinf()
        x = where(infinite, 1, whole)
        left = x < 0.5
        positive = where(left, 1 - x, x)
        low = positive < _SHIFT
        z = where(low, positive + _SHIFT, positive)
        series = (z - 0.5) * (z.log() - 1) + (math.log(2 * math.pi) - 1) / 2 + polynomial(1 / (z * z), _LOG_GAMMA) / z
        small = where(low, positive, 1)
        rising = small
        for i in range(1, _SHIFT):
            rising = rising * (small + i)
        result = series - where(low, rising.log(), 0)
        nearest = where(left, x, 0.5)
        sine = (math.pi * (nearest - nearest.round())).sin().abs()
        result = where(left, math.log(math.pi) - sine.log() - result, result)
        return where(infinite, math.inf, result).to(kind)

    def digamma(self) -> Tensor:
        """The derivative of lgamma; -inf at 0 (inf at -0), NaN at -1, -2, ... (DLMF 5.5.2, 5.5.4, 5.11.2)."""
        whole, kind = self._in_float64()
        infinite = whole.isinf()
        x = where(infinite, 1, whole)
        left = x < 0
        positive = where(left, 1 - x, x)
        low = positive < _SHIFT
        z = where(low, positive + _SHIFT, positive)
        small = where(low, positive, 1)
        square = 1 / (z * z)
        result = z.log() - 0.5 / z - square * polynomial(square, _DIGAMMA)
        steps = 1 / small
        for i in range(1, _SHIFT):
            steps = steps + 1 / (small + i)
        result = result - where(low, steps, 0)
        nearest = where(left, x, 0.5)
        between = nearest - nearest.round()
        pole = left & (between == 0)
        result = where(left, result - math.pi / (math.pi * where(pole, 0.5, between)).tan(), result)
        result = where(pole, math.nan, result)
        return where(infinite, where(whole > 0, math.inf, math.nan), result).to(kind)

    def mvlgamma(self, p: int) -> Tensor:
        """The logarithm of the multivariate gamma function of dimension p, for x > (p - 1) / 2."""
        if p < 1:
            raise DTypeError(f"mvlgamma: the dimension must be at least 1, not {p}", here())
        total: Any = p * (p - 1) / 4 * math.log(math.pi)
        for i in range(p):
            total = (self - i / 2).lgamma() + total
        return total

    def erfc(self) -> Tensor:
        """1 - erf(x), to all its digits where that is small."""
        whole, kind = self._in_float64()
        far = whole > 1
        x = where(far, whole, 1).clamp(max=40)  # where it is 0 in any dtype
        t = 2 / (2 + x)
        small = t * (polynomial(3 * t - 1, _ERFC) - x * x).exp()
        return where(far, small, 1 - where(far, 0, whole).erf()).to(kind)

    def erfinv(self) -> Tensor:
        """The inverse of erf; infinite at -1 and 1, NaN beyond.

        A start within 1 % (Winitzki, "A handy approximation for the error function and its inverse", 2008), then Newton's
        steps, which Halley's term makes cubic.
        """
        whole, kind = self._in_float64()
        inside = whole.abs() < 1
        x = where(inside, whole, 0.5)
        log = (-x * x).log1p()
        half = 2 / (math.pi * 0.147) + log / 2
        small = x.abs() < 1e-5
        y = where(x < 0, -1, 1) * where(small, 1, (half * half - log / 0.147).sqrt() - half).sqrt()
        y = where(small, x * (math.sqrt(math.pi) / 2), y)
        for _ in range(3):
            error = (y.erf() - x) * (math.sqrt(math.pi) / 2) * (y * y).exp()
            y = y - error / (1 + y * error)
        edge = where(whole.abs() == 1, whole.sign() * math.inf, math.nan)
        return where(inside, y, edge).to(kind)

    def i0(self) -> Tensor:
        """The modified Bessel function of the first kind of order 0."""
        whole, kind = self._in_float64()
        near = whole.abs() < _NEAR
        inside, outside = where(near, whole, 1), where(near, _NEAR, whole.abs())
        small = polynomial(inside * inside / 4, _I0_SMALL)
        large = outside.exp() * polynomial(1 / outside, _I0_LARGE) / (2 * math.pi * outside).sqrt()
        return where(near, small, large).to(kind)

    @rounded_once
    def sinc(self) -> Tensor:
        """sin(pi x) / (pi x), and 1 at 0."""
        x = self.wrap(self._floating())
        zero = x == 0
        turn = where(zero, 1, x) * math.pi
        return where(zero, 1 - x * x * (math.pi**2 / 6), turn.sin() / turn)

    # Logarithms and exponentials of two.
    @rounded_once
    def hypot(self, other: Any) -> Tensor:
        """The square root of the sum of squares, which does not overflow before it must."""
        a, b = self.abs(), abs(self.lift(other))
        large, small = a.maximum(b), a.minimum(b)
        plain = (large != 0) & (large != math.inf)
        ratio = where(plain, small / where(plain, large, 1), 0)
        return large * (1 + ratio * ratio).sqrt()

    @rounded_once
    def logaddexp(self, other: Any) -> Tensor:
        """log(exp(x) + exp(y))."""
        other = self.lift(other)
        above = self > other
        high, low = where(above, self, other), where(above, other, self)
        gap = where((low == high) & high.isinf(), 0, low - high)  # equal infinities have no difference
        return high + gap.exp().log1p()

    @rounded_once
    def logaddexp2(self, other: Any) -> Tensor:
        """log2(2**x + 2**y)."""
        return (self * math.log(2)).logaddexp(self.lift(other) * math.log(2)) * (1 / math.log(2))

    @rounded_once
    def logit(self, eps: float | None = None) -> Tensor:
        """log(x / (1 - x)), of x kept between eps and 1 - eps."""
        x = self if eps is None else self.clamp(eps, 1 - eps)
        return (x / (1 - x)).log()

    @rounded_once
    def xlogy(self, other: Any) -> Tensor:
        """x * log(y), and 0 where x is 0 and y is not NaN."""
        other = self.lift(other)
        nothing = (self == 0) & ((other <= 0) | (other == math.inf))
        return self * where(nothing, 1, other).log()

    def ldexp(self, other: Any) -> Tensor:
        """x * 2**y."""
        return self * self.lift(other).__rpow__(2.0)

    def float_power(self, exponent: Any) -> Tensor:
        """x**y in float64."""
        power = exponent.to(float64) if isinstance(exponent, Core) else exponent
        return self.to(float64).pow(power)

    # Signs, and choices between two.
    def signbit(self) -> Tensor:
        """Whether the number is below 0, or -0."""
        return ((self < 0) | ((self == 0) & (1 / self < 0))) if self.dtype.is_float else self.to("int64") < 0

    def copysign(self, other: Any) -> Tensor:
        """|x| with the sign of y."""
        size = self.wrap(self._floating()).abs()
        return where(self.lift(other).signbit(), -size, size)

    def heaviside(self, values: Any) -> Tensor:
        """0 below 0, 1 above, `values` at 0."""
        step = where(self == 0, values, where(self > 0, 1, 0)).to(self.dtype)
        return where(self.isnan(), math.nan, step) if self.dtype.is_float else step

    def fmax(self, other: Any) -> Tensor:
        """The larger of two; the other where one is NaN."""
        other = self.lift(other)
        return where(self.isnan(), other, where(other.isnan() | (self >= other), self, other))

    def fmin(self, other: Any) -> Tensor:
        """The smaller of two; the other where one is NaN."""
        other = self.lift(other)
        return where(self.isnan(), other, where(other.isnan() | (self <= other), self, other))

    def isposinf(self) -> Tensor:
        """Whether an element is +inf."""
        return self.isinf() & (self > 0)

    def isneginf(self) -> Tensor:
        """Whether an element is -inf."""
        return self.isinf() & (self < 0)

    def isclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        """|x - y| <= atol + rtol |y|, or equal."""
        other = self.lift(other)
        x, y = (t if t.dtype.is_float else t.to(float64) for t in (self, other))
        near = (self == other) | ((abs(x - y) <= atol + rtol * abs(y)) & y.isfinite())
        return near | (x.isnan() & y.isnan()) if equal_nan else near

    # Units.
    def deg2rad(self) -> Tensor:
        """Degrees as radians."""
        return self * (math.pi / 180)

    def rad2deg(self) -> Tensor:
        """Radians as degrees."""
        return self * (180 / math.pi)

    # Other names.
    def clamp_min(self, min: Any) -> Tensor:
        return self.clamp(min=min)

    def clamp_max(self, max: Any) -> Tensor:
        return self.clamp(max=max)

    @rounded_once
    def addcmul(self, tensor1: Any, tensor2: Any, value: float = 1) -> Tensor:
        """self + value * tensor1 * tensor2."""
        return self + self.lift(tensor1) * tensor2 * value

    @rounded_once
    def addcdiv(self, tensor1: Any, tensor2: Any, value: float = 1) -> Tensor:
        """self + value * tensor1 / tensor2."""
        return self + self.lift(tensor1) / tensor2 * value

    absolute, positive, fix, sgn = Elementwise.__abs__, Elementwise.__pos__, Elementwise.trunc, Elementwise.sign
    arcsin, arccos, arctan, arctan2 = Elementwise.asin, Elementwise.acos, Elementwise.atan, Elementwise.atan2
    arcsinh, arccosh, arctanh = asinh, acosh, atanh
    greater, greater_equal, less = Elementwise.__gt__, Elementwise.__ge__, Elementwise.__lt__
    less_equal, not_equal = Elementwise.__le__, Elementwise.__ne__
    bitwise_left_shift, bitwise_right_shift = Elementwise.__lshift__, Elementwise.__rshift__
