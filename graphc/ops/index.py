"""Data-dependent indexing: gather and scatter, and what is composed of them and of argsort.

In: a value and int64 index values of one shape, one for each of the named axes. Out: elements read there (indices are
clamped into range) or a copy of the value with updates stored there (updates out of range are dropped), in the order of
the updates whatever the number of threads. Negative indices are not counted from the end; the tensor level does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from ..dtype import dtype, int64
from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, as_index, call, const
from ..ir.op import Index, Loops, Op, Pointwise, Reader, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, full, like, make
from .elementwise import cast, select
from .order import argsort
from .recurrence import cumsum
from .scatter_kernel import others, scatter_kernel
from .shape import broadcast, iota, reshape
from .top import first_in_order

MODES = ("set", "add", "max", "min")

# ------------------------------------------------------------------------------------------------------------ builders


def gather(x: Value, *indices: Value, axes: Sequence[int], lead: int = 0, batch: int = 0) -> Value:
    """`x` at `indices[i]` along axes[i], each clamped into range: [shape of an index, remaining dimensions of x], where the
    first `lead` of the remaining dimensions come first. The first `batch` dimensions of x and of each index are the same: there
    an index reads at its own place only."""
    return make("gather", x, *indices, axes=tuple(axes), lead=lead, batch=batch)


def scatter(
    x: Value, updates: Value, *indices: Value, axes: Sequence[int], mode: str = "set", lead: int = 0, batch: int = 0
) -> Value:
    """`x` with `updates` stored, added, or max/min-ed in at `indices`; they have the shape that gather gives.

    Updates out of range are dropped, the last of several to one place wins a "set", and 16-bit floats are added in f32.
    """
    wide = x.dtype.accumulator
    if mode == "add" and wide is not x.dtype:
        attrs: dict[str, Any] = {"axes": axes, "mode": mode, "lead": lead, "batch": batch}
        return cast(scatter(cast(x, wide), cast(updates, wide), *indices, **attrs), x.dtype)
    return make("scatter", x, updates, *indices, axes=tuple(axes), mode=mode, lead=lead, batch=batch)


def take_along_axis(x: Value, indices: Value, axis: int) -> Value:
    """y[i, j, k] = x[i, indices[i, j, k], k] for axis 1, and so on; indices has x's rank and elsewhere at most its sizes."""
    if indices.type.rank != x.type.rank:
        raise ShapeError(f"take_along_axis of {x.type} with indices {indices.type}: the ranks must be equal")
    own = [indices if d == axis else iota(int64, indices.shape, d) for d in range(x.type.rank)]
    for d, (have, want) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if d != axis and want > have:
            raise ShapeError(f"take_along_axis of {x.type} with indices {indices.type}: dimension {d} must be at most {have}")
    return gather(x, *own, axes=range(x.type.rank))


def sort(x: Value, axis: int, descending: bool = False) -> tuple[Value, Value]:
    """(sorted values, their positions) along `axis`; stable, NaN last."""
    order = argsort(x, axis, descending)
    return take_along_axis(x, order, axis), order


def top_k(x: Value, k: int, axis: int, largest: bool = True) -> tuple[Value, Value]:
    """The `k` largest (or smallest) values along `axis` in order, and their positions; NaN counts as last."""
    if not 0 <= axis < x.type.rank or not 0 <= k <= x.shape[axis]:
        raise ShapeError(f"top_k of {k} along dimension {axis} of {x.type}; expected 0 <= k <= the dimension's extent")
    chosen = first_in_order(x, axis, k, largest)
    return take_along_axis(x, chosen, axis), chosen


# ---------------------------------------------------------------------------------------------------------- type rules


