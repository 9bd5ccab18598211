"""The head of every generated CUDA C++ source: macros, types and the functions behind words.

In: the text of a program. Out: the lines that stand before it, with only the functions that it calls. The macros are all
that the text knows of pointers and launches, so that the same text runs on a CPU, where a header gives them checked
meanings (tools/cuda_on_cpu/cuda_on_cpu.h) and stands in for `<<<>>>`, threads and barriers:

    GRAPHC_GLOBAL(T) name              a kernel's parameter: memory of the device; `const T` where it is only read
    GRAPHC_SHARED(T, name, count)      an array of the block, declared at the top of a kernel
    GRAPHC_LOAD(V, pointer, index)     16 bytes at once, as a value of the struct V; `index` counts elements
    GRAPHC_STORE(V, pointer, index, v) the same way back
    GRAPHC_ATOMIC_ADD(pointer, index, v) adds to an element to which any thread may add at the same time
    GRAPHC_BUFFER(T, base, offset, n)  a launch's argument: n elements of T from byte `offset` behind `base`
    GRAPHC_LAUNCH(kernel, grid, block, stream, arguments...)

Elements are read as `pointer[index]` into typed variables and written as `pointer[index] = value`; nothing else is done
with pointers. Threads meet at __syncthreads() or exchange by __shfl_*_sync of whole warps; whole warps multiply matrices by
mma_*(c, a, b), which a CPU has from the header too.
"""

from __future__ import annotations

import re

from .mma import NAMES, definition

_HEAD = """\
#if defined(__CUDACC_RTC__)
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#endif

#ifdef __CUDACC__
#define GRAPHC_GLOBAL(T) T *__restrict__
#define GRAPHC_SHARED(T, name, count) __shared__ __align__(16) T name[count]
#define GRAPHC_LOAD(V, pointer, index) (*reinterpret_cast<const V *>(&(pointer)[index]))
#define GRAPHC_STORE(V, pointer, index, value) (*reinterpret_cast<V *>(&(pointer)[index]) = (value))
#define GRAPHC_ATOMIC_ADD(pointer, index, value) add_atomically(&(pointer)[index], value)
#define GRAPHC_BUFFER(T, base, offset, count) ((T *)((char *)(base) + (offset)))
#define GRAPHC_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#else
#include "cuda_on_cpu.h"
#endif
"""

