"""When the arena buffers of a function are alive.

In: the launches of a function. Out: for every arena buffer the first and last launch that touches it. A buffer is alive
from its first store to its last access; two buffers interfere when these intervals share a launch.
"""

from __future__ import annotations

import networkx as nx

from graphc.ir.kernel import ARENA, Buffer, Launch


def liveness(launches: tuple[Launch, ...]) -> dict[Buffer, tuple[int, int]]:
    """buffer -> (first launch, last launch) that touches it."""
    spans: dict[Buffer, tuple[int, int]] = {}
    for n, launch in enumerate(launches):
        for buffer in launch.args:
            if buffer.kind == ARENA:
                spans[buffer] = (spans.get(buffer, (n, n))[0], n)
    return spans


def interference(spans: dict[Buffer, tuple[int, int]]) -> nx.Graph[Buffer]:
    """An edge between every two buffers that are alive during one launch."""
    graph: nx.Graph[Buffer] = nx.Graph()
    graph.add_nodes_from(spans)
    alive: list[Buffer] = []
    for buffer in sorted(spans, key=lambda b: spans[b]):
        alive = [other for other in alive if spans[other][1] >= spans[buffer][0]]
        graph.add_edges_from((buffer, other) for other in alive)
        alive.append(buffer)
    return graph


def lower_bound(spans: dict[Buffer, tuple[int, int]], launches: int) -> int:
    """The largest sum of simultaneously live bytes: no plan needs less."""
    return max((sum(b.nbytes for b, (first, last) in spans.items() if first <= n <= last) for n in range(launches)), default=0)
