"""The kernel of scatter: updates go to places that only the data knows, in their order.

In: a `scatter` of the graph (index.py). Out: a kernel whose tasks own ranges of its target.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..dtype import bool_, int64
from ..ir.expr import Array, Index, Var, all_of, as_index, call, combine, const, load, temp, unravel
from ..ir.kernel import For, If, Kernel, Let, Stmt, Store
from ..ir.types import TensorType
from ..ir.values import Value
from .order import LANES, lanes

# A scatter of wide rows is divided into ranges of target positions, at most so many. Each range looks at all updates, which may
# take a small part of the time; in nanoseconds, roughly: to look at an update, to apply one, and for each of its elements.
_TASKS, _PART, _LOOK, _APPLY, _ELEMENT = 16, 0.25, 1.0, 1.5, 0.06


def others(rank: int, axes: Sequence[int], batch: int) -> tuple[int, ...]:
    """The dimensions that are neither indexed nor among the first `batch`."""
    return tuple(d for d in range(batch, rank) if d not in axes)


class _Target:
    """How a scatter addresses its target: `outer` times `positions` along the axes, each a row of `inner` elements. The batch
    dimensions, which have indices of their own, are the first of the outer ones."""

    def __init__(self, type_: TensorType, asked: int, axes: tuple[int, ...], lead: int, batch: int) -> None:
        rest = (*range(batch), *others(type_.rank, axes, batch))
        lead += batch
        self.sizes, self._strides = (tuple(of[a] for a in axes) for of in (type_.shape, type_.strides))
        self._rest_sizes, self._rest_strides = (tuple(of[d] for d in rest) for of in (type_.shape, type_.strides))
        self._lead = lead
        self.outer: int = prod(self._rest_sizes[:lead])
        self.positions = prod(self.sizes)
        self.inner = prod(self._rest_sizes[lead:])
        self.updates = asked // max(prod(type_.shape[:batch]), 1)
        self.alike = max(prod(self._rest_sizes[batch:lead]), 1)  # outer ones that share their indices
        self.contiguous = rest[lead:] == tuple(range(type_.rank - len(rest[lead:]), type_.rank))
        self.in_order = axes == tuple(range(lead, lead + len(axes)))
        ranges = max(min(self.positions, self._worth()), 1) if self.inner >= LANES else 1
        self.own = -(-self.positions // ranges)
        self.ranges = -(-self.positions // self.own) if self.own else 1

    def _worth(self) -> int:
        """How many ranges may look at all updates."""
        time = self.updates * (_APPLY + _ELEMENT * self.inner) + self.positions * _ELEMENT * self.inner
        return min(int(_PART * time / (_LOOK * max(self.updates, 1))), -(-_TASKS // max(self.outer, 1)))

    def at(self, outside: Index, place: Sequence[Index], inner: Index) -> Index:
        """The flat index of element `inner` of the row at `place`."""
        rest = unravel(outside, self._rest_sizes[: self._lead]) + unravel(inner, self._rest_sizes[self._lead :])
        return combine([*zip(place, self._strides, strict=True), *zip(rest, self._rest_strides, strict=True)])


def scatter_kernel(node: Value) -> Kernel:
    """Each task owns a range of target positions: it copies them, then goes through all updates and applies its own."""
    x, updates, *indices = (v.type for v in node.operands)
    target = _Target(x, indices[0].size, *(node.attrs[key] for key in ("axes", "lead", "batch")))
    source, news, out = Array("x", x.dtype, x.size), Array("updates", x.dtype, updates.size), Array("out", x.dtype, x.size)
    asked = tuple(Array(f"index{i}", int64, index.size) for i, index in enumerate(indices))
    task = Var("task", target.outer * target.ranges)
    body = (_copy(source, out, target, task), _apply(news, asked, out, target, task, node.attrs["mode"]))
    return Kernel(f"scatter_{node.attrs['mode']}", (source, news, *asked, out), task, body)


def _copy(source: Array, out: Array, target: _Target, task: Var) -> Stmt:
    outside, part = task // target.ranges, task % target.ranges
    if target.in_order:
        element = Var("element", target.own * target.inner)
        place = part * element.extent + element
        exists = all_of(place < target.positions * target.inner)
        at = outside * (target.positions * target.inner) + place
        return lanes(element, (Store(out, at, load(source, at, exists), exists),))
    row, column = Var("row", target.own), Var("column", target.inner)
    position = part * target.own + row
    at = target.at(outside, unravel(position, target.sizes), column)
    loop: Stmt = lanes(column, (Store(out, at, load(source, at)),), target.contiguous)
    exists = all_of(position < target.positions)
    return For(row, (loop if exists is None else If(exists, (loop,)),))


def _apply(news: Array, asked: tuple[Array, ...], out: Array, target: _Target, task: Var, mode: str) -> Stmt:
    number, lane = Var("update", target.updates), Var("lane", target.inner)
    temps = [temp(f"place{i}", int64) for i in range(len(asked))]
    place = [as_index(t) for t in temps]
    bounds = [bound for p, n in zip(place, target.sizes, strict=True) for bound in (p >= 0, p < n)]
    if target.ranges > 1:
        position = combine((p, prod(target.sizes[i + 1 :])) for i, p in enumerate(place))
        first = task % target.ranges * target.own
        bounds += [position >= first, position < first + target.own]
    outside = task // target.ranges
    at = target.at(outside, place, lane)
    new = load(news, outside * (number.extent * target.inner) + number * target.inner + lane)
    value = new if mode == "set" else call(mode, load(out, at), new)
    place_of = outside // target.alike * number.extent + number
    lets = tuple(Let(t, load(array, place_of)) for t, array in zip(temps, asked, strict=True))
    mine = all_of(*bounds) or const(True, bool_)
    return For(number, (*lets, If(mine, (lanes(lane, (Store(out, at, value),), target.contiguous),))))
