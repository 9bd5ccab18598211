"""Random functions over every op of the registry, with the arrays to call them with.

In: a source of randomness (`random.Random`, or hypothesis' own, which shrinks). Out: a `Case`: a graph with several
outputs and updates of variables, and inputs for a few calls. Graphs look like programs: chains over one domain, reductions
spread back over it, contractions with epilogues, views anywhere, sharing, gradients. The values come from random_values.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from random import Random

import numpy as np
from random_values import Pool

import graphc.ops  # noqa: F401  fills the registry
from graphc.dtype import FLOATS, INTS, DType, bool_, float32, int8, int32, int64
from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.op import OPS, Elementwise, Op, Reduction
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, like, make
from graphc.ops.contract import dot_general
from graphc.ops.convolve import conv_general
from graphc.ops.elementwise import cast, select
from graphc.ops.index import gather, scatter
from graphc.ops.pieces import concat, pad, slice_
from graphc.ops.reduce import reduce_sum
from graphc.ops.shape import broadcast, iota, reshape, reverse, transpose
from graphc.ops.source import grad, stop_gradient, update
from graphc.ops.toom import POINTS
from graphc.ops.window import reduce_window
from graphc.ops.window_choice import window_argmax, window_gather
from graphc.ops.winograd import winograd_kernel, winograd_points, winograd_product, winograd_result

WORK = 50  # products of the largest contraction, for each element of the largest value
CALLS = 2

NOT_ALIKE = ("select", "cast", "sort_key")  # operands of several types, or attributes
ELEMENTWISE = tuple(op for op in OPS.values() if isinstance(op.lower, Elementwise) and op.name not in NOT_ALIKE)
ARITY = {op.name: len(next(iter(op.samples())).arrays) for op in ELEMENTWISE}
COMMON = ("add", "mul", "sub", "max", "tanh", "exp", "neg")
FOLDS = tuple(name for name, op in OPS.items() if isinstance(op.lower, Reduction))
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


@dataclass(frozen=True)
class Case:
    """A function and what it is called with, call by call."""

    graph: Graph
    calls: tuple[tuple[np.ndarray, ...], ...]


@cache
def _fitting(dtype: DType) -> frozenset[str]:
    """The elementwise ops that take operands of `dtype`."""
    return frozenset(op.name for op in ELEMENTWISE if _takes(op, dtype))


def _takes(op: Op, dtype: DType) -> bool:
    try:
        op.infer(*[TensorType(dtype, ())] * ARITY[op.name])
    except GraphcError:
        return False
    return True


def random_case(rng: Random, name: str = "f", steps: int | None = None) -> Case:
    """A graph of 5 to 40 steps."""
    grower = _Grower(rng, name)
    for _ in range(steps if steps is not None else rng.randint(5, 40)):
        grower.step()
    return grower.finish()


class _Grower(Pool):
    def step(self) -> None:
        """Add a value. What a type rule refuses, or what would grow too large, is not added."""
        kinds = [
            (self.elementwise, 10), (self.choose, 2), (self.fold, 5), (self.normalise, 3), (self.view, 9), (self.dot, 4),
            (self.conv, 2), (self.surrounded, 2), (self.tiles, 1), (self.window, 2), (self.lookup, 2), (self.place, 2),
            (self.order, 1), (self.bits, 1), (self.change_type, 2), (self.mark, 1), (self.attend, 1),
        ]  # fmt: skip
        grow = self.rng.choice([kind for kind, weight in kinds for _ in range(weight)])
        before = len(self.inputs), len(self.variables), len(self.values)
        try:
            value = grow()
        except GraphcError:
            value = None
        if value is not None and value.type.size <= self.limit:
            self.values.append(value)
        else:
            del self.inputs[before[0] :], self.variables[before[1] :], self.values[before[2] :]

    def elementwise(self) -> Value:
        x = self.some()
        names = COMMON if self.rng.random() < 0.4 else sorted(_fitting(x.dtype))
        name = self.rng.choice(names)
        xs = [x, *(self.like_some(x) for _ in range(ARITY[name] - 1))]
        return make(name, *self.tame(name, xs))

    def choose(self) -> Value:
        x = self.some(lambda v: not v.dtype.is_bool)
        condition = make(self.rng.choice(COMPARISONS), x, self.like_some(x))
        yes = self.some()
        wanted = yes.type.with_shape(x.shape)
        return select(condition, self.fit(yes, wanted), self.fit(self.some(), wanted))

    def fold(self) -> Value:
        x = self.some(lambda v: v.type.rank > 0)
        if self.rng.random() < 0.15 and x.type.rank:
            return make(self.rng.choice(("argmax", "argmin")), x, axis=self.rng.randrange(x.type.rank))
        name = self.rng.choice(("reduce_any", "reduce_all") if x.dtype.is_bool else FOLDS)
        if name == "reduce_prod" and x.dtype.is_float:
            x = make("tanh", x) * 0.5 + 1.0
        return make(name, x, axes=self.axes(x.type.rank))

    def normalise(self) -> Value:
        """A reduction that is spread over its operand again."""
        x = self.some(lambda v: v.type.rank > 0 and not v.dtype.is_bool)
        axes = self.axes(x.type.rank)
        row = make(self.rng.choice(("reduce_max", "reduce_sum", "reduce_min")), x, axes=axes)
        if self.rng.random() < 0.3:
            row = make("tanh", row) if row.dtype.is_float else row
        kept = tuple(d for d in range(x.type.rank) if d not in axes)
        return make(self.rng.choice(("sub", "add", "mul", "max")), x, broadcast(row, x.shape, kept))

    def view(self) -> Value:
        x = self.some()
        rank = x.type.rank
        rng = self.rng
        kind = rng.choice(("reshape", "transpose", "broadcast", "slice", "pad", "concat", "reverse", "iota"))
        if kind == "reshape":
            return reshape(x, self.refactored(x.type.size))
        if kind == "transpose":
            return transpose(x, rng.sample(range(rank), rank))
        if kind == "broadcast":
            shape = list(x.shape)
            dims = []
            for d in range(rank):
                shape[d] = rng.choice(self.dims) if shape[d] == 1 and rng.random() < 0.5 else shape[d]
            shape.insert(at := rng.randint(0, rank), rng.choice(self.dims))
            dims = [d for d in range(rank + 1) if d != at]
            return broadcast(x, shape, dims)
        if kind == "slice":
            start = [rng.randint(0, max(n - 1, 0)) for n in x.shape]
            stop = [rng.randint(min(a + 1, n), n) for a, n in zip(start, x.shape, strict=True)]
            return slice_(x, start, stop, [rng.choice((1, 1, 1, 2, 3)) for _ in x.shape])
        if kind == "pad":
            low, high = ([rng.choice((0, 0, 1, 2, -1)) for _ in x.shape] for _ in range(2))
            return pad(x, low, high, [rng.choice((0, 0, 0, 1, 2)) for _ in x.shape], rng.choice((0, 1)))
        if kind == "concat" and rank:
            return concat([x, *(self.like_some(x) for _ in range(rng.randint(1, 2)))], rng.randrange(rank))
        if kind == "reverse":
            return reverse(x, self.axes(rank))
        shape = self.shape() or (3,)
        return iota(rng.choice([int32, int64, self.float]), shape, rng.randrange(len(shape)))

    def refactored(self, size: int) -> tuple[int, ...]:
        shape: list[int] = []
        while size > 1:
            factors = [f for f in range(2, size + 1) if size % f == 0]
            shape.append(self.rng.choice(factors))
            size //= shape[-1]
        shape = shape if size else [0]
        if self.rng.random() < 0.3:
            shape.insert(self.rng.randint(0, len(shape)), 1)
        return tuple(shape)

    def dot(self) -> Value | None:
        a = self.some(lambda v: 0 < v.type.rank < 4 and not v.dtype.is_bool)
        rng = self.rng
        roles = [rng.choice("kkkcb") if rng.random() < 0.7 else "c" for _ in a.shape]
        contract, batch = ([d for d, role in enumerate(roles) if role == r] for r in "cb")
        free = [rng.choice(self.dims) for _ in range(rng.randint(0, 2))]
        named = [("c", d, a.shape[d]) for d in contract] + [("b", d, a.shape[d]) for d in batch] + [("f", -1, n) for n in free]
        rng.shuffle(named)
        if a.type.size * prod(free) > WORK * self.limit or prod(n for _, _, n in named) > self.limit:
            return None
        type_ = TensorType(a.dtype, tuple(n for _, _, n in named))
        b = self.new_leaf(type_) if rng.random() < 0.6 else self.fit(self.some(), type_)
        places = {(role, d): i for i, (role, d, _) in enumerate(named) if role != "f"}
        pairs = [(contract, [places["c", d] for d in contract]), (batch, [places["b", d] for d in batch])]
        y = dot_general(a, b, contract=pairs[0], batch=pairs[1])
        return self.epilogue(y)

    def attend(self) -> Value:
        """Products with rows normalised between them, in as many slices as a kernel is cut into."""
        rng = self.rng
        slices, rows, columns, width = rng.choice((8, 9, 16)), *(rng.choice((1, 2, 3, 5, 7, 13, 17)) for _ in range(3))
        q, k, v = (self.new_leaf(TensorType(float32, (slices, n, width))) for n in (rows, columns, columns))
        scores = self.epilogue(dot_general(q, k, contract=((2,), (2,)), batch=((0,), (0,))))
        if rng.random() < 0.3:
            scores = select(make("le", iota(int64, scores.shape, 2), iota(int64, scores.shape, 1)), scores, like(scores, 0))
        e = make("exp", scores - broadcast(make("reduce_max", scores, axes=(2,)), scores.shape, (0, 1)))
        p = e / broadcast(make("reduce_sum", e, axes=(2,)), e.shape, (0, 1))
        return dot_general(p, v, contract=((2,), (1,)), batch=((0,), (0,)))

    def epilogue(self, y: Value) -> Value:
        """Bias, residual and activation, sometimes."""
        rng = self.rng
        if rng.random() < 0.4 and y.type.rank:
            d = rng.randrange(y.type.rank)
            y = y + broadcast(self.new_leaf(TensorType(y.dtype, (y.shape[d],))), y.shape, (d,))
        if rng.random() < 0.3:
            y = y + self.like_some(y)
        if rng.random() < 0.4:
            y = make("max", y, like(y, 0))
        return y

    def conv(self) -> Value | None:
        rng = self.rng
        spatial = rng.randint(1, 2)
        groups = rng.choice((1, 1, 1, 2, 3))
        n, inner, outer = rng.choice((1, 2, 3)), rng.choice((1, 2, 3, 5)), rng.choice((1, 2, 5, 7)) * groups
        sizes = [rng.choice((3, 5, 7, 13)) for _ in range(spatial)]
        taps = [rng.choice((1, 2, 3)) for _ in range(spatial)]
        specs = [rng.sample(range(spatial + 2), spatial + 2) if rng.random() < 0.4 else range(spatial + 2) for _ in range(3)]
        dtype = self.float if rng.random() < 0.9 else int32
        x = self.fit(self.some(), TensorType(dtype, _placed([n, inner * groups, *sizes], specs[0])))
        w = self.new_leaf(TensorType(dtype, _placed([outer, inner, *taps], specs[1])))
        y = conv_general(
            x, w,
            strides=[rng.choice((1, 1, 2)) for _ in sizes],
            padding=[(rng.choice((0, 1, 2, -1)), rng.choice((0, 1, 2))) for _ in sizes],
            lhs_dilation=[rng.choice((1, 1, 1, 2)) for _ in sizes],
            rhs_dilation=[rng.choice((1, 1, 2)) for _ in sizes],
            feature_groups=groups, lhs_spec=specs[0], rhs_spec=specs[1], out_spec=specs[2],
        )  # fmt: skip
        return self.epilogue(y)

    def surrounded(self) -> Value | None:
        """What was computed anywhere, read with padding by some convolutions, and sometimes as it is."""
        rng = self.rng
        x = self.some(lambda v: v.type.rank > 2 and v.type.size > 0 and not v.dtype.is_bool)
        if x.type.rank < 3:
            return None
        x = make(rng.choice(COMMON[:4]), x, self.like_some(x)) if rng.random() < 0.6 else x
        spec = rng.sample(range(x.type.rank), x.type.rank)
        total = x if rng.random() < 0.5 else like(x, 1)
        for _ in range(rng.randint(1, 3)):
            groups = rng.choice((1, x.shape[spec[1]]))
            reach = [rng.choice((0, 1, 1, 2)) for _ in spec[2:]]
            kernel = (x.shape[spec[1]], x.shape[spec[1]] // groups, *(2 * n + 1 for n in reach))
            if prod(kernel[1:]) > WORK:
                return None
            total = total + conv_general(
                x, self.new_leaf(TensorType(x.dtype, kernel)), strides=[1] * len(reach), padding=[(n, n) for n in reach],
                feature_groups=groups, lhs_spec=spec, out_spec=spec,
            )  # fmt: skip
        return self.epilogue(total)

    def tiles(self) -> Value:
        """A convolution by Winograd's algorithm, from data or from any number on."""
        rng = self.rng
        tile, n, inner, outer = rng.choice(sorted(POINTS)), rng.choice((1, 2, 3)), rng.choice((1, 2, 5)), rng.choice((1, 3, 17))
        rows, columns = rng.choice((1, 2, 3, 5)), rng.choice((1, 2, 3, 7))
        down, across = -(-rows // tile), -(-columns // tile)
        x = self.fit(self.some(), TensorType(self.float, (n, down * tile + 2, across * tile + 2, inner)))
        group = rng.choice([size for size in range(1, n * down * across + 1) if n * down * across % size == 0])
        v = winograd_points(x, tile=tile, group=group)
        u = winograd_kernel(self.new_leaf(TensorType(x.dtype, (3, 3, inner, outer))), tile=tile)
        y = winograd_result(winograd_product(v, u), tile=tile, shape=(n, rows, columns, outer))
        return self.epilogue(y if rng.random() < 0.7 else winograd_points(x, tile=tile, group=group, of="cotangent"))

    def window(self) -> Value:
        x = self.some(lambda v: v.type.rank > 0 and not v.dtype.is_bool)
        rng = self.rng
        attrs = {
            "window": [rng.choice((1, 2, 3)) for _ in x.shape],
            "strides": [rng.choice((1, 2)) for _ in x.shape],
            "padding": [(rng.choice((0, 0, 1)), rng.choice((0, 0, 1))) for _ in x.shape],
            "dilation": [rng.choice((1, 1, 2)) for _ in x.shape],
        }
        if rng.random() < 0.2:
            attrs = {k: [tuple(p) if k == "padding" else p for p in v] for k, v in attrs.items()}
            offsets = window_argmax(x, **attrs)
            return window_gather(x, offsets, **{k: tuple(v) for k, v in attrs.items()})
        return reduce_window(x, kind=rng.choice(("max", "sum")), **attrs)

    def index(self, shape: tuple[int, ...]) -> Value:
        """int64 positions, some of them out of range, or each its own."""
        if shape and self.rng.random() < 0.2:
            return iota(int64, shape, self.rng.randrange(len(shape)))
        if self.rng.random() < 0.5:
            return cast(self.fit(self.some(), TensorType(self.rng.choice([int32, int8]), shape)), int64)
        return self.new_leaf(TensorType(int64, shape))

    def lookup(self) -> Value:
        x, axes, shape, batch = self.indexed()
        return gather(x, *(self.index(shape) for _ in axes), axes=axes, batch=batch)

    def place(self) -> Value:
        x, axes, shape, batch = self.indexed()
        indices = [self.index(shape) for _ in axes]
        rest = tuple(n for d, n in enumerate(x.shape) if d >= batch and d not in axes)
        updates = self.fit(self.some(), TensorType(x.dtype, shape + rest))
        mode = "set" if x.dtype.is_bool else self.rng.choice(("set", "add", "max", "min"))
        return scatter(x, updates, *indices, axes=axes, mode=mode, batch=batch)

    def indexed(self) -> tuple[Value, tuple[int, ...], tuple[int, ...], int]:
        """Something to index, along which dimensions, by indices of which shape, and how many dimensions they share with it."""
        x = self.some(lambda v: v.type.rank > 0)
        batch = self.rng.randrange(x.type.rank) if self.rng.random() < 0.4 else 0
        axes = self.rng.sample(range(batch, x.type.rank), self.rng.randint(1, x.type.rank - batch))
        shape = tuple(x.shape[a] for a in sorted(axes)) if self.rng.random() < 0.4 else self.shape()[:2]
        return x, tuple(axes), x.shape[:batch] + shape, batch

    def order(self) -> Value:
        x = self.some(lambda v: v.type.rank > 0)
        axis = self.rng.randrange(x.type.rank) if x.type.rank else 0
        flag = self.rng.random() < 0.5
        if self.rng.random() < 0.5 and not x.dtype.is_bool:
            op = self.rng.choice(("cumsum", "cumsum", "cumprod", "recurrence"))
            operands = [x, self.fit(self.some(), x.type)] if op == "recurrence" else [x]
            return make(op, *operands, axis=axis, reverse=flag)
        if self.rng.random() < 0.3:
            keys = make("sort_key", x, descending=flag) if x.dtype.is_float else cast(x, int32)
            if flag:
                return make("argcummax", keys, axis=axis)
            return make("argnth", keys, self.index((*x.shape[:-1], self.rng.randint(1, 3))))
        return make("argsort", x, axis=axis, descending=flag)

    def bits(self) -> Value:
        seed, counter = (constant(np.array(self.rng.randint(-5, 5), np.int64)) for _ in range(2))
        return make("random_bits", seed, counter, shape=self.shape(), stream=self.rng.randint(0, 3))

    def change_type(self) -> Value:
        return cast(self.some(), self.rng.choice([*FLOATS, *INTS, bool_, self.float, self.float]))

    def mark(self) -> Value:
        x = self.some()
        if self.variables and self.rng.random() < 0.6:
            free = [v for v in self.variables if not any(u.op.name == "update" and u.operands[1] is v for u in self.values)]
            if free:
                target = self.rng.choice(free)
                return update(x, target, self.fit(self.some(), target.type))
        return stop_gradient(x)

    # --------------------------------------------------------------------------------------------------------- the end

    def finish(self) -> Case:
        rng = self.rng
        used = {x for v in self.values for x in v.operands}
        unused = [v for v in self.values if v not in used]
        outputs = [rng.choice(unused) if unused and rng.random() < 0.7 else self.some() for _ in range(rng.randint(1, 4))]
        taken = {u.operands[1] for u in self.values if u.op.name == "update"}
        updates = [(v, self.new_value(v)) for v in self.variables if v not in taken and rng.random() < 0.6]
        if rng.random() < 0.35:
            outputs += self.gradients(outputs, updates)
        if rng.random() < 0.1:
            outputs.append(rng.choice([*self.inputs, *self.variables]))
        graph = Graph(self.name, tuple(self.inputs), tuple(outputs), tuple(updates))
        calls = tuple(tuple(self.array(x.type) for x in self.inputs) for _ in range(CALLS))
        return Case(graph, calls)

    def new_value(self, v: Value) -> Value:
        """What a variable becomes: another variable, a number, a view of itself, a step away from itself."""
        rng = self.rng
        kind = rng.randint(0, 7)
        same = [other for other in self.variables if other.type == v.type and other is not v]
        if kind == 0:
            return rng.choice(same) if same else full(v.type, 1)
        if kind == 1:
            return reverse(v, tuple(range(v.type.rank)))
        if kind == 2:
            return self.new_leaf(v.type)
        fitted = self.fit(self.some(), v.type)
        if kind <= 5 and not v.dtype.is_bool:
            return v - fitted * like(v, 2)
        return fitted

    def gradients(self, outputs: list[Value], updates: list[tuple[Value, Value]]) -> list[Value]:
        """Gradients of a sum of some results, as outputs and as steps of variables."""
        loss: Value | None = None
        for value in [v for v in outputs if v.dtype.is_float and v.type.size]:
            tamed = make("tanh", value) if self.rng.random() < 0.7 else value
            term = cast(reduce_sum(tamed, range(value.type.rank)), float32)
            loss = term if loss is None else loss + term
        if loss is None:
            return []
        for n, (v, new) in enumerate(updates):
            if v.dtype.is_float and self.rng.random() < 0.7:
                updates[n] = (v, (v if self.rng.random() < 0.7 else new) - grad(loss, v) * like(v, 0.125))
        floats = [v for v in self.values if v.dtype.is_float]
        return [grad(loss, self.rng.choice(floats)) for _ in range(self.rng.randint(1, 2))]


def _placed(sizes: Sequence[int], spec: Sequence[int]) -> tuple[int, ...]:
    """(batch, feature, spatial...) at the dimensions that `spec` names."""
    shape = [0] * len(sizes)
    for size, dim in zip(sizes, spec, strict=True):
        shape[dim] = size
    return tuple(shape)
