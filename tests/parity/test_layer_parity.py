"""Layers, losses and their gradients against PyTorch, with the weights carried over by state_dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import call, compare, normal, same, torch

import graphc as gc
from graphc import nn
from graphc.interp.graph import run
from graphc.passes.autodiff import autodiff

F, T = nn.functional, torch.nn.functional

LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "Linear": (lambda m: m.Linear(5, 3), (4, 5)),
    "Linear of sequences": (lambda m: m.Linear(5, 3, bias=False), (2, 4, 5)),
    "Conv1d": (lambda m: m.Conv1d(2, 4, 3, padding=1), (2, 2, 7)),
    "Conv2d": (lambda m: m.Conv2d(3, 4, 3), (2, 3, 6, 5)),
    "Conv2d strided": (lambda m: m.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 2, 7, 6)),
    "Conv2d grouped": (lambda m: m.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 5)),
    "Conv2d depthwise": (lambda m: m.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 5, 5)),
    "Conv2d same": (lambda m: m.Conv2d(2, 3, (3, 4), padding="same"), (1, 2, 5, 6)),
    "Conv2d reflected": (lambda m: m.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"), (1, 2, 5, 6)),
    "Conv2d circular same": (lambda m: m.Conv2d(2, 3, 4, padding="same", padding_mode="circular"), (1, 2, 5, 6)),
    "Conv2d without batch": (lambda m: m.Conv2d(2, 3, 3), (2, 5, 6)),
    "Conv3d": (lambda m: m.Conv3d(2, 3, 2), (1, 2, 3, 4, 3)),
    "ConvTranspose1d": (lambda m: m.ConvTranspose1d(2, 3, 4, stride=2, padding=1), (2, 2, 5)),
    "ConvTranspose2d": (lambda m: m.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (1, 4, 4, 3)),
    "ConvTranspose2d dilated": (lambda m: m.ConvTranspose2d(2, 3, 3, dilation=2), (1, 2, 4, 3)),
    "MaxPool1d": (lambda m: m.MaxPool1d(3, 2), (2, 3, 8)),
    "MaxPool2d": (lambda m: m.MaxPool2d(2), (2, 3, 6, 5)),
    "MaxPool2d padded": (lambda m: m.MaxPool2d(3, 2, padding=1, ceil_mode=True), (2, 3, 6, 6)),
    "MaxPool2d dilated": (lambda m: m.MaxPool2d(2, 1, dilation=2), (1, 2, 5, 6)),
    "MaxPool3d": (lambda m: m.MaxPool3d(2), (1, 2, 4, 4, 4)),
    "AvgPool1d": (lambda m: m.AvgPool1d(3, 2), (2, 3, 8)),
    "AvgPool2d": (lambda m: m.AvgPool2d(2), (2, 3, 6, 4)),
    "AvgPool2d padded": (lambda m: m.AvgPool2d(3, 2, padding=1, ceil_mode=True), (2, 3, 6, 6)),
    "AvgPool2d not counting": (lambda m: m.AvgPool2d(3, 2, padding=1, count_include_pad=False), (2, 3, 6, 5)),
    "AvgPool3d": (lambda m: m.AvgPool3d(2), (1, 2, 4, 4, 4)),
    "AdaptiveAvgPool1d": (lambda m: m.AdaptiveAvgPool1d(3), (2, 3, 8)),
    "AdaptiveAvgPool2d to one": (lambda m: m.AdaptiveAvgPool2d(1), (2, 3, 5, 6)),
    "AdaptiveAvgPool2d even": (lambda m: m.AdaptiveAvgPool2d((2, 3)), (2, 3, 4, 6)),
    "AdaptiveAvgPool2d uneven": (lambda m: m.AdaptiveAvgPool2d((3, None)), (2, 3, 5, 6)),
    "AdaptiveMaxPool2d": (lambda m: m.AdaptiveMaxPool2d(2), (2, 3, 4, 6)),
    "Upsample": (lambda m: m.Upsample(scale_factor=2), (1, 2, 3, 4)),
    "LayerNorm": (lambda m: m.LayerNorm(6), (2, 3, 6)),
    "LayerNorm of planes": (lambda m: m.LayerNorm((3, 6), bias=False), (2, 3, 6)),
    "RMSNorm": (lambda m: m.RMSNorm(6), (2, 3, 6)),
    "GroupNorm": (lambda m: m.GroupNorm(2, 6), (2, 6, 4)),
    "PReLU": (lambda m: m.PReLU(3), (2, 3, 4)),
    "Flatten": (lambda m: m.Flatten(), (2, 3, 4)),
    "Unflatten": (lambda m: m.Unflatten(1, (2, 3)), (2, 6)),
    "Softmax": (lambda m: m.Softmax(dim=1), (2, 6)),
    "LogSoftmax": (lambda m: m.LogSoftmax(dim=-1), (2, 6)),
    "GLU": (lambda m: m.GLU(), (2, 6)),
    "BatchNorm1d": (lambda m: m.BatchNorm1d(3), (5, 3)),
    "BatchNorm1d of sequences": (lambda m: m.BatchNorm1d(3), (5, 3, 4)),
    "BatchNorm2d": (lambda m: m.BatchNorm2d(3), (2, 3, 4, 4)),
    "BatchNorm2d without affine": (lambda m: m.BatchNorm2d(3, affine=False, track_running_stats=False), (2, 3, 4, 4)),
    "RNN": (lambda m: m.RNN(3, 4, nonlinearity="relu"), (5, 2, 3)),
    "LSTM": (lambda m: m.LSTM(3, 4, num_layers=2), (5, 2, 3)),
    "LSTM both ways": (lambda m: m.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), (2, 5, 3)),
    "LSTM without batch": (lambda m: m.LSTM(3, 4, bias=False), (5, 3)),
    "GRU": (lambda m: m.GRU(3, 4, batch_first=True), (2, 5, 3)),
    "RNNCell": (lambda m: m.RNNCell(3, 4), (2, 3)),
    "LSTMCell": (lambda m: m.LSTMCell(3, 4), (2, 3)),
    "GRUCell": (lambda m: m.GRUCell(3, 4), (2, 3)),
    "TransformerEncoderLayer": (lambda m: m.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), (2, 5, 8)),
    "pre-norm": (lambda m: m.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", norm_first=True), (5, 2, 8)),
    "ConvTranspose3d": (lambda m: m.ConvTranspose3d(2, 3, 2, stride=2), (1, 2, 3, 2, 3)),
    "AdaptiveMaxPool2d uneven": (lambda m: m.AdaptiveMaxPool2d((3, None), return_indices=True), (2, 3, 5, 6)),
    "AdaptiveMaxPool3d": (lambda m: m.AdaptiveMaxPool3d(2), (1, 2, 3, 4, 3)),
    "MaxPool2d with indices": (lambda m: m.MaxPool2d(3, 2, padding=1, return_indices=True), (2, 3, 6, 5)),
    "Upsample to a size": (lambda m: m.Upsample(size=(5, 7), mode="bilinear"), (1, 2, 3, 4)),
    "Upsample nearest by 1.5": (lambda m: m.Upsample(scale_factor=1.5), (1, 2, 5, 4)),
    "Upsample bicubic": (lambda m: m.Upsample(scale_factor=2, mode="bicubic", align_corners=True), (1, 2, 3, 4)),
    "UpsamplingBilinear2d": (lambda m: m.UpsamplingBilinear2d(scale_factor=2), (1, 2, 3, 4)),
    "PixelShuffle": (lambda m: m.PixelShuffle(2), (1, 8, 2, 3)),
    "PixelUnshuffle": (lambda m: m.PixelUnshuffle(2), (1, 2, 4, 6)),
    "ChannelShuffle": (lambda m: m.ChannelShuffle(2), (1, 4, 2, 3)),
    "Unfold": (lambda m: m.Unfold((2, 3), dilation=(1, 2), padding=1, stride=2), (2, 3, 5, 7)),
    "Fold": (lambda m: m.Fold((5, 7), (2, 3), dilation=(1, 2), padding=1, stride=2), (2, 12, 9)),
    "LSTM with projection": (lambda m: m.LSTM(3, 5, num_layers=2, proj_size=2, bidirectional=True), (4, 2, 3)),
    "RRelu": (lambda m: m.RReLU().eval(), (2, 3)),
    "pre-norm without bias": (lambda m: m.TransformerEncoderLayer(8, 2, 16, 0.0, norm_first=True, bias=False), (5, 2, 8)),
    "Sequential": (lambda m: m.Sequential(m.Linear(4, 3), m.Tanh(), m.Sequential(m.Linear(3, 2))), (2, 4)),
}


def flat(result: Any) -> list[Any]:
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in flat(part)]
    return [result]


def twins(make: Callable[[Any], Any]) -> tuple[nn.Module, Any]:
    """The same layer here and there, in float64, with PyTorch's weights moved away from 0 and 1."""
    torch.manual_seed(0)
    theirs = make(torch.nn).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    ours = make(nn).to("float64")
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [(k, tuple(v.shape)) for k, v in theirs.state_dict().items()]
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    """Equal names and shapes of the state, values, gradients of input and parameters, and changes of buffers."""
    make, shape = LAYERS[name]
    ours, theirs = twins(make)
    a = normal(*shape)
    x, leaf = gc.placeholder(shape, "float64"), torch.tensor(a, requires_grad=True)
    outputs, expected = flat(ours(x)), flat(theirs(leaf))
    weights = [normal(*out.shape, seed=i) for i, out in enumerate(outputs)]
    loss = sum((out * w).sum() for out, w in zip(outputs, weights, strict=True))
    sum((out * torch.tensor(w)).sum() for out, w in zip(expected, weights, strict=True)).backward()
    wrt = [x, *ours.parameters()]
    state: dict[Any, np.ndarray] = {}
    found = run(autodiff(gc.function([x], [*outputs, *gc.grad(loss, wrt)]).graph("f")), [a], state)
    for value, reference in zip(found, [*expected, leaf.grad, *(p.grad for p in theirs.parameters())], strict=True):
        same(value, reference, 1e-7, 1e-9)
    for (key, buffer), reference in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(state[buffer.value], reference.numpy(), rtol=1e-9, err_msg=key)


