"""Dynamic quantisation: within the error that 8 bits allow, with PyTorch's numbers, and where it was wished."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.errors import GraphcError
from graphc.quantization import DynamicQuantizedLinear, quantize_dynamic

RNG = np.random.default_rng(0)


def computed(net: nn.Module, x: np.ndarray) -> np.ndarray:
    image = gc.placeholder(x.shape, x.dtype)
    return gc.compile(f=gc.function([image], net(image)), threads=1).f(x)


def quantized(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, DynamicQuantizedLinear)]


INPUTS = {
    "both signs": RNG.normal(size=(5, 37)),
    "positive": RNG.uniform(3, 4, (5, 37)),
    "negative": -RNG.uniform(3, 4, (5, 37)),
    "large": 1e6 * RNG.normal(size=(2, 5, 37)),
    "small": 1e-6 * RNG.normal(size=(37,)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_the_error_is_that_of_rounding_to_eight_bits(name: str) -> None:
    x, layer = INPUTS[name].astype(np.float32), nn.Linear(37, 11)
    net = quantize_dynamic(layer)
    error = abs(computed(net, x) - computed(layer, x)).max()
    weight = abs(layer.weight.initial).astype(np.float64)
    input_step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    weight_step = weight.max() / 127.5
    half = weight.sum(1).max() * input_step / 2 + (abs(x).sum(-1).max() + 37 * input_step / 2) * weight_step
    assert 0 < error <= half + 1e-6


def test_what_is_exact_stays_exact() -> None:
    layer = nn.Linear(4, 3)
    net = quantize_dynamic(layer)
    zeros = computed(net, np.zeros((2, 4), np.float32))
    np.testing.assert_array_equal(zeros, np.stack([layer.bias.initial] * 2))
    assert np.isnan(computed(net, np.full((2, 4), np.nan, np.float32))).all()
    empty = quantize_dynamic(nn.Linear(4, 3, bias=False))
    empty.weight.initial = np.zeros((3, 4), np.int8)
    assert not computed(empty, np.ones((2, 4), np.float32)).any() and empty.bias is None


@pytest.mark.filterwarnings("ignore")  # torch has deprecated what it is compared with
def test_numbers_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.Linear(300, 70), nn.Linear(300, 70)
    ours.load_state_dict(theirs.state_dict())
    small = quantize_dynamic(ours)
    weight = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(theirs))[0].weight()
    np.testing.assert_array_equal(small.weight.initial, weight.int_repr().numpy())
    assert small.weight_scale.initial == np.float32(weight.q_scale())
    x = torch.tensor(RNG.normal(0.3, 1, (6, 300)).astype(np.float32))
    levels = torch.quantize_per_tensor_dynamic(x, torch.quint8, reduce_range=False)
    expected = torch.nn.functional.linear(levels.dequantize(), weight.dequantize(), theirs.bias)
    np.testing.assert_allclose(computed(small, x.numpy()), expected.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_network_is_as_close_to_its_floats_as_in_torch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(100, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    ours = nn.Sequential(nn.Linear(100, 64), nn.ReLU(), nn.Linear(64, 10))
    ours.load_state_dict(theirs.state_dict())
    x = RNG.normal(size=(20, 100)).astype(np.float32)
    small = torch.ao.quantization.quantize_dynamic(theirs, {torch.nn.Linear}, dtype=torch.qint8)
    exact = computed(ours, x)
    found, expected = computed(quantize_dynamic(ours), x), small(torch.tensor(x)).detach().numpy()
    assert abs(found - exact).mean() <= abs(expected - exact).mean()  # torch gives the input 7 bits on x86
    assert abs(found - expected).max() < 0.05 * abs(exact).max()


def tree() -> nn.Module:
    head = nn.Linear(4, 4)
    return nn.ModuleDict({"body": nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), "head": head, "again": head})


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (None, ["body.0", "body.2", "head"]),
        ({nn.Linear}, ["body.0", "body.2", "head"]),
        ({"body"}, ["body.0", "body.2"]),
        ({"body.2", "head"}, ["body.2", "head"]),
        (set(), []),
    ],
)
def test_layers_are_chosen_by_type_or_name(spec: Any, wanted: list[str]) -> None:
    net = tree()
    small = quantize_dynamic(net, spec)
    assert quantized(small) == wanted and quantized(net) == []
    assert list(small.state_dict())[:2] == ["body.0.weight", "body.0.weight_scale" if "body.0" in wanted else "body.0.bias"]
    assert small["head"] is small["again"]
    assert quantize_dynamic(net, spec, inplace=True) is net and quantized(net) == wanted


def test_attention_keeps_the_projection_it_multiplies_by_itself() -> None:
    net = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    small = quantize_dynamic(net)
    assert quantized(small) == ["linear1", "linear2"]
    x = RNG.normal(size=(2, 3, 8)).astype(np.float32)
    np.testing.assert_allclose(computed(small, x), computed(net, x), atol=0.05)


def test_a_saved_program_is_smaller_and_computes_the_same(tmp_path: Path) -> None:
    x, net, sizes = RNG.normal(size=(3, 256)).astype(np.float32), nn.Linear(256, 256), {}
    image = gc.placeholder(x.shape)
    for name, module in (("small", quantize_dynamic(net)), ("whole", net)):
        program = gc.compile(f=gc.function([image], module(image)), name=name)
        program.save(tmp_path / f"{name}.so")
        sizes[name] = (tmp_path / f"{name}.so").stat().st_size
        np.testing.assert_array_equal(gc.load(tmp_path / f"{name}.so").f(x), program.f(x))
    assert program.state["weight"].nbytes == 4 * 256 * 256 and sizes["small"] < 0.5 * sizes["whole"]


def test_copies_are_independent() -> None:
    small = quantize_dynamic(nn.Linear(3, 2))
    twin = copy.deepcopy(small)
    twin.weight.initial = np.zeros((2, 3), np.int8)
    assert small.weight.initial.any()


PRUNED, PRUNED_BIAS = (nn.utils.prune.l1_unstructured(nn.Linear(3, 2), name, 1) for name in ("weight", "bias"))
REFUSED: list[tuple[str, Any]] = [
    ("float16 is not supported", lambda: quantize_dynamic(tree(), dtype=gc.float16)),
    ("Conv2d'> cannot be quantised", lambda: quantize_dynamic(tree(), {nn.Conv2d})),
    ("no module 'boddy'; did you mean 'body'?", lambda: quantize_dynamic(tree(), {"boddy"})),
    ("by nn.utils.prune.remove", lambda: quantize_dynamic(PRUNED)),
    ("bias of a layer is computed", lambda: quantize_dynamic(PRUNED_BIAS)),
    ("weight is float64", lambda: quantize_dynamic(nn.Linear(3, 2, dtype="float64"))),
    ("takes 3 features, but the input", lambda: quantize_dynamic(nn.Linear(3, 2))(gc.placeholder((2, 4)))),
    ("takes float32, got float16", lambda: quantize_dynamic(nn.Linear(3, 2))(gc.placeholder((2, 3), "float16"))),
]


@pytest.mark.parametrize(("part", "action"), REFUSED, ids=[part for part, _ in REFUSED])
def test_refusals(part: str, action: Any) -> None:
    with pytest.raises(GraphcError) as caught:
        action()
    assert part in str(caught.value) and __file__ in str(caught.value)
