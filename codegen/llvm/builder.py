"""The text of one LLVM function while it grows.

In: instructions. Out: lines with fresh register names, labels, stack slots gathered at the entry, and the declarations
of the intrinsics that were called. It knows nothing of kernels; `Value` is what their expressions become.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from graphc.dtype import DType, bool_

from ..target import Target
from . import types

_REGISTER = re.compile(r"%[\w.]+")


@dataclass(frozen=True, slots=True)
class Value:
    """An operand: its text, element type and lanes; `known` is its number where it is a constant (then lanes is 1), `each` are
    the bools of lanes that are constants."""

    text: str
    dtype: DType
    lanes: int = 1
    known: bool | int | float | None = None
    each: tuple[bool, ...] | None = None


def constant(value: bool | int | float, dtype: DType) -> Value:
    """A scalar constant."""
    return Value(types.number(value, dtype), dtype, 1, value)


def each(bits: Sequence[bool]) -> Value:
    """Constant bools, one for each lane."""
    return Value(types.vector_of(["true" if bit else "false" for bit in bits], "i1"), bool_, len(bits), each=tuple(bits))


def every(*conditions: Sequence[bool]) -> Value:
    """Where all of some constant conditions hold."""
    return each([all(bits) for bits in zip(*conditions, strict=True)])


@dataclass(slots=True)
class Rows:
    """What is in rows of `count` elements of an array, by their distance from the pointer `base` in elements. They are read as
    a `kind`, and whole rows apart from `start`, so that no two have an element in common."""

    base: str
    count: int
    kind: str
    start: int
    found: dict[int, str] = field(default_factory=dict)

    def fits(self, base: str, first: int, count: int, kind: str) -> bool:
        """Whether a row can be one of these. Any other may share elements with them."""
        return self.base == base and self.count == count and self.kind == kind and (first - self.start) % count == 0


@dataclass(eq=False)
class Preheader:
    """The end of the block before a loop: lines to be written there, and what they compute from registers only."""

    lines: list[str] = field(default_factory=list)
    known: dict[object, str] = field(default_factory=dict)


@dataclass
class Builder:
    """Lines of a function body; `block` is the label of the block that is being written, `preheaders` are those of the loops
    around it, the outermost first."""

    target: Target
    lines: list[str] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)
    declarations: set[str] = field(default_factory=set)
    block: str = "entry"
    preheaders: list[Preheader] = field(default_factory=list)
    depths: dict[str, int] = field(default_factory=dict)  # of registers: in how many of these loops they are
    _count: int = 0
    _known: dict[object, str] = field(default_factory=dict)  # instructions before this point, whose results stay the same
    _rows: dict[str, Rows] = field(default_factory=dict)  # of arrays that change: what this block found or stored

    def name(self, stem: str = "") -> str:
        """A fresh name, without % in front."""
        self._count += 1
        return f"{stem or 'v'}{self._count}"

    def put(self, line: str) -> None:
        """An instruction without a result."""
        self.lines.append("  " + line)

    def op(self, text: str, stays: bool = True) -> str:
        """An instruction with a result; returns its register. One whose result `stays` the same, as all do but that of reading
        what changes, is not repeated where the first one was surely run."""
        found = self._known.get(text) if stays else None
        if found is not None:
            return found
        self._count += 1
        result = f"%v{self._count}"
        self.lines.append(f"  {result} = {text}")
        self.depths[result] = len(self.preheaders)
        if stays:
            self._known[text] = result
        return result

    def read(self, array: str, base: str, first: int, count: int, kind: str, load: Callable[[], str]) -> str:
        """What is in a row of an array that is written to: what `load` gives where this block does not know."""
        rows = self._rows.setdefault(array, Rows(base, count, kind, first))
        if not rows.fits(base, first, count, kind):
            return load()
        if first not in rows.found:
            rows.found[first] = load()
        return rows.found[first]

    def wrote(self, array: str, base: str, first: int, count: int, kind: str, value: str) -> None:
        """A row of an array was written."""
        rows = self._rows.setdefault(array, Rows(base, count, kind, first))
        if not rows.fits(base, first, count, kind):
            rows = self._rows[array] = Rows(base, count, kind, first)
        rows.found[first] = value

    def forget(self, array: str) -> None:
        """Any elements of an array were written."""
        self._rows.pop(array, None)

    def memo(self, key: object, make: Callable[[], str]) -> str:
        """The register that `make` gives, asked once where it was surely run."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = make()
        return found

    def depth(self, register: str) -> int:
        """In how many of the loops around a register is; in all of them, as far as is known."""
        return min(self.depths.get(register, len(self.preheaders)), len(self.preheaders))

    def early(self, text: str) -> str:
        """An instruction on registers, written before the loops in which they stay the same; returns its register."""
        depth = max(map(self.depth, _REGISTER.findall(text)), default=0)
        if depth == len(self.preheaders):
            return self.op(text)
        with self.before(self.preheaders[depth]):
            return self.op(text)

    def call(self, intrinsic: str, result: str, *args: tuple[str, str], stays: bool = True) -> str:
        """`call result @intrinsic(type operand, ...)`, declared once. A type may carry attributes: "ptr align 4"."""
        bare = ", ".join(kind.split(" align ")[0] for kind, _ in args)
        self.declarations.add(f"declare {result} @{intrinsic}({bare})")
        text = f"call {result} @{intrinsic}({', '.join(f'{kind} {operand}' for kind, operand in args)})"
        if result == "void":
            self.put(text)
            return ""
        return self.op(text, stays)

    def once(self, intrinsic: str, *args: tuple[str, str]) -> None:
        """`call void @intrinsic(...)`, not repeated where the first one was surely run."""
        key = f"{intrinsic} {args}"
        if key not in self._known:
            self._known[key] = ""
            self.call(intrinsic, "void", *args)

    def slot(self, scalar: str, count: int) -> str:
        """A stack slot of `count` elements, aligned for any vector, made once at the entry of the function."""
        name = f"%{self.name('slot')}"
        self.slots.append(f"  {name} = alloca [{count} x {scalar}], align 64")
        return name

    def jump(self, label: str) -> None:
        self.put(f"br label %{label}")

    def branch(self, condition: str, yes: str, no: str) -> None:
        self.put(f"br i1 {condition}, label %{yes}, label %{no}")

    def label(self, name: str) -> None:
        """Starts a block; the one before must have ended."""
        self.lines.append(f"{name}:")
        self.block, self._rows = name, {}

    def enter(self) -> Preheader:
        """What follows is in a loop, which begins behind this block."""
        self.preheaders.append(Preheader(known=dict(self._known)))
        return self.preheaders[-1]

    def leave(self) -> None:
        """What follows is behind the innermost loop, where what was known before it still is."""
        self._known = self.preheaders.pop().known

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is written meanwhile may not be run: nothing of it is known afterwards."""
        saved = dict(self._known)
        yield
        self._known = saved

    def before(self, preheader: Preheader) -> AbstractContextManager[None]:
        """Instructions go before one of the loops around."""
        return self.writing_to(preheader.lines, self.preheaders.index(preheader), preheader.known)

    @contextmanager
    def writing_to(self, lines: list[str], depth: int, known: dict[object, str] | None = None) -> Iterator[None]:
        """Instructions go to `lines`, inside so many of the loops, for a while; they must not start a block."""
        saved = self.lines, self._known, self._rows, self.preheaders
        self.lines, self._known, self._rows = lines, {} if known is None else known, {}
        self.preheaders = self.preheaders[:depth]
        yield
        self.lines, self._known, self._rows, self.preheaders = saved

    def widen(self, value: Value, lanes: int) -> Value:
        """The scalar `value` in every lane; a value that has its lanes already is returned as it is."""
        if value.lanes == lanes:
            return value
        assert value.lanes == 1, f"{value.lanes} lanes cannot become {lanes}"
        scalar = types.register(value.dtype)
        if value.known is not None:
            return Value(types.splat(value.text, scalar, lanes), value.dtype, lanes)
        return Value(self.splat(value.text, scalar, lanes), value.dtype, lanes)

    def splat(self, operand: str, scalar: str, lanes: int) -> str:
        """A scalar register in every lane of a vector register."""
        kind = types.vector(scalar, lanes)
        first = self.op(f"insertelement {kind} poison, {scalar} {operand}, i32 0")
        return self.op(f"shufflevector {kind} {first}, {kind} poison, <{lanes} x i32> zeroinitializer")

    def part(self, value: Value, start: int, count: int) -> Value:
        """`count` lanes from `start`; those beyond the end hold anything."""
        if count == 1 or value.lanes == count:
            return self.lane(value, start) if count == 1 else value
        scalar = types.register(value.dtype)
        kind, text = types.vector(scalar, value.lanes), value.text
        if value.lanes == 1:
            return Value(self.op(f"insertelement <{count} x {scalar}> poison, {scalar} {text}, i32 0"), value.dtype, count)
        order = types.vector_of([str(start + i) if start + i < value.lanes else "poison" for i in range(count)], "i32")
        taken = self.op(f"shufflevector {kind} {text}, {kind} poison, <{count} x i32> {order}")
        return Value(taken, value.dtype, count)

    def joined(self, low: Value, high: Value) -> Value:
        """The lanes of both."""
        kind, count = types.vector(types.register(low.dtype), low.lanes), low.lanes + high.lanes
        order = types.vector_of([str(i) for i in range(count)], "i32")
        text = self.op(f"shufflevector {kind} {low.text}, {kind} {high.text}, <{count} x i32> {order}")
        return Value(text, low.dtype, count)

    def lane(self, value: Value, lane: int) -> Value:
        """One lane of a vector, or a scalar itself."""
        if value.lanes == 1:
            return value
        scalar = types.register(value.dtype)
        taken = self.op(f"extractelement {types.vector(scalar, value.lanes)} {value.text}, i32 {lane}")
        return Value(taken, value.dtype)
