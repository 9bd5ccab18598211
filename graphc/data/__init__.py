"""Data sets, loaders and transforms: numpy arrays in batches of one static shape.

`Digits` is fetched when first asked for: it needs scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import transforms
from .dataset import Dataset, Subset, TensorDataset, random_split
from .loader import DataLoader, default_collate

if TYPE_CHECKING:
    from .digits import Digits


def __getattr__(name: str) -> Any:
    if name == "Digits":
        return import_module("graphc.data.digits").Digits
    raise AttributeError(f"module 'graphc.data' has no attribute {name!r}")


__all__ = ["DataLoader", "Dataset", "Digits", "Subset", "TensorDataset", "default_collate", "random_split", "transforms"]
