"""The instructions of tensor cores: who holds what, as loops and as C++.

A warp multiplies 16 x K by K x 8 into sums of float32 with `mma.sync.aligned.m16n8kK.row.col`: K = 8 steps of tf32, K = 16 of
bfloat16 or float16. Its lanes hold words of 32 bits, with one element of tf32 or two halves that follow each other along the
steps; in words all shapes look alike. With g = lane / 4 and t = lane % 4 a lane has, in this order (PTX ISA, "Matrix
Fragments for mma.m16n8k8" and "m16n8k16"):

    a, 16 rows x 8 words       (g, t)  (g + 8, t)  (g, t + 4)  (g + 8, t + 4)
    b, 8 words x 8 columns     (t, g)  (t + 4, g)
    c, 16 rows x 8 columns     (g, 2t)  (g, 2t + 1)  (g + 8, 2t)  (g + 8, 2t + 1)

In: where lanes hold their parts. Out: the product as a loop of Kernel IR that says what it computes; its function in C++.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.dtype import DType, bfloat16, float16, float32, tfloat32
from graphc.ir.expr import Array, Index, Var, cast, load
from graphc.ir.kernel import SERIAL, Accumulate, For

from .roles import MMA

WARP, ROWS, COLUMNS, WORDS = 32, 16, 8, 8  # of one instruction
A_WORDS, B_WORDS, SUMS = 4, 2, 4  # that a lane holds
NAMES: dict[DType, str] = {tfloat32: "tf32", bfloat16: "bf16", float16: "f16"}


def per_word(dtype: DType) -> int:
    """Elements in a word."""
    return 32 // dtype.bits


@dataclass(frozen=True)
class Part:
    """What one lane holds of a matrix: elements of `array` from `at`, in the thread's `held` elements."""

    array: Array
    held: int
    at: Index

    def element(self, thread: Index, number: Index) -> Index:
        return thread * self.held + self.at + number


def multiply(warps: int, sums: Part, a: Part, b: Part) -> For:
    """sums += a * b in every warp."""
    per = per_word(a.array.dtype)
    warp, i, j, k = Var("warp", warps), Var("i", ROWS), Var("j", COLUMNS), Var("k", WORDS * per)
    first, word = warp * WARP, k // per
    left = a.element(first + i % 8 * 4 + word % 4, (i // 8 + word // 4 * 2) * per + k % per)
    right = b.element(first + j * 4 + word % 4, word // 4 * per + k % per)
    cell = sums.element(first + i % 8 * 4 + j // 2, i // 8 * 2 + j % 2)
    product = cast(load(a.array, left), float32) * cast(load(b.array, right), float32)
    fold = For(k, (Accumulate(sums.array, cell, "add", product),), SERIAL)
    return For(warp, (For(i, (For(j, (fold,), SERIAL),), SERIAL),), MMA)


def definition(dtype: DType) -> str:
    """mma_NAME(c, a, b) in C++. On a CPU the header has it."""
    per, name = per_word(dtype), NAMES[dtype]
    element = "float" if dtype is tfloat32 else "uint16_t"
    words = [_word(side, per, n) for side, count in (("a", A_WORDS), ("b", B_WORDS)) for n in range(count)]
    return f"""\
// c += a * b in a warp: 16 x {WORDS * per} by {WORDS * per} x 8. Products are exact, sums are float32.
#ifdef __CUDACC__
__device__ inline void mma_{name}(float *c, const {element} *a, const {element} *b) {{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "this source was made for tensor cores of sm_80 and newer: make it anew for the GPU's own architecture"
#endif
  asm volatile("mma.sync.aligned.m16n8k{WORDS * per}.row.col.f32.{name}.{name}.f32 "
               "{{%0, %1, %2, %3}}, {{%4, %5, %6, %7}}, {{%8, %9}}, {{%0, %1, %2, %3}};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : {", ".join(f'"r"({word})' for word in words[:4])},
                 {", ".join(f'"r"({word})' for word in words[4:])});
}}
#endif
"""


def _word(side: str, per: int, number: int) -> str:
    if per == 1:
        return f"bitcast<uint32_t>({side}[{number}])"
    return f"{side}[{2 * number}] | uint32_t({side}[{2 * number + 1}]) << 16"
