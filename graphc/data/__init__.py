"""Data sets, loaders and transforms: numpy arrays in batches of one static shape.

Data sets made from files are fetched when first asked for: they need scikit-learn (`Digits`), Pillow (`ImageFolder`), or what
downloading needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import transforms
from .dataset import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split
from .fetch import default_collate
from .loader import DataLoader
from .samplers import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

if TYPE_CHECKING:
    from .cifar import CIFAR10, CIFAR100
    from .digits import Digits
    from .folder import ImageFolder
    from .mnist import KMNIST, MNIST, FashionMNIST
    from .text import TextLines

_LATE = {
    "CIFAR10": "cifar",
    "CIFAR100": "cifar",
    "Digits": "digits",
    "FashionMNIST": "mnist",
    "ImageFolder": "folder",
    "KMNIST": "mnist",
    "MNIST": "mnist",
    "TextLines": "text",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(f"graphc.data.{_LATE[name]}"), name)
    raise AttributeError(f"module 'graphc.data' has no attribute {name!r}")


__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KMNIST",
    "MNIST",
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Digits",
    "DistributedSampler",
    "FashionMNIST",
    "ImageFolder",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "TextLines",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
    "transforms",
]
