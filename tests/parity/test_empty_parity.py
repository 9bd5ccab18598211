"""Tensors without elements, like a batch of no samples: as PyTorch has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import compare, normal, torch

import graphc as gc

OURS, THEIRS = gc.nn.functional, torch.nn.functional
ROWS, IMAGES = normal(0, 3), normal(0, 2, 6, 6)

# name -> what to compute, given the functions of a library, and of which arrays
CASES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "sum": (lambda f, x: (x.sum(), x.sum(0), x.mean(0), x.logsumexp(0), x.softmax(0)), (ROWS,)),
    "var": (lambda f, x: (x.var(), x.var(0), x.var(1), x.std(0), x.var(0, correction=-1)), (ROWS,)),
    "median": (lambda f, x: (x.median(), x.nanmedian(), x.median(1).values), (ROWS,)),
    "cov": (lambda f, x: (x.cov(), x.corrcoef(), x.T.cov()), (ROWS,)),
    "chunk": (lambda f, x: (*x.chunk(3), *x.tensor_split(2), *x.split(2)), (ROWS,)),
    "sort": (lambda f, x: (*x.sort(1), *x.topk(2, 1), x.argmax(1), x.cumsum(0)), (ROWS,)),
    "product": (lambda f, x: (x @ x.T, x.T @ x), (ROWS,)),
    "glu": (lambda f, x: f.glu(x, 0), (ROWS,)),
    "class loss": (lambda f, x: f.cross_entropy(x, x.argmax(1)), (ROWS,)),
    "loss": (lambda f, x, y: (f.cross_entropy(x, y), f.mse_loss(x, y), f.l1_loss(x, y, reduction="sum")), (ROWS, ROWS)),
    "pooling": (lambda f, x: (f.max_pool2d(x, 2), f.avg_pool2d(x, 3), f.adaptive_max_pool2d(x, 4)), (IMAGES,)),
    "places": (lambda f, x: f.max_pool2d(x, 2, return_indices=True), (IMAGES,)),
    "unpooling": (lambda f, x: f.max_unpool2d(*f.max_pool2d(x, 2, return_indices=True), 2), (IMAGES,)),
    "convolution": (lambda f, x, w: f.conv2d(x, w, padding=1), (IMAGES, normal(3, 2, 3, 3))),
    "sampling": (lambda f, x, g: f.grid_sample(x, g, align_corners=False), (IMAGES, normal(0, 3, 3, 2))),
    "attention to nothing": (lambda f, q, k: f.scaled_dot_product_attention(q, k, k), (normal(2, 3, 4), normal(2, 0, 4))),
    "attention of no width": (lambda f, q, v: f.scaled_dot_product_attention(q, q, v), (normal(2, 3, 0), normal(2, 3, 4))),
}


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_as_in_pytorch(name: str) -> None:
    function, arrays = CASES[name]
    compare(lambda *x: function(OURS, *x), lambda *x: function(THEIRS, *x), *arrays)


def test_a_training_step_without_samples_compiles() -> None:
    gc.manual_seed(0)
    net = gc.nn.Sequential(gc.nn.Conv2d(1, 2, 3), gc.nn.MaxPool2d(2), gc.nn.Flatten(), gc.nn.Linear(18, 3))
    x, y = gc.placeholder((0, 1, 8, 8)), gc.placeholder((0,), gc.int64)
    loss = OURS.cross_entropy(net(x), y, reduction="sum")
    step = gc.function([x, y], [loss, *gc.grad(loss, list(net.parameters()))])
    results = gc.compile(step=step).step(np.zeros(x.shape, np.float32), np.zeros(0, np.int64))
    assert len(results) == 5 and all((result == 0).all() for result in results)
