"""Rules of positions (`iota`) and of what is read or written at them, each under its equation.

In and out: see graphc/ir/rewrite.py. Canonical form: a gather or scatter whose indices along the first dimensions are their own
places has no such indices: these are batch dimensions, whose parts have nothing to do with each other.
"""

from __future__ import annotations

from graphc.ir.rewrite import Rule, number, op, rule
from graphc.ir.values import Value, full, make
from graphc.ops.shape import transpose

FEWER = 2  # times as many elements as updates may be transposed
c, place = number("c"), op("iota", called="place")


def _last(place: Value) -> int:
    axis: int = place.attrs["axis"]
    return place.shape[axis] - 1


def _is_place(index: Value, dim: int) -> bool:
    """Whether each element of an index is its own position along `dim`."""
    source, dims = index, tuple(range(index.type.rank))
    if index.op.name == "broadcast":
        (source,), dims = index.operands, index.attrs["dims"]
    return source.op.name == "iota" and dims[source.attrs["axis"]] == dim and _last(source) + 1 == index.shape[dim]


def _in_batches(root: Value) -> Value | None:
    """x[iota, i] -> x[:, i], where each position of the first dimension is asked for at its own place"""
    axes, batch = root.attrs["axes"], root.attrs["batch"]
    count = len(root.operands) - len(axes)
    before, indices = root.operands[:count], root.operands[count:]
    if len(axes) == 1 or root.attrs["lead"] or batch not in axes or batch >= indices[0].type.rank:
        return None
    along = axes.index(batch)
    if indices[0].shape[batch] != before[0].shape[batch] or not _is_place(indices[along], batch):
        return None
    rest = (*indices[:along], *indices[along + 1 :])
    attrs = root.attrs | {"axes": (*axes[:along], *axes[along + 1 :]), "batch": batch + 1}
    return make(root.op.name, *before, *rest, **attrs)


def _turned(root: Value) -> Value | None:
    """x[i, iota] = new -> transpose(x)[:, i] = transpose(new), where there are about as many updates as elements"""
    (x, updates, *indices), axes, batch = root.operands, root.attrs["axes"], root.attrs["batch"]
    rank = updates.type.rank
    if not 1 < len(axes) == x.type.rank - batch or x.type.size > FEWER * updates.type.size:
        return None
    for index, axis in zip(indices, axes, strict=True):
        for dim in range(batch, rank):
            if index.shape[dim] == x.shape[axis] and _is_place(index, dim):
                columns, order = _first(axis, batch, x.type.rank), _first(dim, batch, rank)
                rest = [(columns.index(a), transpose(i, order)) for i, a in zip(indices, axes, strict=True) if a != axis]
                attrs = root.attrs | {"axes": tuple(place for place, _ in rest), "batch": batch + 1}
                turned = make("scatter", transpose(x, columns), transpose(updates, order), *(i for _, i in rest), **attrs)
                return transpose(turned, [columns.index(d) for d in range(x.type.rank)])
    return None


def _first(dim: int, batch: int, rank: int) -> list[int]:
    """The order of dimensions in which `dim` is the first behind the batch."""
    return [*range(batch), dim, *(d for d in range(batch, rank) if d != dim)]


POSITIONS: list[Rule] = [
    rule(
        "iota < c -> false",
        op("lt", place, c),
        lambda root: full(root.type, False),
        when=lambda place, c: c <= 0,
    ),
    rule("max(iota, c) -> iota", op("max", place, c), lambda place: place, when=lambda place, c: place.dtype.is_int and c <= 0),
    rule(
        "min(iota, c) -> iota",
        op("min", place, c),
        lambda place: place,
        when=lambda place, c: place.dtype.is_int and c >= _last(place),
    ),
    rule("x[iota, i] -> x[:, i]", op("gather scatter", ...), _in_batches),
    rule("x[i, iota] = new -> transpose(x)[:, i] = transpose(new)", op("scatter", ...), _turned),
]
