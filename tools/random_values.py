"""Values to build random graphs of: inputs, variables and constants with their data, and any value made to fit a type.

In: a source of randomness. Out: a `Pool` of values of odd sizes and mixed types. NaN, infinities, denormals and extreme
integers are sown into the data of some pools; operands are kept where functions are tame most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from random import Random

import numpy as np

from graphc.dtype import DType, bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, like, make
from graphc.ops.elementwise import cast, edge_values
from graphc.ops.pieces import pad, slice_
from graphc.ops.shape import broadcast, reshape
from graphc.ops.source import placeholder, variable

SIZES = (1, 2, 3, 5, 7, 13, 17, 31, 33)
WIDE = (17, 33, 64, 129, 300)
LARGE = 6000  # elements of the largest value ...
HUGE = 60_000  # ... but in some pools: enough for chunks, trees of reductions and many tasks


class Pool:
    """What a graph is made of so far: inputs, variables, and all values; and ways to choose and to fit them."""

    def __init__(self, rng: Random, name: str) -> None:
        self.rng, self.name = rng, name
        wide = rng.random() < 0.06
        self.dims = [rng.choice(WIDE if wide else SIZES) for _ in range(3)]
        if rng.random() < 0.06:
            self.dims[0] = 0
        self.limit = HUGE if wide else LARGE
        self.float = rng.choice([float32] * 6 + [float64, float16, bfloat16])
        self.wild = rng.random() < 0.2  # whether the data holds edge values
        self.inputs: list[Value] = []
        self.variables: list[Value] = []
        self.values: list[Value] = []
        for _ in range(rng.randint(1, 4)):
            self.source(self.dtype(), self.shape())
        for _ in range(rng.randint(0, 3)):
            self.new_variable(TensorType(self.float, self.shape()))

    def dtype(self) -> DType:
        return self.rng.choice([self.float] * 7 + [float32, float64, float16, bool_, uint8, int8, int16, int32, int64])

    def shape(self) -> tuple[int, ...]:
        shape = [self.rng.choice(self.dims) for _ in range(self.rng.randint(0, 4))]
        while prod(shape) > self.limit:
            shape.pop()
        return tuple(shape)

    def array(self, type_: TensorType) -> np.ndarray:
        rng = np.random.default_rng(self.rng.getrandbits(32))
        kind = type_.dtype
        if kind.is_bool:
            return np.asarray(rng.integers(0, 2, type_.shape).astype(bool))
        if kind.is_int:
            data = rng.integers(0 if kind.kind == "u" else -4, 9, type_.shape)
        else:
            data = rng.standard_normal(type_.shape)
        data = np.asarray(data).astype(kind.numpy)
        if self.wild and self.rng.random() < 0.5 and data.size:
            edges = edge_values(kind)
            flat = data.reshape(-1)
            for _ in range(1 + data.size // 20):
                flat[rng.integers(data.size)] = edges[rng.integers(len(edges))]
        return data

    def source(self, dtype: DType, shape: tuple[int, ...]) -> Value:
        x = placeholder(f"x{len(self.inputs)}", TensorType(dtype, shape))
        self.inputs.append(x)
        self.values.append(x)
        return x

    def new_variable(self, type_: TensorType) -> Value:
        v = variable(f"{self.name}_v{len(self.variables)}", self.array(type_))
        self.variables.append(v)
        self.values.append(v)
        return v

    def new_leaf(self, type_: TensorType) -> Value:
        """Data from outside: an input, a variable or a constant."""
        kind = self.rng.random()
        if kind < 0.4 and len(self.inputs) < 8:
            return self.source(type_.dtype, type_.shape)
        if kind < 0.75 and len(self.variables) < 6:
            return self.new_variable(type_)
        return constant(self.array(type_))

    def some(self, admits: Callable[[Value], bool] = lambda v: True) -> Value:
        """A value, late ones more often."""
        found = [v for v in self.values if admits(v)]
        if not found:
            return self.new_leaf(TensorType(self.float, (self.dims[0],)))
        late = found[-6:] if self.rng.random() < 0.7 else found
        return self.rng.choice(late)

    def floating(self) -> Value:
        found = [v for v in self.values if v.dtype.is_float and v.type.size]
        return self.some(lambda v: v in found) if found else self.source(self.float, self.shape())

    def axes(self, rank: int) -> tuple[int, ...]:
        return tuple(d for d in range(rank) if self.rng.random() < 0.5) or ((self.rng.randrange(rank),) if rank else ())

    def fit(self, x: Value, type_: TensorType) -> Value:
        """A value of the given type made of `x`: by broadcasting or folding where that fits, else by cutting."""
        x = self.convert(x, type_.dtype)
        if x.shape == type_.shape:
            return x
        if x.type.size == type_.size:
            return reshape(x, type_.shape)
        dims = self.placed(x.shape, type_.shape)
        if dims is not None:
            return broadcast(x, type_.shape, dims)
        back = self.placed(type_.shape, x.shape)
        if back is not None and x.type.size and not x.dtype.is_bool:
            folded = make("reduce_max", x, axes=tuple(d for d in range(x.type.rank) if d not in back))
            return slice_(folded, (0,) * type_.rank, type_.shape)
        if not x.type.size or not type_.size:
            return full(type_, 1)
        flat = reshape(x, (x.type.size,))
        missing = type_.size - x.type.size
        flat = pad(flat, (0,), (missing,), (0,), 1) if missing > 0 else slice_(flat, (0,), (type_.size,))
        return reshape(flat, type_.shape)

    def placed(self, small: Sequence[int], large: Sequence[int]) -> tuple[int, ...] | None:
        """Increasing dimensions of `large` onto which those of `small` may be broadcast."""
        dims, d = [], 0
        for n in small:
            while d < len(large) and large[d] != n:
                d += 1
            if d == len(large):
                return None
            dims.append(d)
            d += 1
        return tuple(dims)

    def convert(self, x: Value, dtype: DType) -> Value:
        return cast(x, dtype)

    def like_some(self, x: Value) -> Value:
        """Another value of x's type."""
        same = [v for v in self.values if v.type == x.type]
        if same and self.rng.random() < 0.6:
            return self.rng.choice(same)
        if self.rng.random() < 0.3:
            return like(x, self.rng.choice([0, 1, 2, 3]))
        return self.fit(self.some(lambda v: v.type.size > 0), x.type) if x.type.size else x

    def tame(self, name: str, xs: list[Value]) -> list[Value]:
        """Operands inside the domain of the function, most of the time."""
        x = xs[0]
        if not x.dtype.is_float or self.rng.random() < 0.1:
            return xs
        if name in ("log", "log1p", "sqrt", "rsqrt"):
            return [make("abs", x) + 0.5]
        if name in ("exp", "expm1", "sinh", "cosh"):
            return [make("min", make("max", x, like(x, -5)), like(x, 5))]
        if name in ("asin", "acos"):
            return [make("tanh", x)]
        if name == "pow":
            return [make("abs", x) + 0.5, make("tanh", xs[1]) * 2.0]
        if name in ("div", "mod", "floordiv"):
            return [x, make("abs", xs[1]) + 0.5]
        return xs
