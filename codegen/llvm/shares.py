"""How the tasks of a launch are handed out, and how workers wait for each other, as LLVM text.

In: nothing. Out: @graphc.take and @graphc.meet, which a function's body calls for what codegen/sharing.py calls a part.

Every worker runs the same body and owns a contiguous share of each launch, the same one in each call, so that data stays in
its caches. A share is claimed in chunks that halve what is left of it; whoever has finished his own helps with the others'.
So nobody waits for a worker that has not come: its share is taken, and it finds nothing to do when it comes, however late.

The state is two kinds of counters, which only grow, over all calls on a net:

    done     units of work (tasks of shared launches, runs of lone ones) that are finished and reported
    share    for each worker (launch << CHUNK_BITS) + chunks claimed, where a launch is named by the units before it

A body that starts when `done` is `base` names its launches from `base` on. Who goes on to a launch has found nothing left of
the one before. So a share whose word names a later launch, or all of whose chunks are claimed, has nothing left, and a worker
that is late by a launch, a barrier or a whole call takes nothing, reports nothing and touches no data. 2**56 units are years
of the smallest tasks.

Memory order. Claims are monotonic: a compare-and-exchange decides who has a chunk, and passes no data. Data is passed by
`done`: each adds to it (release) behind what it stored, and reads it (acquire) until it has reached what must be finished
before a barrier. All changes of `done` are read-modify-writes, so that who reads the last one synchronises with all of them.
Nobody claims behind a barrier before that, so no unit behind it is counted early. How to wait is told in llvm/workers.py.
"""

from __future__ import annotations

from ..sharing import MOST_CUTS

CHUNK_BITS = 8
assert MOST_CUTS < 1 << CHUNK_BITS

# A worker's record of itself, on its own stack: bytes from its start.
SELF = {
    "net": 0,  # ptr
    "worker": 8,  # i64 its number, 0 for the caller
    "workers": 16,  # i64 how many there are; one alone neither claims nor reports
    "base": 24,  # i64 `done` when the call began
    "mine": 32,  # i64 units it has finished and not reported
    "last": 40,  # i64 the launch it took last, where it is alone
    "seen": 48,  # i64 the last job it has worked on (llvm/workers.py)
}
SELF_SIZE = 64


def in_vain(word: str, over: str, spins: str, behind: str) -> str:
    """The blocks after a look in vain: spin, up to a number named `spins`, or sleep until what %later holds of `word` is
    `over`, and go on at `behind`."""
    return f"""spin:
  {{pause}}
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, {{{spins}}}
  br i1 %long, label %park, label %wait
park:
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  br label %check
check:
  store atomic i64 1, ptr %parked seq_cst, align 8
  %later = load atomic i64, ptr {word} seq_cst, align 8
  %over = icmp {over}
  br i1 %over, label %rise, label %sleep
sleep:
  %slept = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
rise:
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %{behind}
"""


