"""The worker pool: the same numbers on any number of threads, no hang on few cores, after a fork, or at the end."""

import multiprocessing
import os
import time

import numpy as np
import pytest
from nets import ring

from graphc.errors import CallError

X = np.arange(1 << 16, dtype=np.float32)
EXPECTED = np.roll(X, -sum(range(1, 81)))


def test_the_ring_is_a_program_that_workers_share():
    assert ring().manifest().parallel


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_results_do_not_depend_on_the_number_of_threads(threads):
    with ring().load(threads) as program:
        for _ in range(20):
            np.testing.assert_array_equal(program.run(X), EXPECTED)


def test_workers_that_have_gone_to_sleep_wake_up():
    with ring().load(3) as program:
        for _ in range(5):
            time.sleep(0.02)
            np.testing.assert_array_equal(program.run(X), EXPECTED)


def test_nets_of_one_process_do_not_disturb_each_other():
    with ring().load(2) as one, ring().load(3) as two:
        for _ in range(10):
            np.testing.assert_array_equal(one.run(X), EXPECTED)
            np.testing.assert_array_equal(two.run(X), EXPECTED)


@pytest.mark.parametrize("threads", [0, -1])
def test_a_senseless_number_of_threads_is_refused(threads):
    with pytest.raises(CallError, match=f"threads={threads}: expected at least 1"):
        ring().load(threads)


def test_more_threads_than_processors_are_no_mistake():
    with ring().load(10**9) as program:
        np.testing.assert_array_equal(program.run(X), EXPECTED)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_computes_alone_and_ends():
    program = ring().load(2)
    program.run(X)

    def child(good):
        good.value = bool((program.run(X) == EXPECTED).all())
        program.close()

    context = multiprocessing.get_context("fork")
    good = context.Value("b", False)
    process = context.Process(target=child, args=(good,))
    process.start()
    process.join(30)
    alive = process.is_alive()
    if alive:
        process.kill()
    assert not alive and good.value
    np.testing.assert_array_equal(program.run(X), EXPECTED)
    program.close()


def test_programs_come_and_go_without_leaving_threads():
    compilation = ring()
    before = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
    for _ in range(3):
        with compilation.load(3) as program:
            program.run(X)
    if before:
        deadline = time.monotonic() + 5  # the system lists a joined thread until it has cleaned up behind it
        while len(os.listdir("/proc/self/task")) > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(os.listdir("/proc/self/task")) <= before
