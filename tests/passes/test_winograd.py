"""Convolutions in tiles: the same numbers, only where it pays, and within a few times the error of the sum of products."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import ml_dtypes
import numpy as np
import pytest
from programs import HOST, check_kernels

import graphc as gc
from graphc import nn, optim
from graphc.driver import Stages
from graphc.dtype import DType, bfloat16, float16, float32, float64
from graphc.errors import DTypeError, ShapeError
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, like, make
from graphc.ops.convolve import conv_general
from graphc.ops.shape import pad
from graphc.ops.source import placeholder
from graphc.ops.toom import POINTS, TAPS, transforms
from graphc.ops.winograd import winograd_points, winograd_product, winograd_result
from graphc.passes.canonicalize import simplify
from graphc.passes.expand import expand
from graphc.passes.machine import Machine
from graphc.passes.winograd import Shape, Tiling, best, winograd

F = nn.functional
LAST = {"lhs_spec": (0, 3, 1, 2), "rhs_spec": (3, 2, 0, 1), "out_spec": (0, 3, 1, 2)}
SIZES = (1, 2, 3, 5, 7, 13, 17, 31, 33)
CORE = Machine(64, 32, 48 << 10, 2 << 20)


def tensor(name: str, *shape: int, dtype: DType = float32) -> Value:
    return placeholder(name, TensorType(dtype, shape))


def conv(x: Value, w: Value, padding: int = 1, **attrs: object) -> Value:
    """Channels last, taps first."""
    around = ((padding, padding),) * 2
    return conv_general(x, w, **({"strides": (1, 1), "padding": around} | LAST | attrs))  # type: ignore[arg-type]


def in_tiles(*outputs: Value) -> Graph:
    """All convolutions that can be, in tiles; computes nearly the same."""
    before = expand(Graph("f", tuple(v for v in Graph("f", (), outputs).values() if v.op.name == "placeholder"), outputs))
    after = winograd(before, HOST, always=True)
    rng = np.random.default_rng(0)
    inputs = {x: rng.standard_normal(x.shape).astype(np.float32) for x in before.inputs}
    for old, new in zip(evaluate(before.roots, inputs), evaluate(after.roots, inputs), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-5 * max(np.abs(old).max(), 1))
    return after


def ops(graph: Graph) -> set[str]:
    return {value.op.name for value in graph.values()}


@pytest.mark.parametrize("tile", sorted(POINTS))
def test_matrices_give_correlations_exactly(tile: int) -> None:
    rng = np.random.default_rng(tile)
    d = [Fraction(int(n)) for n in rng.integers(-9, 9, tile + TAPS - 1)]
    g = [Fraction(int(n)) for n in rng.integers(-9, 9, TAPS)]
    found = transforms(tile)
    points = [
        sum((a * b for a, b in zip(row, d, strict=True)), Fraction(0))
        * sum((a * b for a, b in zip(taps, g, strict=True)), Fraction(0))
        for row, taps in zip(found.data, found.kernel, strict=True)
    ]
    for n, row in enumerate(found.result):
        assert sum(a * b for a, b in zip(row, points, strict=True)) == sum(g[k] * d[n + k] for k in range(TAPS))


@pytest.mark.parametrize("rows", SIZES)
def test_pictures_of_every_size_give_the_same(rows: int) -> None:
    columns = SIZES[::-1][SIZES.index(rows)]
    y = conv(tensor("x", 2, rows, columns, 5), tensor("w", 3, 3, 5, 3))
    graph = in_tiles(y)
    assert "winograd_result" in ops(graph) and "conv_general" not in ops(graph)
    check_kernels(Graph("f", graph.inputs, (make("max", graph.outputs[0], like(y, 0)),)))


def test_kernels_in_any_order_and_constants() -> None:
    w = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    x = tensor("x", 1, 6, 9, 3)
    graph = in_tiles(conv(x, tensor("w", 4, 3, 3, 3), rhs_spec=(0, 1, 2, 3)), conv(x, constant(w), rhs_spec=(0, 1, 2, 3)))
    kernels = [v.operands[1] for v in graph.values() if v.op.name == "winograd_product"]
    assert sorted(v.op.name == "constant" for v in kernels) == [False, True]


@pytest.mark.parametrize("kind", [float16, bfloat16], ids=str)
@pytest.mark.parametrize("fixed", [False, True], ids=["given", "constant"])
def test_short_floats_have_long_points_and_results_rounded_once(kind: DType, fixed: bool) -> None:
    rng = np.random.default_rng(2)
    data, taps = (rng.standard_normal(shape).astype(kind.numpy) for shape in ((2, 9, 9, 5), (3, 3, 5, 4)))
    x, w = tensor("x", *data.shape, dtype=kind), constant(taps) if fixed else tensor("w", *taps.shape, dtype=kind)
    before = expand(Graph("f", (x,) if fixed else (x, w), (conv(x, w), conv(x, x, **ORDERS[0]))))
    after = winograd(before, HOST, always=True)
    points = [v for v in after.values() if v.op.name == "winograd_points"]
    assert len(points) == 3 and {v.dtype for v in points} == {float32}
    assert [v.dtype for v in after.outputs] == [kind, kind]
    inputs = dict(zip(before.inputs, (data, taps), strict=False))
    for old, new in zip(evaluate(before.roots, inputs), evaluate(after.roots, inputs), strict=True):
        ulp = float(ml_dtypes.finfo(kind.numpy).eps)
        np.testing.assert_allclose(new.astype("f8"), old.astype("f8"), rtol=ulp, atol=1e-5 * np.abs(old.astype("f8")).max())
    check_kernels(after)


def test_padding_grows_where_there_is_some() -> None:
    x, w = tensor("x", 1, 6, 7, 3), tensor("w", 3, 3, 3, 4)
    (data,) = (v.operands[0] for v in in_tiles(conv(x, w)).values() if v.op.name == "winograd_points")
    assert data.op.name == "pad" and data.operands[0] is x
    ones = pad(x, (0, 1, 1, 0), (0, 1, 1, 0), None, 1.0)
    assert "winograd_points" in ops(in_tiles(conv(ones, w, padding=0)))  # what is beyond the ones is not one of them


@pytest.mark.parametrize("padding", [0, 1])
def test_data_in_any_order_is_laid_out_once(padding: int) -> None:
    x, w = tensor("x", 3, 2, 6, 6), tensor("w", 3, 3, 3, 4)
    graph = in_tiles(conv(x, w, padding=padding, lhs_spec=(1, 0, 2, 3)))
    fused = check_kernels(simplify(graph))
    (data,) = (v for v in graph.values() if v.op.name == "winograd_points")
    assert [v.shape for v in fused.stored if v.type == data.operands[0].type]  # channels last, padded


ORDERS = (  # dimensions of data, of the cotangent, and of the kernel, as roles of a convolution
    {"lhs_spec": (3, 0, 1, 2), "rhs_spec": (3, 0, 1, 2), "out_spec": (1, 0, 2, 3)},
    {"lhs_spec": (1, 0, 2, 3), "rhs_spec": (3, 0, 1, 2), "out_spec": (2, 3, 0, 1)},
    {"lhs_spec": (3, 0, 1, 2), "rhs_spec": (1, 0, 2, 3), "out_spec": (0, 3, 1, 2)},
)


@pytest.mark.parametrize("attrs", ORDERS)
@pytest.mark.parametrize("rows", [3, 4, 7, 13])
def test_gradients_of_kernels_of_every_order(rows: int, attrs: dict[str, tuple[int, ...]]) -> None:
    def placed(spec: str, channels: int, *spatial: int) -> tuple[int, ...]:
        sizes = dict(zip(attrs[spec], (channels, 2, *spatial), strict=True))
        return tuple(sizes[d] for d in range(4))

    x, dy = tensor("x", *placed("lhs_spec", 5, rows, 6)), tensor("dy", *placed("rhs_spec", 4, rows, 6))
    graph = in_tiles(conv_general(x, dy, strides=(1, 1), padding=((1, 1), (1, 1)), **attrs))
    assert "winograd_points" in ops(graph) and "conv_general" not in ops(graph)
    check_kernels(simplify(graph))


def test_a_step_of_training_is_in_tiles_and_changes_weights_as_before() -> None:
    gc.manual_seed(1)  # what is almost 0 in front of the ReLU may be on either side of it
    x = gc.placeholder((4, 64, 28, 28), name="x")
    net = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))
    step = gc.function([x], loss := (net(x) ** 2).mean(), updates=optim.SGD(net.parameters(), lr=0.1).minimize(loss))
    array, states = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32), []
    for switched, results in ((True, 3), (False, 0)):
        stages = Stages({"step": step}, winograd=switched)
        names = [v.op.name for v in stages.steps["step"][-1].after.values()]
        assert names.count("winograd_result") == results  # forward twice, and the cotangent of what is between the layers
        program = stages.compilation.load(2)
        program.step(array)
        states.append({name: np.array(value) for name, value in program.state.items()})
    for name, value in states[1].items():
        np.testing.assert_allclose(states[0][name], value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize(
    "attrs",
    [
        {"strides": (2, 1)},
        {"rhs_dilation": (2, 2)},
        {"lhs_dilation": (2, 1)},
        {"feature_groups": 2},
        {"batch_groups": 2},
        {"out_spec": (0, 1, 2, 3)},
    ],
)
def test_other_convolutions_stay(attrs: dict[str, object]) -> None:
    groups = attrs.get("feature_groups", 1)
    x, w = tensor("x", 4, 4, 4, 4), tensor("w", 3, 3, 4 // int(str(groups)), 4)
    graph = expand(Graph("f", (x, w), (conv(x, w, **attrs),)))
    assert winograd(graph, HOST, always=True) is graph


def test_other_taps_and_types_stay() -> None:
    for w in (tensor("w", 5, 5, 4, 4), tensor("w", 3, 1, 4, 4), tensor("w", 3, 3, 4, 4, dtype=float64)):
        x = tensor("x", 2, 8, 8, 4, dtype=w.dtype)
        graph = expand(Graph("f", (x, w), (conv(x, w),)))
        assert winograd(graph, HOST, always=True) is graph


def test_tiles_are_chosen_where_they_pay() -> None:
    assert best(Shape(1, 56, 56, 64, 64, True), CORE) == Tiling(4, 14)  # a row of tiles after another stays in the cache
    assert best(Shape(8, 14, 14, 256, 256, True), CORE) == Tiling(4, 128)
    assert best(Shape(1, 7, 7, 512, 512, True), CORE) is None  # more would be read of the kernel than is multiplied less
    assert best(Shape(1, 4, 4, 3, 8, True), CORE) is None
    assert best(Shape(1, 4, 4, 3, 8, True), CORE, always=True) is not None


@pytest.mark.parametrize(("channels", "features", "rows"), [(32, 64, 56), (64, 64, 28), (128, 96, 29), (256, 256, 14)])
def test_errors_stay_within_five_times_those_of_sums_of_products(channels: int, features: int, rows: int) -> None:
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((1, channels, rows, rows)).astype(np.float32)
    w = (rng.standard_normal((features, channels, 3, 3)) / np.sqrt(9 * channels)).astype(np.float32)
    px, pw = tensor("x", *x.shape, dtype=float64), tensor("w", *w.shape, dtype=float64)
    exact_y = conv_general(px, pw, strides=(1, 1), padding=((1, 1), (1, 1)))
    (exact,) = evaluate([exact_y], {px: x.astype(np.float64), pw: w.astype(np.float64)})
    errors = []
    for switched in (True, False):
        data = gc.placeholder(x.shape, name="x")
        stages = Stages({"f": gc.function([data], F.conv2d(data, gc.tensor(w), padding=1))}, winograd=switched)
        assert any("winograd" in launch.kernel.name for launch in stages.kernels.functions[0].launches) is switched
        y = np.asarray(stages.compilation.load(1).f(x))
        errors.append(np.sqrt(np.mean((y - exact) ** 2)))
    assert errors[0] <= 5 * errors[1]


def test_gpus_have_none() -> None:
    data = gc.placeholder((1, 64, 28, 28), name="x")
    layer = nn.Conv2d(64, 64, 3, padding=1)
    graphs = {
        target: Stages({"f": gc.function([data], layer(data))}, target).steps["f"][-1].after for target in ("cpu", "cuda")
    }
    assert "winograd_points" in ops(graphs["cpu"]) and "winograd_points" not in ops(graphs["cuda"])


def test_simplification_keeps_what_was_chosen() -> None:
    x, w = tensor("x", 1, 8, 8, 4), tensor("w", 3, 3, 4, 4)
    assert {"winograd_points", "winograd_product", "winograd_result"} <= ops(simplify(in_tiles(conv(x, w))))


@pytest.mark.parametrize("shape", list(product((3, 5), (6, 10))))
def test_ops_say_what_does_not_fit(shape: tuple[int, int]) -> None:
    with pytest.raises(ShapeError, match="multiple of 4, and 2 more"):
        winograd_points(tensor("x", 1, *shape, 2), tile=4, group=1)


def test_ops_refuse_what_is_no_tile() -> None:
    x = tensor("x", 2, 6, 10, 3)
    with pytest.raises(ShapeError, match="4 tiles in groups of 3"):
        winograd_points(x, tile=4, group=3)
    with pytest.raises(DTypeError, match="float32 or float64"):
        winograd_points(make("cast", x, dtype=gc.float16), tile=4, group=1)
    v = winograd_points(x, tile=4, group=2)
    with pytest.raises(ShapeError, match="expected \\[groups, points, group, channels\\]"):
        winograd_product(v, tensor("u", 36, 4, 5))
    with pytest.raises(ShapeError, match="expected 1 tiles of 4 x 4"):
        winograd_result(v, tile=4, shape=(1, 4, 4, 3))