# name -> definition, each after those that it calls.
FUNCTIONS: dict[str, str] = {
    "Packet": """\
// 16 bytes of neighbouring elements.
template <class T> struct alignas(16) Packet {
  T lane[16 / sizeof(T)];
};
""",
    "bitcast": """\
template <class To, class From> __device__ inline To bitcast(From x) {
  To y;
  memcpy(&y, &x, sizeof(y));
  return y;
}
""",
    "mul": """\
// A product that is rounded before anything is added to it, whatever the compiler's flags say.
__device__ inline float mul(float x, float y) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(x, y);
#else
  return x * y;
#endif
}
__device__ inline double mul(double x, double y) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(x, y);
#else
  return x * y;
#endif
}
""",
    "greater": """\
// The greater one; NaN when either side is NaN.
template <class T> __device__ inline T greater(T x, T y) { return x > y || x != x ? x : y; }
""",
    "lesser": """\
// The lesser one; NaN when either side is NaN.
template <class T> __device__ inline T lesser(T x, T y) { return x < y || x != x ? x : y; }
""",
    "quotient": """\
// x / y towards 0; x / 0 = 0, and the least integer / -1 is itself.
template <class T> __device__ inline T quotient(T x, T y) {
  if (y == 0) return 0;
  if (y == T(-1) && T(-1) < T(0)) return T(uint64_t(0) - uint64_t(x));
  return T(x / y);
}
""",
    "remainder_of": """\
// x - y * quotient(x, y), but 0 for y = 0.
template <class T> __device__ inline T remainder_of(T x, T y) {
  if (y == 0 || (y == T(-1) && T(-1) < T(0))) return 0;
  return T(x % y);
}
""",
    "floor_div": """\
// x / y rounded down, for y > 0.
template <class T> __device__ inline T floor_div(T x, T y) { return x / y - (x % y < 0); }
""",
    "floor_mod": """\
// x - y * floor_div(x, y), for y > 0.
template <class T> __device__ inline T floor_mod(T x, T y) { return x % y < 0 ? x % y + y : x % y; }
""",
    "saturate": """\
// A float as an integer from low to high: cut towards 0, limited, NaN becomes 0.
template <class T, class F> __device__ inline T saturate(F x, T low, T high) {
  if (x != x) return 0;
  if (x <= F(low)) return low;
  return x >= F(high) ? high : T(x);
}
""",
    "other_lane": """\
// What the thread `distance` lanes away in the warp holds.
template <class T> __device__ inline T other_lane(T x, int distance) {
  return T(__shfl_xor_sync(0xFFFFFFFFu, x, distance));
}
""",
    "GRAPHC_ATOMIC_ADD": """\
#ifdef __CUDACC__
template <class T> __device__ inline void add_atomically(T *place, T value) { atomicAdd(place, value); }
__device__ inline void add_atomically(int64_t *place, int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long *>(place), static_cast<unsigned long long>(value));
}
#endif
""",
    "odd_float": """\
// A double as a float whose last bit says that something was cut off: rounding it once more is as good as rounding once.
__device__ inline float odd_float(double x) {
  float near = float(x);
  double back = near;
  if (!(fabs(back) <= 3.5e38) || back == x) return near;
  uint32_t bits = bitcast<uint32_t>(near);
  return bitcast<float>((bits - uint32_t(fabs(back) > fabs(x))) | 1u);
}
""",
    "from_half": """\
__device__ inline float from_half(uint16_t x) {
  uint32_t size = uint32_t(x & 0x7FFF) << 13;
  uint32_t scaled = bitcast<uint32_t>(mul(bitcast<float>(size), 5.192296858534828e+33f));
  if (size >= 0x7C00u << 13) scaled = size | 0x7F800000u;
  return bitcast<float>(scaled | uint32_t(x & 0x8000) << 16);
}
""",
    "to_half": """\
// IEEE binary16, to nearest even; adding 0.5 rounds subnormal numbers at the right place.
__device__ inline uint16_t to_half(float x) {
  uint32_t bits = bitcast<uint32_t>(x), size = bits & 0x7FFFFFFF, result;
  if (size > 0x7F800000u) result = 0x7E00;
  else if (size >= 0x477FF000u) result = 0x7C00;
  else if (size < 0x38800000u) result = bitcast<uint32_t>(bitcast<float>(size) + 0.5f) - 0x3F000000u;
  else result = (size + 0xFFFu - (112u << 23) + (size >> 13 & 1)) >> 13;
  return uint16_t(result | (bits >> 16 & 0x8000));
}
""",
    "to_tfloat": """\
// To 10 bits of fraction, ties away from zero: all that tensor cores read of a float.
__device__ inline float to_tfloat(float x) {
  uint32_t bits = bitcast<uint32_t>(x);
#ifdef __CUDA_ARCH__
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#else
  bits = (bits & 0x7FFFFFFF) > 0x7F800000u ? 0x7FFFE000u : (bits + 0x1000u) & 0xFFFFE000u;
#endif
  return bitcast<float>(bits);
}
""",
    "from_bfloat": """\
__device__ inline float from_bfloat(uint16_t x) { return bitcast<float>(uint32_t(x) << 16); }
""",
    "to_bfloat": """\
// The upper half of a float, to nearest even.
__device__ inline uint16_t to_bfloat(float x) {
  uint32_t bits = bitcast<uint32_t>(x);
  if ((bits & 0x7FFFFFFF) > 0x7F800000u) return uint16_t((bits | 0x400000u) >> 16);
  return uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
""",
    **{f"mma_{name}": definition(dtype) for dtype, name in NAMES.items()},
}


def prelude(text: str) -> str:
    """The head for `text`: macros, and the functions that it calls, each once."""
    used: set[str] = set()
    todo = [text]
    while todo:
        words = set(re.findall(r"\b[a-zA-Z_]\w*(?=[(<])", todo.pop())) & FUNCTIONS.keys() - used
        used |= words
        todo += [FUNCTIONS[name] for name in words]
    return "\n".join([_HEAD, *(body for name, body in FUNCTIONS.items() if name in used)])
