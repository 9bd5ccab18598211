"""Convolutions of 3x3 taps with stride 1 by Winograd's algorithm, where fewer products outweigh what is moved for them.

In: a graph whose convolutions are plain, channels last where there are many. Out: an equal graph in which some of them, and
gradients of kernels, are the ops of ops/winograd.py: data at the points of tiles, products, results. How large tiles are, and
whether they pay at all, is estimated from shapes and the machine's numbers. Kernels that are constant are transformed here,
others in each call. Convolutions of 16-bit floats have float32 points, and only results are rounded. Rounding errors stay
within a small factor of those of the sum of products; what is infinite or NaN spreads over its tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf

from graphc.dtype import float32
from graphc.ir.graph import Graph
from graphc.ir.rewrite import Rules, op, rewrite_graph, rule
from graphc.ir.values import Value, constant
from graphc.ops.contract import dot_general
from graphc.ops.elementwise import cast
from graphc.ops.shape import after, pad, transpose
from graphc.ops.toom import POINTS, TAPS, side
from graphc.ops.winograd import winograd_kernel, winograd_points, winograd_product, winograd_result, winograd_taps

from .fold import array
from .machine import Machine
from .slices import MIN_SLICES
from .tiles import BEYOND_L1, ELEMENT_BYTES, GATHER_COST
from .traffic import KEPT, beside

WORTH = 1.15  # times as fast as the sum of products, by the estimate
REACHED = 0.9  # of the peak of multiplications
POINT_COST = 2.5  # cycles for a vector of data or results at one point
PLAIN = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "lhs_dilation": (1, 1), "rhs_dilation": (1, 1),
         "feature_groups": 1, "batch_groups": 1}  # fmt: skip


def winograd(graph: Graph, machine: Machine, always: bool = False) -> Graph:
    """Replace the convolutions for which it pays, or (to try them out) all that can be."""

    def replaced(root: Value) -> Value | None:
        shape = _convolution(root) or _kernel_gradient(root)
        tiling = None if shape is None else best(shape, machine, always)
        if shape is None or tiling is None:
            return None
        return _gradient_in_tiles(root, tiling) if shape.gradient else _in_tiles(root, tiling)

    if not any(value.op.name == "conv_general" for value in graph.values()):
        return graph
    return rewrite_graph(graph, Rules([rule("conv_general -> products at points", op("conv_general", ...), replaced)]))


@dataclass(frozen=True)
class Shape:
    """A convolution: images, rows and columns of the result, channels of data and result; whether its kernel is constant, and
    whether the kernel's gradient is wanted instead of the result."""

    batch: int
    rows: int
    columns: int
    channels: int
    features: int
    constant: bool = False
    gradient: bool = False


@dataclass(frozen=True)
class Tiling:
    """Results on a side of a tile, and how many tiles lie together."""

    tile: int
    group: int


def _convolution(value: Value) -> Shape | None:
    """The shape of a convolution that has such tiles, and channels last in its result."""
    x, w = value.operands
    channels, taps = x.shape[value.attrs["lhs_spec"][1]], _extents(w, value, "rhs_spec")
    if taps != (TAPS, TAPS) or value.attrs["out_spec"] != (0, 3, 1, 2) or not channels or not _is_plain(value):
        return None
    batch, rows, columns, features = value.shape
    return Shape(batch, rows, columns, channels, features, _is_constant(w))


def _kernel_gradient(value: Value) -> Shape | None:
    """The shape of the convolution of which a value is the gradient of the kernel: data meet cotangents at 3x3 places."""
    x, dy = value.operands
    rows, columns = _extents(dy, value, "rhs_spec") if value.type.rank == 4 else (0, 0)
    if _extents(value, value, "out_spec") != (TAPS, TAPS) or not _is_plain(value) or min(rows, columns) < TAPS:
        return None
    channels, batch = (x.shape[d] for d in value.attrs["lhs_spec"][:2])
    return Shape(batch, rows, columns, channels, dy.shape[value.attrs["rhs_spec"][0]], gradient=True)


def _extents(value: Value, convolution: Value, spec: str) -> tuple[int, ...]:
    return tuple(value.shape[d] for d in convolution.attrs[spec][2:])


def _is_plain(value: Value) -> bool:
    attrs = value.attrs
    single = value.dtype.is_float and value.dtype.accumulator is float32
    return single and value.type.size > 0 and all(attrs[name] == wanted for name, wanted in PLAIN.items())


def _is_constant(value: Value) -> bool:
    return value.op.name == "constant" or (bool(value.operands) and all(map(_is_constant, value.operands)))


