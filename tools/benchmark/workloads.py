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
from .layers import CONVOLUTIONS
from .models import Builder, applying

LEARNING_RATE, MOMENTUM = 0.01, 0.9  # of every training step
TRAINED_STEPS = 3  # whose losses, and weights after them, are compared

FLOPS, BYTES = "flops", "bytes"
FIRST, FREE = "first", "free"
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # where channels stand: the permutations of axes


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
    layout: FIRST where channels of pictures are given and expected first; FREE where every framework has them in the order it
    likes best, as it does within a network; "" where there are no pictures. tolerance: how far the outputs of frameworks may
    be apart, relative to the largest value of each.
    """

    name: str
    build: Builder
    inputs: tuple[Input, ...]
    training: bool = False
    bound: str = FLOPS
    layout: str = ""
    tolerance: float = 1e-4

    def arrays(self) -> list[np.ndarray]:
        """The inputs; the same ones everywhere. Where the layout is free, channels lie last, but are the second axis."""
        generator = np.random.default_rng(zlib.crc32(self.name.encode()))
        arrays = [_array(generator, each) for each in self.inputs]
        return [channels_last(x) for x in arrays] if self.layout == FREE else arrays

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


def channels_last(x: np.ndarray) -> np.ndarray:
    """The same numbers, with those of a pixel side by side in memory."""
    return np.ascontiguousarray(x.transpose(TO_LAST)).transpose(TO_FIRST)


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
_PICTURE, _PICTURES, _CLASSES = Input((1, 3, 224, 224)), Input((8, 3, 224, 224)), Input((8,), 1000)
_DIGITS, _STEPS, _TEXT = Input((64, 1, 32, 32)), Input((64, 16, 256)), Input((8, 128), 1000)
_TEN = Input((64,), 10)
_SQUARE = (64, 128, 256, 512, 1024, 2048)
_THIN = ((1, 1024, 1024), (16, 1024, 1024), (128, 3072, 768), (4096, 64, 64), (64, 4096, 64), (1024, 1024, 16))


def _training(name: str, build: Builder, x: Input, labels: Input, layout: str = "", tolerance: float = 5e-4) -> Workload:
    return Workload(name, build, (x, labels), training=True, layout=layout, tolerance=tolerance)


def _gemms() -> Iterator[Workload]:
    """Both operands as they come, and with the right one transposed; sizes are rows, terms of a sum, columns."""
    for rows, terms, columns in (*((n, n, n) for n in _SQUARE), *_THIN):
        size = f"{rows}" if rows == terms == columns else f"{rows}x{terms}x{columns}"
        bound = BYTES if rows == 1 else FLOPS
        for order, function, right in (("nn", models.gemm, (terms, columns)), ("nt", models.gemm_nt, (columns, terms))):
            yield Workload(f"gemm_{size}_{order}", applying(function), (Input((rows, terms)), Input(right)), bound=bound)


def _convolutions() -> Iterator[Workload]:
    """All layers of the networks; a depthwise one has little to compute."""
    for layer in CONVOLUTIONS:
        bound = BYTES if layer.groups > 1 else FLOPS
        yield Workload(layer.name, layer.build, (Input(layer.shape),), bound=bound, layout=FREE)


def _table(*workloads: Workload) -> dict[str, Workload]:
    return {workload.name: workload for workload in workloads}


NETWORKS = _table(
    Workload("mlp_b1", models.mlp, (Input((1, 784)),)),
    Workload("mlp_b64", models.mlp, (Input((64, 784)),)),
    Workload("lenet_b1", models.lenet, (Input((1, 1, 32, 32)),), layout=FIRST),
    Workload("lenet_b64", models.lenet, (_DIGITS,), layout=FIRST),
    Workload("lstm", models.lstm, (_STEPS,)),
    Workload("resnet18_b1", models.resnet18, (_PICTURE,), layout=FIRST),
    Workload("resnet18_b8", models.resnet18, (_PICTURES,), layout=FIRST),
    Workload("resnet50_b1", models.resnet50, (_PICTURE,), layout=FIRST),
    Workload("mobilenet_v2_b1", models.mobilenet_v2, (_PICTURE,), layout=FIRST),
    Workload("encoder_128", models.encoder(768, 12, 12), (Input((1, 128, 768)),)),
    Workload("gpt", models.gpt, (_TEXT,)),
    _training("mlp_train", models.mlp, Input((64, 784)), _TEN),
    _training("lenet_train", models.lenet, _DIGITS, _TEN, FIRST),
    _training("lstm_train", models.lstm, _STEPS, Input((16,), 10)),
    # Rounding grows behind batch norm: every framework's weights are some 1e-3 from those that float64 gives.
    _training("resnet18_train", models.resnet18, _PICTURES, _CLASSES, FIRST, tolerance=4e-3),
    _training("gpt_train", models.gpt, _TEXT, _TEXT),
)
LAYERS = _table(
    Workload("call", applying(models.add), (Input((1,)),) * 2, bound=BYTES),  # what calling costs
    Workload("softmax", applying(models.softmax), (_ROWS,), bound=BYTES),
    Workload("layer_norm", models.layer_norm, (_ROWS,), bound=BYTES),
    Workload("gelu", models.gelu, (_ROWS,), bound=BYTES),
    Workload("bias_gelu_residual", applying(models.bias_gelu_residual), (_ROWS, Input((1024,)), _ROWS), bound=BYTES),
    Workload("chain20", applying(models.chain), (_ROWS,), bound=BYTES),
    Workload("attention", applying(models.attention), (Input((1, 8, 512, 64)),) * 3),
    *_gemms(),
    *_convolutions(),
)
WORKLOADS = NETWORKS | LAYERS
GROUPS = {"networks": NETWORKS, "layers": LAYERS}

HIDDEN = _table(  # for tests of the benchmark itself
    Workload("tiny", models.tiny, (Input((2, 5)),)),
    _training("tiny_train", models.tiny, Input((2, 5)), Input((2,), 3)),
)


def named(name: str) -> Workload:
    """The workload of this name."""
    return everything()[name]


def everything() -> dict[str, Workload]:
    """All workloads, hidden ones included."""
    return WORKLOADS | HIDDEN


def chosen(patterns: Iterable[str]) -> list[Workload]:
    """The workloads that match any of the patterns ("mlp*") or are of the groups ("layers"), in the order of the table.
    UnknownWorkload for a pattern that none matches."""
    names: set[str] = set()
    for pattern in patterns:
        found = set(GROUPS.get(pattern, ())) or {
            name for name in everything() if name == pattern or (name in WORKLOADS and fnmatchcase(name, pattern))
        }
        if not found:
            close = difflib.get_close_matches(pattern.strip("*"), WORKLOADS, 1, 0.4)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UnknownWorkload(f"no workload is called {pattern!r}; {hint}There are: {', '.join(WORKLOADS)}")
        names |= found
    return [workload for name, workload in everything().items() if name in names]
