"""Fused graphs as programs: where results are computed, what is copied, and what the program shares."""

from __future__ import annotations

import numpy as np
import pytest
from programs import check_kernels

from graphc.dtype import float32, int64
from graphc.errors import CompileError
from graphc.interp.kernel import initial_state, run_function
from graphc.ir.graph import Graph
from graphc.ir.kernel import ARENA, CONSTANT, INPUT, OUTPUT, VARIABLE, KernelFunction, KernelProgram
from graphc.ir.types import TensorType
from graphc.ir.values import Value, constant, full, make
from graphc.ops.index import scatter
from graphc.ops.reduce import reduce_sum
from graphc.ops.shape import concat, reshape, slice_, transpose
from graphc.ops.source import placeholder, variable
from graphc.passes.fuse import fuse
from graphc.passes.lower import COPY_CHUNK, lower
from graphc.passes.machine import Machine


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


def exp(x: Value) -> Value:
    return make("exp", x)


def lowered(*graphs: Graph) -> KernelProgram:
    return lower([fuse(graph) for graph in graphs], Machine())


def only(graph: Graph) -> KernelFunction:
    check_kernels(graph)
    return lowered(graph).functions[0]


def kinds(function: KernelFunction) -> list[list[str]]:
    return [[buffer.kind for buffer in launch.args] for launch in function.launches]


X = tensor("x", 5, 7)


def test_a_result_is_computed_in_the_callers_memory() -> None:
    function = only(Graph("f", (X,), (exp(X),)))
    assert kinds(function) == [[INPUT, OUTPUT]]
    assert [b.shape for b in function.outputs] == [(5, 7)]


def test_a_reshaped_result_too() -> None:
    function = only(Graph("f", (X,), (reshape(exp(X), (35,)),)))
    assert kinds(function) == [[INPUT, OUTPUT]] and function.outputs[0].shape == (35,)


def test_a_result_wanted_twice_is_copied_once() -> None:
    function = only(Graph("f", (X,), (exp(X), reshape(exp(X), (7, 5)))))
    assert kinds(function) == [[INPUT, OUTPUT], [OUTPUT, OUTPUT]]


def test_inputs_variables_constants_and_numbers_can_be_results() -> None:
    v, c = variable("v", np.ones((3,), np.float32)), constant(np.arange(4.0, dtype=np.float32))
    function = only(Graph("f", (X,), (X, v, c, full(X.type, 2.5))))
    assert sorted(kinds(function)) == sorted([[INPUT, OUTPUT], [VARIABLE, OUTPUT], [CONSTANT, OUTPUT], [OUTPUT]])


def test_a_result_that_is_also_the_new_value_is_copied_to_the_variable() -> None:
    v = variable("v", np.ones((5, 7), np.float32))
    function = only(Graph("f", (X,), (exp(X),), ((v, exp(X)),)))
    assert kinds(function) == [[INPUT, OUTPUT], [OUTPUT, VARIABLE]]


def test_a_swap_goes_through_memory_of_its_own() -> None:
    a, b = (variable(n, np.full((3,), i, np.float32)) for i, n in enumerate("ab"))
    function = only(Graph("f", (), (), ((a, b), (b, a))))
    assert kinds(function) == [[VARIABLE, ARENA], [VARIABLE, ARENA], [ARENA, VARIABLE], [ARENA, VARIABLE]]


def test_a_variable_that_stays_itself_costs_nothing() -> None:
    v = variable("v", np.ones((3,), np.float32))
    assert only(Graph("f", (), (), ((v, v),))).launches == ()


def test_empty_values_run_no_kernel() -> None:
    empty = tensor("e", 0, 3)
    function = only(Graph("f", (empty,), (exp(empty), reduce_sum(empty, (0,)))))
    assert len([launch for launch in function.launches if launch.kernel.name != "copy"]) == 1


def test_an_operand_that_an_opaque_kernel_takes_twice_is_copied() -> None:
    i, u = placeholder("i", TensorType(int64, (2, 3))), tensor("u", 2, 3)
    target = tensor("t", 4, 5)
    once = only(Graph("f", (target, u, i), (scatter(target, u, i, transpose(transpose(i, (1, 0)), (1, 0)), axes=(0, 1)),)))
    assert all(len(set(launch.args)) == len(launch.args) for launch in once.launches)


