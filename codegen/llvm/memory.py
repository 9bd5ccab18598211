"""Loads and stores of one element, or of one element for each lane.

In: where an array lives, a `Position`, a mask. Out: the cheapest access that is right: scalar, contiguous vector, lanes
picked out of rows, gather or scatter. Lanes that a mask leaves out touch no memory outside the function's own stack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from graphc.dtype import DType, bool_, uint8

from . import types
from .builder import Builder, Value, every
from .indices import Indexer, Position
from .picks import cover, pick, row_mask

LINE = 64  # bytes that move between caches
OPAQUE = "llvm.strip.invariant.group.p0"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lives. `local`: on the stack, with room for a vector beyond its end. `private`: it has an instance
    for each of so many lanes, element by element; 0 when lanes share it. `ahead`: rows of lanes fetch what lies so many bytes
    behind them; 0 for nothing. `stays`: nothing is stored to it. `whole`: the array, where `pointer` does not point
    to its first element."""

    pointer: str
    dtype: DType
    local: bool = False
    private: int = 0
    ahead: int = 0
    stays: bool = False
    whole: str = ""

    @property
    def array(self) -> str:
        return self.whole or self.pointer


def locate(x: Indexer, place: Place, p: Position) -> Position:
    """The position in memory: private arrays interleave their lanes' instances."""
    if not place.private:
        return p
    if p.rest is None:
        return p.plus(place.private, 1)
    vector, bits = p.rest
    kind = types.vector(f"i{bits}", x.lanes)
    scaled = x.b.op(f"mul {kind} {vector}, {types.splat(str(place.private), f'i{bits}', x.lanes)}")
    return replace(replace(p, rest=None).plus(place.private, 1), rest=(scaled, bits))


def address(x: Indexer, place: Place, p: Position) -> str:
    """A pointer to the element of lane 0, `rest` left out."""
    base = _base(x, place, p)
    return x.b.op(f"getelementptr {types.memory(place.dtype)}, ptr {base}, i64 {p.constant}") if p.constant else base


def _base(x: Indexer, place: Place, p: Position) -> str:
    """A pointer to the element of lane 0, constant and `rest` left out."""
    return x.b.memo((place.pointer, place.dtype, p.terms), lambda: _sum(x, place, p)) if p.terms else place.pointer


def _sum(x: Indexer, place: Place, p: Position) -> str:
    """The pointer, and what loops add to it. What inner loops do not change is added before them."""
    b, scalar, pointer = x.b, types.memory(place.dtype), place.pointer
    depths = sorted({b.depth(name) for name, _ in p.terms})
    for depth in depths:
        offset = x.scalar(Position(0, tuple(term for term in p.terms if b.depth(term[0]) == depth)))
        pointer = b.early(f"getelementptr {scalar}, ptr {pointer}, i64 {offset}")
        if depth < max(len(b.preheaders), 1) and not place.local:
            pointer = _opaque(b, pointer)
    return pointer


def _opaque(b: Builder, pointer: str) -> str:
    """The pointer, but LLVM does not look behind it for other ways to add up the addresses of a loop, of which there are many
    and none better. There are no invariant groups to strip, and no instruction is made of this."""
    b.declarations.add(f"declare ptr @{OPAQUE}(ptr)")
    return b.early(f"call ptr @{OPAQUE}(ptr {pointer})")


def load(x: Indexer, place: Place, p: Position, mask: Value | None, guard: Value | None) -> Value:
    """The elements at `p` (already located); 0 where the guard is false, anything where the mask is."""
    if guard is not None and guard.known is not None:
        guard = None
    if not p.varies:
        return _load_one(x, place, p, mask, guard)
    if p.rest is None and p.lane == 1:
        return _load_row(x, place, p, mask, guard)
    return _gather(x, place, p, both(x.b, mask, guard, x.lanes))


