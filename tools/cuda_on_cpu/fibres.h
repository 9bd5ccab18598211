// Stacks that take turns: a fibre runs until it switches to another, and goes on from there when one switches back.
//
// In: functions to run. Out: contexts, and `switch_context`, a dozen instructions on x86-64; elsewhere, or with
// CUDA_CPU_UCONTEXT, it is swapcontext, which enters the kernel of the system each time.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__) && !defined(CUDA_CPU_UCONTEXT)
#define CUDA_CPU_UCONTEXT
#endif

namespace cuda_cpu __attribute__((visibility("hidden"))) {

constexpr size_t STACK_BYTES = 256 << 10;  // address space; only what is touched becomes memory

#ifdef CUDA_CPU_UCONTEXT

using Context = ucontext_t;
inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

inline void prepare(Context& context, char* stack, size_t bytes, void (*body)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, body, 0);
}

#else

// The registers that a function must keep are pushed, and the stack pointers exchanged.
struct Context {
  void* stack_pointer;
};
extern "C" void cuda_cpu_switch(Context* from, Context* to);
asm(R"(
  .text
  .hidden cuda_cpu_switch
  .globl cuda_cpu_switch
  .type cuda_cpu_switch, @function
cuda_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size cuda_cpu_switch, .-cuda_cpu_switch
)");
inline void switch_context(Context& from, Context& to) { cuda_cpu_switch(&from, &to); }

inline void prepare(Context& context, char* stack, size_t bytes, void (*body)()) {
  auto top = reinterpret_cast<uintptr_t*>(stack + bytes);
  *--top = 0;                                  // where `body` would return to; below it lies what a called function expects
  *--top = reinterpret_cast<uintptr_t>(body);  // where the first switch returns to
  for (int saved = 0; saved < 6; ++saved) *--top = 0;
  context.stack_pointer = top;
}

#endif

struct Fibre {
  Context context;
  char* stack = nullptr;
};

inline Context scheduler;

// Makes `fibre` start with `body`, whatever it did before. False when there is no memory for its stack. The stacks of fibres
// with different numbers end at different places of a page, or all of them would want the same lines of the caches.
inline bool start(Fibre& fibre, unsigned number, void (*body)()) {
  if (fibre.stack == nullptr) {
    void* memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    fibre.stack = static_cast<char*>(memory);
  }
  prepare(fibre.context, fibre.stack, STACK_BYTES - number * 13 % 512 * 64, body);
  return true;
}

}  // namespace cuda_cpu
