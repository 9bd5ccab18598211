"""From a planned program of kernels to something that runs or ships.

In: a KernelProgram with the names and structure its user gave it, and a target. Out: a `Program` in this process, or the
bytes of any stage behind the kernels: LLVM text, assembly, object, C header, library; or files of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from .codegen import abi
from .codegen.header import emit_header
from .codegen.link import fill, link
from .codegen.llvm.build import Jit, compile_module
from .codegen.llvm.entry import emit_modules, emit_program
from .codegen.llvm.python_entry import has_python
from .codegen.sharing import share, work
from .codegen.target import Target
from .errors import CompileError
from .ir.kernel import Buffer, KernelProgram
from .runtime import artifact
from .runtime.host import required_features, runs, thread_count
from .runtime.library import Library, Product
from .runtime.manifest import BARE, Manifest, Port, Signature, Variable
from .runtime.program import Program

SUFFIXES = {"so": ".so", "obj": ".o", "ll": ".ll", "asm": ".s", "h": ".h"}


@dataclass(frozen=True)
class Compilation:
    """A planned program on its way out.

    `structures` says for each function how its outputs are handed back: "bare", "list", "tuple", or the keys of a dict.
    `sources` are the user's files the program was made from, `threads` the default number for whoever loads it.
    """

    program: KernelProgram
    name: str
    target: Target
    structures: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    threads: int | None = None

    kinds = tuple(SUFFIXES)  # what can be written; the first is written where nobody says
    texts = ("ll", "asm")  # those of them that are for readers, in the order in which they are made

    def load(self, threads: int | None = None) -> Program:
        """The program in this process. Raises CompileError when the target is not this machine."""
        return Program(self.library(), threads)

    def library(self) -> Library:
        """The code in this process, for any number of programs. Raises CompileError when the target is not this machine."""
        if not runs(self.target.triple):
            raise CompileError(f"code for {self.target.triple} does not run here; save it, and load it there")
        frame, kernels = emit_modules(self.program, self.name, self.target)
        jit = Jit(kernels, self.target, plain=[frame], threads=thread_count())
        set_state = partial(abi.set_state, self.program)
        return Library(self.manifest(), jit.address, self.product, abi.constants(self.program), set_state)

    def signatures(self) -> tuple[Signature, ...]:
        """The functions as those who call them see them."""
        return signatures(self.program, self.name, self.structures)

    def product(self) -> Product:
        """A linked library, ready to be saved (runtime/artifact.py)."""
        code = link(self.emit("obj"), self.target)
        return Product(code, self.manifest(fill(code, self.image)), self.sources)

    def write(self, folder: Path, kinds: list[str]) -> list[Path]:
        """The files NAME.kind, and NAME.h and NAME.d beside a library; each is complete or absent."""
        base = folder / self.name
        files = {base.with_suffix(SUFFIXES[kind]): self.emit(kind) for kind in kinds if kind != "so"}
        artifact.write_files(files)
        if "so" not in kinds:
            return list(files)
        path = base.with_suffix(SUFFIXES["so"])
        artifact.save(path, self.product(), self.initial_state())
        return list(dict.fromkeys([path, path.with_suffix(".h"), path.with_suffix(".d"), *files]))

    @cached_property
    def image(self) -> np.ndarray:
        """Constants and initial state."""
        return abi.image(self.program)

    def initial_state(self) -> bytes:
        """The variables as they start."""
        start = abi.layout(self.program).initial
        return self.image[start : start + self.program.state_size].tobytes()

    def emit(self, kind: str) -> bytes:
        """One of `kinds` but "so". Assembly and LLVM text are for readers: they hold no weights."""
        if kind == "h":
            return emit_header(self.program, self.name).encode()
        result = compile_module(emit_program(self.program, self.name, self.target, embed_initial=True), self.target, kind)
        if isinstance(result, str):
            return result.encode()
        code = bytearray(result)
        fill(code, self.image)
        return bytes(code)

    def manifest(self, image: int = -1) -> Manifest:
        """The program described; `image` is where its data starts in the library file."""
        where = abi.layout(self.program)
        offsets = self.program.offsets
        return Manifest(
            name=self.name,
            functions=self.signatures(),
            variables=tuple(Variable(v.name, v.dtype, v.shape, offsets[v]) for v in self.program.variables),
            state=where.state,
            state_size=self.program.state_size,
            initial=where.initial,
            triple=self.target.triple,
            features=required_features(self.target.triple, self.target.cpu, self.target.features),
            parallel=any(share(f, offsets, work).parallel for f in self.program.functions),
            threads=self.threads,
            max_threads=abi.MAX_THREADS,
            image=image,
            python=abi.PYTHON_VERSION if has_python(self.target) else 0,
            errors={code: text for code, (_, text) in abi.ERRORS.items()},
            header=emit_header(self.program, self.name),
            graphc=_version(),
        )


def signatures(program: KernelProgram, name: str, structures: Mapping[str, str | tuple[str, ...]]) -> tuple[Signature, ...]:
    """The functions of a program as those who call them see them."""
    return tuple(
        Signature(
            function.name,
            f"{name}_{function.name}",
            tuple(map(_port, function.inputs)),
            tuple(map(_port, function.outputs)),
            structures.get(function.name, BARE),
        )
        for function in program.functions
    )


def _port(buffer: Buffer) -> Port:
    return Port(buffer.name, buffer.dtype, buffer.shape)


def _version() -> str:
    try:
        return version("graphc")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
