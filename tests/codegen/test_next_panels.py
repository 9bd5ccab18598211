"""What tiles fetch while they share a panel: every line of the next one, and nothing where each has its own."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
from native import check_native

from graphc.codegen.llvm.emit import emit_kernel
from graphc.codegen.llvm.panels import next_panels
from graphc.codegen.target import named
from graphc.dtype import float32, int64
from graphc.ir.expr import Affine, Array, Const, Div, Expr, Index, Mod, Var, as_index, call, const, load, temp
from graphc.ir.kernel import SERIAL, UNROLLED, VECTOR, Accumulate, For, Kernel, Let, Local, Stmt, Store

TARGET = named("x86-64-v4")
LANES, ROWS, LINE = 32, 3, 16


def value(index: Expr, at: dict[Expr, int]) -> int:
    match index:
        case Affine(terms=terms, constant=constant):
            return sum(factor * value(atom, at) for atom, factor in terms) + constant
        case Div(index=inner, divisor=divisor):
            return value(inner, at) // divisor
        case Mod(index=inner, divisor=divisor):
            return value(inner, at) % divisor
        case Const(value=number):
            return int(number)
    return at[index]


def tile(
    panels: int, tiles: int, taps: int, steps: int, inside: bool, shared: bool = True, row: int = 0
) -> tuple[Kernel, Array, For]:
    """y[tile, v] = sum over taps and steps of x[tap, step] * panel[p, tap, step, v], for `tiles` tiles that use panel p in
    turn: `inside` of one task, or as tasks of their own. A row of a tile reads `row` elements behind the one before."""
    count = 1 if inside else tiles
    task = Var("t", panels * count)
    visit = Var("g", tiles)
    number: Index = task * tiles + visit if inside else as_index(task)
    panel_at = (as_index(task) if inside else task // tiles) if shared else number
    x = Array("x", float32, taps * steps)
    panel = Array("panel", float32, (panels if shared else panels * tiles) * taps * steps * LANES + ROWS * row)
    y, acc = Array("y", float32, panels * tiles * ROWS * LANES), Array("acc", float32, ROWS * LANES)
    tap, k, i, v = Var("tap", taps), Var("k", steps), Var("i", ROWS), Var("v", LANES)
    cell, step = i * LANES + v, tap * steps + k

    def over_rows(stmt: Stmt) -> For:
        return For(i, (For(v, (stmt,), VECTOR, 16),), UNROLLED)

    product = Accumulate(acc, cell, "add", load(x, step) * load(panel, (panel_at * taps * steps + step) * LANES + v + i * row))
    inner = For(k, (over_rows(product),), SERIAL)
    nest = For(tap, (inner,), SERIAL)
    store = Store(y, number * (ROWS * LANES) + cell, load(acc, cell))
    body: tuple[Stmt, ...] = (Local(acc), over_rows(Store(acc, cell, const(0, float32))), nest, over_rows(store))
    if inside:
        body = (For(visit, body, SERIAL),)
    return Kernel("tile", (x, panel, y), task, body), panel, inner


SHAPES = [(3, 2, 9, 300), (4, 7, 3, 400), (2, 37, 1, 2000), (3, 40, 2, 1000)]


@pytest.mark.parametrize("inside", [False, True], ids=["tasks", "group"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tiles_that_share_a_panel_fetch_every_line_of_the_next(shape: tuple[int, int, int, int], inside: bool) -> None:
    _, tiles, taps, steps = shape
    kernel, panel, inner = tile(*shape, inside)
    (fetch,) = next_panels(kernel, TARGET)[inner]
    position = fetch.index
    assert fetch.array is panel
    variables = {var.name: var for var in _variables(position)}
    size = taps * steps * LANES
    lines = set()
    for visit in range(tiles):
        for step in range(taps * steps):
            names = {"t": 1 if inside else tiles + visit, "g": visit, "tap": step // steps, "k": step % steps}
            lines.add(value(position, {variables[n]: at for n, at in names.items() if n in variables}) // LINE)
    assert lines >= set(range(2 * size // LINE, 3 * size // LINE))
    assert len(lines) <= 2 * size // LINE  # and little else


def _variables(index: Expr) -> set[Var]:
    match index:
        case Affine(terms=terms):
            return set().union(*(_variables(atom) for atom, _ in terms))
        case Div(index=inner) | Mod(index=inner):
            return _variables(inner)
    return {index} if isinstance(index, Var) else set()


def in_rows(gap: int = 0, mixed: bool = False) -> tuple[Kernel, Array, For]:
    """y[batch, panel, tile, v] = sum over steps of panel[batch, panel, step, v]: three rows of four panels, `gap` elements
    apart, each read by five tiles. When `mixed`, the tiles of a panel do not follow one another."""
    steps, parts = 300, (3, 5, 4) if mixed else (3, 4, 5)
    task, k, i, v = Var("t", prod(parts)), Var("k", steps), Var("i", ROWS), Var("v", LANES)
    values = (task // (parts[1] * parts[2]), task // parts[2] % parts[1], task % parts[2])
    names = [temp(f"part{n}", int64, (0, extent - 1)) for n, extent in enumerate(parts)]
    batch, number = as_index(names[0]), as_index(names[2 if mixed else 1])
    panel = Array("panel", float32, 3 * (4 * steps * LANES + gap))
    y, acc = Array("y", float32, task.extent * ROWS * LANES), Array("acc", float32, ROWS * LANES)

    def over_rows(stmt: Stmt) -> For:
        return For(i, (For(v, (stmt,), VECTOR, 16),), UNROLLED)

    cell, at = i * LANES + v, batch * (4 * steps * LANES + gap) + number * (steps * LANES) + k * LANES + v
    inner = For(k, (over_rows(Accumulate(acc, cell, "add", load(panel, at) * const(2.0, float32))),), SERIAL)
    zeros, store = (
        over_rows(stmt) for stmt in (Store(acc, cell, const(0, float32)), Store(y, task * ROWS * LANES + cell, load(acc, cell)))
    )
    lets = [Let(name, part) for name, part in zip(names, values, strict=True)]
    return Kernel("tile", (panel, y), task, (*lets, Local(acc), zeros, inner, store)), panel, inner


def test_panels_in_rows_are_followed_by_the_next_row() -> None:
    kernel, panel, inner = in_rows()
    (fetch,) = next_panels(kernel, TARGET)[inner]
    position = fetch.index
    assert fetch.array is panel
    lines: dict[int, set[int]] = {}
    lets = {let.temp: let.value for let in kernel.body if isinstance(let, Let)}
    for task, step in product(range(60), range(300)):
        at: dict[Expr, int] = {kernel.task: task, inner.var: step}
        at |= {name: value(part, at) for name, part in lets.items()}
        lines.setdefault(task // 5, set()).add(value(position, at) // LINE)
    size = 300 * LANES // LINE
    assert all(found >= set(range((n + 1) * size, (n + 2) * size)) for n, found in lines.items())


def test_rows_of_panels_that_lie_apart_or_alternate_fetch_none() -> None:
    assert next_panels(in_rows(gap=LINE)[0], TARGET) == {}
    assert next_panels(in_rows(mixed=True)[0], TARGET) == {}


def test_a_tile_with_a_panel_of_its_own_fetches_none() -> None:
    assert next_panels(tile(4, 7, 3, 400, inside=False, shared=False)[0], TARGET) == {}
    assert next_panels(tile(4, 1, 3, 2000, inside=False)[0], TARGET) == {}


@pytest.mark.parametrize("inside", [False, True], ids=["tasks", "group"])
def test_what_moves_with_the_rows_is_no_panel(inside: bool) -> None:
    kernel, _, _ = tile(3, 5, 2, 700, inside, row=LANES)
    assert next_panels(kernel, TARGET) == {}
    data = [np.random.default_rng(0).standard_normal(a.size).astype(np.float32) for a in kernel.params[:2]]
    check_native([kernel], [[*data, np.zeros(kernel.params[2].size, np.float32)]], tolerance=1e-4)


def test_panels_that_stay_in_the_second_cache_are_left_alone() -> None:
    assert next_panels(tile(2, 7, 1, 8, inside=False)[0], TARGET) == {}


@pytest.mark.parametrize("inside", [False, True], ids=["tasks", "group"])
def test_fetching_beyond_the_last_panel_harms_nothing(inside: bool) -> None:
    kernel, _, _ = tile(3, 5, 2, 700, inside)
    assert "i32 immarg 2" in emit_kernel(kernel, "tile", TARGET).text
    data = [np.random.default_rng(0).standard_normal(a.size).astype(np.float32) for a in kernel.params[:2]]
    check_native([kernel], [[*data, np.zeros(kernel.params[2].size, np.float32)]], tolerance=1e-4)


def rows(
    tiles: int, steps: int, columns: int, rest: int = 0, gap: int = 0, group: int = 1, blocks: int = 1
) -> tuple[Kernel, Array, For]:
    """y[row, column, v] = sum over steps of x[row, step] * w[column, step, v], for tiles of some rows and one column after
    another, or groups of tiles. The last tile has `rest` rows of its own and starts earlier; rows lie `gap` elements apart. Of
    several `blocks` of steps each is a visit of the group, and y has the sums of the last one."""
    task, visit = Var("t", tiles // group * columns), Var("g", group)
    count = tiles * ROWS - (ROWS - rest if rest else 0)
    w, x = Array("w", float32, columns * blocks * steps * LANES), Array("x", float32, count * (blocks * steps + gap))
    y, acc = Array("y", float32, count * columns * LANES), Array("acc", float32, ROWS * LANES)
    b, k, i, v = Var("b", blocks), Var("k", steps), Var("i", ROWS), Var("v", LANES)
    step = (b * steps if blocks > 1 else as_index(0)) + k
    start, lets = (task // columns * group + (visit if group > 1 else 0)) * ROWS, ()
    if rest:
        early = temp("start", int64, (0, count - ROWS))
        lets, start = (Let(early, call("min", start, const(count - ROWS, int64))),), as_index(early)

    def over_rows(stmt: Stmt) -> For:
        return For(i, (For(v, (stmt,), VECTOR, 16),), UNROLLED)

    column, row, cell = task % columns, start + i, i * LANES + v
    product = load(x, row * (blocks * steps + gap) + step) * load(w, (column * blocks * steps + step) * LANES + v)
    inner = For(k, (over_rows(Accumulate(acc, cell, "add", product)),), SERIAL)
    store = Store(y, (row * columns + column) * LANES + v, load(acc, cell))
    zeros = over_rows(Store(acc, cell, const(0, float32)))
    body: tuple[Stmt, ...] = (*lets, Local(acc), zeros, inner, over_rows(store))
    for var in (visit, b):
        body = (For(var, body, SERIAL),) if var.extent > 1 else body
    return Kernel("rows", (x, w, y), task, body), x, inner


@pytest.mark.parametrize("rest", [0, 2], ids=["even", "overlapping"])
@pytest.mark.parametrize("shape", [(40, 1000, 5), (40, 1000, 40), (200, 1000, 1), (90, 700, 2)], ids=str)
def test_tiles_fetch_the_rows_of_the_next(shape: tuple[int, int, int], rest: int) -> None:
    _, steps, columns = shape
    kernel, x, inner = rows(*shape, rest)
    (fetch,) = next_panels(kernel, TARGET)[inner]
    position = fetch.index
    assert fetch.array is x
    variables = {var.name: var for var in _variables(position)}
    at = ({"t": 3 * columns + column, "k": step} for column in range(columns) for step in range(steps))
    lines = {value(position, {variables[n]: number for n, number in names.items()}) // LINE for names in at}
    size = ROWS * steps
    assert lines >= set(range(-(-4 * size // LINE), 5 * size // LINE))
    assert len(lines) <= 2 * size // LINE  # and little else


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("rest", [0, 2], ids=["even", "overlapping"])
def test_groups_of_tiles_fetch_rows(rest: int, columns: int) -> None:
    """Those of the next tile; or those of the next group, while this one is visited again for other columns."""
    steps, group = 1000, 4
    kernel, x, inner = rows(200, steps, columns, rest, group=group)
    (fetch,) = (each for each in next_panels(kernel, TARGET)[inner] if each.array is x)
    variables = {var.name: var for var in _variables(fetch.index)}
    lines = set()
    for task, visit, step in product(range(3 * columns, 4 * columns), range(group), range(steps)):
        at = {variables[n]: m for n, m in {"t": task, "g": visit, "k": step}.items() if n in variables}
        if columns > 1 or visit == 2:
            lines.add(value(fetch.index, at) // LINE)
    first, size = (15, ROWS * steps) if columns == 1 else (16, group * ROWS * steps)
    wanted = set(range(-(-first * ROWS * steps // LINE), (first * ROWS * steps + size) // LINE))
    assert lines >= wanted and len(lines) <= 2 * len(wanted)


def test_rows_that_take_most_of_the_second_cache_are_fetched_for_a_single_tile() -> None:
    kernel, x, _ = rows(60, 1000, 1)
    assert TARGET.l2_bytes / 2 < x.size * 4 < TARGET.l2_bytes and next_panels(kernel, TARGET)


def test_rows_that_are_few_or_lie_apart_are_left_alone() -> None:
    kernel, x, inner = rows(200, 1000, 1, group=4, blocks=2)  # of each row the next tile reads only a part
    assert x not in [fetch.array for fetch in next_panels(kernel, TARGET)[inner]]
    assert next_panels(rows(40, 1000, 1)[0], TARGET) == {}  # a single tile reads them, from the second cache
    assert next_panels(rows(200, 1000, 1, gap=8)[0], TARGET) == {}
    assert next_panels(rows(4, 100, 5)[0], TARGET) == {}


def test_fetching_beyond_the_last_rows_harms_nothing() -> None:
    kernel, _, _ = rows(40, 1000, 3, rest=1)
    assert "i32 immarg 2" in emit_kernel(kernel, "rows", TARGET).text
    data = [np.random.default_rng(0).standard_normal(a.size).astype(np.float32) for a in kernel.params[:2]]
    check_native([kernel], [[*data, np.zeros(kernel.params[2].size, np.float32)]], tolerance=1e-4)
