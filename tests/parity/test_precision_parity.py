"""Numbers at the edge of their range: 16-bit floats that are computed in float32, and arguments where formulas break down."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from oracle import call, compare, normal, same, torch

import graphc as gc

OURS, THEIRS = gc.nn.functional, torch.nn.functional
KINDS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
LARGE = 60.0  # squares of such numbers fit in float16, their sums do not; those of larger ones neither
LARGER = {"mean": 10, "std": 10, "l1_loss": 10, "avg_pool": 40}

# name -> what to compute, given the functions of a library, of an array [8, 32]
ROUNDED_ONCE: dict[str, Callable[[Any, Any], Any]] = {
    "mean": lambda f, x: x.abs().mean(),
    "var": lambda f, x: x.var(-1),
    "std": lambda f, x: x.std(-1),
    "norm": lambda f, x: x.norm(2, -1),
    "logsumexp": lambda f, x: x.logsumexp(-1),
    "softmax": lambda f, x: f.softmax(x, -1),
    "log_softmax": lambda f, x: f.log_softmax(x, -1),
    "logcumsumexp": lambda f, x: x.logcumsumexp(-1),
    "layer_norm": lambda f, x: f.layer_norm(x, (32,)),
    "rms_norm": lambda f, x: f.rms_norm(x, (32,)),
    "group_norm": lambda f, x: f.group_norm(x, 4),
    "batch_norm": lambda f, x: f.batch_norm(x, None, None, training=True),
    "instance_norm": lambda f, x: f.instance_norm(x.reshape(2, 4, 32)),
    "local_response_norm": lambda f, x: f.local_response_norm(x.reshape(2, 4, 32), 2),
    "normalize": lambda f, x: f.normalize(x),
    "renorm": lambda f, x: x.renorm(2, 0, 5.0),
    "gelu": lambda f, x: f.gelu(x, approximate="tanh"),
    "silu": lambda f, x: f.silu(x),
    "mish": lambda f, x: f.mish(x),
    "softplus": lambda f, x: f.softplus(x),
    "logsigmoid": lambda f, x: f.logsigmoid(x),
    "selu": lambda f, x: f.selu(x),
    "hardswish": lambda f, x: f.hardswish(x),
    "sinc": lambda f, x: x.sinc(),
    "lerp": lambda f, x: x[:4].lerp(x[4:], 0.3),
    "hypot": lambda f, x: x[:4].hypot(x[4:]),
    "logaddexp": lambda f, x: x[:4].logaddexp(x[4:]),
    "cosine_similarity": lambda f, x: f.cosine_similarity(x[:4], x[4:]),
    "pairwise_distance": lambda f, x: f.pairwise_distance(x[:4], x[4:]),
    "dist": lambda f, x: x[:4].dist(x[4:]),
    "mse_loss": lambda f, x: f.mse_loss(x[:4], x[4:]),
    "l1_loss": lambda f, x: f.l1_loss(x[:4], x[4:]),
    "huber_loss": lambda f, x: f.huber_loss(x[:4], x[4:]),
    "cross_entropy": lambda f, x: f.cross_entropy(x, x.argmin(1)),
    "with_logits": lambda f, x: f.binary_cross_entropy_with_logits(x[:4], (x[4:] > 0).to(x.dtype)),
    "triplet": lambda f, x: f.triplet_margin_loss(x[:2], x[2:4], x[4:6]),
    "avg_pool": lambda f, x: f.avg_pool1d(x.abs(), 32),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROUNDED_ONCE)
def test_short_floats_are_rounded_once(kind: str, name: str) -> None:
    """Results are as near to those of the same numbers in float64 as one rounding allows."""
    function = ROUNDED_ONCE[name]
    x = (normal(8, 32) * LARGE * LARGER.get(name, 1)).astype(KINDS[kind])
    given = gc.placeholder(x.shape, kind)
    found = function(OURS, given)
    assert found.dtype is given.dtype
    (ours,) = call([found], [given], [x])
    expected = function(THEIRS, torch.tensor(x.astype(np.float64))).numpy()
    unit = float(ml_dtypes.finfo(KINDS[kind]).eps)
    np.testing.assert_allclose(ours.astype(np.float64), expected, rtol=unit, atol=1e-4 * unit * np.abs(expected).max())


def test_short_floats_that_meet_longer_ones_become_these() -> None:
    x, y = gc.placeholder((3,), "float16"), gc.placeholder((3,), "float32")
    assert OURS.mse_loss(x, y).dtype is gc.float32
    assert x.lerp(np.ones(3, np.float32), 0.5).dtype is gc.float32
    assert x.lerp(y.to("bfloat16"), 0.5).dtype is gc.float32
    assert (x.mean(dtype="float32").dtype, x.log_softmax(0, dtype="float32").dtype) == (gc.float32, gc.float32)


def test_statistics_of_short_floats_are_kept_in_their_dtype() -> None:
    norm = gc.nn.BatchNorm1d(4, dtype="float16")
    x = gc.placeholder((8, 4), "float16")
    program = gc.compile(f=gc.function([x], [norm(x)]))
    (y,) = program.f((normal(8, 4) * 1000).astype(np.float16))
    assert y.dtype == np.float16 and np.abs(y.astype(np.float64).mean(0)).max() < 1e-2


def test_logits_of_any_size_have_a_loss_and_a_gradient() -> None:
    x = np.array([-1000.0, -100, -30, -1, 0, 1, 30, 100, 1000], np.float32)
    given = gc.placeholder(x.shape)
    for label in (0.0, 0.3, 1.0):
        loss = OURS.binary_cross_entropy_with_logits(given, gc.full(x.shape, label), reduction="none")
        value, slope = call([loss, gc.grad(loss.sum(), given)], [given], [x])
        z = x.astype(np.float64)
        exact = np.where(z > 0, (1 - label) * z, -label * z) + np.log1p(np.exp(-abs(z)))
        np.testing.assert_allclose(value, exact, rtol=1e-6, atol=1e-40)
        np.testing.assert_allclose(slope, np.exp(-np.logaddexp(0, -z)) - label, rtol=1e-6, atol=1e-7)
    margin = OURS.soft_margin_loss(given, gc.ones(x.shape), reduction="none")
    np.testing.assert_allclose(call([margin], [given], [x])[0], np.logaddexp(0, -x.astype(np.float64)), 1e-6, 1e-40)


def test_weighted_logits() -> None:
    weight = np.array([0.5, 1.0, 3.0])
    compare(
        lambda x, y: OURS.binary_cross_entropy_with_logits(x, y, pos_weight=gc.constant(weight)),
        lambda x, y: THEIRS.binary_cross_entropy_with_logits(x, y, pos_weight=torch.tensor(weight)),
        30 * normal(8, 3),
        np.random.default_rng(0).uniform(size=(8, 3)),
    )


# name -> (function, arguments)
EDGES: dict[str, tuple[Callable[..., Any], tuple[list[float], ...]]] = {
    "asinh at 0": (lambda x: x.asinh(), ([0.0, -0.0, 1e-30, -2.0],)),
    "acosh below 1": (lambda x: x.acosh(), ([-1e4, -1e10, -1e38, 0.5, 2.0],)),
    "erfinv of little": (lambda x: x.erfinv(), ([1e-30, 1e-10, -1e-7, 1e-5, 2e-5, -1e-3, 0.5],)),
    "atan2 at the origin": (lambda x, y: x.atan2(y), ([0.0, 0.0, 1.0], [0.0, -0.0, 0.0])),
    "xlogy of nothing": (lambda x, y: x.xlogy(y), ([0.0, 0.0, 2.0], [3.0, 1e-30, 0.5])),
    "hypot of infinities": (lambda x, y: x.hypot(y).detach(), ([math.inf, -math.inf, 1.0], [math.inf, 2.0, -math.inf])),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_are_as_in_pytorch(name: str) -> None:
    function, arguments = EDGES[name]
    valid = [np.array(a) for a in arguments]
    if name == "acosh below 1":  # whose slope there is NaN or 0
        return compare(lambda x: function(x).detach(), lambda x: function(x).detach(), *valid)
    compare(function, function, *valid)


@pytest.mark.parametrize("name", ["i0", "asinh", "erfinv", "softplus", "silu", "gelu", "logaddexp"])
def test_second_derivatives_where_formulas_meet(name: str) -> None:
    """At zero, and of equal elements."""

    def bend(f: Any, grad: Callable[..., Any], x: Any) -> Any:
        function = getattr(f, name, None) or getattr(type(x), name)
        y = function(x, x.flip(0)) if name == "logaddexp" else function(x)
        return grad((grad((y * y).sum(), x) * x.cos()).sum(), x)

    x = np.array([0.0, 0.3, 0.3, -0.3, 0.0])
    given, leaf = gc.placeholder(x.shape, "float64"), torch.tensor(x, requires_grad=True)
    expected = bend(THEIRS, lambda y, x: torch.autograd.grad(y, x, create_graph=True)[0], leaf)
    same(call([bend(OURS, gc.grad, given)], [given], [x])[0], expected, 1e-6)


def test_distances_of_short_floats_have_angles() -> None:
    x = gc.placeholder((1,), "float16")
    (slope,) = call([gc.grad(x.atan2(x * 0 + 300.0).sum(), x)], [x], [np.array([400.0], np.float16)])
    assert slope[0] == pytest.approx(300 / 250000, rel=2e-3)


def test_counts_are_int64() -> None:
    x = np.zeros(300, np.uint8)
    given = gc.placeholder(x.shape, "uint8")
    same(call([given.bincount(minlength=2)], [given], [x])[0], torch.tensor(x).bincount(minlength=2))
    same(call(given.unravel_index((20, 30)), [given], [x])[0], torch.unravel_index(torch.tensor(x).long(), (20, 30))[0])


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_images_of_bytes_are_resized_by_rounding(mode: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (1, 2, 6, 7)).astype(np.uint8)
    given = gc.placeholder(x.shape, "uint8")
    found = call([OURS.interpolate(given, (9, 5), mode=mode)], [given], [x])[0]
    exact = THEIRS.interpolate(torch.tensor(x).double(), (9, 5), mode=mode).clamp(0, 255).numpy()
    assert found.dtype == np.uint8 and np.abs(found - exact).max() < 0.5 + 1e-4
    with pytest.raises(gc.GraphcError, match=r"floats and uint8, not int32; use \.float"):
        OURS.interpolate(gc.placeholder((1, 1, 4, 4), "int32"), 8, mode=mode)


def test_functions_of_short_floats_take_numpys_names() -> None:
    x = gc.placeholder((2, 3), "float16")
    assert x.var(axis=1, keepdims=True).shape == (2, 1)


def test_running_sums_of_many_keep_their_digits() -> None:
    x = np.full(1 << 20, 0.1, np.float32)
    given = gc.placeholder(x.shape)
    (sums,) = gc.compile(f=gc.function([given], [given.cumsum(0)])).f(x)
    np.testing.assert_allclose(sums, np.cumsum(x.astype(np.float64)), rtol=1e-7)
