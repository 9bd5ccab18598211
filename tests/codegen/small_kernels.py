"""Small kernels for the tests of emitted code, and numbers to run them on."""

from __future__ import annotations

import numpy as np

from graphc.dtype import DType
from graphc.ir.expr import Array, Var, load
from graphc.ir.kernel import (
    VECTOR,
    For,
    Kernel,
    Stmt,
    Store,
)

ONE = Var("t", 1)
SPECIAL = [0.0, -0.0, 1.0, -1.5, 2.5, np.inf, -np.inf, np.nan, 1e-40, 3e38, -7.25, 0.5, 1e9]


def sample(dtype: DType, size: int, seed: int = 0) -> np.ndarray:
    """Small numbers of any dtype."""
    rng = np.random.default_rng(seed)
    if dtype.is_bool:
        return rng.integers(0, 2, size).astype(bool)
    return rng.integers(0 if dtype.kind == "u" else -9, 10, size).astype(dtype.numpy)


def specials(dtype: DType, size: int, seed: int = 0) -> np.ndarray:
    """Numbers at the borders of a dtype."""
    rng = np.random.default_rng(seed)
    if dtype.is_float:
        with np.errstate(all="ignore"):
            return rng.choice(np.array(SPECIAL), size).astype(dtype.numpy)
    if dtype.is_bool:
        return sample(dtype, size, seed)
    info = np.iinfo(dtype.numpy)
    return rng.choice(np.array([info.min, info.max, 0, 1, info.max - 1, 7, 3, info.min + 1], dtype.numpy), size)


def each(body: list[Stmt], *params: Array, task: Var = ONE) -> Kernel:
    return Kernel("k", params, task, tuple(body))


def mapping(dtype: DType, size: int, width: int, function, result: DType | None = None, inputs: int = 1) -> Kernel:
    """y[i] = function(x0[i], x1[i] ...) in a vector loop."""
    xs = [Array(f"x{k}", dtype, size) for k in range(inputs)]
    y, i = Array("y", result or dtype, size), Var("i", size)
    return each([For(i, (Store(y, i, function(*(load(x, i) for x in xs))),), VECTOR, width)], *xs, y)
