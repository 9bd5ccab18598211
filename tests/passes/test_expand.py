"""Legalisation and trees of reductions: nothing is left to do afterwards, and the numbers stay."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from laws import assert_close, operands_of

from graphc.dtype import DType, dtype, float16, float32, int32, int64
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.op import OPS, Contraction, Expand, Op, Reduction
from graphc.ir.types import TensorType
from graphc.ir.values import Value, make
from graphc.ops.reduce import argmax, reduce_max, reduce_sum
from graphc.ops.source import placeholder
from graphc.passes.expand import EXPANSIONS, expand, unexpanded
from graphc.passes.machine import Trees
from graphc.passes.split_reductions import USUAL, split_reductions, unsplit

FEW, MANY, PARTS = USUAL.tasks, USUAL.elements, USUAL.parts
EXPANDING = [op for op in OPS.values() if isinstance(op.lower, Expand | Contraction)]


def graph_of(*roots: Value) -> Graph:
    return Graph("f", (), roots)


@pytest.mark.parametrize("op", EXPANDING, ids=[op.name for op in EXPANDING])
def test_expansion_leaves_direct_ops_only(op: Op) -> None:
    for sample in op.samples():
        operands = operands_of(sample)
        before = graph_of(make(op.name, *operands, **sample.attrs))
        after = expand(before)
        assert unexpanded(after) is None
        assert (unexpanded(before) is None) == (after is before)
        (actual,), expected = (
            evaluate(after, dict(zip(operands, sample.arrays, strict=True))),
            op.reference(*sample.arrays, **sample.attrs),
        )
        assert_close(actual, expected, dtype(expected.dtype), slack=20, scale=20)


def test_every_expansion_is_one_rule() -> None:
    assert len(EXPANSIONS.rules) == len(EXPANDING)
    assert any(isinstance(op.lower, Expand) for op in EXPANDING)


def test_what_is_direct_stays() -> None:
    x = placeholder("x", TensorType(float32, (4, 5)))
    graph = graph_of(reduce_max(x * x, (0,)))
    assert expand(graph) is graph
    assert unexpanded(graph_of(argmax(x, 1))) is argmax(x, 1)


# ------------------------------------------------------------------------------------------------------------ reductions


def split(value: Value) -> Value:
    return split_reductions(graph_of(value)).outputs[0]


def input_(*shape: int, dtype: DType = float32) -> Value:
    return placeholder("x", TensorType(dtype, shape))


@pytest.mark.parametrize(
    "shape, axes", [((MANY - 1,), (0,)), ((FEW, MANY), (1,)), ((100, MANY // 10), (1,)), ((0, MANY), (1,))]
)
def test_small_or_many_reductions_stay(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    value = reduce_sum(input_(*shape), axes)
    assert split(value) is value
    assert unsplit(graph_of(value)) is None


@pytest.mark.parametrize(
    "shape, axes",
    [
        ((MANY,), (0,)),
        ((MANY + 1,), (0,)),
        ((64, 300), (0, 1)),
        ((3, 2, 10007), (1, 2)),
        ((3, 20000), (1,)),
        ((20011, 3), (0,)),
        ((30, 30, 30), (0, 1, 2)),
        ((2, 2, 2, 2, 5000), (0, 2, 3, 4)),
    ],
)
@pytest.mark.parametrize("name", ["reduce_sum", "reduce_max", "reduce_min"])
def test_large_reductions_become_trees(name: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = input_(*shape, dtype=int32)
    before = make(name, x, axes=axes)
    after = split(before)
    inner = after.operands[0]
    assert after.op is inner.op is OPS[name]
    assert PARTS // 4 <= prod(inner.shape) / prod(after.shape) <= PARTS * 16
    assert unsplit(graph_of(before)) is before and unsplit(graph_of(after)) is None
    array = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int32)
    array.flat[-1] = 5000
    old, new = evaluate([before, after], {x: array})
    np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "shape, axes, rows",
    [
        ((20000, 3), (0,), (16, 3)),  # 48 columns: three vectors
        ((2, 1000, 8), (1,), (2, 8, 8)),
        ((7, 96, 5, 2, 2), (0, 1, 2), (16, 2, 2)),
        ((3, 480, 12), (0, 1), (4, 12)),
        ((3, 5, 625, 6), (0, 2), (5, 25, 6)),
        ((20011, 3), (0,), None),  # a prime
        ((20000, 16), (0,), None),
        ((20000, 1), (0,), None),
        ((100, 3), (0,), None),
    ],
)
@pytest.mark.parametrize("name", ["reduce_sum", "reduce_max", "reduce_prod"])
def test_short_rows_are_folded_beside_each_other(
    name: str, shape: tuple[int, ...], axes: tuple[int, ...], rows: tuple[int, ...] | None
) -> None:
    x = input_(*shape, dtype=int32)
    before = make(name, x, axes=axes)
    after = split_reductions(graph_of(before), trees=Trees(tasks=0, beside=0)).outputs[0]
    array = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int32)
    old, new = evaluate([before, after], {x: array})
    np.testing.assert_array_equal(old, new)
    assert (after is before) is (rows is None)
    if rows is not None:
        assert after.op is OPS[name] and after.operands[0].op is OPS["reshape"] and after.operands[0].shape == rows


def test_truth_values_split_too() -> None:
    x = placeholder("x", TensorType(dtype("bool"), (MANY + 3,)))
    for name in ("reduce_any", "reduce_all"):
        before = make(name, x, axes=(0,))
        after = split(before)
        assert isinstance(after.operands[0].op.lower, Reduction)
        for array in (np.zeros(MANY + 3, bool), np.ones(MANY + 3, bool), np.arange(MANY + 3) == 7):
            old, new = evaluate([before, after], {x: array})
            assert old == new


def test_partial_sums_of_half_floats_are_kept_wide() -> None:
    x = input_(2 * MANY, dtype=float16)
    after = split(reduce_sum(x, (0,)))
    assert after.op.name == "cast" and after.operands[0].dtype is float32
    array = np.where(np.arange(2 * MANY) < MANY, 1000, -1000).astype(np.float16)
    array[0] = 1003
    assert evaluate([after], {x: array})[0] == 3


def test_positions_split_after_expansion() -> None:
    x = input_(3 * MANY)
    after = split_reductions(expand(graph_of(argmax(x, 0))))
    assert unsplit(after) is None and after.outputs[0].dtype is int64
    array = np.random.default_rng(1).standard_normal(3 * MANY).astype(np.float32)
    assert evaluate(after, {x: array})[0] == array.argmax()


@pytest.mark.parametrize("rows, columns, split", [(1 << 14, 64, True), ((1 << 14) - 1, 64, False), (1 << 15, 65, False)])
def test_columns_of_one_task_become_trees_where_they_come_from_memory(rows: int, columns: int, split: bool) -> None:
    value = reduce_max(input_(rows, columns), (0,))
    after = split_reductions(graph_of(value))
    assert (after.outputs[0] is not value) == split == (unsplit(graph_of(value)) is value)
    assert unsplit(after) is None
    if split:
        x = np.random.default_rng(3).standard_normal((rows, columns)).astype(np.float32)
        old, new = evaluate([value, after.outputs[0]], {value.operands[0]: x})
        np.testing.assert_array_equal(old, new)


# ------------------------------------------------------------------------------------ on machines with many processors

WIDE = Trees(tasks=128, elements=64 << 10, columns=8, parts=128, narrow=0)


@pytest.mark.parametrize(
    "shape, axes, split",
    [
        ((8, 1024, 64), (0, 1), True),  # 8 tasks of 64 Ki elements
        ((8, 1023, 64), (0, 1), False),
        ((8192, 1016), (0,), True),
        ((8192, 1024), (0,), False),  # 128 tasks
        ((127, 65536), (1,), True),
        ((127, 65535), (1,), False),  # rows are a task each
        ((128, 65536), (1,), False),
        ((65536, 3), (0,), True),
    ],
)
def test_columns_are_folded_together(shape: tuple[int, ...], axes: tuple[int, ...], split: bool) -> None:
    value = reduce_max(input_(*shape), axes)
    after = split_reductions(graph_of(value), trees=WIDE)
    assert (after.outputs[0] is not value) == split == (unsplit(graph_of(value), WIDE) is value)
    assert unsplit(after, WIDE) is None
    if split:
        x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
        old, new = evaluate([value, after.outputs[0]], {value.operands[0]: x})
        np.testing.assert_array_equal(old, new)
