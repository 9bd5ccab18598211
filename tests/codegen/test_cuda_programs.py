"""Whole programs as CUDA source, run on the CPU: random graphs, and the training of the examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import digits_mlp
import fuzz
import lenet
import numpy as np
import pytest
from click.testing import CliRunner
from emulated_cuda import COMPILER, Net
from random_graphs import Case
from subject import Subject, Wrong, compile_cuda
from training import accuracy, train

import graphc as gc
from graphc import data
from graphc.codegen.cuda import contract, panels, splits, teams, tiles
from graphc.codegen.cuda.products import Product
from graphc.codegen.cuda.target import Gpu, Options
from graphc.driver import Stages
from graphc.ir.graph import Graph
from graphc.ir.kernel import Kernel

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++, which compiles CUDA source for the CPU")

F = gc.nn.functional
CUDA = ("CUDA source",)


@pytest.mark.parametrize("first", (100, 112))
def test_random_graphs_compute_what_numpy_does(first: int) -> None:
    report = fuzz.check_batch(range(first, first + 12), CUDA, share=0)
    assert not report.failures, "\n".join(map(str, report.failures))
    assert report.judged > 0.9 * report.elements


def x(*shape: int, dtype: gc.DType = gc.float32) -> gc.Tensor:
    return gc.placeholder(shape, dtype, name="x")


def parameters(shape: Sequence[int], dtype: gc.DType = gc.float32) -> gc.Tensor:
    """A constant of its own for each shape."""
    draw = np.random.default_rng(list(shape)).standard_normal(shape)
    return gc.constant(draw.astype(dtype.numpy))


def slopes(function: Callable[..., gc.Tensor], *operands: gc.Tensor) -> list[gc.Tensor]:
    """The function's value, and its gradients by the operands in directions that differ."""
    y = function(*operands)
    return [y, *gc.grad((y * parameters(y.shape, y.dtype)).sum(), list(operands))]


def product(a: tuple[int, ...], b: tuple[int, ...], dtype: gc.DType = gc.float32) -> list[gc.Tensor]:
    return slopes(gc.matmul, x(*a, dtype=dtype), parameters(b, dtype))


def convolution(image: tuple[int, ...], weight: tuple[int, ...], **how: int) -> list[gc.Tensor]:
    return slopes(lambda a, w: F.conv2d(a, w, **how), x(*image), parameters(weight))


