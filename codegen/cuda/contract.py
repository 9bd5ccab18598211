"""How a contraction is mapped: the choice among tiles, with or without tensor cores, and dot products.

In: a kernel that is a product, and a GPU. Out: the cheapest `Mapped` kernel by a model of cycles: a multiprocessor makes 128
fused products a cycle, reads shared memory beside them, and waits for every step where few threads have work. Results with
few elements and many steps are dot products instead, one for each team of threads. Tensor cores are for products that they
make exactly and whose sums are rounded to 16 bits, and for those that the user allows (`Options.precision`).
"""

from __future__ import annotations

from math import ceil

from graphc.dtype import DType, bfloat16, float32, tfloat32
from graphc.ir.expr import Call, Var
from graphc.ir.kernel import VECTOR, Accumulate, For, Kernel, Stmt, expressions, operands, walk
from graphc.ir.kernel_rewrite import Renamed

from .expressions import below
from .fragments import TensorTile, fragmented, halves, resident
from .mma import per_word
from .products import Product, product
from .roles import Mapped
from .target import Gpu
from .teams import spread
from .tiles import Tile, tiled

TILES = (
    Tile(128, 128, 8, 8, 8), Tile(64, 128, 16, 4, 8), Tile(128, 64, 16, 8, 4), Tile(64, 64, 16, 4, 4), Tile(32, 64, 16, 2, 4),
    Tile(32, 32, 16, 2, 2), Tile(16, 64, 16, 1, 4), Tile(16, 16, 16, 1, 1),
)  # fmt: skip
TENSOR_TILES = (
    TensorTile(128, 128, 16, 64, 64), TensorTile(128, 128, 16, 64, 32), TensorTile(64, 128, 16, 32, 32),
    TensorTile(128, 64, 16, 32, 32), TensorTile(64, 64, 32, 32, 32), TensorTile(32, 64, 32, 16, 32),
    TensorTile(64, 32, 32, 32, 16), TensorTile(32, 32, 32, 16, 16), TensorTile(16, 64, 32, 16, 16),
    TensorTile(16, 32, 32, 16, 8), TensorTile(16, 16, 32, 16, 8),
)  # fmt: skip
ALLOWED = {"highest": None, "tf32": tfloat32, "bf16": bfloat16}  # what operands may be rounded to
LANES = 128  # products a cycle of a multiprocessor
LATENCY = 8.0  # cycles of a step, at least
PANEL_COST = 300.0  # cycles for the loads of a panel and two barriers
RESIDENT = 32  # dot products that a multiprocessor runs at once, a warp each
DOT_COST = 400.0  # cycles for the start and the folds of one
FAR_COST = 8.0  # factor for operands whose steps are apart in memory
SHARED_BYTES = 128  # that a multiprocessor moves to or from shared memory in a cycle
ELEMENT_COST = 1 / 16  # cycles for an element on its way into a panel of tensor cores, where it is rounded
CACHE_BYTES = 3000.0  # that the second cache delivers a cycle, to all multiprocessors


def contract(kernel: Kernel, gpu: Gpu, dtype: DType | None = None) -> Mapped | None:
    """The kernel in tiles or as dot products; None where it is no contraction. `dtype`: what operands are on tensor cores,
    where whoever made the kernel knows it."""
    found = product(kernel)
    if found is None or not found.rows.size * found.columns.size * found.batch.size * found.steps.size:
        return None
    if found.rows.size * found.columns.size == 1:  # nothing is used twice
        return spread(_dots(found), gpu)
    dtype = dtype or tensor_dtype(found, gpu)
    costs = ways(found, gpu, dtype)
    for way in sorted(costs, key=lambda way: costs[way]):
        if isinstance(way, Tile):
            return tiled(found, way)
        if way is not None and dtype is not None:
            return fragmented(found, way, dtype)
        dots = spread(_dots(found), gpu)
        if dots is not None:
            return dots
    raise AssertionError(f"{kernel.name} has no tile")


def ways(found: Product, gpu: Gpu, dtype: DType | None) -> dict[Tile | TensorTile | None, float]:
    """The cycles of every way to make a product: in tiles, on tensor cores as `dtype`, or (None) as dot products."""
    costs: dict[Tile | TensorTile | None, float] = {
        tile: tile_cost(found, tile, gpu)
        for tile in TILES
        if found.dtype.size <= 4 or tile.own_rows * tile.own_columns <= 16  # that registers hold
    }
    if dtype is not None:
        costs |= {t: tensor_cost(found, t, dtype, gpu) for t in TENSOR_TILES if resident(found, t, dtype)}
    return costs | {None: dot_cost(found, gpu)}


