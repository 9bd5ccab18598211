"""The commands, and what becomes of errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NoReturn

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from .. import __version__
from ..codegen.abi import c_identifier
from ..codegen.cuda.target import DEFAULT_OPTIONS, PRECISIONS, Options
from ..driver import Stages
from ..errors import GraphcError, VerifyError
from ..export import Compilation
from ..export_cuda import CudaCompilation
from ..runtime.arrays import bind, conform, made_up
from ..runtime.artifact import check_place
from ..runtime.loader import load
from ..runtime.manifest import Signature
from ..runtime.program import CompiledFunction, Program
from ..tuning import Finding, keep, measured
from .arrays import flatten, output_names, read_inputs
from .doctor import findings
from .models import Model, UserError, load_model
from .stages import GPU_STAGES, RUNNABLE, STAGES, run_at, text
from .summary import passes_table

_FILE = click.Path(path_type=Path)
_stages = ", ".join(dict.fromkeys(STAGES + GPU_STAGES))
_written = f"{', '.join(Compilation.kinds)}; with --target cuda {', '.join(CudaCompilation.kinds)}. Default: the first"
_PRECISION = click.option(
    "--precision", type=click.Choice(PRECISIONS), default=PRECISIONS[0], help="With --target cuda: of products of float32."
)
_FREEZE = click.option("--freeze", is_flag=True, help="For inference: variables that no function updates become constants.")
_WINOGRAD = click.option(
    "--winograd/--no-winograd", default=True, help="On CPUs: whether 3x3 convolutions may use Winograd's algorithm."
)
_SCHEDULES = click.option("--schedules", type=_FILE, help="What `graphc tune` measured; all else is estimated.")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    try:
        commands.main(args=arguments, prog_name="graphc", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except UserError as error:
        _leave(str(error), 2)
    except VerifyError:
        _ours()
    except GraphcError as error:
        _leave(f"error: {error}", 2)
    except Exception:
        _ours()
    sys.exit(0)


def _leave(text: str, code: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(code)


def _ours() -> NoReturn:
    _leave(f"{traceback.format_exc()}\nThis is a defect of graphc {__version__}: please report it with the text above.", 1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="graphc")
def commands() -> None:
    """Compile deep-learning models ahead of time to native code.

    MODEL is any Python file that binds gc.function(...) objects to public names at top level.
    """


# ------------------------------------------------------------------------------------------------------------- compile


@commands.command("compile")
@click.argument("model", type=_FILE)
@click.option("-o", "--output", type=_FILE, default=Path("."), help="Folder for the files (made if missing).")
@click.option("--name", help="Name of the program: prefix in C, and file name. Default: the model's file name.")
@click.option("--target", default="cpu", show_default=True, help="cpu (this machine), x86-64-v3, aarch64, cuda, ...")
@click.option("--arch", help="With --target cuda: the architecture to compile for, such as sm_90.")
@click.option("--emit", help=f"What to write, with commas between: {_written}.")
@click.option("--seed", type=int, help="Where the program's random numbers start.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads to use where whoever loads the program does not say.")
@_PRECISION
@click.option("--atomics", is_flag=True, help="With --target cuda: sums over indices in any order, rounded anew each run.")
@_FREEZE
@_WINOGRAD
@_SCHEDULES
def compile_command(
    model: Path,
    output: Path,
    name: str | None,
    target: str,
    arch: str | None,
    emit: str | None,
    seed: int | None,
    threads: int | None,
    precision: str,
    atomics: bool,
    freeze: bool,
    winograd: bool,
    schedules: Path | None,
) -> None:
    """Compile all functions of MODEL into one program: NAME.so with NAME.h and NAME.d; for cuda NAME.cu with NAME.image."""
    if arch is not None and target != "cuda":
        raise click.BadParameter(f"{arch!r}: only --target cuda has architectures", param_hint="--arch")
    with _progress("compiling"):
        options = Options(precision, atomics)
        built = _build(load_model(model), arch or target, name, seed, freeze, options, winograd, schedules)
        compilation = replace(built, threads=threads)
        written = _write(compilation, output, _kinds(emit, compilation.kinds))
    for path in written:
        click.echo(path)


def _kinds(text: str | None, known: tuple[str, ...]) -> list[str]:
    kinds = [known[0]] if text is None else [kind.strip() for kind in text.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in known:
            raise click.BadParameter(f"{kind!r}: expected some of {', '.join(known)}", param_hint="--emit")
    return kinds


def _build(
    model: Model,
    target: str,
    name: str | None = None,
    seed: int | None = None,
    freeze: bool = False,
    options: Options = DEFAULT_OPTIONS,
    winograd: bool = True,
    schedules: Path | None = None,
) -> Compilation | CudaCompilation:
    stages = Stages(model.functions, target, seed, name or c_identifier(model.name), freeze, options, winograd, schedules)
    return replace(stages.compilation, sources=(*model.sources, *stages.tuned))


def _write(compilation: Compilation | CudaCompilation, folder: Path, kinds: list[str]) -> list[Path]:
    """The files, in a folder that is made if it is missing."""
    _make(folder)
    return compilation.write(folder, kinds)


def _make(folder: Path) -> None:
    """Have the folder. Raises UserError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"error: {folder} is a file; -o names a folder") from None
    except OSError as error:
        raise UserError(f"error: cannot make the folder {folder}: {error.strerror}") from None


