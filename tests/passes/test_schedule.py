"""Schedules of contractions: tiles fit the registers of every machine, and the choice follows the costs."""

from __future__ import annotations

from math import isfinite, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from products import MACHINES, choose, product

from graphc.passes.locality import STREAMS, ordered
from graphc.passes.machine import Machine
from graphc.passes.schedule import Problem
from graphc.passes.schedule import choose as choose_for
from graphc.passes.tiles import (
    CONSTANT,
    MAX_DOTS,
    MAX_ROWS,
    MAX_VECTORS,
    MOST_VECTORS,
    STORED,
    Loop,
    Origin,
    Schedule,
    candidates,
    moves,
)

SIZES = (1, 2, 3, 5, 7, 13, 17, 31, 33)


def check(loops: tuple[Loop, ...], schedule: Schedule, machine: Machine) -> None:
    lane = loops[schedule.lane]
    tile = dict(schedule.tile)
    assert schedule.lane not in tile and all(not loops[axis].reduced for axis in tile)
    assert all(1 <= size <= loops[axis].extent for axis, size in tile.items())
    assert isfinite(schedule.cost) and schedule.cost > 0
    rows = prod(tile.values())
    if lane.reduced:
        assert schedule.columns == lane.extent and not schedule.packed and lane.lhs == lane.rhs == 1
        sizes = list(tile.values())
        assert rows + sum(sizes) < machine.vector_registers and all(size <= MAX_DOTS for size in sizes)
    else:
        vectors = -(-schedule.columns // schedule.width)
        assert schedule.columns <= lane.extent and vectors <= (MAX_VECTORS if schedule.tile else MOST_VECTORS)
        assert rows * vectors + vectors + 1 < machine.vector_registers
        assert all(size <= MAX_ROWS for size in tile.values())
    for side in schedule.packed:  # a panel runs along one axis of the tile
        assert sum(moves(loops[axis], side) != 0 for axis in (schedule.lane, *tile)) == 1


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_tiles_of_products_fit_the_registers(machine: Machine, transposed: tuple[bool, bool]) -> None:
    width = machine.vector_bytes // 4
    for size in SIZES:
        for shape in ((size, 17, 33), (33, size, 17), (17, 33, size)):
            loops = product(*shape, *transposed)
            for schedule in candidates(loops, width, machine):
                check(loops, schedule, machine)
            costs = [ordered(loops, s, machine).cost for s in candidates(loops, width, machine)]
            assert min(s.cost for s in candidates(loops, width, machine)) <= choose(loops, width, machine).cost <= max(costs)


strides = st.sampled_from([0, 1, 2, 7, 33, 1024])
extents = st.sampled_from(SIZES)
kept = st.builds(Loop, extents, strides, strides, st.sampled_from([1, 5, 33]), st.just(False))
reduced = st.builds(Loop, extents, strides, strides, st.just(0), st.just(True))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(kept, min_size=1, max_size=4), st.lists(reduced, max_size=3), st.sampled_from(MACHINES), st.sampled_from([4, 8])
)
def test_every_contraction_has_a_schedule(outer: list[Loop], inner: list[Loop], machine: Machine, size: int) -> None:
    loops = (*outer, *inner)
    width = max(1, machine.vector_bytes // size)
    check(loops, choose(loops, width, machine), machine)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_sums_of_nothing_have_a_schedule(transposed: tuple[bool, bool], machine: Machine) -> None:
    assert isfinite(choose(product(3, 0, 40, *transposed), machine.vector_bytes // 4, machine).cost)


def test_a_plain_product_runs_along_the_rows_of_the_right_operand() -> None:
    machine = Machine(32, 16)
    schedule = choose(product(66, 64, 64), 8, machine)
    assert schedule.lane == 1 and schedule.columns == 16 and schedule.tile == ((0, 6),)


def test_more_registers_allow_larger_tiles() -> None:
    few, many = (choose(product(96, 96, 96), 8, Machine(32, n)) for n in (16, 32))
    assert prod(size for _, size in few.tile) * few.columns < prod(size for _, size in many.tile) * many.columns
    assert many.cost < few.cost


def test_rows_that_share_the_sets_of_the_first_cache_leave_some_of_its_ways() -> None:
    loading = 1000, 16, Machine(64, 32, 48 << 10, 2 << 20)
    multiplying = 196, 512, Machine(64, 32, 48 << 10, 1 << 20, beyond_l2=12.0, stream=0.025)
    for rows, columns, machine in (loading, multiplying):
        near, far = (choose(product(rows, k, columns), 16, machine, (STORED, CONSTANT)) for k in (1000, 1024))
        assert dict(near.tile)[0] > (48 << 10) // 4096 > dict(far.tile)[0]


def test_vectors_of_a_caller_are_packed_where_loads_are_what_takes_time() -> None:
    """Each lies in two lines; beside enough multiply-adds this costs nothing."""
    machine, caller = Machine(64, 32, 48 << 10, 2 << 20), Origin(given=True)
    for columns, packed in ((16, True), (32, False)):
        loops = product(300, 500, columns)
        assert choose(loops, 16, machine, (STORED, STORED)).packed == ()
        assert (choose(loops, 16, machine, (caller, caller)).packed == (1,)) is packed


def test_long_dot_products_of_rows_run_along_the_reduced_axis() -> None:
    schedule = choose(product(2, 4096, 2, b_transposed=True), 8, Machine(32, 16))
    assert schedule.lane == 2 and schedule.packed == ()


def test_a_transposed_operand_that_is_used_often_is_packed() -> None:
    schedule = choose(product(256, 256, 256, b_transposed=True), 8, Machine(32, 16))
    assert schedule.packed or schedule.lane == 2
    assert choose(product(256, 256, 256), 8, Machine(32, 16)).cost < schedule.cost


def test_operands_that_move_along_both_axes_of_a_tile_are_not_packed() -> None:
    loops = (Loop(8, 8, 0, 16, False), Loop(16, 1, 1, 1, False), Loop(4, 0, 16, 0, True))
    for schedule in candidates(loops, 8, Machine()):
        if {schedule.lane, *dict(schedule.tile)} == {0, 1}:
            assert 0 not in schedule.packed


def test_reading_in_place_costs_more_where_lines_lie_far_apart() -> None:
    near, far = (
        min(s.cost for s in candidates(loops, 8, Machine()) if s.packed == ())
        for loops in (
            (Loop(64, 64, 0, 64, False), Loop(64, 0, 1, 1, False), Loop(512, 1, 64, 0, True)),
            (Loop(64, 64, 0, 64, False), Loop(64, 0, 1, 1, False), Loop(512, 1, 4096, 0, True)),
        )
    )
    assert far > near


def test_a_matrix_that_few_rows_are_multiplied_with_passes_by_in_whole_rows() -> None:
    machine, large = Machine(64, 32, l1=48 << 10, l2=2 << 20), Machine(64, 32, l1=48 << 10, l2=8 << 20)
    few, many = STREAMS
    for rows, cached, tasks, streams in (
        (1, large, 1, few),  # one row is left alone where all is near
        (1, machine, 2, few),
        (16, machine, 2, many),  # whose sums take longer to come and go
    ):
        loops = product(rows, 1024, 1024)[rows == 1 :]
        schedule = choose(loops, 16, cached)
        groups = dict(schedule.group)
        visited = {n: groups.get(n, 1) for n, loop in enumerate(loops) if not loop.reduced}
        assert schedule.packed == () and schedule.block == (0, streams)
        assert prod(-(-schedule.tiles(loops, n) // count) for n, count in visited.items()) == tasks
    assert choose(product(256, 1024, 1024), 16, machine).packed  # panels serve many rows
    assert not choose(product(16, 1024, 64), 16, machine).group  # rows that lie together


@pytest.mark.parametrize(("k", "n", "tasks"), [(1024, 4096, 2), (512, 30000, 8)])
def test_a_vector_is_multiplied_with_few_rows_side_by_side(k: int, n: int, tasks: int) -> None:
    loops = product(1, k, n)[1:]
    schedule = choose(loops, 16, Machine(64, 32, l1=48 << 10, l2=1 << 20, beyond_l2=12.0, stream=0.025))
    assert schedule.packed == () and schedule.block == (0, STREAMS[0])
    ((axis, size),) = schedule.group
    assert -(-schedule.tiles(loops, axis) // size) == tasks


def test_rows_that_are_turned_into_panels_cost_less_than_what_is_gathered() -> None:
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    turned, gathered = (
        min(s.cost for s in candidates(loops, 16, machine) if s.lane == 1 and s.packed == (1,))
        for loops in (
            product(64, 784, 128, b_transposed=True),
            (Loop(64, 784, 0, 128, False), Loop(128, 0, 1568, 1, False), Loop(784, 1, 2, 0, True)),
        )
    )
    assert turned < gathered
    assert choose(product(64, 784, 128, b_transposed=True), 16, machine).packed == (1,)


def test_panels_of_large_operands_come_from_behind_the_caches() -> None:
    small, large = (
        min(s.cost for s in candidates(product(16, k, 64), 8, Machine(l1=4096, l2=1 << 20)) if s.packed == (1,))
        for k in (1024, 4096)
    )
    assert large > 4 * small


def test_tiles_run_in_the_order_that_keeps_the_smaller_operand_near() -> None:
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    pixels, channels = product(3136, 256, 64), product(49, 4608, 512)
    schedule = choose(pixels, 16, machine, (STORED, CONSTANT))
    assert schedule.order == (0, 1) and schedule.lane == 1  # all weights stay near while pixels pass by once
    schedule = choose(channels, 16, machine, (STORED, CONSTANT))
    assert schedule.order == (1, 0) and schedule.lane == 1  # pixels stay near, and weights pass by once


def test_what_streams_through_the_first_cache_is_loaded_least() -> None:
    """Loads wait for lines that come in, so a wider tile wins, which loads less for each product."""
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    near, far = (choose(product(2048, steps, 2048), 16, machine) for steps in (128, 2048))

    def loads(schedule: Schedule) -> float:
        rows, vectors = dict(schedule.tile)[0], schedule.columns // 16
        return (rows + vectors) / (rows * vectors)

    assert far.columns > near.columns and loads(far) < loads(near)


def test_panels_that_one_row_reads_come_no_faster_than_the_rows_of_a_matrix() -> None:
    """Nothing is used again, so vectors that do not stay near take as long as they take to come."""
    loops = (Loop(128, 0, 784, 1, False), Loop(784, 1, 1, 0, True))
    schedule = choose(loops, 16, Machine(64, 32, l1=48 << 10, l2=2 << 20), (STORED, CONSTANT))
    assert schedule.lane == 1 and not schedule.packed


@pytest.mark.parametrize("sizes", [(64, 4096, 64), (128, 768, 3072), (1568, 256, 64), (8, 512, 1000)], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_no_way_that_is_left_out_would_have_won(sizes: tuple[int, int, int], transposed: bool) -> None:
    problem = Problem(product(*sizes, b_transposed=transposed), 16, Machine(64, 32, l1=48 << 10, l2=2 << 20))
    first = (tiles[0] for tiles in problem.tiles().values())
    costs = [ordered(problem.loops, tile, problem.machine).cost for tile in first]
    assert choose_for(problem).cost <= min(costs)


def test_dot_products_of_long_rows_are_not_read_again_for_every_tile() -> None:
    """Either order would bring 9 MB from behind the caches for every four rows."""
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    schedule = choose(product(128, 3072, 768, b_transposed=True), 16, machine)
    assert schedule.packed and not product(128, 3072, 768)[schedule.lane].reduced


def test_windows_that_overlap_come_once() -> None:
    """A convolution of small pictures moves little more than their size."""
    pixels = (Loop(28, 32, 0, 28, False), Loop(28, 1, 0, 1, False))
    loops = (Loop(6, 0, 25, 784, False), *pixels, Loop(5, 32, 5, 0, True), Loop(5, 1, 1, 0, True))
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    assert not choose(loops, 16, machine).packed


def test_where_caches_hold_up_several_ways_alike_the_least_arithmetic_is_chosen() -> None:
    """Either operand of a large square product may run along the lanes; the right one needs no strided packing."""
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    schedule = choose(product(1024, 1024, 1024), 16, machine)
    assert schedule.lane == 1 and schedule.packed == (1,)


def kernel_gradient(pixels: int, data: int, result: int, border: int = 0) -> tuple[Loop, ...]:
    """Of a convolution of eight pictures, whose weights lie as (result, data, 3, 3); around the gradient of its result lies a
    border."""
    row, line = (pixels + 2) * data, (pixels + 2 * border) * result
    taps = (Loop(3, row, 0, 3, False), Loop(3, data, 0, 1, False))
    sums = (Loop(8, (pixels + 2) * row, (pixels + 2 * border) * line, 0, True), Loop(pixels, row, line, 0, True))
    channels = (Loop(result, 0, 1, 9 * data, False), Loop(data, 1, 0, 9, False))
    return (*channels, *taps, *sums, Loop(pixels, data, result, 0, True))


def test_constants_are_put_into_panels_where_that_costs_nothing() -> None:
    loops = product(49, 128, 128)
    assert choose(loops, 16, MACHINES[-1]).packed == ()
    assert choose(loops, 16, MACHINES[-1], (STORED, CONSTANT)).packed == (1,)


def test_all_taps_of_a_kernel_are_updated_while_its_lines_are_near() -> None:
    """Weights of one tap lie nine apart: visiting tap after tap would bring every line nine times."""
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    schedule = choose(kernel_gradient(7, 512, 512), 16, machine, results=4)
    assert schedule.packed == (0, 1) and schedule.order[-2:] == (2, 3)


def test_operands_are_counted_in_whole_lines_where_they_lie() -> None:
    """Four channels of a pixel cost as much as sixteen: what is read so comes from panels or is held for all its channels."""
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    schedule = choose(kernel_gradient(28, 128, 128), 16, machine)
    assert 0 in schedule.packed or schedule.group


def test_windows_that_overlap_are_not_written_out() -> None:
    """Panels of all taps would be nine times the picture: it is read where it lies, a large one in blocks that stay near."""
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    for pixels, channels, blocks in ((28, 128, True), (14, 256, False)):
        schedule = choose(kernel_gradient(pixels, channels, channels, border=1), 16, machine, results=4)
        assert schedule.packed == (1,) and bool(schedule.block[1]) is blocks


def test_rows_along_another_axis_are_tried_where_the_caches_hold_up_the_first() -> None:
    """Eight rows are eight channels, which lie far apart, or taps of two channels: neither takes more arithmetic."""
    machine = Machine(64, 32, l1=48 << 10, l2=1 << 20, beyond_l2=12.0, stream=0.025)
    taps = (Loop(4, 18, 0, 512, False), Loop(4, 1, 0, 128, False))
    channels = (Loop(64, 324, 0, 2048, False), *taps, Loop(128, 0, 64, 1, False))
    pixels = (Loop(16, 20736, 8192, 0, True), Loop(8, 36, 8, 0, True), Loop(8, 2, 1, 0, True))
    schedule = choose((*channels, *pixels), 16, machine)
    assert schedule.packed == (1,) and schedule.tile[0] == (2, 4)


def test_threads_share_the_operand_that_is_small() -> None:
    """Consecutive tiles go to one thread: the outermost axis is the one that moves the larger operand."""
    machine = Machine(64, 32, 48 << 10, 2 << 20)
    for m, n, outermost in ((1024, 64, 0), (64, 1024, 1)):
        loops = product(m, 64, n)
        assert choose(loops, 16, machine).order[0] == outermost


def test_rows_take_panels_in_turn_where_these_fill_what_neighbours_may_share() -> None:
    """Panels of 1 MiB, each read by tiles of rows that stay in the first cache; smaller ones are left in any order."""
    machine = Machine(64, 32, l1=48 << 10, l2=2 << 20)
    shared, alone = (choose(product(1536, 256, n), 16, machine, (STORED, CONSTANT)) for n in (1024, 512))
    ((axis, tiles),) = shared.group
    assert axis == 0 and 1 < tiles and tiles * dict(shared.tile)[0] * 256 * 4 <= machine.l1
    assert shared.order == alone.order == (0, 1) and not alone.group


def test_threads_read_the_panels_that_they_have_packed() -> None:
    """Of operands of one size that in panels is shared out, if these stay in the first cache, or both operands in the second,
    and nobody writes the other."""
    machine, callers = Machine(64, 32, 48 << 10, 2 << 20), Origin(given=True)
    both, none, constant = (callers, callers), (STORED, STORED), (callers, CONSTANT)
    small = ((both, 128, 1), (both, 256, 1), (none, 128, 0), (none, 256, 0), (constant, 128, 0))
    for origins, size, outermost in (*small, (both, 512, 0), (both, 768, 0)):
        schedule = choose(product(size, size, size, b_transposed=True), 16, machine, origins)
        assert schedule.packed == (1,) and not schedule.near and schedule.order[0] == outermost


def test_the_gradient_of_a_weight_is_cut_as_the_weight_lies() -> None:
    machine = Machine(64, 32, 48 << 10, 2 << 20)
    loops = product(128, 64, 784, a_transposed=True)  # w[128, 784] = sum over a batch of 64
    schedule = choose(loops, 16, machine)
    groups = dict(schedule.group)
    assert schedule.order[0] == 0
    assert groups == {} or -(-schedule.tiles(loops, 0) // groups[0]) in (2, 4)


def test_vectors_in_two_lines_are_loaded_twice() -> None:
    """Dot products load all that they multiply; in panels vectors lie in one line."""
    loops, machine = product(64, 2048, 16, b_transposed=True), Machine(64, 32, l1=48 << 10, l2=2 << 20)
    assert loops[choose(loops, 16, machine, (STORED, STORED)).lane].reduced
    assert not loops[choose(loops, 16, machine, (Origin(given=True), Origin(given=True))).lane].reduced


def test_a_row_that_reads_far_apart_takes_no_more_vectors_than_tiles_of_several() -> None:
    far, near = (
        max(s.columns for s in candidates(product(1, 1024, n)[1:], 16, Machine(64, 32)) if not s.packed and not s.tile)
        for n in (1024, 192)
    )
    assert far == MAX_VECTORS * 16 and near == MOST_VECTORS * 16
