"""Which launches workers share, and where they meet."""

from dataclasses import replace

from nets import buffer, shift

from graphc.codegen.fingerprint import fingerprint
from graphc.codegen.sharing import HANDED_WORK, MOST_CUTS, OPERATION, PARALLEL_WORK, SHARED_WORK, share, work
from graphc.dtype import float32
from graphc.ir.expr import Array, Var, call, load
from graphc.ir.kernel import ARENA, INPUT, OUTPUT, Accumulate, For, Kernel, KernelFunction, Launch, Store

WIDE, NARROW = 1 << 23, 4


def plan(*launches, offsets=None, inputs=(), outputs=()):
    return share(KernelFunction("f", inputs, outputs, launches), offsets or {}, work)


def test_work_counts_loops_loads_and_products():
    assert work(shift(10, 1)) == 10 * 2 * OPERATION  # a store and a load
    x, i, j = Array("x", float32, 8), Var("i", 2), Var("j", 4)
    body = (For(j, (Store(x, i * 4 + j, load(x, j) * load(x, i)),)),)
    assert work(Kernel("k", (x,), i, body)) == 2 * 4 * (1 + 3) * OPERATION
    assert work(Kernel("k", (x,), i, (Store(x, i, call("exp", load(x, i))),))) > 2 * 10 * OPERATION
    assert work(Kernel("k", (x,), i, (For(j, (Accumulate(x, i, "add", load(x, j) * load(x, i)),)),))) == 2 * 4


def test_a_small_function_stays_on_one_thread():
    x, y = buffer("x", (8,), INPUT), buffer("y", (8,), OUTPUT)
    sharing = plan(Launch(shift(8, 1), (x, y)))
    assert not sharing.parallel and not sharing.meet and not any(s.barrier or s.shared for s in sharing.parts)
    assert work(shift(8, 1)) < SHARED_WORK < PARALLEL_WORK


def test_what_multiplies_a_large_operand_once_waits_for_memory():
    rows, columns = 1 << 9, 1 << 10
    x, y, i, j = Array("x", float32, rows * columns), Array("y", float32, rows), Var("i", rows), Var("j", columns)
    product = Kernel("k", (x, y), i, (For(j, (Accumulate(y, i, "add", load(x, i * columns + j) * load(y, j)),)),))
    large, once = buffer("large", (rows * columns,), INPUT), buffer("y", (rows,), OUTPUT)
    assert work(product) < SHARED_WORK < plan(Launch(product, (large, once))).work
    assert plan(Launch(product, (large, once))).parallel
    part = Launch(shift(NARROW, 1), (buffer("x", (WIDE,), INPUT), buffer("y", (NARROW,), OUTPUT)))
    assert not plan(part).parallel  # it reads some elements alone


def test_a_reader_awaits_its_writer_and_a_writer_the_readers():
    x, y = buffer("x", (WIDE,), INPUT), buffer("y", (WIDE,), OUTPUT)
    half = buffer("half", (WIDE,), ARENA)
    k = shift(WIDE, 1)
    sharing = plan(Launch(k, (x, half)), Launch(k, (half, y)), Launch(k, (x, half)), offsets={half: 0})
    assert [s.barrier for s in sharing.parts] == [False, True, True] and sharing.meet


def test_independent_launches_do_not_wait():
    x = buffer("x", (WIDE,), INPUT)
    outs = [buffer(f"y{i}", (WIDE,), OUTPUT) for i in range(3)]
    sharing = plan(*(Launch(shift(WIDE, 1), (x, out)) for out in outs))
    assert [s.barrier for s in sharing.parts] == [False] * 3 and sharing.meet


def test_buffers_that_share_memory_are_one():
    x, y = buffer("x", (WIDE,), INPUT), buffer("y", (WIDE,), OUTPUT)
    one, two = buffer("one", (WIDE,), ARENA), buffer("two", (WIDE,), ARENA)
    k = shift(WIDE, 1)
    launches = (Launch(k, (x, one)), Launch(k, (x, two)), Launch(k, (two, y)))
    assert [s.barrier for s in plan(*launches, offsets={one: 0, two: 4 * WIDE}).parts] == [False, False, True]
    assert [s.barrier for s in plan(*launches, offsets={one: 0, two: 2 * WIDE}).parts] == [False, True, True]


def test_small_launches_run_alone_without_barriers_between():
    x, y = buffer("x", (WIDE,), INPUT), buffer("y", (NARROW,), OUTPUT)
    half, z = buffer("half", (NARROW,), ARENA), buffer("z", (WIDE,), OUTPUT)
    small, large = shift(NARROW, 1), shift(WIDE, 1)
    sharing = plan(Launch(large, (x, z)), Launch(small, (x, half)), Launch(small, (half, y)), offsets={half: 0})
    assert [(s.shared, s.barrier, len(s.launches)) for s in sharing.parts] == [(True, False, 1), (False, False, 2)]
    after = plan(Launch(small, (x, half)), Launch(large, (half, z)), offsets={half: 0})
    assert [(s.shared, s.barrier) for s in after.parts] == [(False, False), (True, True)]


