"""Contractions of small operands, and the machines that they are lowered for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from graphc.dtype import DType, float32
from graphc.ir.graph import Graph
from graphc.ir.kernel import Launch
from graphc.ir.types import TensorType
from graphc.ir.values import Value
from graphc.ops.contract import dot_general
from graphc.ops.source import placeholder
from graphc.passes.fuse import fuse
from graphc.passes.lower import lower
from graphc.passes.machine import Machine
from graphc.passes.schedule import Scheduler, choose

SIZES = (1, 2, 3, 5, 7, 13, 17, 31, 33)
MACHINES = [Machine(16, 16), Machine(32, 16), Machine(64, 32)]
TINY = Machine(16, 16, l1=256, l2=512)  # everything is far, everything is packed

machines = pytest.mark.parametrize("machine", [*MACHINES, TINY], ids=str)


def tensor(name: str, *shape: int, dtype: DType = float32) -> Value:
    return placeholder(name, TensorType(dtype, shape))


def dot(
    a: Value, b: Value, contract: Sequence[Sequence[int]] = ((1,), (0,)), batch: Sequence[Sequence[int]] = ((), ())
) -> Value:
    return dot_general(a, b, contract=contract, batch=batch)


def launches(graph: Graph, machine: Machine = MACHINES[1], scheduler: Scheduler = choose) -> tuple[Launch, ...]:
    return lower([fuse(graph)], machine, scheduler=scheduler).functions[0].launches
