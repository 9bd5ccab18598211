"""Random numbers of transforms, the same however a sample is fetched.

In: a seed, and, while a loader fetches, the epoch, place and number of the sample at hand. Out: numpy generators. Inside of
a loader a draw depends on these alone, so neither the number of workers nor where a run was resumed can change it. Outside
of one, each transform goes on with a generator of its own.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..config import default_seed


class _Sample(threading.local):
    """What this thread fetches: (epoch, place in the epoch, number of the sample), and how often each kind has drawn for it."""

    def __init__(self) -> None:
        self.place: tuple[int, ...] | None = None
        self.drawn: Counter[tuple[int, int]] = Counter()


_sample = _Sample()


@contextmanager
def drawing_for(epoch: int, place: int, index: int) -> Iterator[None]:
    """While one sample is fetched."""
    before = _sample.place, _sample.drawn
    _sample.place, _sample.drawn = (epoch, place, index % 2**63), Counter()
    try:
        yield
    finally:
        _sample.place, _sample.drawn = before


class Draws:
    """The random numbers of one transform: a seed, and a stream for its kind."""

    def __init__(self, kind: str, seed: int | None) -> None:
        self.seed = (default_seed() if seed is None else seed) % 2**63
        self.stream = zlib.crc32(kind.encode())
        self.own = np.random.default_rng((self.seed, self.stream))

    def next(self) -> np.random.Generator:
        """The generator for one application. Transforms of one kind and seed draw apart when both act on a sample."""
        if _sample.place is None:
            return self.own
        key = (self.seed, self.stream)
        nth = _sample.drawn[key]
        _sample.drawn[key] += 1
        return np.random.default_rng((*key, *_sample.place, nth))
