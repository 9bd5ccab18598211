"""How exact and how fast the elementary functions are, as compiled for this machine.

In: the table RANGES. Out: for each word, dtype and range the largest error in units in the last place of the result, where
it is, and nanoseconds a thousand elements. The reference is numpy in a wider type; erf of float64 is from mpmath.

    python tools/maths_report.py [word ...]
"""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache

import mpmath
import numpy as np

from graphc.codegen.expand import expand_kernel
from graphc.codegen.llvm.build import Jit
from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.words import speaker
from graphc.codegen.target import host
from graphc.dtype import DType, dtype, float32, float64
from graphc.ir.expr import Array, Expr, Var, call, load, ravel
from graphc.ir.kernel import VECTOR, For, Kernel, Store

CHUNK = 1024


def kernel_of(body: Callable[..., Expr], dtypes: Sequence[DType]) -> Kernel:
    """`out[i] = body(in0[i], ...)`, CHUNK elements a task, in vectors."""
    task, lane = Var("t", 2**20), Var("i", CHUNK)
    index = ravel([task, lane], (task.extent, CHUNK))
    inputs = [Array(f"x{i}", d, task.extent * CHUNK) for i, d in enumerate(dtypes)]
    value = body(*(load(array, index) for array in inputs))
    out = Array("out", value.dtype, task.extent * CHUNK)
    loop = For(lane, (Store(out, index, value),), VECTOR, max(host().lanes(d) for d in (*dtypes, value.dtype)))
    return Kernel("apply", (*inputs, out), task, (loop,))


class Compiled:
    """A kernel as a function on flat arrays of one size."""

    def __init__(self, kernel: Kernel) -> None:
        text = emit_kernel(expand_kernel(kernel, speaker(host())), "kernel", host())
        names = ", ".join([*(f"ptr %p{i}" for i in range(len(kernel.params))), "i64 %begin", "i64 %end"])
        entry = f"define void @run({names}) {{\n call void @kernel({names})\n ret void\n}}"
        self._code = Jit(["\n".join([*sorted(text.declarations), text.text, entry])], host())
        pointers = [ctypes.c_void_p] * len(kernel.params)
        prototype = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64, ctypes.c_int64)
        self._run = prototype(self._code.address("run"))
        self._types = [array.dtype.numpy for array in kernel.params]

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        return self.timed(*arrays)[0]

    def timed(self, *arrays: np.ndarray) -> tuple[np.ndarray, float]:
        """The result, and the seconds that it took."""
        size = arrays[0].size
        tasks = -(-size // CHUNK)
        padded = [np.resize(np.asarray(a, t), tasks * CHUNK) for a, t in zip(arrays, self._types[:-1], strict=True)]
        out = np.zeros(tasks * CHUNK, self._types[-1])
        pointers = [a.ctypes.data for a in (*padded, out)]
        start = time.perf_counter()
        self._run(*pointers, 0, tasks)
        return out[:size], time.perf_counter() - start


@cache
def compiled(body: Callable[..., Expr], dtypes: tuple[DType, ...]) -> Compiled:
    """`body` on arrays of `dtypes`."""
    return Compiled(kernel_of(body, dtypes))


@cache
def _word(word: str) -> Callable[..., Expr]:
    return lambda *args: call(word, *args)


def speak(word: str, *arrays: np.ndarray) -> np.ndarray:
    """`word` of arrays, compiled."""
    return compiled(_word(word), tuple(dtype(a.dtype) for a in arrays))(*arrays)


# -------------------------------------------------------------------------------------------------------------- references

_NUMPY = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "pow": "power", "mod": "remainder",
          "floordiv": "floor_divide"}  # fmt: skip


def reference(word: str, *arrays: np.ndarray) -> np.ndarray:
    """The result in a type wider than that of `arrays`: float64, or numpy's long double."""
    with np.errstate(all="ignore"):
        wide = [a.astype(np.float64 if a.dtype == np.float32 else np.longdouble) for a in arrays]
        if word == "erf":
            return _erf(wide[0])
        if word == "rsqrt":
            return 1 / np.sqrt(wide[0])
        return getattr(np, _NUMPY.get(word, word))(*wide)


