"""What a call from Python costs beyond the compiled function: `python tools/call_overhead.py`.

In: nothing. Out: nanoseconds a call, for a function with two inputs and one output: its entry point called from a native
loop, the function called from Python as users do, the careful way that arguments take which do not fit as they are, and
numpy.empty, which makes the output. Median and fastest of interleaved rounds, compiled in this process and loaded from a file.
"""

from __future__ import annotations

import ctypes
import tempfile
import timeit
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

import graphc as gc
from graphc.codegen.llvm.build import Jit
from graphc.codegen.target import host
from graphc.runtime.program import Careful, CompiledFunction, Program

SHAPE = (64, 10)

_LOOP = """
define void @repeat(ptr %entry, ptr %net, ptr %x, ptr %y, ptr %z, i64 %count) {
start:
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %more, %next ]
  %code = call i32 %entry(ptr %net, ptr %x, ptr %y, ptr %z)
  %more = add i64 %i, 1
  %done = icmp eq i64 %more, %count
  br i1 %done, label %end, label %next
end:
  ret void
}
"""


def measure(calls: int = 2000, rounds: int = 201) -> dict[tuple[str, str], list[float]]:
    """(where, what) -> nanoseconds a call, by round, from the fastest."""
    x, y = (gc.placeholder(SHAPE, gc.float32, name=name) for name in "xy")
    compiled = gc.compile(add=gc.function([x, y], x + y))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.so")
        compiled.save(path)
        loaded = gc.load(path)
    loop = Jit([_LOOP], host())
    timers = {(where, what): timer for where, made in (("compiled", compiled), ("loaded", loaded))
              for what, timer in ways(made, loop).items()}  # fmt: skip
    seconds = [{key: timer(calls) for key, timer in timers.items()} for _ in range(rounds)]
    return {key: sorted(one[key] / calls * 1e9 for one in seconds) for key in timers}


def ways(program: Program, loop: Jit) -> dict[str, partial[float]]:
    """What is timed: each takes a number of calls and gives seconds."""
    x, y = (np.full(SHAPE, value, np.float32) for value in (1, 2))
    function: CompiledFunction = program.add
    return {
        "entry": partial(bare, program, loop, x, y),
        "call": partial(python, "f(x, y)", f=function, x=x, y=y),
        "careful call": partial(python, "f(x, y)", f=Careful(program._net, function.signature), x=x, y=y),
        "numpy.empty": partial(python, "f(shape, dtype)", f=np.empty, shape=SHAPE, dtype=x.dtype),
    }


def python(statement: str, calls: int, **names: object) -> float:
    """Seconds that Python takes for so many calls."""
    return timeit.timeit(statement, globals=names, number=calls)


def bare(program: Program, loop: Jit, x: np.ndarray, y: np.ndarray, calls: int) -> float:
    """Seconds that native code takes for so many calls of the entry point."""
    z = np.empty(SHAPE, np.float32)
    repeat = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, ctypes.c_int64)(loop.address("repeat"))
    entry = program._net.library.address(program.add.signature.symbol)
    arguments = (entry, program._net.address, *(array.ctypes.data for array in (x, y, z)), calls)
    return timeit.timeit(lambda: repeat(*arguments), number=1)


def main() -> None:
    found = measure()
    print(f"float32{list(SHAPE)} + float32{list(SHAPE)}: ns a call, and beyond the entry      median          fastest")
    for (where, what), times in found.items():
        numbers = [(pick(times), pick(times) - pick(found[where, "entry"])) for pick in (median, min)]
        print(f"{where:10}{what:47}" + "".join(f"{all_of:10.0f}{beyond:+7.0f}" for all_of, beyond in numbers))


if __name__ == "__main__":
    main()