# ----------------------------------------------------------------------------------------------------------------- run


@commands.command()
@click.argument("program", type=_FILE)
@click.argument("function")
@click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=FILE.npy", help="An array, or a number: lr=0.1")
@click.option("-o", "--output", type=_FILE, help="Folder for the results, one .npy each. Default: print them.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: GRAPHC_THREADS, else the processors one may use.")
@click.option("--emit", metavar="STAGE", help=f"Interpret a model at one of {', '.join(RUNNABLE)}.")
def run(
    program: Path, function: str, inputs: tuple[str, ...], output: Path | None, threads: int | None, emit: str | None
) -> None:
    """Call FUNCTION of PROGRAM: an artifact (.so), or a model (.py), which is compiled first."""
    arrays = read_inputs(inputs)
    signature, results = (
        _call(program, function, arrays, threads) if emit is None else _interpret(program, function, arrays, emit)
    )
    _deliver(dict(zip(output_names(signature), results, strict=True)), output)


def _call(path: Path, function: str, arrays: dict[str, object], threads: int | None) -> tuple[Signature, list[np.ndarray]]:
    with _program(path, threads) as loaded:
        _known(path, function, loaded.functions)
        called = loaded.functions[function]
        return called.signature, flatten(called.signature, called(**arrays))


def _interpret(path: Path, function: str, arrays: dict[str, object], stage: str) -> tuple[Signature, list[np.ndarray]]:
    if path.suffix != ".py":
        raise UserError(f"error: {path} is no model: --emit interprets a Python file, and an artifact is machine code")
    model = load_model(path)
    _known(path, function, model.functions)
    stages = Stages({function: model.functions[function]})
    (signature,) = stages.compilation.signatures()
    values = zip(bind(signature, (), arrays), signature.inputs, strict=True)
    return signature, run_at(stages, stage, function, [conform(value, port, function) for value, port in values])


def _known(path: Path, function: str, functions: Iterable[str]) -> None:
    if function not in functions:
        raise UserError(f"error: {path} has no function {function!r}; it has {', '.join(functions)}")


def _deliver(results: dict[str, np.ndarray], folder: Path | None) -> None:
    if folder is None:
        for name, array in results.items():
            click.echo(f"{name} {array.dtype}{list(array.shape)}\n{array}")
        return
    _make(folder)
    try:
        for name, array in results.items():
            np.save(folder / f"{name}.npy", array)
            click.echo(folder / f"{name}.npy")
    except OSError as error:
        raise UserError(f"error: cannot write the results to {folder}: {error.strerror}") from None


def _program(path: Path, threads: int | None, freeze: bool = False, schedules: Path | None = None) -> Program:
    """A loaded artifact, or a model compiled for this machine."""
    if path.suffix != ".py":
        return load(path, threads)
    with _progress("compiling"):
        program = _build(load_model(path), "cpu", freeze=freeze, schedules=schedules).load(threads)
    assert isinstance(program, Program), program
    return program


# ---------------------------------------------------------------------------------------------------------------- show


