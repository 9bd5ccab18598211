"""How good predictions are: accuracy, top-k, confusion matrix, F1, area under the ROC curve.

In: predictions and true classes, as arrays over all samples. Out: floats (or arrays). A batch at a time is not enough for most
of them, so `evaluate` collects first. The definitions are those of scikit-learn, and the tests compare.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GraphcError, ShapeError


def accuracy(predictions: Any, targets: Any) -> float:
    """The share of right classes. Predictions are classes (N,), or scores (N, C), of which the largest counts."""
    classes, truth = _classes(predictions, targets)
    return float((classes == truth).mean())


def top_k_accuracy(scores: Any, targets: Any, k: int = 5) -> float:
    """The share of samples whose class is among the k highest of its scores (N, C). Ties count for the lower class."""
    scores, truth = np.asarray(scores), _labels(targets)
    if scores.ndim != 2 or len(scores) != len(truth) or not 1 <= k <= scores.shape[1]:
        raise ShapeError(f"top_k_accuracy: takes scores (N, C), N classes and k <= C; got {scores.shape}, {len(truth)} and {k}")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(1).mean())


def confusion_matrix(predictions: Any, targets: Any, num_classes: int | None = None) -> np.ndarray:
    """int64 (C, C): row i, column j counts samples of class i that were taken for class j."""
    classes, truth = _classes(predictions, targets)
    highest = int(max(classes.max(), truth.max()))
    count = highest + 1 if num_classes is None else num_classes
    if highest >= count or min(classes.min(), truth.min()) < 0:
        raise GraphcError(f"confusion_matrix: classes must be in 0 .. {count - 1}, found {highest}")
    return np.bincount(truth * count + classes, minlength=count * count).reshape(count, count)


def f1_score(predictions: Any, targets: Any, average: str | None = "macro") -> Any:
    """2 * true positives / (2 * true positives + false ones of both kinds), 0 where that is 0 / 0.

    average: "macro" is the mean over classes that occur, "weighted" the same by how often they do, "micro" counts all together,
    "binary" is that of class 1, None the array of all classes.
    """
    table = confusion_matrix(predictions, targets)
    hits, total = np.diag(table), table.sum(0) + table.sum(1)
    scores = np.divide(2 * hits, total, out=np.zeros(len(table)), where=total > 0)
    occurs = total > 0
    if average is None:
        return scores
    if average == "binary":
        return float(scores[1]) if len(scores) > 1 else 0.0
    results = {
        "macro": lambda: scores[occurs].mean(),
        "weighted": lambda: np.average(scores, weights=table.sum(1)),
        "micro": lambda: hits.sum() / table.sum(),
    }
    if average not in results:
        raise GraphcError(f"f1_score: average must be 'macro', 'weighted', 'micro', 'binary' or None, not {average!r}")
    return float(results[average]())


def roc_auc(scores: Any, targets: Any) -> float:
    """The chance that a sample of the class scores higher than another one; ties count half.

    Scores (N,) with targets 0 and 1; or scores (N, C) with classes: the mean over classes, each against the rest.
    """
    scores, truth = np.asarray(scores, np.float64), _labels(targets)
    if scores.ndim not in (1, 2) or len(scores) != len(truth) or np.isnan(scores).any():
        raise ShapeError(f"roc_auc: takes scores (N,) or (N, C), none NaN, and N classes; got {scores.shape} and {len(truth)}")
    if scores.ndim == 1:
        return _area(scores, truth == 1)
    return float(np.mean([_area(scores[:, c], truth == c) for c in range(scores.shape[1])]))


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The statistic of Mann and Whitney: ranks of the positive ones, equal scores at their mean rank."""
    right, wrong = int(positive.sum()), int((~positive).sum())
    if not right or not wrong:
        raise GraphcError("roc_auc: every class must occur among the targets, and not be all of them")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - right * (right + 1) / 2) / (right * wrong))


def _labels(targets: Any) -> np.ndarray:
    labels = np.asarray(targets)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iub":
        raise ShapeError(f"metrics: targets are whole numbers (N,), at least one; got {labels.dtype} {labels.shape}")
    return labels.astype(np.int64)


def _classes(predictions: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    given, truth = np.asarray(predictions), _labels(targets)
    if given.ndim not in (1, 2) or len(given) != len(truth):
        raise ShapeError(
            f"metrics: predictions {given.shape} do not fit {len(truth)} targets; give classes (N,) or scores (N, C)"
        )
    return (given.argmax(1) if given.ndim == 2 else _labels(given)), truth