def both(b: Builder, mask: Value | None, guard: Value | None, lanes: int) -> Value | None:
    """Lanes that pass both; None when all do. Where signs are masks, LLVM 22 keeps only the sign of what it proves to be false
    late, and may then take what else is left of it for true; comparisons it folds as a whole."""
    if guard is None:
        return mask
    if mask is not None and mask.each and guard.each:
        return every(mask.each, guard.each)
    kind, text = types.vector("i1", lanes), b.widen(guard, lanes).text
    if mask is not None:
        text = b.op(f"and {kind} {mask.text}, {text}")
    if b.target.masks_by_sign:
        wide = types.vector("i32", lanes)
        text = b.op(f"icmp ne {wide} {b.op(f'zext {kind} {text} to {wide}')}, zeroinitializer")
    return Value(text, bool_, lanes)


def or_zeros(b: Builder, pointer: str, guard: Value, size: int) -> str:
    """`pointer` where the guard is true, else the address of `size` zero bytes."""
    zeros = f"@graphc.zeros{size}"
    b.declarations.add(f"{zeros} = private unnamed_addr constant [{size} x i8] zeroinitializer, align 64")
    return b.early(f"select i1 {guard.text}, ptr {pointer}, ptr {zeros}")


def _load_one(x: Indexer, place: Place, p: Position, mask: Value | None, guard: Value | None) -> Value:
    b, dtype = x.b, place.dtype
    if guard is None:
        return _plain_load(x, place, p, 1)
    pointer = address(x, place, p)
    if guard.lanes == 1:
        return _load_at(b, place, or_zeros(b, pointer, guard, dtype.size), 1)
    active = both(b, mask, guard, x.lanes)
    assert active is not None
    bits = types.vector("i1", x.lanes)
    some = b.call(f"llvm.vector.reduce.or.{types.suffix('i1', x.lanes)}", "i1", (bits, active.text))
    found = _load_at(b, place, or_zeros(b, pointer, Value(some, bool_), dtype.size), 1)
    return _or_zero(b, guard, b.widen(found, x.lanes))


def _or_zero(b: Builder, guard: Value, value: Value) -> Value:
    kind = types.vector(types.register(value.dtype), value.lanes)
    bits = types.vector("i1", value.lanes)
    guard = b.widen(guard, value.lanes)
    return replace(value, text=b.op(f"select {bits} {guard.text}, {kind} {value.text}, {kind} zeroinitializer"))


def _load_row(x: Indexer, place: Place, p: Position, mask: Value | None, guard: Value | None) -> Value:
    b, n, dtype = x.b, x.lanes, place.dtype
    if place.local:
        value = _plain_load(x, place, p, n)
        return value if guard is None else _or_zero(b, guard, value)
    if guard is None and mask is None:
        if place.ahead:
            _fetch_ahead(b, place, address(x, place, p), n, write=False)
        return _plain_load(x, place, p, n)
    pointer = address(x, place, p)
    if guard is not None and guard.lanes == 1:
        pointer, guard = or_zeros(b, pointer, guard, n * dtype.size), None
    active = both(b, mask, guard, n)
    if active is None:
        _fetch_ahead(b, place, pointer, n, write=False)
        return _load_at(b, place, pointer, n)
    return _from_memory(b, _masked(b, place, pointer, active.text, n), dtype, n)


def _masked(b: Builder, place: Place, pointer: str, mask: str, n: int) -> str:
    """The elements of a row that a mask allows, zeros for the others."""
    scalar = types.memory(place.dtype)
    kind, name = types.vector(scalar, n), f"llvm.masked.load.{types.suffix(scalar, n)}.p0"
    source, lanes = (f"ptr align {place.dtype.size}", pointer), (types.vector("i1", n), mask)
    return b.call(name, kind, source, lanes, (kind, "zeroinitializer"), stays=place.stays)


def _fetch_ahead(b: Builder, place: Place, pointer: str, n: int, write: bool) -> None:
    """Has the lines brought to the first cache that will be read or written `ahead` bytes later."""
    if not place.ahead:
        return
    for offset in range(0, n * place.dtype.size, LINE):
        _prefetch(b, b.op(f"getelementptr i8, ptr {pointer}, i64 {place.ahead + offset}"), write, cache=1)


def fetch(x: Indexer, place: Place, p: Position, write: bool = False) -> None:
    """Has the line of an element brought to the second cache, or to the first one to be written."""
    _prefetch(x.b, address(x, place, p), write, cache=1 if write else 2)


