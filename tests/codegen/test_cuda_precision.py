"""Products on tensor cores in whole programs, run on the CPU: within what is promised, and not as float32 computes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cuda_kernels import x
from emulated_cuda import COMPILER, Net

import graphc as gc
from graphc.codegen.cuda import contract
from graphc.codegen.cuda.fragments import TensorTile
from graphc.codegen.cuda.products import Product
from graphc.codegen.cuda.target import Options
from graphc.driver import Stages
from graphc.errors import CompileError
from graphc.interp.graph import run

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++, which compiles CUDA source for the CPU")
F = gc.nn.functional

ROUNDING = {"tf32": 2.0**-10, "bf16": 2.0**-7 + 2.0**-16}


def allowed(precision: str, steps: int) -> float:
    """The error that `gc.compile` promises, by sum |a||b|."""
    return ROUNDING[precision] + (steps + 16) * 2.0**-22


@dataclass(frozen=True)
class Case:
    """A function that is one product of its operands, their shapes, and how many products each sum has."""

    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    steps: int
    function: Callable[[gc.Tensor, gc.Tensor], gc.Tensor] = gc.matmul

    def declare(self, dtype: gc.DType) -> gc.Function:
        a, b = (x(*shape, dtype=dtype, name=name) for shape, name in zip(self.shapes, "ab", strict=True))
        return gc.function([a, b], self.function(a, b))

    def exactly(self, *arrays: np.ndarray) -> np.ndarray:
        (result,) = run(self.declare(gc.float64).graph("f"), [a.astype(np.float64) for a in arrays], {})
        return result


ODD = (1, 2, 3, 5, 7, 13, 17, 31, 33)
CASES = {f"{m}x{k}x{n}": Case(((m, k), (k, n)), k) for m, k, n in zip(ODD, ODD[4:] + ODD, ODD[2:] + ODD, strict=False)}
CASES |= {
    "right_transposed": Case(((33, 36), (20, 36)), 36, lambda a, b: a @ b.T),
    "left_transposed": Case(((36, 52), (36, 20)), 36, lambda a, b: a.T @ b),
    "both_transposed": Case(((17, 31), (13, 17)), 17, lambda a, b: a.T @ b.T),
    "batched": Case(((3, 7, 24), (3, 24, 33)), 24),
    "vector": Case(((33, 65), (65,)), 65),
    "large": Case(((132, 160), (160, 136)), 160),
    "points": Case(((2, 17, 5, 7), (13, 17, 1, 1)), 17, F.conv2d),
    "convolution": Case(((2, 5, 9, 11), (7, 5, 3, 3)), 45, lambda a, w: F.conv2d(a, w, padding=1)),
    "strides": Case(((1, 3, 17, 13), (5, 3, 5, 5)), 75, lambda a, w: F.conv2d(a, w, stride=2, padding=2)),
    "groups": Case(((2, 6, 8, 8), (4, 3, 3, 3)), 27, lambda a, w: F.conv2d(a, w, groups=2)),
}


def drawn(case: Case) -> list[np.ndarray]:
    rng = np.random.default_rng(list(map(sum, case.shapes)))
    return [rng.standard_normal(shape, np.float32) for shape in case.shapes]


@pytest.fixture
def only_tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they cost."""
    monkeypatch.setattr(contract, "tile_cost", lambda *args: np.inf)
    monkeypatch.setattr(contract, "dot_cost", lambda *args: np.inf)


@needs_compiler
@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.usefixtures("only_tensor_cores")
def test_products_are_as_good_as_is_promised(precision: str, tmp_path: Path) -> None:
    program = Stages({f"f_{name}": case.declare(gc.float32) for name, case in CASES.items()}, "cuda").planned
    net = Net(program, tmp_path, flags=("-O0",), options=Options(precision))
    assert net.source.count(f"// Tensor cores: operands are rounded to {precision}") >= len(CASES) - 2
    for name, case in CASES.items():
        a, b = drawn(case)
        (result,) = net.call(f"f_{name}", a, b)
        exact, size = case.exactly(a, b), case.exactly(np.abs(a), np.abs(b))
        away = np.abs(result - exact)
        assert (away <= allowed(precision, case.steps) * size).all(), name
        if case.steps > 1:  # what adds nothing up is no product of matrices
            assert (away > (case.steps + 2) * 2.0**-24 * size).any(), f"{name} was computed in float32"


