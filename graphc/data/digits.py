"""1797 real handwritten digits, 8 x 8, from scikit-learn: a data set that needs no download.

In: which part, which size. Out: a data set of (image, label): float32 (1, size, size) in [0, 1] and int64. The test part
is every fifth sample. Importing this module needs scikit-learn and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import GraphcError
from .dataset import TensorDataset
from .transforms import Resize

try:
    from sklearn.datasets import load_digits
except ImportError:
    raise GraphcError("the digits data set comes with scikit-learn, which is not installed: pip install scikit-learn") from None


class Digits(TensorDataset):
    """Handwritten digits: train=True for the four fifths to learn from, train=False for the rest."""

    def __init__(self, train: bool = True, size: int = 8, transform: Callable[[Any], Any] | None = None) -> None:
        images, labels = load_digits(return_X_y=True)
        chosen = (np.arange(len(labels)) % 5 != 4) == train
        planes = (images[chosen] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
        scaled = planes if size == 8 else Resize(size)(planes)
        super().__init__(scaled, labels[chosen].astype(np.int64), transform=transform)
