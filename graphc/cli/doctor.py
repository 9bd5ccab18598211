"""What graphc finds on this machine.

In: the system. Out: rows of text: what, and what was found; a missing thing says what to do about it.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import llvmlite.binding as llvm

from .. import __version__, config
from ..codegen.cuda.build import missing, nvcc, nvrtc
from ..codegen.link import linkers
from ..codegen.target import host
from ..runtime.host import cpu_name, quota, required_features, thread_count

_PACKAGES = ("numpy", "llvmlite", "networkx", "ml_dtypes", "safetensors", "click", "rich", "ziglang", "torch", "cuda-bindings")


def findings() -> Iterator[tuple[str, str]]:
    """The rows of `graphc doctor`."""
    target = host()
    yield "graphc", f"{__version__} on Python {platform.python_version()} ({sys.executable})"
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "processor", f"{cpu_name()} ({target.cpu}, {target.triple})"
    yield "features", " ".join(required_features(target.triple, target.cpu, target.features)) or "none that code depends on"
    yield "vectors", f"{target.vector_registers} registers of {target.vector_bits} bits"
    yield "caches", f"L1 {target.l1_bytes >> 10} KiB, L2 {target.l2_bytes >> 10} KiB a core"
    yield "threads", _threads()
    found = linkers()
    yield (
        "linkers",
        ", ".join(f"{name} ({' '.join(command)})" for name, command in found.items())
        or ("none: programs run, but cannot be saved; install a C compiler or `pip install ziglang`"),
    )
    yield "CUDA", missing(["ptx"]) or f"nvcc {nvcc() or 'missing'}, NVRTC {'found' if nvrtc() else 'missing'}"
    yield "LLVM", ".".join(map(str, llvm.llvm_version_info))
    yield "packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)


def _threads() -> str:
    limit = quota()
    setting = config.threads()
    return f"{thread_count()} (GRAPHC_THREADS {setting or 'not set'}; quota {limit or 'none'})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
