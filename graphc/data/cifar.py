"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), from their binary versions.

In: a folder with the .bin files, or a mirror of the archive. Out: samples (uint8 (32, 32, 3), int64 class). The versions that
are pickles are not read: unpickling runs whatever code a file holds.
"""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import GraphcError
from .download import download as fetch
from .download import mirror_of
from .labelled import LabelledImages, Transform, present

PIXELS = 3 * 32 * 32


class CIFAR10(LabelledImages):
    """Photographs of ten kinds of things, 50000 to learn from (train=True) and 10000 others.

    The files are in ROOT/cifar-10-batches-bin. download: fetch the archive from `mirror`, the address of the folder that has
    it, or from $GRAPHC_DATA_MIRROR/CIFAR10.
    """

    archive: ClassVar[tuple[str, str]] = ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")  # name, MD5
    place: ClassVar[str] = "cifar-10-batches-bin"
    parts: ClassVar[dict[bool, tuple[str, ...]]] = {
        True: tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        False: ("test_batch.bin",),
    }
    labels: ClassVar[int] = 1  # bytes before the pixels; the last one is the class
    count: ClassVar[int] = 10
    classes: Sequence[str] = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip

    def __init__(
        self,
        root: str | PathLike[str],
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
        *,
        mirror: str | None = None,
        quiet: bool = False,
    ) -> None:
        place = Path(root) / self.place
        if download:
            self._download(Path(root), mirror, quiet)
        name = type(self).__name__
        records = [_records(present([place / part], name), self.labels, self.count) for part in self.parts[train]]
        table = np.concatenate(records)
        pixels = table[:, self.labels :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        targets = table[:, self.labels - 1].astype(np.int64)
        super().__init__(np.ascontiguousarray(pixels), targets, transform, target_transform)

    @classmethod
    def _download(cls, root: Path, mirror: str | None, quiet: bool) -> None:
        wanted = [part for parts in cls.parts.values() for part in parts]
        if all((root / cls.place / part).exists() for part in wanted):
            return
        name, checksum = cls.archive
        fetch(f"{mirror_of(cls.__name__, mirror).rstrip('/')}/{name}", root / name, checksum, quiet)
        _extract(root / name, root / cls.place, wanted)


class CIFAR100(CIFAR10):
    """The same with a hundred kinds, in ROOT/cifar-100-binary."""

    archive: ClassVar[tuple[str, str]] = ("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")
    place: ClassVar[str] = "cifar-100-binary"
    parts: ClassVar[dict[bool, tuple[str, ...]]] = {True: ("train.bin",), False: ("test.bin",)}
    labels: ClassVar[int] = 2  # the first one is one of twenty coarse classes
    count: ClassVar[int] = 100
    classes = ()  # their names are in fine_label_names.txt of the archive


def _records(path: Path, labels: int, count: int) -> np.ndarray:
    """uint8 (N, labels + PIXELS)"""
    size = labels + PIXELS
    data = np.fromfile(path, np.uint8)
    if len(data) == 0 or len(data) % size:
        whole = len(data) // size
        raise GraphcError(
            f"{path} is too short: it ends at offset {len(data)}, within record {whole}, which goes on to {(whole + 1) * size}"
        )
    table = data.reshape(-1, size)
    wrong = np.flatnonzero(table[:, labels - 1] >= count)
    if len(wrong):
        at = int(wrong[0])
        raise GraphcError(f"{path}: class {table[at, labels - 1]} at offset {at * size + labels - 1}; there are {count}")
    return table


def _extract(archive: Path, place: Path, wanted: Sequence[str]) -> None:
    """The wanted files, by their last names: nothing an archive says decides where a file is written."""
    place.mkdir(parents=True, exist_ok=True)
    missing = set(wanted)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                source = tar.extractfile(member) if name in missing and member.isfile() else None
                if source is not None:
                    with source, open(place / f"{name}.part", "wb") as target:
                        shutil.copyfileobj(source, target)
                    (place / f"{name}.part").replace(place / name)
                    missing.remove(name)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise GraphcError(f"cannot unpack {archive}: {error}") from error
    if missing:
        raise GraphcError(f"{archive} does not contain {', '.join(sorted(missing))}")
