"""From CUDA C++ source to what GPUs and loaders take.

In: the source of a program, an architecture, a kind: ptx, cubin, or so (a shared library with the host's entry points).
Out: bytes. ptx and cubin are made by nvcc or else by NVRTC (the wheel nvidia-cuda-nvrtc, or a CUDA toolkit), so by nvcc
alone. Raises CompileError with what is missing, or with what the compiler said.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np

from graphc.errors import CompileError

# nvcc keeps what C++ says of floats by default, but for fusing products with sums.
_FLAGS = ("-O3", "-std=c++17", "-fmad=false")
COMPILED = ("ptx", "cubin", "so")  # kinds that take a compiler
_HELP = "install a CUDA toolkit, or compile the source elsewhere"


def missing(kinds: Iterable[str]) -> str:
    """What is missing here for one of `kinds`; empty where all can be made."""
    wanted = set(kinds)
    if "so" in wanted and nvcc() is None:
        return f"nvcc is not on the PATH, and only it makes libraries (--emit so); {_HELP}"
    if wanted & set(COMPILED) and nvcc() is None and nvrtc() is None:
        return f"nvcc is not on the PATH, and NVRTC is not installed; {_HELP}, or `pip install 'graphc[cuda]'`"
    return ""


def compile_source(source: str, kind: str, arch: str, name: str, image: np.ndarray | None = None) -> bytes:
    """The source as `kind`, one of COMPILED; a library holds the image."""
    lacking = missing([kind])
    if lacking:
        raise CompileError(f"cannot make {kind}: {lacking}")
    if kind == "so":
        return _library(source, arch, name, image)
    return _with_nvcc(source, arch, [f"-{kind}"], kind, name) if nvcc() is not None else _with_nvrtc(source, kind, arch, name)


def nvcc() -> str | None:
    """The path of nvcc."""
    return shutil.which("nvcc")


def _with_nvcc(source: str, arch: str, options: list[str], suffix: str, name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="graphc-") as folder:
        Path(folder, f"{name}.cu").write_text(source)
        _run([str(nvcc()), *_FLAGS, f"-arch={arch}", *options, "-o", f"{name}.{suffix}", f"{name}.cu"], folder)
        return Path(folder, f"{name}.{suffix}").read_bytes()


def _library(source: str, arch: str, name: str, image: np.ndarray | None) -> bytes:
    """A library that needs no image at NAME_init: it brings its own."""
    with tempfile.TemporaryDirectory(prefix="graphc-") as folder:
        Path(folder, f"{name}.cu").write_text(source)
        raw = b"" if image is None else image.tobytes()
        Path(folder, f"{name}.image").write_bytes(raw or b"\0")
        options = [f'-DGRAPHC_IMAGE="{name}.image"', "-shared", "-Xcompiler", "-fPIC", "-cudart", "static"]
        _run([str(nvcc()), *_FLAGS, f"-arch={arch}", *options, "-o", f"{name}.so", f"{name}.cu"], folder)
        return Path(folder, f"{name}.so").read_bytes()


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise CompileError(f"nvcc failed: {' '.join(command)}\n{(done.stderr or done.stdout).strip()}")


# -------------------------------------------------------------------------------------------------------------------- NVRTC


@cache
def nvrtc() -> ctypes.CDLL | None:
    """The library NVRTC: from the wheel nvidia-cuda-nvrtc, else from the system."""
    for package in ("nvidia.cuda_nvrtc", "nvidia.cu13"):
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for place in spec.submodule_search_locations or () if spec is not None else ():
            found = sorted(Path(place, "lib").glob("libnvrtc.so.*"))
            if found:
                return ctypes.CDLL(str(found[0]))
    name = ctypes.util.find_library("nvrtc")
    return None if name is None else ctypes.CDLL(name)


def _with_nvrtc(source: str, kind: str, arch: str, name: str) -> bytes:
    library = nvrtc()
    assert library is not None
    program = ctypes.c_void_p()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), f"{name}.cu".encode(), 0, None, None), library)
    flags = [
        f"--gpu-architecture={arch if kind == 'cubin' else arch.replace('sm_', 'compute_')}",
        "--std=c++17",
        "--fmad=false",
    ]
    options = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    try:
        code = library.nvrtcCompileProgram(program, len(flags), options)
        if code:
            log = _read(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program, library)
            raise CompileError(f"NVRTC failed for {arch}:\n{log.decode(errors='replace').strip()}")
        word = "PTX" if kind == "ptx" else "CUBIN"
        return _read(getattr(library, f"nvrtcGet{word}Size"), getattr(library, f"nvrtcGet{word}"), program, library)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(size_of: Callable[..., int], read: Callable[..., int], program: ctypes.c_void_p, library: ctypes.CDLL) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)), library)
    buffer = ctypes.create_string_buffer(size.value)
    _check(read(program, buffer), library)
    return buffer.raw


def _check(code: int, library: ctypes.CDLL) -> None:
    if code:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CompileError(f"NVRTC: {library.nvrtcGetErrorString(code).decode()}")
