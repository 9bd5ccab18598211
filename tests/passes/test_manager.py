"""The manager refuses what does not fit, and the inspector sees, writes down and accuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc.passes.pipelines as pipelines
from graphc.dtype import float32
from graphc.errors import VerifyError
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.location import Location, located
from graphc.ir.rewrite import op, rewrite_graph, rule, wild
from graphc.ir.types import TensorType
from graphc.ir.values import Value, make
from graphc.ops.reduce import argmax, reduce_sum
from graphc.ops.shape import reshape, transpose
from graphc.ops.source import grad, placeholder, stop_gradient, update, variable
from graphc.passes.inspector import Inspector, agrees
from graphc.passes.manager import Pass, Property, Size, Step, run_passes, size

X = placeholder("x", TensorType(float32, (3, 4)))
EXP = Property("no exp", lambda graph: next((v for v in graph.values() if v.op.name == "exp"), None))


def f(*outputs: Value) -> Graph:
    return Graph("f", (X,), outputs)


def keep(graph: Graph) -> Graph:
    return graph


TANH = [rule("exp(x) -> tanh(x)", op("exp", wild("x")), lambda x: make("tanh", x))]


def tanh_instead(graph: Graph) -> Graph:
    return rewrite_graph(graph, TANH)


# ----------------------------------------------------------------------------------------------------------------- needs


def test_an_unmet_need_is_refused_by_name_and_place() -> None:
    with located(Location("model.py", 12)):
        value = make("exp", X)
    with pytest.raises(VerifyError, match=r"model.py:12: pass last needs 'no exp'"):
        run_passes(f(value), [Pass("last", keep, needs=(EXP,))])


def test_a_need_is_met_by_the_graph_or_by_an_earlier_pass() -> None:
    last = Pass("last", keep, needs=(EXP,))
    assert run_passes(f(X), [last]).outputs == (X,)
    assert run_passes(f(make("exp", X)), [Pass("first", tanh_instead, gives=(EXP,)), last]).outputs[0].op.name == "tanh"


def test_what_a_pass_breaks_must_be_given_again() -> None:
    give, last = Pass("give", keep, gives=(EXP,)), Pass("last", keep, needs=(EXP,))
    breaking = Pass("breaking", lambda graph: f(make("tanh", graph.outputs[0])), breaks=(EXP,))
    with pytest.raises(VerifyError, match="an earlier pass"):
        run_passes(f(X), [give, breaking, last])
    assert run_passes(f(X), [give, breaking, give, last]) is not None
    assert run_passes(f(X), [give, Pass("idle", keep, breaks=(EXP,)), last]) is not None


# ------------------------------------------------------------------------------------------------------------- observing


def test_sizes_count_values_and_results_but_not_views() -> None:
    graph = f(transpose(make("exp", reshape(X, (4, 3))), (1, 0)))
    assert size(graph) == Size(4, 1, 48)
    assert str(Step(1, Pass("p", keep), graph, graph, 0.25)) == "f: p: 4 values, 0.00 MiB, unchanged, 250.0 ms"


def test_every_step_is_observed() -> None:
    lines: list[str] = []
    seen = Inspector(verify=3, report=lines.append)
    graph = f(make("exp", X * 1.0))
    run_passes(graph, [pipelines.SIMPLIFY, pipelines.EXPAND], seen)
    assert [step.done.name for step in seen.steps] == ["simplify", "expand"]
    assert seen.steps[0].before is graph and seen.steps[1].after is seen.steps[1].before
    assert seen.steps[0].sizes[1].values < seen.steps[0].sizes[0].values
    assert lines[0].startswith("f: simplify: ") and "unchanged" in lines[1]


def test_the_text_after_every_pass_is_written(tmp_path: Path) -> None:
    run_passes(f(X * 1.0 + X), [pipelines.SIMPLIFY, pipelines.EXPAND], Inspector(dump=tmp_path / "dump"))
    names = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert names == ["f.00.start.txt", "f.01.simplify.txt", "f.02.expand.txt"]
    assert "mul" in (tmp_path / "dump" / names[0]).read_text()
    assert "mul" not in (tmp_path / "dump" / names[1]).read_text()


def test_a_gift_that_is_none_is_found() -> None:
    with pytest.raises(VerifyError, match="liar gives 'no exp'"):
        run_passes(f(make("exp", X)), [Pass("liar", keep, gives=(EXP,))], Inspector(verify=1))


def test_a_broken_law_is_found() -> None:
    other = placeholder("other", X.type)
    with pytest.raises(VerifyError, match="G4"):
        run_passes(f(X), [Pass("wild", lambda graph: f(other))], Inspector(verify=1))


# --------------------------------------------------------------------------------------------------------------- numbers


def test_the_guilty_pass_and_value_are_named() -> None:
    with located(Location("model.py", 3)):
        guilty = make("exp", X + X)
    graph = f(reduce_sum(guilty * 2.0, (0, 1)))
    checked = Inspector(evaluate=evaluate)
    with pytest.raises(VerifyError, match=r"model.py:3: pass second of f changes the value of <exp: float32\[3, 4\]>, at \["):
        run_passes(graph, [pipelines.SIMPLIFY, Pass("second", tanh_instead)], checked)
    assert [step.done.name for step in checked.steps] == ["simplify", "second"]


def test_a_wrong_update_is_found_too() -> None:
    v = variable("v", np.zeros((3, 4), np.float32))
    graph = Graph("f", (X,), (X,), ((v, make("exp", v + X)),))
    with pytest.raises(VerifyError, match="changes the value of <exp"):
        run_passes(graph, [Pass("bad", tanh_instead)], Inspector(evaluate=evaluate))


def test_a_pass_that_is_wrong_only_in_the_whole_is_named_as_well() -> None:
    swapped = Pass("swap", lambda graph: graph.with_roots(graph.roots[::-1]) if len(graph.roots) == 2 else graph)
    with pytest.raises(VerifyError, match="pass swap"):
        run_passes(f(X, X * X), [swapped], Inspector(evaluate=evaluate))


def test_numbers_agree_up_to_rounding_and_not_further() -> None:
    one = np.array([1, 2, np.nan, np.inf], np.float32)
    value = placeholder("v", TensorType(float32, (4,)))
    assert agrees(one, one + np.float32(1e-4), value)
    assert not agrees(one, one + np.float32(1e-1), value)
    assert not agrees(one, np.nan_to_num(one), value)
    assert not agrees(one, one.astype(np.float64), value)


# ------------------------------------------------------------------------------------------------------- the real list


def training_graph() -> Graph:
    w, mean = variable("w", np.ones((4, 5), np.float32)), variable("mean", np.zeros(5, np.float32))
    hidden = make("dot_general", X, w, contract=((1,), (0,)), batch=((), ()))
    total = reduce_sum(hidden, (0,)) / 3.0
    hidden = update(hidden, mean, mean * 0.9 + total * 0.1)
    loss = reduce_sum(hidden * stop_gradient(hidden), (0, 1))
    return Graph("train", (X,), (loss, argmax(hidden, 1)), ((w, w - grad(loss, w) * 0.5),))


def test_the_pipeline_leaves_what_fusion_takes_and_keeps_all_numbers() -> None:
    before = training_graph()
    after = run_passes(before, pipelines.GRAPH, Inspector(verify=3, evaluate=evaluate))
    assert len(after.updates) == 2
    for held in (pipelines.NO_GRAD, pipelines.NO_UPDATE, pipelines.NO_STOP, pipelines.EXPANDED, pipelines.SPLIT):
        assert held.violation(after) is None
    for held in (pipelines.NO_GRAD, pipelines.NO_UPDATE, pipelines.NO_STOP, pipelines.EXPANDED):
        assert held.violation(before) is not None


@pytest.mark.parametrize("first", pipelines.GRAPH[1:4], ids=lambda step: step.name)
def test_the_pipeline_cannot_start_in_the_middle(first: Pass) -> None:
    with pytest.raises(VerifyError, match="no gradient markers"):
        run_passes(training_graph(), [first])


def test_updates_are_read_before_algebra_drops_values() -> None:
    with pytest.raises(VerifyError, match="no update markers"):
        run_passes(training_graph(), [pipelines.AUTODIFF, pipelines.SIMPLIFY])
