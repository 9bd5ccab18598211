"""Padding as torch.nn.functional.pad: pairs (low, high) from the last dimension on.

In: a tensor and pairs. Out: constant, reflected, repeated or circular borders. Negative numbers cut off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import GraphcError, ShapeError
from ...ir.location import here
from ...ir.values import make
from ...tensor import Tensor, cat


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """x with borders. pad: (low, high) of the last dimension, then of the one before, and so on."""
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(f"pad: {tuple(pad)} must be pairs for at most the {input.ndim} dimensions of {input.shape}", here())
    pairs = {input.ndim - 1 - i: (pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)}
    for d, (low, high) in pairs.items():
        if input.shape[d] + min(low, 0) + min(high, 0) < 0:
            raise ShapeError(f"pad: {low} and {high} cut more than dimension {d} of {input.shape} has", here())
    if mode == "constant":
        return _constant(input, pairs, 0.0 if value is None else value)
    if mode not in _BORDERS:
        raise GraphcError(f"pad: mode is 'constant', {', '.join(map(repr, _BORDERS))}, not {mode!r}", here())
    x = input
    for d, (low, high) in pairs.items():
        x = _bordered(x, d, low, high, mode)
    return x


def _constant(x: Tensor, pairs: dict[int, tuple[int, int]], value: float) -> Tensor:
    low, high = (tuple(pairs.get(d, (0, 0))[side] for d in range(x.ndim)) for side in (0, 1))
    number = float(value) if x.dtype.is_float else bool(value) if x.dtype.is_bool else int(value)
    if not any(low) and not any(high):
        return x
    return x.wrap(make("pad", x.value, low=low, high=high, interior=(0,) * x.ndim, value=number))


def _bordered(x: Tensor, d: int, low: int, high: int, mode: str) -> Tensor:
    if mode == "replicate" and min(low, high) < 0:  # what repeats is the border of the whole
        places = np.clip(np.arange(x.shape[d] + low + high) - low, 0, x.shape[d] - 1)
        return x.index_select(d, places)
    x = _constant(x, {d: (min(low, 0), min(high, 0))}, 0)
    low, high, n = max(low, 0), max(high, 0), x.shape[d]
    room = {"reflect": n - 1, "circular": n, "replicate": max(low, high) if n else 0}[mode]
    if max(low, high) > room:
        raise ShapeError(f"pad: mode {mode!r} takes at most {room} on a side of dimension {d} of {x.shape}", here())
    before, after = _BORDERS[mode](x, d, low, high)
    parts = [part for part, width in ((before, low), (x, n), (after, high)) if width]
    return cat(parts, d) if len(parts) > 1 else x


def _reflect(x: Tensor, d: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    n = x.shape[d]
    return x.narrow(d, 1, low).flip(d), x.narrow(d, n - 1 - high, high).flip(d)


def _replicate(x: Tensor, d: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    first, last = x.narrow(d, 0, 1), x.narrow(d, x.shape[d] - 1, 1)
    return tuple(  # type: ignore[return-value]
        edge.expand(tuple(width if i == d else -1 for i in range(x.ndim))) for edge, width in ((first, low), (last, high))
    )


def _circular(x: Tensor, d: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    return x.narrow(d, x.shape[d] - low, low), x.narrow(d, 0, high)


_BORDERS = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}

__all__ = ["pad"]
