"""The way from CPython straight into a program's functions, as LLVM text.

In: the functions of a program. Out: NAME_python(self, args, count, names), the C function of methods with METH_FASTCALL and
METH_KEYWORDS. graphc/runtime/direct.py makes one such method for each function, whose `self` leads to a record (abi.RECORD) of
everything that is Python's: functions of its C API, objects, and which function it is. So the library refers to no symbol of
Python's and holds no state of it.

A call goes on from here when its arguments are numpy arrays of exactly the right dtype and shape, dense, aligned and outside
the net. Every other call goes on to `careful`, in Python, which converts what can be converted and says what is wrong. No call
can start while the GIL is held, so a short function only looks whether the net's lock is taken; a long one takes the lock and
releases the GIL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from graphc.ir.kernel import Buffer, KernelFunction

from .. import abi
from ..target import Target

# Work (codegen/sharing.py) from which a function releases the GIL: some ten microseconds, of which giving it away and taking it
# back is a hundredth. Python itself lets others wait for 5 milliseconds.
RELEASING_WORK = 1_000_000

_ARCHITECTURES = ("x86_64", "aarch64", "arm64", "riscv64")  # with pointers of 64 bits, as abi.RECORD has them

# The functions are `optnone`: translated as they stand they are as fast as a call can tell, and optimising them would take a
# third of the time that a small program takes as a whole.

# Two forms are short for an address and a load:  %x = field TYPE %base + OFFSET   and   %x = item TYPE %base[%index].
_FIELD = re.compile(r"  %(\S+) = field (\w+) (\S+) \+ (\d+)\n")
_ITEM = re.compile(r"  %(\S+) = item (\w+) (\S+)\[(\S+)\]\n")

# Whether the arguments fit; then `pointers` has them. `facts`: for each input rank, size of an element - 1, extents.
_TAKE = """
define internal i1 @python.take(ptr %record, ptr %facts, ptr %args, i64 %inputs, ptr %pointers) optnone noinline {{
entry:
  %array = field ptr %record + {array_type}
  %dtypes = field ptr %record + {dtypes}
  %net = field i64 %record + {net}
  %bytes = field i64 %record + {net_bytes}
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %fits ]
  %fact = phi ptr [ %facts, %entry ], [ %fact.next, %fits ]
  %done = icmp eq i64 %i, %inputs
  br i1 %done, label %yes, label %kind
kind:
  %arg = item ptr %args[%i]
  %type = field ptr %arg + {object_type}
  %is.array = icmp eq ptr %type, %array
  br i1 %is.array, label %element, label %no
element:
  %dtype = field ptr %arg + {array_dtype}
  %wanted = item ptr %dtypes[%i]
  %same.dtype = icmp eq ptr %dtype, %wanted
  %flags = field i32 %arg + {array_flags}
  %dense.bit = and i32 %flags, {dense}
  %dense = icmp ne i32 %dense.bit, 0
  %rank.given = field i32 %arg + {array_rank}
  %given = sext i32 %rank.given to i64
  %rank = load i64, ptr %fact
  %same.rank = icmp eq i64 %given, %rank
  %both = and i1 %same.dtype, %dense
  %all = and i1 %both, %same.rank
  br i1 %all, label %place, label %no
place:
  %data = field i64 %arg + {array_data}
  %mask = field i64 %fact + 8
  %low = and i64 %data, %mask
  %straight = icmp eq i64 %low, 0
  %offset = sub i64 %data, %net
  %outside = icmp uge i64 %offset, %bytes
  %good = and i1 %straight, %outside
  %shape = field ptr %arg + {array_shape}
  %extents = getelementptr i64, ptr %fact, i64 2
  br i1 %good, label %axis, label %no
axis:
  %k = phi i64 [ 0, %place ], [ %k.next, %extent ]
  %measured = icmp eq i64 %k, %rank
  br i1 %measured, label %fits, label %extent
extent:
  %size = item i64 %shape[%k]
  %expected = item i64 %extents[%k]
  %k.next = add i64 %k, 1
  %same.size = icmp eq i64 %size, %expected
  br i1 %same.size, label %axis, label %no
fits:
  %slot = getelementptr i64, ptr %pointers, i64 %i
  store i64 %data, ptr %slot
  %fact.next = getelementptr i64, ptr %extents, i64 %rank
  %i.next = add i64 %i, 1
  br label %next
yes:
  ret i1 true
no:
  ret i1 false
}}
"""

# numpy.empty(shape, dtype) for each output; false, with Python's exception set and nothing kept, when one fails.
_MAKE = """
define internal void @python.drop(ptr %record, ptr %made, i64 %count) optnone noinline {{
entry:
  %decref = field ptr %record + {decref}
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %done = icmp eq i64 %i, %count
  br i1 %done, label %end, label %one
one:
  %array = item ptr %made[%i]
  call void %decref(ptr %array)
  %i.next = add i64 %i, 1
  br label %next
end:
  ret void
}}

