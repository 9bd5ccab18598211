"""Functions, gradients, updates: structure, checks, and the lines that errors name."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.interp.graph import run
from graphc.passes.autodiff import autodiff


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def call(f: gc.Function, *arrays: Any, state: Any = None) -> list[np.ndarray]:
    return run(autodiff(f.graph("f")), [np.asarray(a) for a in arrays], {} if state is None else state)


def test_structure_of_outputs() -> None:
    x = gc.placeholder((2,), name="x")
    kinds = {
        "bare": (x, ("output",)),
        "list": ([x, x + 1], ("output0", "output1")),
        "tuple": ((x,), ("output0",)),
        "dict": ({"a": x, "b": x + 1}, ("a", "b")),
    }
    for kind, (outputs, names) in kinds.items():
        f = gc.function([x], outputs)
        assert (f.structure, f.output_names) == (kind, names)
        assert len(f.graph("f").outputs) == len(names)


def test_names_of_inputs() -> None:
    x, y = gc.placeholder((2,), name="x"), gc.placeholder((2,))
    assert gc.function([x, y], x + y).input_names == ("x", "input1")
    assert repr(gc.function([x, y], x + y)) == "<function (x: float32[2], input1: float32[2]) -> float32[2], 0 updates>"


def test_updates_read_before_they_write() -> None:
    a, b = gc.variable(1.0, name="a"), gc.variable(2.0, name="b")
    state: dict[Any, Any] = {}
    f = gc.function([], [a + b], updates={a: b, b: a})
    assert [float(call(f, state=state)[0]) for _ in range(2)] == [3, 3]
    assert (float(state[a.value]), float(state[b.value])) == (1, 2)
    call(f, state=state)
    assert (float(state[a.value]), float(state[b.value])) == (2, 1)


def test_an_update_may_be_a_number() -> None:
    a, state = gc.variable(np.ones(3, np.float32)), {}
    with pytest.raises(ShapeError, match=r"the update of variable has shape \(\)"):
        gc.function([], [], updates={a: 0})
    b = gc.variable(np.float32(1))
    call(gc.function([], [], updates={b: 5}), state=state)
    assert state[b.value] == 5 and state[b.value].dtype == np.float32


def refused(error: type[Exception], *arguments: Any, **options: Any) -> str:
    with pytest.raises(error) as caught:
        gc.function(*arguments, **options)
    assert __file__ in str(caught.value)
    return str(caught.value)


def test_a_forgotten_input_is_named_with_its_line() -> None:
    x = gc.placeholder((2,), name="x")
    y, made = gc.placeholder((2,), name="y"), line()
    text = refused(GraphError, [x], x * y)
    assert "placeholder y of type float32[2]" in text and f"{__file__}:{made}" in text and "add it to the inputs" in text
    v = gc.variable(np.zeros(2, np.float32))
    assert "placeholder y" in refused(GraphError, [x], x, updates={v: y})


def test_inputs_that_are_none() -> None:
    x, v = gc.placeholder((2,), name="x"), gc.variable(0.0, name="v")
    assert "without listing them" in refused(GraphError, [x, v], x)
    assert "computed tensor" in refused(GraphError, [x + 1], x)
    assert "input 0 is a ndarray" in refused(GraphError, [np.ones(2)], x)
    assert "write [x]" in refused(GraphError, x, x)
    assert "listed twice" in refused(GraphError, [x, x], x)
    other, made = gc.placeholder((2,), name="x"), line()
    text = refused(GraphError, [x, other], x)
    assert "two inputs are called 'x'" in text and f"{__file__}:{made}" in text


def test_outputs_that_are_no_tensors() -> None:
    x = gc.placeholder((2,), name="x")
    assert "output is a int, not a tensor" in refused(GraphError, [x], 3)
    assert "output 1 is a list" in refused(GraphError, [x], [x, [x]])
    assert "output 'a' is a float" in refused(GraphError, [x], {"a": 1.0})
    assert "must be an identifier" in refused(GraphError, [x], {"a b": x})


def test_updates_that_do_not_fit() -> None:
    x, v = gc.placeholder((2,), name="x"), gc.variable(np.zeros((3,), np.float32), name="v")
    text = refused(ShapeError, [x], x, updates={v: x})
    assert "update of v has shape (2,)" in text and "has (3,)" in text
    assert ".to(gc.float32)" in refused(DTypeError, [], [], updates={v: v.double()})
    assert "updated twice" in refused(GraphError, [], [], updates=[(v, v), (v, v + 1)])
    assert "updates name variables" in refused(GraphError, [x], x, updates={x: x})


def test_calling_a_function_says_how_to_compile_it() -> None:
    x = gc.placeholder((2,), name="x")
    with pytest.raises(GraphError, match=r"gc\.compile\(f=f\)"):
        gc.function([x], x)(np.ones(2))


def test_gradients_of_one_of_many_and_to_any_order() -> None:
    x, y = gc.placeholder((3,), gc.float64, name="x"), gc.placeholder((3,), gc.float64, name="y")
    loss = (x**3 * y).sum()
    dx, dy = gc.grad(loss, [x, y])
    third = gc.grad(gc.grad(gc.grad(loss, x).sum(), x).sum(), x)
    a, b = np.array([1.0, 2, 3]), np.array([2.0, 3, 4])
    found = call(gc.function([x, y], [dx, dy, third]), a, b)
    np.testing.assert_allclose(found, [3 * a * a * b, a**3, 6 * b])


def test_stop_gradient() -> None:
    x = gc.placeholder((), gc.float64, name="x")
    loss = x * x.detach() + gc.stop_gradient(x)
    assert call(gc.function([x], gc.grad(loss, x)), 3.0)[0] == 3


def test_gradient_with_respect_to_something_in_between() -> None:
    x = gc.placeholder((), gc.float64, name="x")
    y = x * x
    assert call(gc.function([x], gc.grad(y * y, y)), 3.0)[0] == 18


def test_gradients_that_do_not_exist() -> None:
    x, made_x = gc.placeholder((2,), name="x"), line()
    other, made = gc.placeholder((2,), name="other"), line()
    labels = gc.placeholder((2,), gc.int64, name="labels")
    loss, made_loss = (x * x).sum(), line()
    with pytest.raises(ShapeError, match=r"has shape \(2,\).*needs a scalar.*\.mean\(\)"):
        gc.grad(x * x, x)
    with pytest.raises(DTypeError, match="int64; only float tensors"):
        gc.grad(loss, labels)
    with pytest.raises(DTypeError, match="the loss is int64"):
        gc.grad(labels.sum(), x)
    with pytest.raises(GraphError, match="does not depend on") as caught:
        gc.grad(loss, [x, other])
    assert f"{__file__}:{made_loss}" in str(caught.value) and f"{__file__}:{made}" in str(caught.value)
    assert made_x
    with pytest.raises(GraphError, match="must be a tensor, not int"):
        gc.grad(3, x)
    with pytest.raises(GraphError, match="tensors, not str"):
        gc.grad(loss, "x")


def test_variables_have_names_and_initial_values() -> None:
    v = gc.variable([1, 2], name="v", dtype=gc.float32)
    momentum = v.derive("momentum", np.zeros(2, np.float32))
    deeper = momentum.derive("sum", np.float32(0))
    assert momentum.name == "v.momentum"
    v.name = "w"
    assert (v.name, momentum.name, deeper.name, v.value.attrs["info"].name) == ("w", "w.momentum", "w.momentum.sum", "w")
    v.initial = np.array([3, 4])
    assert v.initial.dtype == np.float32 and v.initial.tolist() == [3, 4]
    with pytest.raises(ShapeError, match=r"w has shape \(2,\)"):
        v.initial = np.zeros(3)
    with pytest.raises(DTypeError, match="is int64; it cannot start from an array of float64"):
        gc.variable(np.zeros(2, np.int64)).initial = np.zeros(2)
    assert repr(v) == "Variable('w': float32[2])"


def test_a_variable_keeps_its_own_copy() -> None:
    array = np.zeros(2, np.float32)
    v = gc.variable(array)
    array[0] = 1
    assert v.initial[0] == 0


def test_a_saved_program_names_the_files_it_was_made_from(tmp_path):
    x = gc.placeholder((2,), gc.float32, name="x")
    gc.compile(f=gc.function([x], x + 1)).save(tmp_path / "net.so")
    assert (tmp_path / "net.d").read_text() == f"{tmp_path / 'net.so'}: {__file__}\n"
