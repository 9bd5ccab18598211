"""The machine: its description, and the limits of what it can do, measured.

In: a number of threads. Out: the highest rate of float32 multiply-adds, from a loop of nothing else in the widest vectors,
and of bytes read and written by a copy of WORKING_SET bytes (the size of the memory-bound workloads). The best of several
runs in a row, since everything that disturbs makes them slower.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter

import numpy as np

from graphc.codegen.llvm.build import Jit
from graphc.codegen.target import Target, host
from graphc.dtype import float32
from graphc.runtime.host import cpu_name

WORKING_SET = 16 << 20
REPEATS = 10
ROUNDS = 400_000  # of the loop of multiply-adds: some milliseconds
PACKAGES = ("graphc", "numpy", "llvmlite", "torch", "onnxruntime", "openvino", "jax")


@dataclass(frozen=True)
class Limits:
    """What a number of threads can do at best at some time: float32 operations, and bytes copied, a second."""

    flops: float
    bytes: float


def description() -> dict[str, object]:
    """What the numbers were measured on and with."""
    target = host()
    return {
        "cpu": cpu_name(),
        "processors": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "vector_bits": target.vector_bits,
        "l1_bytes": target.l1_bytes,
        "l2_bytes": target.l2_bytes,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def limits(threads: int) -> Limits:
    return Limits(peak_flops(threads), copy_bandwidth(threads))


def peak_flops(threads: int) -> float:
    """float32 operations a second; a multiply-add counts as two."""
    target = host()
    lanes, chains = target.lanes(float32), min(24, target.vector_registers - 4)
    jit = _compiled(lanes, chains, target)
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(jit.address("multiply_adds"))
    results = np.zeros((threads, 64), np.float32)
    addresses = [row.ctypes.data for row in results]
    return threads * 2 * lanes * chains * ROUNDS / _fastest(threads, lambda i: run(addresses[i], ROUNDS))


@cache
def _compiled(lanes: int, chains: int, target: Target) -> Jit:
    return Jit([multiply_adds(lanes, chains, target)], target)


def copy_bandwidth(threads: int) -> float:
    """Bytes a second, those read and those written."""
    source = np.ones((threads, WORKING_SET // threads), np.uint8)
    goal = np.zeros_like(source)
    return 2 * source.nbytes / _fastest(threads, lambda i: np.copyto(goal[i], source[i]))


def _fastest(threads: int, work: Callable[[int], None]) -> float:
    """Seconds in which `threads` threads do their shares, at best. Work must release the interpreter's lock."""
    with ThreadPoolExecutor(threads) as pool:
        times = []
        for _ in range(REPEATS):
            start = perf_counter()
            list(pool.map(work, range(threads)))
            times.append(perf_counter() - start)
    return min(times)


def multiply_adds(lanes: int, chains: int, target: Target) -> str:
    """LLVM text: define void @multiply_adds(ptr %result, i64 %rounds), one independent multiply-add a chain and round."""
    kind, name = f"<{lanes} x float>", f"llvm.fma.v{lanes}f32"
    half, one = (", ".join([f"float {number}"] * lanes) for number in (0.5, 1.0))
    lines = [f"declare {kind} @{name}({kind}, {kind}, {kind})"] if target.has_fma else []
    lines += ["define void @multiply_adds(ptr %result, i64 %rounds) {", "entry:", "  br label %loop", "loop:"]
    lines.append("  %i = phi i64 [ 0, %entry ], [ %i.next, %loop ]")
    for c in range(chains):  # each starts elsewhere, or they would be one; and none at 2, which stays 2
        start = ", ".join([f"float {c}.5"] * lanes)
        lines.append(f"  %a{c} = phi {kind} [ <{start}>, %entry ], [ %b{c}, %loop ]")
    for c in range(chains):
        if target.has_fma:
            lines.append(f"  %b{c} = call {kind} @{name}({kind} %a{c}, {kind} <{half}>, {kind} <{one}>)")
        else:
            lines += [f"  %m{c} = fmul {kind} %a{c}, <{half}>", f"  %b{c} = fadd {kind} %m{c}, <{one}>"]
    lines += ["  %i.next = add i64 %i, 1", "  %more = icmp slt i64 %i.next, %rounds", "  br i1 %more, label %loop, label %done"]
    lines += ["done:", f"  %s0 = fadd {kind} %b0, %b1"]
    lines += [f"  %s{c} = fadd {kind} %s{c - 1}, %b{c + 1}" for c in range(1, chains - 1)]
    lines += [f"  store {kind} %s{chains - 2}, ptr %result, align 4", "  ret void", "}", ""]
    return "\n".join(lines)
