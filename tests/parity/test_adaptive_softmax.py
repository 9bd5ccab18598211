"""The adaptive softmax against PyTorch's, from its weights."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import compare, normal, torch

from graphc import nn


@pytest.mark.parametrize("head_bias", [False, True])
def test_adaptive_log_softmax(head_bias: bool) -> None:
    options = {"cutoffs": [5, 10, 15], "div_value": 2.0, "head_bias": head_bias}
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 20, **options).double()
    ours = nn.AdaptiveLogSoftmaxWithLoss(16, 20, **options).to("float64")
    ours.load_state_dict(theirs.state_dict())
    labels = np.array([0, 4, 5, 9, 12, 15, 19])
    compare(lambda x, y: tuple(ours(x, y)), lambda x, y: tuple(theirs(x, y)), normal(7, 16), labels)
    compare(lambda x: (ours.log_prob(x), ours.predict(x)), lambda x: (theirs.log_prob(x), theirs.predict(x)), normal(7, 16))
    compare(lambda x, y: tuple(ours(x, y)), lambda x, y: tuple(theirs(x, y)), normal(16), np.array(11))
