"""What the steps of a tile fetch of its result: every line, where it is far and the sums are short, and nothing else."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from native import check_native

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.results import SHORT, tile_results
from graphc.codegen.target import named
from graphc.dtype import float32
from graphc.ir.expr import Array, Var, as_index, const, linear, load
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, Accumulate, For, Kernel, Local, Stmt, Store, walk
from graphc.ir.kernel_rewrite import Renamed

TARGET = named("x86-64-v4")
ROWS, LANES, LINE = 3, 32, 16
TILE = ROWS * LANES
FAR = TARGET.l2_bytes // 4 // TILE + 1  # tiles


def tiles(steps: tuple[int, ...], count: int = FAR) -> tuple[Kernel, For]:
    """y[t, i, v] = sum over steps of x[step] * w[step, v]; the kernel, and its innermost loop."""
    task, i, v, c = Var("t", count), Var("i", ROWS), Var("v", LANES), Var("c", LANES)
    size = int(np.prod(steps))
    x, w, y = Array("x", float32, size), Array("w", float32, size * LANES), Array("y", float32, count * TILE)
    acc, over = Array("acc", float32, TILE), [Var(f"k{n}", extent) for n, extent in enumerate(steps)]
    at = over[0] * (size // steps[0]) + (over[1] if len(steps) > 1 else 0)

    def over_rows(lane: Var, stmt: Stmt) -> For:
        return For(i, (For(lane, (stmt,), VECTOR, 16),), UNROLLED)

    nest = For(over[-1], (over_rows(v, Accumulate(acc, i * LANES + v, "add", load(x, at) * load(w, at * LANES + v))),))
    innermost = nest
    for var in reversed(over[:-1]):
        nest = For(var, (nest,))
    zero = over_rows(v, Store(acc, i * LANES + v, const(0, float32)))
    store = over_rows(c, Store(y, task * TILE + i * LANES + c, load(acc, i * LANES + c)))
    return Kernel("tiles", (x, w, y), task, (Local(acc), zero, nest, store)), innermost


def variables(kernel: Kernel, innermost: For) -> list[Var]:
    """The variables over steps, outermost first."""
    found = [stmt.var for stmt in walk(kernel.body) if isinstance(stmt, For) and stmt.kind == SERIAL]
    assert found[-1] is innermost.var
    return found


@pytest.mark.parametrize("steps", [(1,), (2,), (5,), (6,), (17,), (2, 3), (3, 4)], ids=str)
def test_every_line_of_the_tile_is_fetched(steps: tuple[int, ...]) -> None:
    kernel, innermost = tiles(steps)
    found, over = tile_results(kernel, TARGET), variables(kernel, innermost)
    assert list(found) == [innermost]
    fetched = []
    for at in product(*map(range, steps)):
        numbers = {kernel.task: as_index(FAR - 1)} | {var: as_index(n) for var, n in zip(over, at, strict=True)}
        for fetch in found[innermost]:
            terms, position = linear(Renamed(numbers).index(fetch.index))
            assert fetch.array.name == "y" and fetch.write and not terms
            fetched.append(position // LINE)
    first, lines = (FAR - 1) * TILE // LINE, TILE // LINE
    assert set(fetched) >= set(range(first, first + lines)) and min(fetched) == first
    assert len(fetched) < lines + int(np.prod(steps))


def test_near_results_and_long_sums_are_left_alone() -> None:
    assert tile_results(tiles((5,), count=7)[0], TARGET) == {}
    lines = TILE // LINE
    assert tile_results(tiles((SHORT * lines,))[0], TARGET) != {}
    assert tile_results(tiles((SHORT * lines + 1,))[0], TARGET) == {}


def test_fetching_changes_no_numbers() -> None:
    kernel, _ = tiles((5,))
    assert "i32 immarg 1, i32 immarg 3" in emit_kernel(kernel, "k", TARGET).text
    data = [np.random.default_rng(0).standard_normal(a.size).astype(np.float32) for a in kernel.params[:2]]
    small, _ = tiles((5,), count=9)
    check_native([small], [[*data, np.zeros(9 * TILE, np.float32)]], tolerance=1e-5)