@needs_compiler
@pytest.mark.parametrize("dtype", (gc.float32, gc.float16), ids=str)
@pytest.mark.usefixtures("only_tensor_cores")
def test_every_tile_computes_whole_numbers_exactly(dtype: gc.DType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The steps say which tile a product takes, however large it is."""

    def cost(found: Product, tile: TensorTile, *_: object) -> float:
        return abs(24 + 8 * contract.TENSOR_TILES.index(tile) - found.steps.size)

    monkeypatch.setattr(contract, "tensor_cost", cost)
    cases = {}
    for n in range(len(contract.TENSOR_TILES)):
        m, k = 120 + 8 * n, 24 + 8 * n
        cases[f"plain{n}"] = Case(((m, k), (k, 72)), k)
        cases[f"transposed{n}"] = Case(((k, m), (40, k)), k, lambda a, b: a.T @ b.T)
    program = Stages({name: case.declare(dtype) for name, case in cases.items()}, "cuda").planned
    net = Net(program, tmp_path, flags=("-O0",), options=Options("tf32"))
    assert len(cases) == net.source.count("// Tensor cores")
    for name, case in cases.items():
        a, b = (np.rint(array).astype(dtype.numpy) for array in drawn(case))
        np.testing.assert_array_equal(net.call(name, a, b)[0], case.exactly(a, b), err_msg=name)


@needs_compiler
@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.usefixtures("only_tensor_cores")
def test_attention_is_as_good_as_its_products(precision: str, tmp_path: Path) -> None:
    shape = (2, 3, 17, 8)
    q, k, v = (x(*shape, name=name) for name in "qkv")
    program = Stages({"f": gc.function([q, k, v], F.softmax(q @ k.transpose(2, 3), -1) @ v)}, "cuda").planned
    arrays = [np.random.default_rng(n).standard_normal(shape, np.float32) for n in range(3)]
    (result,) = Net(program, tmp_path, flags=("-O0",), options=Options(precision)).call("f", *arrays)
    left, right, values = (array.astype(np.float64) for array in arrays)
    logits = left @ right.transpose(0, 1, 3, 2)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    wrong = 1e-6 + (allowed(precision, 8) * np.abs(left) @ np.abs(right).transpose(0, 1, 3, 2)).max()
    away = np.abs(result - shares @ values)
    assert (away <= (np.exp(2 * wrong) * (1 + allowed(precision, 17)) - 1) * (shares @ np.abs(values))).all()
    assert away.max() > 1e-5


def test_the_source_says_what_it_rounds_and_float32_is_left_alone() -> None:
    a, b = x(96, 80), x(80, 64, name="b")
    function = gc.function([a, b], a @ b)
    sources = {p: gc.compile(f=function, target="sm_90", precision=p).source for p in ("highest", "tf32", "bf16")}
    assert sources["highest"] == gc.compile(f=function, target="sm_90").source
    assert "mma" not in sources["highest"] and "Tensor cores" not in sources["highest"]
    for precision, error in (("tf32", "2^-10"), ("bf16", "2^-7 + 2^-16")):
        promise = f"an error of at most ({error} + (80 + 16) * 2^-22) * sum |a| |b|."
        assert f"// Tensor cores: operands are rounded to {precision}, sums are float32: {promise}\n" in sources[precision]
    for text in (
        '#error "this source was made for tensor cores of sm_80 and newer',
        'asm("cvt.rna.tf32.f32 %0, %1;"',
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
        "= to_tfloat(lhs_stage[",
        "mma_tf32(&c[",
    ):
        assert text in sources["tf32"], text


@pytest.mark.parametrize(
    ("target", "precision", "said"),
    [
        ("cuda", "half", "precision='half' is unknown; expected one of highest, tf32, bf16"),
        ("cpu", "tf32", "precision='tf32' is a choice for GPUs, not for 'cpu': leave it out, or say target=\"cuda\""),
        ("sm_75", "bf16", "precision='bf16' takes tensor cores of sm_80 or newer; sm_75 has none: leave it out"),
    ],
)
def test_what_cannot_be_followed_is_refused(target: str, precision: str, said: str) -> None:
    with pytest.raises(CompileError, match=f"^{re.escape(said)}$"):
        gc.compile(f=gc.function([a := x(8, 8)], a @ a), target=target, precision=precision)
