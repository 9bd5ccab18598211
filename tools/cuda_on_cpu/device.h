// The device's memory, and the functions of the CUDA runtime that host code calls.
//
// In: calls by host code. Out: memory that only they may mix with the host's: a copy in the wrong direction, beyond an
// allocation, of memory that is not the device's or that nobody has written is a fault. Each byte has a mark that says whether it
// was written. Streams run everything at once, in the order of the calls.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "faults.h"

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorLaunchFailure = 719 };
enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4
};
typedef struct CUstream_st* cudaStream_t;

namespace cuda_cpu __attribute__((visibility("hidden"))) {

constexpr size_t DEVICE_ALIGNMENT = 256;
constexpr unsigned char POISON = 0xff;  // what memory holds that nobody has written: NaN in every float

struct Allocation {
  size_t bytes;
  std::vector<uint8_t> written;  // a mark for each byte
};
inline std::map<uintptr_t, Allocation> allocations;

// The marks of bytes that lie in one allocation; null for others.
inline uint8_t* marks(const void* pointer, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(pointer);
  auto next = allocations.upper_bound(begin);
  if (next == allocations.begin()) return nullptr;
  auto& [start, found] = *--next;
  const size_t offset = begin - start;
  return offset <= found.bytes && bytes <= found.bytes - offset ? found.written.data() + offset : nullptr;
}

// Whether any of the bytes is the device's.
inline bool touches_device(const void* pointer, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(pointer);
  auto next = allocations.upper_bound(begin);
  if (next != allocations.end() && next->first < begin + bytes) return true;
  return next != allocations.begin() && begin - (--next)->first < next->second.bytes;
}

inline bool side(const char* call, const char* what, const void* pointer, size_t bytes, bool device) {
  if (device ? marks(pointer, bytes) != nullptr : !touches_device(pointer, bytes)) return true;
  host_fault("%s: its %s is %s", call, what, device ? "not in one piece of device memory" : "device memory, not the host's");
  return false;
}

inline cudaError_t last_error() { return fault.present ? cudaErrorLaunchFailure : cudaSuccess; }

}  // namespace cuda_cpu

inline cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const size_t rounded = (bytes + cuda_cpu::DEVICE_ALIGNMENT) / cuda_cpu::DEVICE_ALIGNMENT * cuda_cpu::DEVICE_ALIGNMENT;
  *pointer = aligned_alloc(cuda_cpu::DEVICE_ALIGNMENT, rounded);
  if (*pointer == nullptr) return cudaErrorMemoryAllocation;
  memset(*pointer, cuda_cpu::POISON, rounded);
  cuda_cpu::allocations[reinterpret_cast<uintptr_t>(*pointer)] = {bytes, std::vector<uint8_t>(bytes + 1, 0)};
  return cudaSuccess;
}

template <class T>
cudaError_t cudaMalloc(T** pointer, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(pointer), bytes);
}

inline cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  if (cuda_cpu::allocations.erase(reinterpret_cast<uintptr_t>(pointer)) == 0) {
    cuda_cpu::host_fault("cudaFree: the pointer is none that cudaMalloc gave");
    return cudaErrorInvalidValue;
  }
  free(pointer);
  return cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t = nullptr) {
  using cuda_cpu::side;
  if (cuda_cpu::fault.present) return cudaErrorLaunchFailure;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool known = kind != cudaMemcpyDefault && bytes != 0;
  if (known && !side("cudaMemcpyAsync", "target", to, bytes, to_device)) return cudaErrorInvalidValue;
  if (known && !side("cudaMemcpyAsync", "source", from, bytes, from_device)) return cudaErrorInvalidValue;
  const uint8_t* const known_marks = from_device ? cuda_cpu::marks(from, bytes) : nullptr;
  if (known_marks != nullptr && memchr(known_marks, 0, bytes) != nullptr) {
    cuda_cpu::host_fault("cudaMemcpyAsync: it copies memory that nobody has written");
    return cudaErrorInvalidValue;
  }
  memmove(to, from, bytes);
  if (to_device) memset(cuda_cpu::marks(to, bytes), 1, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t = nullptr) {
  if (cuda_cpu::fault.present) return cudaErrorLaunchFailure;
  if (bytes == 0) return cudaSuccess;
  if (!cuda_cpu::side("cudaMemsetAsync", "target", to, bytes, true)) return cudaErrorInvalidValue;
  memset(to, value, bytes);
  memset(cuda_cpu::marks(to, bytes), 1, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaGetLastError() { return cuda_cpu::last_error(); }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cuda_cpu::last_error(); }

// For the caller of the library: device memory, its end, and the word that its bytes are written, or that they never were.
#define CUDA_CPU_EXPORT extern "C" inline __attribute__((visibility("default"), used))
CUDA_CPU_EXPORT void* cuda_on_cpu_allocate(size_t bytes) {
  void* pointer = nullptr;
  return cudaMalloc(&pointer, bytes) == cudaSuccess ? pointer : nullptr;
}
CUDA_CPU_EXPORT void cuda_on_cpu_free(void* pointer) { cudaFree(pointer); }
CUDA_CPU_EXPORT void cuda_on_cpu_mark(void* pointer, size_t bytes, int written) {
  uint8_t* const marks = cuda_cpu::marks(pointer, bytes);
  if (marks == nullptr) return cuda_cpu::host_fault("cuda_on_cpu_mark: not in one piece of device memory");
  memset(marks, written, bytes);
  if (!written) memset(pointer, cuda_cpu::POISON, bytes);
}
#undef CUDA_CPU_EXPORT
