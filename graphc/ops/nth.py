"""Single elements of a line in the order of argsort, by their ranks, without sorting the line.

In: a value, ranks and an axis. Out: positions. Floats become integers in their order (`sort_key`); the kernel of `argnth` finds
the key of a rank bit by bit, from the number of keys below a bound, and then in the same way which of equal keys it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..dtype import DTYPES, int32, int64, uint8
from ..errors import DTypeError, ShapeError
from ..ir.expr import Array, Expr, Var, as_index, call, cast, const, load, select, temp
from ..ir.kernel import Accumulate, For, Kernel, Let, Local, Stmt, Store
from ..ir.op import Elementwise, Loops, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .elementwise import cast as cast_value
from .index import take_along_axis
from .order import argsort, check_axis, lanes, on_last, reference_argsort, sort_key
from .top import LARGEST, selection_time, sort_time

# Nanoseconds, roughly, to count what is below a bound: to start, and for a byte of keys.
START, BYTE = 8.0, 0.012


def nth_in_order(x: Value, ranks: Value, axis: int) -> Value:
    """int64 positions along `axis` of the elements that argsort would bring to `ranks` (int64, in any number along the axis),
    each clamped into range."""
    check_axis("nth_in_order", x.type, axis)
    n, count = x.shape[axis], ranks.shape[axis]
    if count * _count_time(x.type, n) >= sort_time(n):
        return take_along_axis(argsort(x, axis), ranks, axis)
    return on_last(axis, lambda keys, ranks: make("argnth", keys, ranks), sort_keys(x), ranks)


def is_nth(x: TensorType, axis: int, count: int) -> bool:
    """Whether the last of the first `count` in order is found faster alone than with them."""
    n = x.shape[axis]
    return count > LARGEST or _count_time(x, n) < selection_time(n, count)


def _count_time(x: TensorType, n: int) -> float:
    bits = _infer_key(x, descending=False).dtype.bits if x.dtype.is_float else x.dtype.bits
    return (bits + max(n - 1, 0).bit_length()) * (START + BYTE * n * bits / 8)


def sort_keys(x: Value, descending: bool = False) -> Value:
    """Integers in the order of a sort: equal for equal elements, greatest for NaN."""
    if x.dtype.is_float:
        return make("sort_key", x, descending=descending)
    keys = cast_value(x, uint8) if x.dtype.is_bool else x
    return make("not", keys) if descending else keys


# ------------------------------------------------------------------------------------------------------------ sort_key


def _infer_key(x: TensorType, *, descending: bool) -> TensorType:
    if not x.dtype.is_float:
        raise DTypeError(f"sort_key of {x}; expected a float")
    return x.with_dtype(int64 if x.dtype.bits == 64 else int32)


def _reference_key(x: np.ndarray, *, descending: bool) -> np.ndarray:
    known: Any = np.where(x == 0, 0, x).astype(np.float64 if x.dtype == np.float64 else np.float32)
    bits: Any = known.view(np.int64 if x.dtype == np.float64 else np.int32)
    greatest = bits.dtype.type(np.iinfo(bits.dtype).max)
    keys = np.where(bits < 0, bits ^ greatest, bits)
    return np.asarray(np.where(np.isnan(known), greatest, ~keys if descending else keys))


def _samples_key() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for d in DTYPES:
        if d.is_float:
            special = np.array([np.nan, 0.0, -0.0, np.inf, -np.inf, 1e-42, -1e-42, 1.0, -1.0]).astype(d.numpy)
            for x in (special, (9 * rng.standard_normal((5, 7))).astype(d.numpy)):
                yield from (Sample((x,), {"descending": descending}) for descending in (False, True))


# -------------------------------------------------------------------------------------------------------------- argnth


def _infer_argnth(keys: TensorType, ranks: TensorType) -> TensorType:
    if not keys.dtype.is_int or ranks.dtype is not int64:
        raise DTypeError(f"argnth of {keys} at {ranks}; expected integers, and ranks of int64")
    if not keys.rank or keys.shape[:-1] != ranks.shape[:-1] or (ranks.size and not keys.size):
        raise ShapeError(f"argnth of {keys} at {ranks}; expected lines of one or more elements, and some ranks for each line")
    return ranks


def _reference_argnth(keys: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    order = reference_argsort(keys, axis=keys.ndim - 1, descending=False)
    return np.take_along_axis(order, ranks.clip(0, max(keys.shape[-1] - 1, 0)), axis=-1)


def _argnth_kernel(node: Value) -> Kernel:
    """An element of rank r is the largest bound (key, position) before which there are at most r."""
    keys, ranks = (v.type for v in node.operands)
    n, lowest = keys.shape[-1], 0 if keys.dtype.kind == "u" else -(2 ** (keys.dtype.bits - 1))
    task, source = Var("task", ranks.size), Array("keys", keys.dtype, keys.size)
    asked, out = Array("ranks", int64, ranks.size), Array("out", int64, ranks.size)
    value, place = Array("value", int64, 1), Array("place", int64, 1)
    rank, nth = temp("rank", int64), temp("nth", keys.dtype)

    def key(i: Var) -> Expr:
        return load(source, task // max(ranks.shape[-1], 1) * n + i)

    def lower(i: Var, bound: Expr) -> Expr:
        return key(i) < cast(bound, keys.dtype)

    def before(i: Var, bound: Expr) -> Expr:
        return call("or", key(i) < nth, call("and", key(i).equals(nth), i < as_index(bound)))

    body = (
        Let(rank, call("min", call("max", load(asked, task), const(0, int64)), const(max(n - 1, 0), int64))),
        *_largest(value, lowest, keys.dtype.bits, n, lower, rank),
        Let(nth, cast(load(value, 0), keys.dtype)),
        *_largest(place, 0, max(n - 1, 0).bit_length(), n, before, rank),
        Store(out, task, load(place, 0)),
    )
    return Kernel("argnth", (source, asked, out), task, body)


def _largest(found: Array, lowest: int, bits: int, n: int, before: Callable[[Var, Expr], Expr], rank: Expr) -> tuple[Stmt, ...]:
    """Put into `found` the largest of so many `bits` above `lowest` before which at most `rank` of n elements come."""
    digit, i, counted = Var(f"{found.name}_bit", bits), Var(f"{found.name}_i", n), int32 if n < 2**31 else int64
    count, tried, bound = Array("count", counted, 1), temp("tried", int64), load(found, 0)
    step = (
        Let(tried, bound + call("shl", const(1, int64), bits - 1 - digit)),
        Local(count),
        Store(count, as_index(0), const(0, counted)),
        lanes(i, (Accumulate(count, as_index(0), "add", cast(before(i, tried), counted)),)),
        Store(found, as_index(0), select(cast(load(count, 0), int64) <= rank, tried, bound)),
    )
    return (Local(found), Store(found, as_index(0), const(lowest, int64)), For(digit, step))


def _samples_argnth() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for d in DTYPES:
        if d.is_int:
            info = np.iinfo(d.numpy)
            keys = rng.integers(max(info.min, -3), 4, (3, 19)).astype(d.numpy)
            keys[:, 5], keys[:, 11] = info.min, info.max
            yield Sample((keys, rng.integers(-1, 20, (3, 7))))
    yield Sample((rng.integers(-(2**31), 2**31, (2, 45)).astype(np.int32), np.array([[0], [44]])))
    yield Sample((rng.integers(-(2**62), 2**62, (1, 1)), np.array([[0, 0]])))


register(
    Op(
        name="sort_key",
        infer=_infer_key,
        reference=_reference_key,
        gradient="its result is an integer",
        lower=Elementwise(sort_key),
        samples=_samples_key,
        doc="An integer for each float, in their order: -0 is 0, and NaN is greatest.",
    )
)
register(
    Op(
        name="argnth",
        infer=_infer_argnth,
        reference=_reference_argnth,
        gradient="its result is an integer",
        lower=Loops(_argnth_kernel),
        samples=_samples_argnth,
        doc="The positions of the elements of given ranks along the last axis; of equal ones the first comes first.",
    )
)
