"""Layers that do not fit their input: the message names the layer, the input's line, and the layer that would fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.ir.values import topological

F = nn.functional


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


class Article(nn.Module):
    """A convolution, a pool, and a Linear whose size was guessed."""

    def __init__(self, features: int, flatten: bool) -> None:
        super().__init__()
        self.conv1, self.fc1, self.flatten = nn.Conv2d(1, 32, 3, 1), nn.Linear(features, 10), flatten

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        x = F.max_pool2d(gc.relu(self.conv1(x)), 2)
        if self.flatten:
            x = x.flatten(1)
        return self.fc1(x)


def failure(error: type[GraphcError], action: Callable[[], Any]) -> GraphcError:
    with pytest.raises(error) as caught:
        action()
    assert caught.value.location is not None and caught.value.location.file == __file__
    return caught.value


def test_linear_after_a_flatten_of_another_size() -> None:
    net = Article(5408, flatten=True)
    error = failure(ShapeError, lambda: net(gc.placeholder((64, 1, 32, 32), name="x")))
    first = inspect.getsourcelines(Article.forward)[1]
    for part in (
        "fc1.weight",
        "(10, 5408)",
        "takes 5408 features",
        "(64, 7200)",
        "flattened from (64, 32, 15, 15)",
        "32 * 15 * 15 = 7200",
        "use Linear(7200, 10)",
        f"made at {__file__}:{first + 3}",
    ):
        assert part in str(error)
    assert error.location.line == first + 4  # type: ignore[attr-defined]


def test_linear_without_a_flatten() -> None:
    image = gc.placeholder((64, 1, 32, 32), name="x")
    text = str(failure(ShapeError, lambda: Article(7200, flatten=False)(image)))
    assert "(64, 32, 15, 15)" in text and "x.flatten(1), or nn.Flatten()" in text
    text = str(failure(ShapeError, lambda: Article(5408, flatten=False)(image)))
    assert "use Linear(7200, 10) after it" in text


def test_linear_after_linear() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(6, 7))
    x, made = gc.placeholder((2, 4)), line()
    text = str(failure(ShapeError, lambda: net(x)))
    assert "1.weight" in text and "use Linear(5, 7), or give the layer before it 6 outputs" in text
    text = str(failure(ShapeError, lambda: nn.Linear(3, 2)(x)))
    assert f"{__file__}:{made}" in text


MISFITS: list[tuple[type[GraphcError], str, Callable[[], Any]]] = [
    (ShapeError, "use in_channels=4", lambda: nn.Conv2d(3, 8, 3)(gc.zeros(2, 4, 9, 9))),
    (ShapeError, r"takes an input (N, C, H, W), got (2, 4)", lambda: nn.Conv2d(3, 8, 3)(gc.zeros(2, 4))),
    (ShapeError, "spans 5 in spatial dimension 0", lambda: nn.Conv2d(1, 1, 5)(gc.zeros(1, 1, 4, 9))),
    (ShapeError, "stride 1 only", lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same")(gc.zeros(1, 1, 9, 9))),
    (ShapeError, "do not divide into 2 groups", lambda: nn.Conv2d(3, 4, 3, groups=2)),
    (GraphcError, "padding_mode is one of", lambda: nn.Conv2d(1, 1, 3, padding_mode="mirror")),
    (ShapeError, "an int or 2 ints", lambda: nn.Conv2d(1, 1, (3, 3, 3))),
    (ShapeError, "takes 2 channels", lambda: nn.ConvTranspose2d(2, 4, 3)(gc.zeros(1, 3, 5, 5))),
    (ShapeError, "window spans 3", lambda: nn.MaxPool2d(3)(gc.zeros(1, 1, 2, 9))),
    (ShapeError, "at most half", lambda: nn.MaxPool2d(2, padding=2)(gc.zeros(1, 1, 9, 9))),
    (ShapeError, "or without N", lambda: nn.AvgPool2d(2)(gc.zeros(9))),
    (ShapeError, "takes (N, C, H, W)", lambda: nn.AdaptiveMaxPool2d(3)(gc.zeros(4, 4))),
    (ShapeError, "takes 4 dimensions with 3 channels", lambda: nn.BatchNorm2d(3)(gc.zeros(2, 4, 5, 5))),
    (ShapeError, "more than one value", lambda: nn.BatchNorm1d(3)(gc.zeros(1, 3))),
    (GraphError, "running_mean", lambda: F.batch_norm(gc.zeros(2, 3), None, None)),
    (ShapeError, "last dimensions", lambda: nn.LayerNorm(4)(gc.zeros(2, 3))),
    (ShapeError, "do not divide into 2 groups", lambda: nn.GroupNorm(2, 3)),
    (DTypeError, "indices must be integers", lambda: nn.Embedding(3, 2)(gc.zeros(2))),
    (ShapeError, "takes (L, N, 3)", lambda: nn.LSTM(3, 4)(gc.zeros(5, 2, 7))),
    (GraphcError, "'tanh' or 'relu'", lambda: nn.RNN(3, 4, nonlinearity="sine")),
    (ShapeError, "divide into 3 heads", lambda: nn.MultiheadAttention(8, 3)),
    (GraphcError, "between 0 and 1", lambda: nn.Dropout(2.0)),
    (ShapeError, "must have one shape", lambda: F.mse_loss(gc.zeros(4, 1), gc.zeros(4))),
    (GraphcError, "reduction must be", lambda: F.mse_loss(gc.zeros(4), gc.zeros(4), "average")),
    (DTypeError, "use .long()", lambda: F.nll_loss(gc.zeros(4, 3), gc.zeros(4))),
    (ShapeError, "the target must have", lambda: F.cross_entropy(gc.zeros(4, 3), gc.zeros(4, 1, dtype="int64"))),
    (GraphcError, "label_smoothing", lambda: F.cross_entropy(gc.zeros(4, 3), gc.zeros(4, dtype="int64"), label_smoothing=2.0)),
    (DTypeError, "target must be a tensor, not a ndarray", lambda: F.cross_entropy(gc.zeros(4, 3), np.zeros(4, np.int64))),
    (DTypeError, "input must be a tensor, not a list", lambda: nn.Linear(2, 3)([[1.0, 2.0]])),
    (DTypeError, "a tuple: take one of its elements", lambda: nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2))(gc.zeros(5, 2, 3))),
    (ShapeError, "sizes are whole numbers", lambda: nn.Linear(2.0, 3)),
    (ShapeError, "none is negative, not (3, -2)", lambda: nn.Linear(-2, 3)),
    (ShapeError, "sizes are whole numbers", lambda: nn.Conv2d("2", 3, 3)),
    (ShapeError, "sizes are whole numbers", lambda: nn.BatchNorm2d("2")),
    (ShapeError, "sizes are whole numbers", lambda: nn.LayerNorm(-2)),
    (ShapeError, "sizes are whole numbers", lambda: nn.MultiheadAttention("8", 2)),
    (ShapeError, "do not divide into 0 groups", lambda: nn.GroupNorm(0, 4)),
    (GraphcError, "between 0 and 1, not 'a'", lambda: nn.Dropout("a")),
    (ShapeError, "stride (0, 0) and dilation (1, 1) must be at least 1", lambda: nn.MaxPool2d(2, 0)(gc.zeros(1, 1, 4, 4))),
    (ShapeError, "not 'same' or 'valid', must be an int or 2 ints, not 'sane'", lambda: nn.Conv2d(2, 3, 3, padding="sane")),
    (ShapeError, "no elements", lambda: F.adaptive_avg_pool2d(gc.placeholder((1, 2, 0, 3)), 2)),
    (ShapeError, "not one of the 3 rows", lambda: F.embedding(gc.placeholder((2,), gc.int64), gc.placeholder((3, 2)), 3)),
]


def test_a_call_of_a_function_with_too_little_is_told_by_python() -> None:
    with pytest.raises(TypeError, match="weight"):
        F.linear(gc.zeros(2, 3))


@pytest.mark.parametrize("error, part, action", MISFITS, ids=[f"{i}: {part}" for i, (_, part, _) in enumerate(MISFITS)])
def test_misfits(error: type[GraphcError], part: str, action: Callable[[], Any]) -> None:
    assert part in str(failure(error, action))


def test_class_losses_need_no_gather() -> None:
    """The target class is chosen by comparison, so the loss fuses and its gradient needs no scatter."""
    loss = F.cross_entropy(gc.variable(np.zeros((4, 3), np.float32)), gc.placeholder((4,), gc.int64))
    names = {value.op.name for value in topological([loss.value])}
    assert "iota" in names and not names & {"gather", "scatter"}
