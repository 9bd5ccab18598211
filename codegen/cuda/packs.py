"""Operands of contractions that lie badly are put in order first: a tile then reads what lies side by side.

    acc += lhs * w[f(step, column)]            neighbouring columns far apart, and neighbouring steps too
    ->  packed[step, column] = w[f(step, column)]
    ->  acc += lhs * packed[step, column]

In: a tidy kernel that is a product (products.py). Out: the copy, and the kernel that reads it; None where no operand is a
load of one array without an axis along which it counts by 1, or where few tiles read it. Weights of a convolution in the
order of PyTorch (output, input, height, width) are the case that matters.
"""

from __future__ import annotations

from graphc.ir.expr import Array, Expr, Index, Load, Var, as_index, linear, load, ravel, unravel
from graphc.ir.kernel import VECTOR, Accumulate, For, Kernel, Store, expressions, walk
from graphc.ir.kernel_rewrite import Rewriter

from .expressions import below
from .products import Axes, Product, product

READ_BY = 256  # positions of the other side from which so many tiles read an operand that a copy pays


def pack(kernel: Kernel) -> tuple[Kernel, Kernel] | None:
    """The copy of an operand, whose last param it is, and the contraction of the copy."""
    found = product(kernel)
    if found is None:
        return None
    for operand, side, other in ((found.rhs, found.columns, found.rows), (found.lhs, found.rows, found.columns)):
        if other.size >= READ_BY and _lies_badly(operand, found, side):
            assert isinstance(operand, Load)
            return _packed(kernel, operand, found.steps, side)
    return None


def _lies_badly(operand: Expr, found: Product, side: Axes) -> bool:
    """Whether it is a plain load, of each element once at most, in which neither neighbours nor steps are side by side."""
    if not isinstance(operand, Load) or operand.guard is not None or not side.names:
        return False
    axes = {*found.steps.names, *side.names}
    terms, _ = linear(as_index(operand.index))
    near = [abs(terms.get(names[-1], 0)) for names in (found.steps.names, side.names)]
    once = found.steps.size * side.size <= operand.array.size
    return once and terms.keys() <= axes and operand.array not in found.kernel.written and min(near) > 1


def _packed(kernel: Kernel, operand: Load, steps: Axes, side: Axes) -> tuple[Kernel, Kernel]:
    """Copied in the order in which it lies, so that it is read once: axes from the one that counts furthest."""
    array, index = operand.array, as_index(operand.index)
    terms, _ = linear(index)
    extents = dict(zip((*steps.names, *side.names), (*steps.extents, *side.extents), strict=True))
    place = ravel([as_index(name) for name in (*steps.names, *side.names)], tuple(extents.values()))
    packed = Array(f"{array.name}_packed", array.dtype, steps.size * side.size)
    last = side.names[-1]
    lane = Var("v", extents[last])
    outer = sorted((name for name in extents if name is not last), key=lambda name: -abs(terms.get(name, 0)))
    sizes = tuple(extents[name] for name in outer)
    task = Var("task", packed.size // lane.extent)
    names: dict[Expr, Index] = {**dict(zip(outer, unravel(task, sizes), strict=True)), last: lane}
    moved = _Moved(names, operand, None)
    stored = Store(packed, moved.index(place), load(array, moved.index(index)))
    copy = Kernel(f"{kernel.name}_packed", (array, packed), task, (For(lane, (stored,), VECTOR),))
    body = _Moved({}, operand, load(packed, place)).block(kernel.body)
    read = {part.array for stmt in walk(body) for root in expressions(stmt) for part in below(root) if isinstance(part, Load)}
    read |= {stmt.array for stmt in walk(body) if isinstance(stmt, Store | Accumulate)}
    params = (packed, *(param for param in kernel.params if param in read))
    return copy, Kernel(kernel.name, params, kernel.task, body)


class _Moved(Rewriter):
    """Axes elsewhere, or one load replaced."""

    def __init__(self, names: dict[Expr, Index], operand: Load, value: Expr | None) -> None:
        super().__init__()
        self.names = names
        if value is not None:
            self.done[operand] = value

    def name(self, expr: Expr) -> Expr:
        return self.names.get(expr, expr)