def test_repr_is_pytorchs() -> None:
    shown = ["Linear", "Conv2d strided", "Conv2d same", "Conv2d reflected", "MaxPool2d padded", "AvgPool2d",
             "LSTM both ways", "Sequential", "Flatten", "Softmax", "RNNCell"]  # fmt: skip
    for name in shown:
        assert repr(LAYERS[name][0](nn)) == repr(LAYERS[name][0](torch.nn))


REPRESENTED: dict[str, Callable[[Any], Any]] = {
    "ReLU": lambda m: m.ReLU(inplace=True),
    "ELU": lambda m: m.ELU(0.5, inplace=True),
    "Hardshrink": lambda m: m.Hardshrink(),
    "Threshold": lambda m: m.Threshold(0.1, 20),
    "GELU": lambda m: m.GELU("tanh"),
    "Hardswish": lambda m: m.Hardswish(True),
    "Dropout3d": lambda m: m.Dropout3d(0.3),
    "ReflectionPad2d": lambda m: m.ReflectionPad2d(2),
    "ConstantPad1d": lambda m: m.ConstantPad1d(2, 3.5),
    "LPPool2d": lambda m: m.LPPool2d(2, 3),
    "AvgPool1d": lambda m: m.AvgPool1d(3),
    "MaxUnpool2d": lambda m: m.MaxUnpool2d(3),
    "ConvTranspose2d": lambda m: m.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, bias=False, dilation=2),
    "Upsample": lambda m: m.Upsample(scale_factor=2),
    "LocalResponseNorm": lambda m: m.LocalResponseNorm(3),
    "EmbeddingBag": lambda m: m.EmbeddingBag(3, 4, mode="sum"),
    "ModuleList": lambda m: m.ModuleList([m.Linear(2, 2), m.Linear(2, 2), m.Tanh()]),
    "LSTM": lambda m: m.LSTM(3, 5, 2, proj_size=2, dropout=0.5),
    "GRUCell": lambda m: m.GRUCell(3, 4, bias=False),
    "CTCLoss": lambda m: m.CTCLoss(),
}


