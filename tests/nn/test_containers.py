"""Lists and dicts of parameters, the adaptive softmax's refusals, and pooling over windows drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.errors import GraphcError, ShapeError
from graphc.interp.graph import run


def test_parameters_in_a_list_and_a_dict_are_trained_and_saved() -> None:
    net = nn.Module()
    net.rows = nn.ParameterList([np.zeros(2, np.float32), nn.Parameter(np.ones(3, np.float32))])
    net.named = nn.ParameterDict({"scale": np.ones(4, np.float32)})
    net.named["shift"] = nn.Parameter(np.zeros(4, np.float32))
    assert list(net.state_dict()) == ["rows.0", "rows.1", "named.scale", "named.shift"]
    assert [p.shape for p in net.rows[:1]] == [(2,)] and len(list(net.parameters())) == 4
    assert list(net.named) == ["scale", "shift"] and "scale" in net.named and len(net.named) == 2
    assert "float32[4]" in repr(net.named) and "float32[3]" in repr(net.rows)
    net.rows[0] = np.full(2, 5, np.float32)
    del net.named["scale"]
    assert net.state_dict()["rows.0"].tolist() == [5, 5] and list(net.named.keys()) == ["shift"]


@pytest.mark.parametrize("rank", [2, 3])
def test_random_windows(rank: int) -> None:
    shape = (2, 3, 6, 7, 5)[: rank + 2]
    x = gc.placeholder(shape)
    pool = (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)[rank - 2]
    pooled, places = pool(2, output_ratio=0.6, return_indices=True)(x)
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    function = gc.function([x], [pooled, places])
    state: dict[Any, np.ndarray] = {}
    (a, at), (b, _) = (run(function.graph("f"), [array], state) for _ in range(2))
    assert a.shape == (2, 3, 3, 4, 3)[: rank + 2] and not np.array_equal(a, b)
    assert np.array_equal(np.take_along_axis(array.reshape(2, 3, -1), at.reshape(2, 3, -1), 2), a.reshape(2, 3, -1))


REFUSED: list[tuple[type[GraphcError], str, Callable[[], Any]]] = [
    (GraphcError, "must increase", lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5, 5])),
    (GraphcError, "must increase", lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [])),
    (ShapeError, "without N", lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5])(gc.zeros(3, 8), gc.zeros(4, dtype="int64"))),
    (GraphcError, "either output_size", lambda: nn.FractionalMaxPool2d(2)),
    (ShapeError, "do not fit", lambda: nn.FractionalMaxPool2d(3, output_size=5)(gc.zeros(1, 1, 6, 6))),
    (ShapeError, "between 0 and 1", lambda: nn.FractionalMaxPool2d(3, output_ratio=1.5)(gc.zeros(1, 1, 6, 6))),
    (GraphcError, "cannot be called 'forward'", lambda: nn.ParameterDict({"forward": np.zeros(1)})),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refusals(case: int) -> None:
    error, words, action = REFUSED[case]
    with pytest.raises(error) as caught:
        action()
    assert words in str(caught.value)
