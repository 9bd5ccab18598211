"""Kernels that start at the beginning of what they touch.

In: a kernel. Out: the same kernel over params that begin later, and how many elements later. Steps of an unrolled
recurrence differ in nothing else, and become one kernel called with other pointers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphc.ir.expr import Array, Expr, Index, Load, as_index, linear, load
from graphc.ir.kernel import Accumulate, Kernel, Stmt, Store, evaluated, walk
from graphc.ir.kernel_rewrite import Rewriter


def rebase(kernel: Kernel) -> tuple[Kernel, tuple[int, ...]]:
    """The kernel with the constant part that all indices of a param share taken off, and that part for each param."""
    touched: dict[Array, list[Index]] = {param: [] for param in kernel.params}
    for array, index in _accesses(kernel):
        if array in touched:
            touched[array].append(index)
    starts = {array: min((linear(index)[1] for index in indices), default=0) for array, indices in touched.items()}
    moved = {
        array: Array(array.name, array.dtype, min(array.size - start, max(index.high for index in touched[array]) + 1 - start))
        for array, start in starts.items()
        if start > 0
    }
    if not moved:
        return kernel, (0,) * len(kernel.params)
    body = _Rebased(moved, starts).block(kernel.body)
    params = tuple(moved.get(param, param) for param in kernel.params)
    offsets = tuple(starts[param] if param in moved else 0 for param in kernel.params)
    return replace(kernel, params=params, body=body), offsets


def _accesses(kernel: Kernel) -> Iterator[tuple[Array, Index]]:
    """Every place that is loaded or stored."""
    for stmt in walk(kernel.body):
        if isinstance(stmt, Store | Accumulate):
            yield stmt.array, stmt.index
    for expr in evaluated(*walk(kernel.body)):
        if isinstance(expr, Load):
            yield expr.array, as_index(expr.index)


class _Rebased(Rewriter):
    """Accesses to the `moved` arrays, `starts` elements earlier."""

    def __init__(self, moved: dict[Array, Array], starts: dict[Array, int]) -> None:
        super().__init__()
        self.moved, self.starts = moved, starts

    def load(self, array: Array, index: Index, guard: Expr | None) -> Expr:
        if array in self.moved:
            return load(self.moved[array], index - self.starts[array], guard)
        return load(array, index, guard)

    def stmt(self, stmt: Stmt) -> Stmt:
        new = super().stmt(stmt)
        if isinstance(new, Store | Accumulate) and new.array in self.moved:
            return replace(new, array=self.moved[new.array], index=new.index - self.starts[new.array])
        return new
