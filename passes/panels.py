"""Panels: an operand of a contraction, copied so that the inner loop reads it from one end to the other.

In: how a flat operand is walked. Out: a `Layout`, which says where panels hold each element; the kernel that fills them,
or for constants the filled array.

    panels ::= [kept axes][tile of the panel's axis][reduced axes][inside the tile, padded to `width`]     slowest first
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import ceil, prod

import numpy as np

from graphc.dtype import DType, int64
from graphc.ir.expr import Array, Expr, Index, Var, all_of, as_index, call, combine, const, ravel, temp
from graphc.ir.kernel import VECTOR, Buffer, For, Launch, Let, Stmt, Store, nested
from graphc.ir.values import Value

from .axes import merged, plain_loops, spec_of
from .element import storage
from .frame import Frame

PACK_BLOCK = 32  # steps of the slowest axis that one task of a packing kernel takes, at most
PACK_TASKS = 16  # tasks that make it worth to fill all panels in one
PACK_PANELS = 4  # that are filled at a time, at most
SOON = 24  # contractions: for a reader behind so many others panels are filled again rather than kept

Element = Callable[[Index, Expr | None], Expr]  # of the operand, at a flat position, where a guard holds


@dataclass(frozen=True)
class Walk:
    """An axis of the operand: how many steps, and how far each goes."""

    extent: int
    stride: int


@dataclass(frozen=True)
class Layout:
    """Panels along `axis`, `tile` elements of it in each; a last tile that would stick out starts earlier instead."""

    dtype: DType
    offset: int
    axis: Walk
    tile: int
    width: int
    kept: tuple[Walk, ...]
    reduced: tuple[Walk, ...]

    @property
    def tiles(self) -> int:
        return ceil(self.axis.extent / self.tile)

    @property
    def size(self) -> int:
        return prod(self._shape)

    @property
    def _shape(self) -> tuple[int, ...]:
        return (*(walk.extent for walk in self.kept), self.tiles, *(walk.extent for walk in self.reduced), self.width)

    def position(self, tile: Index, at: Sequence[Index], inside: Index) -> Index:
        """Where the panels hold the element at the indices of the kept and reduced axes and `inside` a tile."""
        kept, reduced = at[: len(self.kept)], at[len(self.kept) :]
        return ravel((*kept, tile, *reduced, inside), self._shape)

    def filled(self, operand: np.ndarray) -> np.ndarray:
        """The panels of a constant."""
        flat = operand.reshape(-1)
        panels = np.zeros(self._shape, self.dtype.numpy)
        by_tile = np.moveaxis(panels, len(self.kept), 0)
        whole, rest = divmod(self.axis.extent, self.tile)
        inside = Walk(self.tile, self.axis.stride)
        others = (*self.kept, *self.reduced)
        by_tile[:whole, ..., : self.tile] = _walked(
            flat, self.offset, (Walk(whole, self.tile * self.axis.stride), *others, inside)
        )
        if rest:
            last = self.offset + (self.axis.extent - self.tile) * self.axis.stride
            by_tile[whole, ..., : self.tile] = _walked(flat, last, (*others, inside))
        return panels.reshape(-1)


@dataclass
class Common:
    """Panels that several contractions read: those of constants, which all functions have in common, and those of operands
    that contractions of one function read alike, one soon after the other, as unrolled steps do their weights. The first of
    these fills them."""

    constants: dict[tuple[Buffer, Layout], Buffer] = field(default_factory=dict)
    filled: dict[tuple[Buffer, Layout, Value], Buffer] = field(default_factory=dict)
    readers: dict[tuple[Value, int], list[Value]] = field(default_factory=dict)

    def of_function(self, anchors: Iterable[Value]) -> Common:
        """For a function with these contractions, in this order."""
        found = Common(self.constants)
        latest: dict[Hashable, int] = {}
        alike: dict[Hashable, list[Value]] = {}
        for number, (anchor, side) in enumerate(product(anchors, (0, 1))):
            way = _way(anchor, side)
            if number - latest.get(way, number) > 2 * SOON or way not in alike:
                alike[way] = []
            latest[way] = number
            alike[way].append(anchor)
            found.readers[anchor, side] = alike[way]
        return found

    def alike(self, anchor: Value, side: int) -> list[Value]:
        """The contractions that read an operand as `anchor` does, this one among them."""
        return self.readers.get((anchor, side), [anchor])

    def count(self, anchor: Value, side: int) -> int:
        """How many they are."""
        return len(self.alike(anchor, side))


def _way(anchor: Value, side: int) -> Hashable:
    """What decides how operand number `side` is read: its memory, and how all loops walk both operands and the result."""
    return side, storage(anchor.operands[side]), merged(plain_loops(spec_of(anchor)))


def _walked(flat: np.ndarray, offset: int, walks: Sequence[Walk]) -> np.ndarray:
    """A view of `flat`, one dimension per walk."""
    shape = tuple(walk.extent for walk in walks)
    if 0 in shape:
        return np.empty(shape, flat.dtype)
    strides = tuple(walk.stride * flat.itemsize for walk in walks)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, strides, writeable=False)


def tile_start(tile: Index, size: int, extent: int, name: str) -> tuple[Index, list[Stmt]]:
    """The first index of a tile: the last one starts earlier rather than stick out."""
    if extent % size == 0:
        return tile * size, []
    start = temp(name, int64, (0, extent - size))
    return as_index(start), [Let(start, call("min", tile * size, const(extent - size, int64)))]


def pack(name: str, layout: Layout, target: Buffer, frame: Frame, element: Element, width: int) -> Launch:
    """The kernel that fills panels. A task is a block of the slowest reduced axis, of one panel or (where there are blocks
    enough, and panels lie beside each other) of all. What lies beside each other is copied row by row, to a few panels at a
    time: processors fetch ahead in long rows, and lines that go to many places drive each other out of the cache."""
    extents = [walk.extent for walk in layout.reduced]
    extent = extents[0] if extents else 1
    block = _divisor(extent, PACK_BLOCK)
    blocks = extent // block
    kept = [walk.extent for walk in layout.kept]
    in_rows = layout.axis.stride == 1
    together = in_rows and layout.tiles > 1 and prod(kept) * blocks >= PACK_TASKS
    task, (*apart, panel, number), named = frame.task((*kept, 1 if together else layout.tiles, blocks))
    count = _divisor(layout.tiles, PACK_PANELS)
    group, beside = Var("g", layout.tiles // count), Var("p", count)
    if together:
        panel = group * count + beside
    within = Var("b", block)
    steps = [within, *(Var(f"k{n}", size) for n, size in enumerate(extents[1:]))]
    at: list[Index] = [*apart, number * block + within, *steps[1:]][: len(kept) + len(extents)]
    start, lets = tile_start(panel, layout.tile, layout.axis.extent, "start")
    moved = combine(zip(at, (w.stride for w in (*layout.kept, *layout.reduced)), strict=True))

    def held(inside: Index) -> Expr:
        return element((start + inside) * layout.axis.stride + moved + layout.offset, all_of(inside < layout.tile))

    outside = [group, *steps, beside] if together else steps if in_rows else []
    filled = fill(layout, frame.array(target), panel, at, held, [] if in_rows else steps, width)
    return frame.launch(f"{name}_pack", task, (*named, *nested(outside, *lets, *filled)), "panels of an operand")


def fill(
    layout: Layout,
    panels: Array,
    tile: Index,
    at: Sequence[Index],
    held: Callable[[Index], Expr],
    steps: Sequence[Var],
    width: int,
) -> tuple[Stmt, ...]:
    """Fill the panel of one tile: loops over `steps`, which move the indices `at` of other axes, and over what is `held`
    inside the tile, a vector of lines at a time, which stays in the first cache."""
    lane = Var("v", min(layout.width, width))
    group = Var("w", ceil(layout.width / lane.extent))
    inside = group * lane.extent + lane
    store = Store(panels, layout.position(tile, at, inside), held(inside), all_of(inside < layout.width))
    return nested([group, *steps], For(lane, (store,), VECTOR, width))


def _divisor(number: int, most: int) -> int:
    """The largest one up to `most`."""
    return max(n for n in range(1, most + 1) if number % n == 0)
