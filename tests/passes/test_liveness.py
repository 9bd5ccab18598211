"""When buffers are alive, and the memory that no plan can do without."""

from __future__ import annotations

from graphc.dtype import float32
from graphc.ir.expr import Array, Var
from graphc.ir.kernel import ARENA, CONSTANT, INPUT, OUTPUT, VARIABLE, Buffer, Kernel, Launch
from graphc.passes.liveness import liveness, lower_bound


def buffer(name: str, size: int = 8, kind: str = ARENA) -> Buffer:
    return Buffer(name, float32, (size,), kind)


def touch(*buffers: Buffer) -> Launch:
    arrays = tuple(Array(b.name, b.dtype, b.size) for b in buffers)
    return Launch(Kernel("k", arrays, Var("t", 1), ()), buffers)


def test_a_buffer_lives_from_its_first_to_its_last_launch() -> None:
    a, b, c, x = buffer("a"), buffer("b"), buffer("c", 16), buffer("x", kind=INPUT)
    launches = (touch(x, a), touch(a, b), touch(b), touch(b, c))
    assert liveness(launches) == {a: (0, 1), b: (1, 3), c: (3, 3)}
    assert lower_bound(liveness(launches), 4) == 32 + 64
    assert lower_bound({}, 0) == 0


def test_only_scratch_has_a_life() -> None:
    launches = tuple(touch(buffer(kind, kind=kind)) for kind in (INPUT, OUTPUT, VARIABLE, CONSTANT))
    assert liveness(launches) == {}


def test_a_gap_in_use_is_still_life() -> None:
    a, b = buffer("a"), buffer("b")
    spans = liveness((touch(a), touch(b), touch(a)))
    assert spans == {a: (0, 2), b: (1, 1)}
    assert lower_bound(spans, 3) == 64


def test_neighbours_in_time_do_not_meet() -> None:
    a, b = buffer("a"), buffer("b")
    assert lower_bound(liveness((touch(a), touch(b))), 2) == 32
