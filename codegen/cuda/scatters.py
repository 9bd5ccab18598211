"""Updates at places that only the data knows: each element of the result has one owner, or additions are atomic.

    out = x;  for number < n: place = index[number];  if place is inside: out[place, lane] word= updates[number, lane]
    ->  gathered, the same each time: a team for each place goes through all updates, in their order
    for place: kept = x[place];  for chunk: if any index of the chunk is this place:
        for number of the chunk: if index[number] is this place: kept[lane] word= updates[number, lane]
    ->  gathered, where a place has few elements and their order is free
    for place, lane: out = x[place, lane] word fold over all numbers of (index[number] is this place ? updates : neutral)
    ->  ranged, where the updates are too many to look for those of each place: a team for each range of places
    ->  atomic: a copy of x, and then, in another launch, a thread for each element of the updates

In: a tidy kernel of the op `scatter`. Out: kernels and what is atomic in them; None for other kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from graphc.dtype import bool_, float32, float64, int32, int64
from graphc.ir.expr import (
    Array,
    Call,
    Const,
    Expr,
    Index,
    Load,
    Temp,
    Var,
    all_of,
    as_index,
    call,
    const,
    linear,
    load,
    ravel,
    select,
    unravel,
)
from graphc.ir.kernel import COMBINES, VECTOR, Accumulate, For, If, Kernel, Let, Local, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed

from .expressions import below
from .target import Gpu

ATOMIC = (float32, float64, int32, int64)  # dtypes that atomicAdd takes
FEW = 8  # elements of a place from which a team has a lane for each
CHUNK = 128  # updates that a team looks through at once
# Cycles, roughly: of an instruction for each of a multiprocessor's lanes, of a look through a chunk, and of an update where
# teams own ranges of places.
LANES, FOLD_COST, LOOK_COST, RANGE_COST = 128, 6.0, 150.0, 60.0
RESIDENT = 16  # teams of a multiprocessor


@dataclass(frozen=True)
class Scatter:
    """out[at(outside, places, lane)] word= value(outside, number, lane) for so many `outer`, where `places` are those of an
    update within `sizes`. A task is one range of places for one outside."""

    kernel: Kernel
    source: Array
    out: Array
    number: Var
    lane: Var | None
    places: dict[Temp, Load]
    sizes: tuple[int, ...]
    outer: int
    at: Index
    word: str  # or "set"
    value: Expr

    @property
    def inner(self) -> int:
        """Elements of a place."""
        return self.lane.extent if self.lane is not None else 1

    @property
    def ranges(self) -> int:
        """Tasks that share the places of one outside."""
        return self.kernel.task.extent // self.outer

    def moved(self, outside: Index, number: Index | None = None, lane: Index | None = None) -> Renamed:
        """What replaces the names of the kernel."""
        names: dict[Var | Temp, Index] = {self.kernel.task: outside * self.ranges}
        names |= {self.number: number} if number is not None else {}
        names |= {self.lane: lane} if lane is not None and self.lane is not None else {}
        return Renamed(names)


def scatter(kernel: Kernel) -> Scatter | None:
    """The kernel as a scatter."""
    body = kernel.body
    if len(body) != 2 or not all(isinstance(stmt, For) for stmt in body):
        return None
    copied, applied = _only(body[0]), body[1]
    assert isinstance(applied, For)
    *lets, last = applied.body
    places = {s.temp: s.value for s in lets if isinstance(s, Let) and isinstance(s.value, Load)}
    if not places or len(places) != len(lets) or not isinstance(last, If) or last.orelse or len(last.then) != 1:
        return None
    (inside,) = last.then
    lane = inside.var if isinstance(inside, For) else None
    store = _only(inside)
    sizes = _sizes(last.condition, tuple(places), kernel.task)
    plain = isinstance(copied, Store) and isinstance(copied.value, Load) and copied.value.index is copied.index
    if not plain or sizes is None or not isinstance(store, Store) or store.guard is not None:
        return None
    assert isinstance(copied, Store) and isinstance(copied.value, Load)
    word, value = _update(store)
    if any(isinstance(part, Load) and part.array is store.array for part in below(value)):
        return None
    outer, rest = divmod(store.array.size, prod(sizes) * (lane.extent if lane else 1))
    if copied.array is not store.array or rest or not outer or kernel.task.extent % outer:
        return None
    at = as_index(store.index)
    return Scatter(kernel, copied.value.array, store.array, applied.var, lane, places, sizes, outer, at, word, value)


def _only(stmt: Stmt) -> Stmt | None:
    """What a nest of loops and conditions does."""
    while isinstance(stmt, For | If):
        inner = stmt.body if isinstance(stmt, For) else stmt.then
        if len(inner) != 1:
            return None
        (stmt,) = inner
    return stmt


def _update(store: Store) -> tuple[str, Expr]:
    """How an element takes its update in, and what is taken in."""
    value = store.value
    if isinstance(value, Call) and value.word in COMBINES and isinstance(value.args[0], Load):
        old, new = value.args
        if isinstance(old, Load) and old.array is store.array and old.index is store.index:
            return value.word, new
    return "set", value


def _sizes(condition: Expr, places: tuple[Temp, ...], task: Var) -> tuple[int, ...] | None:
    """How many places there are on each axis: the condition says that all are inside, and of the task's share."""
    sizes: dict[Expr, int] = {}
    for part in _conjuncts(condition):
        if task in below(part):
            continue
        match part:
            case Call(word="lt", args=(Index() as at, Const(value=size))) if _single(at) in places:
                sizes[_single(at)] = int(size)
            case Call(word="lt", args=(Index() as at, Index() as size)) if _single(at) in places and not linear(size)[0]:
                sizes[_single(at)] = linear(size)[1]
            case Call(word="le"):
                pass
            case _:
                return None
    return tuple(sizes[place] for place in places) if sizes.keys() == set(places) else None