@commands.command()
@click.argument("model", type=_FILE)
@click.option(
    "--emit", metavar="STAGE", help=f"One of {', '.join(dict.fromkeys(STAGES + GPU_STAGES))}. Without it: what each pass did."
)
@click.option("-f", "--function", "only", help="Show one function only.")
@click.option("--target", default="cpu", show_default=True, help="cpu (this machine), x86-64-v3, aarch64, cuda, sm_90, ...")
@_PRECISION
@_FREEZE
@_WINOGRAD
def show(model: Path, emit: str | None, only: str | None, target: str, precision: str, freeze: bool, winograd: bool) -> None:
    """Show MODEL at any stage of its compilation."""
    loaded = load_model(model)
    if only is not None:
        _known(model, only, loaded.functions)
    functions = loaded.functions if only is None else {only: loaded.functions[only]}
    stages = Stages(functions, target, None, c_identifier(loaded.name), freeze, Options(precision), winograd)
    with _progress("compiling"):
        shown = text(stages, emit) if emit else passes_table(stages)
    if isinstance(shown, str):
        click.echo(shown)
    else:
        _print(shown)


# --------------------------------------------------------------------------------------------------------------- bench


@commands.command()
@click.argument("program", type=_FILE)
@click.option("--seconds", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Time for each function.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: GRAPHC_THREADS, else the processors one may use.")
@_FREEZE
@_SCHEDULES
def bench(program: Path, seconds: float, threads: int | None, freeze: bool, schedules: Path | None) -> None:
    """Time every function of PROGRAM (.so or .py) on made-up inputs."""
    start = perf_counter()
    with _program(program, threads, freeze, schedules) as loaded:
        ready = perf_counter() - start
        table = Table("function", "median ms", "fastest ms", "calls", title=f"{program}: ready in {ready:.2f} s")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, function in loaded.functions.items():
            with _progress(f"timing {name}"):
                times = _times(function, seconds)
            table.add_row(name, f"{median(times) * 1e3:.4f}", f"{min(times) * 1e3:.4f}", str(len(times)))
    _print(table)


def _times(function: CompiledFunction, seconds: float) -> list[float]:
    generator = np.random.default_rng(0)
    inputs = [made_up(port, generator) for port in function.signature.inputs]
    function(*inputs)
    times: list[float] = []
    while sum(times) < seconds:
        start = perf_counter()
        function(*inputs)
        times.append(perf_counter() - start)
    return times


# ---------------------------------------------------------------------------------------------------------------- tune


@commands.command()
@click.argument("model", type=_FILE)
@click.option("-o", "--output", type=_FILE, help="The file of schedules. Default: MODEL.schedules.json, here.")
@click.option("--seconds", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Time for each contraction.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: GRAPHC_THREADS, else the processors one may use.")
@_FREEZE
@_WINOGRAD
def tune(model: Path, output: Path | None, seconds: float, threads: int | None, freeze: bool, winograd: bool) -> None:
    """Measure how the contractions of MODEL are computed fastest here, for `graphc compile MODEL --schedules FILE`."""
    loaded = load_model(model)
    path = output or Path(f"{loaded.name}.schedules.json")
    check_place(path)
    found: list[Finding] = []
    with _progress("measuring") as status:
        for finding in measured(loaded.functions, threads=threads, seconds=seconds, freeze=freeze, winograd=winograd):
            found.append(finding)
            if status is not None:
                status.update(f"measuring ... {len(found)} contractions, the last one {finding.what}")
    with _progress("comparing the whole"):
        ratio = keep(path, found, loaded.functions, threads=threads, seconds=seconds, freeze=freeze, winograd=winograd)
    count = sum(x.ratio < 1 for x in found)
    kept = f"{count} schedules, the whole {1 / ratio:.2f} times as fast" if ratio < 1 else "none: the whole is no faster"
    table = Table("contraction", "us", "best us", "faster", title=f"{path}: {kept}")
    for column in table.columns[1:]:
        column.justify = "right"
    for x in found:
        table.add_row(x.what, f"{x.seconds * 1e6:.1f}", f"{x.seconds * x.ratio * 1e6:.1f}", f"{1 / x.ratio:.2f}")
    _print(table)


# -------------------------------------------------------------------------------------------------------------- doctor


@commands.command()
def doctor() -> None:
    """Say what graphc finds on this machine, and what is missing."""
    table = Table("what", "found", show_header=False)
    for what, found in findings():
        table.add_row(what, found)
    _print(table)


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 120).print(table)


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """A spinner on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status(f"{what} ...") as status:
        yield status
