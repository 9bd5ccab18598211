"""What only a GPU can tell of the CUDA target: whether results are right there, the same each time, and how fast.

python tools/gpu_check.py --json gpu.json            all of it: one table, and its numbers as JSON
python tools/gpu_check.py registry training          some parts, of registry, training, repeats, speed
python tools/gpu_check.py registry --target cpu      the tool itself, on a machine without a GPU

Inputs are fresh random numbers (`--seed` repeats them), scratch memory is filled with garbage before every checked call.
Times are those of CUDA events around many calls with arrays that lie on the device, medians of several rounds, beside
PyTorch eager and compiled (`pip install torch`) with the same inputs and weights. Each part has a process of its own and at
most `--limit` seconds, and a row that fails leaves the others alone. Exits with 1 where anything is wrong.
"""
# ruff: noqa: E402  (the path comes first)

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from benchmark import with_graphc, with_torch
from benchmark.workloads import WORKLOADS, Input, Workload
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "tests"), str(HERE.parent / "tests" / "codegen"), str(HERE.parent / "examples")]

import digits_mlp
import lenet
import torch
from registry import (
    COMPUTED,
    DIFFERENTIABLE,
    agree,
    agree_on_gradients,
    forward_graph,
    gradient_graph,
    reference,
    smooth_samples,
)

import graphc as gc
from graphc.driver import backend
from graphc.ir.graph import Graph
from graphc.ir.kernel import aligned
from graphc.passes.buffers import plan_buffers
from graphc.passes.fuse import fuse
from graphc.passes.lower import lower
from graphc.passes.manager import run_passes
from graphc.passes.pipelines import fitted
from graphc.runtime.cuda import GpuProgram

POISON = 0xAB
STEPS = 100  # of training that are compared
CALLS, ROUNDS = 20, 7  # timed
LOSS_TOLERANCE = 2e-3
PRODUCT_ERRORS = {"highest": 0.0, "tf32": 2.0**-10, "bfloat16": 2.0**-8}  # of one product, by its operands; results are rounded


@dataclass(frozen=True)
class Row:
    """A line of the table: what was looked at, whether it is right (None: nothing to be right), and a number with its unit."""

    part: str
    what: str
    right: bool | None
    said: str
    numbers: dict[str, float]


# --------------------------------------------------------------------------------------------------------------- registry


def registry(target: str, seed: int) -> Iterator[Row]:
    """Every sample of every op and of its gradient, against its reference."""
    for op in COMPUTED:
        samples = list(op.samples())
        graphs = [forward_graph(f"f{n}", op, sample) for n, sample in enumerate(samples)]

        def judge(n: int, results: list[np.ndarray]) -> None:
            agree(op, samples[n], results[0], reference(op, samples[n]))  # noqa: B023  called before the next op

        yield _judged(op.name, target, graphs, [s.arrays for s in samples], judge)
    for op in DIFFERENTIABLE:
        samples = smooth_samples(op)
        graphs = [gradient_graph(f"f{n}", op, sample) for n, sample in enumerate(samples)]

        def judge_gradients(n: int, results: list[np.ndarray]) -> None:
            agree_on_gradients(graphs[n], samples[n], results)  # noqa: B023

        yield _judged(f"gradient of {op.name}", target, graphs, [s.arrays for s in samples], judge_gradients)