def test_a_placeholder_must_be_an_input() -> None:
    with pytest.raises(CompileError, match="x is used but is no input of f"):
        lowered(Graph("f", (), (exp(X),)))


def test_an_input_may_be_unused() -> None:
    y = tensor("y", 3)
    function = only(Graph("f", (y, X), (exp(X),)))
    assert [b.name for b in function.inputs] == ["y", "x"]


def test_functions_share_variables_and_constants_by_identity() -> None:
    v = variable("v", np.ones((5, 7), np.float32))
    c = constant(np.arange(35.0, dtype=np.float32).reshape(5, 7))
    first, second = Graph("f", (X,), (), ((v, v + X + c),)), Graph("g", (), (v * c,))
    program = lowered(first, second)
    assert len(program.variables) == len(program.constants) == 1
    state = initial_state(program)
    x = np.ones((5, 7), np.float32)
    run_function(program, "f", [x], state)
    (result,) = run_function(program, "g", [], state)
    data = np.arange(35.0, dtype=np.float32).reshape(5, 7)
    np.testing.assert_array_equal(result, (2 + data) * data)


def test_names_of_variables_are_made_unique() -> None:
    vs = [variable(name, np.full((2,), n, np.float32)) for n, name in enumerate(("w", "w", "", "w"))]
    program = lowered(Graph("f", (), tuple(v + 1.0 for v in vs)))
    assert [v.name for v in program.variables] == ["w", "w_2", "variable", "w_3"]


def test_initial_values_can_be_replaced() -> None:
    v = variable("v", np.zeros((2,), np.float32))
    program = lower([fuse(Graph("f", (), (v + 1.0,)))], Machine(), {v: np.array([3, 4], np.float32)})
    np.testing.assert_array_equal(run_function(program, "f", [], initial_state(program))[0], [4, 5])


def test_large_copies_are_cut_into_tasks() -> None:
    x = tensor("x", 4096 * 2 + 5)
    (launch,) = only(Graph("f", (x,), (x,))).launches
    assert launch.kernel.task.extent == 3


def test_launches_say_what_they_compute() -> None:
    (launch,) = lowered(Graph("f", (X,), (exp(X) + X,))).functions[0].launches
    assert launch.comment == "exp, add"


def test_many_parts_in_a_row_are_copied_by_one_kernel() -> None:
    """Views and numbers are computed first; parts of different lengths share a kernel, and each task belongs to one."""
    y = tensor("y", 3, 7)
    parts = [exp(X), X, y, full(y.type, 2.5), transpose(tensor("z", 7, 3), (1, 0)), X]
    graph = Graph("f", (X, y, *(v for v in parts[4].operands)), (exp(concat(parts, 0)),))
    launches = only(graph).launches
    (join,) = (launch for launch in launches if launch.kernel.name == "join")
    assert [b.kind for b in join.args] == [ARENA, INPUT, INPUT, ARENA, ARENA, ARENA]  # X is read once
    assert join.kernel.task.extent == len(parts)


def test_long_parts_are_copied_in_pieces() -> None:
    long = tensor("long", 3 * COPY_CHUNK // 2)
    function = only(Graph("f", (long,), (concat([long, exp(long), long, long * 2.0, long], 0),)))
    assert function.launches[-1].kernel.task.extent == 5 * 2


def test_few_parts_and_parts_side_by_side_are_read_where_they_are() -> None:
    few = Graph("f", (X,), (exp(concat([X, exp(X), X * 2.0], 0)),))
    beside = Graph("f", (X,), (exp(concat([X * float(n) for n in range(2, 9)], 1)),))
    for graph in (few, beside):
        assert all(launch.kernel.name != "join" for launch in only(graph).launches)


def test_many_parts_can_be_the_result_or_the_new_value_of_a_variable() -> None:
    v = variable("v", np.arange(35, dtype=np.float32).reshape(5, 7))
    rows = [slice_(v, (n, 0), (n + 1, 7)) * float(n + 1) for n in range(5)]
    function = only(Graph("f", (X,), (concat([X, exp(X)] * 3, 0),), ((v, concat(rows, 0)),)))
    assert sum(launch.kernel.name == "join" for launch in function.launches) == 2
