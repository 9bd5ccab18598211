"""Native code with its description: what a program runs on, wherever the code came from.

In: symbols that resolve to addresses, and a manifest. Out: `Library`, which `Net` and `Program` use without knowing whether
it was compiled in this process or loaded from a file; `Product`, what saving it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .manifest import Manifest


@dataclass(frozen=True)
class Product:
    """A linked library as bytes (constants in place, state yet to be written at manifest.image + manifest.initial), and
    the source files it was made from."""

    code: bytearray
    manifest: Manifest
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Library:
    """`address(symbol)` is an int. Where the code embeds no data, `image` holds the constants, and `set_state` writes the
    initial values into the bytes of a state. `product` makes what `save` writes. `address` keeps the code alive."""

    manifest: Manifest
    address: Callable[[str], int]
    product: Callable[[], Product]
    image: np.ndarray | None = None
    set_state: Callable[[np.ndarray], None] | None = None