def _judged(
    what: str,
    target: str,
    graphs: Sequence[Graph],
    arrays: Sequence[Sequence[np.ndarray]],
    judge: Callable[[int, list[np.ndarray]], None],
) -> Row:
    wrong = []
    try:
        program = _program(target, graphs)
        for n, given in enumerate(arrays):
            _poison(program)
            try:
                judge(n, getattr(program, f"f{n}")(*given))
            except AssertionError as error:
                wrong.append(f"sample {n}: {' '.join(str(error).split())[:150]}")
    except Exception as error:  # whatever it is, the next op is looked at
        wrong.append(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    said = "; ".join(wrong[:2]) or f"{len(graphs)} samples"
    return Row("registry", what, not wrong, said, {"samples": len(graphs), "wrong": len(wrong)})


def _program(target: str, graphs: Sequence[Graph]) -> Any:
    """Graphs as one program whose functions give lists."""
    chosen = backend(target)
    fused = [fuse(run_passes(graph, fitted(chosen.machine))) for graph in graphs]
    kernels = plan_buffers(lower(fused, chosen.machine), chosen.machine)
    structures = {graph.name: "list" for graph in graphs}
    return chosen.finish(kernels, "net", chosen.target, structures).load()


def _poison(program: Any) -> None:
    """Fill scratch memory with garbage: who reads what nobody wrote shows."""
    if isinstance(program, GpuProgram):
        net = program._net
        driver, recipe = net.open(), net.recipe
        start = recipe.constants + aligned(recipe.initial)
        driver.copy_in(net.address + start, np.full(recipe.device_size - start, POISON, np.uint8))


# --------------------------------------------------------------------------------------------------------------- training


def training(target: str, seed: int) -> Iterator[Row]:
    """The examples, step by step beside the same program on the CPU."""
    for name, declare in _examples():
        yield _tried("training", name, partial(_trained, name, declare, target, seed))


def _trained(name: str, declare: Callable[[], gc.Function], target: str, seed: int) -> Row:
    losses = [_losses(_compiled(declare, where), seed) for where in ("cpu", target)]
    away = np.abs(losses[1] - losses[0]) / np.maximum(np.abs(losses[0]), 1e-3)
    said = f"{STEPS} losses, at most {away.max():.1e} away; last {losses[1][-1]:.4f}"
    falls = bool(losses[1][-10:].mean() < losses[1][:10].mean())
    return Row("training", name, bool(away.max() < LOSS_TOLERANCE) and falls, said, {"away": float(away.max())})


def _tried(part: str, what: str, row: Callable[[], Row]) -> Row:
    """The row, or what went wrong on the way to it."""
    try:
        return row()
    except Exception as error:  # whatever it is, the next row is looked at
        return Row(part, what, False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", {})


def repeats(target: str, seed: int) -> Iterator[Row]:
    """Three runs of training from the start have the same bits."""
    for name, declare in _examples():
        yield _tried("repeats", name, partial(_repeated, name, declare, target, seed))


def _repeated(name: str, declare: Callable[[], gc.Function], target: str, seed: int) -> Row:
    runs = []
    for _ in range(3):
        program = _compiled(declare, target)
        losses = _losses(program, seed)
        runs.append([losses.tobytes(), *(value.tobytes() for _, value in sorted(program.state_dict().items()))])
    same = runs[0] == runs[1] == runs[2]
    said = "the same bits three times" if same else "runs differ"
    return Row("repeats", name, same, said, {"same": float(same)})


def _examples() -> list[tuple[str, Callable[[], gc.Function]]]:
    return [("digits_mlp", lambda: digits_mlp.declare()[0]), ("lenet", lambda: lenet.declare()[0])]


def _compiled(declare: Callable[[], gc.Function], target: str) -> Any:
    return gc.compile(train_step=declare(), target=target, seed=0)


def _losses(program: Any, seed: int) -> np.ndarray:
    """Losses of STEPS steps on a few fresh batches, which can be learnt by heart."""
    generator = np.random.default_rng(seed)
    ports = program.train_step.signature.inputs
    batches = []
    for _ in range(4):
        images = generator.standard_normal(ports[0].shape, dtype=np.float32)
        batches.append((images, generator.integers(0, 10, ports[1].shape, dtype=np.int64)))
    return np.array([float(np.asarray(program.train_step(*batches[n % 4]))) for n in range(STEPS)])


# ------------------------------------------------------------------------------------------------------------------ speed


def speed(target: str, seed: int) -> Iterator[Row]:
    """Times beside PyTorch's, and shares of what the machine can do: its copies, and PyTorch's products."""
    torch.manual_seed(seed)
    copy = _copy_bandwidth()
    yield Row("speed", "copy", None, f"{copy / 1e9:.0f} GB/s", {"bytes_per_second": copy})
    for name, function, tensors in _rows():
        yield _tried("speed", name, partial(_row_function, name, function, tensors, target, copy))
    for dtype, precision in (("float32", "highest"), ("float32", "tf32"), ("bfloat16", "highest")):
        yield _tried("speed", f"product {dtype} {precision}", partial(_product, target, dtype, precision))
    for name in ("mlp_b64", "resnet18_b8", "gpt", "mlp_train", "lenet_train", "resnet18_train", "gpt_train"):
        yield _tried("speed", name, partial(_network, target, WORKLOADS[name]))


def _row_function(name: str, function: gc.Function, tensors: list[torch.Tensor], target: str, copy: float) -> Row:
    moved = sum(t.numel() * t.element_size() for t in tensors) + tensors[0].numel() * tensors[0].element_size()
    ours = _milliseconds(_call(gc.compile(run=function, target=target), tensors))
    share = moved / (ours / 1e3) / copy
    return Row("speed", name, None, f"{ours:.4f} ms, {share:.0%} of the copy", {"ms": ours, "share_of_copy": share})


def _rows() -> list[tuple[str, gc.Function, list[torch.Tensor]]]:
    shape = (8192, 4096)
    x = gc.placeholder(shape, gc.float32, name="x")
    given = [torch.randn(shape, device="cuda")]
    functional = gc.nn.functional
    return [
        ("gelu", gc.function([x], functional.gelu(x)), given),
        ("softmax", gc.function([x], functional.softmax(x, -1)), given),
        ("layer norm", gc.function([x], functional.layer_norm(x, shape[1:])), given),
    ]


def _product(target: str, dtype: str, precision: str) -> Row:
    """A large product beside cuBLAS's, which rounds operands to the same type; right where the error is what is promised."""
    n = 4096
    a, b = (gc.placeholder((n, n), getattr(gc, dtype), name=name) for name in "ab")
    tensors = [torch.randn(n, n, device="cuda", dtype=getattr(torch, dtype)) for _ in range(2)]
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    program = gc.compile(run=gc.function([a, b], a @ b), target=target, precision=precision)
    run = _call(program, tensors)
    right = _is_as_promised(_host(run()), tensors, PRODUCT_ERRORS[precision if dtype == "float32" else dtype])
    ours, theirs = _milliseconds(run), _milliseconds(lambda: tensors[0] @ tensors[1])
    torch.backends.cuda.matmul.allow_tf32 = False
    said = f"{ours:.3f} ms, cuBLAS {theirs:.3f} ms: {theirs / ours:.0%} of its speed, {2 * n**3 / ours / 1e9:.1f} TFLOP/s"
    what = f"product {n} {dtype}" + (f" as {precision}" if precision != "highest" else "")
    return Row("speed", what, right, said, {"ms": ours, "cublas_ms": theirs})


def _is_as_promised(result: np.ndarray, tensors: list[torch.Tensor], rounding: float) -> bool:
    """Whether each sum of products is as near as `gc.compile` says; `rounding` is the error of one product."""
    a, b = (tensor.double() for tensor in tensors)
    away = (torch.as_tensor(result.astype(np.float64), device=a.device) - a @ b).abs()
    return bool((away <= (rounding + (a.shape[1] + 16) * 2.0**-22) * (a.abs() @ b.abs())).all())


def _network(target: str, workload: Workload) -> Row:
    net = with_graphc.build(workload)
    program = gc.compile(run=with_graphc.declare(workload, net), target=target)
    tensors = [_fresh(each) for each in workload.inputs]
    eager, compiled = (_torch_call(workload, tensors, how) for how in (False, True))
    first = _call(program, tensors)
    right: bool | None = None
    if not workload.training:
        ours, theirs = _host(first()), _host(eager())
        right = bool(np.abs(ours - theirs).max() <= 10 * workload.tolerance * np.abs(theirs).max())
    times = {"ms": _milliseconds(first), "eager_ms": _milliseconds(eager), "compiled_ms": _milliseconds(compiled)}
    said = f"{times['ms']:.3f} ms, eager {times['eager_ms']:.3f} ms, torch.compile {times['compiled_ms']:.3f} ms"
    return Row("speed", workload.name, right, said, times)


def _fresh(wanted: Input) -> torch.Tensor:
    if wanted.high:
        return torch.randint(0, wanted.high, wanted.shape, device="cuda")
    return torch.randn(wanted.shape, device="cuda")


def _torch_call(workload: Workload, tensors: list[torch.Tensor], compiled: bool) -> Callable[[], torch.Tensor]:
    net = with_torch.declare(workload).cuda()
    run = torch.compile(net) if compiled else net
    if not workload.training:
        return torch.inference_mode()(lambda: workload.output(torch, run, tensors))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = workload.output(torch, run, tensors)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _host(result: Any) -> np.ndarray:
    return result.cpu().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)


def _call(program: Any, tensors: list[torch.Tensor]) -> Callable[[], Any]:
    return lambda: program.run(*tensors)


def _milliseconds(call: Callable[[], Any]) -> float:
    """The median time of a call, by events on the default stream."""
    for _ in range(3):
        call()
    times = []
    for _ in range(ROUNDS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(CALLS):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / CALLS)
    return median(times)


def _copy_bandwidth() -> float:
    """Bytes read and written a second by a copy on the device."""
    source = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * prod(source.shape) / (_milliseconds(lambda: target.copy_(source)) / 1e3)


# ------------------------------------------------------------------------------------------------------------------- main

PARTS: dict[str, Callable[[str, int], Iterator[Row]]] = {
    "registry": registry,
    "training": training,
    "repeats": repeats,
    "speed": speed,
}


def run_part(part: str, target: str, seed: int, limit: float) -> list[Row]:
    """The rows of a part, which runs in a process of its own: neither a crash nor a hang keeps the others from running."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, "rows")
        options = ["--target", target, "--seed", str(seed), "--lines", str(lines)]
        said = Path(folder, "said")
        with said.open("w") as output:
            child = subprocess.Popen([sys.executable, __file__, part, *options], stdout=output, stderr=subprocess.STDOUT)
            try:
                code = child.wait(limit)
                ended = f"ended with {code}: {(said.read_text().strip().splitlines() or [''])[-1][:200]}" if code else ""
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                ended = f"not done after {limit:.0f} s"
        rows = [Row(**json.loads(line)) for line in lines.read_text().splitlines()] if lines.exists() else []
    return [*rows, Row(part, "(the rest)", False, ended, {})] if ended else rows


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table("part", "what", "right", "", title=title)
    for row in rows:
        table.add_row(row.part, row.what, {True: "yes", False: "NO", None: ""}[row.right], row.said)
    return table


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers there, too.")
@click.option("--seed", type=int, help="Of the random inputs. Default: the time.")
@click.option("--target", default="cuda", show_default=True, help="cuda, or cpu for the tool itself (all parts but speed).")
@click.option("--limit", default=600, show_default=True, help="Seconds after which a part is given up.")
@click.option("--lines", type=click.Path(path_type=Path), hidden=True, help="Run one part in this process, its rows as lines.")
def main(parts: tuple[str, ...], file: Path | None, seed: int | None, target: str, limit: float, lines: Path | None) -> None:
    """Check the CUDA target on the GPU of this machine."""
    seed = int(time.time()) if seed is None else seed
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    if not name and (target == "cuda" or "speed" in parts):
        raise click.ClickException("PyTorch finds no GPU here; --target cpu checks the tool itself, but for speed")
    if lines is not None:
        with lines.open("w", buffering=1) as out:
            out.writelines(json.dumps(asdict(row)) + "\n" for row in PARTS[parts[0]](target, seed))
        return
    console, rows = Console(width=None if sys.stdout.isatty() else 160), []
    date = time.strftime("%Y-%m-%d")
    for part in parts or tuple(part for part in PARTS if name or part != "speed"):
        found = run_part(part, target, seed, limit)
        rows += found
        console.print(_table(f"{name or 'CPU'}, {date}, seed {seed}", found))
        if file is not None:  # after each part, so that what is known is kept
            file.write_text(json.dumps({"gpu": name, "date": date, "seed": seed, "rows": [asdict(row) for row in rows]}))
    sys.exit(any(row.right is False for row in rows))


if __name__ == "__main__":
    main()
