"""Data sets, loaders and transforms: numpy arrays in batches of one static shape.

`Digits` is fetched when first asked for: it needs scikit-learn.
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
    from .digits import Digits

_LATE = {"Digits": "digits"}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(f"graphc.data.{_LATE[name]}"), name)
    raise AttributeError(f"module 'graphc.data' has no attribute {name!r}")


__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Digits",
    "DistributedSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
    "transforms",
]
