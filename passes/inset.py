"""Where in memory a stored value lies: in a buffer of its own shape, or inside the memory of a padded one.

In: values, indices, and the insets that fusion chose (borders.py). Out: flat positions in the buffer that holds the value.
All reads and writes of stored values go through `position`, so that nothing else needs to know of insets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.ir.expr import Index, ravel
from graphc.ir.values import Value

from .element import Position


@dataclass(frozen=True)
class Inset:
    """Element `index` of the value is element `index + low` of `host`."""

    host: Value
    low: tuple[int, ...]


Insets = Mapping[Value, Inset]
NONE: Insets = {}


def position(value: Value, index: Position, insets: Insets) -> Index:
    """Where the buffer of a stored value holds the element."""
    inset = insets.get(value)
    if inset is None:
        return ravel(index, value.shape)
    return ravel(tuple(i + low for i, low in zip(index, inset.low, strict=True)), inset.host.shape)
