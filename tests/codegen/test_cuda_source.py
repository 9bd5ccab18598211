"""The text of CUDA programs: nvcc takes all of it without a warning, it is the same each time, and it says what it does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cuda_report
import numpy as np
import pytest
from cuda_kernels import x
from nets import counter
from programs import optimised, planned
from registry import COMPUTED, DIFFERENTIABLE, forward_graph, gradient_graph, smooth_samples

import graphc as gc
from graphc.codegen.cuda import types
from graphc.codegen.cuda.build import compile_source, missing, nvrtc
from graphc.codegen.cuda.emit import emit_kernel
from graphc.codegen.cuda.map import map_kernel
from graphc.codegen.cuda.prelude import prelude
from graphc.codegen.cuda.target import PRECISIONS, Options, gpu
from graphc.codegen.cuda.words import says
from graphc.codegen.expand import expand_kernel
from graphc.driver import GPU_THREAD, Stages, backend
from graphc.errors import CompileError
from graphc.export_cuda import CudaCompilation
from graphc.ir.kernel import KernelProgram

NVCC = shutil.which("nvcc")
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="no nvcc")
C_COMPILER = shutil.which("cc")
F = gc.nn.functional


def compile_strictly(source: str, arch: str, folder: Path) -> str:
    """What nvcc and ptxas say about a source; warnings are errors."""
    path = folder / "net.cu"
    path.write_text(source)
    options = ["-std=c++17", f"-arch={arch}", "-Werror", "all-warnings", "-Xptxas", "-v", "-c", "-o", str(folder / "net.o")]
    done = subprocess.run([str(NVCC), *options, str(path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[:4000]
    return done.stderr + done.stdout


def registry_program(gradients: bool) -> KernelProgram:
    """A sample or two of every op, or of its gradient."""
    graphs = []
    for op in DIFFERENTIABLE if gradients else COMPUTED:
        samples = smooth_samples(op)[:1] if gradients else list(op.samples())[:2]
        for sample in samples:
            name = f"f{len(graphs)}"
            graphs.append(optimised(gradient_graph(name, op, sample)) if gradients else forward_graph(name, op, sample))
    return planned(graphs, GPU_THREAD)


@needs_nvcc
@pytest.mark.parametrize("arch", ("sm_80", "sm_90"))
@pytest.mark.parametrize("gradients", (False, True))
def test_nvcc_takes_every_op_without_a_warning(gradients: bool, arch: str, tmp_path: Path) -> None:
    compile_strictly(CudaCompilation(registry_program(gradients), "net", gpu(arch)).source, arch, tmp_path)


@dataclass(frozen=True)
class Deeper(Options):
    """Options with one more."""

    depth: int = 1


def square(size: int, dtype: gc.DType) -> tuple[list[gc.Tensor], gc.Tensor]:
    a, b = x(size, size, dtype=dtype), x(size, size, dtype=dtype, name="b")
    return [a, b], a @ b


# What networks spend their time in, at sizes at which the large tiles and long rows are used.
STANDARD: dict[str, Callable[[], tuple[list[gc.Tensor], gc.Tensor]]] = {
    "product": lambda: square(4096, gc.float32),
    "product_transposed": lambda: ([a := x(4096, 4096), b := x(4096, 4096, name="b")], a @ b.T),
    "product_of_halves": lambda: (
        [a := x(2048, 2048, dtype=gc.float16), b := x(2048, 2048, dtype=gc.float16, name="b")],
        a @ b,
    ),
    "product_of_doubles": lambda: ([a := x(512, 512, dtype=gc.float64), b := x(512, 512, dtype=gc.float64, name="b")], a @ b),
    "odd_product": lambda: ([a := x(1000, 513), b := x(513, 1001, name="b")], gc.relu(a @ b)),
    "convolution": lambda: ([a := x(8, 64, 56, 56), w := x(64, 64, 3, 3, name="w")], F.conv2d(a, w, padding=1)),
    "first_convolution": lambda: ([a := x(8, 3, 224, 224), w := x(64, 3, 7, 7, name="w")], F.conv2d(a, w, stride=2, padding=3)),
    "softmax": lambda: ([a := x(4096, 1024)], F.softmax(a, -1)),
    "long_softmax": lambda: ([a := x(64, 50257)], F.softmax(a, -1)),
    "layer_norm": lambda: ([a := x(4096, 1024)], F.layer_norm(a, (1024,))),
    "gelu": lambda: ([a := x(4096, 4096)], F.gelu(a)),
    "columns": lambda: ([a := x(4096, 1024)], a.sum(0)),
    "transposed": lambda: ([a := x(1024, 2048)], a.T * 2.0),
}


# Those of them that tensor cores make where the user allows it, and some more.
TENSOR = {name: build for name, build in STANDARD.items() if "product" in name or "convolution" in name} | {
    "left_transposed": lambda: ([a := x(2048, 2048), b := x(2048, 2048, name="b")], a.T @ b),
    "small_product": lambda: square(256, gc.float32),
    "attention": lambda: (
        [q := x(8, 8, 128, 64, name="q"), k := x(8, 8, 128, 64, name="k"), v := x(8, 8, 128, 64, name="v")],
        F.softmax(q @ k.transpose(2, 3), -1) @ v,
    ),
}


@needs_nvcc
@pytest.mark.parametrize("arch", ("sm_80", "sm_90"))
@pytest.mark.parametrize("precision", PRECISIONS)
def test_standard_kernels_do_not_spill(precision: str, arch: str, tmp_path: Path) -> None:
    texts = []
    for name, build in (STANDARD if precision == "highest" else TENSOR).items():
        stages = Stages({"f": gc.function(*build())}, arch, options=Options(precision))
        for n, launch in enumerate(stages.planned.functions[0].launches):
            texts.append(emit_kernel(map_kernel(expand_kernel(launch.kernel, says), gpu(arch, stages.options)), f"{name}_{n}"))
    text = "\n".join(texts)
    said = compile_strictly(prelude(text) + text, arch, tmp_path)
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    assert len(frames) == len(texts)
    assert set(frames) == {("0", "0", "0")}, said


@needs_nvcc
@pytest.mark.parametrize("model", ("mlp_train", "lenet_train", "gpt_train"))  # tools/cuda_report.py has all of them
def test_networks_do_not_spill(model: str) -> None:
    assert cuda_report.spilling(cuda_report.stages(model, "sm_90").compilation.emit("cu").decode(), "sm_90") == []


_PRINT = """\
import digits_mlp
from graphc.driver import Stages
functions = {name: value for name, value in vars(digits_mlp).items() if type(value).__name__ == "Function"}
print(Stages(functions, "cuda", 0).compilation.source)
"""


def test_the_source_is_the_same_in_every_process() -> None:
    examples = Path(__file__).parents[2] / "examples"
    texts = [
        subprocess.run(
            [sys.executable, "-c", _PRINT],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(examples)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1] and "__global__" in texts[0]


def test_the_source_names_the_values_of_each_kernel_and_has_each_kernel_once() -> None:
    source = gc.compile(f=gc.function([a := x(32, 64)], F.softmax(a, -1)), target="cuda").source
    assert re.search(r"// .*reduce_max.*\n__global__", source)
    symbols = re.findall(r"__global__ void __launch_bounds__\(\d+\) (\w+)\(", source)
    assert len(symbols) == len(set(symbols))


def test_identical_kernels_are_written_once() -> None:
    a, b = x(64, 48), x(64, 48, name="b")
    source = gc.compile(f=gc.function([a], a.sum(1)), g=gc.function([b], b.sum(1)), target="cuda").source
    assert source.count("__global__") == 1 and source.count("GRAPHC_LAUNCH(net_k0") == 2


@pytest.mark.skipif(C_COMPILER is None, reason="no C compiler")
def test_the_header_is_plain_c(tmp_path: Path) -> None:
    given = counter()
    compilation = CudaCompilation(given.program, "net", gpu())
    header = compilation.emit("h").decode()
    (tmp_path / "use.c").write_text(f"{header}\nint32_t (*f)(net *, const float *, float *, void *) = net_predict;\n")
    done = subprocess.run(
        [str(C_COMPILER), "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "use.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(compilation.image.size) in header and "NET_HOST_ARRAYS" in header


# ------------------------------------------------------------------------------------------------------------- further on


@needs_nvcc
def test_ptx_cubins_and_libraries(tmp_path: Path) -> None:
    compilation = CudaCompilation(counter().program, "net", gpu("sm_90"))
    assert b".target sm_90" in compilation.emit("ptx")
    assert compilation.emit("cubin")[:4] == b"\x7fELF"
    library = compilation.emit("so")
    assert library[:4] == b"\x7fELF" and compilation.image.tobytes() in library  # it brings its image with it


@pytest.mark.skipif(nvrtc() is None, reason="no NVRTC (pip install 'graphc[cuda]')")
def test_nvrtc_makes_the_kernels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphc.codegen.cuda.build.nvcc", lambda: None)
    compilation = CudaCompilation(counter().program, "net", gpu("sm_90"))
    assert compilation.emit("cubin")[:4] == b"\x7fELF"
    assert b".visible .entry" in compilation.emit("ptx")
    with pytest.raises(CompileError, match="NVRTC failed for sm_90"):
        compile_source("nonsense;", "cubin", "sm_90", "net")


@needs_nvcc
def test_what_nvcc_says_is_told() -> None:
    with pytest.raises(CompileError, match=r"(?s)nvcc failed.*net\.cu\(1\): error"):
        compile_source("nonsense;", "cubin", "sm_90", "net")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphc.codegen.cuda.build.nvcc", lambda: None)
    monkeypatch.setattr("graphc.codegen.cuda.build.nvrtc", lambda: None)
    assert missing(["cu", "h"]) == ""
    assert "pip install 'graphc[cuda]'" in missing(["cu", "ptx"])
    assert "only it makes libraries" in missing(["so"])
    with pytest.raises(CompileError, match="cannot make cubin: nvcc is not on the PATH"):
        compile_source("", "cubin", "sm_90", "net")


@pytest.mark.parametrize("arch", ("sm_9x", "gfx90a", "sm_", "90"))
def test_unknown_architectures_are_refused(arch: str) -> None:
    with pytest.raises(CompileError, match="is no CUDA architecture; expected one such as sm_75"):
        gpu(arch)


def test_old_architectures_are_refused() -> None:
    with pytest.raises(CompileError, match="sm_60 is too old"):
        gpu("sm_60")


def test_options_that_there_are_not_are_refused() -> None:
    function = gc.function([a := x(2)], a)
    with pytest.raises(CompileError, match=r"precision='half' is unknown; expected one of highest"):
        gc.compile(f=function, target="cuda", precision="half")
    with pytest.raises(CompileError, match="depth=2 is a choice for GPUs, not for 'cpu': leave it out, or say"):
        backend("cpu", deeper := Deeper(depth=2))
    assert backend("sm_90", deeper).target.options is deeper and gpu().options == Options()


def test_names_that_c_cannot_take_are_refused() -> None:
    with pytest.raises(CompileError, match="'size' cannot be a function's name"):
        _ = gc.compile(size=gc.function([a := x(2)], a), target="cuda").source


def test_no_array_is_called_like_what_the_text_uses() -> None:
    names = ("mul", "thread", "fmaf", "task", "greater", "a", "a_")
    inputs = [gc.placeholder((64, 33), gc.float32, name=name) for name in names]
    total = inputs[0].exp()
    for each in inputs[1:]:
        total = gc.maximum(total * each, each)
    source = gc.compile(f=gc.function(inputs, total.sum(1)), target="cuda").source
    (head,) = re.findall(r"__global__[^{]*\{", source)
    params = re.findall(r"GRAPHC_GLOBAL\([^)]*\) (\w+)", head)
    assert len(params) == len(set(params)) == 8 and not {"mul", "thread", "fmaf", "task", "greater"} & set(params)


def test_launches_that_no_gpu_takes_are_refused() -> None:
    a = x(1 << 21, 1 << 22)
    with pytest.raises(CompileError, match=r"\(add\) is too large for a GPU: it takes \d+ blocks"):
        _ = gc.compile(f=gc.function([a], a + 1), target="cuda").source


@pytest.mark.parametrize("dtype", (gc.float32, gc.float64), ids=str)
def test_float_literals_keep_every_bit(dtype: gc.DType) -> None:
    limits = np.finfo(dtype.numpy)
    values = [0.1, -0.0, 1 / 3, limits.max, limits.tiny, limits.smallest_subnormal, np.inf, -np.inf, 2.0**24 + 1]
    for value in np.array(values, dtype.numpy):
        text = types.number(float(value), dtype)
        bits = re.fullmatch(r"bitcast<\w+(?:, \w+)?>\((0x[0-9A-F]+)u?l?l?\)", text)
        unsigned = np.uint32 if dtype is gc.float32 else np.uint64
        read = np.array(int(bits[1], 16), unsigned).view(dtype.numpy) if bits else dtype.numpy.type(text.rstrip("f"))
        assert read.tobytes() == value.tobytes(), text


def test_integer_literals_have_their_own_type() -> None:
    assert types.number(-(2**63), gc.int64) == "int64_t(-9223372036854775807LL - 1)"
    assert types.number(-(2**31), gc.int32) == "int32_t(-2147483647 - 1)"
    assert types.number(5, gc.uint8) == "uint8_t(5)" and types.number(True, gc.bool_) == "true"
    assert types.number(1.0, gc.float16) == "uint16_t(15360)"
