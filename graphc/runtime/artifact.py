"""The file format of a compiled program, and writing it.

    artifact ::= library manifest trailer
    library  ::= a shared library, loadable as it stands (loaders ignore what follows it)
    manifest ::= JSON (manifest.py)
    trailer  ::= TRAILER: magic, format, lengths of library and manifest, SHA-256 of both, SHA-256 of the trailer so far

In: a Product, or the bytes of a file. Out: files written atomically, or a manifest whose every byte was verified.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
from contextlib import suppress
from pathlib import Path

from ..errors import ArtifactError
from .library import Product
from .manifest import FORMAT, Manifest, read, write

MAGIC = b"graphc artifact\n"
_FIELDS = struct.Struct("<16sQQQ32s")
TRAILER = _FIELDS.size + 32


def pack(code: bytes | bytearray, manifest: Manifest) -> bytes:
    """The bytes of an artifact."""
    text = write(manifest)
    digest = hashlib.sha256(code)
    digest.update(text)
    fields = _FIELDS.pack(MAGIC, FORMAT, len(code), len(text), digest.digest())
    return b"".join((code, text, fields, hashlib.sha256(fields).digest()))


def unpack(raw: bytes | memoryview) -> tuple[int, Manifest]:
    """(length of the library, manifest) of a whole file. Raises ArtifactError for any damage."""
    if len(raw) < TRAILER:
        raise ArtifactError(f"it has only {len(raw)} bytes: truncated, or not an artifact of graphc")
    trailer = bytes(raw[-TRAILER:])
    magic, version, code, text, digest = _FIELDS.unpack(trailer[: _FIELDS.size])
    if magic != MAGIC:
        raise ArtifactError("its end is not that of an artifact: truncated, overwritten, or not written by graphc")
    if hashlib.sha256(trailer[: _FIELDS.size]).digest() != trailer[_FIELDS.size :]:
        raise ArtifactError("its last bytes are damaged (checksum of the trailer)")
    if version > FORMAT:
        raise ArtifactError(f"it has format {version}; this graphc reads formats up to {FORMAT}: install a newer graphc")
    if code + text + TRAILER != len(raw):
        raise ArtifactError(f"it has {len(raw)} bytes where {code + text + TRAILER} were written: truncated or extended")
    if hashlib.sha256(raw[: code + text]).digest() != digest:
        raise ArtifactError("its contents are damaged (checksum of library and manifest)")
    return code, read(bytes(raw[code : code + text]))


def save(path: str | os.PathLike[str], product: Product, state: bytes) -> None:
    """Write PATH, and PATH with the suffixes .h and .d, with `state` as the initial state."""
    manifest = product.manifest
    start = manifest.image + manifest.initial
    product.code[start : start + len(state)] = state
    target = Path(path)
    files = {
        target.with_suffix(".h"): manifest.header.encode(),
        target.with_suffix(".d"): depfile(target, product.sources).encode(),
        target: pack(product.code, manifest),
    }
    if len(files) < 3:
        raise ArtifactError(
            f"cannot write {target}: the suffixes .h and .d belong to the files beside it; call it {target.stem}.so"
        )
    write_files(files)


def depfile(target: Path, sources: tuple[str, ...]) -> str:
    """A make rule: the artifact depends on its sources."""
    escaped = (str(part).replace("$", "$$").replace(" ", "\\ ").replace("#", "\\#") for part in (target, *sources))
    first, *others = escaped
    return f"{first}:{''.join(f' {source}' for source in others)}\n"


def write_files(files: dict[Path, bytes]) -> None:
    """Write all, or none: each is complete in a temporary file beside its place before the first is renamed."""
    ready: list[tuple[str, Path]] = []
    for path in files:
        check_place(path)
    try:
        for path, contents in files.items():
            ready.append((_temporary(path, contents), path))
        for temporary, path in ready:
            os.replace(temporary, path)
    except OSError as error:
        raise ArtifactError(f"cannot write {error.filename or next(iter(files))}: {error.strerror or error}") from error
    finally:
        for temporary, _ in ready:
            with suppress(OSError):
                os.unlink(temporary)


def check_place(path: Path) -> None:
    """Raise ArtifactError where no file can be."""
    if path.is_dir():
        raise ArtifactError(f"cannot write {path}: it is a directory")
    if not path.parent.is_dir():
        raise ArtifactError(f"cannot write {path}: there is no folder {path.parent}; make it first")


def _temporary(path: Path, contents: bytes) -> str:
    name = str(path.parent / f".{path.name}.{secrets.token_hex(8)}")
    try:
        mode = 0o777 if path.suffix == ".so" else 0o666  # as linkers and compilers do
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(contents)
    except OSError as error:
        with suppress(OSError):
            os.unlink(name)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return name
