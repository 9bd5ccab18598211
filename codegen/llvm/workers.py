"""The worker pool of a net, as LLVM text.

In: a target. Out: internal functions that start, wake, synchronise and stop workers; all their state lies in the header of
the net (codegen/abi.py FIELDS), so that any number of nets live side by side.

Every worker runs the same job, body(net, arguments, worker, workers). Waiting is: spin, then (at a barrier) yield the core,
or (between jobs) sleep. A job is over when worker 0 has passed the job's last barrier; each body has one at least.
A forked child has no workers: it is told by the process number, and runs alone. So do targets without threads.
"""

from __future__ import annotations

from ..abi import FIELDS
from ..target import Target

SPINS_AT_BARRIER = 2000  # pauses before a waiting worker offers its core to others
SPINS_BETWEEN_JOBS = 4000  # pauses before an idle worker sleeps; about 100 microseconds

# architecture -> (call that tells the core it is spinning, declaration)
PAUSES = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}

_DECLARATIONS = """
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(ptr, ptr)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_mutex_destroy(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @pthread_cond_destroy(ptr)
declare i32 @sched_yield()
declare i32 @getpid()
"""

_BARRIER = """
define internal void @graphc.barrier(ptr %net, i64 %workers) noinline nounwind {{
entry:
  %alone = icmp eq i64 %workers, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %generation = getelementptr i8, ptr %net, i64 {generation}
  %old = load atomic i64, ptr %generation monotonic, align 8
  %arrived = getelementptr i8, ptr %net, i64 {arrived}
  %before = atomicrmw add ptr %arrived, i64 1 acq_rel
  %count = add i64 %before, 1
  %last = icmp eq i64 %count, %workers
  br i1 %last, label %release, label %wait
release:
  store atomic i64 0, ptr %arrived monotonic, align 8
  %next = add i64 %old, 1
  store atomic i64 %next, ptr %generation release, align 8
  ret void
wait:
  %spins = phi i64 [ 0, %arrive ], [ %more, %again ]
  %now = load atomic i64, ptr %generation acquire, align 8
  %passed = icmp ne i64 %now, %old
  br i1 %passed, label %done, label %spin
spin:
  {pause}
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, {spins_at_barrier}
  br i1 %long, label %yield, label %again
yield:
  %yielded = call i32 @sched_yield()
  br label %again
again:
  br label %wait
done:
  ret void
}}
"""

_AWAIT = """
define internal i64 @graphc.await(ptr %net, i64 %seen) noinline nounwind {{
entry:
  %epoch = getelementptr i8, ptr %net, i64 {epoch}
  %parked = getelementptr i8, ptr %net, i64 {parked}
  %mutex = getelementptr i8, ptr %net, i64 {mutex}
  %condition = getelementptr i8, ptr %net, i64 {condition}
  br label %wait
wait:
  %spins = phi i64 [ 0, %entry ], [ %more, %spin ]
  %now = load atomic i64, ptr %epoch acquire, align 8
  %new = icmp ne i64 %now, %seen
  br i1 %new, label %found, label %spin
found:
  ret i64 %now
spin:
  {pause}
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, {spins_between_jobs}
  br i1 %long, label %park, label %wait
park:
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %counted = atomicrmw add ptr %parked, i64 1 seq_cst
  br label %check
check:
  %later = load atomic i64, ptr %epoch seq_cst, align 8
  %woken = icmp ne i64 %later, %seen
  br i1 %woken, label %wake, label %sleep
sleep:
  %slept = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
wake:
  %uncounted = atomicrmw sub ptr %parked, i64 1 seq_cst
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  ret i64 %later
}}
"""

_WORKER = """
define internal ptr @graphc.worker(ptr %net) nounwind {{
entry:
  %tickets = getelementptr i8, ptr %net, i64 {tickets}
  %taken = atomicrmw add ptr %tickets, i64 1 monotonic
  %number = add i64 %taken, 1
  %body.at = getelementptr i8, ptr %net, i64 {body}
  %arguments.at = getelementptr i8, ptr %net, i64 {arguments}
  %threads.at = getelementptr i8, ptr %net, i64 {threads}
  br label %wait
wait:
  %seen = phi i64 [ 0, %entry ], [ %epoch, %run ]
  %epoch = call i64 @graphc.await(ptr %net, i64 %seen)
  %body = load ptr, ptr %body.at, align 8
  %none = icmp eq ptr %body, null
  br i1 %none, label %end, label %run
run:
  %arguments = load ptr, ptr %arguments.at, align 8
  %workers = load i64, ptr %threads.at, align 8
  call void %body(ptr %net, ptr %arguments, i64 %number, i64 %workers)
  br label %wait
end:
  ret ptr null
}}
"""

