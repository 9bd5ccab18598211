"""What a symbolic tensor refuses, and that each refusal names the user's line and the way out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.interp.graph import evaluate


def line() -> int:
    """The line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def message(error: type[GraphcError], action: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught:
        action()
    assert caught.value.location is not None and caught.value.location.file == __file__
    return str(caught.value)


def value(x: gc.Tensor) -> np.ndarray:
    return evaluate([x.value], {})[0]


def test_a_tensor_knows_its_type() -> None:
    x = gc.placeholder((2, 3), gc.float32, name="x")
    assert (x.shape, x.dtype, x.ndim, x.dim(), x.numel(), len(x)) == ((2, 3), gc.float32, 2, 2, 6, 2)
    assert x.size() == (2, 3) and x.size(-1) == 3
    assert repr(x) == "Tensor(placeholder: float32[2, 3])"
    assert [row.shape for row in x] == [(3,), (3,)]


ASKING: dict[str, Callable[[gc.Tensor], Any]] = {
    "bool": bool,
    "float": float,
    "int": int,
    "index": lambda x: [1, 2][x],
    "complex": complex,
    "numpy": lambda x: x.numpy(),
    "asarray": np.asarray,
    "item": lambda x: x.item(),
    "tolist": lambda x: x.tolist(),
    "condition": lambda x: 1 if x > 0 else 2,
}


@pytest.mark.parametrize("name", ASKING)
def test_no_value_before_the_function_runs(name: str) -> None:
    x, made = gc.placeholder((), gc.float32, name="x"), line()
    text = message(GraphError, lambda: ASKING[name](x))
    assert "no value until a compiled function runs" in text and "gc.compile" in text
    assert f"{__file__}:{made}" in text or name == "condition"


def test_other_refusals() -> None:
    x = gc.placeholder((), gc.float32)
    assert "gc.grad" in message(GraphError, x.backward)
    assert "0-d" in message(ShapeError, lambda: list(x))
    assert "0-d" in message(ShapeError, lambda: len(x))
    assert "scatter" in message(ShapeError, lambda: gc.placeholder((3,)).__setitem__(0, 1))


def test_shapes_that_do_not_meet_name_both_lines() -> None:
    a, first = gc.placeholder((64, 10)), line()
    b, second = gc.placeholder((64,)), line()
    text = message(ShapeError, lambda: a + b)
    for part in ("(64, 10)", "(64,)", f"{__file__}:{first}", f"{__file__}:{second}", "unsqueeze(1)", "(64, 1)"):
        assert part in text
    assert "unsqueeze" not in message(ShapeError, lambda: a + gc.placeholder((7,)))


NAMING: dict[str, Callable[[gc.Tensor, gc.Tensor], Any]] = {
    "cat": lambda a, b: gc.cat([a, b]),
    "cat: shapes (64, 10), (64, 10), (64,)": lambda a, b: gc.cat([a, a, b], 1),
    "stack": lambda a, b: gc.stack([a, b]),
    "matmul": lambda a, b: a @ b,
    "einsum: in 'ij,j'": lambda a, b: gc.einsum("ij,j", a, b),
    "einsum: 'ij'": lambda a, b: gc.einsum("ij", a, b),
}


@pytest.mark.parametrize("start", NAMING)
def test_operands_that_do_not_fit_are_named_with_their_lines(start: str) -> None:
    a, first = gc.placeholder((64, 10)), line()
    b, second = gc.placeholder((64,)), line()
    text = message(ShapeError, lambda: NAMING[start](a, b))
    assert f": {start}" in text
    for part in (f"; (64, 10) was made at {__file__}:{first}", f"; (64,) was made at {__file__}:{second}"):
        assert text.count(part) == 1


@pytest.mark.parametrize("refuse", [lambda x: x.reshape(7, -1), lambda x: x.view(3), lambda x: gc.einsum("ijk->i", x)])
def test_the_operand_that_does_not_fit_is_named_with_its_line(refuse: Callable[[gc.Tensor], Any]) -> None:
    x, made = gc.placeholder((64, 10)), line()
    assert f"; (64, 10) was made at {__file__}:{made}" in message(ShapeError, lambda: refuse(x))


def test_the_error_stands_at_the_users_line() -> None:
    a, b = gc.placeholder((2, 3)), gc.placeholder((4, 5))
    with pytest.raises(ShapeError) as caught:
        a @ b
    assert caught.value.location is not None
    assert caught.value.location.line == line() - 2


def test_matmul_proposes_the_transpose() -> None:
    a = gc.placeholder((2, 3))
    assert "second operand transposed" in message(ShapeError, lambda: a @ gc.placeholder((4, 3)))
    assert "first operand transposed" in message(ShapeError, lambda: a @ gc.placeholder((2, 5)))
    assert "leading dimensions" in message(ShapeError, lambda: gc.placeholder((2, 3, 4)) @ gc.placeholder((5, 4, 3)))
    assert "use *" in message(ShapeError, lambda: a @ 2.0)


REFUSED: list[tuple[type[GraphcError], str, Callable[[gc.Tensor], Any]]] = [
    (ShapeError, "cannot become", lambda x: x.reshape(4, 4)),
    (ShapeError, "at most one", lambda x: x.reshape(-1, -1)),
    (ShapeError, "multiple of 4", lambda x: x.reshape(4, -1)),
    (ShapeError, "expected -2 to 1", lambda x: x.sum(2)),
    (ShapeError, "twice", lambda x: x.sum((0, -2))),
    (ShapeError, "each of the 2 dimensions", lambda x: x.permute(0, 0)),
    (ShapeError, "does not stretch", lambda x: x.broadcast_to(3, 3)),
    (ShapeError, "out of range", lambda x: x[2]),
    (ShapeError, "more dimensions", lambda x: x[0, 0, 0]),
    (ShapeError, "reaches from 0 to 5", lambda x: x[:, [0, 5]]),
    (DTypeError, "expected ints", lambda x: x["a"]),
    (DTypeError, "gc.where", lambda x: x[x > 0]),
    (DTypeError, "gc.where", lambda x: x[np.array([True, False])]),
    (DTypeError, "flatnonzero", lambda x: x[[True, False]]),
    (ShapeError, "add up to 3", lambda x: x.split([1, 1], 1)),
    (ShapeError, "must be positive", lambda x: x.split(0)),
    (ShapeError, "must be positive", lambda x: x.chunk(0)),
    (ShapeError, "not within", lambda x: x.narrow(1, 2, 2)),
    (ShapeError, "k = 4", lambda x: x.topk(4)),
    (ShapeError, "extents are ints", lambda x: x.topk(1.5)),
    (ShapeError, "extents are ints", lambda x: x.kthvalue(1.5)),
    (ShapeError, "stop must be ints", lambda x: x.narrow(0, 0, 1.5)),
    (ShapeError, "at most 2 dimensions", lambda x: gc.stack([x, x]).t()),
    (ShapeError, "must agree", lambda x: gc.cat([x, x.T])),
    (ShapeError, "must be equal", lambda x: gc.stack([x, x.T])),
    (ShapeError, "at least one", lambda x: gc.cat([])),
    (ShapeError, "none of the given", lambda x: gc.cat([np.ones(2)])),
    (ShapeError, "behind end_dim", lambda x: x.flatten(1, 0)),
    (ShapeError, "known when the graph is built", lambda x: x.reshape(x)),
    (ShapeError, "no elements to choose", lambda x: x[:0].amax(0)),
    (ShapeError, "no elements to choose", lambda x: x[:0].median(0)),
    (ShapeError, "no elements to choose", lambda x: x[:0].quantile(0.5, 0)),
    (DTypeError, "not defined on bool", lambda x: (x > 0) - (x > 1)),
    (DTypeError, ".float().mean", lambda x: x.long().mean()),
    (DTypeError, ".float().softmax", lambda x: x.long().softmax(1)),
    (DTypeError, "min, max or both", lambda x: x.clamp()),
    (DTypeError, "condition must be bool", lambda x: gc.where(x, x, x)),
    (DTypeError, "none of the operands", lambda x: gc.where(True, 1, 2)),
    (DTypeError, "'tanh'", lambda x: x.gelu("fast")),
    (DTypeError, "cannot make a tensor", lambda x: x + "a"),
    (DTypeError, "gc.stack", lambda x: gc.constant([x, x])),
    (ShapeError, "names 2 operands", lambda x: gc.einsum("ij,jk", x)),
    (ShapeError, "step of the slice of dimension 1", lambda x: x[:, ::0]),
    (DTypeError, "must be integers, not float32", lambda x: gc.nn.functional.cross_entropy(x, x[:, 0])),
    (ShapeError, "does not describe", lambda x: gc.einsum("ijk->i", x)),
    (ShapeError, "both 2 and 3", lambda x: gc.einsum("ij,ij", x, x.T)),
    (ShapeError, "each once", lambda x: gc.einsum("ij->ii", x)),
    (ShapeError, "2 dimensions of", lambda x: x.gather(0, gc.constant([0]))),
    (ShapeError, "reaches beyond", lambda x: x.gather(0, gc.constant([[0, 0, 0, 0]]))),
    (ShapeError, "value must be a number", lambda x: x.index_fill(0, [0], x)),
    (ShapeError, "do not broadcast", lambda x: x.index_put(([0, 1], [0, 1, 2]), 0.0)),
    (ShapeError, "does not fit the", lambda x: x.index_add(0, [0], x[:2])),
    (ShapeError, "reduce is one of", lambda x: x.scatter(0, gc.constant([[0]]), 1.0, "mul")),
    (ShapeError, "at least 2 dimensions", lambda x: x[0].tril()),
    (ShapeError, "must not be 0", lambda x: gc.arange(0, 3, 0)),
    (ShapeError, "not be negative", lambda x: gc.linspace(0, 1, -1)),
    (DTypeError, "labels must be integers", lambda x: gc.one_hot(x, 3)),
    (GraphError, "symbolic tensor already", gc.constant),
    (GraphError, "identifier", lambda x: gc.placeholder((2,), name="a b")),
    (ShapeError, "static", lambda x: gc.placeholder((-1, 2))),
    (GraphError, "not from a symbolic tensor", lambda x: gc.variable(x)),
    (ShapeError, "at most the 2 dimensions", lambda x: gc.nn.functional.pad(x, (1,) * 6)),
    (ShapeError, "at most 2 on a side", lambda x: gc.nn.functional.pad(x, (3, 0), "reflect")),
    (GraphcError, "mode is", lambda x: gc.nn.functional.pad(x, (1, 0), "mirror")),
]


@pytest.mark.parametrize("error, part, action", REFUSED, ids=[f"{i}: {part}" for i, (_, part, _) in enumerate(REFUSED)])
def test_refusals(error: type[GraphcError], part: str, action: Callable[[gc.Tensor], Any]) -> None:
    x = gc.placeholder((2, 3), gc.float32)
    assert part in message(error, lambda: action(x))


def test_numbers_keep_the_precision_of_the_tensor_they_meet() -> None:
    x = gc.constant(np.array([1.0]))
    assert value(x * 0.1)[0] == 0.1
    assert value(gc.where(x > 0, 0.1, x))[0] == 0.1
    assert value(x.lerp(0.1, 1.0))[0] == pytest.approx(0.1, abs=1e-15)


def test_numpy_arrays_and_scalars_as_operands() -> None:
    x = gc.placeholder((3,), gc.float32)
    assert (np.ones(3, np.float32) + x).dtype is gc.float32
    assert (np.float64(2) * x).dtype is gc.float32
    assert (x + np.ones((2, 1))).shape == (2, 3)


def test_equality_is_elementwise_and_hash_is_identity() -> None:
    x = gc.placeholder((3,))
    assert (x == x).dtype is gc.bool and (x != 2).shape == (3,)
    assert (x == None) is False  # noqa: E711
    assert {x: 1}[x] == 1


def test_constants_and_their_dtypes() -> None:
    assert gc.constant(1).dtype is gc.int64 and gc.constant(1.0).dtype is gc.float32 and gc.constant(True).dtype is gc.bool
    assert gc.constant([]).dtype is gc.float32 and gc.constant(np.ones(2)).dtype is gc.float64
    assert gc.constant([1, 2], dtype="float16").dtype is gc.float16
    with pytest.raises(DTypeError, match="complex"):
        gc.constant(np.ones(2, np.complex64))


def test_free_functions_lift_arrays() -> None:
    assert value(gc.exp(np.zeros(2)))[0] == 1
    assert value(gc.maximum(2, gc.constant(3))) == 3


def test_unknown_names_and_late_ones() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tensorx'"):
        gc.tensorx  # noqa: B018
