"""What a function does on the device, step by step.

In: a planned program, its name, a GPU. Out: a `Plan`: where everything lies in the memory of a net, the text of every
distinct kernel, and for each function its launches with grids and arguments. The host's text (entry.py) and the runtime of
Python run the same plan.

    device ::= state (variables) constants arena partials staging      one block, the caller's
    image  ::= constants, then the initial state              codegen/abi.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.errors import CompileError
from graphc.ir.expr import Array
from graphc.ir.kernel import (
    ALIGNMENT,
    ARENA,
    CONSTANT,
    VARIABLE,
    Buffer,
    Kernel,
    KernelFunction,
    KernelProgram,
    Launch,
    aligned,
)

from .. import abi
from ..expand import expand_kernel
from ..fingerprint import fingerprint
from .emit import emit_kernel
from .map import map_launches
from .roles import Mapped
from .target import Gpu
from .words import says

BETWEEN = "between"  # the kind of buffers of `Memory.partials`
MOST_BLOCKS = 2**31 - 1  # of a launch


@dataclass(frozen=True)
class Memory:
    """Bytes from the start of a net's device memory. `partials` is between the launches of one kernel; `staging` holds a call's
    arrays where the caller's lie on the host."""

    constants: int
    arena: int
    partials: int
    staging: int
    size: int


@dataclass(frozen=True)
class Argument:
    """A kernel's argument: a caller's array by number, or the net's memory (`array` is None) from `offset`."""

    buffer: Buffer
    array: int | None
    offset: int
    written: bool


@dataclass(frozen=True)
class Step:
    """A launch of `symbol`; `comment` names the graph values it computes."""

    symbol: str
    grid: int
    block: int
    arguments: tuple[Argument, ...]
    comment: str


@dataclass(frozen=True)
class Routine:
    """A function, where each of its caller's buffers lies in staging, and what runs."""

    function: KernelFunction
    staged: tuple[int, ...]
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        return self.function.inputs + self.function.outputs


@dataclass(frozen=True)
class Plan:
    """A whole program on a device."""

    memory: Memory
    kernels: tuple[str, ...]
    routines: tuple[Routine, ...]


def plan(program: KernelProgram, name: str, gpu: Gpu) -> Plan:
    """The plan of a program. Raises CompileError for names that C cannot take."""
    abi.check_names(program, name)
    return _Planner(program, name, gpu).plan()


@dataclass(frozen=True)
class _Piece:
    """A function that runs a kernel or a part of it; its params by their number in the kernel, or as memory between the parts,
    and whether they are written."""

    symbol: str
    grid: int
    block: int
    params: tuple[tuple[int | Buffer, bool], ...]


class _Planner:
    def __init__(self, program: KernelProgram, name: str, gpu: Gpu) -> None:
        self.program, self.name, self.gpu = program, name, gpu
        self.layout = abi.layout(program)
        constants = aligned(program.state_size)
        arena = constants + aligned(self.layout.initial)
        self.texts: list[str] = []
        self.distinct: dict[str, tuple[_Piece, ...]] = {}  # by fingerprint
        self.known: dict[int, tuple[_Piece, ...]] = {}
        launches = [launch for function in program.functions for launch in function.launches]
        self.between: dict[Buffer, int] = {}  # where the memory between launches lies in `partials`
        for launch in launches:
            self.pieces(launch)
        partials = arena + aligned(program.arena_size)
        staging = partials + max((at + aligned(buffer.nbytes) for buffer, at in self.between.items()), default=0)
        widest = max((sum(aligned(b.nbytes) for b in f.inputs + f.outputs) for f in program.functions), default=0)
        self.memory = Memory(constants, arena, partials, staging, max(staging + widest, ALIGNMENT))

    def plan(self) -> Plan:
        routines = tuple(self.routine(function) for function in self.program.functions)
        return Plan(self.memory, tuple(self.texts), routines)

    def routine(self, function: KernelFunction) -> Routine:
        buffers = function.inputs + function.outputs
        staged, at = [], self.memory.staging
        for buffer in buffers:
            staged.append(at)
            at += aligned(buffer.nbytes)
        numbers = {buffer: n for n, buffer in enumerate(buffers)}
        steps = tuple(step for launch in function.launches for step in self.steps(launch, numbers))
        return Routine(function, tuple(staged), steps)

    def steps(self, launch: Launch, numbers: dict[Buffer, int]) -> Iterator[Step]:
        for piece in self.pieces(launch):
            arguments = tuple(
                self.argument(which if isinstance(which, Buffer) else launch.args[which], numbers, written)
                for which, written in piece.params
            )
            yield Step(piece.symbol, piece.grid, piece.block, arguments, " ".join(launch.comment.split()))

    def argument(self, buffer: Buffer, numbers: dict[Buffer, int], written: bool) -> Argument:
        if buffer in numbers:
            return Argument(buffer, numbers[buffer], 0, written)
        if buffer.kind == CONSTANT:
            return Argument(buffer, None, self.memory.constants + self.layout.constants[buffer], written)
        if buffer.kind == BETWEEN:
            return Argument(buffer, None, self.memory.partials + self.between[buffer], written)
        start = {VARIABLE: 0, ARENA: self.memory.arena}[buffer.kind]
        return Argument(buffer, None, start + self.program.offsets[buffer], written)

    def pieces(self, launch: Launch) -> tuple[_Piece, ...]:
        """What runs the kernel of a launch, written when it is first met."""
        kernel = launch.kernel
        if not kernel.task.extent:
            return ()
        if id(kernel) not in self.known:
            key = fingerprint(kernel)
            if key not in self.distinct:
                found = map_launches(expand_kernel(kernel, says), self.gpu)
                places = self.places(kernel, found)
                comment = " ".join(launch.comment.split())
                self.distinct[key] = tuple(self.piece(mapped, places, comment) for mapped in found)
            self.known[id(kernel)] = self.distinct[key]
        return self.known[id(kernel)]

    def places(self, kernel: Kernel, found: tuple[Mapped, ...]) -> dict[Array, int | Buffer]:
        """What the params of a kernel's parts are: numbers of its own params, or memory that the parts have between them."""
        result: dict[Array, int | Buffer] = {param: n for n, param in enumerate(kernel.params)}
        at = 0
        for param in (param for mapped in found for param in mapped.kernel.params):
            if param not in result:
                buffer = result[param] = Buffer(param.name, param.dtype, (param.size,), BETWEEN)
                self.between[buffer] = at
                at += aligned(buffer.nbytes)
        return result

    def piece(self, mapped: Mapped, places: dict[Array, int | Buffer], comment: str) -> _Piece:
        """One of the functions for a kernel."""
        kernel = mapped.kernel
        symbol = f"{self.name}_k{len(self.texts)}_{abi.c_identifier(kernel.name)}"
        if mapped.grid > MOST_BLOCKS:
            blocks = f"{mapped.grid} blocks; a launch has at most {MOST_BLOCKS}"
            raise CompileError(f"{kernel.name} ({comment}) is too large for a GPU: it takes {blocks}")
        self.texts.append((f"// {comment}\n" if comment else "") + emit_kernel(mapped, symbol))
        params = tuple((places[param], param in kernel.written) for param in kernel.params)
        return _Piece(symbol, mapped.grid, mapped.block, params)
