"""Tensors element by element: operators, functions, activations.

In: tensors, arrays and Python numbers. Out: tensors of the broadcast shape and promoted dtype; functions of reals lift
integers to float32. Everything that is no primitive op is composed so that values and gradients stay finite where the
function is, and agree with PyTorch at kinks (the derivative of relu at 0 is 0).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..dtype import DType, float32
from ..errors import DTypeError
from ..ir.location import here
from ..ir.values import Value, make
from .core import Core, Number, as_number, broadcast_value, cast_value, common_shape, is_number, meet, of_dtype, result_type
from .precision import rounded_once
from .shapes import Shapes

if TYPE_CHECKING:
    from .tensor import Tensor


class Elementwise(Shapes):
    """Operators and functions whose result element depends on operand elements at the same place only."""

    __hash__ = Core.__hash__

    def _binary(self, name: str, a: Any, b: Any, floating: bool = False) -> Tensor:
        return self.wrap(make(name, *meet(name, a, b, floating=floating)))

    def _real(self, name: str) -> Tensor:
        return self.wrap(make(name, self._floating()))

    def _floating(self) -> Value:
        return self.value if self.dtype.is_float else cast_value(self.value, float32)

    def _apply(self, name: str) -> Tensor:
        return self.wrap(make(name, self.value))

    # Arithmetic. On two bools + and * are "or" and "and", as in numpy and PyTorch.
    def _arithmetic(self, name: str, a: Any, b: Any) -> Tensor:
        values = meet(name, a, b)
        if values[0].dtype.is_bool:
            if name not in ("add", "mul"):
                raise DTypeError(f"{name} is not defined on bool; use ^ for a difference, or .to(gc.int32) first", here())
            name = "or" if name == "add" else "and"
        return self.wrap(make(name, *values))

    def __add__(self, other: Any) -> Tensor:
        return self._arithmetic("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return self._arithmetic("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return self._arithmetic("sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._arithmetic("sub", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return self._arithmetic("mul", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return self._arithmetic("mul", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return self._binary("div", self, other, floating=True)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._binary("div", other, self, floating=True)

    def __floordiv__(self, other: Any) -> Tensor:
        return self._arithmetic("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return self._arithmetic("floordiv", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return self._arithmetic("mod", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return self._arithmetic("mod", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return self._power(as_number(other)) if is_number(other) else self._arithmetic("pow", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return self._arithmetic("pow", other, self)

    def _power(self, exponent: Number) -> Tensor:
        """Small powers are products: exact, and cheaper than pow."""
        if exponent in (1, 2, 3) and not isinstance(exponent, bool) and result_type((self, exponent)) is self.dtype:
            power = self.wrap(self.value)
            for _ in range(int(exponent) - 1):
                power = power * self
            return power
        if self.dtype.is_float and exponent in (0.5, -1):
            return self.sqrt() if exponent == 0.5 else 1 / self
        return self._arithmetic("pow", self, exponent)

    def __neg__(self) -> Tensor:
        return self._apply("neg")

    def __pos__(self) -> Tensor:
        return self.wrap(self.value)

    def __abs__(self) -> Tensor:
        return self._apply("abs")

    # Bits, and logic on bools.
    def __and__(self, other: Any) -> Tensor:
        return self._binary("and", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return self._binary("and", other, self)

    def __or__(self, other: Any) -> Tensor:
        return self._binary("or", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return self._binary("or", other, self)

    def __xor__(self, other: Any) -> Tensor:
        return self._binary("xor", self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return self._binary("xor", other, self)

    def __invert__(self) -> Tensor:
        return self._apply("not")

    def __lshift__(self, other: Any) -> Tensor:
        return self._binary("shl", self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return self._binary("shl", other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return self._binary("shr", self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return self._binary("shr", other, self)

    # Comparisons give bool.
    def __eq__(self, other: object) -> Any:
        return NotImplemented if other is None else self._binary("eq", self, other)

    def __ne__(self, other: object) -> Any:
        return NotImplemented if other is None else self._binary("ne", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return self._binary("lt", self, other)

    def __le__(self, other: Any) -> Tensor:
        return self._binary("le", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return self._binary("gt", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return self._binary("ge", self, other)

    # The operators by name.
    mul, multiply, pow, true_divide = __mul__, __mul__, __pow__, __truediv__
    floor_divide, remainder, neg, negative, abs = __floordiv__, __mod__, __neg__, __neg__, __abs__
    eq, ne, lt, le, gt, ge = __eq__, __ne__, __lt__, __le__, __gt__, __ge__
    bitwise_and, bitwise_or, bitwise_xor, bitwise_not = __and__, __or__, __xor__, __invert__

    def maximum(self, other: Any) -> Tensor:
        """The larger of two; NaN when either is NaN."""
        return self._binary("max", self, other)

    def minimum(self, other: Any) -> Tensor:
        """The smaller of two; NaN when either is NaN."""
        return self._binary("min", self, other)

    def atan2(self, other: Any) -> Tensor:
        return self._binary("atan2", self, other, floating=True)

    def fmod(self, other: Any) -> Tensor:
        """The remainder with the sign of the dividend."""
        return where(self < 0, -((-self) % abs(self.lift(other))), self % abs(self.lift(other)))

    def _truth(self) -> Tensor:
        return self.wrap(self.value) if self.dtype.is_bool else self != 0

    def logical_and(self, other: Any) -> Tensor:
        return self._truth() & self.lift(other)._truth()

    def logical_or(self, other: Any) -> Tensor:
        return self._truth() | self.lift(other)._truth()

    def logical_xor(self, other: Any) -> Tensor:
        return self._truth() ^ self.lift(other)._truth()

    def logical_not(self) -> Tensor:
        return ~self._truth()

    # Functions of reals.
    def exp(self) -> Tensor:
        return self._real("exp")

    def expm1(self) -> Tensor:
        return self._real("expm1")

    def log(self) -> Tensor:
        return self._real("log")

    def log1p(self) -> Tensor:
        return self._real("log1p")

    def log2(self) -> Tensor:
        return self.log() * (1 / math.log(2))

    def log10(self) -> Tensor:
        return self.log() * (1 / math.log(10))

    def exp2(self) -> Tensor:
        return 2.0**self

    def sqrt(self) -> Tensor:
        return self._real("sqrt")

    def rsqrt(self) -> Tensor:
        return self._real("rsqrt")

    def square(self) -> Tensor:
        return self * self

    def reciprocal(self) -> Tensor:
        return 1 / self

    def sin(self) -> Tensor:
        return self._real("sin")

    def cos(self) -> Tensor:
        return self._real("cos")

    def tan(self) -> Tensor:
        return self._real("tan")

    def asin(self) -> Tensor:
        return self._real("asin")

    def acos(self) -> Tensor:
        return self._real("acos")

    def atan(self) -> Tensor:
        return self._real("atan")

    def sinh(self) -> Tensor:
        return self._real("sinh")

    def cosh(self) -> Tensor:
        return self._real("cosh")

    def tanh(self) -> Tensor:
        return self._real("tanh")

    def erf(self) -> Tensor:
        return self._real("erf")

    def sign(self) -> Tensor:
        return self.wrap(self.value) if self.dtype.is_bool else self._apply("sign")

    def _rounded(self, name: str) -> Tensor:
        return self._apply(name) if self.dtype.is_float else self.wrap(self.value)

    def floor(self) -> Tensor:
        return self._rounded("floor")

    def ceil(self) -> Tensor:
        return self._rounded("ceil")

    def round(self, decimals: int = 0) -> Tensor:
        """To the nearest multiple of 10**-decimals (an integer), halves to even."""
        if not decimals or not self.dtype.is_float:
            return self._rounded("round")
        scale = 10.0 ** abs(decimals)
        return (self * scale).round() / scale if decimals > 0 else (self / scale).round() * scale

    def trunc(self) -> Tensor:
        return where(self < 0, self.ceil(), self.floor())

    def frac(self) -> Tensor:
        return self - self.trunc()

    def isnan(self) -> Tensor:
        return self._apply("isnan") if self.dtype.is_float else self != self.wrap(self.value)

    def isinf(self) -> Tensor:
        return self._apply("isinf") if self.dtype.is_float else self != self.wrap(self.value)

    def isfinite(self) -> Tensor:
        return ~(self.isnan() | self.isinf())

    def nan_to_num(self, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
        """NaN and infinities replaced; by default 0 and the largest finite numbers."""
        if not self.dtype.is_float:
            return self.wrap(self.value)
        bound = largest(self.dtype)
        result = where(self.isnan(), nan, self)
        result = where(result == math.inf, bound if posinf is None else posinf, result)
        return where(result == -math.inf, -bound if neginf is None else neginf, result)

    # Choice.
    def where(self, condition: Any, other: Any) -> Tensor:
        """This tensor where the condition holds, else `other`."""
        return where(condition, self, other)

    def masked_fill(self, mask: Any, value: Any) -> Tensor:
        """`value` where the mask holds, this tensor elsewhere; the dtype stays."""
        return where(mask, value, self).to(self.dtype)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Values below `min` and above `max` replaced by them; the gradient passes between, bounds included."""
        if min is None and max is None:
            raise DTypeError("clamp: needs min, max or both", here())
        result = self.wrap(self.value)
        if min is not None:
            result = where(result < min, min, result)
        return result if max is None else where(result > max, max, result)

    clip = clamp

    @rounded_once
    def lerp(self, end: Any, weight: Any) -> Tensor:
        return self + weight * (self.lift(end) - self)

    # Activations.
    def relu(self) -> Tensor:
        """max(x, 0); NaN stays."""
        return where(self <= 0, 0, self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return self._real("sigmoid")

    @rounded_once
    def silu(self) -> Tensor:
        """x * sigmoid(x)."""
        return self * self.sigmoid()

    @rounded_once
    def gelu(self, approximate: str = "none") -> Tensor:
        """x times the normal distribution function of x; `approximate="tanh"` gives the common approximation."""
        x = self.wrap(self._floating())
        if approximate == "tanh":
            return 0.5 * x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))).tanh())
        if approximate != "none":
            raise DTypeError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}", here())
        return x * x._real("ndtr")

    @rounded_once
    def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
        """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
        scaled = self.wrap(self._floating()) * beta
        small = where(scaled > threshold, threshold, scaled)
        return where(scaled > threshold, self, small.exp().log1p() / beta)

    @rounded_once
    def logsigmoid(self) -> Tensor:
        """log(sigmoid(x))."""
        return -((-self).softplus())


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """`a` where the bool condition holds, else `b`; all three broadcast, the dtypes of a and b are promoted."""
    anchor = next((x for x in (condition, a, b) if isinstance(x, Core)), None)
    if anchor is None:
        raise DTypeError("where: none of the operands is a tensor; use numpy.where, or gc.constant", here())
    test = anchor.lift(condition)
    if not test.dtype.is_bool:
        raise DTypeError(f"where: the condition must be bool, not {test.dtype}; compare first, for example x != 0", here())
    choices = [as_number(x) if is_number(x) else anchor.lift(x) for x in (a, b)]
    kind = result_type(choices)
    shape = common_shape("where", [test, *(x for x in choices if isinstance(x, Core))])
    values = [test.value, *(of_dtype(x, kind) for x in choices)]
    return anchor.wrap(make("select", *(broadcast_value(v, shape) for v in values)))


def largest(kind: DType) -> float:
    """The largest finite number of a float dtype."""
    bits, exponent = {"float16": (11, 16), "bfloat16": (8, 128), "float32": (24, 128), "float64": (53, 1024)}[kind.name]
    return math.ldexp(2 - math.ldexp(1, 1 - bits), exponent - 1)
