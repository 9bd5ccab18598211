// What went wrong, and where: the words that run on the CPU report here what a GPU would not forgive.
//
// In: descriptions from kernels and from host code. Out: the text of the first fault, for who calls
// cuda_on_cpu_take_fault(). A fault in a kernel ends its launch; the process goes on, launches after it do nothing.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace cuda_cpu __attribute__((visibility("hidden"))) {

struct Place {
  unsigned x, y, z;
};

inline Place place_of(unsigned linear, dim3 extents) {
  return {linear % extents.x, linear / extents.x % extents.y, linear / extents.x / extents.y};
}

// The thread that runs now. Blocks and threads have linear numbers too; blocks are counted on through all launches, so
// that what an earlier launch or block left in the records is told apart by its number.
struct Current {
  const char* kernel = nullptr;  // none: host code runs
  dim3 grid, block;
  Place block_place{}, thread_place{};
  uint32_t first_block = 1, block_number = 0, thread = 0;  // 0 is no block
  uint32_t barriers = 0;  // passed by this block
};
inline Current current;

struct Fault {
  bool present = false;
  char text[1024] = "";
};
inline Fault fault;

[[noreturn]] void abandon_block();  // leaves the thread that runs, for good

__attribute__((noinline, format(printf, 1, 2))) inline void host_fault(const char* format, ...) {
  if (fault.present) return;
  fault.present = true;
  va_list args;
  va_start(args, format);
  vsnprintf(fault.text, sizeof fault.text, format, args);
  va_end(args);
}

// The fault of `thread` of the current block; the launch ends when the thread that runs is abandoned.
__attribute__((noinline)) inline void describe(unsigned thread, int line, const char* what) {
  const Place b = current.block_place, t = place_of(thread, current.block);
  host_fault("kernel %s, block (%u, %u, %u), thread (%u, %u, %u), line %d: %s", current.kernel, b.x, b.y, b.z, t.x, t.y, t.z,
             line, what);
}

[[noreturn]] __attribute__((noinline, cold, format(printf, 2, 3))) inline void fail(int line, const char* format, ...) {
  char what[512];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  describe(current.thread, line, what);
  abandon_block();
}

// What g++ finds with -fsanitize=...; the first thing its handlers get is where it stands.
struct SourceLocation {
  const char* file;
  uint32_t line, column;
};

__attribute__((noinline, cold)) inline void undefined_behaviour(const SourceLocation* where, const char* what) {
  if (current.kernel != nullptr) fail(static_cast<int>(where->line), "%s", what);
  host_fault("host code, line %u: %s", where->line, what);
}

}  // namespace cuda_cpu

#define CUDA_CPU_HANDLER(name, what, ...) \
  extern "C" inline __attribute__((used, visibility("hidden"))) void __ubsan_handle_##name(__VA_ARGS__) { \
    cuda_cpu::undefined_behaviour(where, what); \
  }
CUDA_CPU_HANDLER(out_of_bounds, "the index of a local array is outside of it", cuda_cpu::SourceLocation* where, void*)
CUDA_CPU_HANDLER(add_overflow, "a signed sum overflows", cuda_cpu::SourceLocation* where, void*, void*)
CUDA_CPU_HANDLER(sub_overflow, "a signed difference overflows", cuda_cpu::SourceLocation* where, void*, void*)
CUDA_CPU_HANDLER(mul_overflow, "a signed product overflows", cuda_cpu::SourceLocation* where, void*, void*)
CUDA_CPU_HANDLER(negate_overflow, "a signed negation overflows", cuda_cpu::SourceLocation* where, void*)
CUDA_CPU_HANDLER(divrem_overflow, "an integer division has no result", cuda_cpu::SourceLocation* where, void*, void*)
CUDA_CPU_HANDLER(shift_out_of_bounds, "a shift is as wide as its operand or negative", cuda_cpu::SourceLocation* where, void*,
                 void*)
#undef CUDA_CPU_HANDLER

// The text of the fault since the last call, or null. After it launches run again. The text lives until the next call.
extern "C" __attribute__((visibility("default"), used)) inline const char* cuda_on_cpu_take_fault() {
  static cuda_cpu::Fault taken;
  taken = cuda_cpu::fault;
  cuda_cpu::fault.present = false;
  return taken.present ? taken.text : nullptr;
}
