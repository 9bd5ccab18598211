"""Data sets of images with a class each, in memory.

In: uint8 images, classes, transforms. Out: samples (image, class). What the readers of files have in common, and how they
say that files are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GraphcError
from .dataset import Dataset

Transform = Callable[[Any], Any]


class LabelledImages(Dataset):
    """Samples (image, class). `data` and `targets` are all of them; `classes` are their names."""

    classes: Sequence[str] = ()

    def __init__(
        self, data: np.ndarray, targets: np.ndarray, transform: Transform | None, target_transform: Transform | None
    ) -> None:
        self.data, self.targets = data, targets
        self.transform, self.target_transform = transform, target_transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.data[index], self.targets[index]
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )

    def get_batch(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
        """A whole batch at once, or None when samples must be transformed one by one."""
        if self.transform is not None or self.target_transform is not None:
            return None
        return self.data[np.asarray(indices)], self.targets[np.asarray(indices)]


def folder(root: str | PathLike[str], name: str) -> Path:
    """Where the files of a data set are."""
    return Path(root) / name


def present(candidates: Sequence[Path], name: str) -> Path:
    """The first of the files that exists."""
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        places = " nor ".join(map(str, candidates))
        raise GraphcError(f"{name}: there is neither {places}; download=True fetches it from a mirror")
    return found
