"""Composed tensor functions: compiled code computes what the interpreter does; special values; refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DTypeError, GraphcError, ShapeError
from graphc.interp.graph import run

# f(x, y, i): x and y are (4, 5) floats, i are (3,) integers in 0 ... 3.
SAME: dict[str, Callable[[Any, Any, Any], Any]] = {
    "asinh": lambda x, y, i: (x * 5).asinh(),
    "acosh": lambda x, y, i: (1 + x * x).acosh(),
    "atanh": lambda x, y, i: x.tanh().atanh(),
    "lgamma": lambda x, y, i: (x * 9).lgamma(),
    "digamma": lambda x, y, i: (x * 3 + 0.01).digamma(),
    "erfc": lambda x, y, i: (x * 4).erfc(),
    "erfinv": lambda x, y, i: x.erf().erfinv(),
    "i0": lambda x, y, i: (x * 12).i0(),
    "sinc": lambda x, y, i: x.sinc(),
    "hypot": lambda x, y, i: x.hypot(y),
    "logaddexp": lambda x, y, i: x.logaddexp(y),
    "xlogy": lambda x, y, i: x.xlogy(y.abs()),
    "copysign": lambda x, y, i: x.copysign(y),
    "heaviside": lambda x, y, i: x.heaviside(y),
    "fmax": lambda x, y, i: x.fmax(y.log()),
    "div trunc": lambda x, y, i: x.div(y, rounding_mode="trunc"),
    "round": lambda x, y, i: x.round(decimals=2),
    "cumprod": lambda x, y, i: x.cumprod(1),
    "logcumsumexp": lambda x, y, i: x.logcumsumexp(0),
    "cummax": lambda x, y, i: gc.cat(list(x.cummax(1)), 1),
    "cummin": lambda x, y, i: gc.cat(list(x.cummin(0)), 1),
    "diff": lambda x, y, i: x.diff(2, prepend=y),
    "trapezoid": lambda x, y, i: x.trapezoid(y.cumsum(1)),
    "gradient": lambda x, y, i: gc.stack(x.gradient(edge_order=2)),
    "select_scatter": lambda x, y, i: x.select_scatter(y[0], 0, 2),
    "slice_scatter": lambda x, y, i: x.slice_scatter(y[:, :2], 1, 1, 4, 2),
    "diagonal_scatter": lambda x, y, i: x.diagonal_scatter(y[0, :4]),
    "index_fill": lambda x, y, i: x.index_fill(0, i, 7.0),
    "index_add": lambda x, y, i: x.index_add(0, i, y[:3]),
    "index_put": lambda x, y, i: x.index_put((i, i), y[0, :3], accumulate=True),
    "masked_scatter": lambda x, y, i: x.masked_scatter(x > 0, y),
    "scatter_reduce mean": lambda x, y, i: x.scatter_reduce(0, i.unsqueeze(1).expand(3, 5), y, "mean", include_self=False),
    "scatter_reduce prod": lambda x, y, i: x.scatter_reduce(0, i.unsqueeze(1).expand(3, 5), y, "prod"),
    "take_along_dim": lambda x, y, i: x.take_along_dim(i.reshape(3, 1), 0),
    "nonzero_static": lambda x, y, i: (x > 0).nonzero_static(size=12),
    "diag_embed": lambda x, y, i: x.diag_embed(1),
    "diagonal": lambda x, y, i: x.diagonal(-1),
    "unfold": lambda x, y, i: x.unfold(1, 3, 2),
    "rot90": lambda x, y, i: x.rot90(3),
    "roll": lambda x, y, i: x.roll((1, -2), (0, 1)),
    "kthvalue": lambda x, y, i: x.kthvalue(2, 1).values,
    "median": lambda x, y, i: x.median(1).indices,
    "mode": lambda x, y, i: x.round().mode(1).values,
    "quantile": lambda x, y, i: x.quantile(np.array([0.1, 0.6]), 1),
    "nanmedian": lambda x, y, i: y.log().nanmedian(),
    "cov": lambda x, y, i: x.cov(aweights=y[0].abs()),
    "corrcoef": lambda x, y, i: x.corrcoef(),
    "renorm": lambda x, y, i: x.renorm(2, 0, 1.0),
    "bincount": lambda x, y, i: i.bincount(y[0, :3], minlength=4),
    "histc": lambda x, y, i: x.histc(6, -1.0, 1.0),
    "searchsorted": lambda x, y, i: x.sort(1).values.searchsorted(y),
    "isin": lambda x, y, i: i.isin([0, 2]),
    "tensordot": lambda x, y, i: x.tensordot(y, ((0, 1), (0, 1))),
    "kron": lambda x, y, i: x.kron(y[:2, :2]),
    "cross": lambda x, y, i: x[:, :3].cross(y[:, :3]),
    "matrix_power": lambda x, y, i: x[:, :4].matrix_power(5),
    "cdist": lambda x, y, i: x.cdist(y, p=1.5),
    "addbmm": lambda x, y, i: x.addbmm(gc.stack([x, y]), gc.stack([x, y])[:, :, :1].expand(2, 4, 5)[:, :1].expand(2, 5, 5)),
    "block_diag": lambda x, y, i: gc.block_diag(x, y[0]),
    "cartesian_prod": lambda x, y, i: gc.cartesian_prod(x[0], y[1]),
    "dstack": lambda x, y, i: gc.dstack([x, y]),
    "logspace": lambda x, y, i: x * gc.logspace(-2, 2, 5),
}


def arrays(dtype: Any = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(4, 5)).astype(dtype), rng.normal(size=(4, 5)).astype(dtype), np.array([3, 0, 3])]


def test_compiled_code_computes_what_the_interpreter_does() -> None:
    given = arrays()
    inputs = [gc.placeholder(a.shape, a.dtype) for a in given]
    names = [f"f{n}" for n in range(len(SAME))]
    function = gc.function(inputs, {n: f(*inputs) for n, f in zip(names, SAME.values(), strict=True)})
    expected = run(function.graph("f"), given, {})
    found = gc.compile(f=function).f(*given)
    for name, label, b in zip(names, SAME, expected, strict=True):
        np.testing.assert_allclose(found[name], b, rtol=2e-5, atol=2e-6, err_msg=label)


def value(x: Any) -> np.ndarray:
    return run(gc.function([], [x]).graph("f"), [], {})[0]


def test_special_values() -> None:
    gammas = value(gc.lgamma([1.0, 2.0, 5.0, 0.0, -2.0, math.inf]))
    np.testing.assert_allclose(gammas, [0, 0, math.log(24), math.inf, math.inf, math.inf], rtol=1e-6, atol=1e-14)
    inverse = value(gc.erfinv(np.array([-1.0, 0.0, 1.0, 2.0])))
    assert inverse[0] == -math.inf and inverse[1] == 0 and inverse[2] == math.inf and math.isnan(inverse[3])
    tail = [2.0, math.erfc(-1.5), 1.0, math.erfc(0.5), math.erfc(1.0), math.erfc(5.0), math.erfc(20.0), 0.0]
    np.testing.assert_allclose(
        value(gc.erfc(np.array([-math.inf, -1.5, 0.0, 0.5, 1.0, 5.0, 20.0, math.inf]))), tail, rtol=1e-12
    )
    assert value(gc.erfc([4.0]))[0] == pytest.approx(math.erfc(4.0), rel=1e-6)  # float32 keeps its digits
    assert value(gc.sinc([0.0, 1.0])).tolist() == [1, pytest.approx(0, abs=1e-7)]
    assert value(gc.atanh([1.0, -1.0])).tolist() == [math.inf, -math.inf]
    assert value(gc.asinh([1e30, -1e30])).tolist() == pytest.approx([math.asinh(1e30), math.asinh(-1e30)])
    for big in (300.0, 2e4, 3e7, 1e9, 1e300):
        assert value(gc.asinh(np.array(big))) == pytest.approx(math.asinh(big), rel=1e-15)
        assert value(gc.acosh(np.array(big))) == pytest.approx(math.acosh(big), rel=1e-15)
    assert value(gc.asinh(np.array(6e4, np.float16))) == pytest.approx(math.asinh(6e4), rel=1e-3)
    digamma = value(gc.digamma(np.array([1.0, 0.0, -3.0])))
    assert digamma[0] == pytest.approx(-0.5772156649015329) and digamma[1] == -math.inf and math.isnan(digamma[2])
    assert value(gc.cummax([1, 3, 3, 2], dim=0).indices).tolist() == [0, 1, 2, 2]


def test_integers_and_bools() -> None:
    yes = gc.constant([True, False, False])
    assert value(yes.amax()) and not value(yes.amin()) and value(gc.max(yes, dim=0).indices) == 0
    assert value(yes.sign()).tolist() == [True, False, False] and value(gc.nan_to_num([1, 2])).tolist() == [1, 2]
    assert value(gc.linspace(0, 10, 4, dtype="int64")).tolist() == [0, 3, 6, 10]
    assert value(gc.logsumexp([0, 0])) == pytest.approx(math.log(2))
    assert value(gc.cumprod([2, 3, 4], dim=0)).tolist() == [2, 6, 24] and value(gc.constant([5, 1, 7]).median()) == 5
    assert value(gc.constant([7, -7]).div(2, rounding_mode="trunc")).tolist() == [3, -3]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 255, 256, 1000])
def test_places_among_few_and_many_are_those_of_numpy(n: int, side: str) -> None:
    rng = np.random.default_rng(n)
    rows = np.sort(rng.integers(0, n, (2, n)).astype(np.float32), 1)  # with repetitions
    asked = np.concatenate([rows[:, :50], rows[:, -50:] + 0.5, np.full((2, 3), [np.nan, np.inf, -np.inf], np.float32)], 1)
    expected = np.stack([np.searchsorted(row, each, side) for row, each in zip(rows, asked, strict=True)])
    x, y = gc.placeholder(rows.shape, rows.dtype), gc.placeholder(asked.shape, asked.dtype)
    shuffled = gc.constant(rng.permutation(n))
    of_rows, of_one = x.searchsorted(y, side=side), x[0].searchsorted(y, side=side, out_int32=True)
    sorter = x[0][shuffled].searchsorted(y[0], side=side, sorter=shuffled.argsort())
    found = gc.compile(f=gc.function([x, y], [of_rows, of_one, sorter])).f(rows, asked)
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], np.searchsorted(rows[0], asked, side).astype(np.int32))
    np.testing.assert_array_equal(found[2], expected[0])


def test_what_is_in_no_bin_is_left_out() -> None:
    numbers, weights = np.array([3, -1, 0, 4, 3, 2**40]), np.array([0.5, 1, 2, 4, 8, 16])
    assert value(gc.constant(numbers).bincount(minlength=4)).tolist() == [1, 0, 0, 2]
    assert value(gc.constant(numbers).bincount(gc.constant(weights), minlength=4)).tolist() == [2, 0, 0, 8.5]
    assert value(gc.constant([0.0, 1.0, np.nan, -0.1, 0.3, 7.0]).histc(4, 0, 1)).tolist() == [1, 1, 0, 1]


def test_multinomial() -> None:
    state: dict[Any, np.ndarray] = {}
    weights = np.array([0.0, 1.0, 3.0], np.float32)
    often, each = gc.multinomial(weights, 4000, replacement=True), gc.multinomial(np.tile(weights, (50, 1)), 2)
    drawn, pairs = run(gc.function([], [often, each]).graph("f"), [], state)
    assert drawn.dtype == np.int64 and np.bincount(drawn, minlength=3)[0] == 0 and 2800 < (drawn == 2).sum() < 3200
    assert np.sort(pairs, 1).tolist() == [[1, 2]] * 50 and (pairs[:, 0] == 2).sum() > (pairs[:, 0] == 1).sum()


def test_numpys_names() -> None:
    x = gc.placeholder((4, 5))
    assert x.sum(axis=1, keepdims=True).shape == gc.mean(x, axis=1, keepdims=True).shape == (4, 1)
    assert gc.concatenate([x, x], axis=1).shape == (4, 10) and gc.exp(input=x).shape == (4, 5)
    assert x.to("cpu").dtype is x.to(x.long()).float().dtype is gc.float32 and gc.nn.Linear(2, 2).to("cpu").cpu()
    assert x.flip(dims=(0, 1)).shape == (4, 5) and x.permute(dims=(1, 0)).shape == (5, 4)


REFUSED: list[tuple[type[GraphcError], str, Callable[[Any], Any]]] = [
    (DTypeError, "masked_fill", lambda x: x[x > 0]),
    (ShapeError, "masked_fill", lambda x: x.__setitem__(0, 1.0)),
    (ShapeError, "masked_fill", lambda x: x.masked_select(x > 0)),
    (ShapeError, "nonzero_static", lambda x: gc.nonzero(x)),
    (ShapeError, "nonzero_static", lambda x: x.argwhere()),
    (ShapeError, "bincount", lambda x: x.unique()),
    (DTypeError, "target=", lambda x: x.to("cuda:0")),
    (DTypeError, "target=", lambda x: gc.nn.Linear(2, 2).cuda()),
    (DTypeError, "rounding_mode", lambda x: x.div(2, rounding_mode="up")),
    (ShapeError, "one for each", lambda x: x.roll((1, 2), 0)),
    (ShapeError, "each once", lambda x: x.movedim((0, 0), (0, 1))),
    (ShapeError, "are both dimension 0", lambda x: x.diagonal(0, 0, 0)),
    (ShapeError, "does not fit the", lambda x: x.select_scatter(x, 0, 1)),
    (ShapeError, "5 counts", lambda x: x.repeat_interleave([1, 2], 1)),
    (ShapeError, "does not fit", lambda x: x.masked_scatter(x[:, :2] > 0, x)),
    (ShapeError, "1 or 2 dimensions", lambda x: x.unsqueeze(0).diag()),
    (ShapeError, "at least 1 dimension", lambda x: x.sum().diag_embed()),
    (ShapeError, "takes a matrix", lambda x: x[0].trace()),
    (ShapeError, "do not fit", lambda x: x.unfold(0, 5, 1)),
    (DTypeError, "integers", lambda x: x.unravel_index((4, 5))),
    (ShapeError, "within 1 to 5", lambda x: x.kthvalue(6)),
    (GraphcError, "interpolation", lambda x: x.quantile(0.5, interpolation="cubic")),
    (ShapeError, "number or a vector", lambda x: x.quantile(np.ones((2, 2)))),
    (DTypeError, "floats", lambda x: x.long().quantile(0.5)),
    (ShapeError, "minlength", lambda x: x[0].long().bincount()),
    (ShapeError, "vector of integers", lambda x: x.bincount(minlength=3)),
    (ShapeError, "bins > 0", lambda x: x.histc(0)),
    (ShapeError, "must be a vector", lambda x: x.bucketize(x)),
    (ShapeError, "last dimension", lambda x: x.searchsorted(x[0])),
    (GraphcError, "side", lambda x: x.searchsorted(x, side="middle")),
    (ShapeError, "contract", lambda x: x.tensordot(x, 3)),
    (ShapeError, "is not", lambda x: x.tensordot(x, 1)),
    (ShapeError, "3 elements", lambda x: x.cross(x)),
    (ShapeError, "square", lambda x: x.matrix_power(2)),
    (GraphcError, "no inverse", lambda x: x[:, :4].matrix_power(-1)),
    (ShapeError, "(..., m, k)", lambda x: x.cdist(x[:, :2])),
    (ShapeError, "more than 2 elements", lambda x: x[:2].gradient(edge_order=2)),
    (ShapeError, "spacings", lambda x: x.gradient(spacing=[1.0])),
    (ShapeError, "values along", lambda x: x.trapezoid(x[0, :3])),
    (ShapeError, "scatter_reduce", lambda x: x.scatter_reduce(0, x.long(), x, "median")),
    (ShapeError, "takes vectors", lambda x: gc.cartesian_prod(x, x)),
    (ShapeError, "at most 2", lambda x: gc.block_diag(x.unsqueeze(0))),
    (ShapeError, "do not broadcast", lambda x: gc.broadcast_shapes((2,), (3,))),
    (ShapeError, "equal pieces", lambda x: x.hsplit(3)),
    (ShapeError, "at most n samples", lambda x: gc.multinomial(x, 6)),
    (ShapeError, "needs a size", lambda x: gc.normal(0.0, 1.0)),
    (ShapeError, "does not broadcast", lambda x: x.sum_to_size(3, 5)),
    (DTypeError, "at least 1", lambda x: x.mvlgamma(0)),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refusals(case: int) -> None:
    error, words, action = REFUSED[case]
    with pytest.raises(error) as caught:
        action(gc.placeholder((4, 5)))
    assert words in str(caught.value) and caught.value.location is not None and caught.value.location.file == __file__
