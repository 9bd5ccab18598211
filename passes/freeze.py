"""Freezing: variables that nothing updates become constants, to be folded, and packed for the kernels that read them.

In: the graphs of all functions of a program, as the user wrote them, and then each of them without markers. Out: the
variables that keep their values for good, and the graph over constants in their place. This is for inference: such a
variable is no longer part of the program's state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from graphc.ir.graph import Graph, rebuild
from graphc.ir.values import Value, constant


def unchanged(graphs: Iterable[Graph]) -> list[Value]:
    """Variables that some graph reads and none updates."""
    read: dict[Value, None] = {}
    written: set[Value] = set()
    for graph in graphs:
        read |= dict.fromkeys(graph.variables())
        written.update(variable for variable, _ in graph.updates)
        written.update(value.operands[1] for value in graph.values() if value.op.name == "update")
    return [variable for variable in read if variable not in written]


def freeze(graph: Graph, values: Mapping[Value, np.ndarray]) -> Graph:
    """variable  ->  constant"""
    constants = {variable: constant(array, variable.dtype) for variable, array in values.items()}
    return graph.with_roots(rebuild(graph.roots, constants.get))
