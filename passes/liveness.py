"""When the arena buffers of a function are alive.

In: the launches of a function. Out: for every arena buffer the first and last launch that touches it. A buffer is alive
from its first store to its last access; two buffers interfere when these intervals share a launch. (Intervals say all of it:
the graph of a thousand buffers that live long would have a million edges.)
"""

from __future__ import annotations

from itertools import accumulate

from graphc.ir.kernel import ARENA, Buffer, Launch


def liveness(launches: tuple[Launch, ...]) -> dict[Buffer, tuple[int, int]]:
    """buffer -> (first launch, last launch) that touches it."""
    spans: dict[Buffer, tuple[int, int]] = {}
    for n, launch in enumerate(launches):
        for buffer in launch.args:
            if buffer.kind == ARENA:
                spans[buffer] = (spans.get(buffer, (n, n))[0], n)
    return spans


def lower_bound(spans: dict[Buffer, tuple[int, int]], launches: int) -> int:
    """The largest sum of simultaneously live bytes: no plan needs less."""
    changes = [0] * (launches + 1)
    for buffer, (first, last) in spans.items():
        changes[first] += buffer.nbytes
        changes[last + 1] -= buffer.nbytes
    return max(accumulate(changes))
