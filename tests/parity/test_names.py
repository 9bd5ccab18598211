"""Every function of torch that is a method too is here as both or as none, and what is missing is missing on purpose."""

from __future__ import annotations

import pytest

import graphc as gc
from graphc.tensor import functions

torch = pytest.importorskip("torch")

FUNCTIONS_ONLY = {"bernoulli", "multinomial"}  # they draw from variables of the program, which tensors do not know
BOTH = sorted(
    name
    for name in set(dir(torch)) & set(dir(torch.Tensor)) - FUNCTIONS_ONLY
    if not name.startswith("_")
    and not name.endswith("_")
    and callable(getattr(torch, name))
    and not isinstance(getattr(torch, name), type)
)


@pytest.mark.parametrize("name", BOTH)
def test_a_function_that_is_a_method(name: str) -> None:
    assert hasattr(gc, name) == hasattr(gc.Tensor, name)


def test_methods_that_are_functions_of_torch_are_functions_here() -> None:
    methods = {name for name in dir(gc.Tensor) if not name.startswith("_") and callable(getattr(torch, name, None))}
    assert [name for name in sorted(methods) if not hasattr(gc, name)] == []


def test_there_are_such_names() -> None:
    assert sum(hasattr(gc, name) for name in BOTH) > 200


def test_functions_are_the_methods_of_their_names() -> None:
    for name, function in vars(functions).items():
        if not name.startswith("_"):
            assert function.__wrapped__ is getattr(gc.Tensor, name) and getattr(gc, name) is function and name in gc.__all__
