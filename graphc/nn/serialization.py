"""States on disk, as safetensors files (https://huggingface.co/docs/safetensors).

In: a mapping of names to arrays. Out: a file that PyTorch and others read, and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import GraphcError


def save_state(state: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Write a state_dict."""
    save_file({name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in state.items()}, path)


def load_state(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Read what `save_state`, or any other writer of safetensors, wrote."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise GraphcError(f"{path} is no safetensors file: {error}") from None
