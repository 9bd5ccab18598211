"""A whole program as one LLVM module, or as some that are compiled while others are written.

In: a planned KernelProgram, its name, a target. Out: module text that exports NAME_size, NAME_init, NAME_close, NAME_<f>
for each function (codegen/abi.py, codegen/header.py). Holds: every distinct kernel is there once; no mutable globals, no
allocation; the same program gives the same text.

With `embed_initial` the module is for C: it exports NAME_var_<v> for each variable, and has room for the image (constants and
initial state), filled in behind the linker by codegen/link.py. Without it the host, who knows where variables are, calls
NAME_bind(net, image) after NAME_init and sets the state itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from graphc.ir.kernel import (
    ALIGNMENT,
    ARENA,
    CONSTANT,
    INPUT,
    OUTPUT,
    VARIABLE,
    Buffer,
    Kernel,
    KernelFunction,
    KernelProgram,
    Launch,
)

from .. import abi
from ..expand import expand_kernel
from ..fingerprint import fingerprint
from ..peel import peel
from ..rebase import rebase
from ..sharing import Part, Sharing, share, work
from ..target import Target
from .emit import KernelText, emit_kernel
from .python_entry import emit_python, has_python
from .shares import SELF
from .words import speaker
from .workers import emit_workers, has_threads

# Stands right before the image in every file that holds one.
MARKER = hashlib.sha512(b"graphc: constants and initial state").digest()

BATCH = 25_000  # characters of kernels that are a module of their own


def emit_program(program: KernelProgram, name: str, target: Target, embed_initial: bool) -> str:
    """The text of the module. Raises CompileError for names that C cannot take."""
    module = _Module(program, name, target, embed_initial)
    frame = module.frame()
    return module.text(list(module.kernels("internal")), frame)


def emit_modules(program: KernelProgram, name: str, target: Target) -> tuple[str, Iterator[str]]:
    """The same without `embed_initial`, as modules to be loaded together: all but the kernels; and the kernels, written when
    they are asked for, so that some can be compiled before others are there."""
    module = _Module(program, name, target, False)
    frame = module.frame()
    return module.text((), frame, *module.prototypes()), _batches(module)


def _batches(module: _Module) -> Iterator[str]:
    """Modules of kernels, of a size that is worth the effort of another one."""
    batch: list[KernelText] = []
    for kernel in module.kernels("hidden"):
        batch.append(kernel)
        if sum(len(each.text) for each in batch) >= BATCH:
            yield module.text(batch)
            batch = []
    if batch:
        yield module.text(batch)


class _Module:
    def __init__(self, program: KernelProgram, name: str, target: Target, embed: bool) -> None:
        abi.check_names(program, name)
        self.program, self.name, self.target, self.embed = program, name, target, embed
        self.layout = abi.layout(program)
        self._symbols: dict[int, tuple[str, tuple[int, ...]]] = {}  # kernel object -> function that runs it, and from where
        self._distinct: dict[str, tuple[str, Kernel]] = {}  # fingerprint -> function, and what it runs
        self._called: list[tuple[KernelFunction, str, int]] = []  # functions, what runs them, their work

    def text(self, kernels: Sequence[KernelText], *others: str) -> str:
        """A module of kernels and other functions."""
        head = f'source_filename = "{self.name}"\ntarget triple = "{self.target.triple}"\n'
        declarations = sorted(f"{line}\n" for line in set().union(*(kernel.declarations for kernel in kernels)))
        return "\n".join([head, *(kernel.text for kernel in kernels), *others, *declarations, _MEMORY])

    def frame(self) -> str:
        """All but the kernels, which are known from then on."""
        parts = [
            *(part for function in self.program.functions for part in self._function(function)),
            *(self._accessors() if self.embed else ()),
            *self._life(),
            emit_workers(self.target, self.layout.arguments),
            emit_python(self.name, self._called) if has_python(self.target) else "",
        ]
        return "\n".join(parts)

    def kernels(self, linkage: str) -> Iterator[KernelText]:
        """Each distinct kernel, written when it is asked for."""
        for symbol, kernel in self._distinct.values():
            yield emit_kernel(expand_kernel(peel(kernel), speaker(self.target)), symbol, self.target, linkage)

    def prototypes(self) -> Iterator[str]:
        """The kernels declared."""
        for symbol, kernel in self._distinct.values():
            yield f"declare hidden void @{symbol}({'ptr, ' * len(kernel.params)}i64, i64)"

    # ------------------------------------------------------------------------------------------------------------ functions

    def _function(self, function: KernelFunction) -> Iterator[str]:
        sharing = share(function, self.program.offsets, work)
        self._called.append((function, self._call_symbol(function), sharing.work))
        parallel = sharing.parallel and has_threads(self.target)
        yield self._body(function, sharing, parallel)
        yield self._call(function, parallel)
        yield self._entry(function)

    def _body(self, function: KernelFunction, sharing: Sharing, parallel: bool) -> str:
        """All parts; `self` is the worker's record of itself (llvm/shares.py), of which nothing is asked but in parallel."""
        lines = [f"define internal void @{self._body_symbol(function)}(ptr %net, ptr %arguments, ptr %self) {{", "entry:"]
        lines += self._addresses(function)
        if not parallel:
            launches = [launch for part in sharing.parts for launch in part.launches]
            lines += [line for number, launch in enumerate(launches) for line in self._launch(launch, f"{number}")]
            return "\n".join([*lines, "  ret void", "}", ""])
        lines += [f"  %worker.at = getelementptr i8, ptr %self, i64 {SELF['worker']}", "  %worker = load i64, ptr %worker.at"]
        lines += [f"  %mine.at = getelementptr i8, ptr %self, i64 {SELF['mine']}", "  %main = icmp eq i64 %worker, 0"]
        for number, part in enumerate(sharing.parts):
            if part.barrier:
                lines.append(_meet(part.start, "false"))
            lines += self._shared(part, number) if part.shared else self._alone(part, number)
        if sharing.meet:
            lines += ["  %other = xor i1 %main, true", _meet(sharing.units, "%other")]
        return "\n".join([*lines, "  ret void", "}", ""])

    def _shared(self, part: Part, n: int) -> list[str]:
        """A launch whose tasks are taken until none is left."""
        (launch,) = part.launches
        tasks = launch.kernel.task.extent
        *setup, run = self._launch(launch, f"{n}", f"i64 %begin.{n}, i64 %end.{n}")
        parts = max((buffer.parts for buffer in launch.args), default=1)
        able = f"  br i1 %able.{n}, label %take.{n}, label %past.{n}"
        return [
            *setup,
            *([f"  %able.{n} = icmp ult i64 %worker, {parts}", able] if parts > 1 else [f"  br label %take.{n}"]),
            f"take.{n}:",
            f"  %taken.{n} = call {{ i64, i64 }} @graphc.take(ptr %self, i64 {part.start}, i64 {tasks}, i64 {part.cuts})",
            f"  %begin.{n} = extractvalue {{ i64, i64 }} %taken.{n}, 0",
            f"  %end.{n} = extractvalue {{ i64, i64 }} %taken.{n}, 1",
            f"  %some.{n} = icmp ult i64 %begin.{n}, %end.{n}",
            f"  br i1 %some.{n}, label %run.{n}, label %past.{n}",
            f"run.{n}:",
            run,
            f"  br label %take.{n}",
            f"past.{n}:",
        ]

    def _alone(self, part: Part, n: int) -> list[str]:
        """Launches of worker 0, which count as one unit."""
        return [
            f"  br i1 %main, label %run.{n}, label %past.{n}",
            f"run.{n}:",
            *(line for i, launch in enumerate(part.launches) for line in self._launch(launch, f"{n}.{i}")),
            f"  %mine.{n} = load i64, ptr %mine.at",
            f"  %more.{n} = add i64 %mine.{n}, 1",
            f"  store i64 %more.{n}, ptr %mine.at",
            f"  br label %past.{n}",
            f"past.{n}:",
        ]

    def _body_symbol(self, function: KernelFunction) -> str:
        return f"body.{function.name}"

    def _call_symbol(self, function: KernelFunction) -> str:
        return f"call.{function.name}"

    def _launch(self, launch: Launch, label: str, tasks: str = "") -> list[str]:
        """The lines that run a launch, or of it `tasks` ("i64 first, i64 behind the last"); the last one is the call."""
        comment = [f"  ; {' '.join(launch.comment.split())}"] if launch.comment else []
        symbol, starts = self._kernel(launch.kernel)
        places = zip(launch.args, starts, strict=True)
        addresses = [self._address(buffer, f"{label}.{i}", start) for i, (buffer, start) in enumerate(places)]
        if tasks:  # shared: each worker has a part of scratch for itself
            addresses = [
                _own(*found, buffer) if buffer.parts > 1 else found
                for found, buffer in zip(addresses, launch.args, strict=True)
            ]
        operands = "".join(f"ptr {text}, " for text, _ in addresses)
        tasks = tasks or f"i64 0, i64 {launch.kernel.task.extent}"
        return [*comment, *(line for _, setup in addresses for line in setup), f"  call void @{symbol}({operands}{tasks})"]

    def _kernel(self, kernel: Kernel) -> tuple[str, tuple[int, ...]]:
        """The function that runs `kernel`, and the element of each param at which it starts."""
        if id(kernel) in self._symbols:
            return self._symbols[id(kernel)]
        based, starts = rebase(kernel)
        key = fingerprint(based)
        if key not in self._distinct:
            self._distinct[key] = f"k{len(self._distinct)}.{abi.c_identifier(kernel.name)}", based
        self._symbols[id(kernel)] = self._distinct[key][0], starts
        return self._symbols[id(kernel)]

    # ------------------------------------------------------------------------------------------------------------ addresses

    def _addresses(self, function: KernelFunction) -> list[str]:
        """The caller's pointers and the image, loaded once."""
        lines = []
        for i in range(len(function.inputs) + len(function.outputs)):
            lines += [f"  %slot.{i} = {_slot(i)}", f"  %arg.{i} = load ptr, ptr %slot.{i}, align 8"]
        if self.layout.constants:
            lines += [f"  %image.at = {_field('image')}", "  %image = load ptr, ptr %image.at, align 8"]
        self._places = {buffer: f"%arg.{i}" for i, buffer in enumerate(function.inputs + function.outputs)}
        return lines

    def _address(self, buffer: Buffer, label: str, start: int) -> tuple[str, list[str]]:
        """The operand that names a buffer from element `start`, and the lines that compute it."""
        if buffer.kind in (INPUT, OUTPUT):
            base, offset = self._places[buffer], 0
            if not start:
                return base, []
        elif buffer.kind == CONSTANT:
            base, offset = "%image", self.layout.constants[buffer]
        else:
            base = "%net"
            offset = {VARIABLE: self.layout.state, ARENA: self.layout.arena}[buffer.kind] + self.program.offsets[buffer]
        offset += start * buffer.dtype.size
        return f"%at.{label}", [f"  %at.{label} = getelementptr i8, ptr {base}, i64 {offset}  ; {buffer.name}"]

    # -------------------------------------------------------------------------------------------------------------- entries

    def _call(self, function: KernelFunction, parallel: bool) -> str:
        """One call at a time: the function's body, unless the net is closed or busy."""
        body = self._body_symbol(function)
        run = f"@graphc.run(ptr %net, ptr @{body}, ptr %arguments, i64 {abi.arguments_size(function)})"
        alone = f"@{body}(ptr %net, ptr %arguments, ptr null)"
        lines = [
            f"define internal i32 @{self._call_symbol(function)}(ptr %net, ptr %arguments) {{",
            "entry:",
            *_refuse_closed(),
            f"  %busy.at = {_field('busy')}",
            "  %busy = atomicrmw xchg ptr %busy.at, i32 1 acquire",
            "  %free = icmp eq i32 %busy, 0",
            "  br i1 %free, label %run, label %occupied",
            "occupied:",
            f"  ret i32 {abi.BUSY}",
            "run:",
            f"  call void {run if parallel else alone}",
            "  store atomic i32 0, ptr %busy.at release, align 4",
            f"  ret i32 {abi.OK}",
        ]
        return "\n".join([*lines, "}", ""])

    def _entry(self, function: KernelFunction) -> str:
        """What C calls: the pointers gathered."""
        buffers = function.inputs + function.outputs
        params = "".join(f", ptr %p{i}" for i in range(len(buffers)))
        pointers = ["%net", *(f"%p{i}" for i, buffer in enumerate(buffers) if buffer.nbytes)]
        lines = [
            f"define i32 @{self.name}_{function.name}(ptr %net{params}) {{",
            "entry:",
            f"  %arguments = alloca [{max(len(buffers), 1)} x ptr], align 8",
            *_refuse_null(pointers),
        ]
        for i in range(len(buffers)):
            lines += [f"  %slot.{i} = {_slot(i)}", f"  store ptr %p{i}, ptr %slot.{i}, align 8"]
        lines.append(f"  %code = call i32 @{self._call_symbol(function)}(ptr %net, ptr %arguments)")
        return "\n".join([*lines, "  ret i32 %code", "}", ""])

    def _accessors(self) -> Iterator[str]:
        variables = self.program.variables
        for buffer, c_name in zip(variables, abi.c_names(v.name for v in variables), strict=True):
            offset = self.layout.state + self.program.offsets[buffer]
            yield (
                f"define ptr @{abi.variable_symbol(self.name, c_name)}(ptr %net) {{\n"
                f"  %at = getelementptr i8, ptr %net, i64 {offset}\n  ret ptr %at\n}}\n"
            )

    # ----------------------------------------------------------------------------------------------------------- life cycle

    def _life(self) -> Iterator[str]:
        yield f"define i64 @{self.name}_size() {{\n  ret i64 {self.layout.size}\n}}\n"
        yield "\n".join(self._init())
        head = [f"define i32 @{self.name}_close(ptr %net) {{", "entry:"]
        yield "\n".join([*head, *_refuse_null(["%net"]), *_refuse_closed(), *_CLOSE])
        if self.embed:
            size = self.layout.image_size
            marker = "".join(f"\\{byte:02X}" for byte in MARKER)
            # Externally initialised: its contents come after the compiler, which must not believe in the zeros.
            yield (
                f"@graphc.image = internal externally_initialized constant <{{ [64 x i8], [{size} x i8] }}> "
                f'<{{ [64 x i8] c"{marker}", [{size} x i8] zeroinitializer }}>, align {ALIGNMENT}\n'
                "@llvm.used = appending global [1 x ptr] [ptr @graphc.image]\n"
            )
        else:
            yield (
                f"define void @{self.name}_bind(ptr %net, ptr %image) {{\n  %at = {_field('image')}\n"
                "  store ptr %image, ptr %at, align 8\n  ret void\n}\n"
            )

    def _init(self) -> Iterator[str]:
        size = self.program.state_size
        yield from (f"define i32 @{self.name}_init(ptr %net, i32 %threads) {{", "entry:", *_refuse_null(["%net"]))
        yield from (
            "  %address = ptrtoint ptr %net to i64",
            f"  %low = and i64 %address, {ALIGNMENT - 1}",
            "  %straight = icmp eq i64 %low, 0",
            "  br i1 %straight, label %count, label %misaligned",
            "misaligned:",
            f"  ret i32 {abi.MISALIGNED}",
            "count:",
            "  %less = sub i32 %threads, 1",
            f"  %some = icmp ult i32 %less, {abi.MAX_THREADS}",
            "  br i1 %some, label %clear, label %miscounted",
            "miscounted:",
            f"  ret i32 {abi.BAD_THREADS}",
            "clear:",
            f"  call void @llvm.memset.p0.i64(ptr align 64 %net, i8 0, i64 {abi.HEADER_SIZE}, i1 false)",
        )
        if self.embed:
            yield from (
                "  %image = getelementptr i8, ptr @graphc.image, i64 64",
                f"  %image.at = {_field('image')}",
                "  store ptr %image, ptr %image.at, align 8",
                f"  %initial = getelementptr i8, ptr %image, i64 {self.layout.initial}",
                f"  %state = getelementptr i8, ptr %net, i64 {self.layout.state}",
                f"  call void @llvm.memcpy.p0.p0.i64(ptr align 64 %state, ptr align 64 %initial, i64 {size}, i1 false)",
            )
        yield from (
            "  %wanted = zext i32 %threads to i64",
            "  call void @graphc.start(ptr %net, i64 %wanted)",
            f"  store atomic i64 {abi.MAGIC}, ptr %net release, align 8",
            f"  ret i32 {abi.OK}",
            "}",
            "",
        )


