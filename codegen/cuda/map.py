"""The mapping pass: where on a GPU the loops of a kernel run.

In: a kernel. Out: a `Mapped` kernel with the same meaning, or several that have it together. Kernels are tried in turn as

    scatters   an owner for each element; or, where the user chose so, atomic additions  (scatters.py)
    products   of operands that are put in order before  (packs.py)
               in parts, where their steps are more than their results  (splits.py)
               tiles in shared memory and registers, or a dot product a team          (contract.py)
    transposes tiles through shared memory, where lanes read across                (transposes.py)
    maps       an element, or 16 bytes of elements, a thread                          (maps.py)
    teams      a row or a block of columns a team, folds through shuffles  (columns.py, teams.py)
    anything   a task a thread, its loops one after the other; always right
"""

from __future__ import annotations

from graphc.dtype import DType
from graphc.ir.kernel import Kernel

from . import scatters
from .columns import interleave
from .contract import contract
from .maps import flatten
from .packs import pack
from .roles import Mapped
from .splits import split
from .target import Gpu
from .teams import spread
from .tidy import serial, tidy
from .transposes import transpose


def map_launches(kernel: Kernel, gpu: Gpu) -> tuple[Mapped, ...]:
    """What is launched for the kernel, one behind the other. Params that are none of its own are memory between them."""
    kernel = tidy(kernel)
    scatter = scatters.scatter(kernel) if gpu.options.atomics else None
    added = scatters.atomic(scatter) if scatter is not None else None
    if scatter is not None and added is not None:
        copy, add = added
        return map_kernel(copy, gpu), Mapped(tidy(add), 1, gpu.block, atomic=frozenset([scatter.out]))
    *copies, last = pack(kernel) or (kernel,)
    before = tuple(map_kernel(copy, gpu) for copy in copies)
    parts = split(last, gpu)
    if parts is None:
        return *before, map_kernel(last, gpu)
    partial, total, dtype = parts
    return *before, map_kernel(partial, gpu, dtype), map_kernel(total, gpu)


def map_kernel(kernel: Kernel, gpu: Gpu, dtype: DType | None = None) -> Mapped:
    """The kernel with its places. `dtype`: what operands are on tensor cores, where it is known (contract.py)."""
    kernel = tidy(kernel)
    scatter = scatters.scatter(kernel)
    if scatter is not None:
        kernel = scatters.gathered(scatter, gpu) or scatters.ranged(scatter, gpu)
    contraction = contract(kernel, gpu, dtype)
    if contraction is not None:
        return contraction
    tiles = transpose(kernel, gpu)
    if tiles is not None:
        return tiles
    flat = flatten(kernel)
    if flat is not None:
        return Mapped(tidy(flat), 1, gpu.block)
    columns = interleave(kernel, gpu)
    team = (spread(columns, gpu, 1) if columns is not kernel else None) or spread(kernel, gpu)
    if team is not None:
        return team
    return Mapped(Kernel(kernel.name, kernel.params, kernel.task, serial(kernel.body)), 1, gpu.block)
