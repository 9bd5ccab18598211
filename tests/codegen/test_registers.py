"""Sums of a register tile stay in registers, whatever order LLVM gives the instructions of a step; what does not is aligned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from native import assembly
from small_kernels import mapping

import graphc as gc
from graphc import nn
from graphc.codegen.llvm.nests import crowded
from graphc.codegen.target import Target, named
from graphc.driver import Stages
from graphc.dtype import float32
from graphc.ir.expr import call

ADDED = re.compile(r"\tv?fm(?:add|la)")
JUMP = re.compile(r"\t(?:j\w+|b\.\w+)\t(\.L\w+)")
ON_STACK = re.compile(r".*(\(%rsp\).*zmm|zmm.*\(%rsp\)|\tq\d.*\[sp)")
MOVED_THERE = re.compile(r"\tvmov.*(\(%rsp\).*[yz]mm|[yz]mm.*\(%rsp\))")
TARGETS = [replace(named("x86-64-v4"), cpu="rocketlake"), named("aarch64")]  # whose own order is a bad one


def loops_of_sums(text: str) -> Iterator[list[str]]:
    """The innermost loops that add products up."""
    lines, labels = text.splitlines(), {}
    for end, line in enumerate(lines):
        if line.startswith(".L"):
            labels[line.split(":")[0]] = end
        jump = JUMP.match(line)
        if jump and jump[1] in labels:
            body = lines[labels[jump[1]] + 1 : end]
            if not any(JUMP.match(x) for x in body) and any(ADDED.match(x) for x in body):
                yield body


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(("channels", "out", "kernel", "stride"), [(64, 128, 3, 2), (96, 24, 1, 1)])
def test_no_sum_waits_on_the_stack(target: Target, channels: int, out: int, kernel: int, stride: int) -> None:
    x, net = gc.placeholder((1, 56, 56, channels), gc.float32, name="x"), nn.Conv2d(channels, out, kernel, stride, kernel // 2)
    function = gc.function([x], net(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    program = Stages({"run": function}, target.name, freeze=True).kernels
    (tiled,) = {x.kernel for function in program.functions for x in function.launches if crowded(x.kernel.body, target)}
    loops = list(loops_of_sums(assembly(tiled, target)))
    assert loops
    for body in loops:
        assert not [line for line in body if ON_STACK.match(line)]


@pytest.mark.parametrize(("name", "width"), [("x86-64-v4", 128), ("x86-64-v3", 64)])
def test_vectors_on_the_stack_lie_within_lines(name: str, width: int) -> None:
    """So that a load of one need not wait until the stores before have reached memory."""
    kernel = mapping(float32, 1 << 12, width, lambda x: call("tanh", call("exp", x) - call("sin", x)) * x)
    moved = [line for line in assembly(kernel, named(name)).splitlines() if MOVED_THERE.match(line)]
    assert moved and all("vmovap" in line or "vmovdqa" in line for line in moved)