def _erf(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.float64:
        return np.array([math.erf(v) for v in x])

    def split(v: float) -> np.longdouble:
        exact = mpmath.erf(mpmath.mpf(v))
        high = float(exact)
        return np.longdouble(high) + np.longdouble(float(exact - high))

    with mpmath.workdps(40):
        return np.array([split(float(v)) for v in x])


def errors(result: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """|result - exact| in units in the last place of the result's type; inf where NaN or an infinity is wrong."""
    info = np.finfo(result.dtype)
    with np.errstate(all="ignore"):
        rounded = exact.astype(result.dtype)
        exponent = np.frexp(np.abs(exact))[1] - 1 - info.nmant
        unit = np.ldexp(np.ones_like(exact), np.maximum(exponent, info.minexp - info.nmant))
        distance = np.abs(result.astype(exact.dtype) - exact) / unit
    same = (np.isnan(rounded) & np.isnan(result)) | (np.isinf(rounded) & (rounded == result))
    return np.where(same, 0, np.where(np.isfinite(distance), distance, np.inf)).astype(np.float64)


# ------------------------------------------------------------------------------------------------------------------ points

ANY = (None, None)
RANGES: dict[str, list[tuple[float | None, float | None]]] = {
    "exp": [(-1, 1), (-110, 95), (-750, 720), ANY], "expm1": [(-1, 1), (-40, 95), (-750, 720), ANY],
    "log": [(0.5, 2), (0, 1e5), ANY], "log1p": [(-0.5, 1), (-1, 1e5), ANY],
    "sinh": [(-2, 2), (-95, 95), (-720, 720), ANY], "cosh": [(-2, 2), (-95, 95), (-720, 720), ANY],
    "tanh": [(-1, 1), (-30, 30), ANY], "erf": [(-1.5, 1.5), (-7, 7), ANY],
    "sin": [(-7, 7), (-1e5, 1e5), (-1e9, 1e9)], "cos": [(-7, 7), (-1e5, 1e5), (-1e9, 1e9)],
    "tan": [(-7, 7), (-1e5, 1e5), (-1e9, 1e9)],
    "asin": [(-1, 1), ANY], "acos": [(-1, 1), ANY], "atan": [(-4, 4), ANY],
    "rsqrt": [(0, 1e5), ANY], "atan2": [(-4, 4), ANY], "pow": [(0, 4), (-20, 20), (0.9, 1.1), ANY],
    "mod": [(-20, 20), ANY], "floordiv": [(-20, 20), ANY],
}  # fmt: skip
BINARY = ("atan2", "pow", "mod", "floordiv")


def points(low: float | None, high: float | None, count: int, kind: DType, seed: int = 0) -> np.ndarray:
    """Evenly random in [low, high]; or, without limits, random bits: every exponent, both signs, NaN and inf too."""
    random = np.random.default_rng(seed)
    if low is None or high is None:
        bits = random.integers(0, 2**kind.bits, count, dtype=f"u{kind.size}")
        special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, -0.5, 2, -2, 3], kind.numpy)
        values = bits.view(kind.numpy)
        values[: special.size] = special
        return values
    return random.uniform(low, high, count).astype(kind.numpy)


def arguments(word: str, low: float | None, high: float | None, count: int, kind: DType) -> list[np.ndarray]:
    first = points(low, high, count, kind)
    if word not in BINARY:
        return [first]
    second = points(low, high, count, kind, seed=1)
    if word == "pow" and low == 0.9:
        second = second * 5000 - 4950
    return [first, second.astype(kind.numpy)]


def main(words: list[str]) -> None:
    print(f"{'word':9} {'type':8} {'range':22} {'max ulp':>8}  at {'':38} ns/1000")
    for word in words or RANGES:
        for kind in (float32, float64):
            for low, high in RANGES[word]:
                count = 4000 if word == "erf" and kind is float64 else 200_000
                args = arguments(word, low, high, count, kind)
                result = speak(word, *args)
                error = errors(result, reference(word, *args))
                worst = int(error.argmax())
                few = [np.resize(a, 64 * CHUNK) for a in args]
                speed = min(compiled(_word(word), (kind,) * len(few)).timed(*few)[1] for _ in range(5)) / few[0].size * 1e12
                where = ", ".join(f"{a[worst]:.9g}" for a in args) + f" -> {result[worst]:.9g}"
                span = "any bits" if low is None else f"[{low:g}, {high:g}]"
                print(f"{word:9} {kind.name:8} {span:22} {error[worst]:8.3f}  {where:42} {speed:7.0f}")


if __name__ == "__main__":
    main(sys.argv[1:])
