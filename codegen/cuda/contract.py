"""How a contraction is mapped: the choice among tiles and dot products.

In: a kernel that is a product, and a GPU. Out: the cheapest `Mapped` kernel by a model of cycles: a multiprocessor makes 128
fused products a cycle, reads shared memory beside them, and waits for every step where few threads have work. Results with
few elements and many steps are dot products instead, one for each team of threads.
"""

from __future__ import annotations

from math import ceil

from graphc.ir.expr import Var
from graphc.ir.kernel import VECTOR, Accumulate, For, Kernel, Stmt, walk
from graphc.ir.kernel_rewrite import Renamed

from .products import Product, product
from .roles import Mapped
from .target import Gpu
from .teams import spread
from .tiles import Tile, tiled

TILES = (
    Tile(128, 128, 8, 8, 8), Tile(64, 128, 16, 4, 8), Tile(128, 64, 16, 8, 4), Tile(64, 64, 16, 4, 4), Tile(32, 64, 16, 2, 4),
    Tile(32, 32, 16, 2, 2), Tile(16, 64, 16, 1, 4), Tile(16, 16, 16, 1, 1),
)  # fmt: skip
LANES = 128  # products a cycle of a multiprocessor
LATENCY = 8.0  # cycles of a step, at least
PANEL_COST = 300.0  # cycles for the loads of a panel and two barriers
RESIDENT = 32  # dot products that a multiprocessor runs at once, a warp each
DOT_COST = 400.0  # cycles for the start and the folds of one
FAR_COST = 8.0  # factor for operands whose steps are apart in memory
CACHE_BYTES = 3000.0  # that the second cache delivers a cycle, to all multiprocessors


def contract(kernel: Kernel, gpu: Gpu) -> Mapped | None:
    """The kernel in tiles or as dot products; None where it is no contraction."""
    found = product(kernel)
    if found is None or not found.rows.size * found.columns.size * found.batch.size * found.steps.size:
        return None
    if found.rows.size * found.columns.size == 1:  # nothing is used twice
        return spread(_dots(found), gpu)
    tiles = [tile for tile in TILES if found.dtype.size <= 4 or tile.own_rows * tile.own_columns <= 16]
    best = min(tiles, key=lambda tile: tile_cost(found, tile, gpu))
    if dot_cost(found, gpu) < tile_cost(found, best, gpu):
        dots = spread(_dots(found), gpu)
        if dots is not None:
            return dots
    return tiled(found, best)


def tile_cost(found: Product, tile: Tile, gpu: Gpu) -> float:
    """Cycles of a product in tiles."""
    blocks = found.batch.size * ceil(found.rows.size / tile.rows) * ceil(found.columns.size / tile.columns)
    shared = 0.5 * (tile.own_rows + tile.own_columns) / (tile.own_rows * tile.own_columns)
    step = max(tile.rows * tile.columns / LANES * (1 + shared), LATENCY)
    panels = ceil(found.steps.size / tile.steps)
    read = blocks * found.steps.size * (tile.rows + tile.columns) * found.dtype.size
    wait = PANEL_COST / max(1.0, blocks / gpu.processors)  # other blocks of the multiprocessor work in the meantime
    return max(ceil(blocks / gpu.processors) * panels * (tile.steps * step + wait), read / CACHE_BYTES)


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
