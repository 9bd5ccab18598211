// The products of matrices that tensor cores make, a warp at a time.
//
// In: what each lane of a warp holds of c (16 x 8 floats), a (16 x K) and b (K x 8), as the PTX ISA lays it out for
// mma.sync.m16n8kK; K is 8 for tf32, 16 for bf16 and f16. Out: c += a * b in all lanes. A fault are lanes that do not come, and
// operands with bits that tf32 does not have, since GPUs would cut them off.
//
// The ISA leaves rounding and order of the sums open. Here four products at a time meet the sum so far, all cut off below the
// last bit of the largest, and the result is cut off too: no GPU was seen to keep less (Fasi, Higham, Mikaitis, Pranesh,
// "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330, 2021).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "block.h"

namespace cuda_cpu __attribute__((visibility("hidden"))) {

inline double tf32_value(float x) { return x; }
inline double bf16_value(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
inline double f16_value(uint16_t x) {
  const int exponent = x >> 10 & 31, fraction = x & 1023;
  const double size = exponent == 31 ? (fraction != 0 ? NAN : INFINITY)
                                     : ldexp(exponent != 0 ? fraction + 1024 : fraction, (exponent != 0 ? exponent : 1) - 25);
  return x >> 15 != 0 ? -size : size;
}

// c plus four exact products, as a tensor core adds them.
__attribute__((optimize("O2"), no_sanitize("undefined"))) inline float add_four(float c, const double (&products)[4]) {
  const double terms[5] = {c, products[0], products[1], products[2], products[3]};
  double largest = 0, plain = 0;
  for (double term : terms) {
    largest = fabs(term) > largest ? fabs(term) : largest;
    plain += term;
  }
  if (!std::isfinite(plain) || largest == 0) return static_cast<float>(plain);
  const int last = ilogb(largest) - 23;
  const double unit = ldexp(1, last), units = ldexp(1, -last);
  double sum = 0;
  for (double term : terms) sum += static_cast<double>(static_cast<int64_t>(term * units)) * unit;
  const float near = static_cast<float>(sum);
  return std::isinf(near) || fabs(near) <= fabs(sum) ? near : nextafterf(near, 0);
}

// What a lane brings.
template <class T>
struct Fragments {
  float* c;
  const T *a, *b;
};

template <int K, class T, class Value>
__attribute__((optimize("O2"), no_sanitize("undefined"))) void multiply_warp(void* const (&lanes)[WARP], Value value) {
  constexpr int PER = K / 8;  // elements in a word of 32 bits
  double a[16][K], b[8][K];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& held = *static_cast<const Fragments<T>*>(lanes[lane]);
    const int group = lane / 4, word = lane % 4;
    for (int n = 0; n < 4 * PER; ++n)
      a[group + n / PER % 2 * 8][(word + n / PER / 2 * 4) * PER + n % PER] = value(held.a[n]);
    for (int n = 0; n < 2 * PER; ++n) b[group][(word + n / PER * 4) * PER + n % PER] = value(held.b[n]);
  }
  for (int lane = 0; lane < 32; ++lane) {
    const auto& held = *static_cast<const Fragments<T>*>(lanes[lane]);
    for (int n = 0; n < 4; ++n) {
      const int row = lane / 4 + n / 2 * 8, column = lane % 4 * 2 + n % 2;
      for (int k = 0; k < K; k += 4) {
        double products[4];
        for (int i = 0; i < 4; ++i) products[i] = a[row][k + i] * b[column][k + i];
        held.c[n] = add_four(held.c[n], products);
      }
    }
  }
}

template <int K, class T, class Value>
void multiply_matrices(unsigned kind, float* c, const T* a, const T* b, int line, Value value) {
  Fragments<T> mine{c, a, b};
  Warp& warp = block.warps[current.thread / WARP];
  warp.operands[current.thread % WARP] = &mine;
  meet(kind, line, [&] { multiply_warp<K, T>(warp.operands, value); });
}

inline void check_rounded(const char* matrix, const float* held, int count, int line) {
  for (int n = 0; n < count; ++n) {
    uint32_t bits;
    memcpy(&bits, held + n, sizeof bits);
    if ((bits & 0x1fff) != 0 && held[n] == held[n])
      fail(line, "multiplies %s[%d] = %a, which was not rounded to tf32", matrix, n, static_cast<double>(held[n]));
  }
}

}  // namespace cuda_cpu

inline void mma_tf32(float* c, const float* a, const float* b, int line = __builtin_LINE()) {
  cuda_cpu::check_rounded("a", a, 4, line);
  cuda_cpu::check_rounded("b", b, 2, line);
  cuda_cpu::multiply_matrices<8>(cuda_cpu::TF32_PRODUCT, c, a, b, line, cuda_cpu::tf32_value);
}
inline void mma_bf16(float* c, const uint16_t* a, const uint16_t* b, int line = __builtin_LINE()) {
  cuda_cpu::multiply_matrices<16>(cuda_cpu::BF16_PRODUCT, c, a, b, line, cuda_cpu::bf16_value);
}
inline void mma_f16(float* c, const uint16_t* a, const uint16_t* b, int line = __builtin_LINE()) {
  cuda_cpu::multiply_matrices<16>(cuda_cpu::F16_PRODUCT, c, a, b, line, cuda_cpu::f16_value);
}
