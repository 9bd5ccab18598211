"""The composition root: user's functions -> graphs -> passes -> kernels -> target -> program.

In: `gc.function` objects by name. Out: a `Program` that runs in this process (`compile`), or `Stages`, from which every
level between the user's file and machine code can be had. This is the only file that knows the whole way.

    graph -> GRAPH passes -> fuse, rematerialise -> lower -> overwrite, slice, place -> Compilation
    Compilation -> llvm -> program, object, library
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, signature
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np

from . import config
from .codegen.cuda.target import DEFAULT_OPTIONS, Options, gpu
from .codegen.target import Target, named
from .errors import CompileError, GraphError, ParseError
from .export import Compilation
from .export_cuda import CudaCompilation
from .function import Function
from .interp.graph import evaluate
from .ir.kernel import KernelProgram
from .ir.program_text import print_program
from .ir.values import Value
from .passes.buffers import overwrite_operands, place_buffers
from .passes.freeze import unchanged
from .passes.fuse import FusedGraph, fuse
from .passes.inspector import Inspector
from .passes.lower import lower
from .passes.machine import Machine, Trees
from .passes.manager import Step, run_passes
from .passes.pipelines import fitted, frozen
from .passes.rematerialise import rematerialise
from .passes.schedule import Scheduler, choose
from .passes.slices import slice_launches
from .passes.tuned import Tuned, from_json
from .runtime.cuda import GpuProgram
from .runtime.program import Program
from .tensor.random import SEED

OPTIONS: dict[str, tuple[type | UnionType, str]] = {
    "target": (str, 'a name such as "cpu", "x86-64-v3" or "cuda"'),
    "seed": (int | np.integer | None, "a whole number, or None"),
    "name": (str, "a string"),
    "freeze": (bool, "True or False"),
    "winograd": (bool, "True or False"),
    "schedules": (str | Path | None, "the path of a file that `graphc tune` or `gc.tune` wrote, or None"),
}
KERNEL_STEPS = ("lower", "overwrite", "slice", "place")  # behind the graph passes


def compile(
    *unnamed: Function,
    target: str = "cpu",
    threads: int | None = None,
    seed: int | None = None,
    name: str = "net",
    freeze: bool = False,
    precision: str = "highest",
    atomics: bool = False,
    winograd: bool = True,
    schedules: str | Path | None = None,
    **functions: Function,
) -> Program | GpuProgram:
    """Compile functions over shared variables into one program; `program.f(arrays)` runs function `f`.

    target: "cpu" is this machine, "cuda" a GPU of NVIDIA's (or one architecture: "sm_90"). threads: None means
    GRAPHC_THREADS, else the processors this process may use, and LLVM takes as many; results do not depend on it. seed:
    where the program's random numbers start (default: `gc.manual_seed`, else 0). freeze: make the variables that no
    function updates constants, folded and packed for the kernels; they are not in `program.state`. precision: what a GPU
    may round the operands of float32 products to (in matrix products and convolutions), so that its tensor cores multiply
    them: "highest" is float32, "tf32" keeps 10 bits of their fraction, "bf16" 7 bits. Sums stay float32, and the sum of K
    products is wrong by at most (2^-10 + (K + 16) 2^-22) sum |a||b| with "tf32", (2^-7 + 2^-16 + (K + 16) 2^-22) sum |a||b|
    with "bf16", in the range of normal numbers. Products of bfloat16 and float16 are exact on tensor cores, which make them
    whatever the precision. atomics: on a GPU, sums over indices (`index_add`, gradients of embeddings and of `x[indices]`)
    are added up in any order, which is faster where many updates go to many places, and rounds differently from run to run.
    winograd: on CPUs, compute float32 convolutions of 3x3 taps and stride 1 by Winograd's algorithm where it is estimated
    to be faster; their errors stay within a few times those of the sum of products, but an element that is infinite or NaN
    reaches further, into all of its tile. schedules: the path of a file that `gc.tune` wrote: how to compute what was
    measured for it; all else is estimated.
    Raises GraphError for something that is no `gc.function`, CompileError for what the target cannot compile, and for a file
    of schedules that is none, or another machine's.
    """
    if unnamed:
        raise GraphError("compile: functions are given by name, under which the program has them: gc.compile(predict=predict)")
    stages = Stages(functions, target, seed, name, freeze, Options(precision, atomics), winograd, schedules)
    return stages.compilation.load(threads)


@dataclass(frozen=True)
class Stages:
    """One compilation, level by level; each is made when it is first asked for, and kept.

    GRAPHC_DUMP=folder writes the graphs between passes, and the kernels; GRAPHC_CHECK=1 compares both sides of each pass
    by numbers.
    """

    functions: Mapping[str, Function]
    target: str = "cpu"
    seed: int | None = None
    name: str = "net"
    freeze: bool = False
    options: Options = DEFAULT_OPTIONS  # for code of GPUs
    winograd: bool = True  # for code of CPUs
    schedules: str | Path | None = None  # for code of CPUs

    def __post_init__(self) -> None:
        if not self.functions:
            raise GraphError("compile: there is nothing to compile; name at least one function: gc.compile(predict=predict)")
        for key, function in self.functions.items():
            if not isinstance(function, Function):
                raise GraphError(_no_function(key, function))
        for option, (kinds, expected) in OPTIONS.items():
            given = getattr(self, option)
            if not isinstance(given, kinds):
                raise GraphError(f"compile: {option}={given!r}: expected {expected}")

    @cached_property
    def steps(self) -> dict[str, list[Step]]:
        """What each graph pass did, by function."""
        check = evaluate if config.check_passes() else None
        graphs = [function.graph(key) for key, function in self.functions.items()]
        passes = fitted(self.backend.machine, in_tiles=self.winograd and self.backend.finish is Compilation)
        if self.freeze:
            passes = frozen({v: self.seeds.get(v, v.attrs["info"].initial) for v in unchanged(graphs)}, passes)
        result = {}
        for key, graph in zip(self.functions, graphs, strict=True):
            inspector = Inspector(verify=2 if check else 0, dump=config.dump_directory(), evaluate=check)
            run_passes(graph, passes, inspector)
            result[key] = inspector.steps
        return result

    @property
    def seeds(self) -> dict[Value, np.ndarray]:
        """What random variables of the program start from."""
        return {SEED.value: np.array(config.default_seed() if self.seed is None else self.seed, np.int64)}

    @cached_property
    def fused(self) -> list[FusedGraph]:
        """Which values share a kernel."""
        return [rematerialise(fuse(steps[-1].after)) for steps in self.steps.values()]

    @cached_property
    def kernels(self) -> KernelProgram:
        """Kernels over buffers, before buffers share memory."""
        return self._seen("lower", lower(self.fused, self.backend.machine, self.seeds, self.scheduler))

    @cached_property
    def scheduler(self) -> Scheduler:
        """What decides how contractions are computed: the cost model, or measured schedules where there are any."""
        if self.schedules is None:
            return choose
        if self.backend.finish is not Compilation:
            raise CompileError(f"schedules are for code of CPUs, not for {self.target!r}: leave {self.schedules} out")
        try:
            found = from_json(Path(self.schedules).read_text())
        except OSError as error:
            raise CompileError(f"schedules: cannot read {self.schedules}: {error.strerror}") from None
        except (ParseError, UnicodeDecodeError) as error:
            raise CompileError(f"schedules: {self.schedules}: {error}; have it written anew by `graphc tune`") from None
        if found and all(problem.machine != self.backend.machine for problem in found):
            raise CompileError(
                f"schedules: {self.schedules} was measured on another kind of processor than {self.target!r}: tune again there"
            )
        return Tuned(found)

    @cached_property
    def overwritten(self) -> KernelProgram:
        """Kernels that write over operands nobody reads again."""
        return self._seen("overwrite", overwrite_operands(self.kernels))

    @cached_property
    def sliced(self) -> KernelProgram:
        """Kernels that follow one another run slice by slice where that keeps memory near."""
        return self._seen("slice", slice_launches(self.overwritten, self.backend.machine))

    @cached_property
    def planned(self) -> KernelProgram:
        """Kernels over planned memory."""
        return self._seen("place", place_buffers(self.sliced))

    @cached_property
    def compilation(self) -> Compilation | CudaCompilation:
        """What can be loaded, emitted or saved."""
        structures = {key: _structure(function) for key, function in self.functions.items()}
        return self.backend.finish(self.planned, self.name, self.backend.target, structures, self.sources)

    @cached_property
    def backend(self) -> Backend:
        """Who compiles for the target."""
        return backend(self.target, self.options)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The user's files in which the functions' values were made. Constants do not count: equal ones are one value,
        whoever made it first."""
        own: set[Value] = set()
        for key, function in self.functions.items():
            for value in function.graph(key).values():
                if value.op.name in ("placeholder", "variable") or not own.isdisjoint(value.operands):
                    own.add(value)
        files = {value.location.file for value in own if value.location is not None}
        return (*sorted(file for file in files if Path(file).is_file()), *self.tuned)

    @property
    def tuned(self) -> tuple[str, ...]:
        """The file of schedules, if there is one."""
        return () if self.schedules is None else (str(self.schedules),)

    def _seen(self, step: str, program: KernelProgram) -> KernelProgram:
        """`program`, written down behind the graphs where GRAPHC_DUMP asks for it."""
        folder = config.dump_directory()
        if folder is not None:
            number = len(next(iter(self.steps.values()))) + 1 + KERNEL_STEPS.index(step)
            (folder / f"{self.name}.{number:02}.{step}.txt").write_text(print_program(program, elide=True))
        return program


