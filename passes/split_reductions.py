"""Large reductions with few results become trees of two levels, so that all threads and lanes have work.

    reduce(x[n], (0,))  ->  reduce(reduce(reshape(x, [n/m, m]), (1,)), (0,))

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


def _is_large(x: Value, root: Value, trees: Trees) -> bool:
    axes, results = root.attrs["axes"], root.type.size
    columns = x.type.rank - 1 not in axes
    if columns and 0 < results <= trees.beside and x.type.size >= trees.memory:
        return True
    together = min(trees.columns, results) if columns else 1
    tasks = -(-results // max(together, 1))
    return 0 < tasks < trees.tasks and together * prod(x.shape[d] for d in axes) >= trees.elements


def _split(x: Value, root: Value, parts: int) -> Value:
    if x.dtype.accumulator is not x.dtype:  # partial results must not be rounded
        wide = make(root.op.name, make("cast", x, dtype=x.dtype.accumulator), axes=root.attrs["axes"])
        return make("cast", wide, dtype=x.dtype)
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
    row: Rule = rule(
        "reduce(x) -> reduce(reduce(x))",
        op([name for name, record in OPS.items() if isinstance(record.lower, Reduction)], wild("x")),
        lambda x, root: _split(x, root, trees.parts),
        when=lambda x, root: _is_large(x, root, trees),
    )
    return Rules([row])


def split_reductions(graph: Graph, trace: list[Fired] | None = None, trees: Trees = USUAL) -> Graph:
    """Make trees of the large reductions."""
    return rewrite_graph(graph, _rules(trees), trace)


def unsplit(graph: Graph, trees: Trees = USUAL) -> Value | None:
    """The first reduction that is still too large."""
    for value in graph.values():
        if isinstance(value.op.lower, Reduction) and _is_large(value.operands[0], value, trees):
            return value
    return None
