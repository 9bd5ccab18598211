"""Functions of 1, 2 and 3 spatial dimensions made of one: each has the name, signature and documentation of its own."""

from __future__ import annotations

import inspect

import pytest

import graphc as gc
from graphc.errors import ShapeError
from graphc.nn import functional

FAMILIES = ["conv", "conv_transpose", "max_pool", "max_unpool", "lp_pool", "adaptive_avg_pool", "adaptive_max_pool"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_three_of_a_family(family: str) -> None:
    for rank, space in ((1, "{L}"), (2, "{H, W}"), (3, "{D, H, W}")):
        function = getattr(functional, f"{family}{rank}d")
        assert function.__name__ == function.__qualname__ == f"{family}{rank}d"
        assert next(iter(inspect.signature(function).parameters)) == "input"
        assert space.strip("{}") in function.__doc__ and "{" not in function.__doc__


def test_signatures() -> None:
    parameters = inspect.signature(functional.conv2d).parameters
    assert list(parameters) == ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
    assert parameters["stride"].default == 1 and "divisor_override" not in inspect.signature(functional.avg_pool1d).parameters


def test_refusals_name_the_function() -> None:
    with pytest.raises(ShapeError, match=r"max_pool3d: takes \(N, C, D, H, W\)"):
        functional.max_pool3d(gc.zeros(3, 4), 2)
    with pytest.raises(ShapeError, match="conv1d: stride must be an int or 1 ints"):
        functional.conv1d(gc.zeros(1, 2, 5), gc.zeros(3, 2, 3), stride=(1, 1))
    with pytest.raises(TypeError, match="kernel"):
        functional.max_pool2d(gc.zeros(1, 1, 4, 4), kernel=2)
