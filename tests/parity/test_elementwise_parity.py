"""Operators, functions and promotion of tensors against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracle import call, compare, normal, same, torch

import graphc as gc

UNARY = """abs exp expm1 exp2 sin cos tan atan sinh cosh tanh erf erfc sign floor ceil round trunc neg relu sigmoid
square reciprocal frac isnan isinf isfinite nan_to_num""".split()
POSITIVE = "log log1p log2 log10 sqrt rsqrt".split()
UNIT = "asin acos".split()


@pytest.mark.parametrize("name", UNARY + POSITIVE + UNIT)
def test_unary(name: str) -> None:
    x = normal(3, 5)
    x = np.abs(x) + 0.1 if name in POSITIVE else np.tanh(x) if name in UNIT else x
    compare(getattr(gc, name), getattr(torch, name), x)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 30.0, -30.0, 100.0, -100.0, 800.0, -800.0, math.inf, -math.inf, math.nan])
STABLE = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "softplus": torch.nn.functional.softplus,
    "logsigmoid": torch.nn.functional.logsigmoid,
    "tanh": torch.tanh,
    "trunc": torch.trunc,
    "nan_to_num": torch.nan_to_num,
}


@pytest.mark.parametrize("name", STABLE)
def test_extreme_arguments(name: str) -> None:
    """Values everywhere; gradients where PyTorch's are numbers."""
    x = gc.placeholder(SPECIAL.shape, gc.float64)
    leaf = torch.tensor(SPECIAL, requires_grad=True)
    out, expected = getattr(gc, name)(x), STABLE[name](leaf)
    value, slope = call([out, gc.grad(out.sum(), x)], [x], [SPECIAL])
    expected.sum().backward()
    same(value, expected, rtol=1e-7)
    finite = np.isfinite(SPECIAL) & np.isfinite(leaf.grad.numpy())
    np.testing.assert_allclose(slope[finite], leaf.grad.numpy()[finite], rtol=1e-7, atol=1e-9)


BINARY = """add sub mul div pow maximum minimum atan2 remainder fmod floor_divide eq ne lt le gt ge
logical_and logical_or logical_xor""".split()


@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcasts(name: str) -> None:
    a, b = normal(4, 1, 3), normal(2, 1, seed=1)
    a = np.abs(a) + 0.5 if name == "pow" else a
    if name in ("remainder", "floor_divide", "fmod"):  # PyTorch's gradient with respect to the divisor differs in kind
        a, b = np.round(a * 8) + 0.25, np.round(np.abs(b) * 2) + 1
        x, y = gc.placeholder(a.shape, "float64"), gc.placeholder(b.shape, "float64")
        same(call([getattr(gc, name)(x, y)], [x, y], [a, b])[0], getattr(torch, name)(torch.tensor(a), torch.tensor(b)))
    else:
        compare(getattr(gc, name), getattr(torch, name), a, b)


@pytest.mark.parametrize("name", ["add", "mul", "sub", "floor_divide", "remainder", "bitwise_and", "bitwise_or", "bitwise_xor"])
def test_binary_on_integers(name: str) -> None:
    a, b = np.array([7, -7, 12, -3], np.int32), np.array([2, 2, -5, -3], np.int32)
    compare(getattr(gc, name), getattr(torch, name), a, b)


DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())])
def test_promotion_of_tensors(a: str, b: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    ours = gc.result_type([gc.zeros(shapes[0], dtype=a), gc.zeros(shapes[1], dtype=b)])
    theirs = torch.result_type(*(torch.zeros(s, dtype=getattr(torch, d)) for s, d in zip(shapes, (a, b), strict=True)))
    assert f"torch.{ours}" == str(theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [True, 2, 2.5])
@pytest.mark.parametrize("shape", [(2,), ()])
def test_promotion_with_numbers(dtype: str, number: float, shape: tuple[int, ...]) -> None:
    ours, theirs = gc.ones(shape, dtype=dtype), torch.ones(shape, dtype=getattr(torch, dtype))
    assert str(theirs * number) and f"torch.{(ours * number).dtype}" == str((theirs * number).dtype)
    assert f"torch.{(number + ours).dtype}" == str((number + theirs).dtype)
    assert f"torch.{(ours / number).dtype}" == str((theirs / number).dtype)
    assert f"torch.{gc.where(ours == 1, ours, number).dtype}" == str(torch.where(theirs == 1, theirs, number).dtype)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, -2, 2.5])
