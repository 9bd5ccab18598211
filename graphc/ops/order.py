"""Sorting along one axis, and how tasks walk along an axis in the kernels of other ops.

In: a value and an axis. Out: argsort with a kernel of its own, and walks: one task per line along the axis (or per group of
neighbouring lines), so that results do not depend on the number of threads. Sorting by value and the like are
compositions in index.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from ..dtype import DTYPES, bool_, dtype, int8, int16, int32, int64, uint8
from ..errors import ShapeError
from ..ir.expr import Array, Expr, Index, Var, all_of, as_index, call, cast, const, load, select, temp
from ..ir.kernel import SERIAL, UNROLLED, VECTOR, For, If, Kernel, Let, Stmt, Store
from ..ir.op import Loops, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .shape import transpose

LANES = 16  # shorter loops are not worth vectorising
TASKS = 8  # that should remain where a task walks several lines

_LOW_HALF = 2**32 - 1
_SIGNED = {8: int8, 16: int16, 32: int32, 64: int64}


def argsort(x: Value, axis: int, descending: bool = False) -> Value:
    """int64 positions that put `x` in order along `axis`: stable in both directions, and NaN comes last."""
    check_axis("argsort", x.type, axis)
    return on_last(axis, lambda x: make("argsort", x, axis=x.type.rank - 1, descending=descending), x)


def on_last(axis: int, along: Callable[..., Value], *xs: Value) -> Value:
    """What `along` makes of values along their last dimension, but along `axis`: neighbouring elements make lines quicker."""
    rank = xs[0].type.rank
    last = [d for d in range(rank) if d != axis] + [axis]
    return transpose(along(*(transpose(x, last) for x in xs)), [last.index(d) for d in range(rank)])


def check_axis(op: str, x: TensorType, axis: int) -> None:
    if not 0 <= axis < x.rank:
        raise ShapeError(f"{op} of {x} along dimension {axis}; expected 0 <= dimension < {x.rank}")


def lanes(var: Var, body: tuple[Stmt, ...], contiguous: bool = True, otherwise: str = SERIAL) -> For:
    """A loop over independent iterations, in vector form where that pays."""
    wide = contiguous and var.extent >= LANES
    return For(var, body, VECTOR, LANES) if wide else For(var, body, otherwise)


def lines(node: Value) -> tuple[int, int, int]:
    """(lines before the axis, elements of a line, lines after it, which is also the stride of a line)."""
    shape, axis = node.operands[0].shape, node.attrs["axis"]
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


@dataclass(frozen=True)
class Walk:
    """Lines along an axis that a task walks together, one lane each: `at` is element `i` of the line of a `lane`, unless the
    guard says that there is none."""

    task: Var
    i: Var
    lane: Var
    at: Index
    guard: Expr | None

    @property
    def together(self) -> int:
        return self.lane.extent

    def lanes(self, var: Var, *body: Stmt) -> For:
        """A loop over all lanes, by this variable; what few of them keep is in registers."""
        return lanes(var, body, otherwise=UNROLLED)


def walk(node: Value, backwards: bool = False) -> Walk:
    """Neighbouring lines, or, where elements of a line are neighbours, a few lines: they need not wait for each other."""
    outer, n, stride = lines(node)
    together = _few(outer) if stride == 1 else min(stride, LANES)
    i, lane = Var("i", n), Var("lane", together)
    along = n - 1 - i if backwards else as_index(i)
    if stride == 1:
        task = Var("task", outer // together)
        return Walk(task, i, lane, (task * together + lane) * n + along, None)
    groups = -(-stride // together) if together else 0
    task = Var("task", outer * groups)
    column = (task % groups) * together + lane if groups > 1 else as_index(lane)
    row = (task // groups if groups > 1 else task) * (n * stride) + along * stride
    return Walk(task, i, lane, row + column, all_of(column < stride))


def _few(lines: int) -> int:
    """A divisor of a number of lines that leaves many tasks."""
    return max(n for n in range(1, 5) if n == 1 or (lines % n == 0 and lines // n >= TASKS))


# ------------------------------------------------------------------------------------------------------------- argsort


def _infer_argsort(x: TensorType, *, axis: int, descending: bool) -> TensorType:
    check_axis("argsort", x, axis)
    return x.with_dtype(int64)


def reference_argsort(x: np.ndarray, *, axis: int, descending: bool) -> np.ndarray:
    wide = x.astype(dtype(x.dtype).accumulator.numpy)
    rank = np.unique(wide, return_inverse=True)[1].reshape(x.shape)
    rank = np.where(wide != wide, x.size, -rank if descending else rank)
    return np.argsort(rank, axis=axis, kind="stable").astype(np.int64)


def sort_key(x: Expr, descending: bool) -> Expr:
    """A signed integer (uint8 for bytes) in the order of the sort: equal for equal numbers, greatest for NaN."""
    if not x.dtype.is_float:
        key = cast(x, uint8) if x.dtype.is_bool else x
        return ~key if descending else key
    x = cast(x, x.dtype.accumulator)
    kind = _SIGNED[x.dtype.bits]
    greatest = 2 ** (kind.bits - 1) - 1
    bits = call("bitcast", select(x.equals(0), 0, x), dtype=kind)
    key = select(bits < 0, bits ^ greatest, bits)
    return select(call("isnan", x), greatest, ~key if descending else key)


@dataclass(frozen=True)
class Line:
    """The line of the source that a task puts in order. Where keys and positions have at most 32 bits, an element is its key
    above its position, packed into an int64; otherwise it is the position, and keys are looked up in the source."""

    source: Array
    start: Index
    stride: int
    descending: bool

    @property
    def packed(self) -> bool:
        return self.source.dtype.bits <= 32 and self.source.size <= _LOW_HALF

    def row(self, i: Index) -> Index:
        return self.start + i * self.stride

    def key(self, i: Index, exists: Expr | None = None) -> Expr:
        return sort_key(load(self.source, self.row(i), exists), self.descending)

    def element(self, i: Index, exists: Expr | None = None) -> Expr:
        return call("or", cast(self.key(i, exists), int64) << 32, i) if self.packed else i

    def position(self, element: Expr) -> Expr:
        return element & _LOW_HALF if self.packed else element

    def before(self, a: Expr, b: Expr, exists: Expr | None = None, keys: tuple[Expr, Expr] | None = None) -> Expr:
        """Whether element a comes before b: equal keys (looked up, unless known) are ordered by position, so that the order is
        total."""
        if self.packed:
            return a < b
        ka, kb = keys or (self.key(as_index(a), exists), self.key(as_index(b), exists))
        return call("or", ka < kb, call("and", ka.equals(kb), a < b))


def _argsort_kernel(node: Value) -> Kernel:
    """Batcher's merge exchange (Knuth, TAOCP 5.2.2, algorithm M): it sorts any n by fixed exchanges of elements i and
    i + d for all i < n - d with i & p == r, where p halves from phase to phase. The pairs of a step are disjoint."""
    x = node.operands[0].type
    outer, n, stride = lines(node)
    task, i, j = Var("task", outer * stride), Var("i", n), Var("j", n)
    start = (task // stride) * (n * stride) + task % stride if stride > 1 else task * n
    line = Line(Array("x", x.dtype, x.size), start, stride, node.attrs["descending"])
    out = Array("out", int64, x.size)
    body = [lanes(i, (Store(out, line.row(i), line.element(i)),), stride == 1)]
    phases = max(n - 1, 0).bit_length()
    if phases:
        phase, step = Var("phase", phases), Var("step", phases)
        body.append(For(phase, (For(step, (If(step <= phase, _step(line, out, n, phase, step)),)),)))
    if line.packed:
        body.append(lanes(j, (Store(out, line.row(j), line.position(load(out, line.row(j)))),), stride == 1))
    return Kernel("argsort", (line.source, out), task, tuple(body))


def _step(line: Line, out: Array, n: int, phase: Index, step: Index) -> tuple[Stmt, ...]:
    """In a phase p = top >> phase; its first step has d = p and r = 0, later ones d = (top >> step - 1) - p and r = p."""
    top = const(1 << (n - 1).bit_length() - 1, int64)
    p, d, r = (temp(name, int64) for name in "pdr")
    first = step.equals(0)
    halved = call("shr", top, call("max", step - 1, const(0, int64)))
    lets = (Let(p, call("shr", top, phase)), Let(d, select(first, p, halved - p)), Let(r, select(first, 0, p)))
    return (*lets, *_sweep(line, out, n, p, as_index(d), r))


def _sweep(line: Line, out: Array, n: int, p: Expr, d: Index, r: Expr) -> Iterator[Stmt]:
    """Exchange i and i + d for all i < n - d with i & p == r: in vectors where `p` neighbours fill one."""
    pair, chunk, lane = Var("pair", n // 2), Var("chunk", -(-(n // 2) // LANES)), Var("lane", LANES)
    single, first = temp("single", int64), temp("first", int64)
    alone = If(as_index(single) < n - d, _exchange(line, out, as_index(single), d, None))
    yield If(call("lt", p, const(LANES, int64)), (For(pair, (Let(single, _spread(pair, p, r)), alone)),))
    if n > LANES:
        place = as_index(first) + lane
        row = For(lane, _exchange(line, out, place, d, place < n - d), VECTOR, LANES)
        some = If(as_index(first) < n - d, (row,))
        yield If(call("le", const(LANES, int64), p), (For(chunk, (Let(first, _spread(chunk * LANES, p, r)), some)),))


def _exchange(line: Line, out: Array, at: Index, d: Index, exists: Expr | None) -> tuple[Stmt, ...]:
    """Bring the elements at and at + d into order."""
    rows = line.row(at), line.row(at + d)
    a, b, swap = temp("a", int64), temp("b", int64), temp("swap", bool_)
    return (
        Let(a, load(out, rows[0], exists)),
        Let(b, load(out, rows[1], exists)),
        Let(swap, line.before(b, a, exists)),
        Store(out, rows[0], select(swap, b, a), exists),
        Store(out, rows[1], select(swap, a, b), exists),
    )


def _spread(number: Index, p: Expr, r: Expr) -> Expr:
    """The number-th i with i & p == r, where p is a power of two and r is 0 or p."""
    return call("add", call("add", number, call("and", number, -p)), r)


def _samples_argsort() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for d in DTYPES:
        x = (2 * rng.standard_normal((3, 11))).astype(d.numpy)
        yield from (Sample((x,), {"axis": 1, "descending": descending}) for descending in (False, True))
    special = np.array([[np.nan, 0.0, -0.0, np.inf, 1e-42], [-np.inf, -0.0, np.nan, 0.0, -np.nan]], np.float32)
    for axis, descending in ((0, False), (1, False), (0, True), (1, True)):
        yield Sample((special,), {"axis": axis, "descending": descending})
    yield Sample((rng.integers(0, 9, (2, 45, 3)).astype(np.int16),), {"axis": 1, "descending": True})
    for name in ("float16", "float32", "float64", "int64"):
        yield Sample(((9 * rng.standard_normal(70)).astype(name),), {"axis": 0, "descending": False})


register(
    Op(
        name="argsort",
        infer=_infer_argsort,
        reference=reference_argsort,
        gradient="its result is an integer",
        lower=Loops(_argsort_kernel),
        samples=_samples_argsort,
        doc="The positions that sort along an axis: stable, NaN last.",
    )
)
