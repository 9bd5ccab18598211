"""Contractions on tensor cores: each warp of a block multiplies a tile of the result by mma instructions (mma.py).

    for 16 words of steps in the panel:  a, b = shared panels;  c[m, n] += a[m] * b[n]  for the 16 x 8 fragments of the tile

In: a `Product`, the sizes of a tile, and the type in which operands are multiplied. Out: a `Mapped` kernel; how panels come
to shared memory is told in panels.py, and on the way operands are rounded.

Which steps, rows and columns an instruction calls its first is free, as long as both operands and the epilogue agree. They
are called so that threads read and store 16 bytes, and no two of them the same bank of shared memory at once:

* a lane's words of steps (t and t + 4 of two instructions) are the four words from 4 t;
* a lane's columns in four fragments are neighbours, and so are its rows where rows lie together in memory;
* a panel whose steps lie together keeps a row of steps for each place of its side; another keeps a row of places for each
  word of steps, in the order in which lanes want them; the pitches say in which banks rows start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.dtype import DType, float32, int64
from graphc.ir.expr import Array, Call, Expr, Index, Var, all_of, as_index, const, load, temp
from graphc.ir.kernel import UNROLLED, For, If, Let, Stmt, Store, walk
from graphc.ir.kernel_rewrite import Renamed

from .mma import COLUMNS, NAMES, ROWS, SUMS, WARP, Part, multiply, per_word
from .packets import PACKET_BYTES
from .panels import Blocks, Panel
from .products import Axes, Moved, Name, Product
from .roles import PACKET, Mapped
from .tidy import serial

TOGETHER = 16  # words of steps: two instructions, of which a lane reads four words at once
BANKS = 32
NEIGHBOURS = 4  # rows, or columns, of a lane that lie together: 16 bytes of words
REGISTERS, MOST_REGISTERS = 1 << 16, 255  # of a multiprocessor, and of a thread
OTHER_REGISTERS = 44  # of a thread, for addresses and what the compiler likes to keep
ERRORS = {"tf32": "2^-10", "bf16": "2^-7 + 2^-16"}  # of a product, by what its operands are rounded to


@dataclass(frozen=True)
class TensorTile:
    """Rows and columns of a block's tile, words of steps of a panel, rows and columns of a warp's tile."""

    rows: int
    columns: int
    words: int
    own_rows: int
    own_columns: int

    @property
    def across(self) -> int:
        """Warps side by side along a row."""
        return self.columns // self.own_columns

    @property
    def warps(self) -> int:
        return self.rows // self.own_rows * self.across


def fragmented(product: Product, tile: TensorTile, dtype: DType) -> Mapped:
    """The product in tiles of fragments of `dtype`."""
    return _Fragmented(product, tile, dtype).mapped(resident(product, tile, dtype), note(product, dtype))


def resident(product: Product, tile: TensorTile, dtype: DType) -> int:
    """Blocks of a multiprocessor: two where registers allow it, so that one computes while the other waits for a panel; none
    where a thread would need more registers than it can have."""
    size = dtype.size if halves(product) is dtype else 4
    stages = (tile.rows + tile.columns) * tile.words * size // (dtype.size * tile.warps * WARP)
    held = tile.own_rows * tile.own_columns // WARP + 4 * tile.own_columns // COLUMNS + 4 * NEIGHBOURS
    needed = stages + held + OTHER_REGISTERS
    return 0 if needed > MOST_REGISTERS else min(2, REGISTERS // (needed * tile.warps * WARP))


def halves(product: Product) -> DType | None:
    """The 16-bit type of which both operands are values, so that products of tensor cores are exact."""
    sources = {_source(operand).dtype for operand in (product.lhs, product.rhs)}
    (dtype,) = sources if len(sources) == 1 else (float32,)
    return dtype if dtype.bits == 16 and dtype in NAMES else None


def _source(operand: Expr) -> Expr:
    """The value that is cast to float32, where it is one."""
    return operand.args[0] if isinstance(operand, Call) and operand.word == "cast" else operand


def note(product: Product, dtype: DType) -> str:
    """What a reader of the source must know of the numbers."""
    name, steps = NAMES[dtype], product.steps.size
    exact = halves(product) is dtype
    kept = f"operands are {name}" if exact else f"operands are rounded to {name}"
    error = f"({steps} + 16) * 2^-22" if exact else f"({ERRORS[name]} + ({steps} + 16) * 2^-22)"
    return f"Tensor cores: {kept}, sums are float32: an error of at most {error} * sum |a| |b|."


@dataclass(frozen=True)
class _Side:
    """An operand on its way through a lane: its panel, and the words that the lane holds at once: four of each of `rows` rows
    (or columns), of which a fragment has `each` and memory has `neighbours` together."""

    panel: Panel
    array: Array
    held: int
    rows: int
    each: int
    neighbours: int

    def word(self, number: Index, quarter: Index) -> Index:
        """Where the lane holds a word of its row `number`, for an instruction (quarter // 2) and a place there."""
        half, register = quarter // 2, quarter % 2
        return ((number // self.each * 2 + half) * 2 + register) * self.each + number % self.each

    def part(self, fragment: Index, half: Index) -> Part:
        """The words of one instruction."""
        return Part(self.array, self.held, (fragment * 2 + half) * (self.held * self.each // (2 * self.rows)))


class _Fragmented(Blocks):
    def __init__(self, product: Product, tile: TensorTile, dtype: DType) -> None:
        self.tile, self.dtype, self.per = tile, dtype, per_word(dtype)
        super().__init__(product, tile.rows, tile.columns, tile.words * self.per, tile.warps * WARP)
        self.fragments = m, n = tile.own_rows // ROWS, tile.own_columns // COLUMNS
        exact = halves(product) is dtype
        lhs, rhs = (_source(operand) if exact else operand for operand in (product.lhs, product.rhs))
        near = 1 if self.along_steps(lhs, product.rows)[0] else min(NEIGHBOURS, 2 * m)
        self.a = self._side("lhs", lhs, product.rows, tile.rows, max(2, near), 2, near)
        self.b = self._side("rhs", rhs, product.columns, tile.columns, n, 1, min(NEIGHBOURS, n))
        self.lhs, self.rhs, self.sums = self.a.panel, self.b.panel, m * n * SUMS
        self.c = Array("c", product.dtype, self.threads * self.sums)

    def _side(self, name: str, expr: Expr, axes: Axes, extent: int, rows: int, each: int, neighbours: int) -> _Side:
        held = rows * 4 * self.per
        array = Array("a" if name == "lhs" else "b", self.dtype, self.threads * held)
        return _Side(self._panel(name, expr, axes, extent, neighbours), array, held, rows, each, neighbours)

    def _panel(self, name: str, expr: Expr, side: Axes, extent: int, neighbours: int) -> Panel:
        along, _ = self.along_steps(expr, side)
        pieces = expr.dtype.size // self.dtype.size if along else self.per
        width = self.packets(expr, side, extent, pieces)
        together = width > 1
        words = self.tile.words
        if along:  # four words of a lane; the next lane's row, `neighbours` rows away, is half the banks away
            pitch = next(p for p in range(words, words + BANKS, 4) if neighbours * p % BANKS == BANKS // 2)
            size = extent * pitch * self.per
        else:  # four places of a lane; the next row is that of the next lane
            pitch = extent + (8 - extent) % BANKS
            size = words * pitch * self.per
        assert self.steps * extent % self.threads == 0, f"{self.tile} cannot share a panel of {extent}"
        return Panel(
            expr=expr,
            side=side,
            extent=extent,
            along_steps=along,
            width=width,
            pieces=pieces if together else 1,
            stored=PACKET_BYTES // self.dtype.size if together else 1,
            packed=together,
            pitch=pitch,
            shared=Array(f"{name}_panel", self.dtype, size),
            stage=Array(f"{name}_stage", expr.dtype, self.steps * extent),
        )

    def registers(self) -> dict[Array, int]:
        return {self.c: self.sums, self.a.array: self.a.held, self.b.array: self.b.held}

    def position(self, panel: Panel, step: Index, place: Index) -> Index:
        if panel.along_steps:
            return place * (panel.pitch * self.per) + step
        word = step // self.per
        row = word // TOGETHER * TOGETHER + word % TOGETHER // 4 + word % 2 * 4 + word // 2 % 2 * 8
        return (row * panel.pitch + place) * self.per + step % self.per

    def clear(self, thread: Var) -> list[Stmt]:
        i = Var("i", self.sums)
        return [For(i, (Store(self.c, thread * self.sums + i, const(0, float32)),), UNROLLED)]

    # ----------------------------------------------------------------------------------------------------------- products

    def multiply(self) -> list[Stmt]:
        """The lane's columns are held for all of its rows, of which few are held at once."""
        own = self.a.rows // 2  # fragments of rows that are held
        outer, half, m, n = Var("outer", self.fragments[0] // own), Var("half", 2), Var("m", own), Var("n", self.fragments[1])
        fragment = (outer * own + m) * n.extent + n
        product = multiply(
            self.tile.warps, Part(self.c, self.sums, fragment * SUMS), self.a.part(m, half), self.b.part(n, half)
        )
        products = For(half, (For(m, (For(n, (product,), UNROLLED),), UNROLLED),), UNROLLED)
        result: list[Stmt] = []
        for word in range(0, self.tile.words, TOGETHER):
            rows = self._fetch(self.a, word, outer * self.a.rows)
            result += [self._fetch(self.b, word, as_index(0)), For(outer, (rows, products), UNROLLED)]
        return result

    def _fetch(self, side: _Side, word: int, first: Index) -> Stmt:
        """A lane's words of two instructions from `word`, for its rows from `first`."""

        def fetch(thread: Var) -> list[Stmt]:
            (group, member, down, across), lets = self._place(thread)
            start = down * self.tile.own_rows if side is self.a else across * self.tile.own_columns
            return [
                *lets,
                self._words(side, thread, word, lambda number: start + _spread(number, side.neighbours, group), first, member),
            ]

        return self.each_thread(fetch)

    def _words(self, side: _Side, thread: Var, word: int, place: Callable[[Index], Index], first: Index, member: Index) -> Stmt:
        """Packets of shared memory into the lane's words; `place` says where its rows lie."""
        panel, per = side.panel, self.per
        if panel.along_steps:  # four words of steps at each place
            outer, inner, lane = Var("number", side.rows), Var("inner", 1), Var("lane", 4 * per)
            number, quarter = outer + inner, lane // per
            source = place(first + number) * (panel.pitch * per) + (word + member * 4) * per + lane
        else:  # neighbouring places at each of four words of steps
            outer, inner = Var("quarter", 4), Var("inner", side.rows // side.neighbours)
            lane = Var("lane", side.neighbours * per)
            number, quarter = inner * side.neighbours + lane // per, as_index(outer)
            row = word + outer * 4 + member
            source = (row * panel.pitch + place(first + inner * side.neighbours)) * per + lane
        at = thread * side.held + side.word(number, quarter) * per + lane % per
        fetch = For(lane, (Store(side.array, at, load(panel.shared, source)),), PACKET)
        return For(outer, (For(inner, (fetch,), UNROLLED),), UNROLLED)

    def _place(self, thread: Var) -> tuple[tuple[Index, Index, Index, Index], list[Stmt]]:
        """g and t of a lane, its warp's tile in the block's, and the statements that name them."""
        tile = self.tile
        warp = thread // WARP
        parts = {
            "group": (thread % WARP // 4, 8), "member": (thread % 4, 4),
            "down": (warp // tile.across, tile.warps // tile.across), "across": (warp % tile.across, tile.across),
        }  # fmt: skip
        names = [temp(name, int64, (0, extent - 1)) for name, (_, extent) in parts.items()]
        group, member, down, across = map(as_index, names)
        return (group, member, down, across), [Let(name, part[0]) for name, part in zip(names, parts.values(), strict=True)]

    # ----------------------------------------------------------------------------------------------------------- epilogue

    def finish(self, thread: Var) -> list[Stmt]:
        """The epilogue for each sum of the thread that is inside of the result: neighbouring columns together."""
        p, side = self.p, self.b.neighbours
        (group, member, down, across), lets = self._place(thread)
        span = 2 * side  # columns of a lane that are neighbours
        stored = max((s.array.dtype.size for s in walk(p.epilogue) if isinstance(s, Store)), default=4)
        width = min(span, PACKET_BYTES // stored)
        number = Var("number", 2 * self.fragments[0])
        outer, piece, lane = Var("outer", self.fragments[1] // side), Var("piece", span // width), Var("lane", width)
        row = self.first_row + down * self.tile.own_rows + _spread(number, self.a.neighbours, group)
        column = self.first_column + across * self.tile.own_columns + outer * (8 * side)
        column = column + member * span + piece * width + lane
        within = piece * width + lane  # 2t and 2t + 1 of `side` fragments
        fragment = number // 2 * self.fragments[1] + outer * side + within % side
        cell = thread * self.sums + fragment * SUMS + number % 2 * 2 + within // side
        names: dict[Name, Index] = self.batch | p.rows.at(row) | p.columns.at(column)
        body = Moved(names, p.acc, load(self.c, cell)).block(serial(p.epilogue))
        together = width > 1 and p.columns.size % width == 0
        inside = all_of(column < p.columns.size)
        if inside is not None and not together:
            body = (If(inside, body),)
        body = (For(lane, body, PACKET if together else UNROLLED),)
        if inside is not None and together:
            body = (If(Renamed({lane: as_index(0)}).expr(inside), body),)
        body = (For(outer, (For(piece, body, UNROLLED),), UNROLLED),)
        below = all_of(row < p.rows.size)
        body = body if below is None else (If(below, body),)
        return [*lets, For(number, body, UNROLLED)]


def _spread(number: Index, side: int, group: Index) -> Index:
    """The place of a lane's row `number`: `side` neighbours of each of the eight groups, then the next ones."""
    return number // side * (8 * side) + group * side + number % side
