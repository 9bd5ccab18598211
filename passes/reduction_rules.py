"""Rules of reductions: over nothing, over repeated elements, of other reductions, of moved elements.

In and out: see graphc/ir/rewrite.py. The order of a fold is free, and so is the sign of a sum that is zero; beyond that
the rules are exact, or round less often than their left sides.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from graphc.ir.op import OPS, Reduction
from graphc.ir.rewrite import Rule, op, rule, wild
from graphc.ir.values import Value, make
from graphc.ops.shape import reshape, transpose

x = wild("x")
REDUCTIONS_OF_OPS = [name for name, record in OPS.items() if isinstance(record.lower, Reduction)]
IDEMPOTENT = "reduce_max reduce_min reduce_any reduce_all"


def _fold(name: str, x: Value, axes: tuple[int, ...]) -> Value:
    return make(name, x, axes=axes) if axes else x


def _without_ones(x: Value, root: Value) -> Value:
    """reduce(x[a, 1, b], (0, 1)) -> reduce(reshape(x, [a, b]), (0,))"""
    axes = root.attrs["axes"]
    kept = [d for d, n in enumerate(x.shape) if n != 1 or d not in axes]
    squeezed = reshape(x, [x.shape[d] for d in kept])
    return _fold(root.op.name, squeezed, tuple(i for i, d in enumerate(kept) if d in axes))


def _one_reduction(inner: Value, root: Value) -> Value | None:
    """reduce(reduce(x, a), b) -> reduce(x, a + b)"""
    if inner.op is not root.op:
        return None
    (x,), first = inner.operands, inner.attrs["axes"]
    kept = [d for d in range(x.type.rank) if d not in first]
    return make(root.op.name, x, axes=tuple(sorted({*first, *(kept[d] for d in root.attrs["axes"])})))


def _of_transpose(inner: Value, root: Value) -> Value:
    """reduce(transpose(x, perm), axes) -> transpose(reduce(x, perm[axes]))"""
    (x,), perm = inner.operands, inner.attrs["perm"]
    axes = tuple(sorted(perm[d] for d in root.attrs["axes"]))
    left = [perm[d] for d in range(len(perm)) if perm[d] not in axes]
    return transpose(make(root.op.name, x, axes=axes), [sorted(left).index(d) for d in left])


# ---------------------------------------------------------------------------------------------- of repeated elements


def _repeats(inner: Value, root: Value) -> list[int]:
    """The reduced axes along which a broadcast repeats its operand."""
    shape, dims = inner.operands[0].shape, inner.attrs["dims"]
    moving = {d for n, d in zip(shape, dims, strict=True) if n == inner.shape[d]}
    return [d for d in root.attrs["axes"] if d not in moving]


def _unrepeated(inner: Value, root: Value) -> Value:
    """The reduction of a broadcast over the other axes only, as if its repeats were one element long."""
    dropped = _repeats(inner, root)
    (x,), dims = inner.operands, inner.attrs["dims"]
    kept = [d for d in range(inner.type.rank) if d not in dropped]
    moving = [i for i, d in enumerate(dims) if d in kept]
    squeezed = reshape(x, [x.shape[i] for i in moving])
    places = tuple(kept.index(dims[i]) for i in moving)
    shape = tuple(inner.shape[d] for d in kept)
    narrow = squeezed if squeezed.shape == shape else make("broadcast", squeezed, shape=shape, dims=places)
    return _fold(root.op.name, narrow, tuple(kept.index(d) for d in root.attrs["axes"] if d in kept))


def _count(inner: Value, root: Value) -> int:
    return prod(inner.shape[d] for d in _repeats(inner, root))


def _holds_count(inner: Value, root: Value) -> bool:
    """Whether the element type holds the number of repeats exactly, and there are any."""
    count, dtype = _count(inner, root), root.dtype
    if not _repeats(inner, root):
        return False
    if dtype.is_float:
        with np.errstate(over="ignore"):
            return float(np.array(count).astype(dtype.numpy)) == count
    return count <= np.iinfo(dtype.numpy).max


def _repeated(combine: Callable[[Value, int], Value]) -> Callable[[Value, Value], Value]:
    return lambda inner, root: combine(_unrepeated(inner, root), _count(inner, root))


REDUCTIONS: list[Rule] = [
    rule("reduce(x, ()) -> x", op(REDUCTIONS_OF_OPS, x), lambda x: x, when=lambda root: not root.attrs["axes"]),
    rule(
        "reduce(x[.., 1, ..]) -> reduce(reshape(x))",
        op(REDUCTIONS_OF_OPS, x),
        _without_ones,
        when=lambda x, root: any(x.shape[d] == 1 for d in root.attrs["axes"]),
    ),
    rule(
        "reduce(reduce(x)) -> reduce(x)",
        op(REDUCTIONS_OF_OPS, op(REDUCTIONS_OF_OPS, ..., called="inner")),
        _one_reduction,
        when=lambda inner, uses: uses(inner) <= 1,  # else x would be read twice
    ),
    rule(
        "reduce(transpose(x)) -> transpose(reduce(x))",
        op(REDUCTIONS_OF_OPS, op("transpose", ..., called="inner")),
        _of_transpose,
    ),
    rule(
        "sum(broadcast(x)) -> sum(x) * n",
        op("reduce_sum", op("broadcast", ..., called="inner")),
        _repeated(lambda total, n: total * n),
        when=_holds_count,
    ),
    rule(
        "max(broadcast(x)) -> max(x)",
        op(IDEMPOTENT, op("broadcast", ..., called="inner")),
        _repeated(lambda extreme, n: extreme),
        when=lambda inner, root: bool(_repeats(inner, root)) and _count(inner, root) > 0,
    ),
]
