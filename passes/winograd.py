"""Convolutions of 3x3 taps with stride 1 by Winograd's algorithm, where fewer products outweigh what is moved for them.

In: a graph whose convolutions are plain, channels last where there are many. Out: an equal graph in which some of them are
the ops of ops/winograd.py: data at the points of tiles, products, results. How large tiles are, and whether they pay at all, is
estimated from shapes and the machine's numbers. Kernels that are constant are transformed here, others in each call. Rounding errors stay within a small factor of those of the sum of products; what is infinite or NaN spreads over its
tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from graphc.dtype import float32
from graphc.ir.graph import Graph
from graphc.ir.rewrite import Rules, op, rewrite_graph, rule
from graphc.ir.values import Value, constant
from graphc.ops.shape import pad, transpose
from graphc.ops.winograd import POINTS, TAPS, winograd_data, winograd_kernel, winograd_product, winograd_result

from .fold import array
from .locality import BEYOND_L1, BEYOND_L2, EXPOSED, KEPT
from .machine import Machine
from .slices import MIN_SLICES
from .tiles import ELEMENT_BYTES, GATHER_COST

WORTH = 1.15  # times as fast as the sum of products, by the estimate
REACHED = 0.9  # of the peak of multiplications
POINT_COST = 2.5  # cycles for a vector of data or results at one point
FITTING = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "lhs_dilation": (1, 1), "rhs_dilation": (1, 1),
        "feature_groups": 1, "batch_groups": 1, "out_spec": (0, 3, 1, 2)}  # fmt: skip


def winograd(graph: Graph, machine: Machine, always: bool = False) -> Graph:
    """Replace the convolutions for which it pays, or (to try them out) all that can be."""

    def replaced(root: Value) -> Value | None:
        shape = _fitting(root)
        tiling = None if shape is None else best(shape, machine, always)
        return None if tiling is None else _in_tiles(root, tiling)

    if not any(value.op.name == "conv_general" for value in graph.values()):
        return graph
    return rewrite_graph(graph, Rules([rule("conv_general -> products at points", op("conv_general", ...), replaced)]))


@dataclass(frozen=True)
class Shape:
    """A convolution: images, rows and columns of the result, channels of data and result; whether its kernel is constant."""

    batch: int
    rows: int
    columns: int
    channels: int
    features: int
    constant: bool


@dataclass(frozen=True)
class Tiling:
    """Results on a side of a tile, and how many tiles lie together."""

    tile: int
    group: int


def _fitting(value: Value) -> Shape | None:
    """The shape of a convolution that has such tiles, and channels last in its result."""
    x, w = value.operands
    channels = x.shape[value.attrs["lhs_spec"][1]]
    taps = tuple(w.shape[d] for d in value.attrs["rhs_spec"][2:])
    if value.dtype is not float32 or taps != (TAPS, TAPS) or not value.type.size or not channels:
        return None
    if any(value.attrs[name] != wanted for name, wanted in FITTING.items()):
        return None
    batch, rows, columns, features = value.shape
    return Shape(batch, rows, columns, channels, features, _is_constant(w))


def _is_constant(value: Value) -> bool:
    return value.op.name == "constant" or (bool(value.operands) and all(map(_is_constant, value.operands)))


def _in_tiles(root: Value, tiling: Tiling) -> Value:
    """The convolution in tiles."""
    (x, w), tile = root.operands, tiling.tile
    features, channels, *taps = root.attrs["rhs_spec"]
    u = winograd_kernel(transpose(w, (*taps, channels, features)), tile=tile)
    u = constant(array(u)) if _is_constant(w) else u  # larger than w, which folding would not make
    batch, channels, *spatial = root.attrs["lhs_spec"]
    x = _whole(x, (batch, *spatial, channels), [-n % tile for n in root.shape[1:3]])
    v = winograd_data(x, tile=tile, group=tiling.group)
    return winograd_result(winograd_product(v, u), tile=tile, shape=root.shape)


def _whole(x: Value, order: tuple[int, ...], missing: list[int]) -> Value:
    """Data with channels last, and so many more rows and columns that the last tiles are whole; of padded data, the padding
    grows."""
    nothing: tuple[int, ...] = (0, 0, 0, 0)
    low = high = nothing
    if x.op.name == "pad" and x.attrs["interior"] == nothing and x.attrs["value"] == 0 and min(x.attrs["high"]) >= 0:
        low, high = (tuple(x.attrs[name][d] for d in order) for name in ("low", "high"))
        (x,) = x.operands
    high = tuple(n + more for n, more in zip(high, (0, *missing, 0), strict=True))
    x = transpose(x, order)
    return pad(x, low, high, nothing, 0) if any((*low, *high)) else x


# ------------------------------------------------------------------------------------------------------- what it costs


@lru_cache(maxsize=1024)
def best(shape: Shape, machine: Machine, always: bool = False) -> Tiling | None:
    """The cheapest tiling; None where the sum of products is as cheap."""
    found = [_costing(shape, tile, machine) for tile in POINTS]
    cost, tiling = min(found, key=lambda pair: pair[0])
    return tiling if always or cost * WORTH <= _plain_cost(shape, machine) else None


def _plain_cost(shape: Shape, machine: Machine) -> float:
    """Cycles of the sum of products."""
    kernel = TAPS**2 * shape.channels * shape.features
    pixels = shape.batch * shape.rows * shape.columns
    packed = 0.0 if shape.constant else GATHER_COST * kernel
    return _beside(_multiplied(pixels * kernel, machine) + packed, kernel * ELEMENT_BYTES / BEYOND_L2)


def _costing(shape: Shape, tile: int, machine: Machine) -> tuple[float, Tiling]:
    """Cycles in tiles of this size, and the best groups of them."""
    tiles = shape.batch * ceil(shape.rows / tile) * ceil(shape.columns / tile)
    points, channels = (tile + TAPS - 1) ** 2, shape.channels + shape.features
    passed, kernel = points * channels * ELEMENT_BYTES, points * shape.channels * shape.features
    near = [n for n in range(1, tiles // MIN_SLICES + 1) if tiles % n == 0 and _is_near(n, shape, tile, machine)]
    group = max(near, default=tiles)
    moved = 2 * tiles * passed / (BEYOND_L1 if near or tiles * passed <= KEPT * machine.l2 else BEYOND_L2)
    moved += kernel * ELEMENT_BYTES / BEYOND_L2
    arithmetic = _multiplied(tiles * kernel, machine) + POINT_COST * tiles * points * _vectors(shape, machine)
    if not shape.constant:
        arithmetic += _multiplied(TAPS**2 * kernel, machine) + GATHER_COST * kernel * TAPS**2 / points
        moved += kernel * ELEMENT_BYTES / BEYOND_L2
    return _beside(arithmetic, moved), Tiling(tile, group)


def _is_near(group: int, shape: Shape, tile: int, machine: Machine) -> bool:
    """Whether a group of tiles, and all of the kernel, stay in the second cache from one step to the next."""
    points, channels = (tile + TAPS - 1) ** 2, shape.channels + shape.features
    kernel = points * shape.channels * shape.features
    return (group * (points + tile**2) * channels + kernel) * ELEMENT_BYTES <= KEPT * machine.l2


def _vectors(shape: Shape, machine: Machine) -> int:
    """Vectors along the channels of data and of results."""
    return sum(ceil(n / machine.lanes(float32)) for n in (shape.channels, shape.features))


def _multiplied(products: int, machine: Machine) -> float:
    return products / (2 * machine.lanes(float32) * REACHED)


def _beside(arithmetic: float, moved: float) -> float:
    """Cycles of both side by side."""
    return max(arithmetic, moved) + EXPOSED * min(arithmetic, moved)
