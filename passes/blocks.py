"""Clusters of kind `blocks` to kernels: an op whose elements share work, with its epilogue.

In: such a cluster. Out: a launch whose tasks are blocks, side by side along all dimensions but the last, along which lanes run:

    for lanes: name what the block shares; for each element of the block: epilogue, stored

Elements of a block that stick out of the result are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from math import ceil, prod

from graphc.ir.expr import Expr, Var, all_of, as_index, temp, unravel
from graphc.ir.kernel import VECTOR, For, If, Launch, Let, Stmt
from graphc.ir.op import Blocked
from graphc.ir.values import Value

from .cluster import Cluster
from .element import Elements, Position, spread
from .epilogue import epilogue
from .frame import Frame
from .machine import Machine


def blocks(name: str, cluster: Cluster, stored: Sequence[Value], frame: Frame, machine: Machine, comment: str) -> Launch:
    """The kernel over its buffers."""
    anchor = cluster.anchor
    lower = anchor.op.lower
    assert isinstance(lower, Blocked)
    shape, block = anchor.shape, lower.block(anchor)
    counts = tuple(ceil(n / size) for n, size in zip(shape[:-1], block[:-1], strict=True))
    task, lane = Var("task", prod(counts)), Var("v", shape[-1])
    start = (*(at * size for at, size in zip(unravel(task, counts), block[:-1], strict=True)), lane)
    body: list[Stmt] = []
    elements = lower.elements(anchor, start, _Reader(anchor, frame, body))
    for offset, element in zip(product(*map(range, block)), elements, strict=True):
        at = tuple(first + n for first, n in zip(start, offset, strict=True))
        inside = all_of(*(i < n for i, n in zip(at, shape, strict=True)))
        follows = epilogue(cluster, stored, frame, element, partial(_along, at, shape))
        body += follows if inside is None else [If(inside, tuple(follows))]
    lanes = For(lane, tuple(body), VECTOR, machine.lanes(anchor.dtype))
    return frame.launch(name, task, (lanes,), comment)


def _along(index: Position, shape: tuple[int, ...], value: Value) -> Position:
    """The index of a member at an index of the anchor."""
    return spread([i for i, n in zip(index, shape, strict=True) if n != 1], value.shape)


class _Reader:
    """The operands of the anchor; what is named goes to the end of `body`."""

    def __init__(self, anchor: Value, frame: Frame, body: list[Stmt]) -> None:
        self._anchor, self._frame, self._body = anchor, frame, body

    def name(self, value: Expr) -> Expr:
        name = temp("b", value.dtype)
        self._body.append(Let(name, value))
        return name

    def read(self, operand: int, index: Sequence[Expr]) -> Expr:
        return Elements(self._frame.load_if_stored).at(self._anchor.operands[operand], tuple(map(as_index, index)))
