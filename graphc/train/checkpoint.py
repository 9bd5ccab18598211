"""Checkpoints: all variables of a program, and where the training is, in one safetensors file.

In: a program and what else must be remembered, as JSON. Out: a file that is written atomically, readable by anything that
reads safetensors; and back. The variables include the optimiser's and the state of random numbers. A file that is damaged,
truncated or crafted is refused before any of it is used: the format is checked by safetensors, the contents by a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from .. import dtype as dtypes
from ..errors import CallError, GraphcError
from .atomic import write_whole

KEY = "graphc.checkpoint"
VERSION = 1

_DTYPES = {
    "BOOL": dtypes.bool_,
    "U8": dtypes.uint8,
    "I8": dtypes.int8,
    "I16": dtypes.int16,
    "I32": dtypes.int32,
    "I64": dtypes.int64,
    "F16": dtypes.float16,
    "BF16": dtypes.bfloat16,
    "F32": dtypes.float32,
    "F64": dtypes.float64,
}

# What safetensors says of a bad file, and what it means.
_MEANINGS = {
    "header too small": "it is truncated: not even its header is complete",
    "header too large": "its header claims an absurd size; it is no safetensors file (pickled files of PyTorch are not read)",
    "invalid header length": "it is truncated within its header",
    "incomplete metadata": "it is truncated, or has bytes that belong to no tensor",
    "invalid offset": "tensors in it overlap, or leave gaps",
    "invalid shape": "the shape of a tensor does not fit its bytes",
    "overflow": "the shape of a tensor is absurdly large",
    "invalid JSON": "its header is damaged",
    "invalid UTF-8": "its header is damaged",
}


class HasState(Protocol):
    """A compiled program, as far as checkpoints are concerned."""

    def state_dict(self) -> Mapping[str, np.ndarray]: ...

    def load_state_dict(self, values: Mapping[str, object]) -> None: ...


@dataclass(frozen=True)
class Checkpoint:
    """Variables by name, and what else was remembered."""

    state: Mapping[str, np.ndarray]
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def restore(self, program: HasState) -> None:
        """Set all variables of the program. Raises GraphcError, with nothing touched, when they are not its own."""
        try:
            program.load_state_dict(self.state)
        except CallError as error:
            raise GraphcError(f"the checkpoint {self.path or ''} is of another program: {error}") from error


def save_checkpoint(path: str | PathLike[str], program: HasState, meta: Mapping[str, Any] | None = None) -> None:
    """Write the program's variables and `meta` (anything JSON can say) to `path`, whole or not at all."""
    state = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in program.state_dict().items()}
    try:
        text = json.dumps(dict(meta or {}))
    except (TypeError, ValueError) as error:
        raise GraphcError(f"a checkpoint remembers only what JSON can say: {error}") from error
    label = json.dumps({"version": VERSION, "digest": _digest(state, text), "meta": text})
    write_whole(Path(path), save(state, {KEY: label}))


def load_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Read and verify. Raises GraphcError with the file's name and what is wrong with it."""
    where = Path(path)
    try:
        contents = where.read_bytes()
    except OSError as error:
        raise GraphcError(f"cannot read the checkpoint {where}: {error.strerror}") from error
    state = {name: _array(where, name, entry) for name, entry in _tensors(where, contents)}
    version, digest, text = _label(where, contents)
    if version != VERSION:
        raise GraphcError(f"the checkpoint {where} is of version {version}; this graphc reads version {VERSION}")
    if digest != _digest(state, text):
        raise GraphcError(f"the checkpoint {where} is damaged: its contents do not match their digest; use an older one")
    return Checkpoint(state, json.loads(text), where)


def _tensors(path: Path, contents: bytes) -> list[tuple[str, dict[str, Any]]]:
    try:
        found: list[tuple[str, dict[str, Any]]] = deserialize(contents)  # type: ignore[no-untyped-call]
        return found
    except SafetensorError as error:
        said = str(error).removeprefix("Error while deserializing: ")
        meaning = next((text for key, text in _MEANINGS.items() if key in said), "it does not follow the format")
        raise GraphcError(f"the checkpoint {path} is refused: {meaning} (safetensors: {said})") from None


def _array(path: Path, name: str, entry: dict[str, Any]) -> np.ndarray:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise GraphcError(f"the checkpoint {path} is refused: {name!r} is of type {entry['dtype']}, which no variable has")
    return np.frombuffer(entry["data"], dtype.numpy).reshape(entry["shape"])


def _label(path: Path, contents: bytes) -> tuple[Any, str, str]:
    """(version, digest, meta as JSON). Safetensors has verified that the header is JSON."""
    size = int.from_bytes(contents[:8], "little")
    try:
        label = json.loads(json.loads(contents[8 : 8 + size])["__metadata__"][KEY])
        return label["version"], str(label["digest"]), str(label["meta"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise GraphcError(
            f"{path} is a safetensors file, but no checkpoint of a training; gc.load_state reads states alone"
        ) from None


def _digest(state: Mapping[str, np.ndarray], text: str) -> str:
    """SHA-256 of everything, each part with its length, so that no two contents run together alike."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name]
        head = f"{len(name)} {name} {array.dtype.name} {array.shape}".encode()
        digest.update(head + array.tobytes())
    digest.update(text.encode())
    return digest.hexdigest()
