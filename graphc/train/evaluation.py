"""Predictions for a whole data set, and metrics of them.

In: a compiled function, a loader whose batches end with the targets, metrics. Out: numbers by name. What pads the last
batch is left out, so the result does not depend on the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import GraphcError


def evaluate(
    predict: Callable[..., Any], loader: Iterable[Any], metrics: Mapping[str, Callable[[Any, Any], Any]]
) -> dict[str, float]:
    """metric(predictions, targets) by name. A batch is (inputs ..., targets); predict takes the inputs and gives one array."""
    predictions, targets = [], []
    for batch in loader:
        *inputs, truth = batch
        result = predict(*inputs)
        if not isinstance(result, np.ndarray):
            raise GraphcError(f"evaluate: the function must give one array, not a {type(result).__name__}; wrap it")
        valid = getattr(loader, "valid", len(truth))
        predictions.append(result[:valid])
        targets.append(truth[:valid])
    if not predictions:
        raise GraphcError("evaluate: the loader has no batch")
    everything = np.concatenate(predictions), np.concatenate(targets)
    return {name: metric(*everything) for name, metric in metrics.items()}
