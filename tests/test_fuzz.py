"""A short fuzzing run, graphs that failed once, and proof that the fuzzer sees broken compilers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import fuzz
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import runnable
from random_graphs import Case, random_case
from reduce_case import reduce_case
from rounding import expect
from subject import Wrong

from graphc.dtype import dtype, float32
from graphc.ir.graph import Graph
from graphc.ir.text import parse_graph, print_graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, make
from graphc.ops.elementwise import cast
from graphc.ops.reduce import reduce_sum
from graphc.ops.source import PlaceholderInfo, VariableInfo, placeholder
from graphc.passes import buffers, fuse, lower


@pytest.mark.parametrize("first", range(0, 64, 16))
def test_random_graphs_agree_on_every_way_of_running_them(first: int) -> None:
    report = fuzz.check_batch(range(first, first + 16))
    assert not report.failures, "\n".join(map(str, report.failures))
    assert report.judged > 0.9 * report.elements and report.interpreted


def test_random_graphs_agree_where_caches_are_small_however_products_are_computed() -> None:
    report = fuzz.check_batch(range(64, 80), ("small caches", "any schedule"))
    assert not report.failures, "\n".join(map(str, report.failures))


def test_random_graphs_agree_on_older_processors() -> None:
    report = fuzz.check_batch(range(80, 96), [target.name for target in runnable("x86-64", "x86-64-v3")])
    assert not report.failures, "\n".join(map(str, report.failures))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_kernels_agree_on_graphs_that_shrink(rng: Random) -> None:
    fuzz.check_all(random_case(rng, steps=rng.randint(1, 8)), targets=())


def made_info(op: str, name: str, type_: TensorType) -> Any:
    """A placeholder, or a variable that holds 0, 1, 2 ..."""
    if op == "placeholder":
        return PlaceholderInfo(name, type_)
    return VariableInfo(name, type_, np.arange(type_.size).reshape(type_.shape).astype(type_.dtype.numpy))


def case_of(text: str) -> Case:
    graph = parse_graph(text, made_info)
    rng = np.random.default_rng(0)
    return Case(graph, (tuple((rng.standard_normal(x.shape) * 3).astype(x.dtype.numpy) for x in graph.inputs),))


# Cut down from graphs that failed; the name says what went wrong.
FOUND = {
    "a reshape of stored memory had no address in a contraction": """
graph f(%0, %1):
  %0: float64[2, 5, 10, 5] = placeholder info=@x
  %1: float64[2, 5, 5] = placeholder info=@y
  %2: float64[10, 5] = reshape(%1) shape=(10, 5)
  %3: float64[2, 5] = dot_general(%2, %0) contract=((0, 1), (2, 3)) batch=((), ())
  return %3
""",
    "an opaque kernel was given one buffer twice": """
graph f(%0, %1, %2):
  %0: int32[2, 3, 2] = placeholder info=@x
  %1: int64[2, 3] = placeholder info=@i
  %2: int32[2, 3] = placeholder info=@u
  %3: int32[2, 3, 2] = scatter(%0, %2, %1, %1, %1) axes=(1, 2, 0) batch=0 lead=0 mode="max"
  return %3
""",
    "a scalar was rounded to half by a function that does not exist": """
graph f():
  %0: float16[] = variable info=@v
  %1: float16[] = neg(%0)
  %2: float16[] = atan2(%1, %1)
  return %2
""",
    "a loop that walks back was asked where it is before it began": """
graph f(%0, %1):
  %0: float32[9, 7, 17] = placeholder info=@x
  %1: float32[9, 7, 17] = placeholder info=@y
  %2: float32[9, 7, 17] = reverse(%0) axes=(1,)
  %3: float32[18, 7, 17] = concat(%2, %1) axis=0
  %4: float32[] = reduce_sum(%3) axes=(0, 1, 2)
  return %4
