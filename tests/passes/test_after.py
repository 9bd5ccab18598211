"""Values that have to wait for others: where they run, and that waiting takes no memory."""

from __future__ import annotations

from programs import check_kernels

from graphc.dtype import float32
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType
from graphc.ir.values import Value, make
from graphc.ops.contract import dot_general
from graphc.ops.shape import after
from graphc.ops.source import placeholder

X, W = (placeholder(name, TensorType(float32, (9, 9))) for name in "xw")


def dot(a: Value, b: Value) -> Value:
    return dot_general(a, b, contract=((1,), (0,)), batch=((), ()))


def test_what_has_to_wait_is_computed_after_its_event() -> None:
    y = dot(X, W)
    event = dot(dot(y, W), W)
    early, late = make("exp", y), make("exp", after(y, event))
    fused = check_kernels(Graph("f", (X, W), (dot(early, W), late, event)), calls=1)
    place = {v: n for n, cluster in enumerate(fused.clusters) for v in cluster.members}
    assert place[early] < place[event] <= place[late]


def test_waiting_takes_no_memory() -> None:
    y = dot(X, W)
    fused = check_kernels(Graph("f", (X, W), (dot(after(y, dot(y, W)), X),)), calls=1)
    assert all(cluster.anchor.op.name == "dot_general" for cluster in fused.clusters)