# Gives { first task, task behind the last } of what the caller is to run next; { 0, 0 } when nothing is left. The launch has
# `tasks` tasks and starts `start` units into the body; `cuts` is the number of chunks of a share.
TAKE = """
define internal {{ i64, i64 }} @graphc.take(ptr %self, i64 %start, i64 %tasks, i64 %cuts) noinline nounwind {{
entry:
  %workers.at = getelementptr i8, ptr %self, i64 {self_workers}
  %workers = load i64, ptr %workers.at, align 8
  %lone = icmp eq i64 %workers, 1
  br i1 %lone, label %alone, label %together
alone:
  %last.at = getelementptr i8, ptr %self, i64 {self_last}
  %last = load i64, ptr %last.at, align 8
  store i64 %start, ptr %last.at, align 8
  %again = icmp eq i64 %last, %start
  %all = select i1 %again, i64 0, i64 %tasks
  %whole = insertvalue {{ i64, i64 }} zeroinitializer, i64 %all, 1
  ret {{ i64, i64 }} %whole
together:
  %net = load ptr, ptr %self, align 8
  %worker.at = getelementptr i8, ptr %self, i64 {self_worker}
  %worker = load i64, ptr %worker.at, align 8
  %base.at = getelementptr i8, ptr %self, i64 {self_base}
  %base = load i64, ptr %base.at, align 8
  %launch = add i64 %base, %start
  %fresh = shl i64 %launch, {chunk_bits}
  %shares = getelementptr i8, ptr %net, i64 {shares}
  br label %look
look:
  %owner = phi i64 [ %worker, %together ], [ %other, %elsewhere ]
  %looked = phi i64 [ 1, %together ], [ %looked.more, %elsewhere ]
  %scaled = mul i64 %owner, %tasks
  %begin = udiv i64 %scaled, %workers
  %scaled.next = add i64 %scaled, %tasks
  %end = udiv i64 %scaled.next, %workers
  %size = sub i64 %end, %begin
  %offset = mul i64 %owner, {share_bytes}
  %share = getelementptr i8, ptr %shares, i64 %offset
  %first = load atomic i64, ptr %share monotonic, align 8
  br label %claim
claim:
  %old = phi i64 [ %first, %look ], [ %found, %try ]
  %stale = icmp ult i64 %old, %fresh
  %word = select i1 %stale, i64 %fresh, i64 %old
  %chunk = sub i64 %word, %fresh
  %current = icmp ule i64 %chunk, {most_cuts}
  %halves = lshr i64 %size, %chunk
  %inner = icmp ult i64 %chunk, %cuts
  %rest = select i1 %inner, i64 %halves, i64 0
  %some = icmp ne i64 %rest, 0
  %left = select i1 %current, i1 %some, i1 false
  br i1 %left, label %try, label %spent
try:
  %claimed = add i64 %word, 1
  %pair = cmpxchg ptr %share, i64 %old, i64 %claimed monotonic monotonic, align 8
  %found = extractvalue {{ i64, i1 }} %pair, 0
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %mine, label %claim
mine:
  %chunk.next = add i64 %chunk, 1
  %further = icmp ult i64 %chunk.next, %cuts
  %smaller = lshr i64 %rest, 1
  %kept = select i1 %further, i64 %smaller, i64 0
  %count = sub i64 %rest, %kept
  %mine.at = getelementptr i8, ptr %self, i64 {self_mine}
  %before = load i64, ptr %mine.at, align 8
  %after = add i64 %before, %count
  store i64 %after, ptr %mine.at, align 8
  %from = sub i64 %end, %rest
  %to = sub i64 %end, %kept
  %half = insertvalue {{ i64, i64 }} undef, i64 %from, 0
  %taken = insertvalue {{ i64, i64 }} %half, i64 %to, 1
  ret {{ i64, i64 }} %taken
spent:
  %all.looked = icmp eq i64 %looked, %workers
  br i1 %all.looked, label %none, label %elsewhere
elsewhere:
  %looked.more = add i64 %looked, 1
  %up = add i64 %owner, 1
  %wraps = icmp eq i64 %up, %workers
  %other = select i1 %wraps, i64 0, i64 %up
  br label %look
none:
  ret {{ i64, i64 }} zeroinitializer
}}
"""

# Reports what the caller has finished, and waits until `goal` units of the body are; with `leave`, does not wait.
MEET = (
    """
define internal void @graphc.meet(ptr %self, i64 %goal, i1 %leave) noinline nounwind {{
entry:
  %workers.at = getelementptr i8, ptr %self, i64 {self_workers}
  %workers = load i64, ptr %workers.at, align 8
  %lone = icmp eq i64 %workers, 1
  br i1 %lone, label %past, label %together
together:
  %net = load ptr, ptr %self, align 8
  %done = getelementptr i8, ptr %net, i64 {done}
  %parked = getelementptr i8, ptr %net, i64 {parked}
  %mutex = getelementptr i8, ptr %net, i64 {mutex}
  %condition = getelementptr i8, ptr %net, i64 {condition}
  %base.at = getelementptr i8, ptr %self, i64 {self_base}
  %base = load i64, ptr %base.at, align 8
  %wanted = add i64 %base, %goal
  %mine.at = getelementptr i8, ptr %self, i64 {self_mine}
  %mine = load i64, ptr %mine.at, align 8
  %idle = icmp eq i64 %mine, 0
  br i1 %idle, label %stay, label %report
report:
  store i64 0, ptr %mine.at, align 8
  %before = atomicrmw add ptr %done, i64 %mine seq_cst
  %after = add i64 %before, %mine
  %complete = icmp uge i64 %after, %wanted
  br i1 %complete, label %tell, label %stay
tell:
  call void @graphc.wake(ptr %net)
  ret void
stay:
  br i1 %leave, label %past, label %wait
wait:
  %spins = phi i64 [ 0, %stay ], [ %more, %spin ]
  %now = load atomic i64, ptr %done acquire, align 8
  %reached = icmp uge i64 %now, %wanted
  br i1 %reached, label %past, label %spin
"""
    + in_vain("%done", "uge i64 %later, %wanted", "spins_at_barrier", "past")
    + """past:
  ret void
}}
"""
)
