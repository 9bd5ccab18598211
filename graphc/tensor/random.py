"""Random tensors, drawn anew at every call of a compiled function.

In: shapes. Out: tensors computed from counter-based bits (Threefry): one seed and one counter are variables of the
program, each random op has a stream of its own, and every function that draws adds one to the counter. Results depend
on the seed and the number of calls alone, not on threads, fusion or target. They are not PyTorch's numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..config import next_stream
from ..dtype import dtype, float32, float64, int64
from ..errors import DTypeError, ShapeError
from ..ir.location import here
from ..ir.values import make
from .core import common_shape, result_type, sizes
from .tensor import Tensor, Variable, as_tensor, attach_update

SEED = Variable(np.int64(0), "random.seed", "int64")
COUNTER = Variable(np.int64(0), "random.counter", "int64")

_dtype = dtype  # where an argument is named dtype


def random_bits(shape: tuple[int, ...]) -> Tensor:
    """int32 with 32 independent random bits each; the counter moves on once per call of the function."""
    bits = Tensor(make("random_bits", SEED.value, COUNTER.value, shape=shape, stream=next_stream()))
    return attach_update(bits, COUNTER, COUNTER + 1)


def _uniform(shape: tuple[int, ...]) -> Tensor:
    """float32 in [0, 1), a multiple of 2**-24."""
    return ((random_bits(shape) >> 8) & 0xFFFFFF).to(float32) * 2.0**-24


def rand(*shape: Any, dtype: Any = float32) -> Tensor:
    """Uniform in [0, 1)."""
    extents, kind = sizes(shape, "rand"), _dtype(dtype)
    if not kind.is_float:
        raise DTypeError(f"rand: the dtype must be float, not {kind}; see gc.randint", here())
    if kind is float64:
        return _uniform(extents).to(float64) + _uniform(extents).to(float64) * 2.0**-24
    if kind is float32:
        return _uniform(extents)
    bits = {"float16": 11, "bfloat16": 8}[kind.name]
    return ((random_bits(extents) >> (32 - bits)) & (2**bits - 1)).to(kind) * 2.0**-bits


def rand_like(x: Tensor) -> Tensor:
    return rand(x.shape, dtype=x.dtype)


def randn(*shape: Any, dtype: Any = float32) -> Tensor:
    """Normal with mean 0 and variance 1 (Box and Muller's transform)."""
    extents, kind = sizes(shape, "randn"), _dtype(dtype)
    if not kind.is_float:
        raise DTypeError(f"randn: the dtype must be float, not {kind}", here())
    working = float64 if kind is float64 else float32
    radius = (-2.0 * (1.0 - rand(extents, dtype=working)).log()).sqrt()
    return (radius * (rand(extents, dtype=working) * (2 * math.pi)).cos()).to(kind)


def randn_like(x: Tensor) -> Tensor:
    return randn(x.shape, dtype=x.dtype)


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None) -> Tensor:
    """Normal with mean and standard deviation: numbers and a size, or tensors, whose broadcast shape the result has."""
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    if size is None and not tensors:
        raise ShapeError("normal: of numbers, it needs a size, such as gc.normal(0.0, 1.0, (2, 3))", here())
    shape = common_shape("normal", tensors) if size is None else size
    return randn(shape, dtype=result_type(tensors) if tensors else float32) * std + mean


def multinomial(input: Any, num_samples: int, replacement: bool = False) -> Tensor:
    """int64 positions drawn with probabilities proportional to the last dimension of `input` (weights of 1 or 2 dimensions).

    Without replacement no position comes twice: the largest of log weights plus Gumbel noise, in their order (Gumbel-max,
    https://arxiv.org/abs/1903.06059); then there must be as many positions as samples. A weight of 0 is not drawn before
    all others.
    """
    weights = as_tensor(input)
    n = weights.shape[-1] if weights.ndim in (1, 2) else 0
    if not weights.dtype.is_float or not n or num_samples < 1 or (not replacement and num_samples > n):
        raise ShapeError(
            f"multinomial: {num_samples} samples {'with' if replacement else 'without'} replacement from {weights.value.type}; "
            "expected float weights (n,) or (m, n), and at most n samples without replacement",
            here(),
        )
    if not replacement:
        noise = -(-(1.0 - rand(weights.shape)).log()).log()
        return (weights.to(float32).log() + noise).topk(num_samples, -1).indices
    running = weights.to(float32).cumsum(-1)
    draws = rand((*weights.shape[:-1], num_samples)) * running[..., -1:]
    return running.searchsorted(draws, right=True).clamp(max=n - 1)


def randint(low: int, high: int | None = None, size: Any = (), dtype: Any = int64) -> Tensor:
    """Integers low <= n < high (0 <= n < low when only one is given)."""
    first, last = (0, low) if high is None else (low, high)
    if not 0 < last - first <= 2**31:
        raise ShapeError(f"randint: the range {first} to {last} must hold 1 to 2**31 integers", here())
    bits = random_bits(sizes((size,), "randint")).to(int64) & 0xFFFFFFFF
    return (((bits * (last - first)) >> 32) + first).to(dtype)


def randint_like(x: Tensor, low: int, high: int | None = None, dtype: Any = None) -> Tensor:
    """randint of the shape and dtype of x."""
    return randint(low, high, x.shape, dtype or x.dtype)


def bernoulli(p: Any) -> Tensor:
    """1 with probability p, else 0, for each element of p; shape and dtype are p's."""
    probability = as_tensor(p)
    return (rand(probability.shape) < probability).to(probability.dtype)


def randperm(n: int) -> Tensor:
    """The integers below n in random order."""
    return random_bits((n,)).argsort(0)


__all__ = [
    "COUNTER", "SEED", "bernoulli", "multinomial", "normal", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "randperm",
]  # fmt: skip
