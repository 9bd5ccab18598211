"""Kernel programs as text, and back.

In: a program of kernels, before or after its buffers are planned. Out: text from which `parse_program` makes the same
program again: the same memory, launches and contents. A kernel object that is launched twice is printed once. Kernels
follow the grammar of kernel_text.py, data that of scan.py.

    program  ::= program ["state" INT "arena" INT] ":" buffer*  kernel*  function*      (sizes once buffers are planned)
    buffer   ::= (variable|constant|input|output|arena) NAME ":" type ["parts" INT] ["at" INT] ["=" data]
    function ::= function NAME "(" NAME,* ")" "->" "(" NAME,* ")" ":" (NAME "(" NAME,* ")" ["#" comment])*
"""

from __future__ import annotations

from .kernel import ARENA, CONSTANT, INPUT, OUTPUT, VARIABLE, Buffer, Kernel, KernelFunction, KernelProgram, Launch
from .kernel_parse import KernelParser
from .kernel_text import print_kernel
from .scan import Names, Scanner, print_data
from .types import TensorType

_KINDS = (VARIABLE, CONSTANT, INPUT, OUTPUT, ARENA)


def buffers(program: KernelProgram) -> list[Buffer]:
    """Every buffer of `program`, in the order of their first mention."""
    found = dict.fromkeys([*program.variables, *program.constants])
    for function in program.functions:
        found |= dict.fromkeys([*function.inputs, *function.outputs])
        for launch in function.launches:
            found |= dict.fromkeys(launch.args)
    return list(found | dict.fromkeys(program.offsets))


def print_program(program: KernelProgram, elide: bool = False) -> str:
    """The text of `program`; with `elide`, for readers only, without the contents of large buffers."""
    names, kernel_names = Names(), Names()
    planned = f" state {program.state_size} arena {program.arena_size}" if program.offsets else ""
    lines = [f"program{planned}:"]
    for buffer in buffers(program):
        lines.append(f"  {_buffer_text(buffer, names(buffer, buffer.name), program, elide)}")
    blocks = ["\n".join(lines) + "\n"]
    for kernel in dict.fromkeys(launch.kernel for function in program.functions for launch in function.launches):
        blocks.append(print_kernel(kernel, kernel_names(kernel, kernel.name)))
    for function in program.functions:
        blocks.append(_function_text(function, names, kernel_names))
    return "\n".join(blocks)


def _buffer_text(buffer: Buffer, name: str, program: KernelProgram, elide: bool) -> str:
    type_ = TensorType(buffer.dtype, buffer.shape)
    parts = f" parts {buffer.parts}" if buffer.parts > 1 else ""
    place = f" at {program.offsets[buffer]}" if buffer in program.offsets else ""
    data = f" = {print_data(buffer.data, type_, elide)}" if buffer.data is not None else ""
    return f"{buffer.kind} {name}: {type_}{parts}{place}{data}"


def _function_text(function: KernelFunction, names: Names, kernel_names: Names) -> str:
    def listed(things: tuple[Buffer, ...]) -> str:
        return ", ".join(names.of[b] for b in things)

    lines = [f"function {function.name}({listed(function.inputs)}) -> ({listed(function.outputs)}):"]
    for launch in function.launches:
        comment = f"  # {' '.join(launch.comment.split())}" if launch.comment.strip() else ""
        lines.append(f"  {kernel_names.of[launch.kernel]}({listed(launch.args)}){comment}")
    return "\n".join(lines) + "\n"


def parse_program(text: str) -> KernelProgram:
    """The program that `text` describes. Raises ParseError with line, column and what was expected."""
    return _ProgramParser(Scanner(text)).program()


class _ProgramParser:
    def __init__(self, scanner: Scanner) -> None:
        self.at = scanner
        self.buffers: dict[str, Buffer] = {}
        self.kernels: dict[str, Kernel] = {}
        self.offsets: dict[Buffer, int] = {}

    def program(self) -> KernelProgram:
        at = self.at
        at.line(-1)
        at.expect("program")
        state = arena = 0
        if at.accept("state"):
            state = at.integer("the bytes of the state")
            at.expect("arena")
            arena = at.integer("the bytes of the arena")
        at.expect(":")
        while at.line(0) is not None:
            self._buffer()
        functions: list[KernelFunction] = []
        while at.same_line(0):
            if at.peek("kernel"):
                kernel = KernelParser(at).kernel()
                self.kernels[kernel.name] = kernel
            else:
                functions.append(self._function())
        at.finish()
        of = {kind: tuple(b for b in self.buffers.values() if b.kind == kind) for kind in _KINDS}
        return KernelProgram(tuple(functions), of[VARIABLE], of[CONSTANT], self.offsets, state, arena)

    def _buffer(self) -> None:
        at = self.at
        if at.token.text not in _KINDS:
            at.fail(f"a buffer ({', '.join(_KINDS)})")
        kind = at.name()
        name = at.name("the buffer's name")
        if name in self.buffers:
            at.at -= 1
            at.fail(f"a new name ({name} is taken)")
        at.expect(":")
        type_ = at.type()
        parts = at.integer("a number of parts") if at.accept("parts") else 1
        offset = at.integer("an offset in bytes") if at.accept("at") else None
        data = at.data(type_) if at.accept("=") else None
        self.buffers[name] = Buffer(name, type_.dtype, type_.shape, kind, data, parts)
        if offset is not None:
            self.offsets[self.buffers[name]] = offset

    def _function(self) -> KernelFunction:
        at = self.at
        at.expect("function")
        name = at.name("the function's name")
        inputs = self._listed()
        at.expect("->")
        outputs = self._listed()
        at.expect(":")
        launches: list[Launch] = []
        while at.line(0) is not None:
            kernel = self.kernels.get(at.token.text)
            if kernel is None:
                at.fail("the name of a kernel printed above")
            at.name()
            args = self._listed()
            launches.append(Launch(kernel, args, at.comment()))
        return KernelFunction(name, inputs, outputs, tuple(launches))

    def _listed(self) -> tuple[Buffer, ...]:
        at = self.at
        at.expect("(")
        found: list[Buffer] = []
        while not at.accept(")"):
            if at.token.text not in self.buffers:
                at.fail("the name of a buffer")
            found.append(self.buffers[at.name()])
            if not at.peek(")"):
                at.expect(",")
        return tuple(found)