def _conjuncts(condition: Expr) -> list[Expr]:
    if isinstance(condition, Call) and condition.word == "and":
        return [part for arg in condition.args for part in _conjuncts(arg)]
    return [condition]


def _single(index: Index) -> Expr:
    """The atom that an index is, or the index."""
    terms, constant = linear(index)
    return next(iter(terms)) if list(terms.values()) == [1] and constant == 0 else index


# ----------------------------------------------------------------------------------------------------------------- gathered


def gathered(found: Scatter, gpu: Gpu) -> Kernel | None:
    """Every place for itself; None where that takes longer than ranges of places."""
    count, places = found.number.extent, found.outer * prod(found.sizes)
    own_way = count * RANGE_COST
    ordered = found.word == "set" or (found.word == "add" and found.out.dtype.is_float)
    if found.inner < FEW and not ordered:
        return _folded(found) if places * found.inner * count * FOLD_COST / (gpu.processors * LANES) < own_way else None
    waves = max(1.0, places / (gpu.processors * RESIDENT))
    return _looked_for(found) if waves * (-(-count // CHUNK) + 2) * LOOK_COST < own_way else None


def _looked_for(found: Scatter) -> Kernel:
    """A task for each place, which looks for its updates."""
    task, lane = Var("place", found.outer * prod(found.sizes)), found.lane or Var("lane", 1)
    outside, place = task // prod(found.sizes), task % prod(found.sizes)
    kept, at = Array("kept", found.out.dtype, found.inner), _at(found, outside, place, lane)
    count, chunk = found.number.extent, min(CHUNK, found.number.extent)
    part, step, member = Var("chunk", -(-count // chunk)), Var("step", chunk), Var("member", chunk)
    any_here = Array("any_here", bool_, 1)
    look = Accumulate(any_here, as_index(0), "or", _here(found, outside, place, part * chunk + step))
    number = part * chunk + member
    value = found.moved(outside, number).expr(found.value)
    new = value if found.word == "set" else call(found.word, load(kept, lane), value)
    take = If(_here(found, outside, place, number), (For(lane, (Store(kept, lane, new),), VECTOR),))
    body = (
        Local(kept),
        For(lane, (Store(kept, lane, load(found.source, at)),), VECTOR),
        For(
            part,
            (
                Local(any_here),
                Store(any_here, as_index(0), const(False, bool_)),
                For(step, (look,), VECTOR),
                If(load(any_here, 0), (For(member, (take,)),)),
            ),
        ),
        For(lane, (Store(found.out, at, load(kept, lane)),), VECTOR),
    )
    return Kernel(found.kernel.name, found.kernel.params, task, body)


def _folded(found: Scatter) -> Kernel:
    """A task for each element, which folds over all updates."""
    task, dtype = Var("element", found.out.size), found.out.dtype
    row, lane = task // found.inner, task % found.inner
    outside, place = row // prod(found.sizes), row % prod(found.sizes)
    at = _at(found, outside, place, lane)
    acc = Array("acc", dtype, 1)
    value = found.moved(outside, lane=lane).expr(found.value)
    neutral = const(COMBINES[found.word](dtype), dtype)
    fold = Accumulate(acc, as_index(0), found.word, select(_here(found, outside, place, found.number), value, neutral))
    body = (
        Local(acc),
        Store(acc, as_index(0), load(found.source, at)),
        For(found.number, (fold,), VECTOR),
        Store(found.out, at, load(acc, 0)),
    )
    return Kernel(found.kernel.name, found.kernel.params, task, body)


def ranged(found: Scatter, gpu: Gpu) -> Kernel:
    """The kernel's own way, a team for each range of places, with ranges enough for the GPU."""
    places = prod(found.sizes)
    own = -(-places // min(places, max(gpu.processors // found.outer, 1)))
    ranges = -(-places // own)
    task, row, copied = Var("task", found.outer * ranges), Var("row", own), Var("copied", found.inner)
    outside, first = task // ranges, task % ranges * own
    at = _at(found, outside, first + row, copied)
    copy: Stmt = For(copied, (Store(found.out, at, load(found.source, at)),), VECTOR)
    exists = all_of(first + row < places)
    moved = found.moved(outside)
    at, value = moved.index(found.at), moved.expr(found.value)
    new = value if found.word == "set" else call(found.word, load(found.out, at), value)
    temps = tuple(as_index(place) for place in found.places)
    position = ravel(temps, found.sizes)
    bounds = [bound for place, n in zip(temps, found.sizes, strict=True) for bound in (place >= 0, place < n)]
    mine = all_of(*bounds, position >= first, position < first + own)
    assert mine is not None
    store: Stmt = Store(found.out, at, new)
    take = If(mine, (For(found.lane, (store,), VECTOR) if found.lane is not None else store,))
    lets = (Let(place, moved.expr(index)) for place, index in found.places.items())
    body = (For(row, (copy if exists is None else If(exists, (copy,)),)), For(found.number, (*lets, take)))
    return Kernel(found.kernel.name, found.kernel.params, task, body)


def _here(found: Scatter, outside: Index, place: Index, number: Index) -> Expr:
    """Whether an update is for a place; false for numbers behind the last."""
    exists = all_of(number < found.number.extent)
    terms: list[Expr] = [] if exists is None else [exists]
    for index, part in zip(found.places.values(), unravel(place, found.sizes), strict=True):
        asked = load(index.array, found.moved(outside, number).index(as_index(index.index)), exists)
        terms.append(call("eq", asked, part))
    here = all_of(*terms)
    assert here is not None
    return here


def _at(found: Scatter, outside: Index, place: Index, lane: Index) -> Index:
    """Where an element of a place lies."""
    names: dict[Var | Temp, Index] = dict(zip(found.places, unravel(place, found.sizes), strict=True))
    return Renamed(names).index(found.moved(outside, lane=lane).index(found.at))


# ------------------------------------------------------------------------------------------------------------------- atomic


def atomic(found: Scatter) -> tuple[Kernel, Kernel] | None:
    """The copy, and the additions that are atomic in `found.out`; None where there are no such instructions."""
    if found.word != "add" or found.out.dtype not in ATOMIC:
        return None
    whole, lane = Var("task", 1), Var("v", found.out.size)
    copy = Kernel(
        "copy", (found.source, found.out), whole, (For(lane, (Store(found.out, lane, load(found.source, lane)),), VECTOR),)
    )
    item = Var("item", found.outer * found.number.extent * found.inner)
    row = item // found.inner
    moved = found.moved(row // found.number.extent, row % found.number.extent, item % found.inner)
    inside = all_of(
        *(bound for p, n in zip(found.places, found.sizes, strict=True) for bound in (as_index(p) >= 0, as_index(p) < n))
    )
    assert inside is not None
    lets = tuple(Let(place, moved.expr(index)) for place, index in found.places.items())
    add = Accumulate(found.out, moved.index(found.at), "add", moved.expr(found.value))
    params = tuple(param for param in found.kernel.params if param is not found.source)
    return copy, Kernel(found.kernel.name, params, item, (*lets, If(inside, (add,))))
