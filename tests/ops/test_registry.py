"""The laws that every record of the registry obeys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import assert_close, check_body, check_gradient, check_reference, is_differentiable, operands_of

import graphc.ops  # noqa: F401  fills the registry
from graphc.interp.graph import evaluate
from graphc.ir.op import OPS, Elementwise, Expand, Marker, Op, Pointwise, Source
from graphc.ir.values import make


def over(*ops: Op) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("op", ops, ids=[op.name for op in ops])


def lowered_as(*kinds: type) -> list[Op]:
    return [op for op in OPS.values() if isinstance(op.lower, kinds)]


@over(*OPS.values())
@pytest.mark.filterwarnings("error")
def test_reference_has_the_type_of_the_rule(op: Op) -> None:
    for sample in op.samples():
        check_reference(op, sample)


@over(*OPS.values())
def test_ops_explain_themselves_and_bring_samples(op: Op) -> None:
    assert op.doc
    assert list(op.samples()) or op.name in ("placeholder", "variable", "grad")


@over(*(op for op in OPS.values() if callable(op.gradient) and not isinstance(op.lower, Marker)))
def test_gradient_equals_finite_differences_to_the_second_order(op: Op) -> None:
    samples = [sample for sample in op.samples() if is_differentiable(op, sample)]
    assert samples, "an op with a gradient needs a smooth float sample"
    for sample in samples:
        check_gradient(op, sample)


@over(*lowered_as(Elementwise, Pointwise))
def test_body_equals_reference(op: Op) -> None:
    for sample in op.samples():
        check_body(op, sample)


@over(*lowered_as(Expand))
def test_expansion_equals_reference(op: Op) -> None:
    for sample in op.samples():
        operands = operands_of(sample)
        node = make(op.name, *operands, **sample.attrs)
        expanded = op.lower.rule(node)
        assert expanded.type == node.type
        (actual,) = evaluate([expanded], dict(zip(operands, sample.arrays, strict=True)))
        assert_close(actual, op.reference(*sample.arrays, **sample.attrs), node.dtype, slack=10, scale=10)


def test_sources_have_no_operands() -> None:
    assert {op.name for op in lowered_as(Source)} == {"placeholder", "variable", "constant"}
    assert all(np.asarray(sample.arrays).size == 0 for op in lowered_as(Source) for sample in op.samples())


@pytest.mark.parametrize(
    "broken",
    [
        lambda node, ct: [ct],
        lambda node, ct: [None],
        lambda node, ct: [ct * make("stop_gradient", node)],  # right to the first order only
    ],
)
def test_a_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch, broken: object) -> None:
    op = replace(OPS["exp"], gradient=broken)
    monkeypatch.setitem(OPS, "exp", op)
    with pytest.raises(AssertionError, match="tolerance"):
        for sample in op.samples():
            if is_differentiable(op, sample):
                check_gradient(op, sample)


def test_a_wrong_reference_or_body_is_found() -> None:
    op = OPS["exp"]
    sample = next(iter(op.samples()))
    with pytest.raises(AssertionError):
        check_reference(replace(op, reference=lambda x: x.astype(np.float64)), sample)
    with pytest.raises(AssertionError):
        check_body(replace(op, reference=OPS["expm1"].reference), sample)
