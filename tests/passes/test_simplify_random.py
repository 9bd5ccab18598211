"""Random graphs of numbers, views and reductions, biased towards what rules look for: simplifying keeps every number."""

from __future__ import annotations

import numpy as np
import pytest
from laws import assert_close, operands_of

from graphc.dtype import float64, int32
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.op import OPS, Marker, Op
from graphc.ir.types import TensorType
from graphc.ir.values import Value, full, make
from graphc.ir.verify import verify_graph
from graphc.ops.reduce import reduce_max, reduce_sum
from graphc.ops.shape import broadcast, concat, pad, reshape, reverse, slice_, transpose
from graphc.ops.source import placeholder
from graphc.passes.canonicalize import simplify

NUMBERS = (0, 1, -1, 2, -0.0, 0.5, 3)


class Grower:
    """Grows a graph by random ops; what it picks depends on the seed alone."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = float64 if seed % 3 else int32
        self.inputs = [
            placeholder(f"x{i}", TensorType(self.dtype, shape)) for i, shape in enumerate([(2, 3), (3,), (2, 1, 3), ()])
        ]
        self.values = list(self.inputs)

    def pick(self, choices: list[Value] | tuple[float, ...]) -> Value | float:
        return choices[int(self.rng.integers(len(choices)))]

    def grow(self) -> Value:
        x = self.pick(self.values[-6:] if self.rng.random() < 0.7 else self.values)
        grown = getattr(self, str(self.pick(("binary", "number", "unary", "view", "view", "fold", "choice"))))(x)
        if grown.type.size <= 200 and grown.type.rank <= 4:
            self.values.append(grown)
        return grown

    def binary(self, x: Value) -> Value:
        y = self.pick([v for v in self.values if v.type == x.type])
        return make(str(self.pick(("add", "sub", "mul", "max", "min"))), x, y)

    def number(self, x: Value) -> Value:
        c = full(x.type, self.pick(NUMBERS))
        operands = (x, c) if self.rng.random() < 0.7 else (c, x)
        return make(str(self.pick(("add", "sub", "mul", "max"))), *operands)

    def unary(self, x: Value) -> Value:
        return make(str(self.pick(("neg", "abs", "neg", "sign"))), x)

    def choice(self, x: Value) -> Value:
        y = self.pick([v for v in self.values if v.type == x.type])
        test = make(str(self.pick(("lt", "eq", "ge"))), x, full(x.type, self.pick(NUMBERS)))
        return make("select", make("not", test) if self.rng.random() < 0.5 else test, x, y)

    def fold(self, x: Value) -> Value:
        axes = [i for i in range(x.type.rank) if self.rng.random() < 0.5]
        return (reduce_sum if self.rng.random() < 0.5 else reduce_max)(x, axes)

    def view(self, x: Value) -> Value:
        rank, shape = x.type.rank, x.shape
        match int(self.rng.integers(8)):
            case 0:
                return transpose(x, [int(i) for i in self.rng.permutation(rank)])
            case 1:
                return reshape(x, self.pick([(x.type.size,), (1, *shape), (*shape, 1), tuple(n for n in shape if n != 1)]))
            case 2:
                return broadcast(x, (2, *shape), range(1, rank + 1))
            case 3:
                return slice_(x, [int(n > 2) for n in shape], shape, [1 + int(self.rng.integers(2)) for _ in shape])
            case 4:
                low, high = ([int(i) for i in self.rng.integers(-1 if all(n > 2 for n in shape) else 0, 2, rank)] for _ in "lh")
                return pad(x, low, high, None, self.pick((0, 1)))
            case 5 if rank:
                return concat([x, x], int(self.rng.integers(rank)))
            case 6 if rank:
                return reverse(x, [int(self.rng.integers(rank))])
        return broadcast(x, (*shape, 3), range(rank))


@pytest.mark.parametrize("seed", range(150))
def test_random_graphs_keep_their_numbers(seed: int) -> None:
    grower = Grower(seed)
    for _ in range(25):
        grower.grow()
    before = Graph("f", tuple(grower.inputs), tuple(grower.values[-5:]))
    after = simplify(before)
    verify_graph(after, 3)
    assert simplify(after) is after
    rng = np.random.default_rng(seed)
    environment = {x: rng.integers(-3, 4, x.shape).astype(x.dtype.numpy) for x in grower.inputs}
    for old, new, value in zip(*(evaluate(g, environment) for g in (before, after)), before.outputs, strict=True):
        assert_close(new, old, value.dtype, slack=10)


SIMPLE = [op for op in OPS.values() if not isinstance(op.lower, Marker)]


@pytest.mark.parametrize("op", SIMPLE, ids=[op.name for op in SIMPLE])
def test_every_op_keeps_its_meaning(op: Op) -> None:
    for sample in op.samples():
        operands = operands_of(sample)
        graph = simplify(Graph("f", tuple(operands), (make(op.name, *operands, **sample.attrs),)))
        expected = np.asarray(op.reference(*sample.arrays, **sample.attrs))
        actual = evaluate(graph, dict(zip(operands, sample.arrays, strict=True)))[0]
        assert_close(actual, expected, graph.outputs[0].dtype, slack=2)
