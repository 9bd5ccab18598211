"""What a compiled program says about itself.

In: facts from the compiler, or JSON from an artifact. Out: `Manifest`: functions with their arrays, variables with their
places, the machine it needs. Holds: `read(write(m)) == m`, and the same manifest gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..dtype import DType, dtype
from ..errors import ArtifactError

FORMAT = 1

BARE, LIST, TUPLE = "bare", "list", "tuple"


@dataclass(frozen=True)
class Port:
    """An array that enters or leaves a function."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: {describe(self.dtype.name, self.shape)}"


@dataclass(frozen=True)
class Signature:
    """A function. `structure` is "bare", "list", "tuple", or the keys of a dict, one for each output."""

    name: str
    symbol: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    structure: str | tuple[str, ...] = BARE

    def __str__(self) -> str:
        results = [describe(port.dtype.name, port.shape) for port in self.outputs]
        if self.structure == BARE:
            result = results[0]
        elif self.structure == LIST:
            result = f"[{', '.join(results)}]"
        elif self.structure == TUPLE:
            result = f"({', '.join(results)})"
        else:
            result = "{" + ", ".join(f"{key}: {text}" for key, text in zip(self.structure, results, strict=True)) + "}"
        return f"{self.name}({', '.join(map(str, self.inputs))}) -> {result}"


@dataclass(frozen=True)
class Variable:
    """A variable and its place: bytes from the start of the state."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Manifest:
    """A whole program.

    state, state_size: bytes of a net's memory that hold the variables. image: where the image starts in the library file
    (-1: not in a file), and initial: where in it the initial state does. parallel: whether any function uses more than
    one thread; threads: the number to use where nobody says. python: version of the entry for Python (direct.py), 0 where
    there is none. errors: what the codes of the entry points mean.
    """

    name: str
    functions: tuple[Signature, ...]
    variables: tuple[Variable, ...]
    state: int
    state_size: int
    initial: int
    triple: str
    features: tuple[str, ...] = ()
    parallel: bool = True
    max_threads: int = 1
    threads: int | None = None
    image: int = -1
    python: int = 0
    errors: Mapping[int, str] = field(default_factory=dict)
    header: str = ""
    graphc: str = ""
    format: int = FORMAT


def describe(dtype_name: str, shape: tuple[int, ...]) -> str:
    """`float32[64, 10]`."""
    return f"{dtype_name}[{', '.join(map(str, shape))}]"


def write(manifest: Manifest) -> bytes:
    """The manifest as JSON."""
    return json.dumps(manifest, default=_plain, sort_keys=True, separators=(",", ":")).encode()


def _plain(value: object) -> object:
    """A DType as its name, a record as its fields."""
    return value.name if isinstance(value, DType) else vars(value)


def read(text: bytes) -> Manifest:
    """The manifest that `write` wrote. Raises ArtifactError for one of a newer format, or malformed."""
    try:
        raw = json.loads(text)
        if raw["format"] > FORMAT:
            raise ArtifactError(
                f"the artifact has format {raw['format']} (written by graphc {raw.get('graphc', '?')}); this graphc reads "
                f"formats up to {FORMAT}; install a newer graphc"
            )
        known = {f.name for f in fields(Manifest)}
        parts = {key: value for key, value in raw.items() if key in known}
        parts["functions"] = tuple(_signature(f) for f in raw["functions"])
        parts["variables"] = tuple(
            Variable(v["name"], dtype(v["dtype"]), tuple(v["shape"]), v["offset"]) for v in raw["variables"]
        )
        parts["features"] = tuple(raw["features"])
        parts["errors"] = {int(code): message for code, message in raw["errors"].items()}
        return Manifest(**parts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"the manifest of the artifact cannot be read ({error!r}); it was not written by graphc") from error


def _signature(raw: Mapping[str, Any]) -> Signature:
    structure = raw["structure"]
    return Signature(
        raw["name"],
        raw["symbol"],
        tuple(_port(p) for p in raw["inputs"]),
        tuple(_port(p) for p in raw["outputs"]),
        structure if isinstance(structure, str) else tuple(structure),
    )


def _port(raw: Mapping[str, Any]) -> Port:
    return Port(raw["name"], dtype(raw["dtype"]), tuple(raw["shape"]))