""",
}


@pytest.mark.parametrize("text", FOUND.values(), ids=FOUND.keys())
def test_what_failed_once(text: str) -> None:
    fuzz.check_all(case_of(text))


# -------------------------------------------------------------------------------------- a fuzzer that cannot fail is none


def failures_of(seeds: range) -> list[fuzz.Failure]:
    return fuzz.check_batch(seeds).failures


BROKEN: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "updates in place whoever reads the variable": (fuse, "_own_index_only", lambda *args: True),
    "members read at any index": (fuse, "aligned", lambda *args: True),
    "results over operands that are still read": (buffers, "_element_by_element", lambda *args: True),
    "late updates in any order": (lower, "splat", lambda value: 0.0),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_compiler_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[what])
    monkeypatch.setattr(fuzz, "reduce_case", lambda case, error, check: (case, error))
    assert any(failures_of(range(first, first + 8)) for first in range(0, 96, 8))


def test_a_failure_is_cut_down_to_what_fails() -> None:
    def find(case: Case) -> Exception | None:
        return Wrong("tanh") if any(v.op.name == "tanh" for v in case.graph.values()) else None

    ops = ({v.op.name for v in fuzz.case_of(n).graph.values()} for n in range(100))
    seed = next(n for n, names in enumerate(ops) if "tanh" in names and "grad" not in names)  # autodiff may leave none of it
    smallest, error = reduce_case(fuzz.case_of(seed), Wrong("tanh"), find)
    assert [v.op.name for v in smallest.graph.values() if v.operands] == ["tanh"]
    assert str(error) == "tanh" and "tanh" in print_graph(smallest.graph)


def expected_of(*outputs: Value, inputs: tuple[Value, ...] = (), arrays: tuple[np.ndarray, ...] = ()) -> list[Any]:
    return expect(Graph("f", inputs, outputs), [arrays], {})[0]


def test_slack_follows_the_conditioning_of_a_result() -> None:
    x = placeholder("x", TensorType(float32, (3,)))
    data = np.array([1.0, 2.0, 3.0], np.float32)
    copied, doubled = expected_of(x, x + x, inputs=(x,), arrays=(data,))
    assert copied.slack.max() < doubled.slack.max() < 1e-4
    assert copied.wrong(data + np.float32(1e-4)).all() and not doubled.wrong(data + data).any()
    (difference,) = expected_of((x * 3.0 - x * 3.0001), inputs=(x,), arrays=(data * 1000,))
    assert difference.slack.max() > 1e-4  # small, of large numbers


def test_jumps_and_overflows_are_not_judged() -> None:
    x = placeholder("x", TensorType(float32, (2,)))
    data = np.array([1.0, 3.0], np.float32)
    (jump,) = expected_of(cast(x / x * 3.0, dtype("int32")), inputs=(x,), arrays=(data,))
    assert not jump.sure.any()
    huge = constant(np.array([3e38, 3e38, -3e38], np.float32))
    (total,) = expected_of(reduce_sum(huge, (0,)))
    assert not total.sure.any()
    (alike, same, apart) = expected_of(*(make("eq", a, x) for a in (x / 3.0 * 3.0, x, x + 1.0)), inputs=(x,), arrays=(data,))
    assert not alike.sure.any() and same.sure.all() and apart.sure.all()
    (exact,) = expected_of(cast(x, dtype("int32")), inputs=(x,), arrays=(data,))
    assert exact.sure.all() and exact.wrong(np.array([1, 2], np.int32)).tolist() == [False, True]
    large = np.array([2.0, 2.0e7], np.float32)
    (given, rounded) = expected_of(make("tan", x), make("tan", x * 1.1), inputs=(x,), arrays=(large,))
    assert given.sure.all() and rounded.sure.tolist() == [True, False]


def test_sums_that_overflow_may_all_be_something_else() -> None:
    huge = np.array([3e38, 3e38, -3e38], np.float32)
    totals = [reduce_sum(constant(huge * n), (0,)) for n in (1, -1)]
    odd = make("and", *(make("eq", total, constant(np.float32(n))) for total, n in zip(totals, (0, 1), strict=True)))
    (e,) = expect(Graph("f", (), (odd,)), [()], {}, runs=40)[0]
    assert not e.reference and not e.sure
    less = constant(np.float32(np.inf)) - (totals[0] + constant(np.float32(3e38))) * 2.0  # NaN, unless a total is -inf
    (e,) = expect(Graph("f", (), (less,)), [()], {}, runs=40)[0]
    assert np.isnan(e.reference) and not e.sure


def test_special_values_must_be_exact() -> None:
    values = constant(np.array([np.nan, np.inf, -np.inf, 1.0], np.float32))
    (e,) = expected_of(values + values)
    assert e.sure.all()
    assert e.wrong(np.array([0, 0, np.inf, np.nan], np.float32)).all()
    assert not e.wrong(np.array([np.nan, np.inf, -np.inf, 2], np.float32)).any()
