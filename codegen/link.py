"""From an object to a shared library.

In: object bytes for a target, with room for the image (llvm/entry.py). Out: the bytes of the library, the image in place.
Uses the system's C compiler as the linker, else the one in the `ziglang` package. The same object gives the same bytes.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from graphc.errors import CompileError

from .llvm.entry import MARKER
from .target import Target

_COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-shared", "-nostartfiles", "-Wl,--build-id=none", "-Wl,-s", "-Wl,-z,relro,-z,now,-z,noexecstack")


def linkers() -> dict[str, tuple[str, ...]]:
    """The linkers found here: name -> command."""
    found: dict[str, tuple[str, ...]] = {name: (path,) for name in _COMPILERS if (path := shutil.which(name))}
    if importlib.util.find_spec("ziglang") is not None:
        found["ziglang"] = (sys.executable, "-m", "ziglang", "cc")
    return found


def link(code: bytes, target: Target) -> bytearray:
    """A shared library of one object. Raises CompileError with what the linker said.

    Other systems than Linux are not linked for here: their users take the object, and the linker that comes with them.
    """
    if "linux" not in target.triple:
        raise CompileError(f"no shared library for {target.triple}: graphc links for Linux; take the object (--emit obj)")
    with tempfile.TemporaryDirectory(prefix="graphc-") as folder:
        source, result = Path(folder, "net.o"), Path(folder, "net.so")
        source.write_bytes(code)
        command = [*_command(target), "-o", result.name, source.name]
        environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "LC_ALL": "C"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode or not result.exists():
            raise CompileError(f"linking failed: {' '.join(command)}\n{done.stderr.strip()}")
        return bytearray(result.read_bytes())


def _command(target: Target) -> list[str]:
    found = linkers()
    native = [name for name in _COMPILERS if name in found] if _is_native(target) else []
    if native:
        return [*found[native[0]], *_FLAGS, "-pthread"]
    if "ziglang" in found:
        return [*found["ziglang"], "-target", f"{target.arch}-linux-gnu", *_FLAGS]
    missing = f"none of {', '.join(_COMPILERS)} is on the PATH, " if _is_native(target) else f"it links for {target.triple}, "
    raise CompileError(
        f"no linker found: {missing}and the Python package ziglang is not installed; install a C compiler (for example "
        "apt install gcc) or `pip install ziglang`"
    )


@functools.cache
def _is_native(target: Target) -> bool:
    return platform.machine() == target.arch and platform.system().lower() in target.triple


def image_offset(code: bytes | bytearray) -> int:
    """Where the image starts in a library (or object) that embeds one."""
    at = code.find(MARKER)
    assert at >= 0 and code.find(MARKER, at + 1) < 0, "the library must hold the image's marker once"
    return at + len(MARKER)


def fill(code: bytearray, image: np.ndarray) -> int:
    """Put the image into its place, and give the place."""
    at = image_offset(code)
    code[at : at + image.size] = image.tobytes()
    return at
