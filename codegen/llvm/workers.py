"""The worker pool of a net, as LLVM text.

In: a target, and where a net has room for a call's arguments. Out: internal functions that start, wake and stop workers;
all their state lies in the header of the net (codegen/abi.py FIELDS), so that any number of nets live side by side.

A call is a job, body(net, arguments, self), for whoever comes: the caller, worker 0, starts at once, and waits for what others
have begun, but for nobody who has not (llvm/shares.py). So a worker may find a job that is over, or the next one half
described: `epoch` is odd while a job is described, and is looked at again behind the description (a sequence lock).
Arguments are copied into the net, since the caller's stack goes with the call; of a job that is over a worker may read those
of the next one, and uses none.

Who waits (for a job here, at a barrier there) spins, then sleeps. It says that it is `parked` before it looks a last time,
and who changes what it looks at does so before looking at `parked`, all sequentially consistent: one of the two sees the
other, so no wake-up is lost. Who sleeps leaves its processor to others: to a worker that lost its own, too.
A forked child has no workers: it is told by the process number, and runs alone. So do targets without threads.
"""

from __future__ import annotations

from .. import abi
from ..sharing import MOST_CUTS
from ..target import Target
from .shares import CHUNK_BITS, MEET, SELF, SELF_SIZE, TAKE, in_vain

# In pauses, of which a thousand take fifteen to fifty microseconds: as long as it takes to put a thread to sleep and wake it.
SPINS_AT_BARRIER = 1500
SPINS_BETWEEN_JOBS = 4000

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
declare i32 @getpid()
"""

# Wakes whoever sleeps. They say so again if they go on sleeping.
_WAKE = """
define internal void @graphc.wake(ptr %net) noinline nounwind {{
entry:
  %parked = getelementptr i8, ptr %net, i64 {parked}
  %sleepers = load atomic i64, ptr %parked seq_cst, align 8
  %awake = icmp eq i64 %sleepers, 0
  br i1 %awake, label %done, label %wake
wake:
  %mutex = getelementptr i8, ptr %net, i64 {mutex}
  %condition = getelementptr i8, ptr %net, i64 {condition}
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  store atomic i64 0, ptr %parked monotonic, align 8
  %woken = call i32 @pthread_cond_broadcast(ptr %condition)
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %done
done:
  ret void
}}
"""

# Waits for a job that `self` has not seen, and gives its body. An epoch that is odd is no job yet.
_AWAIT = (
    """
define internal ptr @graphc.await(ptr %self) noinline nounwind {{
entry:
  %net = load ptr, ptr %self, align 8
  %seen.at = getelementptr i8, ptr %self, i64 {self_seen}
  %seen = load i64, ptr %seen.at, align 8
  %epoch = getelementptr i8, ptr %net, i64 {epoch}
  %parked = getelementptr i8, ptr %net, i64 {parked}
  %mutex = getelementptr i8, ptr %net, i64 {mutex}
  %condition = getelementptr i8, ptr %net, i64 {condition}
  br label %wait
wait:
  %spins = phi i64 [ 0, %entry ], [ %more, %spin ], [ 0, %rise ], [ 0, %look ]
  %now = load atomic i64, ptr %epoch acquire, align 8
  %odd = and i64 %now, 1
  %whole = icmp eq i64 %odd, 0
  %new = icmp ne i64 %now, %seen
  %ready = and i1 %whole, %new
  br i1 %ready, label %look, label %spin
look:
  %body.at = getelementptr i8, ptr %net, i64 {body}
  %body = load atomic ptr, ptr %body.at monotonic, align 8
  %base.at = getelementptr i8, ptr %net, i64 {base}
  %base = load atomic i64, ptr %base.at monotonic, align 8
  fence acquire
  %again = load atomic i64, ptr %epoch monotonic, align 8
  %same = icmp eq i64 %again, %now
  br i1 %same, label %found, label %wait
found:
  store i64 %now, ptr %seen.at, align 8
  %own.base.at = getelementptr i8, ptr %self, i64 {self_base}
  store i64 %base, ptr %own.base.at, align 8
  ret ptr %body
"""
    + in_vain("%epoch", "ne i64 %later, %seen", "spins_between_jobs", "wait")
    + """}}
