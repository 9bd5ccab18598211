"""What the text of a function does not say twice: results of instructions, and what is known to be in memory."""

from __future__ import annotations

from graphc.codegen.llvm import memory
from graphc.codegen.llvm.builder import Builder, Value
from graphc.codegen.llvm.expressions import Scope
from graphc.codegen.llvm.indices import Position
from graphc.codegen.llvm.memory import Place
from graphc.codegen.target import named
from graphc.dtype import float32

HERE, NEXT, BESIDE = Position(0, lane=1), Position(4, lane=1), Position(2, lane=1)
CHANGING = Place("%p0", float32)


def rows(lanes: int = 4) -> Scope:
    return Scope(Builder(named("x86-64-v3")), {}, lanes=lanes)


def value(text: str) -> Value:
    return Value(text, float32, 4)


def loads(scope: Scope) -> int:
    return sum("= load" in line for line in scope.b.lines)


def load(scope: Scope, place: Place, position: Position) -> str:
    return memory.load(scope.indexer, place, position, None, None).text


def test_what_a_condition_guards_is_not_known_behind_it() -> None:
    b = Builder(named("x86-64-v3"))
    outside = b.op("add i64 %a, 1")
    with b.aside():
        assert b.op("add i64 %a, 1") == outside
        inside = b.op("add i64 %a, 2")
        assert b.op("add i64 %a, 2") == inside
    assert b.op("add i64 %a, 1") == outside
    assert b.op("add i64 %a, 2") != inside


def test_what_is_written_before_a_loop_is_known_in_it_and_behind_it() -> None:
    b = Builder(named("x86-64-v3"), depths={"%a": 0})
    outside = b.op("add i64 %a, 1")
    preheader = b.enter()
    b.label("loop")
    assert b.op("add i64 %a, 1") == outside
    early = b.early(f"mul i64 {outside}, 3")
    assert preheader.lines == [f"  {early} = mul i64 {outside}, 3"]
    inside = b.op("add i64 %i, 1")
    b.leave()
    assert b.op(f"mul i64 {outside}, 3") == early
    assert b.op("add i64 %i, 1") != inside


def test_a_result_of_an_outer_loop_is_used_before_inner_ones() -> None:
    b = Builder(named("x86-64-v3"), depths={"%a": 0})
    b.enter()
    start = b.op("load i64, ptr %a", stays=False)
    inner = b.enter()
    early = b.early(f"mul i64 {start}, 3")
    assert inner.lines == [f"  {early} = mul i64 {start}, 3"]


def test_arrays_that_nothing_is_stored_to_are_read_once() -> None:
    scope = rows()
    found = load(scope, Place("%p0", float32, stays=True), HERE)
    scope.b.label("later")
    assert load(scope, Place("%p0", float32, stays=True), HERE) == found
    assert loads(scope) == 1


def test_a_row_is_known_until_another_that_may_share_its_elements_is_stored() -> None:
    scope = rows()
    here, behind = load(scope, CHANGING, HERE), load(scope, CHANGING, NEXT)
    memory.store(scope.indexer, CHANGING, HERE, value("%x"), None)
    assert load(scope, CHANGING, HERE) == "%x" != here
    assert load(scope, CHANGING, NEXT) == behind
    assert loads(scope) == 2
    memory.store(scope.indexer, Place("%p1", float32), BESIDE, value("%y"), None)
    assert load(scope, CHANGING, HERE) == "%x"
    memory.store(scope.indexer, CHANGING, BESIDE, value("%y"), None)
    assert load(scope, CHANGING, BESIDE) == "%y"
    assert load(scope, CHANGING, HERE) != "%x"
    assert load(scope, CHANGING, NEXT) != behind
    assert loads(scope) == 4


def test_rows_that_start_at_other_registers_may_be_the_same() -> None:
    scope, elsewhere = rows(), Position(0, (("%i", 4),), 1)
    memory.store(scope.indexer, CHANGING, HERE, value("%x"), None)
    memory.store(scope.indexer, CHANGING, elsewhere, value("%y"), None)
    assert load(scope, CHANGING, elsewhere) == "%y"
    assert load(scope, CHANGING, HERE) != "%x"


def test_an_element_of_a_stored_row_is_read() -> None:
    scope = rows()
    memory.store(scope.indexer, CHANGING, HERE, value("%x"), None)
    one = Scope(scope.b, {})
    assert load(one, CHANGING, Position(1)) != "%x"
    assert loads(scope) == 1


def test_masks_scatters_and_blocks_leave_nothing_known() -> None:
    some = Value("%m", float32, 4)
    for change in (
        lambda scope: memory.store(scope.indexer, CHANGING, HERE, value("%y"), some),
        lambda scope: memory.store(scope.indexer, CHANGING, Position(0, lane=2), value("%y"), None),
        lambda scope: scope.b.label("later"),
    ):
        scope = rows()
        memory.store(scope.indexer, CHANGING, HERE, value("%x"), None)
        change(scope)
        assert load(scope, CHANGING, HERE) != "%x"


def test_what_a_pointer_into_an_array_finds_is_forgotten_with_the_array() -> None:
    scope, chosen = rows(), Place("%chosen", float32, whole="%p0")
    found = load(scope, chosen, HERE)
    assert load(scope, chosen, HERE) == found
    memory.store(scope.indexer, CHANGING, NEXT, value("%x"), None)
    assert load(scope, chosen, HERE) != found