def _in_tiles(root: Value, tiling: Tiling) -> Value:
    """The convolution in tiles."""
    (x, w), tile = root.operands, tiling.tile
    features, channels, *taps = root.attrs["rhs_spec"]
    u = winograd_kernel(cast(transpose(w, (*taps, channels, features)), float32), tile=tile)
    u = constant(array(u)) if _is_constant(w) else u  # larger than w, which folding would not make
    batch, channels, *spatial = root.attrs["lhs_spec"]
    x = _whole(x, (batch, *spatial, channels), [-n % tile for n in root.shape[1:3]])
    v = winograd_points(x, tile=tile, group=tiling.group)
    return cast(winograd_result(winograd_product(v, u), tile=tile, shape=root.shape), root.dtype)


def _gradient_in_tiles(root: Value, tiling: Tiling) -> Value:
    """The gradient of a kernel in tiles: in the convolution that it is, images are the channels of data."""
    (x, dy), (tile, group) = root.operands, (tiling.tile, tiling.group)
    missing = [-n % tile for n in _extents(dy, root, "rhs_spec")]
    found = {}
    for operand, spec, of in ((x, "lhs_spec", "data"), (dy, "rhs_spec", "cotangent")):
        channels, batch, *spatial = root.attrs[spec]
        whole = _whole(operand, (batch, *spatial, channels), missing)
        whole = after(whole, dy) if of == "data" else whole  # the points that the convolution had need not be kept until then
        found[spec] = winograd_points(whole, tile=tile, group=group, of=of)
    channels, features, *taps = root.attrs["out_spec"]
    sides = ("lhs_spec", "rhs_spec") if channels < features else ("rhs_spec", "lhs_spec")
    du = dot_general(*(found[spec] for spec in sides), contract=((0, 2), (0, 2)), batch=((1,), (1,)))
    last = min(channels, features) < min(taps)
    made = [*sorted((channels, features)), *taps] if last else [*taps, *sorted((channels, features))]
    return cast(transpose(winograd_taps(du, tile=tile, last=last), tuple(made.index(d) for d in range(4))), root.dtype)


def _whole(x: Value, order: tuple[int, ...], missing: list[int]) -> Value:
    """Data in float32 with channels last, and so many more rows and columns that the last tiles are whole; of padded data, the
    padding grows."""
    nothing: tuple[int, ...] = (0, 0, 0, 0)
    low = high = nothing
    if x.op.name == "pad" and x.attrs["interior"] == nothing and x.attrs["value"] == 0 and min(x.attrs["high"]) >= 0:
        low, high = (tuple(x.attrs[name][d] for d in order) for name in ("low", "high"))
        (x,) = x.operands
    high = tuple(n + more for n, more in zip(high, (0, *missing, 0), strict=True))
    x = cast(transpose(x, order), float32)
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
    packed = 0.0 if shape.constant or shape.gradient else GATHER_COST * kernel
    return beside(_multiplied(pixels * kernel, machine) + packed, kernel * ELEMENT_BYTES / machine.beyond_l2)


def _costing(shape: Shape, tile: int, machine: Machine) -> tuple[float, Tiling]:
    """Cycles in tiles of this size, and the best groups of them."""
    tiles = shape.batch * ceil(shape.rows / tile) * ceil(shape.columns / tile)
    points, channels = side(tile) ** 2, shape.channels + shape.features
    passed, kernel = tiles * points * channels * ELEMENT_BYTES, points * shape.channels * shape.features
    groups = [] if shape.gradient else [n for n in range(1, tiles // MIN_SLICES + 1) if tiles % n == 0]
    near = [n for n in groups if _is_near(n, shape, tile, machine)]
    moved = 2 * passed / (BEYOND_L1 if near or passed <= KEPT * machine.l2 else machine.beyond_l2)
    moved += kernel * ELEMENT_BYTES / machine.beyond_l2 * (1 if shape.constant else 2)
    arithmetic = _multiplied(tiles * kernel, machine) + POINT_COST * tiles * points * _vectors(shape, machine)
    if not shape.constant:
        if kernel * ELEMENT_BYTES > passed:
            return inf, Tiling(tile, tiles)  # memory for the points of a kernel that are used only once
        arithmetic += _multiplied(TAPS**2 * kernel, machine) + GATHER_COST * kernel * TAPS**2 / points
    return beside(arithmetic, moved), Tiling(tile, max(near, default=tiles))


def _is_near(group: int, shape: Shape, tile: int, machine: Machine) -> bool:
    """Whether a group of tiles, and all of the kernel, stay in the second cache from one step to the next."""
    points, channels = side(tile) ** 2, shape.channels + shape.features
    kernel = points * shape.channels * shape.features
    return (group * (points + tile**2) * channels + kernel) * ELEMENT_BYTES <= KEPT * machine.l2


def _vectors(shape: Shape, machine: Machine) -> int:
    """Vectors along the channels of data and of results."""
    return sum(ceil(n / machine.lanes(float32)) for n in (shape.channels, shape.features))


def _multiplied(products: int, machine: Machine) -> float:
    return products / (2 * machine.lanes(float32) * REACHED)
