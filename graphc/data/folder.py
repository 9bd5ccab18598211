"""Images in folders, one folder for each class.

In: ROOT/CLASS/.../IMAGE. Out: samples (Pillow image, or what `transform` makes of it; class number). Files are read when their
samples are; one that is broken is named, with the offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import GraphcError
from . import pillow
from .dataset import Dataset

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset):
    """classes: the names of the folders, sorted; class_to_idx: their numbers; samples: (path, number), in order of the names.

    loader: how a file becomes an image (default: as RGB, by Pillow).
    """

    def __init__(
        self,
        root: str | PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[Path], Any] = pillow.read,
        extensions: Sequence[str] = EXTENSIONS,
    ) -> None:
        self.root, self.transform, self.target_transform, self.loader = Path(root), transform, target_transform, loader
        folders = sorted(path for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else []
        if not folders:
            raise GraphcError(f"ImageFolder: {self.root} must be a folder with a folder for each class")
        self.classes = [path.name for path in folders]
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples = [(path, i) for i, folder in enumerate(folders) for path in _images(folder, tuple(extensions))]
        self.targets = [number for _, number in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, label = self.samples[index]
        image = self.loader(path)
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )


def _images(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in extensions and path.is_file())
    if not found:
        raise GraphcError(f"ImageFolder: the class {folder} has no image ({', '.join(extensions)})")
    return found
