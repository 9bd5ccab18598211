"""Arrays on the command line.

In: `name=file.npy` or `name=number`. Out: arrays for a call.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..runtime.manifest import Signature
from .models import UserError


def read_inputs(texts: Sequence[str]) -> dict[str, object]:
    """`["x=x.npy", "lr=0.1"]` as arrays and Python values by name."""
    result: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"error: --input {text}: expected name=file.npy or name=number")
        if name in result:
            raise UserError(f"error: --input {name} was given twice")
        result[name] = _read(name, value)
    return result


def _read(name: str, text: str) -> object:
    path = Path(text)
    if path.suffix == ".npy" or path.exists():
        try:
            loaded = np.load(path, allow_pickle=False)
        except (OSError, EOFError, BadZipFile) as error:
            raise UserError(f"error: --input {name}={text}: not a readable .npy file ({error})") from None
        except ValueError:  # its text invites to load pickles
            raise UserError(f"error: --input {name}={text}: not a readable .npy file of numbers; np.save writes one") from None
        if isinstance(loaded, np.ndarray):
            return loaded
        raise UserError(f"error: --input {name}={text}: it holds {len(loaded)} arrays; np.save writes a file of a single one")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise UserError(f"error: --input {name}={text}: there is no such file, and it is no number or list") from None


def output_names(signature: Signature) -> tuple[str, ...]:
    """A file name for each output: the keys of a dict, else the names the compiler gave."""
    return signature.structure if isinstance(signature.structure, tuple) else tuple(p.name for p in signature.outputs)


def flatten(signature: Signature, result: object) -> list[np.ndarray]:
    """What a call returned, as a list."""
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, (list, tuple)) else [np.asarray(result)]
