"""Results in an order that lanes can store.

In: a simplified graph, and the machine. Out: an equal graph in which contractions whose last dimensions are a few taps, or a
few columns, are computed with these in front, and transposed. Lanes along channels, or rows, would be stored one by one, each
to a place of its own, along with all that an update reads and writes there. The map that follows transposes in registers.

    dw[k, c, taps] = conv(x, dy)          ->     transpose(conv'(x, dy)),  conv'[c, taps, k]
    y[rows, few] = dot(a[n, rows], b)     ->     transpose(dot(b, a))
"""

from __future__ import annotations

from math import prod

from graphc.ir.graph import Graph
from graphc.ir.rewrite import Rules, op, rewrite_graph, rule
from graphc.ir.values import Value, make
from graphc.ops.contract import dot_general
from graphc.ops.shape import transpose

from .cluster import MUCH
from .layout import over_pixels
from .machine import Machine


def turn(graph: Graph, machine: Machine) -> Graph:
    """Turn the results that fill lanes only then; the identical graph where there are none."""

    def kernel_gradient(root: Value) -> Value | None:
        (first, second, *taps), attrs = root.shape, root.attrs
        grouped = attrs["feature_groups"] * attrs["batch_groups"] > 1
        if {*attrs["out_spec"][:2]} != {0, 1} or grouped or over_pixels(root):
            return None
        if prod(taps) == 1 or not fills(root, min(first, second)):
            return None
        order = (*range(1, root.type.rank), 0)
        spec = tuple(map(order.index, attrs["out_spec"]))
        return _back(make("conv_general", *root.operands, **attrs | {"out_spec": spec}), 1)

    def few_columns(root: Value) -> Value | None:
        (a, b), contract, batch = root.operands, root.attrs["contract"], root.attrs["batch"]
        summed = len(contract[0])
        rows = a.type.rank - summed
        few, many = prod(root.shape[rows:]), prod(root.shape[:rows])
        if batch[0] or contract[0] != tuple(range(summed)):
            return None
        if few == 1 or fills(root, few) or not fills(root, many):
            return None
        return _back(dot_general(b, a, contract=contract[::-1]), rows)

    def fills(root: Value, elements: int) -> bool:
        return elements >= machine.lanes(root.dtype) > 1 and root.type.size >= MUCH

    return rewrite_graph(graph, Rules([
        rule("conv -> transpose(conv)", op("conv_general", ...), kernel_gradient),
        rule("dot(a, b) -> transpose(dot(b, a))", op("dot_general", ...), few_columns),
    ]))  # fmt: skip


def _back(turned: Value, count: int) -> Value:
    """The last `count` dimensions in front."""
    rank = turned.type.rank
    return transpose(turned, (*range(rank - count, rank), *range(rank - count)))
