"""Frozen variables: which they are, and that the program computes the same without them."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.codegen import abi
from graphc.driver import Stages
from graphc.errors import CallError
from graphc.ir.kernel import ALIGNMENT
from graphc.ir.values import Value
from graphc.passes.freeze import freeze, unchanged


def net() -> nn.Module:
    gc.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 7))


def functions(module: nn.Module) -> tuple[gc.Function, gc.Function]:
    """(train_step, predict)"""
    x = gc.placeholder((3, 2, 6, 6), gc.float32, name="x")
    loss = (module(x) ** 2).mean()
    step = gc.function([x], loss, updates=optim.SGD(module.parameters(), lr=0.1).minimize(loss))
    module.eval()
    return step, gc.function([x], module(x))


def names(values: list[Value]) -> set[str]:
    return {value.attrs["info"].name for value in values}


def test_variables_that_some_function_updates_stay() -> None:
    module = net()
    step, predict = functions(module)
    everything = {name for name, _ in module.named_parameters()} | {"1.running_mean", "1.running_var"}
    assert names(unchanged([predict.graph("predict")])) == everything
    assert unchanged([step.graph("step"), predict.graph("predict")]) == []


def test_a_frozen_program_computes_the_same_and_has_no_state() -> None:
    _, predict = functions(net())
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    live, frozen = gc.compile(predict=predict), gc.compile(predict=predict, freeze=True)
    np.testing.assert_allclose(frozen.predict(x), live.predict(x), rtol=1e-5, atol=1e-6)
    assert not frozen.state and live.state
    with pytest.raises(CallError, match=r"no variable '4.weight' .*freeze=True"):
        frozen.load_state_dict(live.state_dict())


def test_beside_a_training_step_only_what_nothing_updates_is_frozen() -> None:
    step, predict = functions(net())
    program = gc.compile(step=step, predict=predict, freeze=True)
    x = np.ones((3, 2, 6, 6), np.float32)
    before = program.predict(x)
    program.step(x)
    assert "0.weight" in program.state and not np.array_equal(program.predict(x), before)


def test_a_gradient_of_a_frozen_variable_is_its_own() -> None:
    """Two variables of equal values are one constant, but not before gradients have been read."""
    a, b = (gc.variable(np.ones(4, np.float32), name=name) for name in "ab")
    x = gc.placeholder((4,), gc.float32, name="x")
    gradient = gc.function([x], gc.grad((x * a + 3 * x * x * b).sum(), [a, b]))
    da, db = gc.compile(gradient=gradient, freeze=True).gradient(np.full(4, 2, np.float32))
    np.testing.assert_array_equal((da, db), (np.full(4, 2), np.full(4, 12)))


def test_weights_of_frozen_programs_are_packed_before_they_run() -> None:
    x = gc.placeholder((64, 256), gc.float32, name="x")
    predict = gc.function([x], nn.Linear(256, 512)(x))
    live, frozen = (Stages({"predict": predict}, freeze=freeze).kernels for freeze in (False, True))
    assert [launch.kernel.name for launch in frozen.functions[0].launches] == [live.functions[0].launches[-1].kernel.name]
    assert frozen.arena_size == 0 and not frozen.variables


def test_a_frozen_artifact_runs_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    _, predict = functions(net())
    frozen = gc.compile(predict=predict, freeze=True)
    frozen.save(tmp_path / "net.so")
    x = np.ones((3, 2, 6, 6), np.float32)
    np.testing.assert_array_equal(gc.load(tmp_path / "net.so").predict(x), frozen.predict(x))


def test_random_numbers_of_frozen_programs_follow_the_seed() -> None:
    x = gc.placeholder((50,), gc.float32, name="x")
    drop = gc.function([x], nn.Dropout(0.5)(x))
    ones = np.ones(50, np.float32)
    first, again, other = (gc.compile(drop=drop, freeze=True, seed=seed).drop(ones) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("checked", ["1", ""])
def test_freezing_passes_the_check_of_numbers(checked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CHECK", checked)
    _, predict = functions(net())
    stages = Stages({"predict": predict}, freeze=True)
    assert [step.done.name for step in stages.steps["predict"]][3] == "freeze"
    assert not any(value.op.name == "variable" for value in stages.steps["predict"][-1].after.values())


def test_freezing_nothing_changes_nothing() -> None:
    x = gc.placeholder((2,), gc.float32, name="x")
    graph = gc.function([x], x * 2).graph("f")
    assert freeze(graph, {}) is graph


def test_constants_lie_on_lines_of_the_cache() -> None:
    x = gc.placeholder((64, 256), gc.float32, name="x")
    predict = gc.function([x], nn.Linear(256, 512)(x))
    program = Stages({"predict": predict}, freeze=True).planned
    assert abi.constants(program).ctypes.data % ALIGNMENT == 0
    assert all(offset % ALIGNMENT == 0 for offset in abi.layout(program).constants.values())
