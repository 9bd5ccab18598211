// Runs the threads of a block, one block at a time, with its barriers and the meetings of its warps: shuffles, and products of
// matrices (mma.h).
//
// In: a kernel as a function without arguments, and the shape of its block. Out: it has run, or a fault is recorded: a barrier
// that some threads do not reach or that others meet elsewhere, a meeting to which not all 32 lanes of a warp come.
//
// One fibre runs thread after thread until one must wait; that thread keeps the fibre, and another fibre goes on. So a kernel
// without barriers and shuffles is a plain loop.
#pragma once

#include <cstring>

#include "faults.h"
#include "fibres.h"

namespace cuda_cpu __attribute__((visibility("hidden"))) {

constexpr unsigned MAX_THREADS = 1024, WARP = 32, FULL_MASK = 0xffffffffu;

enum Status : uint8_t { FRESH, READY, AT_BARRIER, AT_MEETING, ENDED };
enum Meeting : uint8_t { SHUFFLE, SHUFFLE_DOWN, SHUFFLE_UP, SHUFFLE_XOR, TF32_PRODUCT, BF16_PRODUCT, F16_PRODUCT };

struct Thread {
  Status status;
  uint8_t parity;  // of the shuffles it has met
  uint8_t meeting;
  int line;
  Fibre* fibre;
};

// Two sets of values: a lane may write for the next shuffle while others still read those of this one.
struct Warp {
  uint64_t values[2][WARP];
  void* operands[WARP];  // of a product
  unsigned arrived;
};

struct Block {
  void (*body)(const void*) = nullptr;
  const void* arguments = nullptr;
  unsigned size = 0;
  unsigned fresh = 0;       // the next thread that has not started
  unsigned at_barrier = 0;  // threads that wait
  bool abandoned = false;
  volatile bool in_fibre = false;  // and not in the scheduler
  Fibre* running = nullptr;
  Thread threads[MAX_THREADS];
  Place places[MAX_THREADS];
  Warp warps[MAX_THREADS / WARP];
  unsigned ready[MAX_THREADS], first_ready = 0, count_ready = 0;  // a ring of those that may go on
  Fibre fibres[MAX_THREADS];
  Fibre* idle[MAX_THREADS];
  unsigned made = 0, count_idle = 0;
};
inline Block block;

inline void become(unsigned thread) {
  current.thread = thread;
  current.thread_place = block.places[thread];
}

// Blocks of this launch look like `extents`.
inline void shape_blocks(dim3 extents) {
  block.size = extents.x * extents.y * extents.z;
  for (unsigned thread = 0; thread < block.size; ++thread) block.places[thread] = place_of(thread, extents);
}

inline void make_ready(unsigned thread) {
  block.threads[thread].status = READY;
  block.ready[(block.first_ready + block.count_ready++) % MAX_THREADS] = thread;
}

[[noreturn]] inline void abandon_block() {
  block.abandoned = true;
  switch_context(block.running->context, scheduler);
  __builtin_unreachable();
}

inline Fibre* next_fibre();

// Leaves the fibre that runs, `mine`, for the next one, or for the scheduler when no thread can go on.
inline void go_on(Fibre* mine) {
  Fibre* const next = next_fibre();
  if (next == mine) return;
  block.running = next;
  switch_context(mine->context, next == nullptr ? scheduler : next->context);
}

// What a fibre does: threads that have not started, one after another; then it is idle.
inline void run_fresh_threads() {
  Fibre* const mine = block.running;
  for (;;) {
    while (block.fresh < block.size) {
      const unsigned thread = block.fresh++;
      become(thread);
      block.threads[thread].fibre = mine;
      block.body(block.arguments);
      block.threads[current.thread].status = ENDED;
      if (block.count_ready != 0) break;
    }
    block.idle[block.count_idle++] = mine;
    go_on(mine);
  }
}

inline Fibre* idle_fibre() {
  if (block.count_idle != 0) return block.idle[--block.count_idle];
  Fibre* fibre = &block.fibres[block.made];
  if (!start(*fibre, block.made, run_fresh_threads)) {
    host_fault("no memory for the stacks of threads");
    return nullptr;
  }
  ++block.made;
  return fibre;
}

inline bool release_barrier() {
  if (block.at_barrier != block.size) return false;
  for (unsigned t = 0; t < block.size; ++t)
    if (block.threads[t].line != block.threads[0].line) return false;
  block.at_barrier = 0;
  ++current.barriers;
  for (unsigned t = 0; t < block.size; ++t) make_ready(t);
  return true;
}

// The fibre of a thread that can go on, or one for threads that have not started.
inline Fibre* next_fibre() {
  if (block.count_ready == 0) {
    if (block.fresh < block.size) return idle_fibre();
    if (!release_barrier()) return nullptr;
  }
  const unsigned thread = block.ready[block.first_ready];
  block.first_ready = (block.first_ready + 1) % MAX_THREADS;
  --block.count_ready;
  become(thread);
  return block.threads[thread].fibre;
}

// The thread that runs waits with `status` until somebody makes it ready.
inline void wait(Status status, int line) {
  Thread& thread = block.threads[current.thread];
  thread.status = status;
  thread.line = line;
  go_on(thread.fibre);
}

inline const char* waits_at(const Thread& thread) {
  return thread.status == AT_BARRIER ? "barrier" : thread.meeting <= SHUFFLE_XOR ? "shuffle" : "product of matrices";
}

inline const char* state_of(const Thread& thread, char (&text)[64]) {
  if (thread.status == ENDED) return "has ended";
  snprintf(text, sizeof text, "waits at the %s of line %d", waits_at(thread), thread.line);
  return text;
}

// Nobody can go on, and not all are at one barrier: says who waits in vain, and for whom.
inline void report_stall() {
  unsigned waiting = 0;
  while (block.threads[waiting].status == ENDED) ++waiting;
  for (unsigned t = 0; t < block.size; ++t)
    if (block.threads[t].status == AT_MEETING) waiting = t;  // a meeting of a warp is the narrower thing to ask for
  const Thread& found = block.threads[waiting];
  const bool meeting = found.status == AT_MEETING;
  const unsigned begin = meeting ? waiting / WARP * WARP : 0, end = meeting ? begin + WARP : block.size;
  for (unsigned t = begin; t < end && t < block.size; ++t) {
    const Thread& other = block.threads[t];
    if (other.status == found.status && other.line == found.line) continue;
    char what[256], state[64];
    const Place p = place_of(t, current.block);
    snprintf(what, sizeof what, "waits at a %s that thread (%u, %u, %u) does not reach: it %s", waits_at(found), p.x, p.y, p.z,
             state_of(other, state));
    return describe(waiting, found.line, what);
  }
  char what[128];
  snprintf(what, sizeof what, "waits at a %s in a warp that has fewer than 32 threads", waits_at(found));
  describe(waiting, found.line, what);
}

// Runs all threads of one block. False after a fault.
inline bool run_block() {
  block.fresh = block.at_barrier = block.first_ready = block.count_ready = 0;
  block.abandoned = false;
  for (Warp& warp : block.warps) warp.arrived = 0;
  for (unsigned t = 0; t < block.size; ++t) block.threads[t] = {FRESH, 0, 0, 0, nullptr};
  block.running = next_fibre();
  if (block.running == nullptr) return false;
  block.in_fibre = true;
  switch_context(scheduler, block.running->context);
  block.in_fibre = false;
  bool good = !block.abandoned && !fault.present;
  for (unsigned t = 0; good && t < block.size; ++t) good = block.threads[t].status == ENDED;
  if (good) return true;
  if (!block.abandoned && !fault.present) report_stall();
  block.made = block.count_idle = 0;  // fibres that stopped in the middle start anew
  return false;
}

inline void barrier(int line) {
  ++block.at_barrier;
  wait(AT_BARRIER, line);
}

// Waits until all lanes of the warp have come to the same meeting; the last one does `work`, and then all go on.
template <class Work>
void meet(unsigned kind, int line, Work work) {
  const unsigned first = current.thread / WARP * WARP;
  Warp& warp = block.warps[current.thread / WARP];
  block.threads[current.thread].meeting = static_cast<uint8_t>(kind);
  if (++warp.arrived < WARP) return wait(AT_MEETING, line);
  warp.arrived = 0;
  for (unsigned t = first; t < first + WARP; ++t) {
    const Thread& other = block.threads[t];
    if (t != current.thread && (other.line != line || other.meeting != kind))
      fail(line, "a %s meets a %s, of line %d, in the same warp", waits_at(block.threads[current.thread]), waits_at(other),
           other.line);
  }
  work();
  for (unsigned t = first; t < first + WARP; ++t)
    if (t != current.thread) make_ready(t);
}

// The value that lane source(this lane) of this warp brought to the same shuffle; where there is no such lane, its own.
template <class T, class Source>
T shuffle(unsigned kind, unsigned mask, T value, int line, Source source) {
  if (mask != FULL_MASK) fail(line, "a shuffle names the lanes %08x; all 32 must take part", mask);
  const unsigned lane = current.thread % WARP;
  Warp& warp = block.warps[current.thread / WARP];
  Thread& thread = block.threads[current.thread];
  const unsigned set = thread.parity;
  thread.parity ^= 1;
  memcpy(&warp.values[set][lane], &value, sizeof value);
  meet(kind, line, [] {});
  const unsigned from = source(lane);
  memcpy(&value, &warp.values[set][from < WARP ? from : lane], sizeof value);
  return value;
}

}  // namespace cuda_cpu
