// The words of CUDA C++ that generated source uses, on the CPU, so that it can be run and checked without a GPU.
//
// In: the source, compiled by g++ as C++17 with this folder on its path. Out: its host entries, which work as on a GPU, and
//
//   const char* cuda_on_cpu_take_fault()    what a GPU would not have forgiven since the last call, or null (faults.h)
//   void* cuda_on_cpu_allocate(bytes)       device memory, the only one that kernels may be given (device.h)
//   void cuda_on_cpu_mark(p, bytes, 1)      says that the caller has written it; with 0, that nobody has
//
// Blocks run one after another, the threads of a block as fibres (block.h), accesses to memory are checked (memory.h).
// A launch has a minute (deadline.h). What is not found: wrong launch bounds, and where a GPU's own instructions round otherwise.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <tuple>

#include "deadline.h"
#include "memory.h"
#include "mma.h"

namespace cuda_cpu __attribute__((visibility("hidden"))) {

inline bool possible(const char* kernel, dim3 grid, dim3 threads) {
  const uint64_t count = uint64_t(threads.x) * threads.y * threads.z, blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (count != 0 && count <= MAX_THREADS && threads.z <= 64 && blocks != 0 && grid.x < 1u << 31 && grid.y < 1 << 16 &&
      grid.z < 1 << 16)
    return true;
  host_fault("kernel %s: no GPU launches (%u, %u, %u) blocks of (%u, %u, %u) threads", kernel, grid.x, grid.y, grid.z,
             threads.x, threads.y, threads.z);
  return false;
}

inline void run_grid(void (*body)(const void*), const void* arguments) {
  const unsigned blocks = current.grid.x * current.grid.y * current.grid.z;
  block.body = body;
  block.arguments = arguments;
  shape_blocks(current.block);
  for (unsigned number = 0; number < blocks; ++number) {
    current.block_number = current.first_block + number;
    current.block_place = place_of(number, current.grid);
    current.barriers = 0;
    shared_bytes = 0;
    if (!run_block()) break;
  }
  current.first_block += blocks;
}

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 threads, cudaStream_t, const A&... given) {
  static_assert(sizeof...(P) == sizeof...(A), "a launch with too many or too few arguments");
  if (fault.present || !possible(name, grid, threads)) return;
  current.kernel = name;
  current.grid = grid;
  current.block = threads;
  Arguments arguments;
  std::tuple<P...> parameters{arguments.template bind<P>(given)...};
  arguments.ready();
  const Deadline deadline;
  const auto call = [&] { std::apply(kernel, parameters); };
  if (!fault.present) run_grid([](const void* self) { (*static_cast<const decltype(call)*>(self))(); }, &call);
  current.kernel = nullptr;
}

}  // namespace cuda_cpu

#define __global__
#define __device__
#define __launch_bounds__(...)

#define threadIdx (cuda_cpu::current.thread_place)
#define blockIdx (cuda_cpu::current.block_place)
#define blockDim (cuda_cpu::current.block)
#define gridDim (cuda_cpu::current.grid)

#define GRAPHC_GLOBAL(type) cuda_cpu::Pointer<type>
#define GRAPHC_SHARED(type, name, count)                       \
  static cuda_cpu::SharedArray<type, (count)> name##_of_block; \
  const cuda_cpu::Pointer<type> name = name##_of_block.of_block(#name, __LINE__)
#define GRAPHC_BUFFER(type, base, offset, elements) \
  cuda_cpu::Buffer<type> { (type*)((char*)(base) + (offset)), size_t(elements) }
#define GRAPHC_LOAD(type, pointer, index) cuda_cpu::load<type>(pointer, index)
#define GRAPHC_STORE(type, pointer, index, value) cuda_cpu::store<type>(pointer, index, value)
#define GRAPHC_ATOMIC_ADD(pointer, index, value) cuda_cpu::add_to(&(pointer)[index], value)
#define GRAPHC_LAUNCH(kernel, grid, block, stream, ...) cuda_cpu::launch(#kernel, kernel, grid, block, stream, __VA_ARGS__)

inline void __syncthreads(int line = __builtin_LINE()) { cuda_cpu::barrier(line); }

template <class T>
T atomicAdd(cuda_cpu::Pointer<T> pointer, std::common_type_t<T> value, int line = __builtin_LINE()) {
  return cuda_cpu::add_atomically(pointer, value, line);
}

namespace cuda_cpu __attribute__((visibility("hidden"))) {
#ifdef CUDA_ON_CPU_UNCHECKED
template <class T>
void add_to(T* pointer, std::common_type_t<T> value) {
  *pointer += value;
}
#else
template <class T>
void add_to(Pointer<T> pointer, std::common_type_t<T> value, int line = __builtin_LINE()) {
  add_atomically(pointer, value, line);
}
#endif
}  // namespace cuda_cpu

// The shuffles over whole warps, for the types for which CUDA has them.
#define CUDA_CPU_SHUFFLE(name, kind, T, from)                                                           \
  inline T name(unsigned mask, T value, int by, int line = __builtin_LINE()) {                          \
    return cuda_cpu::shuffle(cuda_cpu::kind, mask, value, line, [by](unsigned lane) { return from; });  \
  }
#define CUDA_CPU_SHUFFLES(T)                                        \
  CUDA_CPU_SHUFFLE(__shfl_sync, SHUFFLE, T, (void(lane), by & 31))  \
  CUDA_CPU_SHUFFLE(__shfl_down_sync, SHUFFLE_DOWN, T, lane + by)    \
  CUDA_CPU_SHUFFLE(__shfl_up_sync, SHUFFLE_UP, T, lane - by)        \
  CUDA_CPU_SHUFFLE(__shfl_xor_sync, SHUFFLE_XOR, T, lane ^ by)
CUDA_CPU_SHUFFLES(int)
CUDA_CPU_SHUFFLES(unsigned)
CUDA_CPU_SHUFFLES(long)
CUDA_CPU_SHUFFLES(unsigned long)
CUDA_CPU_SHUFFLES(long long)
CUDA_CPU_SHUFFLES(unsigned long long)
CUDA_CPU_SHUFFLES(float)
CUDA_CPU_SHUFFLES(double)
#undef CUDA_CPU_SHUFFLES
#undef CUDA_CPU_SHUFFLE
