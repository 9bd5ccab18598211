"""MNIST and the data sets made in its image: 28 x 28 pixels, ten classes, four IDX files.

In: a folder, or a mirror to fill it from. Out: samples (uint8 (28, 28), int64 class). Files may be gzipped or not; those that
are downloaded are verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import ClassVar

import numpy as np

from ..errors import GraphcError
from .download import download as fetch
from .download import mirror_of
from .idx import read_idx
from .labelled import LabelledImages, Transform, folder, present


class MNIST(LabelledImages):
    """Handwritten digits, 60000 to learn from (train=True) and 10000 others, in ROOT/MNIST.

    download: fetch what is missing from `mirror`, the address of a folder with the four .gz files, or from
    $GRAPHC_DATA_MIRROR/MNIST.
    """

    files: ClassVar[Mapping[str, str]] = {  # name -> MD5
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }
    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

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
        name = type(self).__name__
        place = folder(root, name)
        if download:
            address = mirror_of(name, mirror)
            for file, checksum in self.files.items():
                fetch(f"{address.rstrip('/')}/{file}", place / file, checksum, quiet)
        part = "train" if train else "t10k"
        images, labels = (
            present([place / f"{part}-{file}.gz", place / f"{part}-{file}", place / "raw" / f"{part}-{file}"], name)
            for file in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        data, targets = read_idx(images), read_idx(labels)
        if data.ndim != 3 or data.dtype != np.uint8 or targets.shape != data.shape[:1]:
            raise GraphcError(
                f"{images} holds {data.dtype} {data.shape}, and {labels} {targets.shape}: no images with a class each"
            )
        if targets.size and targets.max() >= len(self.classes):
            at = int(np.argmax(targets >= len(self.classes)))
            raise GraphcError(f"{labels}: class {targets[at]} at offset {8 + at}; there are {len(self.classes)}")
        super().__init__(data, targets.astype(np.int64), transform, target_transform)


class FashionMNIST(MNIST):
    """Articles of clothing, in ROOT/FashionMNIST; the rest as MNIST."""

    files: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class KMNIST(MNIST):
    """Cursive Japanese characters (Kuzushiji), in ROOT/KMNIST; the rest as MNIST."""

    files: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    }
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
