"""A mapped kernel to the text of one `__global__` function.

In: a `Mapped` kernel whose words the target says. Out: its definition in CUDA C++: `SYMBOL(array, ...)`, launched with
`grid` blocks of `block` threads. Unrolled loops stay loops with a pragma, so that the text stays short. Folds over threads
go through shuffles of warps and then shared memory, in an order that depends on the size of the team alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from graphc.dtype import DType, int32, int64
from graphc.ir.expr import Array, Expr, Index, Load, Var, as_index, combine, linear, load
from graphc.ir.kernel import UNROLLED, Accumulate, Call, For, If, Let, Local, Stmt, Store, expressions, walk
from graphc.ir.kernel_rewrite import Renamed

from . import types, words
from .expressions import Names, Scope, below, is_narrow
from .mma import NAMES
from .packets import together
from .roles import FOLD, MMA, PACKET, THREADS, Mapped
from .words import Text

UNROLL_PRIVATE = 64  # iterations up to which a loop is unrolled where the kernel asks for it


def emit_kernel(mapped: Mapped, symbol: str) -> str:
    """The definition of `mapped` as `symbol`. The same kernel gives the same text."""
    return _Emitter(mapped, symbol).text()


class _Emitter:
    def __init__(self, mapped: Mapped, symbol: str) -> None:
        self.mapped, self.symbol = mapped, symbol
        self.lines: list[str] = []
        self.depth = 1
        self.names = Names(set(words.RESERVED) | {symbol})
        self.arrays = {array: self.names.fresh(array.name) for array in mapped.kernel.params}
        self.members: set[Var] = set()  # variables that number the threads
        self.shared: list[str] = []
        self.folds: dict[DType, str] = {}  # shared memory through which warps fold
        self.inside = False  # a loop over threads
        self.folding = False
        self.writes: dict[Stmt, str] = {}  # stores that go into packets
        self.scope = Scope(self.put, self.element, self.names, renumbered=mapped.parts)

    def text(self) -> str:
        kernel, mapped = self.mapped.kernel, self.mapped
        written = kernel.written
        params = [
            f"GRAPHC_GLOBAL({'' if array in written else 'const '}{types.memory(array.dtype)}) {self.arrays[array]}"
            for array in kernel.params
        ]
        self.begin()
        self.body(kernel.body)
        bounds = f"{mapped.block}, {mapped.resident}" if mapped.resident > 1 else str(mapped.block)
        head = f"__global__ void __launch_bounds__({bounds}) {self.symbol}("
        note = [f"// {mapped.note}"] if mapped.note else []
        return "\n".join([*note, head + _wrapped(params, len(head)) + ") {", *self.shared, *self.lines, "}", ""])

    def begin(self) -> None:
        """What every thread is: its task, and its number in the team."""
        mapped, task = self.mapped, self.mapped.kernel.task
        kind = "int" if task.extent + mapped.teams < 2**31 else "int64_t"
        mentioned = _mentions(mapped.kernel.body)
        if mapped.team > 1:
            part = f"int(threadIdx.x) % {mapped.team}" if mapped.teams > 1 else "int(threadIdx.x)"
            self.put(f"const int thread = {part};")
        if task in mentioned or mapped.teams > 1:
            within = "threadIdx.x" if mapped.team == 1 else f"threadIdx.x / {mapped.team}"
            offset = f" * {mapped.teams} + {kind}({within})" if mapped.teams > 1 else ""
            self.put(f"const {kind} task = {kind}(blockIdx.x){offset};")
        if task.extent % mapped.teams:
            self.put(f"if (task >= {task.extent}) return;")
        self.scope.bound[task] = "task"

    def put(self, line: str) -> None:
        self.lines.append("  " * self.depth + line)

    @contextmanager
    def braces(self, head: str) -> Iterator[None]:
        """A block of lines behind `head`; none is needed where there is no head, since every name is used once."""
        if not head:
            yield
            return
        self.put(f"{head} {{")
        self.depth += 1
        yield
        self.depth -= 1
        self.put("}")

    # --------------------------------------------------------------------------------------------------------- statements

    def body(self, stmts: tuple[Stmt, ...]) -> None:
        for stmt in stmts:
            if stmt in self.mapped.barriers:
                self.put("__syncthreads();")
            match stmt:
                case For():
                    self.loop(stmt)
                case Local(array=array):
                    self.local(array)
                case Let():
                    self.let(stmt)
                case Store() | Accumulate():
                    self.write(stmt)
                case If(condition=condition, then=then, orelse=orelse):
                    self.branch(condition, then, orelse)

    def loop(self, loop: For) -> None:
        extent = loop.var.extent
        if extent == 0:
            return
        if loop.kind in (THREADS, FOLD):
            self.over_threads(loop)
        elif loop.kind == PACKET:
            self.packet(loop)
        elif loop.kind == MMA:
            self.matrices(loop)
        else:
            if loop.kind == UNROLLED and extent <= UNROLL_PRIVATE:
                self.put("#pragma unroll")
            with self.counting(loop.var):
                self.body(loop.body)

    @contextmanager
    def counting(self, var: Var) -> Iterator[None]:
        name = self.scope.bound[var] = self.names.fresh(var.name)
        kind = "int" if is_narrow(var) else "int64_t"
        with self.braces(f"for ({kind} {name} = 0; {name} < {var.extent}; ++{name})"):
            yield

    def over_threads(self, loop: For) -> None:
        self.scope.bound[loop.var] = "thread" if self.mapped.team > 1 else "0"
        self.members.add(loop.var)
        if loop.kind == FOLD:
            self.folding = True
            self.body(loop.body)
            self.folding = False
            return
        self.inside = True
        head = f"if (thread < {loop.var.extent})" if loop.var.extent < self.mapped.team else ""
        with self.braces(head):
            self.body(loop.body)
        self.inside = False

    def matrices(self, loop: For) -> None:
        """A product of small matrices, by one instruction of each warp: mma.py says who holds what."""
        *outer, fold = walk((loop,))
        assert isinstance(fold, Accumulate) and all(isinstance(stmt, For) for stmt in outer), fold
        origin = Renamed({stmt.var: as_index(0) for stmt in outer if isinstance(stmt, For)})
        operands = [part for part in below(fold.value) if isinstance(part, Load)]
        places = [(fold.array, fold.index), *((part.array, as_index(part.index)) for part in operands)]
        # A lane's own part starts where that of the first lane does.
        args = [f"&{self.arrays[array]}[{self.scope.position(origin.index(index))}]" for array, index in places]
        self.put(f"mma_{NAMES[operands[0].array.dtype]}({', '.join(args)});")

    def branch(self, condition: Expr, then: tuple[Stmt, ...], orelse: tuple[Stmt, ...]) -> None:
        chosen = self.scope.value(condition)
        if not then and not orelse:
            return
        with self.braces(f"if ({chosen.text})"):
            self.body(then)
        if orelse:
            self.lines[-1] += " else {"
            self.depth += 1
            self.body(orelse)
            self.depth -= 1
            self.put("}")

    def local(self, array: Array) -> None:
        name = self.arrays[array] = self.names.fresh(array.name)
        size = max(self.mapped.parts.get(array, array.size), 1)
        if array in self.mapped.shared:
            self.shared.append(f"  GRAPHC_SHARED({types.memory(array.dtype)}, {name}, {size});")
        else:
            self.put(f"{types.memory(array.dtype)} {name}[{size}];")

    def let(self, stmt: Let) -> None:
        text = self.scope.value(stmt.value)
        narrow = stmt.temp.dtype is int64 and is_narrow(stmt.temp)
        kind = "int" if narrow else types.register(stmt.temp.dtype)
        if narrow:
            text = self.narrow(stmt.value, text)
        name = self.names.fresh(stmt.temp.name)
        self.put(f"const {kind} {name} = {text.text};")
        self.scope.bound[stmt.temp] = name

    def narrow(self, value: Expr, text: Text) -> Text:
        """An int64 value that is known to fit, as int."""
        if isinstance(value, Index) and is_narrow(value):
            return Text(self.scope.position(value), int32)
        return words.convert(text, int32)

    # ----------------------------------------------------------------------------------------------------------- memory

    def element(self, array: Array, index: Index) -> str:
        """`array[index]`, where a part of an array has its own numbering."""
        name = self.arrays[array]
        if array in self.mapped.parts:
            index = self.own(array, index)
        return f"{name}[{self.scope.index(index)}]"

    def own(self, array: Array, index: Index) -> Index:
        """The index within a thread's part: thread * size + rest -> rest."""
        terms, _ = linear(index)
        size = self.mapped.parts[array]
        mine = [(member, -factor) for member, factor in terms.items() if member in self.members]
        assert all(-factor == size for _, factor in mine), f"{array.name}[{index}] is not cut by threads"
        return combine([(index, 1), *mine])

    def visible(self, array: Array) -> bool:
        """Whether other threads see the array."""
        return array in self.mapped.shared or array in self.mapped.kernel.params

    def write(self, stmt: Store | Accumulate) -> None:
        guards = []
        if not self.inside and self.mapped.team > 1 and self.visible(stmt.array):
            guards.append("thread == 0")
        guard = stmt.guard if isinstance(stmt, Store) else None
        if guard is not None:
            guards.append(self.scope.value(guard).at(words.SUM))
        if guards and not self.folding:
            with self.braces(f"if ({' && '.join(guards)})"):
                self.assign(stmt)
        elif self.folding:
            self.fold(stmt, " && ".join(guards))
        else:
            self.assign(stmt)

    def assign(self, stmt: Store | Accumulate) -> None:
        if stmt in self.writes:
            value = self.scope.value(stmt.value)
            lane = self.writes[stmt]
            self.put(f"{lane} = {_stored(value)};")
            self.scope.packets[load(stmt.array, stmt.index)] = _loaded(lane, stmt.array.dtype)  # for who reads it again
            return
        array, index = stmt.array, stmt.index
        if array in self.mapped.atomic:
            new, _ = self.scope.values((stmt.value, index))
            self.put(f"GRAPHC_ATOMIC_ADD({self.arrays[array]}, {self.scope.index(index)}, {_stored(new)});")
            return
        where = self.own(array, index) if array in self.mapped.parts else index
        if isinstance(stmt, Accumulate) and (product := _fusible(stmt)):
            x, y, _ = self.scope.values((*product, where))
            place = f"{self.arrays[array]}[{self.scope.index(where)}]"
            new = words.speak("fma", array.dtype, (x, y, Text(place, array.dtype)))
        else:
            new, _ = self.scope.values((stmt.value, where))
            place = f"{self.arrays[array]}[{self.scope.index(where)}]"
            if isinstance(stmt, Accumulate):
                new = words.combine(stmt.combine, _loaded(place, array.dtype), new)
        self.put(f"{place} = {_stored(new)};")

    # -------------------------------------------------------------------------------------------------------------- folds

    def fold(self, stmt: Store | Accumulate, guard: str) -> None:
        """`array[index] combine= value`, over the values of all threads of the team: halves of a warp meet, then warps."""
        assert isinstance(stmt, Accumulate), stmt
        working = stmt.array.dtype.accumulator
        name = self.names.fresh("sum" if stmt.combine == "add" else "folded")
        value = words.convert(self.scope.value(stmt.value), working)
        self.put(f"{types.register(working)} {name} = {value.text};")
        mine = Text(name, working)
        self.put("#pragma unroll")
        with self.braces("for (int distance = 16; distance > 0; distance /= 2)"):
            # A line of its own, since every lane must take part: `||` would leave lanes out.
            self.put(f"const {types.register(working)} other = other_lane({name}, distance);")
            self.put(f"{name} = {words.combine(stmt.combine, mine, Text('other', working)).text};")
        if self.mapped.team > 32:
            self.across_warps(stmt.combine, mine)
        place, index = self.arrays[stmt.array], stmt.index
        at = self.scope.position(index)
        old = _loaded(f"{place}[{at}]", stmt.array.dtype)
        line = f"{place}[{at}] = {_stored(words.combine(stmt.combine, old, mine))};"
        self.put(f"if ({guard}) {line}" if guard else line)

    def across_warps(self, combine_word: str, mine: Text) -> None:
        warps = self.mapped.team // 32
        if mine.dtype not in self.folds:
            self.folds[mine.dtype] = self.names.fresh(f"warps_{mine.dtype}")
            self.shared.append(f"  GRAPHC_SHARED({types.memory(mine.dtype)}, {self.folds[mine.dtype]}, {warps});")
        memory = self.folds[mine.dtype]
        self.put(f"if (thread % 32 == 0) {memory}[thread / 32] = {_stored(mine)};")
        self.put("__syncthreads();")
        self.put(f"{mine} = {_loaded(f'{memory}[0]', mine.dtype).text};")
        with self.braces(f"for (int warp = 1; warp < {warps}; ++warp)"):
            other = _loaded(f"{memory}[warp]", mine.dtype)
            self.put(f"{mine} = {words.combine(combine_word, mine, other).text};")
        self.put("__syncthreads();")

    # ------------------------------------------------------------------------------------------------------------ packets

    def packet(self, loop: For) -> None:
        """The body for neighbouring elements; what they load and store together goes as 16 bytes."""
        loads, stores = together(loop, self.mapped.shared | set(self.mapped.kernel.params))
        outer, writes = self.scope, self.writes
        self.scope, self.writes = replace(outer, packets=dict(outer.packets)), dict(writes)
        packets: list[tuple[Store, str]] = []
        counter = self.names.fresh(loop.var.name)
        self.scope.bound[loop.var] = "0"
        for read in loads:
            name = self.names.fresh(f"{read.array.name}_packet")
            kind = f"Packet<{types.memory(read.dtype)}>"
            at = self.scope.position(as_index(read.index))
            self.put(f"const {kind} {name} = GRAPHC_LOAD({kind}, {self.arrays[read.array]}, {at});")
            self.scope.packets[read] = _loaded(f"{name}.lane[{counter}]", read.dtype)
        for store in stores:
            name = self.names.fresh(f"{store.array.name}_packet")
            self.put(f"Packet<{types.memory(store.array.dtype)}> {name};")
            packets.append((store, name))
            self.writes[store] = f"{name}.lane[{counter}]"
        self.scope.bound[loop.var] = counter
        self.put("#pragma unroll")
        with self.braces(f"for (int {counter} = 0; {counter} < {loop.var.extent}; ++{counter})"):
            self.body(loop.body)
        self.scope.bound[loop.var] = "0"
        for store, name in packets:
            at = self.scope.position(store.index)
            kind = f"Packet<{types.memory(store.array.dtype)}>"
            self.put(f"GRAPHC_STORE({kind}, {self.arrays[store.array]}, {at}, {name});")
        self.scope, self.writes = outer, writes


def _mentions(body: tuple[Stmt, ...]) -> set[Expr]:
    return {part for stmt in walk(body) for root in expressions(stmt) for part in below(root)}


def _fusible(stmt: Accumulate) -> tuple[Expr, Expr] | None:
    """The factors of a product that is added into a float array: it is fused with the addition."""
    value, dtype = stmt.value, stmt.array.dtype
    wide = dtype.is_float and dtype.bits > 16 and value.dtype is dtype
    if stmt.combine == "add" and wide and isinstance(value, Call) and value.word == "mul":
        return value.args[0], value.args[1]
    return None


def _loaded(place: str, dtype: DType) -> Text:
    return Text(f"{place} != 0", dtype, words.OTHER) if dtype.is_bool else Text(place, dtype)


def _stored(value: Text) -> str:
    return f"uint8_t({value.text})" if value.dtype.is_bool else value.text


def _wrapped(params: list[str], start: int) -> str:
    """Parameters on as many lines as they need."""
    if start + sum(len(p) + 2 for p in params) < 120:
        return ", ".join(params)
    return "\n    " + ",\n    ".join(params)