_MEMORY = "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)\ndeclare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n"

_CLOSE = ["  call void @graphc.stop(ptr %net)", "  store i64 0, ptr %net, align 8", f"  ret i32 {abi.OK}", "}", ""]


def _meet(goal: int, leave: str) -> str:
    """Waits until `goal` units are finished, or, with `leave`, only says what this worker has finished."""
    return f"  call void @graphc.meet(ptr %self, i64 {goal}, i1 {leave})"


def _own(text: str, lines: list[str], buffer: Buffer) -> tuple[str, list[str]]:
    """The worker's part of a buffer whose first part is `text`."""
    part = f"{text}.part"
    return part, [*lines, f"  {part} = getelementptr [{buffer.pitch} x i8], ptr {text}, i64 %worker"]


def _field(name: str) -> str:
    return f"getelementptr i8, ptr %net, i64 {abi.FIELDS[name]}"


def _slot(index: int) -> str:
    return f"getelementptr ptr, ptr %arguments, i64 {index}"


def _refuse_null(pointers: list[str]) -> list[str]:
    lines = [f"  %null.{i} = icmp eq ptr {pointer}, null" for i, pointer in enumerate(pointers)]
    any_null = "%null.0"
    for i in range(1, len(pointers)):
        lines.append(f"  %nulls.{i} = or i1 {any_null}, %null.{i}")
        any_null = f"%nulls.{i}"
    return [*lines, f"  br i1 {any_null}, label %missing, label %given", "missing:", f"  ret i32 {abi.NULL_POINTER}", "given:"]


def _refuse_closed() -> list[str]:
    return [
        "  %magic = load atomic i64, ptr %net acquire, align 8",
        f"  %ready = icmp eq i64 %magic, {abi.MAGIC}",
        "  br i1 %ready, label %open, label %closed",
        "closed:",
        f"  ret i32 {abi.NOT_READY}",
        "open:",
    ]
