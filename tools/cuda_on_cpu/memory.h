// Pointers that know their memory: every access is checked against bounds, alignment, and the accesses of other threads.
//
// In: accesses by the thread that runs. Out: the values, or a fault: outside of the memory, misaligned, read before anyone
// wrote, or a race. Two threads race when one writes what the other reads or writes, and no barrier of their
// block stands between; threads of different blocks are never ordered within a launch. Atomic accesses do not race with each
// other. With CUDA_ON_CPU_UNCHECKED pointers are plain ones.
#pragma once

#include <cstring>
#include <type_traits>
#include <vector>

#include "block.h"
#include "device.h"

namespace cuda_cpu __attribute__((visibility("hidden"))) {

constexpr size_t MAX_SHARED_BYTES = 48 << 10;  // what a block may declare on any GPU
inline size_t shared_bytes = 0;                // what the current block has declared

// A launch argument that is memory, before the kernel's parameter says how it is used.
template <class T>
struct Buffer {
  T* data;
  size_t elements;
};

#ifdef CUDA_ON_CPU_UNCHECKED

template <class T>
using Pointer = T*;

template <class V, class T>
V load(T* pointer, int64_t index, int = 0) {
  V value;
  memcpy(&value, pointer + index, sizeof value);
  return value;
}

template <class V, class T>
void store(T* pointer, int64_t index, const V& value, int = 0) {
  memcpy(pointer + index, &value, sizeof value);
}

template <class T>
T add_atomically(T* pointer, T value, int) {
  const T old = *pointer;
  *pointer = old + value;
  return old;
}

struct Arguments {  // of one launch
  template <class P, class T>
  P bind(const Buffer<T>& buffer) {
    return buffer.data;
  }
  template <class P, class T>
  P bind(const T& scalar) {
    return scalar;
  }
  void ready() {}
};

#else

// Who accessed a cell last. Numbers of blocks grow through all launches: smaller ones than `Region::first` do not count.
struct Access {
  uint32_t block, barriers;
  uint32_t thread : 11, line : 21;
};
constexpr unsigned SEVERAL = 2047;  // threads

struct Cell {
  Access write, read;
  uint32_t other_reader;  // a block that read it before `read.block` did
  bool atomic;            // `write` was atomic
};

// Memory with a record for each of its cells, which are 1 << `log` bytes wide.
struct Region {
  uintptr_t base;
  size_t bytes;
  int log;
  Cell* cells;
  uint8_t* written;  // marks of an argument's bytes (device.h); null for a shared array
  uint32_t first;    // the first block whose accesses count
  const char* name;  // of a shared array; null for an argument
  int argument;
};

enum Kind { READ, WRITE, ATOMIC };

template <class T>
constexpr int LOG = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;

// Half of the time is spent here, so the source's own options do not hold.
#define CUDA_CPU_HOT __attribute__((optimize("O2"), no_sanitize("undefined")))

struct Where {  // for messages
  char text[96];
  Where(const Region& region, uintptr_t address) {
    const auto element = static_cast<long long>(address - region.base) >> region.log;
    if (region.name != nullptr) snprintf(text, sizeof text, "%s[%lld]", region.name, element);
    else snprintf(text, sizeof text, "argument %d[%lld]", region.argument, element);
  }
};

[[noreturn]] __attribute__((noinline, cold)) inline void outside(const Region& region, uintptr_t address, Kind kind, int line) {
  fail(line, "%s %s, which is outside of its %zu elements", kind == READ ? "reads" : "writes", Where(region, address).text,
       region.bytes >> region.log);
}

[[noreturn]] __attribute__((noinline, cold)) inline void misaligned(const Region& region, uintptr_t address, size_t bytes,
                                                                    int line) {
  fail(line, "accesses %zu bytes at once at %s, whose address is no multiple of that", bytes, Where(region, address).text);
}

[[noreturn]] __attribute__((noinline, cold)) inline void race(const Region& region, size_t cell, Kind kind, const Access& other,
                                                             const char* did, int line) {
  char who[96];
  const Place b = place_of(other.block - current.first_block, current.grid), t = place_of(other.thread, current.block);
  if (other.block != current.block_number) snprintf(who, sizeof who, "block (%u, %u, %u)", b.x, b.y, b.z);
  else if (other.thread == SEVERAL) snprintf(who, sizeof who, "several threads");
  else snprintf(who, sizeof who, "thread (%u, %u, %u)", t.x, t.y, t.z);
  const char* why = other.block != current.block_number ? "blocks run in any order" : "there is no barrier between";
  fail(line, "race: %s %s, which %s %s at line %d: %s", kind == READ ? "reads" : "writes",
       Where(region, region.base + (cell << region.log)).text, who, did, static_cast<int>(other.line), why);
}

// Whether the threads of an earlier access and of this one are not ordered.
CUDA_CPU_HOT inline bool unordered(const Access& other, uint32_t first) {
  if (other.block < first) return false;
  if (other.block != current.block_number) return true;
  return other.barriers == current.barriers && other.thread != current.thread;
}

CUDA_CPU_HOT inline Access this_access(int line) {
  return {current.block_number, current.barriers, current.thread, static_cast<uint32_t>(line)};
}

CUDA_CPU_HOT inline void note_read(const Region& region, size_t number, int line) {
  Cell& cell = region.cells[number];
  if (unordered(cell.write, region.first)) race(region, number, READ, cell.write, "wrote", line);
  if (region.written != nullptr ? !region.written[number << region.log] : cell.write.block < region.first)
    fail(line, "reads %s, which nobody has written", Where(region, region.base + (number << region.log)).text);
  Access& read = cell.read;
  if (read.block == current.block_number && read.barriers == current.barriers) {
    if (read.thread != current.thread) read.thread = SEVERAL;
    return;
  }
  if (read.block >= region.first && read.block != current.block_number) cell.other_reader = read.block;
  read = this_access(line);
}

CUDA_CPU_HOT inline void note_write(const Region& region, size_t number, Kind kind, int line) {
  Cell& cell = region.cells[number];
  if (kind == ATOMIC && (region.written != nullptr ? !region.written[number << region.log] : cell.write.block < region.first))
    fail(line, "adds to %s, which nobody has written", Where(region, region.base + (number << region.log)).text);
  const bool both_atomic = kind == ATOMIC && cell.atomic && cell.write.block >= region.first;
  if (!both_atomic && unordered(cell.write, region.first)) race(region, number, kind, cell.write, "wrote", line);
  if (unordered(cell.read, region.first)) race(region, number, kind, cell.read, "read", line);
  if (cell.other_reader >= region.first && cell.other_reader != current.block_number)
    race(region, number, kind, {cell.other_reader, 0, 0, cell.read.line}, "read", line);
  cell.write = this_access(line);
  cell.atomic = kind == ATOMIC;
  if (region.written != nullptr) memset(region.written + (number << region.log), 1, size_t(1) << region.log);
}

CUDA_CPU_HOT __attribute__((noinline)) inline void check(const Region* region, uintptr_t address, size_t bytes,
                                                         size_t alignment, Kind kind, int line) {
  const uintptr_t offset = address - region->base;
  if (offset >= region->bytes || bytes > region->bytes - offset) outside(*region, address, kind, line);
  if ((address & (alignment - 1)) != 0) misaligned(*region, address, bytes, line);
  const size_t begin = offset >> region->log, end = (offset + bytes - 1) >> region->log;
  for (size_t cell = begin; cell <= end; ++cell) {
    if (kind == READ) note_read(*region, cell, line);
    else note_write(*region, cell, kind, line);
  }
}

// An index that remembers the line on which it stands.
struct Index {
  int64_t value;
  int line;
  template <class I, class = std::enable_if_t<std::is_integral_v<I> || std::is_enum_v<I>>>
  Index(I value, int line = __builtin_LINE()) : value(static_cast<int64_t>(value)), line(line) {}
};

template <class T>
class Pointer;

// pointer[index], on either side of an assignment.
template <class T>
class Lvalue {
 public:
  Lvalue(Pointer<T> pointer, int line) : pointer(pointer), line(line) {}
  Lvalue(const Lvalue&) = default;
  operator T() const { return pointer.read(line); }
  T operator=(T value) const { return pointer.write(value, line), value; }
  T operator=(const Lvalue& other) const { return *this = static_cast<T>(other); }
  T operator+=(T value) const { return *this = static_cast<T>(*this) + value; }
  T operator-=(T value) const { return *this = static_cast<T>(*this) - value; }
  Pointer<T> operator&() const { return pointer; }

