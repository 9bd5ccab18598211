"""Panels that several contractions read: packed once, where that pays for all of them together."""

from __future__ import annotations

import numpy as np
import pytest
from programs import check_kernels

from graphc.dtype import float32
from graphc.ir.expr import Load, as_index, linear
from graphc.ir.graph import Graph
from graphc.ir.kernel import ARENA, VARIABLE, For, Launch, evaluated, walk
from graphc.ir.types import TensorType
from graphc.ir.values import Value, make
from graphc.ops.contract import dot_general
from graphc.ops.pieces import slice_
from graphc.ops.reduce import reduce_sum
from graphc.ops.shape import reshape
from graphc.ops.source import placeholder, variable
from graphc.passes.fuse import fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine
from graphc.passes.panels import PACK_PANELS, SOON, Common

MACHINE = Machine(64, 32)
W = variable("w", np.linspace(-1, 1, 64 * 512, dtype=np.float32).reshape(512, 64))


def tensor(name: str, *shape: int) -> Value:
    return placeholder(name, TensorType(float32, shape))


def times_w(x: Value) -> Value:
    """[rows, 64] -> [rows, 512]"""
    return dot_general(x, W, contract=((1,), (1,)), batch=((), ()))


def unrolled(steps: int, rows: int = 5) -> Graph:
    """A recurrence; the weight is updated in place."""
    x = h = placeholder("x", TensorType(float32, (rows, 64)))
    for _ in range(steps):
        h = make("tanh", slice_(times_w(h), (0, 3), (rows, 67)))
    return Graph("f", (x,), (h,), ((W, W * 0.5),))


def launches(graph: Graph) -> tuple[Launch, ...]:
    return lower([fuse(graph)], MACHINE).functions[0].launches


def packs(found: tuple[Launch, ...]) -> list[Launch]:
    return [launch for launch in found if any(b.kind == VARIABLE for b in launch.args) and "pack" in launch.kernel.name]


def test_steps_that_read_one_weight_alike_pack_it_once() -> None:
    fused = check_kernels(unrolled(10), MACHINE, calls=2)
    assert len(fused.in_place) == 1
    found = launches(unrolled(10))
    (pack,) = packs(found)
    (panels,) = (buffer for buffer in pack.args if buffer.kind == ARENA)
    assert sum(panels in launch.args for launch in found) == 1 + 10


def test_one_step_does_not_pay_for_packing() -> None:
    assert packs(launches(unrolled(1, rows=2))) == []
    assert packs(launches(unrolled(10, rows=2))) != []


def test_functions_fill_panels_of_their_own() -> None:
    graph = unrolled(10)
    first, second = lower([fuse(graph), fuse(graph)], MACHINE).functions
    arenas = [{b for launch in f.launches for b in launch.args if b.kind == ARENA} for f in (first, second)]
    assert not arenas[0] & arenas[1]


def test_the_same_memory_in_another_shape_is_read_alike() -> None:
    ct, xs = tensor("ct", 4, 3, 7), tensor("xs", 4, 3, 5)
    flat = reshape(ct, (12, 7))
    step = dot_general(ct, xs, contract=((0, 1), (0, 1)))
    again = dot_general(flat, tensor("hs", 12, 5), contract=((0,), (0,)))
    other = dot_general(flat, tensor("us", 12, 6), contract=((0,), (0,)))  # longer rows: tiles may be others
    found = Common().of_function([step, again, other])
    assert [found.count(anchor, 0) for anchor in (step, again, other)] == [2, 2, 1]
    assert found.count(step, 1) == 1


def test_panels_are_not_kept_for_readers_far_behind() -> None:
    weights = tensor("w", 7, 5)
    others = [dot_general(tensor(f"x{n}", 3, 4), tensor(f"w{n}", 4, 6), contract=((1,), (0,))) for n in range(SOON)]
    first, next_, last = (dot_general(tensor(f"y{n}", 3, 7), weights, contract=((1,), (0,))) for n in range(3))
    found = Common().of_function([first, next_, *others, last])
    assert found.alike(first, 1) == found.alike(next_, 1) == [first, next_]
    assert found.alike(last, 1) == [last]
    assert Common().of_function([first, next_, *others[1:], last]).alike(last, 1) == [first, next_, last]


def test_rows_are_packed_from_end_to_end_into_a_few_panels() -> None:
    x, w = tensor("x", 512, 512), tensor("w", 512, 512)
    graph = Graph("f", (x, w), (dot_general(x, w, contract=((1,), (0,))),))
    (function,) = lower([fuse(graph)], Machine(64, 32, l1=48 << 10, l2=2 << 20)).functions
    (pack,) = (launch for launch in function.launches if launch.kernel.name.endswith("_pack"))
    loops = [stmt for stmt in walk(pack.kernel.body) if isinstance(stmt, For)]
    (index,) = {expr.index for stmt in walk(pack.kernel.body) for expr in evaluated(stmt) if isinstance(expr, Load)}
    strides = linear(as_index(index))[0]
    group, row, panel, *inside = [(strides[loop.var], loop.var.extent) for loop in loops]
    assert row[0] == 512 and panel[1] == PACK_PANELS
    run = 1
    for stride, extent in reversed([group, panel, *inside]):  # each goes on where the one inside of it ends
        assert stride == run
        run *= extent
    assert run == 512


@pytest.mark.parametrize(("rows", "packed"), [(256, {"rhs_panels"}), (1280, {"lhs_panels", "rhs_panels"})])
def test_panels_take_what_is_held_elsewhere_anyway(rows: int, packed: set[str]) -> None:
    """While the first product runs, `rows` KiB x 4 are held beside the operand of the last one."""
    a, other = make("exp", tensor("a", 1024, 1000)), make("exp", tensor("b", rows, 1024))
    wide = dot_general(other, a, contract=((1,), (0,)))
    weight = dot_general(a, tensor("g", 1024, 256), contract=((0,), (0,)))
    inputs = (a.operands[0], other.operands[0], weight.operands[1])
    graph = Graph("f", inputs, (wide, reduce_sum(other, (0,)), weight))
    (function,) = lower([fuse(graph)], Machine(64, 32, l1=48 << 10, l2=2 << 20)).functions
    *_, last = (launch for launch in function.launches if function.outputs[2] in launch.args)
    assert {b.name.split("dot_general_")[1] for b in last.args if b.name.endswith("panels")} == packed
