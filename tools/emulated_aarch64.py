"""Runs objects compiled for aarch64 on another processor (Unicorn, the processor part of QEMU).

In: a planned program of kernels. Out: a `Net`, whose functions are called on one thread. It is linked here, as the linker
of a user would. What such a processor would not forgive is a `Fault`: arrays, code and stack each end at memory that
nobody may touch. Nothing is said about speed, nor about threads.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence

import numpy as np
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import Relocation, RelocationSection
from elftools.elf.sections import Section, Symbol
from unicorn import UC_ARCH_ARM64, UC_HOOK_CODE, UC_MODE_ARM, Uc, UcError
from unicorn.arm64_const import UC_ARM64_REG_CPACR_EL1, UC_ARM64_REG_LR, UC_ARM64_REG_PC, UC_ARM64_REG_SP, UC_ARM64_REG_X0

from graphc.codegen import abi
from graphc.codegen.link import fill
from graphc.codegen.llvm.build import compile_module
from graphc.codegen.llvm.entry import emit_program
from graphc.codegen.target import named
from graphc.ir.kernel import ALIGNMENT, Buffer, KernelProgram

TARGET = named("aarch64")
PAGE = 4096
IMPORTS, CODE, HEAP = 1 << 20, 1 << 24, 1 << 32  # where these lie, far from each other
STACK_BYTES = 1 << 20
IMPORT_BYTES = 16  # room for one imported function; 0 is where a call returns to
REGISTERS = 8  # arguments in registers; the others are on the stack

# What a relocation writes, by its number in "ELF for the Arm 64-bit Architecture": (value, place) -> bits of the instruction.
INSTRUCTIONS: dict[int, Callable[[int, int], int]] = {
    275: lambda value, place: _page_distance((value >> 12) - (place >> 12)),  # ADR_PREL_PG_HI21
    277: lambda value, place: (value & 0xFFF) << 10,  # ADD_ABS_LO12_NC
    283: lambda value, place: (value - place >> 2) & 0x3FFFFFF,  # CALL26
    **{
        number: lambda value, place, shift=shift: ((value & 0xFFF) >> shift) << 10  # type: ignore[misc]
        for shift, number in enumerate((278, 284, 285, 286, 299))  # LDST8 ... LDST128_ABS_LO12_NC
    },
}
ABS64 = 257


def _page_distance(pages: int) -> int:
    return (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5


class Fault(AssertionError):
    """An access, or an instruction, that a processor refuses."""


class Process:
    """One object in memory of its own, and what it asks of a system."""

    def __init__(self, code: bytes) -> None:
        self.cpu = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self.cpu.reg_write(UC_ARM64_REG_CPACR_EL1, 3 << 20)  # vectors are not trapped
        self._free = HEAP
        self._stack = self.allocate(STACK_BYTES) + STACK_BYTES
        self._imports: list[str] = []
        self.symbols: dict[str, int] = {}
        self._load(ELFFile(io.BytesIO(code)))

    # ------------------------------------------------------------------------------------------------ memory

    def allocate(self, size: int, alignment: int = ALIGNMENT) -> int:
        """The address of `size` bytes that end, as near as their alignment allows, where nothing is."""
        start, whole = self._free, _pages(size)
        self.cpu.mem_map(start, whole)
        self._free += whole + PAGE
        return start + (whole - size) // alignment * alignment

    def write(self, at: int, array: np.ndarray) -> None:
        self.cpu.mem_write(at, np.ascontiguousarray(array).tobytes())

    def read(self, at: int, like: Buffer) -> np.ndarray:
        data = bytes(self.cpu.mem_read(at, like.nbytes))
        return np.frombuffer(data, like.dtype.numpy).reshape(like.shape).copy()

    # ------------------------------------------------------------------------------------------------ linking

    def _load(self, file: ELFFile) -> None:
        places: dict[int, int] = {}
        free = CODE
        for number, section in enumerate(file.iter_sections()):
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"]:
                places[number] = free
                self.cpu.mem_map(free, _pages(section["sh_size"]))
                if section["sh_type"] != "SHT_NOBITS":
                    self.cpu.mem_write(free, section.data())
                free += _pages(section["sh_size"]) + PAGE
        symbols = file.get_section_by_name(".symtab")
        addresses = [self._address(symbol, places) for symbol in symbols.iter_symbols()]
        self.symbols = {s.name: at for s, at in zip(symbols.iter_symbols(), addresses, strict=True) if s.name}
        for section in file.iter_sections():
            if isinstance(section, RelocationSection) and section["sh_info"] in places and not _is_unwinding(file, section):
                for relocation in section.iter_relocations():
                    value = addresses[relocation["r_info_sym"]] + relocation["r_addend"]
                    self._relocate(relocation, places[section["sh_info"]] + relocation["r_offset"], value)
        self.cpu.mem_map(IMPORTS, _pages(len(self._imports) * IMPORT_BYTES))
        self.cpu.hook_add(UC_HOOK_CODE, self._imported, None, IMPORTS, IMPORTS + len(self._imports) * IMPORT_BYTES - 1)

    def _address(self, symbol: Symbol, places: dict[int, int]) -> int:
        where = symbol["st_shndx"]
        if where == "SHN_UNDEF" and symbol.name:
            self._imports.append(symbol.name)
            return IMPORTS + (len(self._imports) - 1) * IMPORT_BYTES
        return symbol["st_value"] + (places.get(where, 0) if isinstance(where, int) else 0)

    def _relocate(self, relocation: Relocation, place: int, value: int) -> None:
        kind = relocation["r_info_type"]
        if kind == ABS64:
            self.cpu.mem_write(place, struct.pack("<Q", value))
            return
        (word,) = struct.unpack("<I", self.cpu.mem_read(place, 4))
        self.cpu.mem_write(place, struct.pack("<I", word | INSTRUCTIONS[kind](value, place)))

    # ------------------------------------------------------------------------------------------------ running

    def call(self, symbol: str, *arguments: int) -> int:
        """What the function returns in its first register. Raises Fault."""
        late = arguments[REGISTERS:]
        top = self._stack - (8 * len(late) + 15) // 16 * 16
        self.cpu.mem_write(top, struct.pack(f"<{len(late)}Q", *late))
        for n, argument in enumerate(arguments[:REGISTERS]):
            self.cpu.reg_write(UC_ARM64_REG_X0 + n, argument)
        self.cpu.reg_write(UC_ARM64_REG_SP, top)
        self.cpu.reg_write(UC_ARM64_REG_LR, 0)
        try:
            self.cpu.emu_start(self.symbols[symbol], 0)
        except UcError as error:
            raise Fault(f"{symbol}: {error} at {self._place(self.cpu.reg_read(UC_ARM64_REG_PC))}") from error
        return int(self.cpu.reg_read(UC_ARM64_REG_X0))

    def _place(self, address: int) -> str:
        below = [(at, name) for name, at in self.symbols.items() if at <= address]
        at, name = max(below, default=(0, "?"))
        return f"{name} + {address - at:#x}"

    def _imported(self, cpu: Uc, address: int, size: int, user: object) -> None:
        """Do what an imported function does, and return from it."""
        name = self._imports[(address - IMPORTS) // IMPORT_BYTES]
        x0, x1, x2 = (cpu.reg_read(UC_ARM64_REG_X0 + n) for n in range(3))
        if name == "memset":
            cpu.mem_write(x0, bytes([x1 & 0xFF]) * x2)
        elif name in ("memcpy", "memmove"):
            cpu.mem_write(x0, bytes(cpu.mem_read(x1, x2)))
        elif name.startswith("pthread_") or name == "getpid":
            cpu.reg_write(UC_ARM64_REG_X0, 0)
        else:
            raise NotImplementedError(name)
        cpu.reg_write(UC_ARM64_REG_PC, cpu.reg_read(UC_ARM64_REG_LR))


def _pages(size: int) -> int:
    """The bytes of the pages that `size` bytes take."""
    return -(-max(size, 1) // PAGE) * PAGE


def _is_unwinding(file: ELFFile, relocations: Section) -> bool:
    return file.get_section(relocations["sh_info"]).name == ".eh_frame"


class Net:
    """A planned program, emitted, compiled, linked and initialised, for one thread."""

    def __init__(self, program: KernelProgram) -> None:
        self.program = program
        code = compile_module(emit_program(program, "net", TARGET, embed_initial=True), TARGET)
        assert isinstance(code, bytes)
        whole = bytearray(code)
        fill(whole, abi.image(program))
        self.process = Process(bytes(whole))
        self.memory = self.process.allocate(self.process.call("net_size"))
        self._ports: dict[Buffer, int] = {}
        self._checked("net_init", self.memory, 1)

    def _checked(self, symbol: str, *arguments: int) -> None:
        code = self.process.call(symbol, *arguments) & 0xFFFFFFFF
        assert code == abi.OK, f"{symbol} gives {code}"

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Copies of all variables."""
        start = self.memory + abi.layout(self.program).state
        return {v.name: self.process.read(start + self.program.offsets[v], v) for v in self.program.variables}

    def call(self, name: str, *arrays: np.ndarray) -> list[np.ndarray]:
        """The outputs of a function. Raises Fault."""
        function = next(f for f in self.program.functions if f.name == name)
        for buffer, array in zip(function.inputs, arrays, strict=True):
            self.process.write(self._port(buffer), array)
        for buffer in function.outputs:
            self.process.write(self._port(buffer), np.full(buffer.nbytes, 0xFF, np.uint8))
        ports: Sequence[int] = [self._port(buffer) for buffer in function.inputs + function.outputs]
        self._checked(f"net_{name}", self.memory, *ports)
        return [self.process.read(self._port(buffer), buffer) for buffer in function.outputs]

    def _port(self, buffer: Buffer) -> int:
        if buffer not in self._ports:
            self._ports[buffer] = self.process.allocate(buffer.nbytes, buffer.dtype.size)
        return self._ports[buffer]
