"""Settings of a process: what the environment says, and the one source of randomness at build time.

In: environment variables (`GRAPHC_THREADS`, `GRAPHC_DUMP`, `GRAPHC_CHECK`) and `manual_seed`. Out: plain values read at
the moment of use, so a test or a program may set them late. Run-time randomness is not here: it belongs to a compiled
program, which takes only its first seed from `default_seed`.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np

from .errors import GraphcError


class _Seeds:
    """The build-time generator (initial parameters) and the number of the next random stream."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.streams = 0

    @cached_property
    def generator(self) -> np.random.Generator:
        """Made on first use: importing graphc does not load numpy.random."""
        return np.random.default_rng(self.seed)


_seeds = _Seeds(0)


def manual_seed(seed: int) -> None:
    """Start all randomness anew: initial parameters, stream numbers, and the default of `compile(seed=)`."""
    global _seeds
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise GraphcError(f"manual_seed takes an int, not {seed!r}")
    if not -(2**63) <= seed < 2**63:
        raise GraphcError(f"manual_seed takes a 64-bit integer; {seed} does not fit")
    _seeds = _Seeds(int(seed) % 2**63)


def default_seed() -> int:
    """The seed a program starts from unless `compile(seed=)` names another."""
    return _seeds.seed


def generator() -> np.random.Generator:
    """The numpy generator that initial values are drawn from."""
    return _seeds.generator


def next_stream() -> int:
    """A number of its own for each random op, counted from the last `manual_seed`."""
    stream = _seeds.streams
    _seeds.streams += 1
    return stream


def threads() -> int | None:
    """What `GRAPHC_THREADS` says, or None: the machine decides."""
    text = os.environ.get("GRAPHC_THREADS", "").strip()
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise GraphcError(f"GRAPHC_THREADS must be a positive whole number, not {text!r}")
    return int(text)


def dump_directory() -> Path | None:
    """Where `GRAPHC_DUMP` wants the program after every pass, or None."""
    text = os.environ.get("GRAPHC_DUMP", "").strip()
    if not text:
        return None
    folder = Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GraphcError(f"GRAPHC_DUMP: cannot make the folder {text}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise GraphcError(f"GRAPHC_DUMP: the folder {text} is not writable")
    return folder


def check_passes() -> bool:
    """Whether `GRAPHC_CHECK=1` wants both sides of every pass evaluated and compared: slow, and it names the guilty."""
    return os.environ.get("GRAPHC_CHECK", "").strip() not in ("", "0")
