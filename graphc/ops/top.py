"""The first few elements of a line in the order of argsort, without sorting the line.

In: a value, an axis and a count. Out: positions. The kernel of `argtop` keeps the best elements so far in a heap, the last of
them on top, and leaves chunks in which none comes before that one after comparing vectors. It visits chunks far from each
other, so that lines in order are like others. Whether sorting is faster is decided by shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import gcd, log, prod

import numpy as np

from ..dtype import DTYPES, bool_, int64
from ..errors import ShapeError
from ..ir.expr import Array, Expr, Index, Var, all_of, as_index, call, cast, const, load, select, temp
from ..ir.kernel import Accumulate, For, If, Kernel, Let, Local, Stmt, Store
from ..ir.op import Loops, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .order import Line, argsort, check_axis, lanes, on_last, reference_argsort
from .shape import slice_

CHUNK = 16  # elements that are compared at once
LARGEST = 1024  # elements of a heap: it lies on the stack
TURN = (5**0.5 - 1) / 2  # of the way around all chunks from one to the next: multiples of it lie far apart
# Nanoseconds, roughly: to look at an element, to look for what is better in a chunk, to put it into the heap and down by a
# level, to find an element's rank, and for that to compare it with another; of a sort, to start a step, and to exchange two.
LOOK, FIND, ENTER, SINK, RANK, COMPARE = 0.3, 10.0, 2.0, 4.5, 2.0, 0.09
STEP, EXCHANGE = 4.0, 0.65


def first_in_order(x: Value, axis: int, count: int, descending: bool = False) -> Value:
    """int64 positions of the first `count` elements along `axis` in the order of argsort."""
    check_axis("first_in_order", x.type, axis)
    if count <= LARGEST and selection_time(x.shape[axis], count) < sort_time(x.shape[axis]):
        return on_last(axis, lambda x: make("argtop", x, count=count, descending=descending), x)
    stop = tuple(count if d == axis else n for d, n in enumerate(x.shape))
    return slice_(argsort(x, axis, descending), (0,) * len(stop), stop)


def selection_time(n: int, count: int) -> float:
    """Of elements in random order the i-th belongs to the best so far with probability count / i."""
    better = count * log(n / count) if count else 0
    found = min(better, -(-(n - count) // CHUNK))
    ranks = 2 * count * (RANK + COMPARE * count)
    return LOOK * n + FIND * found + (ENTER + SINK * (count.bit_length() - 1)) * better + ranks


def sort_time(n: int) -> float:
    phases = max(n - 1, 0).bit_length()
    return (STEP + EXCHANGE * (n // 2)) * phases * (phases + 1) / 2


def _infer_argtop(x: TensorType, *, count: int, descending: bool) -> TensorType:
    if not x.rank or not 0 <= count <= x.shape[-1]:
        raise ShapeError(f"argtop of {count} of {x}; expected 0 <= count <= the extent of its last dimension")
    return TensorType(int64, (*x.shape[:-1], count))


def _reference_argtop(x: np.ndarray, *, count: int, descending: bool) -> np.ndarray:
    return reference_argsort(x, axis=x.ndim - 1, descending=descending)[..., :count]


def _argtop_kernel(node: Value) -> Kernel:
    x, count = node.operands[0].type, node.attrs["count"]
    n = x.shape[-1]
    task, i = Var("task", prod(x.shape[:-1])), Var("i", count)
    line = Line(Array("x", x.dtype, x.size), task * n, 1, node.attrs["descending"])
    out, first, heap = Array("out", int64, node.type.size), Array("first", int64, count), Array("heap", int64, count)

    def push(element: Expr, rank: Index) -> Store:
        return Store(heap, count - 1 - rank, element)

    def put(element: Expr, rank: Index) -> Store:
        return Store(out, task * count + rank, line.position(element))

    body = (
        Local(first),
        lanes(i, (Store(first, i, line.element(i)),)),
        Local(heap),
        *_ranked(line, first, push, "early"),
        *((_scan(line, heap, n),) if count else ()),
        *_ranked(line, heap, put, "best"),
    )
    return Kernel("argtop", (line.source, out), task, body)


def _scan(line: Line, heap: Array, n: int) -> For:
    """Each element behind the first ones that comes before the last of the best takes its place."""
    rest = n - heap.size
    chunks = -(-rest // CHUNK)
    turn, lane, single = Var("turn", chunks), Var("lane", CHUNK), Var("single", CHUNK)
    chunk = temp("chunk", int64, (0, max(chunks - 1, 0)))
    seen, better = Array("seen", int64, CHUNK), Array("better", bool_, 1)
    bound, element = temp("bound", int64), temp("element", int64)

    def enters(v: Var, element: Expr, last: Expr) -> Expr:
        exists = all_of(as_index(chunk) * CHUNK + v < rest)
        return all_of(exists, line.before(element, last, exists)) or const(True, bool_)

    place = as_index(chunk) * CHUNK + lane
    candidate = line.element(place + heap.size, all_of(place < rest))
    look = (
        Store(seen, lane, candidate),
        Accumulate(better, as_index(0), "or", enters(lane, candidate, bound)),
    )
    enter = If(enters(single, element, load(heap, 0)), _sift(line, heap, element))
    body = (
        Let(chunk, turn * _stride(chunks) % max(chunks, 1)),
        Let(bound, load(heap, 0)),
        Local(seen),
        Local(better),
        Store(better, as_index(0), const(False, bool_)),
        lanes(lane, look),
        If(load(better, 0), (For(single, (Let(element, load(seen, single)), enter)),)),
    )
    return For(turn, body)


def _stride(count: int) -> int:
    """A step through `count` places, all of them in turn, whose multiples lie far from each other."""
    return next((s for s in range(max(round(TURN * count), 1), count) if gcd(s, count) == 1), 1)


def _ranked(line: Line, elements: Array, place: Callable[[Expr, Index], Store], name: str) -> tuple[Stmt, ...]:
    """Each of the elements goes to the place of those that come after so many others."""
    number, each, other = (Var(name + suffix, elements.size) for suffix in ("", "_key", "_other"))
    keys, rank = Array(f"{name}_keys", line.key(number).dtype, elements.size), Array(f"{name}_rank", int64, 1)
    member, element, key = temp("member", int64), temp("element", int64), temp("key", keys.dtype)
    looked_up: tuple[Stmt, ...] = ()
    if not line.packed:
        look = (Let(member, load(elements, each)), Store(keys, each, line.key(as_index(member))))
        looked_up = (Local(keys), lanes(each, look))
    before = line.before(load(elements, other), element, keys=(load(keys, other), key))
    body = (
        Let(element, load(elements, number)),
        *(() if line.packed else (Let(key, load(keys, number)),)),
        Local(rank),
        Store(rank, as_index(0), const(0, int64)),
        lanes(other, (Accumulate(rank, as_index(0), "add", cast(before, int64)),)),
        place(element, as_index(load(rank, 0))),
    )
    return (*looked_up, For(number, body))


def _sift(line: Line, heap: Array, value: Expr) -> tuple[Stmt, ...]:
    """Put `value` in the place of the top, or, where that belongs below others, these above it."""
    level, at = Var("level", heap.size.bit_length() - 1), Array("at", int64, 1)
    place, left, right, child = (temp(name, int64) for name in ("place", "left", "right", "child"))
    wider, deeper = temp("wider", bool_), temp("deeper", bool_)
    below = as_index(place) * 2 + 1
    sink = (
        Let(place, load(at, 0)),
        Let(left, load(heap, below, below < heap.size)),
        Let(right, load(heap, below + 1, below + 1 < heap.size)),
        Let(wider, call("and", below + 1 < heap.size, line.before(left, right))),
        Let(child, select(wider, right, left)),
        Let(deeper, call("and", below < heap.size, line.before(value, child))),
        Store(heap, as_index(place), select(deeper, child, value)),
        Store(at, as_index(0), select(deeper, select(wider, below + 1, below), place)),
    )
    return (
        Local(at),
        Store(at, as_index(0), const(0, int64)),
        For(level, sink),
        Store(heap, as_index(load(at, 0)), value),
    )


def _samples_argtop() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for d in DTYPES:
        x = (2 * rng.standard_normal((3, 11))).astype(d.numpy)
        yield from (Sample((x,), {"count": 4, "descending": descending}) for descending in (False, True))
    special = np.array([[np.nan, 0.0, -0.0, np.inf, 1e-42], [-np.inf, -0.0, np.nan, 0.0, -np.nan]], np.float32)
    for count in range(6):
        yield from (Sample((special,), {"count": count, "descending": descending}) for descending in (False, True))
    yield Sample((rng.integers(0, 9, (2, 3, 45)).astype(np.int16),), {"count": 7, "descending": True})
    for name in ("float16", "float32", "float64", "int64"):
        x = (9 * rng.standard_normal(170)).astype(name)
        yield from (Sample((x,), {"count": count, "descending": False}) for count in (1, 2, 9, 10, 170))


register(
    Op(
        name="argtop",
        infer=_infer_argtop,
        reference=_reference_argtop,
        gradient="its result is an integer",
        lower=Loops(_argtop_kernel),
        samples=_samples_argtop,
        doc="The first few of the positions that sort along an axis: stable, NaN last.",
    )
)
