"""Ops whose result element i depends on operand elements i only.

In: operands of one shape and one element type (select and cast excepted). Out: one record an op: element types, numpy
reference, gradient, scalar body, samples. Broadcasting and promotion belong to the tensor level.

References compute f16 and bf16 in f32 and round once; those of transcendental ops compute in f64, so that an f32
reference is correctly rounded. Integers wrap. NaN, infinities, signed zeros and denormals keep their IEEE meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from ..dtype import DTYPES, FLOATS, INTS, DType, bool_, float64
from ..dtype import dtype as dtype_of
from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, call, const
from ..ir.expr import select as select_word
from ..ir.op import Elementwise, Gradient, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, like, make
from .convert import convert, convert_expr

NUMBERS = FLOATS + INTS
BITS = (bool_, *INTS)
Interval = tuple[float, float]

# ------------------------------------------------------------------------------------------------------------ builders


def cast(x: Value, dtype: DType) -> Value:
    """`x` in another element type; see `convert` for the meaning."""
    return x if x.dtype is dtype else make("cast", x, dtype=dtype)


def select(condition: Value, yes: Value, no: Value) -> Value:
    """`yes` where `condition`, else `no`."""
    return yes if yes is no else make("select", condition, yes, no)


# ---------------------------------------------------------------------------------------------------------- type rules


def _check_equal(name: str, first: TensorType, second: TensorType) -> None:
    if first.dtype is not second.dtype:
        raise DTypeError(f"{name} of {first} and {second}: the element types must be equal; cast one of them")
    if first.shape != second.shape:
        raise ShapeError(f"{name} of {first} and {second}: the shapes must be equal; broadcast one of them")


def _check_dtype(name: str, dtype: DType, admits: Sequence[DType]) -> None:
    if dtype not in admits:
        raise DTypeError(f"{name} is not defined for {dtype}; expected one of {', '.join(map(str, admits))}")


def _rule(name: str, arity: int, admits: Sequence[DType], result: DType | None) -> Callable[..., TensorType]:
    def infer(*types: TensorType) -> TensorType:
        assert len(types) == arity, f"{name} takes {arity} operands, got {len(types)}"
        _check_dtype(name, types[0].dtype, admits)
        for other in types[1:]:
            _check_equal(name, types[0], other)
        return types[0] if result is None else types[0].with_dtype(result)

    return infer


def _infer_select(condition: TensorType, yes: TensorType, no: TensorType) -> TensorType:
    _check_equal("select", yes, no)
    if condition != yes.with_dtype(bool_):
        raise (DTypeError if not condition.dtype.is_bool else ShapeError)(
            f"select by a condition {condition}; expected {yes.with_dtype(bool_)} to choose between two {yes}"
        )
    return yes


# ---------------------------------------------------------------------------------------------------------- references


def _computed(function: Callable[..., Any], heavy: int) -> Callable[..., np.ndarray]:
    def reference(*xs: np.ndarray) -> np.ndarray:
        source = dtype_of(xs[0].dtype)
        wide = float64 if heavy and source.is_float else source.accumulator
        with np.errstate(all="ignore"):
            result = np.asarray(function(*(x.astype(wide.numpy) for x in xs)))
            return result.astype(bool_.numpy if result.dtype.kind == "b" else source.numpy)

    return reference


def _on_floats(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: x if x.dtype.kind in "iu" else function(x)


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":  # two elements at least: numpy answers a lone exponent 0.5 with sqrt, wrong at -inf and -0
        return np.asarray(np.power(np.append(a, 1.0), np.append(b, 1.0))[:-1]).reshape(a.shape)
    unit = np.where(a == -1, 1 - 2 * (b & 1), a == 1)
    return np.where(b < 0, unit, np.power(a, np.where(b < 0, 0, b)))


# ------------------------------------------------------------------------------------------------------------- samples


def edge_values(dtype: DType) -> np.ndarray:
    """The values on which implementations of `dtype` go wrong."""
    if dtype.is_bool:
        return np.array([False, True])
    if dtype.is_int:
        info = np.iinfo(dtype.numpy)
        values = [0, 1, 2, 3, 13, dtype.bits - 1, dtype.bits, info.max, info.max - 1, info.min, info.min + 1]
        return np.array([*values, 5 if dtype.kind == "u" else -1], dtype.numpy)
    limits = ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]
    floats = [0.0, -0.0, 1.0, -1.0, 0.5, -1.5, 2.5, 3.7, -20.3, np.inf, -np.inf, np.nan]
    return np.array([*floats, limits.max, -limits.max, limits.tiny, limits.smallest_subnormal]).astype(dtype.numpy)


def edge_samples(dtype: DType, arity: int) -> Sample:
    """Every combination of edge values, as `arity` equal non-square arrays."""
    grid = np.meshgrid(*[edge_values(dtype)] * arity, indexing="ij")
    return Sample(tuple(g.reshape(2, -1) for g in grid), smooth=False)


def smooth_sample(interval: Interval, arity: int, shape: tuple[int, ...] = (2, 3)) -> Sample:
    """f64 operands spread over `interval`; elements of different operands at one place differ by a third of it."""
    low, high = interval
    spread = np.arange(1, math.prod(shape) + 1) * 0.6180339887
    return Sample(tuple((low + (high - low) * ((spread + 0.37 * k) % 1)).reshape(shape) for k in range(arity)))


# ------------------------------------------------------------------------------------------------------------- records


def _op(
    name: str,
    arity: int,
    function: Callable[..., Any],
    gradient: Callable[..., Any] | str,
    doc: str,
    *,
    admits: Sequence[DType] = FLOATS,
    result: DType | None = None,
    body: Callable[..., Expr] | None = None,
    heavy: int = 0,
    smooth: Sequence[Interval] = ((-1.7, 1.9),),
) -> None:
    """One record. `gradient(*operands, result, cotangent)` gives the cotangent of the operand, or a tuple of them."""

    def rule(node: Value, ct: Value) -> Sequence[Value | None]:
        parts = gradient(*node.operands, node, ct)  # type: ignore[operator]
        return parts if isinstance(parts, tuple) else (parts,)

    def samples() -> Iterator[Sample]:
        yield from (edge_samples(dtype, arity) for dtype in admits)
        if not isinstance(gradient, str):
            yield from (smooth_sample(interval, arity) for interval in smooth)

    resolved: Gradient | str = gradient if isinstance(gradient, str) else rule
    lower = Elementwise(body or (lambda *xs: call(name, *xs)), heavy)
    register(Op(name, _rule(name, arity, admits, result), _computed(function, heavy), resolved, lower, samples, doc))


def _unary(name: str, *args: Any, **options: Any) -> None:
    _op(name, 1, *args, **options)


def _binary(name: str, *args: Any, **options: Any) -> None:
    _op(name, 2, *args, **options)


def _bool_as(word: str, bool_word: str) -> Callable[[Expr, Expr], Expr]:
    return lambda a, b: call(bool_word if a.dtype.is_bool else word, a, b)


def _float_word(word: str, of_int: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
    return lambda x: call(word, x) if x.dtype.is_float else of_int(x)


def _shift(word: str) -> Callable[[Expr, Expr], Expr]:
    """Counts outside [0, bits) shift everything out: zeros, or copies of the sign."""

    def body(x: Expr, count: Expr) -> Expr:
        last = x.dtype.bits - 1
        inside = (count >= 0) & (count <= last)
        if word == "shr" and x.dtype.kind == "i":
            return call("shr", x, select_word(inside, count, last))
        return select_word(inside, call(word, x, select_word(inside, count, 0)), 0)

    return body


def _is(word: str, a: Value, b: Value | float) -> Value:
    return make(word, a, like(a, b))


def _zero_where(condition: Value, x: Value) -> Value:
    return select(condition, like(x, 0), x)


def _share(ct: Value, a: Value, b: Value, lost: str) -> Value:
    """The cotangent of `a` in the extreme of both: nothing where `a lost b`, half where they are equal."""
    return _zero_where(_is(lost, a, b), select(_is("eq", a, b), ct * 0.5, ct))


def _sigmoid(x: Expr) -> Expr:
    """1 / (1 + exp(-x)), with exp of negative numbers only: exact at both ends."""
    positive = x >= 0
    small = call("exp", select_word(positive, -x, x))
    one = const(1, x.dtype)
    return select_word(positive, one, small) / (one + small)


def _gradient_pow(a: Value, b: Value, y: Value, ct: Value) -> tuple[Value, Value]:
    """b * a^(b-1) and a^b * log(a); 0^0 counts as the constant 1, and 0^b as the constant 0."""
    exponent = _zero_where(make("and", _is("eq", a, 0), _is("eq", b, 0)), b - 1)
    base = select(make("and", _is("eq", a, 0), _is("ge", b, 0)), like(a, 1), a)
    return ct * b * make("pow", a, exponent), ct * y * make("log", base)


def _gradient_atan2(y: Value, x: Value, node: Value, ct: Value) -> tuple[Value, Value]:
    """x and -y over the square of the distance, which is no float16; nothing at the origin."""
    kind = node.dtype
    x, y, ct = (cast(v, kind.accumulator) for v in (x, y, ct))
    square = x * x + y * y
    scaled = _zero_where(_is("eq", square, 0), ct / square)
    return cast(scaled * x, kind), cast(-(scaled * y), kind)


_STEPS = "it is a step function: the derivative is zero wherever there is one"
_POSITIVE = ((0.4, 2.5),)
_BOTH_SIDES = ((0.3, 2.0), (-2.0, -0.3))
_INSIDE = ((-0.8, 0.8),)

# Arithmetic. On bools add and max are `or`, mul and min are `and`.
_binary("add", np.add, lambda a, b, y, ct: (ct, ct), "a + b", admits=DTYPES, body=_bool_as("add", "or"))
_binary("sub", np.subtract, lambda a, b, y, ct: (ct, -ct), "a - b", admits=NUMBERS)
_binary("mul", np.multiply, lambda a, b, y, ct: (ct * b, ct * a), "a * b", admits=DTYPES, body=_bool_as("mul", "and"))
_binary("div", np.divide, lambda a, b, y, ct: (ct / b, -(ct * y / b)), "a / b", smooth=_BOTH_SIDES)
_binary(
    "floordiv", np.floor_divide, _STEPS, "the largest integer at most a / b, as numpy; integers: a // 0 = 0", admits=NUMBERS
)
_binary(
    "mod",
    np.remainder,
    lambda a, b, y, ct: (ct, -(ct * make("floordiv", a, b))),
    "a - (a floordiv b) * b, with the sign of b, as numpy; integers: a % 0 = 0",
    admits=NUMBERS,
    smooth=((2.1, 2.9),),
)
_binary(
    "pow",
    _power,
    _gradient_pow,
    "a ** b; integers wrap, and a negative exponent gives 0 except for the bases 1 and -1",
    admits=NUMBERS,
    heavy=1,
    smooth=_POSITIVE,
)
_binary(
    "max",
    np.maximum,
    lambda a, b, y, ct: (_share(ct, a, b, "lt"), _share(ct, b, a, "lt")),
    "the greater; NaN if either is NaN; equal operands share the gradient",
    admits=DTYPES,
    body=_bool_as("max", "or"),
)
_binary(
    "min",
    np.minimum,
    lambda a, b, y, ct: (_share(ct, a, b, "gt"), _share(ct, b, a, "gt")),
    "the lesser; NaN if either is NaN; equal operands share the gradient",
    admits=DTYPES,
    body=_bool_as("min", "and"),
)
_unary("neg", np.negative, lambda x, y, ct: -ct, "-x", admits=NUMBERS)
_unary("abs", np.abs, lambda x, y, ct: ct * make("sign", x), "|x|; the least integer stays", admits=NUMBERS, smooth=_BOTH_SIDES)
_unary("sign", np.sign, _STEPS, "-1, 0 or 1; 0 for both zeros, NaN for NaN", admits=NUMBERS)

# Roots, exponentials, logarithms.
_unary("sqrt", np.sqrt, lambda x, y, ct: ct * 0.5 / y, "square root", smooth=_POSITIVE)
_unary("rsqrt", lambda x: 1 / np.sqrt(x), lambda x, y, ct: ct * -0.5 * (y * y * y), "1 / sqrt(x)", heavy=1, smooth=_POSITIVE)
_unary("exp", np.exp, lambda x, y, ct: ct * y, "e ** x", heavy=1)
_unary("expm1", np.expm1, lambda x, y, ct: ct * (y + 1), "e ** x - 1, exact near 0", heavy=1)
_unary("log", np.log, lambda x, y, ct: ct / x, "natural logarithm", heavy=1, smooth=_POSITIVE)
_unary("log1p", np.log1p, lambda x, y, ct: ct / (x + 1), "log(1 + x), exact near 0", heavy=1, smooth=_INSIDE)

# Angles.
_unary("sin", np.sin, lambda x, y, ct: ct * make("cos", x), "sine", heavy=1)
_unary("cos", np.cos, lambda x, y, ct: -(ct * make("sin", x)), "cosine", heavy=1)
_unary("tan", np.tan, lambda x, y, ct: ct * (y * y + 1), "tangent", heavy=1, smooth=((-1.0, 1.1),))
_unary("asin", np.arcsin, lambda x, y, ct: ct * make("rsqrt", 1 - x * x), "inverse sine", heavy=1, smooth=_INSIDE)
_unary("acos", np.arccos, lambda x, y, ct: -(ct * make("rsqrt", 1 - x * x)), "inverse cosine", heavy=1, smooth=_INSIDE)
_unary("atan", np.arctan, lambda x, y, ct: ct / (x * x + 1), "inverse tangent", heavy=1)
_binary("atan2", np.arctan2, _gradient_atan2, "the angle of the point (x, y) = (b, a)", heavy=1, smooth=_BOTH_SIDES)
_unary("sinh", np.sinh, lambda x, y, ct: ct * make("cosh", x), "hyperbolic sine", heavy=1)
_unary("cosh", np.cosh, lambda x, y, ct: ct * make("sinh", x), "hyperbolic cosine", heavy=1)
_unary("tanh", np.tanh, lambda x, y, ct: ct * (1 - y * y), "hyperbolic tangent", heavy=2)
_unary(
    "sigmoid",
    lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))),
    lambda x, y, ct: ct * ((1 - y) * y),
    "1 / (1 + e ** -x); its gradient needs nothing but the result",
    body=_sigmoid,
    heavy=1,
)
_unary(
    "erf",
    np.vectorize(math.erf, otypes=[np.float64]),
    lambda x, y, ct: ct * (2 / math.sqrt(math.pi)) * make("exp", -(x * x)),
    "the error function",
    heavy=2,
)
_unary(
    "ndtr",
    np.vectorize(lambda x: (1 + math.erf(x * math.sqrt(0.5))) / 2, otypes=[np.float64]),
    lambda x, y, ct: ct * (1 / math.sqrt(2 * math.pi)) * make("exp", x * x * -0.5),
    "the normal distribution function; its error is relative to 1",
    heavy=2,
)

# Rounding and classes of floats.
_unary("floor", _on_floats(np.floor), _STEPS, "round down", admits=NUMBERS, body=_float_word("floor", lambda x: x))
_unary("ceil", _on_floats(np.ceil), _STEPS, "round up", admits=NUMBERS, body=_float_word("ceil", lambda x: x))
_unary(
    "round",
    _on_floats(np.rint),
    _STEPS,
    "round to nearest, ties to even",
    admits=NUMBERS,
    body=_float_word("round", lambda x: x),
)
for _name, _function in {"isnan": np.isnan, "isinf": np.isinf}.items():
    _no = _float_word(_name, lambda x: const(False, bool_))
    _unary(_name, _function, "its result is bool", f"{_name}(x); no integer is", admits=NUMBERS, result=bool_, body=_no)

# Comparisons.
_binary("eq", np.equal, "its result is bool", "a == b", admits=DTYPES, result=bool_)
_binary("ne", np.not_equal, "its result is bool", "a != b", admits=DTYPES, result=bool_)
_binary("lt", np.less, "its result is bool", "a < b", admits=DTYPES, result=bool_)
_binary("le", np.less_equal, "its result is bool", "a <= b", admits=DTYPES, result=bool_)
_binary("gt", np.greater, "its result is bool", "a > b", admits=DTYPES, result=bool_)
_binary("ge", np.greater_equal, "its result is bool", "a >= b", admits=DTYPES, result=bool_)

# Bits. Shifts by counts outside [0, bits) shift everything out.
_unary("not", np.invert, "it takes no floats", "logical not of bools, bitwise not of integers", admits=BITS)
_binary("and", np.bitwise_and, "it takes no floats", "logical or bitwise and", admits=BITS)
_binary("or", np.bitwise_or, "it takes no floats", "logical or bitwise or", admits=BITS)
_binary("xor", np.bitwise_xor, "it takes no floats", "logical or bitwise exclusive or", admits=BITS)
_binary("shl", np.left_shift, "it takes no floats", "a << b; 0 where b is outside [0, bits)", admits=INTS, body=_shift("shl"))
_binary(
    "shr",
    np.right_shift,
    "it takes no floats",
    "a >> b, arithmetic for signed types; the sign (0 or -1) where b is outside [0, bits)",
    admits=INTS,
    body=_shift("shr"),
)


def _select_samples() -> Iterator[Sample]:
    for dtype in DTYPES:
        yes = np.resize(edge_values(dtype), (3, 5))
        yield Sample((np.resize([True, False, False], (3, 5)), yes, yes[::-1].copy()), smooth=False)
    yield Sample((np.resize([True, False, False, True], (2, 3)), *smooth_sample((-1.0, 1.0), 2).arrays))


register(
    Op(
        "select",
        infer=_infer_select,
        reference=np.where,
        gradient=lambda node, ct: [None, _zero_where(make("not", node.operands[0]), ct), _zero_where(node.operands[0], ct)],
        lower=Elementwise(select_word),
        samples=_select_samples,
        doc="select(condition, a, b): a where condition, else b.",
    )
)


def _cast_samples() -> Iterator[Sample]:
    pairs = ((a, b) for a in DTYPES for b in DTYPES if a is not b)
    yield from (Sample((edge_values(a).reshape(2, -1),), {"dtype": b}, smooth=False) for a, b in pairs)
    yield Sample(smooth_sample((-1.0, 1.0), 1).arrays, {"dtype": float64})


register(
    Op(
        "cast",
        infer=lambda x, *, dtype: x.with_dtype(dtype),
        reference=lambda x, *, dtype: convert(x, dtype),
        gradient=lambda node, ct: [cast(ct, node.operands[0].dtype) if node.dtype.is_float else None],
        lower=Elementwise(lambda x, *, dtype: convert_expr(x, dtype)),
        samples=_cast_samples,
        doc=convert.__doc__ or "",
    )
)