def _selection(
    op: str, x: TensorType, indices: Sequence[TensorType], axes: tuple[int, ...], lead: int, batch: int
) -> TensorType:
    """The type of what `indices` select: their shape among the remaining dimensions of x, behind the first `lead`; the `batch`
    dimensions come before all."""
    if not axes or len(set(axes)) != len(axes) or not all(0 <= axis < x.rank for axis in axes):
        raise ShapeError(f"{op} of {x}: axes {axes} must be at least one of its {x.rank} dimensions, each once")
    if len(indices) != len(axes):
        raise ShapeError(f"{op} of {x} along axes {axes} needs {len(axes)} index operand(s), got {len(indices)}")
    for index in indices:
        if index.dtype is not int64:
            raise DTypeError(f"{op} of {x}: indices must be int64, got {index}; cast them")
        if index.shape != indices[0].shape:
            raise ShapeError(f"{op} of {x}: indices {indices[0]} and {index} must have one shape; broadcast them")
    if not 0 <= batch <= min(axes) or x.shape[:batch] != indices[0].shape[:batch]:
        raise ShapeError(
            f"{op} of {x} along axes {axes} at indices {indices[0]}: batch = {batch} must be a number of first dimensions that "
            "are before the axes, and that the indices have, too"
        )
    rest = tuple(x.shape[d] for d in others(x.rank, axes, batch))
    if not 0 <= lead <= len(rest):
        raise ShapeError(f"{op} of {x} along axes {axes}: lead = {lead} must be at most {len(rest)}, the other dimensions")
    return x.with_shape(x.shape[:batch] + rest[:lead] + indices[0].shape[batch:] + rest[lead:])


def _infer_gather(x: TensorType, *indices: TensorType, axes: tuple[int, ...], lead: int, batch: int) -> TensorType:
    result = _selection("gather", x, indices, axes, lead, batch)
    if result.size and not x.size:
        raise ShapeError(f"gather of {result} from {x}, which has no elements to clamp the indices to")
    return result


def _infer_scatter(
    x: TensorType, updates: TensorType, *indices: TensorType, axes: tuple[int, ...], mode: str, lead: int, batch: int
) -> TensorType:
    if mode not in MODES:
        raise ShapeError(f"scatter of mode {mode!r}; expected one of {', '.join(MODES)}")
    expected = _selection("scatter", x, indices, axes, lead, batch)
    if updates.dtype is not x.dtype or (x.dtype.is_bool and mode != "set"):
        raise DTypeError(f"scatter of {updates} into {x} by {mode!r}; expected one numeric dtype (or bool, by 'set')")
    if updates.shape != expected.shape:
        raise ShapeError(f"scatter of {updates} into {x} along axes {axes}: the updates must be {expected}")
    return x


# ---------------------------------------------------------------------------------------------------------- references


def _own_places(index: np.ndarray, batch: int) -> tuple[np.ndarray, ...]:
    """The places of an index along its first dimensions."""
    own: tuple[np.ndarray, ...] = np.indices(index.shape, sparse=True)[:batch]
    return tuple(np.broadcast_to(places, index.shape) for places in own)


def _order_of(index: np.ndarray, lead: int, batch: int) -> list[int]:
    """Where the dimensions of an index are among those of what it selects."""
    return [d if d < batch else lead + d for d in range(index.ndim)]


def _reference_gather(x: np.ndarray, *indices: np.ndarray, axes: tuple[int, ...], lead: int, batch: int) -> np.ndarray:
    if not x.size:  # nothing is found, wherever the places are
        x = np.empty([max(n, 1) if d in axes else n for d, n in enumerate(x.shape)], x.dtype)
    front = np.moveaxis(x, axes, range(batch, batch + len(axes)))
    places = (i.clip(0, n - 1) for i, n in zip(indices, front.shape[batch:], strict=False))
    found = np.asarray(front[(*_own_places(indices[0], batch), *places)])
    return np.moveaxis(found, range(indices[0].ndim), _order_of(indices[0], lead, batch))


_FOLDS: dict[str, Any] = {"add": np.add, "max": np.maximum, "min": np.minimum}


def _reference_scatter(
    x: np.ndarray, updates: np.ndarray, *indices: np.ndarray, axes: tuple[int, ...], mode: str, lead: int, batch: int
) -> np.ndarray:
    result = x.copy()
    updates = np.moveaxis(updates, _order_of(indices[0], lead, batch), range(indices[0].ndim))
    front = np.moveaxis(result, axes, range(batch, batch + len(axes)))
    indices = (*_own_places(indices[0], batch), *indices)
    valid = np.logical_and.reduce([(i >= 0) & (i < n) for i, n in zip(indices, front.shape, strict=False)])
    for at in zip(*np.nonzero(np.atleast_1d(valid)), strict=True):
        at = at if valid.ndim else ()
        place = tuple(int(i[at]) for i in indices)
        front[place] = updates[at] if mode == "set" else _FOLDS[mode](front[place], updates[at])
    return result