# Shapes that fill more than a thread, a warp, a block or a tile, and none of them evenly.
LARGE: dict[str, Callable[[], Sequence[gc.Tensor]]] = {
    "softmax_of_long_rows": lambda: slopes(lambda a: F.softmax(a, -1), x(5, 1003)),
    "softmax_of_half_rows": lambda: [F.softmax(x(3, 777, dtype=gc.float16), -1)],
    "layer_norm_of_rows_beyond_a_block": lambda: slopes(lambda a: F.layer_norm(a, (2531,)), x(3, 2531)),
    "losses_of_many_classes": lambda: slopes(lambda a: F.cross_entropy(a, gc.constant(np.arange(9) * 37)), x(9, 341)),
    "sum_of_all": lambda: [x(70001).sum()],
    "sum_of_doubles": lambda: [x(3, 4099, dtype=gc.float64).sum(1)],
    "sum_of_bfloats": lambda: [x(4, 600, dtype=gc.bfloat16).mean(1)],
    "sum_down_columns": lambda: [x(701, 33).sum(0)],
    "sum_down_long_columns": lambda: slopes(lambda a: (a * a).sum(0), x(9000, 24)),
    "statistics_of_a_batch": lambda: slopes(lambda a: F.batch_norm(a, None, None, training=True), x(5, 12, 31, 33)),
    "sum_in_the_middle": lambda: [x(3, 301, 5).sum(1)],
    "greatest_and_least": lambda: [x(4, 1111).amax(1), x(4, 1111).argmin(1), (x(4, 1111) > 3).any(1)],
    "integers": lambda: [x(3, 999, dtype=gc.int64).sum(1), x(3, 999, dtype=gc.int32).amax(1), x(3, 999, dtype=gc.int8).sum()],
    "running_sum": lambda: [x(3, 777).cumsum(1)],
    "sort": lambda: [x(2, 130).argsort(1)],
    "transposed": lambda: [x(67, 129).transpose(0, 1) * 2.0],
    "matrix_product": lambda: product((70, 131), (131, 67)),
    "matrix_products": lambda: product((3, 33, 65), (3, 65, 40)),
    "product_with_a_long_sum": lambda: product((5, 1031), (1031, 3)),
    "product_without_a_sum": lambda: product((65, 1), (1, 130)),
    "matrix_and_vector": lambda: product((257, 130), (130,)),
    "product_of_doubles": lambda: product((40, 50), (50, 36), gc.float64),
    "product_of_halves": lambda: product((40, 50), (50, 36), gc.float16),
    "product_of_bfloats": lambda: product((40, 50), (50, 36), gc.bfloat16),
    "layer_with_all_around_it": lambda: slopes(
        lambda a: F.gelu(F.relu(a) @ parameters((130, 72)) + parameters((72,))), x(66, 130)
    ),
    "convolution": lambda: convolution((2, 5, 17, 19), (7, 5, 3, 3), padding=1),
    "convolution_in_strides": lambda: convolution((2, 4, 21, 18), (6, 4, 5, 5), stride=2, padding=2),
    "convolution_of_groups": lambda: convolution((1, 8, 16, 15), (8, 1, 3, 3), padding=1, groups=8),
    "convolution_of_points": lambda: convolution((2, 33, 9, 10), (18, 33, 1, 1)),
    "pooling": lambda: slopes(lambda a: F.max_pool2d(a, 3, 2, 1) + F.avg_pool2d(a, 3, 2, 1), x(2, 3, 33, 35)),
    "elements_that_are_added_up": lambda: [x(3, 70).index_add(1, gc.constant(np.arange(300) * 7 % 70), parameters((3, 300)))],
    "rows_that_are_looked_up": lambda: slopes(lambda t: F.embedding(gc.constant(np.arange(300) % 7), t), x(50, 33)),
}


def subject_of(name: str) -> Subject:
    """A row of the table, with data."""
    rng = np.random.default_rng(0)
    values = tuple(tensor.value for tensor in LARGE[name]())
    inputs = tuple(v for v in Graph(name, (), values).values() if v.op.name == "placeholder")
    arrays = tuple((rng.standard_normal(v.shape) * 3).astype(v.dtype.numpy) for v in inputs)
    return Subject(Case(Graph(name, inputs, values), (arrays,)), name)


def test_large_shapes_compute_what_numpy_does() -> None:
    subjects = [subject_of(name) for name in LARGE]
    net = compile_cuda([subject.optimised for subject in subjects])
    for subject in subjects:
        subject.check_emulated(net, "CUDA source")


def test_products_in_every_tile_compute_what_numpy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernel after kernel takes the next tile, however large the product."""
    turns: dict[Kernel, int] = {}

    def cost(found: Product, tile: tiles.Tile, gpu: Gpu) -> float:
        turn = turns.setdefault(found.kernel, len(turns))
        return abs(contract.TILES.index(tile) - turn % len(contract.TILES))

    monkeypatch.setattr(contract, "tile_cost", cost)
    monkeypatch.setattr(contract, "dot_cost", lambda found, gpu: np.inf)
    names = ("matrix_product", "matrix_products", "product_of_halves", "layer_with_all_around_it", "convolution_in_strides")
    subjects = [subject_of(name) for name in names]
    net = compile_cuda([subject.optimised for subject in subjects])
    assert len(turns) >= len(contract.TILES)
    for subject in subjects:
        subject.check_emulated(net, "CUDA source")


def test_products_in_parts_compute_what_numpy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they would cost."""
    monkeypatch.setattr(splits, "GAIN", 0.001)
    monkeypatch.setattr(splits, "LEAST_STEPS", 5)
    names = ("matrix_products", "product_of_halves", "product_of_doubles", "layer_with_all_around_it", "convolution_in_strides")
    subjects = [subject_of(name) for name in names]
    net = compile_cuda([subject.optimised for subject in subjects])
    for subject in subjects:
        subject.check_emulated(net, "CUDA source")
    assert "_parts(" in net.source


