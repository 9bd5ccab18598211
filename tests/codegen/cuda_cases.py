"""Kernels written by hand in the words of generated CUDA source: good ones, and one for each fault that is to be found.

In: nothing. Out: tables by what a kernel shows, and their `source`, in which row i of GOOD and then BAD is kernel k<i> with the
host entry run<i>(x, y, n, stream), and row i of BAD_HOST the entry host<i>. Kernels get `x` (floats), `y` (floats, written) and
`n` (integers), which hold SIZE elements; nobody has written the last one of `n`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIZE = 512


@dataclass(frozen=True)
class Good:
    """A kernel over `x` (floats), `y` (floats, written) and `n` (integers), and what it must leave in y."""

    body: str
    expected: Callable[[np.ndarray], np.ndarray]
    grid: str = "1"
    block: str = "64"


@dataclass(frozen=True)
class Bad:
    """The same with a fault, reported for the line that says HERE in words that match `pattern`."""

    body: str
    pattern: str
    grid: str = "1"
    block: str = "64"


def reversed_blocks(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, 64)[:, ::-1].reshape(-1)


def sums(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x.sum(keepdims=True), x[1:]])


GOOD = {
    "one element a thread": Good("y[blockIdx.x * blockDim.x + threadIdx.x] += 1.0f;", lambda x: x + 1, "SIZE / 64"),
    "neighbours through shared memory": Good(
        """
        GRAPHC_SHARED(float, tile, 64);
        int i = blockIdx.x * 64 + threadIdx.x;
        tile[threadIdx.x] = x[i];
        __syncthreads();
        y[i] = tile[63 - threadIdx.x];
        """,
        reversed_blocks,
        "SIZE / 64",
    ),
    "shared memory used again behind a barrier": Good(
        """
        GRAPHC_SHARED(float, tile, 64);
        for (int step = 0; step < SIZE / 64; ++step) {
          tile[threadIdx.x] = x[step * 64 + threadIdx.x];
          __syncthreads();
          y[step * 64 + threadIdx.x] = tile[63 - threadIdx.x];
          __syncthreads();
        }
        """,
        reversed_blocks,
    ),
    "a sum by shuffles, then by one warp": Good(
        """
        GRAPHC_SHARED(float, part, 32);
        float total = 0;
        for (int i = threadIdx.x; i < SIZE; i += blockDim.x) total += x[i];
        for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
        if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = total;
        __syncthreads();
        if (threadIdx.x < 32) {
          total = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.0f;
          for (int step = 16; step > 0; step /= 2) total += __shfl_down_sync(0xffffffffu, total, step);
          if (threadIdx.x == 0) y[0] = total;
        }
        """,
        sums,
        block="1024",
    ),
    "lanes that one warp exchanges while another waits": Good(
        """
        int turns = threadIdx.x < 32 ? 5 : 0;
        long long value = threadIdx.x;
        for (int i = 0; i < turns; ++i) value = __shfl_sync(0xffffffffu, value, (threadIdx.x + 1) % 32);
        value = __shfl_up_sync(0xffffffffu, value, 1);
        __syncthreads();
        y[threadIdx.x] = float(value);
        """,
        lambda x: np.concatenate([_up((np.arange(32) + 5) % 32), _up(np.arange(32, 64)), x[64:]]),
    ),
    "sixteen bytes at once": Good(
        """
        Packet four = GRAPHC_LOAD(Packet, x, threadIdx.x * 4);
        for (int i = 0; i < 4; ++i) four.lane[i] *= 2;
        GRAPHC_STORE(Packet, y, threadIdx.x * 4, four);
        """,
        lambda x: x * 2,
        block="SIZE / 4",
    ),
    "a product of matrices in each warp": Good(
        """
        float c[4] = {x[threadIdx.x], 0, 0, 0}, a[4] = {1, 1, 1, 1}, b[2] = {1, 1};
        for (int turn = 0; turn < 1 + int(threadIdx.x) / 32; ++turn) mma_tf32(c, a, b);
        y[threadIdx.x] = c[0];
        """,
        lambda x: np.concatenate([x[:32] + 8, x[32:64] + 16, x[64:]]),
    ),
    "atomic sums of all blocks": Good("atomicAdd(&y[0], x[blockIdx.x]);", sums, "SIZE", "1"),
    "a cell of one thread": Good(
        "for (int i = 0; i < 3; ++i) { y[threadIdx.x] = y[threadIdx.x] + 1; } *(y + threadIdx.x) -= 1.0f;",
        lambda x: x + 2,
        block="SIZE",
    ),
    "three dimensions": Good(
        "y[((blockIdx.y * 4 + threadIdx.z) * 2 + threadIdx.y) * 16 + threadIdx.x] = gridDim.y * blockDim.z;",
        lambda x: np.full(SIZE, 16.0, np.float32),
        "dim3(1, 4)",
        "dim3(16, 2, 4)",
    ),
}


def _up(warp: np.ndarray) -> np.ndarray:
    """Values moved up by one lane."""
    return np.concatenate([warp[:1], warp[:-1]]).astype(np.float32)


NO_BARRIER = "there is no barrier between"
ANY_ORDER = "blocks run in any order"

BAD = {
    "a barrier for some threads": Bad(
        "if (threadIdx.x < 40) __syncthreads();  // HERE", r"barrier that thread \(40, 0, 0\) does not reach: it has ended"
    ),
    "a barrier behind a return": Bad(
        "if (threadIdx.x == 3) return; __syncthreads();  // HERE", r"thread \(3, 0, 0\).* has ended"
    ),
    "a barrier on each side of a branch": Bad(
        """
        if (threadIdx.x < 32) __syncthreads();  // HERE
        else
          __syncthreads();
        """,
        r"waits at a barrier that thread \(32, 0, 0\) does not reach: it waits at the barrier of line",
    ),
    "a shuffle for some lanes": Bad(
        "if (threadIdx.x != 35) y[threadIdx.x] = __shfl_down_sync(0xffffffffu, 1.0f, 1);  // HERE",
        r"waits at a shuffle that thread \(35, 0, 0\) does not reach: it has ended",
    ),
    "a shuffle while lanes wait at a barrier": Bad(
        """
        if (threadIdx.x % 2) __syncthreads();
        else y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 2);  // HERE
        """,
        "waits at a shuffle that .* it waits at the barrier of line",
    ),
    "a shuffle in half a warp": Bad(
        "y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);  // HERE", "has fewer than 32 threads", block="48"
    ),
    "two shuffles in one warp": Bad(
        """
        float a = 0;
        if (threadIdx.x == 31) a = __shfl_xor_sync(0xffffffffu, 1.0f, 1);  // HERE
        else
          a = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
        y[threadIdx.x] = a;
        """,
        "a shuffle meets a shuffle, of line",
    ),
    "a shuffle of half the lanes": Bad("__shfl_xor_sync(0xffffu, 1.0f, 1);  // HERE", "names the lanes 0000ffff"),
    "a product of matrices for some lanes": Bad(
        "float c[4] = {}, a[4] = {}, b[2] = {}; if (threadIdx.x != 33) mma_tf32(c, a, b);  // HERE",
        r"waits at a product of matrices that thread \(33, 0, 0\) does not reach: it has ended",
    ),
    "a product of matrices in half a warp": Bad(
        "float c[4] = {}; uint16_t a[8] = {}, b[4] = {}; mma_f16(c, a, b);  // HERE",
        "waits at a product of matrices in a warp that has fewer than 32 threads",
        block="48",
    ),
    "a product of matrices that meets a shuffle": Bad(
        """
        float c[4] = {};
        uint16_t a[8] = {}, b[4] = {};
        if (threadIdx.x < 31) mma_bf16(c, a, b);
        else
          c[0] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);  // HERE
        """,
        "a shuffle meets a product of matrices, of line",
    ),
    "products of two types in one warp": Bad(
        """
        float c[4] = {};
        uint16_t a[8] = {}, b[4] = {};
        if (threadIdx.x < 31) mma_bf16(c, a, b); else mma_f16(c, a, b);  // HERE
        """,
        "a product of matrices meets a product of matrices, of line",
    ),
    "a factor that was not rounded": Bad(
        "float c[4] = {}, a[4] = {1, 1, 1, 1}, b[2] = {1, threadIdx.x == 7 ? 0.1f : 0.5f}; mma_tf32(c, a, b);  // HERE",
        r"thread \(7, 0, 0\).*multiplies b\[1\] = 0x1.99999ap-4, which was not rounded to tf32",
    ),
    "a read behind shared memory": Bad(
        "GRAPHC_SHARED(float, tile, 64); tile[threadIdx.x] = 0.0f; y[0] = tile[threadIdx.x + 64];  // HERE",
        r"reads tile\[64\], which is outside of its 64 elements",
    ),
    "a write before shared memory": Bad(
        "GRAPHC_SHARED(float, tile, 64); tile[int(threadIdx.x) - 1] = 0.0f;  // HERE", r"writes tile\[-1\]"
    ),
    "a read behind an argument": Bad(
        "float z = x[threadIdx.x + SIZE - 63]; y[threadIdx.x] = z;  // HERE", r"reads argument 0\[512\]"
    ),
    "a write behind an argument": Bad("y[SIZE] = 1.0f;  // HERE", r"writes argument 1\[512\], which is outside of its 512"),
    "a packet that ends outside": Bad("GRAPHC_LOAD(Packet, x, SIZE - 2);  // HERE", r"reads argument 0\[510\]"),
    "a packet at an odd place": Bad(
        "GRAPHC_LOAD(Packet, x, 2);  // HERE", r"16 bytes at once at argument 0\[2\], .* no multiple"
    ),
    "shared memory that nobody wrote": Bad(
        "GRAPHC_SHARED(int, tile, 8); y[threadIdx.x] = tile[5];  // HERE", r"reads tile\[5\], which nobody has written"
    ),
    "shared memory that the last block wrote": Bad(
        """
        GRAPHC_SHARED(float, tile, 8);
        if (blockIdx.x == 0) { tile[0] = 1.0f; return; }
        y[blockIdx.x] = tile[0];  // HERE
        """,
        r"block \(1, 0, 0\).*nobody has written",
        "2",
        "1",
    ),
    "an argument that nobody wrote": Bad(
        "if (threadIdx.x != 5) y[threadIdx.x] = n[threadIdx.x + SIZE - 64];  // HERE",
        r"thread \(63, 0, 0\).*reads argument 2\[511\], which nobody has written",
    ),
    "two threads write one shared cell": Bad(
        "GRAPHC_SHARED(float, tile, 8); tile[threadIdx.x / 32] = 1.0f;  // HERE",
        rf"thread \(1, 0, 0\).*writes tile\[0\], which thread \(0, 0, 0\) wrote .*{NO_BARRIER}",
    ),
    "a shared cell read before the barrier": Bad(
        """
        GRAPHC_SHARED(float, tile, 64);
        tile[threadIdx.x] = 1.0f;
        y[threadIdx.x] = tile[threadIdx.x / 2];  // HERE
        """,
        rf"thread \(1, 0, 0\), .*race: reads tile\[0\], which thread \(0, 0, 0\) wrote .*{NO_BARRIER}",
    ),
    "a shared cell written while it is read": Bad(
        """
        GRAPHC_SHARED(float, tile, 64);
        for (int i = 0; i < 2; ++i) {
          tile[threadIdx.x] = 1.0f;  // HERE
          __syncthreads();
          y[threadIdx.x] = tile[(threadIdx.x + 1) % 64];
        }
        """,
        rf"thread \(1, 0, 0\).*race: writes tile\[1\], which thread \(0, 0, 0\) read .*{NO_BARRIER}",
    ),
    "a shared cell written while many read it": Bad(
        """
        GRAPHC_SHARED(float, tile, 1);
        if (threadIdx.x == 0) tile[0] = 1.0f;
        __syncthreads();
        y[threadIdx.x] = tile[0];
        if (threadIdx.x == 63) tile[0] = 2.0f;  // HERE
        """,
        rf"thread \(63, 0, 0\).*which several threads read .*{NO_BARRIER}",
    ),
    "two threads of a block write one cell": Bad(
        "y[threadIdx.x / 2] = 1.0f;  // HERE", rf"writes argument 1\[0\].*{NO_BARRIER}"
    ),
    "a part of a packet that another thread writes": Bad(
        "if (threadIdx.x == 0) GRAPHC_STORE(Packet, y, 0, Packet{}); else if (threadIdx.x == 1) y[3] = 1.0f;  // HERE",
        r"writes argument 1\[3\], which thread \(0, 0, 0\) wrote",
    ),
    "two blocks write one cell": Bad("y[0] = 1.0f;  // HERE", rf"which block \(0, 0, 0\) wrote .*{ANY_ORDER}", "2", "1"),
    "a block reads what another wrote": Bad(
        "if (blockIdx.x == 0) y[5] = 1.0f; else y[6] = y[5];  // HERE", rf"reads argument 1\[5\].*{ANY_ORDER}", "2", "1"
    ),
    "a block writes what another read": Bad(
        "if (blockIdx.x < 2) y[6 + blockIdx.x] = y[5]; else y[5] = 1.0f;  // HERE", rf"read at .*{ANY_ORDER}", "3", "1"
    ),
    "a block writes what another and itself read": Bad(
        "float z = y[5]; if (blockIdx.x == 1) y[5] = z;  // HERE", rf"which block \(0, 0, 0\) read at .*{ANY_ORDER}", "2", "1"
    ),
    "an atomic sum that is read at the same time": Bad(
        "if (blockIdx.x < 2) atomicAdd(&y[0], 1.0f); else y[1] = y[0];  // HERE",
        rf"reads argument 1\[0\].*{ANY_ORDER}",
        "3",
        "1",
    ),
    "an atomic sum into what nobody wrote": Bad(
        "GRAPHC_SHARED(float, tile, 8); atomicAdd(&tile[5], 1.0f);  // HERE", r"adds to tile\[5\], which nobody has written"
    ),
    "a plain write beside atomic sums": Bad(
        "if (threadIdx.x == 5) y[0] = 0.0f; else atomicAdd(&y[0], 1.0f);  // HERE",
        rf"which thread \(4, 0, 0\) wrote.*{NO_BARRIER}",
    ),
    "an index outside of a local array": Bad(
        "float a[4] = {1, 2, 3, 4}; y[threadIdx.x] = a[n[threadIdx.x]];  // HERE", "the index of a local array", block="8"
    ),
    "an integer that overflows": Bad("y[0] = n[threadIdx.x] + 2147483647;  // HERE", "a signed sum overflows"),
    "a shift that is too wide": Bad("y[0] = 1 << (n[0] + 32);  // HERE", "a shift is as wide as its operand"),
    "too much shared memory": Bad(
        "GRAPHC_SHARED(double, a, 6000); GRAPHC_SHARED(double, b, 200); a[0] = b[0] = 1;  // HERE",
        "with b the block has 49600 bytes",
    ),
    "a loop without an end": Bad("while (x[0] == 0) {}", "the launch has run for 1 seconds"),
    "a loop of barriers without an end": Bad("while (x[0] == 0) __syncthreads();", "the launch has run for 1 seconds"),
    "too many threads": Bad("", r"no GPU launches \(1, 1, 1\) blocks of \(1025, 1, 1\) threads", block="1025"),
    "no blocks": Bad("", "no GPU launches", "0"),
}

# Host code with a fault: `x`, `y` and `n` lie on the device, `host` does not.
BAD_HOST = {
    "a copy in the other direction": (
        "cudaMemcpyAsync(host, x, 4, cudaMemcpyHostToDevice, stream);",
        "cudaMemcpyAsync: its target is not in one piece of device memory",
    ),
    "a copy from the host that is one on the device": (
        "cudaMemcpyAsync(y, x, 4, cudaMemcpyHostToDevice, stream);",
        "cudaMemcpyAsync: its source is device memory, not the host's",
    ),
    "a copy that is too long": (
        "cudaMemcpyAsync(y, x, 4 * SIZE + 4, cudaMemcpyDeviceToDevice, stream);",
        "cudaMemcpyAsync: its target is not in one piece",
    ),
    "a copy of what nobody wrote": (
        "cudaMemcpyAsync(host, n + SIZE - 1, 4, cudaMemcpyDeviceToHost, stream);",
        "cudaMemcpyAsync: it copies memory that nobody has written",
    ),
    "the host's memory set": ("cudaMemsetAsync(host, 0, 4, stream);", "cudaMemsetAsync: its target is not"),
    "memory freed twice": ("void *p; cudaMalloc(&p, 8); cudaFree(p); cudaFree(p);", "cudaFree: the pointer is none"),
    "the host's memory for a kernel": (
        "GRAPHC_LAUNCH(copy, 1, 4, stream, GRAPHC_BUFFER(float, host, 0, 4), GRAPHC_BUFFER(float, y, 0, 4));",
        "kernel copy: argument 0 is not in one piece of device memory",
    ),
    "an argument longer than its memory": (
        "GRAPHC_LAUNCH(copy, 1, 4, stream, GRAPHC_BUFFER(float, x, 0, 4), GRAPHC_BUFFER(float, y, 4, SIZE));",
        "kernel copy: argument 1 is not in one piece of device memory",
    ),
    "an argument at an odd place": (
        "GRAPHC_LAUNCH(copy, 1, 4, stream, GRAPHC_BUFFER(float, x, 2, 4), GRAPHC_BUFFER(float, y, 0, 4));",
        "kernel copy: argument 0 is not aligned",
    ),
    "arguments that overlap": (
        "GRAPHC_LAUNCH(copy, 1, 4, stream, GRAPHC_BUFFER(float, x, 0, 4), GRAPHC_BUFFER(float, x, 12, 4));",
        "kernel copy: argument 1 overlaps argument 0",
    ),
    "a sum that overflows": ("int most = 2147483647; n[0] = n[1] + most;", "host code, line .* a signed sum overflows"),
}  # fmt: skip

HEAD = f"""
#include "cuda_on_cpu.h"
#define SIZE {SIZE}
struct alignas(16) Packet {{ float lane[4]; }};
__global__ void copy(GRAPHC_GLOBAL(const float) x, GRAPHC_GLOBAL(float) y) {{ y[threadIdx.x] = x[threadIdx.x]; }}
"""


def source() -> str:
    """Kernel k<i> and its entry run<i> for every row of the tables, and an entry host<i> for those of the host."""
    texts = [HEAD]
    for i, case in enumerate([*GOOD.values(), *BAD.values()]):
        texts.append(
            f"__global__ void k{i}(GRAPHC_GLOBAL(const float) x, GRAPHC_GLOBAL(float) y, GRAPHC_GLOBAL(const int) n) {{\n"
            f"{case.body}\n(void)x; (void)y; (void)n;\n}}\n"
            f'extern "C" int run{i}(float *x, float *y, int *n, cudaStream_t stream) {{\n'
            f"GRAPHC_LAUNCH(k{i}, {case.grid}, {case.block}, stream, GRAPHC_BUFFER(float, x, 0, SIZE), "
            f"GRAPHC_BUFFER(float, y, 0, SIZE), GRAPHC_BUFFER(int, n, 0, SIZE));\n"
            "cudaMemcpyAsync(x, y, 4, cudaMemcpyDeviceToDevice, stream);\nreturn cudaGetLastError();\n}\n"
        )
    for i, (body, _) in enumerate(BAD_HOST.values()):
        texts.append(
            f'extern "C" int host{i}(float *x, float *y, int *n, cudaStream_t stream) {{\n'
            f"float host[4] = {{}};\n{body}\nreturn cudaStreamSynchronize(stream);\n}}\n"
        )
    return "\n".join(texts)
