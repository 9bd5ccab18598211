"""What is timed: a table of workloads, and the numbers that every library gets for them.

In: names and patterns. Out: `Workload`s; inputs and weights that depend on nothing but names and shapes, so that processes
that know nothing of each other compute with the same ones.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod, sqrt
from typing import Any

import numpy as np

from . import models
from .models import Builder, applying

LEARNING_RATE, MOMENTUM = 0.01, 0.9  # of every training step
TRAINED_STEPS = 3  # whose losses, and weights after them, are compared

FLOPS, BYTES = "flops", "bytes"


class UnknownWorkload(Exception):
    """A pattern that no workload matches."""


@dataclass(frozen=True)
class Input:
    """A float32 array of normal numbers, or, with `high`, int64 numbers below it."""

    shape: tuple[int, ...]
    high: int = 0

    @property
    def dtype(self) -> str:
        return "int64" if self.high else "float32"


@dataclass(frozen=True)
class Workload:
    """A module and the inputs it is called with.

    training: the last input is labels, and a call is one step of SGD with momentum on the cross entropy.
    bound: what limits it at best, FLOPS (multiplications) or BYTES (inputs, weights and outputs, each moved once).
    """

    name: str
    build: Builder
    inputs: tuple[Input, ...]
    training: bool = False
    bound: str = FLOPS

    def arrays(self) -> list[np.ndarray]:
        """The inputs; the same ones everywhere."""
        generator = np.random.default_rng(zlib.crc32(self.name.encode()))
        return [_array(generator, each) for each in self.inputs]

    def output(self, lib: Any, net: Any, tensors: Sequence[Any]) -> Any:
        """What a call computes, of one library's module and tensors: the module's result, or the loss when training."""
        if not self.training:
            return net(*tensors)
        *inputs, labels = tensors
        logits = net(*inputs)
        return lib.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def _array(generator: np.random.Generator, wanted: Input) -> np.ndarray:
    if wanted.high:
        return generator.integers(0, wanted.high, wanted.shape, dtype=np.int64)
    return generator.standard_normal(wanted.shape, dtype=np.float32)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Values for a state_dict with these names and shapes; layers keep the size of what passes through them."""
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    normal = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    if name.endswith("running_var"):
        return np.exp(np.float32(0.2) * normal)
    if len(shape) > 1:
        return normal / np.float32(sqrt(prod(shape[1:])))
    return np.float32(1.0 if name.endswith("weight") else 0.0) + np.float32(0.1) * normal


# ------------------------------------------------------------------------------------------------------------- the table

_ROWS = Input((8, 512, 1024))


def _training(name: str, build: Builder, x: Input, labels: Input) -> Workload:
    return Workload(name, build, (x, labels), training=True)


def _gemms() -> Iterator[Workload]:
    for n in (256, 512, 1024):
        for name, function in (("nn", models.gemm), ("nt", models.gemm_nt)):
            yield Workload(f"gemm_{n}_{name}", applying(function), (Input((n, n)), Input((n, n))))


def _convolutions() -> Iterator[Workload]:
    for size, channels in ((56, 64), (28, 128), (14, 256), (7, 512)):
        yield Workload(f"conv3x3_{size}x{channels}", models.convolution(channels), (Input((1, channels, size, size)),))


def _memory() -> Iterator[Workload]:
    yield Workload("softmax", applying(models.softmax), (_ROWS,), bound=BYTES)
    yield Workload("layer_norm", models.layer_norm, (_ROWS,), bound=BYTES)
    yield Workload("gelu", models.gelu, (_ROWS,), bound=BYTES)
    fused = applying(models.bias_gelu_residual)
    yield Workload("bias_gelu_residual", fused, (_ROWS, Input((1024,)), _ROWS), bound=BYTES)
    yield Workload("chain20", applying(models.chain), (_ROWS,), bound=BYTES)


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        *(Workload(f"mlp_b{n}", models.mlp, (Input((n, 784)),)) for n in (1, 64)),
        *(Workload(f"lenet_b{n}", models.lenet, (Input((n, 1, 32, 32)),)) for n in (1, 64)),
        _training("mlp_train", models.mlp, Input((64, 784)), Input((64,), 10)),
        _training("lenet_train", models.lenet, Input((64, 1, 32, 32)), Input((64,), 10)),
        *_gemms(),
        *_convolutions(),
        *_memory(),
        Workload("attention", applying(models.attention), (Input((1, 8, 512, 64)),) * 3),
        Workload("lstm", models.lstm, (Input((64, 16, 256)),)),
        _training("lstm_train", models.lstm, Input((64, 16, 256)), Input((16,), 10)),
        *(Workload(f"resnet18_b{n}", models.resnet18, (Input((n, 3, 224, 224)),)) for n in (1, 8)),
        _training("resnet18_train", models.resnet18, Input((8, 3, 224, 224)), Input((8,), 1000)),
        Workload("encoder_128", models.encoder(768, 12, 12), (Input((1, 128, 768)),)),
        Workload("gpt", models.gpt, (Input((8, 128), 1000),)),
        _training("gpt_train", models.gpt, Input((8, 128), 1000), Input((8, 128), 1000)),
    )
}

HIDDEN = {  # for tests of the benchmark itself
    workload.name: workload
    for workload in (
        Workload("tiny", models.tiny, (Input((2, 5)),)),
        _training("tiny_train", models.tiny, Input((2, 5)), Input((2,), 3)),
    )
}


def named(name: str) -> Workload:
    """The workload of this name, hidden ones included."""
    return (WORKLOADS | HIDDEN)[name]


def chosen(patterns: Iterable[str]) -> list[Workload]:
    """The workloads that match any of the patterns ("mlp*"), in the order of the table. UnknownWorkload for one that
    matches none."""
    everything = WORKLOADS | HIDDEN
    names: set[str] = set()
    for pattern in patterns:
        found = {name for name in everything if name == pattern} or {n for n in WORKLOADS if fnmatchcase(n, pattern)}
        if not found:
            close = difflib.get_close_matches(pattern.strip("*"), WORKLOADS, 1, 0.4)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UnknownWorkload(f"no workload is called {pattern!r}; {hint}There are: {', '.join(WORKLOADS)}")
        names |= found
    return [everything[name] for name in everything if name in names]