"""
)

_WORKER = """
define internal ptr @graphc.worker(ptr %net) nounwind {{
entry:
  %self = alloca [{self_size} x i8], align 64
  call void @graphc.introduce(ptr %self, ptr %net)
  %tickets = getelementptr i8, ptr %net, i64 {tickets}
  %taken = atomicrmw add ptr %tickets, i64 1 monotonic
  %number = add i64 %taken, 1
  %worker.at = getelementptr i8, ptr %self, i64 {self_worker}
  store i64 %number, ptr %worker.at, align 8
  %workers.at = getelementptr i8, ptr %self, i64 {self_workers}
  %threads.at = getelementptr i8, ptr %net, i64 {threads}
  %arguments = getelementptr i8, ptr %net, i64 {arguments}
  br label %next
next:
  %body = call ptr @graphc.await(ptr %self)
  %none = icmp eq ptr %body, null
  br i1 %none, label %end, label %run
run:
  %workers = load i64, ptr %threads.at, align 8
  store i64 %workers, ptr %workers.at, align 8
  call void %body(ptr %net, ptr %arguments, ptr %self)
  br label %next
end:
  ret ptr null
}}
"""

_RUN = """
define internal void @graphc.introduce(ptr %self, ptr %net) nounwind {{
entry:
  call void @llvm.memset.p0.i64(ptr align 64 %self, i8 0, i64 {self_size}, i1 false)
  store ptr %net, ptr %self, align 8
  %last.at = getelementptr i8, ptr %self, i64 {self_last}
  store i64 -1, ptr %last.at, align 8
  ret void
}}

define internal void @graphc.announce(ptr %net, ptr %body, i64 %base, ptr %arguments, i64 %bytes) noinline nounwind {{
entry:
  %epoch.at = getelementptr i8, ptr %net, i64 {epoch}
  %epoch = load i64, ptr %epoch.at, align 8
  %odd = add i64 %epoch, 1
  store atomic i64 %odd, ptr %epoch.at monotonic, align 8
  fence release
  %body.at = getelementptr i8, ptr %net, i64 {body}
  store atomic ptr %body, ptr %body.at monotonic, align 8
  %base.at = getelementptr i8, ptr %net, i64 {base}
  store atomic i64 %base, ptr %base.at monotonic, align 8
  %room = getelementptr i8, ptr %net, i64 {arguments}
  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %room, ptr align 8 %arguments, i64 %bytes, i1 false)
  %even = add i64 %epoch, 2
  store atomic i64 %even, ptr %epoch.at seq_cst, align 8
  call void @graphc.wake(ptr %net)
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

define internal void @graphc.run(ptr %net, ptr %body, ptr %arguments, i64 %bytes) nounwind {{
entry:
  %self = alloca [{self_size} x i8], align 64
  call void @graphc.introduce(ptr %self, ptr %net)
  %workers = call i64 @graphc.workers(ptr %net)
  %workers.at = getelementptr i8, ptr %self, i64 {self_workers}
  store i64 %workers, ptr %workers.at, align 8
  %alone = icmp eq i64 %workers, 1
  br i1 %alone, label %work, label %announce
announce:
  %done = getelementptr i8, ptr %net, i64 {done}
  %base = load atomic i64, ptr %done monotonic, align 8
  %own.base.at = getelementptr i8, ptr %self, i64 {self_base}
  store i64 %base, ptr %own.base.at, align 8
  call void @graphc.announce(ptr %net, ptr %body, i64 %base, ptr %arguments, i64 %bytes)
  br label %work
work:
  call void %body(ptr %net, ptr %arguments, ptr %self)
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
  call void @graphc.announce(ptr %net, ptr null, i64 0, ptr null, i64 0)
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
define internal void @graphc.start(ptr %net, i64 %wanted) nounwind {{
  %threads.at = getelementptr i8, ptr %net, i64 {threads}
  store i64 1, ptr %threads.at, align 8
  ret void
}}

define internal void @graphc.stop(ptr %net) nounwind {{
  ret void
}}
"""


def emit_workers(target: Target, arguments: int) -> str:
    """The text of @graphc.start(net, wanted) and .stop(net), and, where there are threads, of .run(net, body, arguments,
    bytes of them), .take and .meet. Workers find their arguments at byte `arguments` of a net."""
    if not has_threads(target):
        return _ALONE.format(**abi.FIELDS)
    pause, declaration = PAUSES.get(target.arch, ("", ""))
    text = "".join((_WAKE, _AWAIT, _WORKER, _RUN, TAKE, MEET, _START_AND_STOP)).format(
        pause=pause,
        spins_at_barrier=SPINS_AT_BARRIER,
        spins_between_jobs=SPINS_BETWEEN_JOBS,
        chunk_bits=CHUNK_BITS,
        most_cuts=MOST_CUTS,
        share_bytes=abi.SHARE_BYTES,
        self_size=SELF_SIZE,
        arguments=arguments,
        **{f"self_{field}": offset for field, offset in SELF.items()},
        **abi.FIELDS,
    )
    return f"{_DECLARATIONS}{declaration}\n{text}"


def has_threads(target: Target) -> bool:
    """Whether programs for `target` have POSIX threads."""
    return any(system in target.triple for system in ("linux", "darwin", "macos", "freebsd"))