@pytest.mark.parametrize("name", REPRESENTED)
def test_more_representations(name: str) -> None:
    assert repr(REPRESENTED[name](nn)) == repr(REPRESENTED[name](torch.nn))


def test_sequences_of_several_lengths() -> None:
    """`lengths` does what PyTorch's packed sequences do."""
    for kind in ("LSTM", "GRU", "RNN"):
        ours, theirs = twins(lambda m, kind=kind: getattr(m, kind)(3, 4, 2, bidirectional=True))
        a, lengths = normal(5, 3, 3), np.array([5, 2, 3])
        x, n = gc.placeholder(a.shape, "float64"), gc.placeholder((3,), "int64")
        outputs = flat(ours(x, lengths=n))
        packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(a), torch.tensor(lengths), enforce_sorted=False)
        result, states = theirs(packed)
        expected = [torch.nn.utils.rnn.pad_packed_sequence(result)[0], *flat(states)]
        for found, reference in zip(call(outputs, [x, n], [a, lengths]), expected, strict=True):
            same(found, reference, 1e-7)


def test_transformer_with_masks() -> None:
    ours, theirs = twins(lambda m: m.Transformer(8, 2, 2, 2, 16, 0.0, batch_first=True))
    ours.eval(), theirs.eval()
    mask = np.triu(np.full((4, 4), -np.inf), 1)
    padding = np.array([[False] * 5, [False] * 3 + [True] * 2])
    compare(
        lambda a, b, p: ours(a, b, tgt_mask=gc.constant(mask), memory_key_padding_mask=p),
        lambda a, b, p: theirs(a, b, tgt_mask=torch.tensor(mask), memory_key_padding_mask=p),
        normal(2, 5, 8), normal(2, 4, 8), padding, rtol=1e-6,
    )  # fmt: skip
    expected = torch.nn.Transformer.generate_square_subsequent_mask(4).numpy()
    np.testing.assert_array_equal(call([nn.Transformer.generate_square_subsequent_mask(4)], [], [])[0], expected)


