"""Measured schedules: what is offered, how it is raced, how it is kept, and what a compilation makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from programs import HOST, check_kernels, natives

import graphc as gc
from graphc import tuning
from graphc.codegen.target import host
from graphc.driver import Stages
from graphc.dtype import float32
from graphc.errors import ArtifactError, CompileError, GraphError, ParseError
from graphc.ir.graph import Graph
from graphc.ir.kernel import ARENA, VARIABLE
from graphc.ir.types import TensorType
from graphc.ir.values import make
from graphc.ops.contract import dot_general
from graphc.ops.source import placeholder
from graphc.passes.fuse import fuse
from graphc.passes.lower import contractions
from graphc.passes.machine import Machine
from graphc.passes.schedule import Problem, choose, offers
from graphc.passes.tiles import Schedule
from graphc.passes.tuned import Tuned, from_json, is_possible, to_json
from graphc.tuning import HEATS, ROUNDS, Finding, measured, race, save, side_by_side

TINY = Machine(16, 16, l1=256, l2=512)  # everything is far: groups, blocks and panels come into question


def product() -> Graph:
    a, b = (placeholder(name, TensorType(float32, shape)) for name, shape in (("a", (31, 33)), ("b", (17, 33))))
    return Graph("f", (a, b), (make("tanh", dot_general(a, b, contract=((1,), (1,)), batch=((), ()))),))


def problem_of(graph: Graph, machine: Machine) -> Problem:
    (contraction,) = contractions([fuse(graph)], machine)
    return contraction(choose).problem


@pytest.fixture(scope="module")
def found() -> dict[Problem, Schedule]:
    """A problem with another schedule than the chosen one."""
    problem = problem_of(product(), HOST)
    return {problem: offers(problem, 4)[-1]}


# --------------------------------------------------------------------------------------------------------------- offers


@pytest.mark.parametrize("machine", [TINY, Machine(32, 16), HOST], ids=str)
def test_every_schedule_that_is_offered_computes_the_product(machine: Machine) -> None:
    graph = product()
    problem = problem_of(graph, machine)
    offered = offers(problem, 12)
    assert offered[0] == choose(problem) and len(set(offered)) == len(offered) > 4
    for schedule in offered:
        assert is_possible(problem, schedule)
        check_kernels(graph, machine, calls=1, scheduler=Tuned({problem: schedule}))


def test_what_was_measured_is_used_for_its_problem_alone(found: dict[Problem, Schedule]) -> None:
    ((problem, schedule),) = found.items()
    other = problem_of(product(), Machine(32, 16))
    assert Tuned(found)(other) == choose(other)
    used = Tuned(found)(problem)
    assert used != choose(problem) and used.cost == choose(problem).cost
    assert (used.tile, used.order, used.group, used.block) == (schedule.tile, schedule.order, schedule.group, schedule.block)


# ----------------------------------------------------------------------------------------------------------------- kept


def test_schedules_are_read_as_they_were_written(found: dict[Problem, Schedule]) -> None:
    assert Tuned(from_json(to_json(found)))(*found) == Tuned(found)(*found)
    assert from_json(to_json({})) == {}


def broken(text: str) -> Iterator[tuple[str, str]]:
    """Files that hold no schedules, and what is said of them."""
    yield "", "not JSON"
    yield "[1]", "not a file of schedules"
    yield text.replace('"graphc_schedules": 1', '"graphc_schedules": 2'), "not a file of schedules"
    yield json.dumps({"graphc_schedules": 1, "found": [3]}), "entry 0 is no problem"
    for part, name, value, said in (
        ("schedule", "lane", "one", "whole number"),
        ("schedule", "lane", 7, "entry 0"),
        ("schedule", "speed", 1, "entry 0"),
        ("schedule", "order", [0, 0], "cannot be"),
        ("schedule", "columns", 3, "cannot be"),
        ("schedule", "tile", [[0, 99]], "cannot be"),
        ("schedule", "group", [[0, 99]], "cannot be"),
        ("schedule", "block", [0, 2], "cannot be"),
        ("schedule", "near", [0, 1, 2], "cannot be"),
        ("problem", "loops", [], "entry 0"),
        ("problem", "speed", 1, "entry 0"),
    ):
        read = json.loads(text)
        read["found"][0][part][name] = value
        yield json.dumps(read), said


def test_what_no_schedule_can_be_is_refused(found: dict[Problem, Schedule]) -> None:
    for text, said in broken(to_json(found)):
        with pytest.raises(ParseError, match=said):
            from_json(text)


# ------------------------------------------------------------------------------------------------------------- measured


def test_calls_that_fall_behind_drop_out_and_the_first_never_does() -> None:
    now, counts = [0.0], [0] * 8

    def call(n: int) -> None:
        counts[n] += 1
        now[0] += (9, 5, 1, 2, 3, 4, 6, 7)[n]

    times = race([lambda n=n: call(n) for n in range(8)], 1e-9, lambda: now[0])  # type: ignore[misc]
    heats = [HEATS, 1, HEATS, HEATS, HEATS, 2, 1, 1]
    assert [len(own) for own in times] == [ROUNDS * n for n in heats]
    assert counts == [len(own) + 2 for own in times]  # once because code is cold, once to see how long a call takes
    assert all(set(own) == {float(value)} for own, value in zip(times, (9, 5, 1, 2, 3, 4, 6, 7), strict=True))


def test_a_clock_that_stands_still_is_asked_again() -> None:
    now = [0.0]
    moments = iter([0.0] * 6)  # three turns

    def clock() -> float:
        now[0] += 1
        return next(moments, now[0])

    times = race([lambda: None, lambda: None], 1e-9, clock)
    assert all(time > 0 for own in times for time in own)


def test_schedules_are_measured_on_the_same_memory() -> None:
    (contraction,) = contractions([fuse(product())], HOST)
    problem = contraction(choose).problem
    ways = [contraction(Tuned({problem: schedule})).launches("") for schedule in offers(problem, 3)]
    program = side_by_side(ways)
    assert {buffer.shape for buffer in program.variables} == {(31, 33), (17, 33), (31, 17)}  # operands and result
    for function in program.functions:
        assert all(x.kind in (ARENA, VARIABLE) for launch in function.launches for x in launch.args)
    (loaded,) = natives(program, [1])
    with loaded:
        results = []
        for function in program.functions:
            assert loaded.functions[function.name]() == []
            results.append(next(x.copy() for x in loaded.state.values() if x.shape == (31, 17)))
            for x in loaded.state.values():
                x[...] = 0 if x.shape == (31, 17) else x
    assert all(np.allclose(result, results[0], atol=1e-4) for result in results) and results[0].any()


@pytest.fixture
def functions() -> dict[str, gc.Function]:
    x, w = gc.placeholder((31, 33), gc.float32, name="x"), gc.variable(np.ones((33, 17), np.float32), name="w")
    y = x @ w
    return {"once": gc.function([x], y), "again": gc.function([x], [y.exp(), (x @ w[:, :5]).sum()])}


def test_equal_contractions_are_measured_once(functions: dict[str, gc.Function]) -> None:
    seen = list(measured(functions, threads=1, seconds=1e-9))
    assert len({x.problem for x in seen}) == len(seen)
    assert {x.what for x in seen} == {"dot_general float32[31, 17]", "dot_general float32[31, 5]"}
    assert all(x.seconds > 0 and 0 < x.ratio <= 1 for x in seen)


def test_a_program_runs_by_what_was_measured(functions: dict[str, gc.Function], tmp_path: Path) -> None:
    problem = next(measured(functions, threads=1, seconds=1e-9)).problem
    path, other = tmp_path / "found.json", offers(problem, 4)[-1]
    save(path, [Finding("", problem, other, 1.0, 0.5)])
    stages = Stages(functions, schedules=path)
    assert stages.scheduler(problem).tile == other.tile
    assert str(path) in stages.compilation.sources
    x = np.random.default_rng(0).standard_normal((31, 33)).astype(np.float32)
    with gc.compile(schedules=str(path), threads=1, **functions) as program:
        assert np.allclose(program.once(x), x.sum(1, keepdims=True), atol=1e-4)
    save(path, [Finding("", problem, other, 1.0, 1.0)])  # no faster than what is chosen anyway
    assert Stages(functions, schedules=path).scheduler(problem) == choose(problem)


def test_tune_writes_what_compile_reads(functions: dict[str, gc.Function], tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    seen = gc.tune(path, threads=1, seconds=0.01, **functions)
    assert from_json(path.read_text()).keys() in (set(), {x.problem for x in seen if x.ratio < 1})
    with gc.compile(schedules=path, **functions) as program:
        assert program.once(np.ones((31, 33), np.float32)).shape == (31, 17)


@pytest.mark.parametrize("speed", [0.5, 2.0], ids=["slower", "faster"])
def test_schedules_are_kept_where_the_whole_is_faster(
    speed: float, functions: dict[str, gc.Function], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, (first, *_) = tmp_path / "found.json", list(measured(functions, threads=1, seconds=1e-9))
    found = [replace(first, schedule=offers(first.problem, 4)[-1], ratio=0.5)]
    monkeypatch.setattr(tuning, "race", lambda *_: ([speed, speed], [1.0, 1.0]))
    assert tuning.keep(path, found, functions, threads=1, seconds=1.0) == 1 / speed
    assert len(from_json(path.read_text())) == (speed > 1)


def test_mistakes_are_told(functions: dict[str, gc.Function], found: dict[Problem, Schedule], tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="seconds=0"):
        gc.tune(tmp_path / "x.json", seconds=0, **functions)
    with pytest.raises(GraphError, match="given by name"):
        gc.tune(tmp_path / "x.json", functions["once"])
    with pytest.raises(GraphError, match=r"not a gc\.function"):
        gc.tune(tmp_path / "x.json", f=lambda x: x)  # type: ignore[arg-type]
    for write in (lambda path: save(path, []), lambda path: gc.tune(path, **functions)):  # before anything is measured
        with pytest.raises(ArtifactError, match="there is no folder"):
            write(tmp_path / "no" / "x.json")
    with pytest.raises(CompileError, match=r"cannot read .*missing\.json"):
        gc.compile(schedules=tmp_path / "missing.json", **functions)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CompileError, match=r"other\.json: not a file of schedules.*graphc tune"):
        gc.compile(schedules=tmp_path / "other.json", **functions)
    (tmp_path / "found.json").write_text(to_json(found))
    other = "aarch64" if "x86_64" in host().triple else "x86-64-v3"
    for target, said in ((other, "another kind of processor"), ("sm_90", "code of CPUs")):
        with pytest.raises(CompileError, match=said):
            _ = Stages(functions, target=target, schedules=tmp_path / "found.json").kernels
    with pytest.raises(GraphError, match="schedules=3"):
        gc.compile(schedules=3, **functions)  # type: ignore[arg-type]
