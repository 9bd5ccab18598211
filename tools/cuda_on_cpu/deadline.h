// Ends kernels that do not end.
//
// In: the start and the end of a launch. Out: a fault of the thread that runs when the launch has taken CUDA_ON_CPU_SECONDS of
// this process's time.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "block.h"

#ifndef CUDA_ON_CPU_SECONDS
#define CUDA_ON_CPU_SECONDS 60
#endif

namespace cuda_cpu __attribute__((visibility("hidden"))) {

class Deadline {
 public:
  Deadline() {
    launching = pthread_self();
    struct sigaction action = {};
    action.sa_handler = expired;
    action.sa_flags = SA_NODEFER | SA_RESTART;  // the handler does not return where it ends a block
    sigaction(SIGVTALRM, &action, &former);
    set(CUDA_ON_CPU_SECONDS);
  }
  ~Deadline() {
    set(0);
    sigaction(SIGVTALRM, &former, nullptr);
  }
  Deadline(const Deadline&) = delete;

 private:
  static inline pthread_t launching;
  struct sigaction former;

  static void set(int seconds) {
    const itimerval timer = {{seconds != 0, 0}, {seconds, 0}};  // once more each second, should the scheduler have run
    setitimer(ITIMER_VIRTUAL, &timer, nullptr);
  }

  static void expired(int) {
    if (!pthread_equal(pthread_self(), launching)) pthread_kill(launching, SIGVTALRM);
    else if (block.in_fibre) fail(0, "the launch has run for %d seconds", CUDA_ON_CPU_SECONDS);
  }
};

}  // namespace cuda_cpu