def _prefetch(b: Builder, pointer: str, write: bool, cache: int) -> None:
    locality = 4 - cache
    b.once("llvm.prefetch.p0", ("ptr", pointer), *(("i32 immarg", str(number)) for number in (int(write), locality, 1)))


def _plain_load(x: Indexer, place: Place, p: Position, n: int) -> Value:
    """The `n` elements from `p` on, read where this block does not know them."""
    if place.stays:
        return _load_at(x.b, place, address(x, place, p), n)
    row = place.array, _base(x, place, p), p.constant, n, types.memory(place.dtype)
    return _from_memory(x.b, x.b.read(*row, lambda: _read(x.b, place, address(x, place, p), n)), place.dtype, n)


def _load_at(b: Builder, place: Place, pointer: str, n: int) -> Value:
    return _from_memory(b, _read(b, place, pointer, n), place.dtype, n)


def _read(b: Builder, place: Place, pointer: str, n: int) -> str:
    return b.op(f"load {types.vector(types.memory(place.dtype), n)}, ptr {pointer}, align {place.dtype.size}", place.stays)


def _from_memory(b: Builder, text: str, dtype: DType, n: int) -> Value:
    if dtype.is_bool:
        text = b.op(f"icmp ne {types.vector('i8', n)} {text}, {types.splat('0', 'i8', n)}")
    return Value(text, dtype, n)


def _to_memory(b: Builder, value: Value) -> str:
    if not value.dtype.is_bool:
        return value.text
    return b.op(f"zext {types.vector('i1', value.lanes)} {value.text} to {types.vector('i8', value.lanes)}")


def pick_lanes(
    x: Indexer, place: Place, p: Position, mask: Value | None, uniform: Value | None, fixed: Value | None, varying: Value | None
) -> Value | None:
    """The elements at `p`, whose lanes differ by constants, picked out of rows; anything where the mask is false, 0 where
    one of three guards is: all lanes', the constant, the other. None where that is not cheaper than a gather."""
    b, n, dtype = x.b, x.lanes, place.dtype
    allowed = [bits.each for bits in (mask, fixed) if bits is not None and bits.each is not None]
    offsets = [step if all(bits[lane] for bits in allowed) else None for lane, step in enumerate(p.across(n))]
    size = min(n, b.target.lanes(dtype))
    groups = [offsets[start : start + size] for start in range(0, n, size)]
    covers = [cover(group, size) for group in groups]
    if None in covers or (varying is not None and not b.target.has_masks(dtype)):
        return None
    kind, start = types.memory(dtype), replace(p, lane=0, steps=())
    places = [offset for offset in offsets if offset is not None]
    low, high = min(places, default=0), max(places, default=0)
    if uniform is not None:
        first = or_zeros(
            b, address(x, place, replace(start, constant=p.constant + low)), uniform, (high - low + 1) * dtype.size
        )

    def row(offset: int, length: int) -> str:
        if uniform is None:
            pointer = address(x, place, replace(start, constant=p.constant + offset))
        else:
            pointer = b.op(f"getelementptr {kind}, ptr {first}, i64 {offset - low}")
        if varying is None:
            return _read(b, place, pointer, length)
        wide = max(length, 2)
        bits = both(b, None, Value(row_mask(b, varying.text, offsets, offset, wide), bool_, wide), wide)
        assert bits is not None
        if length == 1:
            return _read(b, place, or_zeros(b, pointer, b.lane(bits, 0), dtype.size), 1)
        return _masked(b, place, pointer, bits.text, length)

    parts = []
    for group, found in zip(groups, covers, strict=True):
        assert found is not None
        starts, length = found
        text = pick(b, kind, group, starts, length, partial(row, length=length)) if starts else "zeroinitializer"
        parts.append(Value(text, uint8 if dtype.is_bool else dtype, size))
    while len(parts) > 1:
        parts = [b.joined(*parts[at : at + 2]) for at in range(0, len(parts), 2)]
    value = _from_memory(b, parts[0].text, dtype, n)
    if varying is not None and len(set(places)) < len(places):
        value = _or_zero(b, varying, value)
    return value if fixed is None else _or_zero(b, fixed, value)


