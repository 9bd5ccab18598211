"""Loading artifacts: `gc.load`.

In: a path. Out: a Program. Every byte is verified, and the machine compared with what the code needs, before any of it
runs. Needs numpy and ctypes only.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
import platform
import tempfile
import weakref
from pathlib import Path

from ..errors import ArtifactError
from . import host
from .artifact import unpack
from .library import Library, Product
from .manifest import Manifest
from .program import Program


def load(path: str | os.PathLike[str], threads: int | None = None) -> Program:
    """The program saved at `path`, in the state in which it was saved.

    `threads` defaults to GRAPHC_THREADS, else to the processors this process may use; results do not depend on it.
    Raises ArtifactError for a file that is damaged, written for another machine, or newer than this graphc.
    """
    target = Path(path).absolute()
    manifest = verify(target)
    handle = _open(target)
    library = Library(
        manifest,
        lambda symbol: ctypes.cast(handle[symbol], ctypes.c_void_p).value or 0,
        lambda: _product(target, manifest),
    )
    return Program(library, threads)


def verify(path: Path) -> Manifest:
    """The manifest of an artifact that is whole and fits this machine. Raises ArtifactError."""
    try:
        _, manifest = unpack(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except ArtifactError as error:
        raise ArtifactError(f"{path} cannot be loaded: {error.message}") from error
    _check_machine(path, manifest)
    return manifest


def _check_machine(path: Path, manifest: Manifest) -> None:
    if not host.runs(manifest.triple):
        raise ArtifactError(
            f"{path} was compiled for {manifest.triple}; this machine is {platform.machine()} {platform.system()}: "
            "compile it for this machine"
        )
    missing = host.missing_features(manifest.triple, manifest.features)
    if missing:
        raise ArtifactError(
            f"{path} needs a processor with {', '.join(missing)}, which {host.cpu_name()} lacks: compile it here, or for a "
            "generic target such as x86-64-v3"
        )


def _open(path: Path) -> ctypes.CDLL:
    """The library, loaded until nobody refers to it any more: functions may outlive their program.

    Under a name that no earlier file had: the system's loader takes the same name for the same library, replaced or not.
    """
    with tempfile.TemporaryDirectory(prefix="graphc-") as folder:
        alias = Path(folder, path.name)
        try:
            os.symlink(path, alias)
            handle = ctypes.CDLL(str(alias))
        except OSError as error:
            raise ArtifactError(f"the system cannot load {path}: {error}") from error
    unload = weakref.finalize(handle, getattr(_ctypes, "dlclose", lambda handle: None), handle._handle)
    unload.atexit = False
    return handle


def _product(path: Path, manifest: Manifest) -> Product:
    """The library again, as it lies on disk."""
    try:
        raw = path.read_bytes()
        length, found = unpack(raw)
    except (OSError, ArtifactError) as error:
        raise ArtifactError(
            f"saving needs {path}, from which the program was loaded, and it cannot be read: {error}"
        ) from error
    if found != manifest:
        raise ArtifactError(f"saving needs {path}, from which the program was loaded, but it was replaced by another program")
    return Product(bytearray(raw[:length]), manifest)