def test_what_a_shared_launch_reads_is_made_by_all_workers_too():
    few, size = HANDED_WORK // (2 * OPERATION), SHARED_WORK // (2 * OPERATION) - 1
    x, z = buffer("x", (size,), INPUT), buffer("z", (WIDE,), OUTPUT)
    half, y = buffer("half", (size,), ARENA), buffer("y", (size,), OUTPUT)
    reader = Launch(shift(WIDE, 1), (half, z))

    def shared(*launches):
        return [part.shared for part in plan(*launches, offsets={half: 0}).parts]

    assert work(shift(size, 1)) < SHARED_WORK
    assert shared(Launch(shift(size, 1), (x, half)), reader) == [True, True]
    assert shared(Launch(shift(size, 1), (x, y)), reader) == [False, True]  # nobody reads it
    assert shared(reader, Launch(shift(size, 1), (x, half))) == [True, False]  # it has been read
    assert shared(Launch(shift(few - 1, 1), (x, half)), reader) == [False, True]
    lone = Launch(shift(few - 1, 1), (x, half))  # makes it again before it is read
    assert shared(Launch(shift(size, 1), (x, half)), lone, reader) == [False, True]


def test_worker_zero_need_not_await_anybody_behind_its_own_steps():
    x, y = buffer("x", (WIDE,), INPUT), buffer("y", (NARROW,), OUTPUT)
    half = buffer("half", (WIDE,), ARENA)
    sharing = plan(Launch(shift(WIDE, 1), (x, half)), Launch(shift(NARROW, 1), (half, y)), offsets={half: 0})
    assert [(s.shared, s.barrier) for s in sharing.parts] == [(True, False), (False, True)] and not sharing.meet


def test_nobody_goes_ahead_of_a_launch_for_which_he_has_no_scratch_memory():
    x, outs = buffer("x", (WIDE,), INPUT), [buffer(f"y{i}", (WIDE,), OUTPUT) for i in range(2)]
    scratch = replace(buffer("scratch", (WIDE,), ARENA), parts=2)
    first, second = Launch(shift(WIDE, 1), (x, scratch)), Launch(shift(WIDE, 1), (x, outs[0]))
    assert [s.barrier for s in plan(first, second, offsets={scratch: 0}).parts] == [False, True]


def test_units_before_a_part_are_the_tasks_of_shared_launches_and_the_runs_of_lone_ones():
    x, y = buffer("x", (WIDE,), INPUT), buffer("y", (WIDE,), OUTPUT)
    half, other = buffer("half", (NARROW,), ARENA), buffer("other", (NARROW,), ARENA)
    small, large = Launch(shift(NARROW, 1), (x, half)), Launch(shift(WIDE, 1), (half, y))
    sharing = plan(small, small, large, small, large, offsets={half: 0, other: 64})
    assert [(s.shared, s.barrier, s.start) for s in sharing.parts] == [
        (False, False, 0), (True, True, 1), (False, True, WIDE + 1), (True, True, WIDE + 2),
    ]  # fmt: skip
    assert sharing.units == 2 * WIDE + 2


def test_a_long_launch_is_claimed_in_more_chunks():
    x, y = buffer("x", (1 << 28,), INPUT), buffer("y", (1 << 28,), OUTPUT)
    cuts = [plan(Launch(shift(1 << bits, 1), (x, y))).parts[0].cuts for bits in (20, 22, 28)]
    assert 1 < cuts[0] < cuts[1] < cuts[2] <= MOST_CUTS


def test_fingerprints_of_deep_expressions():
    x, i = Array("x", float32, 8), Var("i", 8)
    deep = load(x, i)
    for _ in range(5000):
        deep = deep * 2 + 1
    assert fingerprint(Kernel("k", (x,), i, (Store(x, i, deep),))) != fingerprint(
        Kernel("k", (x,), i, (Store(x, i, deep + 1),))
    )


def test_fingerprints_tell_kernels_apart_by_what_they_do():
    assert fingerprint(shift(8, 1)) == fingerprint(shift(8, 1))
    assert len({fingerprint(shift(size, step)) for size in (8, 9) for step in (1, 2)}) == 4
    x, y, i = Array("p", float32, 8), Array("q", float32, 8), Var("other", 8)
    renamed = Kernel("other", (x, y), i, (Store(y, i, load(x, (i + 1) % 8)),))
    assert fingerprint(renamed) == fingerprint(shift(8, 1))
    swapped = Kernel("other", (y, x), i, (Store(y, i, load(x, (i + 1) % 8)),))
    assert fingerprint(swapped) != fingerprint(shift(8, 1))