# ------------------------------------------------------------------------------------------------------------- elements


def _element_gather(node: Value, index: Index, reader: Reader) -> Expr:
    x, axes, batch = node.operands[0], node.attrs["axes"], node.attrs["batch"]
    start, stop = batch + node.attrs["lead"], node.attrs["lead"] + node.operands[1].type.rank
    rest = (*range(batch), *others(x.type.rank, axes, batch))
    place: dict[int, Expr] = dict(zip(rest, index[:start] + index[stop:], strict=True))
    for number, axis in enumerate(axes, start=1):
        asked = call("max", reader.read(number, index[:batch] + index[start:stop]), const(0, int64))
        place[axis] = as_index(call("min", asked, const(max(x.shape[axis] - 1, 0), int64)))
    return reader.read(0, tuple(place[d] for d in range(x.type.rank)))


# ----------------------------------------------------------------------------------------------------------- gradients


def _clamped(index: Value, extent: int) -> Value:
    return make("min", make("max", index, like(index, 0)), like(index, extent - 1))


def _gradient_gather(node: Value, ct: Value) -> list[Value | None]:
    """y = x[indices]      dx = 0 with ct added at the indices."""
    x, *indices = node.operands
    if x.type.size == 0:
        return [full(x.type, 0)] + [None] * len(indices)
    places = [_clamped(index, x.shape[axis]) for index, axis in zip(indices, node.attrs["axes"], strict=True)]
    dx = scatter(full(x.type, 0), ct, *places, mode="add", **node.attrs)
    return [dx] + [None] * len(indices)


def _gradient_scatter(node: Value, ct: Value) -> list[Value | None]:
    """add: both get ct.  set: ct goes to the update that was stored last, else to x.  max, min: to those who equal the
    result, in equal shares."""
    x, updates, *indices = node.operands
    if x.type.size == 0 or updates.type.size == 0:
        return [ct, full(updates.type, 0)] + [None] * len(indices)
    rule: Callable[..., tuple[Value, Value]] = {"add": _gradient_add, "set": _gradient_set}.get(
        node.attrs["mode"], _gradient_extreme
    )
    return [*rule(node, ct), *[None] * len(indices)]


def _over_rows(condition: Value, node: Value) -> Value:
    """A condition on each index, repeated for every element of its update."""
    lead, batch = node.attrs["lead"], node.attrs["batch"]
    return broadcast(condition, node.operands[1].shape, (*range(batch), *range(lead + batch, lead + condition.type.rank)))


def _in_range(node: Value) -> Value:
    """Which updates are not dropped."""
    axes, x = node.attrs["axes"], node.operands[0]
    bounds = []
    for index, axis in zip(node.operands[2:], axes, strict=True):
        bounds += [make("ge", index, like(index, 0)), make("lt", index, like(index, x.shape[axis]))]
    return reduce(lambda a, b: make("and", a, b), bounds)


def _kept(condition: Value, x: Value) -> Value:
    return select(condition, x, like(x, 0))


def _where(node: Value) -> dict[str, Any]:
    """How the indices of a scatter say where."""
    return {key: node.attrs[key] for key in ("axes", "lead", "batch")}


def _taken(value: Value, node: Value) -> Value:
    """What a scatter would write over."""
    return gather(value, *node.operands[2:], **_where(node))


def _gradient_add(node: Value, ct: Value) -> tuple[Value, Value]:
    taken = _taken(ct, node)
    return ct, _kept(_over_rows(_in_range(node), node), taken)


