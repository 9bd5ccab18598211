"""Small programs of kernels, written by hand, for the tests of what follows the passes."""

from __future__ import annotations

import numpy as np

from graphc.codegen.target import Target, host
from graphc.dtype import DType, float32
from graphc.export import Compilation
from graphc.ir.expr import Array, Var, load
from graphc.ir.kernel import (
    ALIGNMENT,
    ARENA,
    CONSTANT,
    INPUT,
    OUTPUT,
    VARIABLE,
    Buffer,
    Kernel,
    KernelFunction,
    KernelProgram,
    Launch,
    Store,
)


def affine(size: int, dtype: DType = float32) -> Kernel:
    """y[i] = x[i] * a[i] + b[i]; one task for each element."""
    x, a, b, y = (Array(name, dtype, size) for name in "xaby")
    i = Var("i", size)
    return Kernel("affine", (x, a, b, y), i, (Store(y, i, load(x, i) * load(a, i) + load(b, i)),))


def shift(size: int, step: int) -> Kernel:
    """y[i] = x[(i + step) % size]: reads what other workers wrote."""
    x, y = Array("x", float32, size), Array("y", float32, size)
    i = Var("i", size)
    return Kernel("shift", (x, y), i, (Store(y, i, load(x, (i + step) % size)),))


def buffer(name: str, shape: tuple[int, ...], kind: str, data: np.ndarray | None = None, dtype: DType = float32) -> Buffer:
    return Buffer(name, dtype, shape, kind, data)


def counter(size: int = 6, name: str = "net", target: Target | None = None) -> Compilation:
    """Two functions over the variables `scale` and `total`, and a constant c.

    step(x, lr): total = x * lr' + total (lr of x's shape), gives {"y": x * scale + c, "total": total}
    predict(x): x * scale + c
    """
    x, lr = buffer("x", (size,), INPUT), buffer("lr", (size,), INPUT)
    scale = buffer("scale", (size,), VARIABLE, np.arange(size, dtype=np.float32))
    total = buffer("total", (size,), VARIABLE, np.zeros(size, np.float32))
    c = buffer("c", (size,), CONSTANT, np.full(size, 0.5, np.float32))
    y, out, sums = buffer("y", (size,), OUTPUT), buffer("y", (size,), OUTPUT), buffer("sums", (size,), OUTPUT)
    fresh = buffer("fresh", (size,), ARENA)
    k, again, copy = affine(size), affine(size), shift(size, 0)
    step = KernelFunction(
        "step",
        (x, lr),
        (y, sums),
        (
            Launch(k, (x, scale, c, y), "y"),
            Launch(again, (x, lr, total, fresh), "fresh"),
            Launch(copy, (fresh, total), "total"),
            Launch(copy, (fresh, sums), "sums"),
        ),
    )
    x2 = buffer("x", (size,), INPUT)
    predict = KernelFunction("predict", (x2,), (out,), (Launch(k, (x2, scale, c, out)),))
    stride = -(-4 * size // ALIGNMENT) * ALIGNMENT
    program = KernelProgram((step, predict), (scale, total), (c,), {scale: 0, total: stride, fresh: 0}, 2 * stride, stride)
    return Compilation(program, name, target or host(), {"step": ("y", "total"), "predict": "bare"}, ("model.py",))


def ring(size: int = 1 << 16, rounds: int = 80) -> Compilation:
    """run(x) -> x rotated by the sum of 1 ... rounds, in as many launches, each reading its neighbours' shares."""
    x, y = buffer("x", (size,), INPUT), buffer("y", (size,), OUTPUT)
    halves = [buffer(f"half{i}", (size,), ARENA) for i in range(2)]
    launches, source = [], x
    for step in range(1, rounds + 1):
        goal = y if step == rounds else halves[step % 2]
        launches.append(Launch(shift(size, step), (source, goal)))
        source = goal
    program = KernelProgram(
        (KernelFunction("run", (x,), (y,), tuple(launches)),), (), (), {halves[0]: 0, halves[1]: 4 * size}, 0, 8 * size
    )
    return Compilation(program, "ring", host(), {"run": "bare"})
