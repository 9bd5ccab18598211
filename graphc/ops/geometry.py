"""Windows that sweep over a dimension: the one place of stride, padding and dilation arithmetic.

In: the sizes of one dimension. Out: a `Sweep`, which counts the window's positions and knows the padding of the two
sweeps that differentiate it. All rules follow from one sentence: output o, tap k meets spread element
`o * stride + k * dilation - low`, where the input is spread so that its elements lie `spacing` apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..ir.expr import Expr, Index, all_of

Padding = tuple[int, int]


def spread(size: int, spacing: int) -> int:
    """The extent of `size` elements that lie `spacing` apart."""
    return (size - 1) * spacing + 1 if size else 0


@dataclass(frozen=True)
class Sweep:
    """A window of `window` taps over a dimension of `size` elements; negative padding crops."""

    size: int
    window: int
    stride: int
    padding: Padding
    dilation: int
    spacing: int = 1

    @property
    def span(self) -> int:
        """Spread elements from the first tap to the last, inclusive."""
        return spread(self.window, self.dilation)

    @property
    def padded(self) -> int:
        return spread(self.size, self.spacing) + sum(self.padding)

    @property
    def count(self) -> int:
        """Positions of the window; 0 where it does not fit."""
        return (self.padded - self.span) // self.stride + 1 if self.padded >= self.span else 0

    def place(self, position: Any, tap: Any) -> Any:
        """The spread element that a tap meets at a position: ints, arrays of them, or indices."""
        return position * self.stride + tap * self.dilation - self.padding[0]

    def meetings(self, place: Index) -> tuple[int, Callable[[Index], tuple[Index, Index, Expr | None]]]:
        """How many (tap, position) pairs can meet an element of an input that is not spread, and the j-th of them with the
        condition that it does: position * stride + tap * dilation = place + low. Of dense taps only each stride-th is asked."""
        shifted = place + self.padding[0]
        if self.dilation == 1:

            def meet(j: Index) -> tuple[Index, Index, Expr | None]:
                tap = shifted % self.stride + j * self.stride
                return tap, shifted // self.stride - j, all_of(tap < self.window)

            return -(-self.window // self.stride), meet

        def meet_dilated(j: Index) -> tuple[Index, Index, Expr | None]:
            start = shifted - j * self.dilation
            return j, start // self.stride, all_of((start % self.stride).equals(0))

        return self.window, meet_dilated

    @property
    def input_padding(self) -> Padding:
        """Padding of the sweep with flipped taps over outputs spread by `stride`, in steps of `spacing`: one position
        for each input element, which meets every output that read this element."""
        low = self.span - 1 - self.padding[0]
        return low, spread(self.size, self.spacing) + self.span - 1 - spread(self.count, self.stride) - low

    @property
    def tap_padding(self) -> Padding:
        """Padding of the sweep of the outputs (as taps, `stride` apart) over the same spread input, in steps of
        `dilation`: one position for each tap."""
        return self.padding[0], self.span - 1 + spread(self.count, self.stride) - self.padded + self.padding[1]

    @property
    def phases(self) -> Iterator[Phase]:
        """The sweep over an input spread by `spacing`, as sweeps over the input itself: every `spacing`-th position meets
        the same taps, `spacing` apart. For steps of 1 and dense taps; positions that meet no tap are left out."""
        assert self.stride == self.dilation == 1
        low, _ = self.padding
        for first in range(min(self.spacing, self.count)):
            tap = (low - first) % self.spacing
            taps = len(range(tap, self.window, self.spacing))
            count = len(range(first, self.count, self.spacing))
            before = (low - first - tap) // self.spacing
            if taps:
                yield Phase(first, tap, (before, count + taps - 1 - self.size - before), count)


@dataclass(frozen=True)
class Phase:
    """Positions `first`, `first + spacing`, ... (`count` of them): a dense sweep with the taps `tap`, `tap + spacing`, ..."""

    first: int
    tap: int
    padding: Padding
    count: int
