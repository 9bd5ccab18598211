"""What all ops over windows share: where windows lie, how their elements are read, and the arrays they are tested with.

In: the window, stride, padding and dilation of every dimension (1 where nothing is windowed). Out: positions, taps, and
conditions under which they meet elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..dtype import dtype
from ..errors import ShapeError
from ..ir.expr import Expr, all_of, as_index, select
from ..ir.op import Index, Op, Pointwise, Reader, register
from ..ir.types import TensorType
from ..ir.values import Value
from .geometry import Sweep

NOWHERE = 2**31 - 1  # greater than any offset inside a window


def window_attrs(window: Sequence[int], strides: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    """The attributes; windows lie side by side, without padding and dense, where nothing else is said."""
    return {
        "window": tuple(window),
        "strides": tuple(strides or window),
        "padding": tuple((low, high) for low, high in padding or [(0, 0)] * len(window)),
        "dilation": tuple(dilation or [1] * len(window)),
    }


def geometry_of(node: Value) -> dict[str, Any]:
    """The attributes that say where the windows of an op lie."""
    return {name: node.attrs[name] for name in ("window", "strides", "padding", "dilation")}


def sweeps_over(shape: Sequence[int], attrs: dict[str, Any]) -> list[Sweep]:
    """The geometry of each dimension."""
    return [Sweep(*row) for row in zip(shape, *(attrs[k] for k in ("window", "strides", "padding", "dilation")), strict=True)]


def check_positions(op: str, x: TensorType, attrs: dict[str, Any]) -> tuple[int, ...]:
    """The shape of the result: how often each dimension's window fits; one element never, where there is none."""
    for name in ("window", "strides", "padding", "dilation"):
        if len(attrs[name]) != x.rank:
            raise ShapeError(f"{op} of {x}: {name}={attrs[name]} needs {x.rank} entries, one per dimension")
        if name != "padding" and min(attrs[name], default=1) < 1:
            raise ShapeError(f"{op} of {x}: each entry of {name}={attrs[name]} must be at least 1")
    if prod(attrs["window"]) >= NOWHERE:
        raise ShapeError(f"{op} of {x}: a window of {prod(attrs['window'])} elements; it must have fewer than {NOWHERE}")
    sweeps = sweeps_over(x.shape, attrs)
    for i, sweep in enumerate(sweeps):
        if sweep.count == 0 and (sweep.size or sweep.span > 1):
            raise ShapeError(
                f"{op} of {x}: in dimension {i} the window spans {sweep.span} elements and the padded operand has "
                f"{sweep.padded}; pad by at least {sweep.span - sweep.padded} more or shrink the window"
            )
    return tuple(sweep.count for sweep in sweeps)


def taps(shape: Sequence[int], attrs: dict[str, Any]) -> Iterator[tuple[int, np.ndarray, tuple[np.ndarray, ...]]]:
    """For each tap of the window, row-major: its flat offset, which window positions see an element of x through it,
    and the (clamped) index of this element for every position."""
    sweeps = sweeps_over(shape, attrs)
    for flat, tap in enumerate(product(*map(range, attrs["window"]))):
        lines = [sweep.place(np.arange(sweep.count), k) for sweep, k in zip(sweeps, tap, strict=True)]
        inside = [(line >= 0) & (line < n) for line, n in zip(lines, shape, strict=True)]
        places = np.ix_(*(line.clip(0, max(n - 1, 0)) for line, n in zip(lines, shape, strict=True)))
        yield flat, _all(inside), places


def _all(lines: list[np.ndarray]) -> np.ndarray:
    """The outer conjunction of one bool line per dimension."""
    return np.asarray(reduce(np.logical_and, np.meshgrid(*lines, indexing="ij", sparse=True), np.True_))


def counts(shape: Sequence[int], attrs: dict[str, Any]) -> tuple[int, ...]:
    """How often each dimension's window fits."""
    return tuple(s.count for s in sweeps_over(shape, attrs))


def inside_of(places: Sequence[Expr], shape: Sequence[int]) -> Expr | None:
    """The condition that a place lies within `shape`; None where it always does."""
    return all_of(*(bound for place, n in zip(places, shape, strict=True) for bound in (place >= 0, place < n)))


def place_under(node: Value, index: Index, tap: Index) -> Index:
    """The element of x under a tap of the window at position `index`."""
    sweeps = sweeps_over(node.operands[0].shape, node.attrs)
    return tuple(sweep.place(i, k) for sweep, i, k in zip(sweeps, index, tap, strict=True))


def read_under(node: Value, index: Index, tap: Index, reader: Reader) -> tuple[Expr, Expr | None]:
    """The element under a tap, and the condition that it is one of x; the element is anything where it is not."""
    place = place_under(node, index, tap)
    guard = inside_of(place, node.operands[0].shape)
    return reader.read(0, place, guard), guard


def or_else(guard: Expr | None, element: Expr, otherwise: float) -> Expr:
    """The element where it may be read."""
    return element if guard is None else select(guard, element, otherwise)


def meetings(node: Value, index: Index) -> tuple[list[int], Callable[[Index], tuple[Index, Index, Expr | None]]]:
    """How many pairs of tap and position can meet an element of the result, along each dimension, and those at a step, with
    the condition that they do."""
    sweeps = sweeps_over(node.shape, node.attrs)
    ways = [sweep.meetings(as_index(i)) for i, sweep in zip(index, sweeps, strict=True)]

    def meet(step: Index) -> tuple[Index, Index, Expr | None]:
        found = [way(as_index(j)) for (_, way), j in zip(ways, step, strict=True)]
        tap, position = tuple(m[0] for m in found), tuple(m[1] for m in found)
        return tap, position, all_of(*(m[2] for m in found), inside_of(position, node.operands[0].shape))

    return [n for n, _ in ways], meet


# element types, x shape, window, strides, padding, dilation; the last two have windows wholly in padding
_TYPES = ("float32", "float64", "float16", "bfloat16", "int32")
_CASES: tuple[tuple[Any, ...], ...] = (
    (_TYPES[:1], (2, 6, 4), (1, 2, 2), (1, 2, 2), ((0, 0), (0, 0), (0, 0)), (1, 1, 1)),
    (_TYPES, (7, 5), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1)),
    (_TYPES[:1], (8, 3), (2, 2), (3, 2), ((1, 0), (-1, 1)), (3, 1)),
    (_TYPES[:1], (5, 2, 6), (3, 1, 3), (1, 1, 2), ((2, 0), (0, 0), (2, 2)), (1, 1, 2)),
    (_TYPES[:1], (9,), (3,), (2,), ((-2, -1),), (2,)),
    (_TYPES[:1], (), (), (), (), ()),
    (_TYPES[4:], (3, 2), (2, 1), (1, 1), ((3, 0), (0, 1)), (1, 1)),
    (_TYPES[4:], (4, 3), (2, 2), (2, 3), ((0, 2), (2, 2)), (1, 2)),
)


def sample_arrays() -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Arrays, and the windows over each."""
    rng = np.random.default_rng(0)
    for names, shape, *attrs in _CASES:
        given = dict(zip(("window", "strides", "padding", "dilation"), attrs, strict=True))
        for name in names:
            yield np.asarray(3 * rng.standard_normal(shape)).astype(dtype(name).numpy), given


def register_pointwise(name: str, doc: str, infer: Any, reference: Any, gradient: Any, element: Any, samples: Any) -> None:
    """An op whose elements are computed one by one, each in several steps."""
    register(Op(name, infer, reference, gradient, Pointwise(element, heavy=1), samples, doc))