 private:
  Pointer<T> pointer;
  int line;
};

template <class T>
class Pointer {
 public:
  using Target = T;
  using Value = std::remove_const_t<T>;
  using Element = std::conditional_t<std::is_const_v<T>, Value, Lvalue<T>>;

  Pointer(T* address, const Region* region) : address(address), region(region) {}
  operator Pointer<const Value>() const { return {address, region}; }

  Element operator[](Index index) const {
    const Pointer moved(address + index.value, region);
    if constexpr (std::is_const_v<T>) return moved.read(index.line);
    else return {moved, index.line};
  }
  Element operator*() const { return (*this)[0]; }
  Pointer operator+(int64_t elements) const { return {address + elements, region}; }

  Value read(int line) const { return read_as<Value>(line); }
  void write(Value value, int line) const { write_as(value, line); }

  template <class V>
  V read_as(int line) const {
    check(region, reinterpret_cast<uintptr_t>(address), sizeof(V), alignof(V), READ, line);
    V value;
    memcpy(&value, address, sizeof value);
    return value;
  }
  template <class V>
  void write_as(const V& value, int line) const {
    static_assert(!std::is_const_v<T>, "stores through a pointer to const");
    check(region, reinterpret_cast<uintptr_t>(address), sizeof(V), alignof(V), WRITE, line);
    memcpy(const_cast<Value*>(address), &value, sizeof value);
  }
  Value add(Value value, int line) const {
    check(region, reinterpret_cast<uintptr_t>(address), sizeof(T), alignof(T), ATOMIC, line);
    const Value old = *address;
    *address = old + value;
    return old;
  }

