"""Handing out tasks: whatever workers are delayed by, wherever they are, every task runs once and behind what it needs."""

import ctypes
import os
import re

import numpy as np
import pytest
from nets import ring

from graphc.codegen import sharing
from graphc.codegen.llvm import workers
from graphc.codegen.llvm.build import Jit
from graphc.codegen.llvm.entry import emit_program
from graphc.codegen.target import host
from graphc.ir.kernel import ALIGNMENT

# Every so often, by a hash of the number of the call, it sleeps for up to 255 microseconds.
DELAY = """
@count = internal global i64 0
declare i32 @usleep(i32)
define internal void @delay() noinline {{
  %n = atomicrmw add ptr @count, i64 1 monotonic
  %hash = mul i64 %n, -7046029254386353131
  %bits = lshr i64 %hash, 40
  %rest = urem i64 %bits, {every}
  %now = icmp eq i64 %rest, 0
  br i1 %now, label %sleep, label %end
sleep:
  %long = lshr i64 %hash, 56
  %microseconds = trunc i64 %long to i32
  %slept = call i32 @usleep(i32 %microseconds)
  br label %end
end:
  ret void
}}
"""


def delayed(text: str, every: int) -> str:
    """Module text in which workers may be delayed at the start of every block of the pool's functions."""
    head, *functions = re.split(r"^(?=define )", text, flags=re.MULTILINE)
    pool = r"define internal \S.* @graphc\.(take|meet|wake|await|announce|worker|run)\("
    block = r"^([\w.]+:\n(?:  \S+ = phi .*\n)*)"
    functions = [
        re.sub(block, r"\1  call void @delay()\n", f, flags=re.MULTILINE) if re.match(pool, f) else f for f in functions
    ]
    assert sum("@delay" in f for f in functions) == 7
    return "".join([head, *functions, DELAY.format(every=every)])


@pytest.mark.parametrize(
    ("threads", "every", "size", "rounds", "spins"),
    [(2, 5, 1000, 12, 1500), (3, 20, 999, 40, 10), (4, 8, 33, 5, 0), (7, 30, 100, 9, 5)],
)
def test_late_workers_neither_repeat_a_task_nor_begin_one_early(monkeypatch, threads, every, size, rounds, spins):
    for limit in ("PARALLEL_WORK", "SHARED_WORK"):
        monkeypatch.setattr(sharing, limit, 0)
    monkeypatch.setattr(sharing, "CHUNK_WORK", 20)
    monkeypatch.setattr(workers, "SPINS_AT_BARRIER", spins)
    monkeypatch.setattr(workers, "SPINS_BETWEEN_JOBS", spins)
    program = ring(size, rounds).program
    jit = Jit([delayed(emit_program(program, "ring", host(), embed_initial=False), every)], host())

    def function(name, *arguments, result=ctypes.c_int32):
        return ctypes.CFUNCTYPE(result, *arguments)(jit.address(f"ring_{name}"))

    pointer = ctypes.c_void_p
    run, close = function("run", pointer, pointer, pointer), function("close", pointer)
    memory = np.zeros(function("size", result=ctypes.c_int64)() + ALIGNMENT, np.uint8)
    net = memory.ctypes.data + -memory.ctypes.data % ALIGNMENT
    assert function("init", pointer, ctypes.c_int32)(net, threads) == 0
    for call in range(60):
        x, y = np.arange(size, dtype=np.float32) + call, np.zeros(size, np.float32)
        assert run(net, x.ctypes.data, y.ctypes.data) == 0
        np.testing.assert_array_equal(y, np.roll(x, -sum(range(1, rounds + 1))))
    assert close(net) == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system pins no threads")
def test_workers_share_one_processor():
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})  # of this thread, and of those it starts
    try:
        x = np.arange(1 << 16, dtype=np.float32)
        with ring().load(3) as program:
            for _ in range(20):
                np.testing.assert_array_equal(program.run(x), np.roll(x, -sum(range(1, 81))))
    finally:
        os.sched_setaffinity(0, usable)