def test_copies_have_variables_of_their_own() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
    first, second = (dict(layer.named_parameters()) for layer in encoder.layers)
    for name, parameter in first.items():
        assert parameter is not second[name] and parameter.name == f"layers.0.{name}"
        np.testing.assert_array_equal(parameter.initial, second[name].initial)
        assert parameter.initial is not second[name].initial and second[name].name == f"layers.1.{name}"


def test_output_size_of_a_transposed_convolution() -> None:
    ours, theirs = twins(lambda m: m.ConvTranspose2d(2, 3, 3, stride=2, padding=1))
    compare(lambda a: ours(a, (8, 10)), lambda a: theirs(a, (8, 10)), normal(1, 2, 4, 5), rtol=1e-7)
    with pytest.raises(gc.GraphcError, match="output_size"):
        ours(gc.zeros(1, 2, 4, 5, dtype="float64"), (9, 10))


def test_affine_grid() -> None:
    for align in (False, True):
        compare(
            lambda t, align=align: F.affine_grid(t, (2, 3, 4, 5), align),
            lambda t, align=align: T.affine_grid(t, (2, 3, 4, 5), align),
            normal(2, 2, 3),
        )


def test_gumbel_softmax_is_a_distribution() -> None:
    x = gc.placeholder((50, 4), "float64")
    soft, hard = call([F.gumbel_softmax(x), F.gumbel_softmax(x, hard=True)], [x], [normal(50, 4)])
    np.testing.assert_allclose(soft.sum(1), 1)
    np.testing.assert_allclose(np.sort(hard, 1), np.tile([0.0, 0.0, 0.0, 1.0], (50, 1)), atol=1e-12)


