"""Visits of panels: what they pack themselves, which sums they keep, and the memory that takes."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from products import MACHINES, choose, product

from graphc.passes.locality import SUMS
from graphc.passes.machine import Machine
from graphc.passes.schedule import DEARER, Frugal, Problem
from graphc.passes.schedule import choose as choose_for
from graphc.passes.tiles import CONSTANT, STAYING, STORED, Loop, Origin, Schedule, computed


def scratch(loops: tuple[Loop, ...], schedule: Schedule) -> tuple[int, int]:
    """Bytes of a panel that visits pack themselves, and of the sums between them."""
    steps = prod(schedule.visit(loops).values())
    tiles = prod(size for _, size in schedule.group)
    cells = prod(schedule.tile_of(n) for n, loop in enumerate(loops) if not loop.reduced)
    return steps * schedule.columns * 4, tiles * cells * 4 * (steps < prod(loop.extent for loop in loops if loop.reduced))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_long_operand_that_few_rows_need_is_packed_by_their_visits(transposed: bool) -> None:
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    loops = product(64, 4096, 64, b_transposed=True) if transposed else product(128, 2048, 256)
    schedule = choose(loops, 16, machine)
    assert schedule.packed == schedule.near == (1,) and schedule.order == (1, 0) and schedule.block[0] == 0
    panel, sums = scratch(loops, schedule)
    assert 0 < panel <= STAYING * machine.l1 and 0 < sums <= SUMS
    for origin in (CONSTANT, Origin(readers=4)):  # packed by the compiler, or once for several
        assert not choose(loops, 16, machine, (STORED, origin)).near


def test_beside_other_panels_visits_pack_what_none_packs_again() -> None:
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    few, many = (
        choose(product(m, k, n, a_transposed=True), 16, machine, results=4) for m, k, n in ((256, 64, 784), (1024, 1024, 256))
    )
    assert few.packed == (0, 1) and few.near == (1,)
    assert many.packed == (0, 1) and not many.near


def test_where_memory_is_scarce_visits_pack_the_larger_operand() -> None:
    machine, small = Machine(64, 32, l1=48 << 10, l2=2 << 20), 1024 * 256 * 4
    for side, m, n in ((0, 1000, 256), (1, 256, 1000)):
        problem = Problem(product(m, 1024, n, a_transposed=True), 16, machine, (STORED, computed(1024 * n, 4, 16)), results=4)
        best = choose_for(problem)
        assert best.packed == (0, 1) and not best.near and problem.ahead(best) == small + 4096 * max(m, n)
        assert Frugal(choose_for, problem.ahead(best))(problem) == best
        less = Frugal(choose_for, small)(problem)
        assert less.near == (side,) and problem.ahead(less) == small and less.cost <= DEARER * best.cost


def test_memory_is_not_saved_at_any_price() -> None:
    problem = Problem(product(2048, 2048, 2048), 16, Machine(64, 32, l1=48 << 10, l2=2 << 20))
    best = choose_for(problem)
    assert best.packed and Frugal(choose_for, 0)(problem) == best


def test_constants_and_panels_of_others_take_no_memory_of_their_own() -> None:
    loops = product(64, 512, 512)
    made = computed(64 * 512, 4, 16)
    for rhs, ahead in ((STORED, 1 << 20), (CONSTANT, 0), (Origin(readers=3), 0)):
        problem = Problem(loops, 16, MACHINES[-1], (made, rhs))
        packed = next(tiles[0] for (_, packed), tiles in problem.tiles().items() if packed == (1,))
        assert problem.ahead(packed) == ahead + 64 * 512 * 4
        assert problem.ahead(replace(packed, near=(1,))) == 64 * 512 * 4


def test_what_many_rows_need_is_packed_once_for_all() -> None:
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    schedule = choose(product(2048, 2048, 2048), 16, machine)
    assert schedule.packed == (1,) and not schedule.near


def test_rows_on_more_pages_than_a_processor_follows_are_packed_whole() -> None:
    near, far = (Machine(64, 32, l1=48 << 10, l2=size << 20) for size in (32, 2))
    assert choose(product(512, 512, 512), 16, far).packed == (1,) and not choose(product(512, 512, 512), 16, far).near
    assert choose(product(128, 3072, 768), 16, near).near  # nothing is far there


def test_what_is_packed_once_comes_while_tiles_are_computed_if_these_take_long_enough() -> None:
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    assert choose(product(128, 3072, 768), 16, machine).near == (1,)
    assert not choose(product(16, 1024, 1024), 16, machine).near


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 400), st.integers(1, 4000), st.integers(1, 400), st.booleans(), st.sampled_from(MACHINES))
def test_scratch_memory_is_bounded(m: int, k: int, n: int, transposed: bool, machine: Machine) -> None:
    loops = product(m, k, n, b_transposed=transposed)
    schedule = choose(loops, machine.vector_bytes // 4, machine)
    if schedule.near:
        panel, sums = scratch(loops, schedule)
        assert panel <= STAYING * machine.l1 and sums <= SUMS


def test_blocks_are_for_caches_that_others_are_slow_behind() -> None:
    """All rows pass by a panel where what is behind the second cache comes fast, and a block of it stays where it does not."""
    loops, origins = product(392, 2048, 512), (STORED, CONSTANT)
    slow, fast = (choose(loops, 16, Machine(64, 32, 48 << 10, 1 << 20, rate), origins) for rate in (4.0, 12.0))
    assert slow.block != (-1, 0) and slow.group
    assert fast.block == (-1, 0) and not fast.group and fast.packed == (1,)
    assert fast.cost < slow.cost


def test_visits_keep_sums_that_stay_in_the_first_cache() -> None:
    """Visits that pack blocks of panels themselves have few enough tiles, or else panels are packed before."""
    core = Machine(64, 32, 48 << 10, 1 << 20)
    few, many = product(64, 4096, 64, b_transposed=True), product(512, 512, 512)
    assert choose(few, 16, core).near and choose(few, 16, core).block != (-1, 0)
    assert not choose(many, 16, core).near and choose(many, 16, core).packed == (1,)


def test_blocks_that_come_piece_by_piece_from_far_are_packed() -> None:
    """Rows of three KiB, of which a block has a part each, come too late where they are read in place."""
    found = choose(product(128, 3072, 768), 16, Machine(64, 32, 48 << 10, 1 << 20, 12.0, 0.025))
    assert found.packed == found.near == (1,)


def test_blocks_in_place_stay_in_the_first_cache_beside_their_sums() -> None:
    """If rows are short, so that all columns of a block fit there."""
    machine, caller = Machine(64, 32, 48 << 10, 1 << 20, beyond_l2=12.0, stream=0.025), Origin(given=True)
    short, long = (choose(product(64, 4096, n), 16, machine, (caller, caller)) for n in (64, 256))
    assert not short.packed and dict(short.group)[1] * short.columns == 64
    assert (short.block[1] * 2 * 64 + 64 * 64) * 4 <= machine.l1
    assert long.near == (1,)