def test_powers(exponent: float) -> None:
    compare(lambda x: x**exponent, lambda x: x**exponent, np.abs(normal(6)) + 0.1)


def test_operators_with_arrays_and_numbers_on_the_left() -> None:
    a = normal(3)
    compare(lambda x: (2 - x) * a + a / x, lambda x: (2 - x) * torch.tensor(a) + torch.tensor(a) / x, np.abs(normal(3)) + 1)
    compare(lambda x: 2**x + 7 % x + 7 // x, lambda x: 2**x + 7 % x + 7 // x, np.array([2, 3, 4]))
    compare(
        lambda x: (~x, x << 1, x >> 1, x & 6, 1 | x, x ^ x),
        lambda x: (~x, x << 1, x >> 1, x & 6, 1 | x, x ^ x),
        np.array([5, -9]),
    )


@pytest.mark.parametrize("bounds", [(-0.5, 0.5), (None, 0.2), (0.0, None)])
def test_clamp(bounds: tuple[float | None, float | None]) -> None:
    compare(lambda x: x.clamp(*bounds), lambda x: x.clamp(*bounds), np.append(normal(20), [0.5, -0.5]))


def test_clamp_keeps_nan() -> None:
    x = gc.placeholder((1,), "float64")
    assert np.isnan(call([x.clamp(0, 1)], [x], [np.array([np.nan])])[0]).all()


def test_where_masked_fill_and_lerp() -> None:
    x, y, mask = normal(3, 4), normal(4, seed=1), normal(3, 1, seed=2) > 0
    compare(gc.where, torch.where, mask, x, y)
    compare(lambda m, a: a.masked_fill(m, 0.5), lambda m, a: a.masked_fill(m, 0.5), mask, x)
    compare(lambda a, b: a.lerp(b, 0.25), lambda a, b: a.lerp(b, 0.25), y, y[::-1].copy())


F, T = gc.nn.functional, torch.nn.functional
ACTIVATIONS = """leaky_relu elu celu selu relu6 hardtanh hardsigmoid hardswish mish softsign tanhshrink gelu silu
softplus logsigmoid normalize glu""".split()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    compare(getattr(F, name), getattr(T, name), 2 * normal(4, 6), rtol=1e-7)  # PyTorch keeps 1/6 in float32


def test_activation_options() -> None:
    x = 3 * normal(4, 5)
    compare(lambda v: F.gelu(v, approximate="tanh"), lambda v: T.gelu(v, approximate="tanh"), x)
    compare(lambda v: F.softplus(v, 2.0, 3.0), lambda v: T.softplus(v, 2.0, 3.0), x)
    compare(lambda v: F.elu(v, 0.5), lambda v: T.elu(v, 0.5), x)
    compare(F.prelu, T.prelu, x, np.linspace(0.1, 0.5, 5))
    compare(lambda v: F.normalize(v, 1.0, 0), lambda v: T.normalize(v, 1.0, 0), x)


@pytest.mark.parametrize("source", ["float32", "int32", "bool", "uint8"])
@pytest.mark.parametrize("target", ["float64", "float16", "int8", "bool", "int64"])
def test_casts(source: str, target: str) -> None:
    x = np.array([0, 1, 2.7, 100]).astype(source)
    compare(lambda v: v.to(target), lambda v: v.to(getattr(torch, target)), x, rtol=1e-3)