define internal i1 @python.make(ptr %record, i64 %outputs, ptr %made, ptr %pointers) optnone noinline {{
entry:
  %call = field ptr %record + {vectorcall}
  %empty = field ptr %record + {empty}
  %kinds = field ptr %record + {outputs}
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %done = icmp eq i64 %i, %outputs
  br i1 %done, label %yes, label %allocate
allocate:
  %twice = shl i64 %i, 1
  %kind = getelementptr ptr, ptr %kinds, i64 %twice
  %array = call ptr %call(ptr %empty, ptr %kind, i64 2, ptr null)
  %none = icmp eq ptr %array, null
  br i1 %none, label %no, label %one
one:
  %keep = getelementptr ptr, ptr %made, i64 %i
  store ptr %array, ptr %keep
  %data = field ptr %array + {array_data}
  %slot = getelementptr ptr, ptr %pointers, i64 %i
  store ptr %data, ptr %slot
  %i.next = add i64 %i, 1
  br label %next
yes:
  ret i1 true
no:
  call void @python.drop(ptr %record, ptr %made, i64 %i)
  ret i1 false
}}
"""

# The function's code; BUSY when another call has the lock.
_RUN = """
define internal i32 @python.run(ptr %record, ptr %body, i64 %releases, ptr %pointers) optnone noinline {{
entry:
  %call = field ptr %record + {vectorcall}
  %decref = field ptr %record + {decref}
  %net = field ptr %record + {net}
  %false = field ptr %record + {false}
  %locked = field ptr %record + {locked}
  %answer = call ptr %call(ptr %locked, ptr null, i64 0, ptr null)
  %free = icmp eq ptr %answer, %false
  call void %decref(ptr %answer)
  br i1 %free, label %choose, label %busy
busy:
  ret i32 {busy}
choose:
  %short = icmp eq i64 %releases, 0
  br i1 %short, label %here, label %alone
here:
  %code.here = call i32 %body(ptr %net, ptr %pointers)
  ret i32 %code.here
alone:
  %acquire = field ptr %record + {acquire}
  %acquired = call ptr %call(ptr %acquire, ptr null, i64 0, ptr null)
  call void %decref(ptr %acquired)
  %save = field ptr %record + {save_thread}
  %thread = call ptr %save()
  %code = call i32 %body(ptr %net, ptr %pointers)
  %restore = field ptr %record + {restore_thread}
  call void %restore(ptr %thread)
  %release = field ptr %record + {release}
  %released = call ptr %call(ptr %release, ptr null, i64 0, ptr null)
  call void %decref(ptr %released)
  ret i32 %code
}}
"""

# The one output itself where there is no `pack`; else pack(list of the outputs).
_GIVE = """
define internal ptr @python.give(ptr %record, ptr %made, i64 %outputs) optnone noinline {{
entry:
  %argument = alloca ptr, align 8
  %pack = field ptr %record + {pack}
  %bare = icmp eq ptr %pack, null
  br i1 %bare, label %one, label %many
one:
  %only = load ptr, ptr %made
  ret ptr %only
many:
  %new = field ptr %record + {list_new}
  %set = field ptr %record + {list_set}
  %list = call ptr %new(i64 %outputs)
  %none = icmp eq ptr %list, null
  br i1 %none, label %failed, label %next
failed:
  call void @python.drop(ptr %record, ptr %made, i64 %outputs)
  ret ptr null
next:
  %i = phi i64 [ 0, %many ], [ %i.next, %put ]
  %done = icmp eq i64 %i, %outputs
  br i1 %done, label %packed, label %put
put:
  %array = item ptr %made[%i]
  %stolen = call i32 %set(ptr %list, i64 %i, ptr %array)
  %i.next = add i64 %i, 1
  br label %next
packed:
  store ptr %list, ptr %argument
  %call = field ptr %record + {vectorcall}
  %result = call ptr %call(ptr %pack, ptr %argument, i64 1, ptr null)
  %decref = field ptr %record + {decref}
  call void %decref(ptr %list)
  ret ptr %result
}}
"""

_ENTRY = """
define ptr @{name}_python(ptr %self, ptr %args, i64 %count, ptr %names) optnone noinline {{
entry:
  %pointers = alloca [{most} x ptr], align 8
  %made = alloca [{most} x ptr], align 8
  %record = field ptr %self + {head}
  %index = field i64 %record + {function}
  %function = item ptr @python.functions[%index]
  %inputs = field i64 %function + 8
  %outputs = field i64 %function + 16
  %releases = field i64 %function + 24
  %facts = getelementptr i8, ptr %function, i64 32
  %positional = icmp eq ptr %names, null
  %complete = icmp eq i64 %count, %inputs
  %plain = and i1 %positional, %complete
  br i1 %plain, label %look, label %careful
look:
  %fit = call i1 @python.take(ptr %record, ptr %facts, ptr %args, i64 %inputs, ptr %pointers)
  br i1 %fit, label %prepare, label %careful
prepare:
  %behind = getelementptr ptr, ptr %pointers, i64 %inputs
  %ready = call i1 @python.make(ptr %record, i64 %outputs, ptr %made, ptr %behind)
  br i1 %ready, label %go, label %failed
go:
  %body = load ptr, ptr %function
  %code = call i32 @python.run(ptr %record, ptr %body, i64 %releases, ptr %pointers)
  %ok = icmp eq i32 %code, 0
  br i1 %ok, label %give, label %refused
give:
  %result = call ptr @python.give(ptr %record, ptr %made, i64 %outputs)
  ret ptr %result
failed:
  ret ptr null
refused:
  call void @python.drop(ptr %record, ptr %made, i64 %outputs)
  br label %careful
careful:
  %call = field ptr %record + {vectorcall}
  %function.careful = field ptr %record + {careful}
  %result.careful = call ptr %call(ptr %function.careful, ptr %args, i64 %count, ptr %names)
  ret ptr %result.careful
}}
"""


def has_python(target: Target) -> bool:
    """Whether programs for `target` have the entry."""
    return target.arch in _ARCHITECTURES


def emit_python(name: str, functions: Sequence[tuple[KernelFunction, str, int]]) -> str:
    """The text of NAME_python. Each function comes with the symbol of `i32 (net, pointers)` that runs it, and its work."""
    most = max((len(function.inputs + function.outputs) for function, _, _ in functions), default=0)
    table = "".join(_facts(number, *row) for number, row in enumerate(functions))
    names = ", ".join(f"ptr @python.{number}" for number in range(len(functions)))
    table += f"@python.functions = internal constant [{len(functions)} x ptr] [{names}]\n"
    text = "".join((_TAKE, _MAKE, _RUN, _GIVE, _ENTRY)).format(
        name=name, most=max(most, 1), head=abi.OBJECT_HEAD, busy=abi.BUSY, dense=abi.DENSE, **abi.RECORD, **abi.ARRAY
    )
    text = _FIELD.sub(r"  %\1.at = getelementptr i8, ptr \3, i64 \4\n  %\1 = load \2, ptr %\1.at\n", text)
    return table + _ITEM.sub(r"  %\1.at = getelementptr \2, ptr \3, i64 \4\n  %\1 = load \2, ptr %\1.at\n", text)


def _facts(number: int, function: KernelFunction, symbol: str, work: int) -> str:
    """What the entry knows of a function: what runs it, counts of inputs and outputs, whether it is long, its inputs."""
    numbers = [len(function.inputs), len(function.outputs), int(work >= RELEASING_WORK)]
    numbers += [fact for buffer in function.inputs for fact in _input(buffer)]
    kind = f"<{{ ptr, [{len(numbers)} x i64] }}>"
    values = ", ".join(f"i64 {value}" for value in numbers)
    return f"@python.{number} = internal constant {kind} <{{ ptr @{symbol}, [{len(numbers)} x i64] [{values}] }}>, align 8\n"


def _input(buffer: Buffer) -> Iterator[int]:
    """Rank, size of an element less one, extents."""
    yield from (len(buffer.shape), buffer.dtype.size - 1, *buffer.shape)
