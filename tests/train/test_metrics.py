"""Metrics, compared with scikit-learn's where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.data import DataLoader, TensorDataset
from graphc.errors import GraphcError
from graphc.train import accuracy, confusion_matrix, evaluate, f1_score, roc_auc, top_k_accuracy

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 5, 200)
SCORES = np.round(RNG.random((200, 5)) + 0.3 * np.eye(5)[TRUTH], 1)  # with ties
GUESS = SCORES.argmax(1)


def test_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    assert accuracy(SCORES, TRUTH) == accuracy(GUESS, TRUTH) == metrics.accuracy_score(TRUTH, GUESS)
    assert (confusion_matrix(GUESS, TRUTH) == metrics.confusion_matrix(TRUTH, GUESS)).all()
    for average in ("macro", "micro", "weighted", None):
        np.testing.assert_allclose(f1_score(GUESS, TRUTH, average), metrics.f1_score(TRUTH, GUESS, average=average))
    assert f1_score(GUESS == 1, TRUTH == 1, "binary") == pytest.approx(metrics.f1_score(TRUTH == 1, GUESS == 1))
    assert roc_auc(SCORES[:, 1], TRUTH == 1) == pytest.approx(metrics.roc_auc_score(TRUTH == 1, SCORES[:, 1]))
    shares = SCORES / SCORES.sum(1, keepdims=True)
    assert roc_auc(shares, TRUTH) == pytest.approx(metrics.roc_auc_score(TRUTH, shares, multi_class="ovr"))
    distinct = SCORES + 1e-6 * RNG.random(SCORES.shape)
    assert top_k_accuracy(distinct, TRUTH, 2) == metrics.top_k_accuracy_score(TRUTH, distinct, k=2)


def test_edges() -> None:
    assert top_k_accuracy(SCORES, TRUTH) == 1 and top_k_accuracy([[1.0, 1.0]], [1], 1) == 0
    assert confusion_matrix([0], [0], 3).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert f1_score([0, 0], [0, 0], "binary") == 0 and f1_score([0, 3], [0, 3]) == 1
    assert roc_auc([0.5, 0.5], [0, 1]) == 0.5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: accuracy([1, 2], [1]), r"predictions \(2,\) do not fit 1"),
        (lambda: accuracy([1.5], [1]), "whole numbers"),
        (lambda: accuracy([], np.zeros(0, int)), "at least one"),
        (lambda: accuracy([1], [[1]]), "whole numbers"),
        (lambda: top_k_accuracy(SCORES, TRUTH, 6), "k <= C"),
        (lambda: confusion_matrix([0], [3], 3), "0 .. 2, found 3"),
        (lambda: f1_score([0], [0], "mean"), "'macro'"),
        (lambda: roc_auc([0.1, 0.2], [1, 1]), "every class"),
        (lambda: roc_auc([0.1, np.nan], [0, 1]), "NaN"),
    ],
)
def test_guards(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        call()


def test_evaluation_leaves_out_the_padding() -> None:
    x = np.arange(10.0)
    seen: list[int] = []

    def predict(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return (batch > 4).astype(np.int64)

    for size in (3, 4, 5, 16):
        loader = DataLoader(TensorDataset(x, (x > 5).astype(np.int64)), size)
        assert evaluate(predict, loader, {"accuracy": accuracy, "count": lambda p, t: len(p)}) == {"accuracy": 0.9, "count": 10}
    assert seen[:4] == [3, 3, 3, 3]
    with pytest.raises(GraphcError, match="one array, not a list"):
        evaluate(lambda batch: [batch], loader, {})
    with pytest.raises(GraphcError, match="no batch"):
        evaluate(predict, [], {})
