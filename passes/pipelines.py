"""The order of the passes, as lists one can read aloud.

In: nothing. Out: `GRAPH`, from what the user wrote to what fusion takes, `fitted`, the same by a machine's numbers, and
`frozen`, the same for inference. Each entry says what it needs and gives; the manager refuses any other order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from graphc.dtype import float32
from graphc.ir.graph import Graph
from graphc.ir.values import Value

from .autodiff import autodiff
from .canonicalize import simplify
from .expand import expand, unexpanded
from .freeze import freeze
from .layout import layout
from .machine import Machine
from .manager import Pass, Property
from .split_reductions import split_reductions, unsplit
from .turn import turn
from .updates import extract_updates, remove_stop_gradient
from .winograd import winograd


def _first(name: str) -> Callable[[Graph], Value | None]:
    return lambda graph: next((value for value in graph.values() if value.op.name == name), None)


NO_GRAD = Property("no gradient markers", _first("grad"))
NO_UPDATE = Property("no update markers", _first("update"))
NO_STOP = Property("no stop_gradient markers", _first("stop_gradient"))
EXPANDED = Property("every op has loops of its own", unexpanded)
SPLIT = Property("large reductions are trees", unsplit)

AUTODIFF = Pass("autodiff", autodiff, gives=(NO_GRAD,))
EXTRACT_UPDATES = Pass("extract_updates", extract_updates, needs=(NO_GRAD,), gives=(NO_UPDATE,))
REMOVE_STOP_GRADIENT = Pass("remove_stop_gradient", remove_stop_gradient, needs=(NO_GRAD,), gives=(NO_STOP,))
LAYOUT = Pass("layout", layout, needs=(EXPANDED,), breaks=(SPLIT,))
# Rules drop operands, and with them the update markers they reach: these must have been read before.
SIMPLIFY = Pass("simplify", simplify, needs=(NO_GRAD, NO_UPDATE), breaks=(SPLIT,))
EXPAND = Pass("expand", expand, needs=(NO_GRAD,), gives=(EXPANDED,), breaks=(SPLIT,))
SPLIT_REDUCTIONS = Pass("split_reductions", split_reductions, needs=(EXPANDED,), gives=(SPLIT,))

GRAPH: tuple[Pass, ...] = (
    AUTODIFF,
    EXTRACT_UPDATES,
    REMOVE_STOP_GRADIENT,
    EXPAND,
    LAYOUT,
    SIMPLIFY,
    SPLIT_REDUCTIONS,
)


def fitted(machine: Machine, in_tiles: bool = False) -> tuple[Pass, ...]:
    """`GRAPH` for a machine: layouts and results fill its lanes, reductions become trees where its numbers say so, and
    convolutions are computed `in_tiles` where it pays."""
    lanes = replace(LAYOUT, run=partial(layout, lanes=machine.lanes(float32)))
    split = Property(SPLIT.name, partial(unsplit, trees=machine.trees))
    step = replace(SPLIT_REDUCTIONS, run=partial(split_reductions, trees=machine.trees), gives=(split,))
    tiles = Pass("winograd", partial(winograd, machine=machine), needs=(EXPANDED,), breaks=(SPLIT,))
    turned = Pass("turn", partial(turn, machine=machine), needs=(EXPANDED,), breaks=(SPLIT,))
    fit: dict[Pass, tuple[Pass, ...]] = {
        LAYOUT: (lanes, tiles) if in_tiles else (lanes,),
        SPLIT_REDUCTIONS: (turned, step),
    }
    return tuple(found for each in GRAPH for found in fit.get(each, (each,)))


def frozen(values: Mapping[Value, np.ndarray], passes: tuple[Pass, ...] = GRAPH) -> tuple[Pass, ...]:
    """The passes with these variables fixed, as soon as gradients and updates have been read."""
    at = passes.index(EXPAND)
    step = Pass("freeze", partial(freeze, values=values), needs=(NO_GRAD, NO_UPDATE), exact=False)
    return (*passes[:at], step, *passes[at:])
