"""Contractions of few results and many steps: their steps are shared out, and what comes of each share is added up.

    acc[task] = sum over steps of lhs * rhs;  epilogue(acc)
    ->  partial[part, task] = sum over the steps of a part          a contraction with one more axis, in tiles as any other
    ->  acc[task] = sum over parts of partial[part, task];  epilogue(acc)

In: a tidy kernel that is a product (products.py), and a GPU. Out: both kernels and the array between them, where they are
cheaper together; None elsewhere. Parts are divisors of the leading extents, so that the order of the sums depends on shapes
alone, and indices stay sums of loop variables.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from math import prod

from graphc.dtype import DType, int64
from graphc.ir.expr import Array, Index, Load, Var, as_index, const, load, ravel, temp, unravel
from graphc.ir.kernel import UNROLLED, Accumulate, For, Kernel, Let, Local, Stmt, Store, expressions, walk
from graphc.ir.kernel_rewrite import Renamed

from .contract import CACHE_BYTES, tensor_dtype, ways
from .expressions import below
from .products import Name, Product, product
from .target import Gpu
from .tidy import tidy

MOST_PARTS = 256
LEAST_STEPS = 64  # of a part
LAUNCH_COST = 4000.0  # cycles of one more launch
GAIN = 1.5  # how many times faster it must be, as far as costs are known
_ZERO = as_index(0)


def split(kernel: Kernel, gpu: Gpu) -> tuple[Kernel, Kernel, DType | None] | None:
    """The product in parts, their sum, and what operands are on tensor cores, which only the whole kernel can tell; the array
    between them is the last param of the one and the first of the other."""
    found = product(kernel)
    if found is None or not found.rows.size * found.columns.size * found.batch.size * found.steps.size:
        return None
    dtype = tensor_dtype(found, gpu)
    best, chosen = min(ways(found, gpu, dtype).values()) / GAIN, None
    for parts in _divisions(found.steps.extents):
        if found.steps.size < prod(parts) * LEAST_STEPS:
            continue
        first = _parts(found, parts)
        inner = product(first)
        if inner is None:
            continue
        size = prod(parts) * kernel.task.extent * found.dtype.size
        total = min(ways(inner, gpu, dtype).values()) + LAUNCH_COST + 2 * size / CACHE_BYTES
        if total < best:
            best, chosen = total, (first, parts)
    if chosen is None:
        return None
    first, parts = chosen
    return first, _sum(found, first.params[-1], prod(parts)), dtype


def _divisions(extents: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Into how many parts each axis is divided: the first ones wholly, the next one by a divisor."""
    for axis, extent in enumerate(extents):
        for divisor in range(2, extent + 1):
            parts = (*extents[:axis], divisor)
            if extent % divisor == 0 and prod(parts) <= MOST_PARTS:
                yield (*parts, *(1 for _ in extents[axis + 1 :]))


def _lets(found: Product) -> tuple[Let, ...]:
    """The statements that name the kept axes."""
    return tuple(stmt for stmt in takewhile(lambda stmt: isinstance(stmt, Let), found.kernel.body) if isinstance(stmt, Let))


def _kept(found: Product) -> tuple[tuple[Name, ...], tuple[int, ...]]:
    """The kept axes in the order of the tasks, and their extents."""
    lets = _lets(found)
    if not lets:
        return (found.kernel.task,), (found.kernel.task.extent,)
    return tuple(let.temp for let in lets), tuple(let.temp.bounds[1] + 1 for let in lets)


def _parts(found: Product, parts: tuple[int, ...]) -> Kernel:
    """The partial sums, with the parts as the slowest axes of the tasks."""
    old, extents = _kept(found)
    divided = [n for n, count in enumerate(parts) if count > 1]
    counts = tuple(parts[n] for n in divided)
    task = Var("task", prod(counts) * found.kernel.task.extent)
    fresh = [temp(f"task{n}", int64, (0, extent - 1)) for n, extent in enumerate((*counts, *extents))]
    lets = tuple(Let(name, at) for name, at in zip(fresh, unravel(task, (*counts, *extents)), strict=True))
    part = dict(zip(divided, fresh, strict=False))
    names: dict[Name, Index] = {name: as_index(each) for name, each in zip(old, fresh[len(counts) :], strict=True)}
    loops: list[Var] = []
    for n, (step, extent) in enumerate(zip(found.steps.names, found.steps.extents, strict=True)):
        loops.append(Var(step.name, extent // parts[n]))
        names[step] = as_index(part[n]) * loops[-1].extent + loops[-1] if n in part else as_index(loops[-1])
    moved = Renamed(names)
    acc, partial = Array("acc", found.dtype, 1), Array("partial", found.dtype, task.extent)
    nest: Stmt = Accumulate(acc, _ZERO, "add", moved.expr(found.lhs) * moved.expr(found.rhs))
    for loop in reversed(loops):
        nest = For(loop, (nest,))
    place = ravel([as_index(each) for each in fresh], (*counts, *extents))
    body = (*lets, Local(acc), Store(acc, _ZERO, const(0, found.dtype)), nest, Store(partial, place, load(acc, 0)))
    read = {part.array for side in (found.lhs, found.rhs) for part in below(side) if isinstance(part, Load)}
    params = tuple(param for param in found.kernel.params if param in read)
    return tidy(Kernel(f"{found.kernel.name}_parts", (*params, partial), task, body))


def _sum(found: Product, partial: Array, parts: int) -> Kernel:
    """The sums of the parts, and what follows the product."""
    kernel, (old, extents) = found.kernel, _kept(found)
    part = Var("part", parts)
    place = ravel([as_index(each) for each in old], extents)
    fold = Accumulate(found.acc, _ZERO, "add", load(partial, part * kernel.task.extent + place))
    lets = _lets(found)
    zero = Store(found.acc, _ZERO, const(0, found.dtype))
    body = (*lets, Local(found.acc), zero, For(part, (fold,), UNROLLED), *found.epilogue)
    used = {part.array for stmt in walk(body) for root in expressions(stmt) for part in below(root) if isinstance(part, Load)}
    used |= {stmt.array for stmt in walk(body) if isinstance(stmt, Store | Accumulate)}
    return tidy(Kernel(kernel.name, (partial, *(param for param in kernel.params if param in used)), kernel.task, body))