# Hands a job to the workers. The epoch is published before `parked` is read, and a worker counts itself parked before it
# reads the epoch: one of the two sees the other, so no wake-up is lost.
_ANNOUNCE = """
define internal void @graphc.announce(ptr %net, ptr %body, ptr %arguments) noinline nounwind {{
entry:
  %body.at = getelementptr i8, ptr %net, i64 {body}
  store ptr %body, ptr %body.at, align 8
  %arguments.at = getelementptr i8, ptr %net, i64 {arguments}
  store ptr %arguments, ptr %arguments.at, align 8
  %epoch = getelementptr i8, ptr %net, i64 {epoch}
  %before = atomicrmw add ptr %epoch, i64 1 seq_cst
  %parked.at = getelementptr i8, ptr %net, i64 {parked}
  %parked = load atomic i64, ptr %parked.at seq_cst, align 8
  %awake = icmp eq i64 %parked, 0
  br i1 %awake, label %done, label %wake
wake:
  %mutex = getelementptr i8, ptr %net, i64 {mutex}
  %condition = getelementptr i8, ptr %net, i64 {condition}
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %woken = call i32 @pthread_cond_broadcast(ptr %condition)
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %done
done:
  ret void
}}

define internal i64 @graphc.workers(ptr %net) nounwind {{
entry:
  %threads.at = getelementptr i8, ptr %net, i64 {threads}
  %threads = load i64, ptr %threads.at, align 8
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %one, label %ask
ask:
  %process.at = getelementptr i8, ptr %net, i64 {process}
  %process = load i32, ptr %process.at, align 4
  %self = call i32 @getpid()
  %same = icmp eq i32 %process, %self
  br i1 %same, label %all, label %one
one:
  ret i64 1
all:
  ret i64 %threads
}}

define internal void @graphc.run(ptr %net, ptr %body, ptr %arguments) nounwind {{
entry:
  %workers = call i64 @graphc.workers(ptr %net)
  %alone = icmp eq i64 %workers, 1
  br i1 %alone, label %work, label %announce
announce:
  call void @graphc.announce(ptr %net, ptr %body, ptr %arguments)
  br label %work
work:
  call void %body(ptr %net, ptr %arguments, i64 0, i64 %workers)
  ret void
}}
"""

# Where the system gives fewer threads than wanted, the net works with those it got.
_START_AND_STOP = """
define internal void @graphc.start(ptr %net, i64 %wanted) nounwind {{
entry:
  %threads.at = getelementptr i8, ptr %net, i64 {threads}
  %process.at = getelementptr i8, ptr %net, i64 {process}
  %mutex = getelementptr i8, ptr %net, i64 {mutex}
  %condition = getelementptr i8, ptr %net, i64 {condition}
  %handles = getelementptr i8, ptr %net, i64 {handles}
  %self = call i32 @getpid()
  store i32 %self, ptr %process.at, align 4
  %r0 = call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  %r1 = call i32 @pthread_cond_init(ptr %condition, ptr null)
  br label %next
next:
  %count = phi i64 [ 1, %entry ], [ %more, %started ]
  %enough = icmp uge i64 %count, %wanted
  br i1 %enough, label %done, label %create
create:
  %handle = getelementptr i64, ptr %handles, i64 %count
  %failed = call i32 @pthread_create(ptr %handle, ptr null, ptr @graphc.worker, ptr %net)
  %good = icmp eq i32 %failed, 0
  br i1 %good, label %started, label %done
started:
  %more = add i64 %count, 1
  br label %next
done:
  store i64 %count, ptr %threads.at, align 8
  ret void
}}

define internal void @graphc.stop(ptr %net) nounwind {{
entry:
  %workers = call i64 @graphc.workers(ptr %net)
  %alone = icmp eq i64 %workers, 1
  br i1 %alone, label %done, label %end
end:
  call void @graphc.announce(ptr %net, ptr null, ptr null)
  %handles = getelementptr i8, ptr %net, i64 {handles}
  br label %join
join:
  %number = phi i64 [ 1, %end ], [ %more, %join ]
  %handle.at = getelementptr i64, ptr %handles, i64 %number
  %handle = load ptr, ptr %handle.at, align 8
  %joined = call i32 @pthread_join(ptr %handle, ptr null)
  %more = add i64 %number, 1
  %left = icmp ult i64 %more, %workers
  br i1 %left, label %join, label %free
free:
  %mutex = getelementptr i8, ptr %net, i64 {mutex}
  %condition = getelementptr i8, ptr %net, i64 {condition}
  %r0 = call i32 @pthread_cond_destroy(ptr %condition)
  %r1 = call i32 @pthread_mutex_destroy(ptr %mutex)
  br label %done
done:
  ret void
}}
"""

_ALONE = """
define internal void @graphc.barrier(ptr %net, i64 %workers) alwaysinline nounwind {{
  ret void
}}

define internal void @graphc.run(ptr %net, ptr %body, ptr %arguments) nounwind {{
  call void %body(ptr %net, ptr %arguments, i64 0, i64 1)
  ret void
}}

define internal void @graphc.start(ptr %net, i64 %wanted) nounwind {{
  %threads.at = getelementptr i8, ptr %net, i64 {threads}
  store i64 1, ptr %threads.at, align 8
  ret void
}}

define internal void @graphc.stop(ptr %net) nounwind {{
  ret void
}}
"""


def emit_workers(target: Target) -> str:
    """The text of @graphc.run(net, body, arguments), .barrier(net, workers), .start(net, wanted) and .stop(net)."""
    if not has_threads(target):
        return _ALONE.format(**FIELDS)
    pause, declaration = PAUSES.get(target.triple.split("-")[0], ("", ""))
    parts = (
        _DECLARATIONS
        + declaration
        + "\n"
        + "".join((_BARRIER, _AWAIT, _WORKER, _ANNOUNCE, _START_AND_STOP)).format(
            pause=pause, spins_at_barrier=SPINS_AT_BARRIER, spins_between_jobs=SPINS_BETWEEN_JOBS, **FIELDS
        )
    )
    return parts


def has_threads(target: Target) -> bool:
    """Whether programs for `target` have POSIX threads."""
    return any(system in target.triple for system in ("linux", "darwin", "macos", "freebsd"))