def test_atomic_sums_compute_what_numpy_does() -> None:
    names = ("rows_that_are_looked_up", "elements_that_are_added_up")
    subjects = [subject_of(name) for name in names]
    net = compile_cuda([subject.optimised for subject in subjects], Options(atomics=True))
    for subject in subjects:
        subject.check_emulated(net, "CUDA source")


@pytest.mark.parametrize(("mapping", "name"), [(teams, "sort"), (panels, "convolution_of_points")], ids=["teams", "tiles"])
def test_a_mapping_that_forgets_barriers_is_found(mapping: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "barriers", lambda body, visible: frozenset())
    subject = subject_of(name)
    with pytest.raises(Wrong, match=r"race: |nobody has written"):
        subject.check_emulated(compile_cuda([subject.optimised]), "CUDA source")


def digits(size: int, batch: int, steps: int) -> tuple[tuple[np.ndarray, ...], ...]:
    """The first batches of an epoch."""
    loader = data.DataLoader(data.Digits(train=True, size=size), batch, shuffle=True, drop_last=True, seed=0)
    return tuple(tuple(arrays) for arrays, _ in zip(loader, range(steps), strict=False))


STEPS = {
    "mlp": lambda: (digits_mlp.declare()[0], digits(28, digits_mlp.BATCH, 2)),
    "lenet": lambda: (lenet.declare(lenet.Choices(batch_norm=True, dropout=0.2, l2=1e-4))[0], digits(32, lenet.BATCH, 1)),
}


@pytest.mark.parametrize("name", STEPS)
def test_training_steps_compute_what_numpy_does(name: str, tmp_path: Path) -> None:
    """Losses and every variable after each step, within what the roundings of the step allow; every access is checked."""
    step, calls = STEPS[name]()
    subject = Subject(Case(step.graph("f"), calls), "f")
    subject.check_emulated(Net(Stages({"f": step}, "cuda").planned, tmp_path), "CUDA source")


@pytest.mark.parametrize(
    ("example", "size", "samples", "precision", "tolerance"),
    [(digits_mlp, 28, 640, "highest", 1e-3), (lenet, 32, 128, "highest", 1e-3), (digits_mlp, 28, 640, "tf32", 5e-3)],
    ids=["mlp", "lenet", "mlp_on_tensor_cores"],
)
def test_training_goes_as_native_code_does(
    example: ModuleType, size: int, samples: int, precision: str, tolerance: float, tmp_path: Path
) -> None:
    """Losses of some steps and the accuracy after them, without checks. Much later roundings may send LeNet elsewhere."""
    step, predict = example.declare()
    learn, test = (
        data.TensorDataset(*(array[:count] for array in data.Digits(train=part, size=size).arrays))
        for part, count in ((True, samples), (False, 128))
    )
    planned = Stages({"train_step": step, "predict": predict}, "cuda").planned
    net = Net(planned, tmp_path, checked=False, options=Options(precision))
    assert ("mma_tf32(" in net.source) == (precision == "tf32")
    emulated = SimpleNamespace(
        train_step=lambda *arrays: net.call("train_step", *arrays)[0], predict=lambda *arrays: net.call("predict", *arrays)[0]
    )
    results = []
    for program in (gc.compile(train_step=step, predict=predict), emulated):
        loader = data.DataLoader(learn, example.BATCH, shuffle=True, drop_last=True, seed=0)
        _, losses = train(program, loader, 1, quiet=True)
        results.append((losses, accuracy(program, test, example.BATCH)))
    (losses, share), (losses_of_cuda, share_of_cuda) = results
    np.testing.assert_allclose(losses_of_cuda, losses, rtol=tolerance)
    assert abs(share_of_cuda - share) <= 1 / len(test)


def test_the_fuzzer_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "COMPILER", None)
    result = CliRunner().invoke(fuzz.main, ["--cuda", "--graphs", "1"])
    assert result.exit_code == 2 and "--cuda needs g++" in result.output