def _no_function(key: str, given: object) -> str:
    """What is wrong with something that was given by name."""
    if isinstance(given, bool | int | float | str | None):
        others = [name for name, kind in signature(compile).parameters.items() if kind.kind is Parameter.KEYWORD_ONLY]
        return f"compile: {key}={given!r} is neither a gc.function nor an option; the options are {', '.join(others)}"
    return f"compile: {key} is a {type(given).__name__}, not a gc.function; wrap it: gc.function([x], y)"


def _structure(function: Function) -> str | tuple[str, ...]:
    return function.output_names if function.structure == "dict" else function.structure


def machine(target: Target) -> Machine:
    """The numbers of a target that passes schedule for."""
    memory = target.l1_bytes, target.l2_bytes, target.beyond_l2, target.stream
    return Machine(target.vector_bits // 8, target.vector_registers, *memory)


# A thread of a GPU has no vectors, and its tiles are made when loops are mapped to threads: contractions come as one task
# for each element. Its caches are nobody's own. Tasks of a row or a few columns are blocks: there should be one for each
# multiprocessor, unless a second launch takes longer than what it saves.
GPU_THREAD = Machine(
    vector_bytes=4,
    vector_registers=4,
    l1=1 << 40,
    l2=1 << 40,
    columns=8,
    trees=Trees(tasks=128, elements=64 << 10, columns=16, parts=128, narrow=0),
)


@dataclass(frozen=True)
class Backend:
    """What a target's name stands for: the machine that is scheduled for, and who makes code of planned kernels."""

    target: Any
    machine: Machine
    finish: Callable[..., Compilation | CudaCompilation]


def backend(spec: str, options: Options = DEFAULT_OPTIONS) -> Backend:
    """The backend of a target: a GPU's for "cuda" and architectures such as "sm_90", LLVM's for all others.

    Raises CompileError for options of GPUs on other targets.
    """
    if spec == "cuda" or spec.startswith("sm_"):
        return Backend(gpu(None if spec == "cuda" else spec, options), GPU_THREAD, CudaCompilation)
    if options.given():
        raise CompileError(f'{options.given()} is a choice for GPUs, not for {spec!r}: leave it out, or say target="cuda"')
    return Backend(named(spec), machine(named(spec)), Compilation)
