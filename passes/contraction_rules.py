"""Rules of dot products: transposes around them become a choice of dimensions, which costs nothing.

In and out: see graphc/ir/rewrite.py. Only transposes that leave the order of the free dimensions alone are absorbed.
Convolutions are left alone: their dimension orders are memory layouts, which the layout pass has chosen.
"""

from __future__ import annotations

from graphc.ir.rewrite import Rule, op, rule, wild
from graphc.ir.values import Value, make
from graphc.ops.contract import dot_general

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
]