 private:
  T* address;
  const Region* region;
};

template <class V, class T>
V load(Pointer<T> pointer, int64_t index, int line = __builtin_LINE()) {
  return (pointer + index).template read_as<V>(line);
}

template <class V, class T>
void store(Pointer<T> pointer, int64_t index, const V& value, int line = __builtin_LINE()) {
  (pointer + index).write_as(value, line);
}

template <class T>
T add_atomically(Pointer<T> pointer, T value, int line) {
  return pointer.add(value, line);
}

constexpr int MAX_ARGUMENTS = 256;
inline std::vector<Cell> argument_cells;

// Binds the buffers of one launch to the kernel's parameters, which are __restrict__: what one of them writes, no other sees.
class Arguments {
 public:
  template <class P, class T>
  P bind(const T& scalar) {
    ++position;
    return scalar;
  }

  template <class P, class T>
  P bind(const Buffer<T>& buffer) {
    using U = typename P::Target;
    static_assert(sizeof(T) == 1 << LOG<T>, "elements have 1, 2, 4 or 8 bytes");
    static_assert(std::is_same_v<std::remove_const_t<U>, std::remove_const_t<T>>, "a buffer of another type");
    const auto base = reinterpret_cast<uintptr_t>(buffer.data);
    const size_t bytes = buffer.elements * sizeof(T);
    uint8_t* const written = marks(buffer.data, bytes);
    if (written == nullptr)
      host_fault("kernel %s: argument %d is not in one piece of device memory", current.kernel, position);
    if (base % alignof(T) != 0) host_fault("kernel %s: argument %d is not aligned", current.kernel, position);
    for (int i = 0; i < count; ++i)
      if ((writable[i] || !std::is_const_v<U>) && base < regions[i].base + regions[i].bytes && regions[i].base < base + bytes)
        host_fault("kernel %s: argument %d overlaps argument %d", current.kernel, position, regions[i].argument);
    writable[count] = !std::is_const_v<U>;
    regions[count] = {base, bytes, LOG<T>, nullptr, written, 0, nullptr, position++};
    return {buffer.data, &regions[count++]};
  }

  void ready() {
    size_t cells = 0;
    for (int i = 0; i < count; ++i) cells += regions[i].bytes >> regions[i].log;
    if (cells > argument_cells.size()) argument_cells.resize(cells);
    cells = 0;
    for (int i = 0; i < count; ++i) {
      regions[i].cells = argument_cells.data() + cells;
      regions[i].first = current.first_block;
      cells += regions[i].bytes >> regions[i].log;
    }
  }

 private:
  Region regions[MAX_ARGUMENTS];
  bool writable[MAX_ARGUMENTS];
  int count = 0, position = 0;
};

#endif

// An array that the threads of a block share. Blocks run one at a time, so one copy serves all; it is poisoned for each.
template <class T, size_t COUNT>
struct SharedArray {
  alignas(16) T data[COUNT];
  uint32_t block_number;
#ifndef CUDA_ON_CPU_UNCHECKED
  Cell cells[COUNT];
  Region region;
#endif

  Pointer<T> of_block(const char* name, int line) {
    if (block_number != current.block_number) begin_block(name, line);
#ifdef CUDA_ON_CPU_UNCHECKED
    return data;
#else
    return {data, &region};
#endif
  }

  void begin_block(const char* name, int line) {
    block_number = current.block_number;
    shared_bytes = (shared_bytes + 15) / 16 * 16 + sizeof data;
    if (shared_bytes > MAX_SHARED_BYTES)
      fail(line, "with %s the block has %zu bytes of shared memory; GPUs give %zu", name, shared_bytes, MAX_SHARED_BYTES);
    memset(data, 0xff, sizeof data);
#ifndef CUDA_ON_CPU_UNCHECKED
    region = {reinterpret_cast<uintptr_t>(data), sizeof data, LOG<T>, cells, nullptr, current.block_number, name, 0};
#endif
  }
};

}  // namespace cuda_cpu
