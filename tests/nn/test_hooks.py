"""Functions that see, and may change, what goes into a module and what comes out."""

from __future__ import annotations

import copy
from typing import Any

import graphc as gc
from graphc import nn


def test_hooks_see_and_change_until_they_are_removed() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    seen: dict[str, Any] = {}

    def keep(module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        seen["shapes"] = (type(module).__name__, arguments[0].shape, result.shape)

    first = net[0].register_forward_hook(keep)
    second = net.register_forward_hook(lambda module, arguments, result: result.sum(1))
    x = gc.placeholder((2, 3))
    assert net(x).shape == (2,) and seen["shapes"] == ("Linear", (2, 3), (2, 4))
    second.remove()
    second.remove()
    first.remove()
    seen.clear()
    assert net(x).shape == (2, 4) and not seen


def test_hooks_before() -> None:
    net = nn.Linear(3, 4)
    with net.register_forward_pre_hook(lambda module, arguments: arguments[0][:1]):
        assert net(gc.placeholder((2, 3))).shape == (1, 4)
    assert net(gc.placeholder((2, 3))).shape == (2, 4)
    assert copy.deepcopy(net)(gc.placeholder((2, 3))).shape == (2, 4)
