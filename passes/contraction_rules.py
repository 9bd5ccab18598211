"""Rules of dot products: transposes around them become a choice of dimensions, which costs nothing; sums of short ones, as
the weight gradients of unrolled steps are, become one.

In and out: see graphc/ir/rewrite.py. Only transposes that leave the order of the free dimensions alone are absorbed.
Convolutions are left alone: their dimension orders are memory layouts, which the layout pass has chosen.
"""

from __future__ import annotations

from graphc.ir.rewrite import Rule, op, rule, wild
from graphc.ir.values import Value, make
from graphc.ops.contract import dot_general
from graphc.ops.shape import concat

a, b = wild("a"), wild("b")
Dims = tuple[tuple[int, ...], tuple[int, ...]]


def _absorbed(root: Value, side: int) -> Value | None:
    """dot(transpose(x), y) -> dot(x, y) with the dimensions of x renamed"""
    contract, batch = root.attrs["contract"], root.attrs["batch"]
    moved = root.operands[side]
    (x,), perm = moved.operands, moved.attrs["perm"]
    free = [perm[d] for d in range(len(perm)) if d not in contract[side] and d not in batch[side]]
    if free != sorted(free):
        return None
    operands = list(root.operands)
    operands[side] = x

    def renamed(dims: Dims) -> Dims:
        both = list(dims)
        both[side] = tuple(perm[d] for d in dims[side])
        return both[0], both[1]

    return make("dot_general", *operands, contract=renamed(contract), batch=renamed(batch))


def _turned(inner: Value, root: Value) -> Value | None:
    """transpose(dot(a, b)) -> dot(b, a), or the batch dimensions in another order, or both"""
    (a, b), perm = inner.operands, root.attrs["perm"]
    contract, batch = inner.attrs["contract"], inner.attrs["batch"]
    n = len(batch[0])
    first, rest = perm[:n], list(perm[n:])
    rows = list(range(n, a.type.rank - len(contract[0])))
    columns = list(range(n + len(rows), inner.type.rank))
    if sorted(first) != list(range(n)):
        return None
    ordered: Dims = (tuple(batch[0][d] for d in first), tuple(batch[1][d] for d in first))
    if rest == rows + columns:
        return dot_general(a, b, contract=contract, batch=ordered)
    if rest == columns + rows:
        return dot_general(b, a, contract=contract[::-1], batch=ordered[::-1])
    return None


def _one_sum(x: Value, y: Value) -> Value | None:
    """dot(a, b) + dot(c, d) -> dot([c a], [d b]): what is added last comes first, so that gradients, which are added from
    the last step to the first, lie in the order of time, as other values of these steps do."""
    if x.attrs != y.attrs or not x.attrs["contract"][0]:
        return None
    axes = [dims[0] for dims in x.attrs["contract"]]
    for axis, left, right in zip(axes, x.operands, y.operands, strict=True):
        if _without(left, axis) != _without(right, axis):
            return None
    a, b = (concat([right, left], axis) for axis, left, right in zip(axes, x.operands, y.operands, strict=True))
    return make("dot_general", a, b, **x.attrs)


def _without(x: Value, axis: int) -> tuple[int, ...]:
    return x.shape[:axis] + x.shape[axis + 1 :]


def _is_short(dot: Value) -> bool:
    """Whether the operands are smaller than the result: then copying them costs less than adding to the result."""
    return sum(v.type.nbytes for v in dot.operands) <= dot.type.nbytes


def _is_joined(dot: Value) -> bool:
    """Whether the operands have to be copied in any case."""
    return all(v.op.name == "concat" for v in dot.operands)


CONTRACTIONS: list[Rule] = [
    rule(
        "dot(transpose(x), y) -> dot(x, y)",
        op("dot_general", op("transpose", ...), b),
        lambda root: _absorbed(root, 0),
    ),
    rule(
        "dot(x, transpose(y)) -> dot(x, y)",
        op("dot_general", a, op("transpose", ...)),
        lambda root: _absorbed(root, 1),
    ),
    rule(
        "transpose(dot(x, y)) -> dot(y, x)",
        op("transpose", op("dot_general", ..., called="inner")),
        _turned,
        when=lambda inner, uses: uses(inner) <= 1,  # else both would be computed
    ),
    rule(  # one sum instead of a sum of sums: it is rounded less often
        "dot(a, b) + dot(c, d) -> dot([c a], [d b])",
        op("add", op("dot_general", ..., called="x"), op("dot_general", ..., called="y")),
        _one_sum,
        when=lambda x, y, uses: uses(x) <= 1 and uses(y) <= 1 and _is_short(y) and (_is_short(x) or _is_joined(x)),
    ),
]