def _gradient_set(node: Value, ct: Value) -> tuple[Value, Value]:
    """The last writer of each place is found by scattering the numbers of the updates."""
    x, updates, *indices = node.operands
    axes, batch = node.attrs["axes"], node.attrs["batch"]
    shape = indices[0].shape
    numbers = reshape(iota(int64, (prod(shape),), 0), shape)
    nobody = full(TensorType(int64, (*shape[:batch], *(x.shape[a] for a in axes))), -1)
    places = range(batch, batch + len(axes))
    writers = scatter(nobody, numbers, *indices, axes=places, batch=batch)
    won = make("eq", gather(writers, *indices, axes=places, batch=batch), numbers)
    dx = scatter(ct, full(updates.type, 0), *indices, **_where(node))
    return dx, _kept(_over_rows(won, node), _taken(ct, node))


def _gradient_extreme(node: Value, ct: Value) -> tuple[Value, Value]:
    x, updates, *indices = node.operands
    reached = make("eq", _taken(node, node), updates)
    stored = make("and", reached, _over_rows(_in_range(node), node))
    own = make("eq", x, node)
    ties = scatter(cast(own, ct.dtype), cast(stored, ct.dtype), *indices, mode="add", **_where(node))
    share = ct / make("max", ties, like(ties, 1))
    return _kept(own, share), _kept(stored, _taken(share, node))


# ------------------------------------------------------------------------------------------------------------- records

# x shape, index shape, axes, lead, batch; indices run from -2 to two beyond the extent, so some are out of range and some
# repeat.
_CASES: tuple[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int, int], ...] = (
    ((5, 3), (4,), (0,), 0, 0),
    ((3, 4), (2, 3), (1,), 0, 0),
    ((4, 2, 3), (7,), (2, 0), 0, 0),
    ((3, 5), (2, 3), (0, 1), 0, 0),
    ((7,), (), (0,), 0, 0),
    ((20, 33), (9,), (0,), 0, 0),
    ((3, 4, 2), (), (1,), 0, 0),
    ((3, 4), (5,), (1,), 1, 0),
    ((2, 5, 19), (2, 3), (1,), 1, 0),
    ((3, 2, 4, 2), (3,), (3, 1), 1, 0),
    ((2, 3, 17, 2), (4,), (1, 2), 1, 0),
    ((3, 5), (3, 4), (1,), 0, 1),
    ((2, 5, 19), (2, 3), (1,), 0, 1),
    ((2, 3, 4, 5, 2), (2, 7), (3, 2), 1, 1),
    ((3, 2, 7), (3, 2), (2,), 0, 2),
    ((3, 0, 0), (2,), (2,), 0, 0),
)


def _arrays() -> Iterator[tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...], dict[str, Any]]]:
    rng = np.random.default_rng(0)
    for number, (shape, places, axes, lead, batch) in enumerate(_CASES):
        rest = tuple(shape[d] for d in others(len(shape), axes, batch))
        indices = tuple(np.asarray(rng.integers(-2, shape[a] + 2, places)) for a in axes)
        for name in ("float32", "float64", "float16", "bfloat16", "int32", "uint8") if number == 0 else ("float32",):
            shapes = shape, shape[:batch] + rest[:lead] + places[batch:] + rest[lead:]
            x, new = (np.asarray(3 * rng.standard_normal(s)).astype(dtype(name).numpy) for s in shapes)
            yield x, new, indices, {"axes": axes, "lead": lead, "batch": batch}


def _samples_gather() -> Iterator[Sample]:
    for x, _, indices, attrs in _arrays():
        yield Sample((x, *indices), attrs)


def _samples_scatter() -> Iterator[Sample]:
    for x, new, indices, attrs in _arrays():
        yield from (Sample((x, new, *indices), attrs | {"mode": mode}) for mode in MODES)


register(
    Op(
        name="gather",
        infer=_infer_gather,
        reference=_reference_gather,
        gradient=_gradient_gather,
        lower=Pointwise(_element_gather),
        samples=_samples_gather,
        doc="Elements (or rows) at given indices, clamped into range.",
    )
)
register(
    Op(
        name="scatter",
        infer=_infer_scatter,
        reference=_reference_scatter,
        gradient=_gradient_scatter,
        lower=Loops(scatter_kernel),
        samples=_samples_scatter,
        doc="Store, add, max or min updates in at given indices, in order; those out of range are dropped.",
    )
)

__all__ = ["argsort", "cumsum", "gather", "scatter", "sort", "take_along_axis", "top_k"]
