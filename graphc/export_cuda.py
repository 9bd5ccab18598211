"""From a planned program of kernels to CUDA C++ source, and further where a compiler for it is found.

In: a KernelProgram with the names and structure its user gave it, and a GPU. Out: the source, its C header and its image
(constants and initial state); PTX, a cubin or a library of the source; or a program on a GPU of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from .codegen import abi
from .codegen.cuda.build import compile_source, missing
from .codegen.cuda.entry import emit_source
from .codegen.cuda.header import emit_header
from .codegen.cuda.plan import Plan, Routine, plan
from .codegen.cuda.target import Gpu
from .errors import CompileError
from .export import signatures
from .ir.kernel import KernelProgram
from .runtime.artifact import depfile, write_files
from .runtime.cuda import GpuProgram, Launch, Recipe
from .runtime.manifest import Signature, Variable


@dataclass(frozen=True)
class CudaCompilation:
    """A planned program on its way to a GPU. The fields are those of `export.Compilation`; `threads` means nothing here."""

    program: KernelProgram
    name: str
    target: Gpu
    structures: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    threads: int | None = None

    kinds = ("cu", "h", "image", "ptx", "cubin", "so")  # what can be written; the first is written where nobody says
    texts = ("cu", "ptx")  # those of them that are for readers, in the order in which they are made

    @cached_property
    def plan(self) -> Plan:
        """Kernels, memory and launches."""
        return plan(self.program, self.name, self.target)

    @cached_property
    def source(self) -> str:
        """The program as CUDA C++."""
        return emit_source(self.program, self.plan, self.name)

    @cached_property
    def image(self) -> np.ndarray:
        """Constants and initial state."""
        return abi.image(self.program)

    def emit(self, kind: str) -> bytes:
        """One of `kinds`. Raises CompileError where the compiler that it takes is missing."""
        if kind == "cu":
            return self.source.encode()
        if kind == "h":
            return emit_header(self.program, self.plan, self.name).encode()
        if kind == "image":
            return self.image.tobytes()
        return compile_source(self.source, kind, self.target.arch, self.name, self.image)

    def write(self, folder: Path, kinds: list[str]) -> list[Path]:
        """The files NAME.kind, with NAME.h, NAME.image and NAME.d beside the source; each is complete or absent.

        Where the compiler for a kind is missing the source is written in its stead, and then CompileError says so.
        """
        base, lacking = folder / self.name, missing(kinds)
        kinds = [kind for kind in kinds if kind in ("cu", "h", "image")] if lacking else kinds
        kinds = ["cu", *kinds] if lacking and "cu" not in kinds else kinds
        beside = ("h", "image") if "cu" in kinds else ("h",) if "so" in kinds else ()
        files = {base.with_suffix(f".{kind}"): self.emit(kind) for kind in dict.fromkeys((*kinds, *beside))}
        if beside:
            files[base.with_suffix(".d")] = depfile(next(iter(files)), self.sources).encode()
        write_files(files)
        if lacking:
            raise CompileError(f"{base.with_suffix('.cu')} was written, and nothing else could be: {lacking}")
        return list(files)

    def load(self, threads: int | None = None) -> GpuProgram:
        """The program, to run on a GPU of this machine; `threads` is ignored. What is missing is told by the first call."""
        return GpuProgram(self.recipe, self._module)

    def signatures(self) -> tuple[Signature, ...]:
        """The functions as those who call them see them."""
        return signatures(self.program, self.name, self.structures)

    def _module(self, arch: str) -> bytes:
        """The kernels as a cubin for the GPU that was found."""
        return compile_source(self.source, "cubin", arch, self.name)

    @cached_property
    def recipe(self) -> Recipe:
        """The plan in words of the runtime."""
        memory, layout = self.plan.memory, abi.layout(self.program)
        offsets = self.program.offsets
        return Recipe(
            name=self.name,
            source=self.source,
            functions=self.signatures(),
            variables=tuple(Variable(v.name, v.dtype, v.shape, offsets[v]) for v in self.program.variables),
            launches=tuple(_launches(routine) for routine in self.plan.routines),
            staged=tuple(routine.staged for routine in self.plan.routines),
            device_size=memory.size,
            constants=memory.constants,
            image=self.image,
            initial=layout.initial,
            state_size=self.program.state_size,
        )


def _launches(routine: Routine) -> tuple[Launch, ...]:
    return tuple(
        Launch(step.symbol, step.grid, step.block, tuple((a.array, a.offset) for a in step.arguments)) for step in routine.steps
    )
