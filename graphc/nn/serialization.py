"""States on disk: safetensors files (https://huggingface.co/docs/safetensors), and the files of torch.save.

In: a mapping of names to arrays. Out: a safetensors file that PyTorch and others read; back from it, or from a .pth file
of tensors, of which no code is ever run.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import GraphcError
from ..ir.location import here
from .torch_file import read_torch_file


def save_state(state: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Write a state_dict. Raises GraphcError for what is no array, and for a file that cannot be written."""
    if not isinstance(state, Mapping):
        raise GraphcError(
            f"save_state: expected arrays by name, such as program.state_dict(), not {type(state).__name__}", here()
        )
    arrays = {name: np.asarray(array) for name, array in state.items()}
    for name, array in arrays.items():
        if not isinstance(name, str) or array.dtype.kind in "OUSmM":
            raise GraphcError(
                f"save_state: {name!r} is {state[name]!r:.60}; expected an array of numbers under a string", here()
            )
    try:
        save_file({name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}, path)
    except (SafetensorError, OSError) as error:
        raise GraphcError(f"save_state: cannot write {path}: {error}", here()) from None


def load_state(path: str | PathLike[str], entry: str | None = None) -> dict[str, np.ndarray]:
    """Read what `save_state` or any other writer of safetensors wrote, or torch.save wrote of a state_dict.

    entry: the key of the state_dict in a .pth file that holds several things.
    Raises GraphcError when the file is damaged, or holds anything but tensors under names.
    """
    with open(path, "rb") as file:
        start = file.read(9)
    if start.startswith(b"PK\x03\x04"):
        return _tensors(path, read_torch_file(path), entry)
    if start[:1] == b"\x80" and start[8:] != b"{":  # a header of safetensors is JSON, after its length in 8 bytes
        raise GraphcError(
            f"{path} is a bare pickle, such as torch.save wrote before version 1.6; it could run code when it is read: load "
            "and save it again with a newer PyTorch, or as safetensors"
        )
    if entry is not None:
        raise GraphcError(f"{path} is no file of torch.save, so it has no entry {entry!r}")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise GraphcError(f"{path} is no safetensors file: {error}") from None


def _tensors(path: str | PathLike[str], saved: Any, entry: str | None) -> dict[str, np.ndarray]:
    if entry is not None:
        if not isinstance(saved, dict) or entry not in saved:
            raise GraphcError(f"{path} has no entry {entry!r}")
        saved = saved[entry]
    if not isinstance(saved, dict):
        raise GraphcError(f"{path} holds a {type(saved).__name__}, not a state_dict")
    other = [name for name, value in saved.items() if not (isinstance(name, str) and isinstance(value, np.ndarray))]
    if other:
        nested = ", ".join(repr(name) for name in other if isinstance(saved[name], dict))
        fix = f"; load_state(path, entry=...) reads one of {nested}" if nested else ""
        raise GraphcError(f"{path}: {', '.join(map(repr, other[:5]))} are no tensors under names{fix}")
    return dict(saved)
