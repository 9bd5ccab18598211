"""Kernels that are contractions of one element a task, taken apart.

    let i, j = task // n, task % n;  acc = 0;  for k: acc += lhs(i, k) * rhs(j, k);  epilogue(acc, i, j)

In: a tidy kernel. Out: a `Product`: which axes only the left operand walks (rows), only the right one (columns), both (batch),
and the operands as expressions of them; None for kernels of another shape. Columns are the side along which results lie
next to each other in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from math import prod

from graphc.dtype import DType
from graphc.ir.expr import Array, Call, Const, Expr, Index, Load, Temp, Var, as_index, linear, load, unravel
from graphc.ir.kernel import Accumulate, For, Kernel, Let, Local, Stmt, Store, walk
from graphc.ir.kernel_rewrite import Renamed

from .expressions import below

Name = Temp | Var


@dataclass(frozen=True)
class Axes:
    """Axes walked as one: their names in the kernel, and extents, slowest first."""

    names: tuple[Name, ...]
    extents: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.extents)

    def at(self, position: Index) -> dict[Name, Index]:
        """What the names stand for at a position."""
        return dict(zip(self.names, unravel(position, self.extents), strict=True))

    def moves(self, expr: Expr) -> int:
        """How far one step along the last axis moves the first load of an expression; 0 where that is not known."""
        loads = [part for part in below(expr) if isinstance(part, Load)]
        if not loads or not self.names:
            return 0
        return linear(as_index(loads[0].index))[0].get(self.names[-1], 0)


@dataclass(frozen=True)
class Product:
    """acc[batch, row, column] = sum over steps of lhs * rhs, then the epilogue, which reads `acc`."""

    kernel: Kernel
    dtype: DType
    batch: Axes
    rows: Axes
    columns: Axes
    steps: Axes
    lhs: Expr
    rhs: Expr
    acc: Array
    epilogue: tuple[Stmt, ...]

    def is_sum(self, expr: Expr) -> bool:
        """Whether an expression of the epilogue is the sum itself."""
        return isinstance(expr, Load) and expr.array is self.acc


def product(kernel: Kernel) -> Product | None:
    """The kernel as a product."""
    lets = list(takewhile(lambda stmt: isinstance(stmt, Let), kernel.body))
    body = kernel.body[len(lets) :]
    if len(body) < 4 or not isinstance(body[0], Local) or body[0].array.size != 1:
        return None
    acc, (start, nest, *epilogue) = body[0].array, body[1:]
    zero = isinstance(start, Store) and start.array is acc and isinstance(start.value, Const) and start.value.value == 0
    kept = _kept(kernel.task, [let for let in lets if isinstance(let, Let)])
    steps, fold = _steps(nest)
    if not zero or kept is None or not steps.names or fold is None or fold.array is not acc or fold.combine != "add":
        return None
    value = fold.value
    if not (isinstance(value, Call) and value.word == "mul") or _stores(epilogue, acc):
        return None
    return _sides(kernel, acc, kept, steps, value.args, tuple(epilogue))


def _kept(task: Var, lets: list[Let]) -> Axes | None:
    """The kept axes: the task itself, or the parts that it is divided into."""
    if not lets:
        return Axes((task,), (task.extent,))
    extents = tuple(let.temp.bounds[1] + 1 for let in lets)
    if prod(extents) != task.extent or any(
        let.value is not part for let, part in zip(lets, unravel(task, extents), strict=True)
    ):
        return None
    return Axes(tuple(let.temp for let in lets), extents)


def _steps(nest: Stmt) -> tuple[Axes, Accumulate | None]:
    """The loops over what is summed, and the fold inside."""
    loops: list[Var] = []
    while isinstance(nest, For) and len(nest.body) == 1:
        loops.append(nest.var)
        nest = nest.body[0]
    return Axes(tuple(loops), tuple(v.extent for v in loops)), nest if isinstance(nest, Accumulate) else None


def _stores(stmts: list[Stmt], acc: Array) -> bool:
    return any(isinstance(s, Store | Accumulate) and s.array is acc for s in walk(tuple(stmts)))


def _sides(
    kernel: Kernel, acc: Array, kept: Axes, steps: Axes, operands: tuple[Expr, ...], epilogue: tuple[Stmt, ...]
) -> Product:
    """Axes by the operands that walk them, slowest in the result first."""
    walked = [set(below(operand)) for operand in operands]
    result = next((linear(s.index)[0] for s in walk(epilogue) if isinstance(s, Store) and s.array in kernel.params), {})

    def chosen(left: bool, right: bool) -> Axes:
        own = [
            (name, extent) for name, extent in zip(kept.names, kept.extents, strict=True)
            if (name in walked[0], name in walked[1]) == (left, right)
        ]  # fmt: skip
        own.sort(key=lambda axis: -result.get(axis[0], 0))
        return Axes(tuple(name for name, _ in own), tuple(extent for _, extent in own))

    def nearest(axes: Axes) -> int:
        return min((result.get(name, 1 << 62) for name in axes.names), default=1 << 62)

    rows, columns, (lhs, rhs) = chosen(True, False), chosen(False, True), operands
    if nearest(rows) < nearest(columns):
        rows, columns, lhs, rhs = columns, rows, rhs, lhs
    both, neither = chosen(True, True), chosen(False, False)
    batch = Axes(both.names + neither.names, both.extents + neither.extents)
    return Product(kernel, acc.dtype, batch, rows, columns, steps, lhs, rhs, acc, epilogue)


class Moved(Renamed):
    """An epilogue at other indices, with its accumulator elsewhere."""

    def __init__(self, names: Mapping[Name, Index], acc: Array, value: Expr) -> None:
        super().__init__(names)
        self.acc, self.value = acc, value

    def load(self, array: Array, index: Index, guard: Expr | None) -> Expr:
        return self.value if array is self.acc else load(array, index, guard)
