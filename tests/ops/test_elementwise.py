"""What elementwise ops mean where implementations differ, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dtype import DTYPES, FLOATS, bfloat16, bool_, dtype, float16, float32, float64, int8, int32, int64, uint8
from graphc.errors import DTypeError, ShapeError
from graphc.ir.op import OPS
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, make
from graphc.ops.elementwise import cast, edge_values, select
from graphc.ops.source import placeholder

NAN, INF = np.nan, np.inf
SAME_NAMES = "neg abs exp expm1 log log1p sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh erf floor ceil round isnan isinf"
TORCH = {name: name for name in f"{SAME_NAMES} add sub mul div pow atan2 eq ne lt le gt ge".split()}
TORCH |= {name: f"bitwise_{name}" for name in ("and", "or", "xor", "not")} | {"max": "maximum", "min": "minimum"}


def value(dtype_: object, *shape: int) -> Value:
    return placeholder("x", TensorType(dtype(dtype_), shape))


def reference(name: str, *operands: object, of: object = float32, **attrs: object) -> np.ndarray:
    return OPS[name].reference(*(np.array(x, dtype(of).numpy) for x in operands), **attrs)


@pytest.mark.parametrize("name", TORCH)
def test_references_agree_with_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, function = OPS[name], getattr(torch, TORCH[name])
    for sample in ours.samples():
        kind = sample.arrays[0].dtype
        if kind in (np.float32, np.float64, np.int32, np.uint8, np.bool_) and not (name == "pow" and kind.kind in "iu"):
            theirs = function(*(torch.from_numpy(a.copy()) for a in sample.arrays)).numpy()
            tolerance = 1e-5 if kind == np.float32 else 1e-12
            np.testing.assert_allclose(
                ours.reference(*sample.arrays), theirs, rtol=tolerance, atol=1e-44, err_msg=f"{name} of {kind}"
            )


def test_float_to_integer_truncates_saturates_and_sends_nan_to_zero() -> None:
    x = [1.9, -1.9, 300, -300, 1e30, -1e30, INF, -INF, NAN, -0.0]
    assert reference("cast", x, dtype=int8).tolist() == [1, -1, 127, -128, 127, -128, 127, -128, 0, 0]
    assert reference("cast", x, dtype=uint8).tolist() == [1, 0, 255, 0, 255, 0, 255, 0, 0, 0]
    assert reference("cast", [2.0**63, -(2.0**63), 2.0**62], of=float64, dtype=int64).tolist() == [2**63 - 1, -(2**63), 2**62]


def test_casts_to_bool_ask_for_not_zero() -> None:
    assert reference("cast", [0.0, -0.0, NAN, 0.25], dtype=bool_).tolist() == [False, False, True, True]
    assert reference("cast", [0.0, 0.25], of=bfloat16, dtype=bool_).tolist() == [False, True]


def test_integer_casts_wrap_and_narrow_floats_round_through_f32() -> None:
    assert reference("cast", [300, -1], of=int32, dtype=uint8).tolist() == [44, 255]
    halfway = 1 + 2**-11  # between two f16 values; a little more, which f32 cannot see, does not count
    assert reference("cast", halfway + 2**-40, of=float64, dtype=float16) == 1


def test_integer_division_by_zero_is_zero_and_rounds_down() -> None:
    assert reference("floordiv", [7, -7, 5, -(2**31)], [2, 2, 0, -1], of=int32).tolist() == [3, -4, 0, -(2**31)]
    assert reference("mod", [7, -7, 7, 5], [2, 2, -2, 0], of=int32).tolist() == [1, 1, -1, 0]


def test_integer_powers() -> None:
    assert reference("pow", [2, 1, -1, -1, 0, 3], [-1, -5, -3, -2, -1, 3], of=int32).tolist() == [0, 1, -1, 1, 0, 27]
    assert reference("pow", [3, 200], [6, 2], of=uint8).tolist() == [3**6 % 256, 200**2 % 256]


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_float_powers_do_not_depend_on_the_shape(shape: tuple[int, ...]) -> None:
    x, half = np.full(shape, -INF, np.float32), np.full(shape, 0.5, np.float32)
    assert (OPS["pow"].reference(x, half) == INF).all()


def test_shifts_beyond_the_width_shift_everything_out() -> None:
    assert reference("shl", [1, 1, 1, -1], [31, 32, -1, 40], of=int32).tolist() == [-(2**31), 0, 0, 0]
    assert reference("shr", [-8, -8, 8, -8], [1, 32, 32, -1], of=int32).tolist() == [-4, -1, 0, -1]
    assert reference("shr", [255, 255], [7, 8], of=uint8).tolist() == [1, 0]


def test_extremes_pass_nan_on() -> None:
    for name in ("max", "min"):
        assert np.isnan(reference(name, [NAN, 1], [1, NAN])).all()


def test_sign_of_zeros_and_nan() -> None:
    x = reference("sign", [-0.0, 0.0, NAN, -3.5])
    assert x[:2].tolist() == [0, 0] and np.isnan(x[2]) and x[3] == -1


def test_bool_arithmetic_is_logic() -> None:
    a, b = [True, True, False, False], [True, False, True, False]
    assert reference("add", a, b, of=bool_).tolist() == reference("max", a, b, of=bool_).tolist() == [True, True, True, False]
    assert reference("mul", a, b, of=bool_).tolist() == reference("min", a, b, of=bool_).tolist() == [True, False, False, False]


@pytest.mark.parametrize("dtype_", [float16, bfloat16])
def test_narrow_references_round_once(dtype_: object) -> None:
    x = edge_values(dtype(dtype_))
    with np.errstate(all="ignore"):
        expected = np.exp(x.astype(np.float64)).astype(x.dtype)
    np.testing.assert_array_equal(OPS["exp"].reference(x).astype(np.float32), expected.astype(np.float32))


def test_unequal_operands_are_refused_with_both_types() -> None:
    with pytest.raises(ShapeError, match=r"float32\[2, 3\] and float32\[3, 2\].*broadcast"):
        make("add", value(float32, 2, 3), value(float32, 3, 2))
    with pytest.raises(DTypeError, match=r"float32\[2, 3\] and float64\[2, 3\].*cast"):
        make("add", value(float32, 2, 3), value(float64, 2, 3))


@pytest.mark.parametrize(
    ("name", "arity", "dtype_"),
    [("exp", 1, int32), ("div", 2, int32), ("sub", 2, bool_), ("and", 2, float32), ("shl", 2, bool_), ("not", 1, float16)],
)
def test_foreign_element_types_are_refused(name: str, arity: int, dtype_: object) -> None:
    with pytest.raises(DTypeError, match=f"{name} is not defined for {dtype_!s}; expected one of"):
        make(name, *[value(dtype_, 2)] * arity)


def test_select_wants_a_bool_of_the_same_shape() -> None:
    x = value(float32, 2, 3)
    with pytest.raises(DTypeError, match="condition"):
        make("select", x, x, -x)
    with pytest.raises(ShapeError, match="condition"):
        make("select", value(bool_, 3, 2), x, -x)
    with pytest.raises(ShapeError, match="shapes"):
        make("select", value(bool_, 2, 3), x, value(float32, 3, 2))


def test_builders_return_what_would_not_change() -> None:
    x = value(float32, 2, 3)
    assert cast(x, float32) is x
    assert select(value(bool_, 2, 3), x, x) is x
    assert cast(x, float64) is not x


def test_constants_of_every_type_are_equal_objects() -> None:
    for dtype_ in DTYPES:
        assert full(TensorType(dtype_, (2, 3)), 1) is full(TensorType(dtype_, (2, 3)), 1)
    assert all(constant(0.0, d) is not constant(-0.0, d) for d in FLOATS)