def test_batch_norm_evaluates_and_averages() -> None:
    for momentum in (0.1, None):
        ours, theirs = twins(lambda m, momentum=momentum: m.BatchNorm1d(3, momentum=momentum))
        x, state = gc.placeholder((5, 3), "float64"), {}
        train = gc.function([x], ours(x)).graph("train")
        for i in range(3):
            run(train, [normal(5, 3, seed=i)], state)
            theirs(torch.tensor(normal(5, 3, seed=i)))
        ours.eval()
        predict = gc.function([x], ours(x)).graph("predict")
        assert not [v for v in predict.values() if v.op.name == "update"]
        same(run(predict, [normal(5, 3)], state)[0], theirs.eval()(torch.tensor(normal(5, 3))), 1e-6)


def test_attention_with_masks() -> None:
    ours, theirs = twins(lambda m: m.MultiheadAttention(8, 2, batch_first=True))
    ours.eval(), theirs.eval()
    q, k = normal(2, 3, 8), normal(2, 5, 8, seed=1)
    mask = np.triu(np.ones((3, 5), bool), 2)
    padding = np.array([[False] * 5, [False] * 3 + [True] * 2])

    def attend(layer: Any) -> Callable[..., Any]:
        return lambda a, b, m, p: layer(a, b, b, attn_mask=m, key_padding_mask=p)

    compare(attend(ours), attend(theirs), q, k, mask, padding, rtol=1e-7)


def test_scaled_dot_product_attention() -> None:
    q, k, v = (normal(2, 4, 8, seed=i) for i in range(3))
    name = "scaled_dot_product_attention"
    for causal in (False, True):
        compare(
            lambda *x, c=causal: getattr(F, name)(*x, is_causal=c),
            lambda *x, c=causal: getattr(T, name)(*x, is_causal=c),
            q,
            k,
            v,
        )


def test_embedding() -> None:
    index = np.array([[0, 2, 2], [3, 1, 0]])
    compare(lambda i, w: F.embedding(i, w), lambda i, w: T.embedding(i, w), index, normal(4, 5))
    compare(lambda i, w: F.embedding(i, w, 2), lambda i, w: T.embedding(i, w, 2), index, normal(4, 5))
    assert not nn.Embedding(4, 3, padding_idx=1).weight.initial[1].any()


REDUCTIONS = ["mean", "sum", "none"]
PAIRS: dict[str, dict[str, Any]] = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {"beta": 0.5},
    "huber_loss": {"delta": 0.7},
    "binary_cross_entropy_with_logits": {},
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", PAIRS)
def test_losses_of_two(name: str, reduction: str) -> None:
    options = PAIRS[name] | {"reduction": reduction}
    y = np.abs(np.tanh(normal(3, 4, seed=1))) if "binary" in name else normal(3, 4, seed=1)
    compare(lambda a, b: getattr(F, name)(a, b, **options), lambda a, b: getattr(T, name)(a, b, **options), 3 * normal(3, 4), y)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_of_probabilities(reduction: str) -> None:
    p, y = np.abs(np.tanh(normal(3, 4))), np.abs(np.tanh(normal(3, 4, seed=1)))
    w = np.abs(normal(3, 4, seed=2))
    compare(
        lambda a, b: F.binary_cross_entropy(a, b.detach(), reduction=reduction),
        lambda a, b: T.binary_cross_entropy(a, b.detach(), reduction=reduction),
        p, y,
    )  # fmt: skip
    compare(
        lambda a, b, c: F.binary_cross_entropy_with_logits(a, b, c.detach(), reduction, pos_weight=c.detach()),
        lambda a, b, c: T.binary_cross_entropy_with_logits(a, b, c.detach(), reduction=reduction, pos_weight=c.detach()),
        normal(3, 4), y, w,
    )  # fmt: skip


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(reduction: str, log_target: bool) -> None:
    target = normal(3, 4, seed=1) if log_target else np.append(np.abs(normal(3, 3)), np.zeros((3, 1)), 1)
    options = {"reduction": reduction, "log_target": log_target}
    compare(
        lambda a, b: F.kl_div(a, b.detach(), **options), lambda a, b: T.kl_div(a, b.detach(), **options), normal(3, 4), target
    )


