"""What tiles fetch of an operand that the task copies into panels: all lines, before these are read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pytest
from native import check_native

import graphc as gc
from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.fills import next_fills
from graphc.codegen.llvm.nests import Fetches, together
from graphc.codegen.target import named
from graphc.driver import Stages
from graphc.dtype import int64
from graphc.ir.expr import Array, Call, Const, Expr, Index, Load, Temp, Var, as_index, linear
from graphc.ir.kernel import For, If, Kernel, Let, Stmt, Store
from graphc.ir.kernel_rewrite import Renamed
from graphc.passes.lower import contractions
from graphc.passes.tiles import Schedule

TARGET = replace(named("x86-64-v4"), l2_bytes=1 << 14)
ROWS, STEPS, COLUMNS, LINE = 10, 48, 96, 16
Group, Block = tuple[tuple[int, int], ...], tuple[int, int]
VISITS: dict[str, tuple[Group, Block]] = {
    "panel by panel": (((1, 3), (0, 5)), (0, 24)),
    "all panels": (((0, 5), (1, 3)), (0, 16)),
    "a panel each": (((0, 5),), (-1, 0)),
    "parts of a panel each": (((0, 5),), (0, 16)),
    "uneven": (((1, 2), (0, 4)), (0, 24)),
}


def kernel_of(turned: bool, group: Group, block: Block) -> Kernel:
    """A matrix product in tiles of two rows and 32 columns; visits pack the right operand, which may lie `turned`."""
    x = gc.placeholder((ROWS, STEPS), gc.float32, name="x")
    w = gc.placeholder((COLUMNS, STEPS) if turned else (STEPS, COLUMNS), gc.float32, name="w")
    stages = Stages({"run": gc.function([x, w], x @ (w.T if turned else w))}, TARGET.name)
    (contraction,) = contractions(stages.fused, stages.backend.machine, stages.seeds)
    tiled = Schedule(1, 32, ((0, 2),), (1,), 16, 0.0, order=(1, 0), steps=(2,), group=group, block=block, near=(1,))
    (launch,) = contraction(lambda _: tiled).launches("")
    return launch.kernel


@dataclass
class Walk:
    """Which lines of `array` a kernel reads: those `before` the first sum, and those that nobody had fetched."""

    array: Array
    ahead: Fetches
    fetched: set[int] = field(default_factory=set)
    before: set[int] = field(default_factory=set)
    missed: set[int] = field(default_factory=set)
    names: dict[Var | Temp, Index] = field(default_factory=dict)

    def body(self, stmts: tuple[Stmt, ...]) -> None:
        for stmt in stmts:
            match stmt:
                case Let(temp=temp, value=value) if temp.dtype is int64:
                    self.names[temp] = as_index(self.known(value))
                case If(condition=condition, then=then) if self.known(condition):
                    self.body(then)
                case For():
                    self.loop(stmt)
                case Store(value=Load(array=self.array, index=index)):
                    self.read(self.known(index) // LINE)

    def loop(self, loop: For) -> None:
        for n in range(loop.var.extent):
            self.names[loop.var] = as_index(n)
            for fetch in self.ahead.get(loop, []) if n % together(loop) == 0 else ():
                for at in product(*(range(0, var.extent, step) for var, step in fetch.over)):
                    self.names |= {var: as_index(place) for (var, _), place in zip(fetch.over, at, strict=True)}
                    self.fetched.add(self.known(fetch.index) // LINE)
            if loop not in self.ahead:
                self.body(loop.body)
        del self.names[loop.var]

    def read(self, line: int) -> None:
        if not self.fetched:
            self.before.add(line)
        elif line not in self.fetched | self.before:
            self.missed.add(line)

    def known(self, expr: Expr) -> int:
        if isinstance(expr, Call) and expr.word == "min":
            return min(map(self.known, expr.args))
        value = Renamed(self.names).expr(expr)
        if isinstance(value, Const):
            return int(value.value)
        terms, number = linear(as_index(value))
        assert not terms
        return number


@pytest.mark.parametrize("visits", [name for name in VISITS if name != "uneven"])
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "turned"])
def test_all_that_is_copied_was_fetched_while_tiles_were_computed(turned: bool, visits: str) -> None:
    kernel = kernel_of(turned, *VISITS[visits])
    (w,) = (array for array in kernel.params if array.size == STEPS * COLUMNS)
    walk = Walk(w, next_fills(kernel, TARGET))
    for task in range(kernel.task.extent):
        walk.names[kernel.task] = as_index(task)
        walk.body(kernel.body)
    assert walk.fetched and not walk.missed
    assert len(walk.before) < STEPS * COLUMNS // LINE // 2 and len(walk.fetched) <= 1.5 * STEPS * COLUMNS // LINE


def test_what_stays_in_the_second_cache_is_left_alone() -> None:
    kernel = kernel_of(False, *VISITS["panel by panel"])
    assert next_fills(kernel, TARGET) and not next_fills(kernel, replace(TARGET, l2_bytes=1 << 20))


@pytest.mark.parametrize("visits", VISITS)
def test_fetching_changes_no_number(visits: str) -> None:
    kernel = kernel_of(True, *VISITS[visits])
    assert "i32 immarg 2" in emit_kernel(kernel, "product", TARGET).text
    data = [np.random.default_rng(0).standard_normal(array.size).astype(np.float32) for array in kernel.params]
    check_native([kernel], [data], tolerance=1e-4, target=TARGET)
