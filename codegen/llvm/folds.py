"""`array[index] combine= value`, inside and outside of vector loops.

In: an `Accumulate` and its scope. Out: one of
  scalar or one cell per lane   load, combine, store;
  one cell for all lanes        a vector of partial results for the whole vector loop, folded into the cell after it; or,
                                where the cell changes inside the loop or may not exist, folded at once;
  cells that lanes may share    one lane after the other.
Additions of products are fused where the processor can. Float sums are reordered only here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from graphc.dtype import DType, bool_
from graphc.ir.expr import Call, Expr, Index, Var
from graphc.ir.kernel import COMBINES, Accumulate, operands

from . import memory, types, words
from .builder import Builder, Value, constant
from .casts import convert
from .expressions import Scope
from .indices import Position
from .memory import Place

_EXTREMES = {"max": "ogt", "min": "olt"}


@dataclass(frozen=True, slots=True)
class Partial:
    """A vector of partial results on the stack, and the cell that they will be folded into. `numbers` points to bits that
    say where no NaN was met; results that have them hold numbers only."""

    slot: Place
    lanes: int
    cell: Place
    position: Position
    combine: str
    numbers: str = ""


@dataclass
class VectorLoop:
    """What a vector loop gathers while its body is written: code to run before it, and partial results."""

    outer: frozenset[Var]  # variables bound outside: cells that depend on them alone stay the same
    depth: int  # loops around
    block: str  # the block it begins in
    before: list[str] = field(default_factory=list)
    positions: dict[tuple[Position, ...], dict[Expr, Position]] = field(default_factory=dict)  # by values of unrolled variables
    partials: dict[tuple[object, ...], Partial] = field(default_factory=dict)
    conditional: int = 0  # depth of conditions: a cell under a condition must not be touched without it


def accumulate(scope: Scope, loop: VectorLoop | None, stmt: Accumulate) -> None:
    """Emits one fold; `loop` is the vector loop around it, if any."""
    place, indexer = scope.place(stmt.array), scope.indexer
    if loop is not None and not place.private and _stays(loop, scope, stmt.index):
        partial = _partial(scope, loop, stmt, place)
        row = Position(lane=1)
        old = memory.load(indexer, partial.slot, row, None, None)
        if partial.numbers:
            memory.store(indexer, partial.slot, row, _extreme_number(scope, stmt, old, partial.numbers), None)
        else:
            memory.store(indexer, partial.slot, row, _combine_with(scope, stmt, old), scope.mask)
        return
    position = memory.locate(indexer, place, indexer.position(stmt.index))
    if scope.lanes > 1 and not position.varies:
        value = _at_once(scope, stmt)
        old = memory.load(indexer, place, position, None, None)
        memory.store(indexer, place, position, combine(scope, stmt.combine, old, value), None)
    elif (position.rest is not None or position.steps) and not place.private:
        _one_by_one(scope, stmt, place, position)
    else:
        old = memory.load(indexer, place, position, scope.mask, None)
        memory.store(indexer, place, position, _combine_with(scope, stmt, old), scope.mask)


def finish(scope: Scope, partial: Partial) -> None:
    """After the vector loop: folds the partial results into their cell."""
    wide = Scope(scope.b, {}, lanes=partial.lanes)
    found = memory.load(wide.indexer, partial.slot, Position(lane=1), None, None)
    total = across(scope, partial.combine, found, _extreme if partial.numbers else combine)
    if partial.numbers:
        bits, half = types.vector("i1", found.lanes // 2), types.suffix("i1", found.lanes // 2)
        clean = scope.b.op(f"load {bits}, ptr {partial.numbers}, align 8", stays=False)
        every = Value(scope.b.call(f"llvm.vector.reduce.and.{half}", "i1", (bits, clean)), bool_)
        total = scope.say("select", (every, total, constant(float("nan"), total.dtype)))
    indexer = scope.indexer
    old = memory.load(indexer, partial.cell, partial.position, None, None)
    memory.store(indexer, partial.cell, partial.position, combine(scope, partial.combine, old, total), None)


def combine(scope: Scope, word: str, x: Value, y: Value) -> Value:
    """x word y, in the type of x; half floats are combined as float32."""
    working = x.dtype.accumulator
    return convert(scope.b, scope.say(word, (convert(scope.b, x, working), convert(scope.b, y, working))), x.dtype)


Combine = Callable[[Scope, str, Value, Value], Value]


def across(scope: Scope, word: str, value: Value, combine: Combine = combine) -> Value:
    """All lanes folded into one, halves first: the same order on every target. Bits have none."""
    if word in ("and", "or") and value.dtype.is_bool and value.lanes > 1:
        bits, kind = types.vector("i1", value.lanes), types.suffix("i1", value.lanes)
        return Value(scope.b.call(f"llvm.vector.reduce.{word}.{kind}", "i1", (bits, value.text)), bool_)
    while value.lanes > 1:
        half = value.lanes // 2
        folded = combine(scope, word, scope.b.part(value, 0, half), scope.b.part(value, half, half))
        if value.lanes % 2:
            folded = combine(scope, word, folded, scope.b.widen(scope.b.lane(value, value.lanes - 1), half))
            assert half == 1 or word in ("max", "min", "and", "or"), f"{value.lanes} lanes cannot be halved"
        value = folded
    return value


def neutral(word: str, dtype: DType) -> Value:
    """The constant that changes nothing, not even the sign of a zero."""
    return constant(-0.0 if word == "add" and dtype.is_float else COMBINES[word](dtype), dtype)


def _stays(loop: VectorLoop, scope: Scope, index: Index) -> bool:
    """Whether the cell is the same throughout the loop and surely touched by it."""
    return not loop.conditional and all(
        isinstance(part, Index) and (not isinstance(part, Var) or part in loop.outer or scope.bound[part].is_constant)
        for part in _parts(index)
    )


def _parts(expr: Expr) -> list[Expr]:
    return [expr, *(inner for part in operands(expr) for inner in _parts(part))]


def _partial(scope: Scope, loop: VectorLoop, stmt: Accumulate, cell: Place) -> Partial:
    """The partial result for this cell and these lanes; made, and set to the neutral element, before the loop."""
    b, working = scope.b, stmt.array.dtype.accumulator
    here = b.block == loop.block  # no block has begun since the loop did
    with nullcontext() if here else b.writing_to(loop.before, loop.depth):
        unrolled = tuple(scope.bound[v] for v in _parts(stmt.index) if isinstance(v, Var) and scope.bound[v].is_constant)
        known = {} if here else loop.positions.setdefault(unrolled, {})
        outside = Scope(b, scope.places, scope.bound, _positions=known)
        position = outside.indexer.position(stmt.index)
        key = (stmt.array, stmt.combine, position, scope.lanes)
        if key not in loop.partials:
            slot = Place(b.slot(types.memory(working), scope.lanes), working, local=True)
            start = b.widen(neutral(stmt.combine, working), scope.lanes)
            memory.store(scope.indexer, slot, Position(lane=1), start, None)
            numbers = _all_numbers(b, scope.lanes) if _apart_from_nan(scope, stmt.combine, working) else ""
            loop.partials[key] = Partial(slot, scope.lanes, cell, position, stmt.combine, numbers)
    return loop.partials[key]


def _apart_from_nan(scope: Scope, word: str, dtype: DType) -> bool:
    """Whether NaN is noted apart from the extreme of the numbers: an instruction that keeps it would be three."""
    lone = word in _EXTREMES and dtype.is_float and not words.has_maximum(scope.b.target)
    return lone and scope.lanes % 4 == 0


def _all_numbers(b: Builder, lanes: int) -> str:
    """A slot of bits, one for two lanes, all set."""
    slot, bits = b.slot("i1", lanes // 2), types.vector("i1", lanes // 2)
    b.put(f"store {bits} {types.splat('true', 'i1', lanes // 2)}, ptr {slot}, align 8")
    return slot


def _extreme_number(scope: Scope, stmt: Accumulate, old: Value, numbers: str) -> Value:
    """The larger (or smaller) of `old` and the value; where the value is NaN, `old`, and a bit of `numbers` is cleared."""
    b, n, half = scope.b, scope.lanes, scope.lanes // 2
    value = b.widen(convert(b, scope.evaluate(stmt.value), old.dtype), n)
    if scope.mask is not None:
        value = scope.say("select", (scope.mask, value, neutral(stmt.combine, old.dtype)))
    low, high = b.part(value, 0, half), b.part(value, half, half)
    bits = types.vector("i1", half)
    both = b.op(f"fcmp ord {types.vector(types.register(old.dtype), half)} {low.text}, {high.text}")
    before = b.op(f"load {bits}, ptr {numbers}, align 8", stays=False)
    b.put(f"store {bits} {b.op(f'and {bits} {before}, {both}')}, ptr {numbers}, align 8")
    return _extreme(scope, stmt.combine, value, old)


def _extreme(scope: Scope, word: str, x: Value, y: Value) -> Value:
    """max or min of numbers; y where x is NaN."""
    kind = types.vector(types.register(x.dtype), x.lanes)
    better = scope.b.op(f"fcmp {_EXTREMES[word]} {kind} {x.text}, {y.text}")
    return scope.say("select", (Value(better, bool_, x.lanes), x, y))


def _combine_with(scope: Scope, stmt: Accumulate, old: Value) -> Value:
    """old combine value, fused where value is a product of floats; the value itself where nothing was there before."""
    value, dtype = stmt.value, old.dtype
    if old.text == scope.b.widen(neutral(stmt.combine, dtype), old.lanes).text:
        return convert(scope.b, scope.evaluate(value), dtype)
    fused = stmt.combine == "add" and scope.b.target.has_fma and dtype.is_float and dtype is stmt.value.dtype
    if fused and dtype.bits > 16 and isinstance(value, Call) and value.word == "mul":
        return scope.say("fma", (scope.evaluate(value.args[0]), scope.evaluate(value.args[1]), old))
    return combine(scope, stmt.combine, old, scope.evaluate(value))


def _at_once(scope: Scope, stmt: Accumulate) -> Value:
    """The lanes' values folded into one; lanes beyond the end contribute nothing."""
    b = scope.b
    value = b.widen(convert(b, scope.evaluate(stmt.value), stmt.array.dtype.accumulator), scope.lanes)
    if scope.mask is not None:
        value = scope.say("select", (scope.mask, value, neutral(stmt.combine, value.dtype)))
    return across(scope, stmt.combine, value)


def _one_by_one(scope: Scope, stmt: Accumulate, place: Place, position: Position) -> None:
    """Lanes may meet in one cell, so each sees what those before it stored."""
    b, indexer, n = scope.b, scope.indexer, scope.lanes
    value = b.widen(scope.evaluate(stmt.value), n)
    cells = Value(indexer.vector(position, 64), Var("cell", 1).dtype, n)
    spilled = [Place(b.slot(types.memory(v.dtype), n), v.dtype, local=True) for v in (cells, value)]
    for slot, vector in zip(spilled, (cells, value), strict=True):
        memory.store(indexer, slot, Position(lane=1), vector, None)
    active = n if scope.mask is None else sum(scope.mask.each or ())
    one = Scope(b, {})
    for lane in range(active):
        cell, part = (memory.load(one.indexer, slot, Position(lane), None, None) for slot in spilled)
        at = Position(0, ((cell.text, 1),))
        old = memory.load(one.indexer, place, at, None, None)
        memory.store(one.indexer, place, at, combine(one, stmt.combine, old, part), None)