CLASS_OPTIONS = [{}, {"ignore_index": 1}, {"label_smoothing": 0.1}, {"ignore_index": 0, "label_smoothing": 0.2}]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", CLASS_OPTIONS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4)])
def test_cross_entropy(reduction: str, options: dict[str, Any], weighted: bool, shape: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).integers(0, 3, shape[:1] + shape[2:])
    w = np.array([0.5, 1.0, 2.0]) if weighted else None
    compare(
        lambda x, y: F.cross_entropy(x, y, w, reduction=reduction, **options),
        lambda x, y: T.cross_entropy(x, y, None if w is None else torch.tensor(w), reduction=reduction, **options),
        3 * normal(*shape), labels,
    )  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_other_class_losses(reduction: str) -> None:
    labels = np.array([0, 2, 1, 1])
    soft = np.abs(normal(4, 3, seed=3))
    compare(
        lambda x, y: F.nll_loss(x.log_softmax(1), y, reduction=reduction),
        lambda x, y: T.nll_loss(x.log_softmax(1), y, reduction=reduction),
        normal(4, 3), labels,
    )  # fmt: skip
    compare(
        lambda x, y: F.cross_entropy(x, y, reduction=reduction, label_smoothing=0.1),
        lambda x, y: T.cross_entropy(x, y, reduction=reduction, label_smoothing=0.1),
        normal(4, 3), soft,
    )  # fmt: skip
    compare(lambda x: F.cross_entropy(x, gc.constant(1)), lambda x: T.cross_entropy(x, torch.tensor(1)), normal(3))


def test_cross_entropy_of_huge_logits_is_finite() -> None:
    x = np.array([[1e4, -1e4], [0.0, 1e4]])
    v = gc.placeholder(x.shape, "float64")
    loss = F.cross_entropy(v, gc.constant([1, 0]))
    value, slope = call([loss, gc.grad(loss, v)], [v], [x])
    assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.mark.parametrize(
    "name, arguments",
    [("MSELoss", ()), ("L1Loss", ()), ("SmoothL1Loss", ("sum", 0.5)), ("HuberLoss", ()), ("BCELoss", ()),
     ("BCEWithLogitsLoss", ()), ("KLDivLoss", ("batchmean",))],
)  # fmt: skip
def test_loss_modules(name: str, arguments: tuple[Any, ...]) -> None:
    def options(m: Any) -> Any:
        return getattr(m, name)(**dict(zip(("reduction", "beta"), arguments, strict=False)))

    p, y = np.abs(np.tanh(normal(3, 4))), np.abs(np.tanh(normal(3, 4, seed=1)))
    compare(lambda a, b: options(nn)(a, b.detach()), lambda a, b: options(torch.nn)(a, b.detach()), p, y)


def test_class_loss_modules() -> None:
    labels = np.array([0, 2, 1, 1])
    compare(nn.CrossEntropyLoss(label_smoothing=0.1), torch.nn.CrossEntropyLoss(label_smoothing=0.1), normal(4, 3), labels)
    compare(nn.NLLLoss(ignore_index=2), torch.nn.NLLLoss(ignore_index=2), normal(4, 3), labels)