def tensor_dtype(found: Product, gpu: Gpu) -> DType | None:
    """What the operands are on tensor cores; None where they may not be used."""
    if not gpu.tensor_products or found.dtype is not float32:
        return None
    half, allowed = halves(found), ALLOWED[gpu.options.precision]
    if half is not None and (allowed is not None or _rounded(found, half)):
        return half
    return allowed


def _rounded(found: Product, dtype: DType) -> bool:
    """Whether the epilogue rounds the sums to `dtype` before it does anything else with them."""
    roots = [root for stmt in walk(found.epilogue) for root in expressions(stmt)]
    users = [part for root in roots for part in below(root) if any(map(found.is_sum, operands(part)))]
    casts = [user for user in users if isinstance(user, Call) and user.word == "cast" and user.dtype is dtype]
    return len(casts) == len(users) and not any(map(found.is_sum, roots))


def tile_cost(found: Product, tile: Tile, gpu: Gpu) -> float:
    """Cycles of a product in tiles."""
    blocks = found.batch.size * ceil(found.rows.size / tile.rows) * ceil(found.columns.size / tile.columns)
    shared = 0.5 * (tile.own_rows + tile.own_columns) / (tile.own_rows * tile.own_columns)
    step = max(tile.rows * tile.columns / LANES * (1 + shared), LATENCY)
    panels = ceil(found.steps.size / tile.steps)
    read = blocks * found.steps.size * (tile.rows + tile.columns) * found.dtype.size
    wait = PANEL_COST / max(1.0, blocks / gpu.processors)  # other blocks of the multiprocessor work in the meantime
    return max(ceil(blocks / gpu.processors) * panels * (tile.steps * step + wait), read / CACHE_BYTES)


def tensor_cost(found: Product, tile: TensorTile, dtype: DType, gpu: Gpu) -> float:
    """Cycles of a product in tiles of fragments."""
    blocks = found.batch.size * ceil(found.rows.size / tile.rows) * ceil(found.columns.size / tile.columns)
    steps, sides = tile.words * per_word(dtype), tile.rows + tile.columns
    read = tile.warps * (tile.own_rows + tile.own_columns) + sides  # words of a step, and those that are written
    products = tile.rows * tile.columns * steps / gpu.tensor_products * (dtype.bits / 16)
    panel = max(products, tile.words * read * 4 / SHARED_BYTES, LATENCY * tile.words) + sides * steps * ELEMENT_COST
    wait = PANEL_COST / max(1.0, blocks / gpu.processors)
    moved = blocks * found.steps.size * sides * (2 if halves(found) else 4)
    return max(ceil(blocks / gpu.processors) * ceil(found.steps.size / steps) * (panel + wait), moved / CACHE_BYTES)


def dot_cost(found: Product, gpu: Gpu) -> float:
    """Cycles of a product as dot products."""
    dots = found.batch.size * found.rows.size * found.columns.size
    near = all(abs(found.steps.moves(side)) == 1 for side in (found.lhs, found.rhs))
    rounds = ceil(found.steps.size / (gpu.team if dots < gpu.processors * RESIDENT else 4 * gpu.warp))
    far = 1.0 if near else FAR_COST
    waves = ceil(dots / (gpu.processors * RESIDENT))
    read = dots * found.steps.size * 2 * found.dtype.size * far
    return max(waves * (rounds * LATENCY * far + DOT_COST), read / CACHE_BYTES)


def _dots(found: Product) -> Kernel:
    """The kernel with all its steps as one loop over lanes."""
    step = Var("step", found.steps.size)
    nest = next(s for s in found.kernel.body if isinstance(s, For) and found.steps.names[0] is s.var)
    fold = next(s for s in walk((nest,)) if isinstance(s, Accumulate))
    lanes: Stmt = For(step, (Renamed(found.steps.at(step)).stmt(fold),), VECTOR)
    body = tuple(lanes if stmt is nest else stmt for stmt in found.kernel.body)
    return Kernel(found.kernel.name, found.kernel.params, found.kernel.task, body)
