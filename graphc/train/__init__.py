"""Training comfort: the loop over batches and epochs, metrics, logs, checkpoints that resume to the same bits.

In: a compiled program and a loader. Out: a trained program and its history. A plain loop over `program.train_step` is as good;
every part here can be used in one. `plot_history` is fetched when first asked for: it needs matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .evaluation import evaluate
from .fit import fit
from .history import History
from .logs import CSVLogger, JSONLLogger
from .metrics import accuracy, confusion_matrix, f1_score, roc_auc, top_k_accuracy
from .stopping import EarlyStopping

if TYPE_CHECKING:
    from .curves import plot_history
    from .tensorboard import TensorBoardLogger

_LATE = {"plot_history": "curves", "TensorBoardLogger": "tensorboard"}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(f"graphc.train.{_LATE[name]}"), name)
    raise AttributeError(f"module 'graphc.train' has no attribute {name!r}")


__all__ = [
    "CSVLogger",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "JSONLLogger",
    "TensorBoardLogger",
    "accuracy",
    "confusion_matrix",
    "evaluate",
    "f1_score",
    "fit",
    "load_checkpoint",
    "plot_history",
    "roc_auc",
    "save_checkpoint",
    "top_k_accuracy",
]
