"""Large reductions with few results become trees of two levels, so that all threads and lanes have work; those of few columns
fold several rows beside each other first, as one row of whole vectors.

    reduce(x[n], (0,))     ->  reduce(reduce(reshape(x, [n/m, m]), (1,)), (0,))
    reduce(x[n, c], (0,))  ->  reduce(reshape(reduce(reshape(x, [n/k, k*c]), (0,)), [k, c]), (0,))

In: a canonical graph, and when trees pay (`machine.Trees`). Out: an equal graph; the shape of each tree depends on the shape
of the operand alone, so results never depend on the number of threads. An extent without a fitting divisor is padded with the
fold's neutral element. Canonicalisation would undo this: it comes before.
"""

from __future__ import annotations

from functools import cache
from math import prod

from graphc.ir.graph import Graph
from graphc.ir.kernel import COMBINES
from graphc.ir.op import OPS, Reduction
from graphc.ir.rewrite import Fired, Rule, Rules, op, rewrite_graph, rule, wild
from graphc.ir.values import Value, make
from graphc.ops.shape import pad, reshape

from .machine import Trees

USUAL = Trees()
WIDE = 160  # columns of which a register for each vector still holds a sum
VECTOR = 16  # elements of the widest registers
LONG = 1024  # elements of a column's rows for which another step pays


def _is_large(x: Value, root: Value, trees: Trees) -> bool:
    axes, results = root.attrs["axes"], root.type.size
    columns = x.type.rank - 1 not in axes
    if columns and 0 < results <= trees.beside and x.type.size >= trees.memory:
        return True
    together = min(trees.columns, results) if columns else 1
    tasks = -(-results // max(together, 1))
    return 0 < tasks < trees.tasks and together * prod(x.shape[d] for d in axes) >= trees.elements


def _split(x: Value, root: Value, parts: int) -> Value:
    if x.dtype.accumulator is not x.dtype:
        return _unrounded(x, root)
    axes = root.attrs["axes"]
    outer = _leading_axes(x, axes, parts)
    if outer is not None:
        return _staged(x, root.op.name, outer, tuple(d for d in axes if d not in outer))
    axis = max(axes, key=lambda d: x.shape[d])
    parts = _divisor(x.shape[axis], parts)
    missing = -x.shape[axis] % parts
    if missing:
        lower = root.op.lower
        assert isinstance(lower, Reduction)
        neutral = COMBINES[lower.combine](x.dtype)
        x = pad(x, (0,) * x.type.rank, [missing if d == axis else 0 for d in range(x.type.rank)], None, neutral)
    shape = (*x.shape[:axis], parts, x.shape[axis] // parts, *x.shape[axis + 1 :])
    inner = (axis + 1, *(d if d < axis else d + 1 for d in axes if d != axis))
    return _staged(reshape(x, shape), root.op.name, (axis,), tuple(sorted(inner)))


def _columns(x: Value, axes: tuple[int, ...]) -> tuple[int, int, int]:
    """(the first of the reduced dimensions that lie together last, elements of these, elements of the rows behind them)."""
    last = first = max(axes)
    while first - 1 in axes:
        first -= 1
    return first, prod(x.shape[first : last + 1]), prod(x.shape[last + 1 :])


def _rows_beside(x: Value, root: Value, trees: Trees) -> int:
    """How many rows of few columns make the best wide one; 1 where none do, or they are too few."""
    axes = root.attrs["axes"]
    if not axes or not x.type.size:
        return 1
    _, rows, columns = _columns(x, axes)
    if not 1 < columns < trees.narrow or rows * columns < LONG:
        return 1
    found = [k for k in range(-(-2 * VECTOR // columns), WIDE // columns + 1) if rows % k == 0 and rows // k >= VECTOR]
    return max(found, key=lambda k: (k * columns / _aligned(k * columns), -abs(k * columns - 4 * VECTOR)), default=1)


def _aligned(width: int) -> int:
    return -(-width // VECTOR) * VECTOR


def _widen(x: Value, root: Value, k: int) -> Value:
    """Fold every k-th row, with k of them beside each other, then the results."""
    if x.dtype.accumulator is not x.dtype:
        return _unrounded(x, root)
    axes = root.attrs["axes"]
    first, rows, columns = _columns(x, axes)
    wide = reshape(x, (*x.shape[:first], rows // k, k * columns))
    partial = make(root.op.name, wide, axes=(*(d for d in axes if d < first), first))
    kept = partial.shape[:-1]
    return make(root.op.name, reshape(partial, (*kept, k, *x.shape[max(axes) + 1 :])), axes=(len(kept),))


def _unrounded(x: Value, root: Value) -> Value:
    """The fold in a type in which partial results are not rounded."""
    wide = make(root.op.name, make("cast", x, dtype=x.dtype.accumulator), axes=root.attrs["axes"])
    return make("cast", wide, dtype=x.dtype)


def _leading_axes(x: Value, axes: tuple[int, ...], parts: int) -> tuple[int, ...] | None:
    """The first reduced axes, if they alone give a good number of parts."""
    ends = {end: prod(x.shape[d] for d in axes[:end]) for end in range(1, len(axes))}
    fitting = [end for end, found in ends.items() if parts // 4 <= found <= parts * 16]
    return axes[: min(fitting, key=lambda end: abs(ends[end] - parts))] if fitting else None


def _divisor(extent: int, parts: int) -> int:
    """The divisor of `extent` nearest above `parts`, or `parts` itself (with padding)."""
    return next((n for n in range(parts, 4 * parts) if extent % n == 0), parts)


def _staged(x: Value, name: str, outer: tuple[int, ...], inner: tuple[int, ...]) -> Value:
    """Fold `inner`, then `outer`."""
    partial = make(name, x, axes=inner)
    return make(name, partial, axes=tuple(d - sum(i < d for i in inner) for d in outer))


@cache
def _rules(trees: Trees) -> Rules:
    folds = op([name for name, record in OPS.items() if isinstance(record.lower, Reduction)], wild("x"))
    row: Rule = rule(
        "reduce(x) -> reduce(reduce(x))",
        folds,
        lambda x, root: _split(x, root, trees.parts),
        when=lambda x, root: _is_large(x, root, trees),
    )
    wide: Rule = rule(
        "reduce(rows) -> reduce(reduce(wide rows))",
        folds,
        lambda x, root: _widen(x, root, _rows_beside(x, root, trees)),
        when=lambda x, root: _rows_beside(x, root, trees) > 1,
    )
    return Rules([wide, row])


def split_reductions(graph: Graph, trace: list[Fired] | None = None, trees: Trees = USUAL) -> Graph:
    """Make trees of the large reductions."""
    return rewrite_graph(graph, _rules(trees), trace)


def unsplit(graph: Graph, trees: Trees = USUAL) -> Value | None:
    """The first reduction that is still too large, or of rows that are too short."""
    for value in graph.values():
        if not isinstance(value.op.lower, Reduction):
            continue
        if _is_large(value.operands[0], value, trees) or _rows_beside(value.operands[0], value, trees) > 1:
            return value
    return None
