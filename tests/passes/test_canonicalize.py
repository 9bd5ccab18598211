"""Every rule of the algebra: what it makes of a value, the same numbers to the bit, and a neighbour it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from algebra import CASES, NEIGHBOURS, ROUNDED, across, e, f, row, t
from positions import POSITION_CASES, POSITION_NEIGHBOURS

from graphc.dtype import bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from graphc.interp.graph import evaluate
from graphc.ir.graph import Graph
from graphc.ir.rewrite import Fired
from graphc.ir.values import Value, full, make, topological
from graphc.ops.reduce import reduce_sum
from graphc.ops.shape import transpose
from graphc.passes.canonicalize import ALGEBRA, canonicalize
from graphc.passes.logic_rules import represents

INF = float("inf")
ALL_CASES, ALL_NEIGHBOURS = [*CASES, *POSITION_CASES], [*NEIGHBOURS, *POSITION_NEIGHBOURS]
SPECIAL = {
    "f": [0.0, -0.0, 1.5, -2.25, INF, -INF, float("nan"), 1e-40, 3.0, -7.0, 1e-30, -1e30],
    "i": [0, 1, -1, 2, -128, 127, 5, -7, 100, 3],
    "u": [0, 1, 255, 2, 128, 127, 5, 7],
    "b": [True, False, False, True, True],
}


def numbers(x: Value, seed: int) -> np.ndarray:
    """Special values in random order."""
    rng = np.random.default_rng(seed)
    info = None if x.dtype.is_float or x.dtype.is_bool else np.iinfo(x.dtype.numpy)
    pool = SPECIAL[x.dtype.kind] + ([int(info.min), int(info.max)] if info else [])
    with np.errstate(over="ignore"):
        return np.array([pool[i] for i in rng.integers(0, len(pool), x.type.size)]).astype(x.dtype.numpy).reshape(x.shape)


def same_numbers(before: Value, after: Value, exact: bool) -> None:
    inputs = [v for v in topological((before, after)) if v.op.name == "placeholder"]
    for seed in range(4):
        environment = {x: numbers(x, 10 * seed + i) for i, x in enumerate(inputs)}
        with np.errstate(all="ignore"):
            old, new = evaluate([before, after], environment)
        if not exact:
            np.testing.assert_allclose(new.astype(float), old.astype(float), rtol=3e-7, atol=1e-44)
            continue
        np.testing.assert_array_equal(new, old)
        if before.dtype.is_float:
            known = ~np.isnan(old)
            np.testing.assert_array_equal(np.signbit(new)[known], np.signbit(old)[known])


def fired(value: Value) -> tuple[Value, list[str]]:
    trace: list[Fired] = []
    graph = canonicalize(Graph("f", (), (value,)), trace)
    return graph.outputs[0], [step.rule for step in trace]


@pytest.mark.parametrize("name, before, after", ALL_CASES, ids=[name for name, _, _ in ALL_CASES])
def test_rule(name: str, before: Value, after: Value) -> None:
    found, names = fired(before)
    assert name in names
    inputs = {v.attrs["info"].name: v for v in topological((before,)) if v.op.name == "placeholder"}
    expected = _with_inputs(after, inputs)
    assert found is expected
    same_numbers(before, found, name not in ROUNDED)


def _with_inputs(value: Value, inputs: dict[str, Value]) -> Value:
    """`value` over the placeholders of these names (a case may write `t("w", ..)` on both of its sides)."""
    mapped: dict[Value, Value] = {}
    for v in topological((value,)):
        operands = tuple(mapped[o] for o in v.operands)
        mapped[v] = inputs[v.attrs["info"].name] if v.op.name == "placeholder" else make(v.op.name, *operands, **v.attrs)
    return mapped[value]


@pytest.mark.parametrize("name, value", ALL_NEIGHBOURS, ids=[name for name, _ in ALL_NEIGHBOURS])
def test_rule_stays_away_from_its_neighbour(name: str, value: Value) -> None:
    found, names = fired(value)
    assert name in {row.name for row in ALGEBRA.rules} and name not in names
    if value.type.size < 1000:
        same_numbers(value, found, exact=True)


def test_every_rule_has_a_case_and_every_guard_a_neighbour() -> None:
    tested, refused = {name for name, _, _ in ALL_CASES}, {name for name, _ in ALL_NEIGHBOURS}
    assert {row.name for row in ALGEBRA.rules} == tested
    self_evident = {
        "x // 1 -> x",
        "x % 1 -> 0",
        "-x / c -> x / -c",
        "-(x * c) -> x * -c",
        "-(x / c) -> x / -c",
    }  # ints only, floats only
    guarded = {row.name for row in ALGEBRA.rules if row.when is not None}
    assert guarded - refused - self_evident <= {
        "c < x -> x > c",
        "reshape(x) -> x, same shape",
        "broadcast(x) -> x, same shape",
    }


def test_casts_that_lose_nothing() -> None:
    every = [bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64]
    for narrow in every:
        for wide in every:
            pool = np.arange(-(2**15), 2**15).astype(narrow.numpy) if narrow.bits <= 16 else None
            if pool is None or narrow.is_float:
                continue
            back = pool.astype(wide.numpy).astype(narrow.numpy)
            exact = bool((back == pool).all()) and bool((pool.astype(wide.numpy).astype(float) == pool.astype(float)).all())
            assert represents(wide, narrow) == (exact or wide is narrow), f"{narrow} in {wide}"
    assert represents(float32, float16) and represents(float32, bfloat16) and represents(float64, float32)
    assert not (represents(float16, bfloat16) or represents(bfloat16, float16) or represents(float32, int32))
    assert represents(float64, int32) and not represents(float64, int64)


def test_full_values_keep_their_type() -> None:
    for dtype in (float16, bfloat16, float64):
        x = t("x", 3, dtype=dtype)
        found, _ = fired(make("select", t("c", 3, dtype=bool_), x * 1.0, full(x.type, 2.0) * 1.0))
        assert found.dtype is dtype and found.operands[2].op.name == "broadcast"


def test_canonical_graphs_are_returned_as_they_are() -> None:
    graph = Graph("f", (f, row), (across(row) + f, reduce_sum(e(f), (0,))))
    assert canonicalize(graph) is graph


def test_the_layout_of_a_convolution_stays() -> None:
    image, kernel = t("image", 1, 5, 5, 3), t("kernel", 2, 3, 3, 3)
    conv = make(
        "conv_general",
        transpose(image, (0, 3, 1, 2)),
        kernel,
        strides=(1, 1),
        padding=((0, 0), (0, 0)),
        lhs_dilation=(1, 1),
        rhs_dilation=(1, 1),
        feature_groups=1,
        batch_groups=1,
        lhs_spec=(0, 1, 2, 3),
        rhs_spec=(0, 1, 2, 3),
        out_spec=(0, 1, 2, 3),
    )
    assert fired(conv)[0] is conv
