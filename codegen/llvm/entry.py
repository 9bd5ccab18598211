"""A whole program as one LLVM module.

In: a planned KernelProgram, its name, a target. Out: module text that exports NAME_size, NAME_init, NAME_close, NAME_<f>
for each function and NAME_var_<v> for each variable (codegen/abi.py, codegen/header.py). Holds: every distinct kernel is
there once; no mutable globals, no allocation; the same program gives the same text.

With `embed_initial` the module has room for the image (constants and initial state), filled in behind the linker by
codegen/link.py; without it the host calls NAME_bind(net, image) after NAME_init and sets the state itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from graphc.ir.kernel import ALIGNMENT, ARENA, CONSTANT, INPUT, OUTPUT, VARIABLE, Buffer, Kernel, KernelFunction, KernelProgram

from .. import abi
from ..expand import expand_kernel
from ..fingerprint import fingerprint
from ..rebase import rebase
from ..sharing import Step, share, work
from ..target import Target
from .emit import emit_kernel
from .python_entry import emit_python, has_python
from .words import speaker
from .workers import emit_workers

# Stands right before the image in every file that holds one.
MARKER = hashlib.sha512(b"graphc: constants and initial state").digest()


def emit_program(program: KernelProgram, name: str, target: Target, embed_initial: bool) -> str:
    """The text of the module. Raises CompileError for names that C cannot take."""
    abi.check_names(program, name)
    return _Module(program, name, target, embed_initial).text()


class _Module:
    def __init__(self, program: KernelProgram, name: str, target: Target, embed: bool) -> None:
        self.program, self.name, self.target, self.embed = program, name, target, embed
        self.layout = abi.layout(program)
        self._symbols: dict[int, tuple[str, tuple[int, ...]]] = {}  # kernel object -> function that runs it, and from where
        self._distinct: dict[str, str] = {}  # fingerprint -> function
        self._kernels: list[str] = []
        self._declarations: set[str] = set()
        self._called: list[tuple[KernelFunction, str, int]] = []  # functions, what runs them, their work

    def text(self) -> str:
        functions = [part for function in self.program.functions for part in self._function(function)]
        parts = [
            f'source_filename = "{self.name}"\ntarget triple = "{self.target.triple}"\n',
            *self._kernels,
            *functions,
            *self._accessors(),
            *self._life(),
            emit_workers(self.target),
            emit_python(self.name, self._called) if has_python(self.target) else "",
            *sorted(f"{line}\n" for line in self._declarations),
            "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)\n",
        ]
        return "\n".join(parts)

    # ------------------------------------------------------------------------------------------------------------ functions

    def _function(self, function: KernelFunction) -> Iterator[str]:
        sharing = share(function, self.program.offsets, work)
        self._called.append((function, self._call_symbol(function), sharing.work))
        yield self._body(function, sharing.steps, sharing.meet)
        yield self._call(function, sharing.parallel)
        yield self._entry(function)

    def _body(self, function: KernelFunction, steps: tuple[Step, ...], meet: bool) -> str:
        lines = [f"define internal void @{self._body_symbol(function)}(ptr %net, ptr %arguments, i64 %worker, i64 %workers) {{"]
        lines += ["entry:", *self._addresses(function)]
        block = _Blocks(lines)
        for number, step in enumerate(steps):
            if step.barrier:
                block.meet()
            if step.shared:
                block.everybody()
            else:
                block.alone()
            lines += self._launch(step, number)
        block.everybody()
        if meet:
            block.meet()
        return "\n".join([*lines, "  ret void", "}", ""])

    def _body_symbol(self, function: KernelFunction) -> str:
        return f"body.{function.name}"

    def _call_symbol(self, function: KernelFunction) -> str:
        return f"call.{function.name}"

    def _launch(self, step: Step, number: int) -> list[str]:
        launch = step.launch
        tasks = launch.kernel.task.extent
        comment = [f"  ; {' '.join(launch.comment.split())}"] if launch.comment else []
        symbol, starts = self._kernel(launch.kernel)
        places = zip(launch.args, starts, strict=True)
        addresses = [self._address(buffer, f"{number}.{i}", start) for i, (buffer, start) in enumerate(places)]
        lines = [*comment, *(line for _, setup in addresses for line in setup)]
        operands = "".join(f"ptr {text}, " for text, _ in addresses)
        if not step.shared:
            return [*lines, f"  call void @{symbol}({operands}i64 0, i64 {tasks})"]
        return [
            *lines,
            f"  %first.{number} = mul i64 %worker, {tasks}",
            f"  %begin.{number} = udiv i64 %first.{number}, %workers",
            f"  %last.{number} = add i64 %first.{number}, {tasks}",
            f"  %end.{number} = udiv i64 %last.{number}, %workers",
            f"  call void @{symbol}({operands}i64 %begin.{number}, i64 %end.{number})",
        ]

    def _kernel(self, kernel: Kernel) -> tuple[str, tuple[int, ...]]:
        """The function that runs `kernel`, emitted when it is first met, and the element of each param at which it starts."""
        if id(kernel) in self._symbols:
            return self._symbols[id(kernel)]
        based, starts = rebase(kernel)
        key = fingerprint(based)
        if key not in self._distinct:
            symbol = f"k{len(self._distinct)}.{abi.c_identifier(kernel.name)}"
            text = emit_kernel(expand_kernel(based, speaker(self.target)), symbol, self.target)
            self._kernels.append(text.text)
            self._declarations.update(text.declarations)
            self._distinct[key] = symbol
        self._symbols[id(kernel)] = self._distinct[key], starts
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
        run = f"@graphc.run(ptr %net, ptr @{body}, ptr %arguments)"
        alone = f"@{body}(ptr %net, ptr %arguments, i64 0, i64 1)"
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
                "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n"
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


_CLOSE = ["  call void @graphc.stop(ptr %net)", "  store i64 0, ptr %net, align 8", f"  ret i32 {abi.OK}", "}", ""]


class _Blocks:
    """Switches between code that every worker runs and code of worker 0, opening blocks only where that changes."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._count = 0
        self._inside = False

    def alone(self) -> None:
        if not self._inside:
            self._count += 1
            self._inside = True
            n = self._count
            self._lines += [
                f"  %main.{n} = icmp eq i64 %worker, 0",
                f"  br i1 %main.{n}, label %alone.{n}, label %all.{n}",
                f"alone.{n}:",
            ]

    def everybody(self) -> None:
        if self._inside:
            self._inside = False
            self._lines += [f"  br label %all.{self._count}", f"all.{self._count}:"]

    def meet(self) -> None:
        self.everybody()
        self._lines.append("  call void @graphc.barrier(ptr %net, i64 %workers)")


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