def _pointers(x: Indexer, place: Place, p: Position) -> str:
    varying = x.offsets(p)
    base = address(x, place, p)
    if varying is None:
        return x.b.splat(base, "ptr", x.lanes)
    vector, bits = varying
    return x.b.op(f"getelementptr {types.memory(place.dtype)}, ptr {base}, {types.vector(f'i{bits}', x.lanes)} {vector}")


def _gather(x: Indexer, place: Place, p: Position, active: Value | None) -> Value:
    b, n, dtype = x.b, x.lanes, place.dtype
    scalar = types.memory(dtype)
    kind = types.vector(scalar, n)
    mask = active.text if active is not None else types.splat("true", "i1", n)
    text = b.call(
        f"llvm.masked.gather.{types.suffix(scalar, n)}.{types.suffix('ptr', n)}",
        kind,
        (f"{types.vector('ptr', n)} align {dtype.size}", _pointers(x, place, p)),
        (types.vector("i1", n), mask),
        (kind, "zeroinitializer"),
        stays=place.stays,
    )
    return _from_memory(b, text, dtype, n)


def store(x: Indexer, place: Place, p: Position, value: Value, mask: Value | None, guard: Value | None = None) -> None:
    """Stores the lanes that mask and guard allow, in the order of lanes. A uniform guard is the caller's branch."""
    b = x.b
    if place.private:
        mask = None  # lanes beyond the end have instances of their own
    active = both(b, mask, guard, x.lanes)
    if not p.varies and value.lanes == 1 and guard is None:
        _write(x, place, p, _to_memory(b, value), 1)
        return
    value = b.widen(value, x.lanes)
    if p.rest is None and p.lane == 1:
        _store_row(x, place, p, value, active)
    else:
        _scatter(x, place, p, value, active)


def _store_row(x: Indexer, place: Place, p: Position, value: Value, active: Value | None) -> None:
    b, n, dtype = x.b, x.lanes, place.dtype
    kind = types.vector(types.memory(dtype), n)
    if active is not None and place.local:  # a blend leaves the stack slot free to become a register
        old = _plain_load(x, place, p, n)
        full, bits = types.vector(types.register(dtype), n), types.vector("i1", n)
        value = replace(value, text=b.op(f"select {bits} {active.text}, {full} {value.text}, {full} {old.text}"))
        active = None
    if active is not None and active.each and sum(active.each) == 1:  # LLVM 22 would store more bytes of narrow ones
        lane = active.each.index(True)
        _write(x, place, replace(p, constant=p.constant + lane), _to_memory(b, b.lane(value, lane)), 1)
        return
    text = _to_memory(b, value)
    if active is None:
        if place.ahead:
            _fetch_ahead(b, place, address(x, place, p), n, write=True)
        _write(x, place, p, text, n)
        return
    name, pointer = f"llvm.masked.store.{types.suffix(types.memory(dtype), n)}.p0", address(x, place, p)
    b.call(name, "void", (kind, text), (f"ptr align {dtype.size}", pointer), (types.vector("i1", n), active.text))
    b.forget(place.array)


def _write(x: Indexer, place: Place, p: Position, text: str, n: int) -> None:
    kind = types.vector(types.memory(place.dtype), n)
    x.b.put(f"store {kind} {text}, ptr {address(x, place, p)}, align {place.dtype.size}")
    x.b.wrote(place.array, _base(x, place, p), p.constant, n, types.memory(place.dtype), text)


def _scatter(x: Indexer, place: Place, p: Position, value: Value, active: Value | None) -> None:
    b, n, dtype = x.b, x.lanes, place.dtype
    scalar = types.memory(dtype)
    mask = active.text if active is not None else types.splat("true", "i1", n)
    b.forget(place.array)
    b.call(
        f"llvm.masked.scatter.{types.suffix(scalar, n)}.{types.suffix('ptr', n)}",
        "void",
        (types.vector(scalar, n), _to_memory(b, value)),
        (f"{types.vector('ptr', n)} align {dtype.size}", _pointers(x, place, p)),
        (types.vector("i1", n), mask),
    )
