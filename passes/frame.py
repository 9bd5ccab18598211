"""What a kernel under construction knows of memory: which buffer holds which value, and its params so far.

In: buffers by stored value. Out: loads and stores on the kernel's own arrays, and in the end the launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from graphc.dtype import DType, int64
from graphc.ir.expr import Array, Div, Expr, Index, Mod, Var, as_index, load, temp, unravel
from graphc.ir.kernel import Buffer, Kernel, Launch, Let, Stmt, Store
from graphc.ir.values import Value

from .element import Position, storage
from .inset import NONE, Insets, position


class Frame:
    """Collects the params of one kernel, one array per buffer, in order of first use."""

    def __init__(self, buffers: Mapping[Value, Buffer], insets: Insets = NONE) -> None:
        self._buffers, self._insets = buffers, insets
        self._arrays: dict[Buffer, Array] = {}
        self._locals = 0

    def is_stored(self, value: Value) -> bool:
        return value in self._buffers

    def array(self, buffer: Buffer) -> Array:
        """The kernel's array for `buffer`."""
        if buffer not in self._arrays:
            self._arrays[buffer] = Array(buffer.name, buffer.dtype, buffer.size)
        return self._arrays[buffer]

    def array_of(self, value: Value) -> Array:
        return self.array(self._buffers[storage(value)])

    def load(self, value: Value, index: Position, guard: Expr | None) -> Expr:
        """Element `index` of a stored value."""
        return load(self.array_of(value), self.position(value, index), guard)

    def load_if_stored(self, value: Value, index: Position, guard: Expr | None) -> Expr | None:
        """The same, or None for what is computed otherwise."""
        return self.load(value, index, guard) if self.is_stored(value) else None

    def store(self, value: Value, index: Position, element: Expr, guard: Expr | None = None) -> Stmt:
        """Write element `index` of a stored value."""
        return Store(self.array_of(value), self.position(value, index), element, guard)

    def position(self, value: Value, index: Position) -> Index:
        """Where the value's array holds the element."""
        return position(value, index, self._insets)

    def is_inset(self, value: Value) -> bool:
        """Whether neighbouring rows of a stored value lie apart, with a border between them."""
        return value in self._insets

    def scratch(self, name: str, dtype: DType, size: int) -> Array:
        """A fresh local array (declare it with `Local`)."""
        self._locals += 1
        return Array(f"{name}{self._locals}", dtype, size)

    def task(self, extents: tuple[int, ...]) -> tuple[Var, Position, list[Stmt]]:
        """The task variable over a box of indices, the index of a task, and the statements that name its parts: divided
        once, outside of every loop."""
        task = Var("task", prod(extents))
        index: list[Index] = []
        lets: list[Stmt] = []
        for n, part in enumerate(unravel(task, extents)):
            if isinstance(part, Div | Mod):
                name = temp(f"task{n}", int64, (0, extents[n] - 1))
                lets.append(Let(name, part))
                part = as_index(name)
            index.append(part)
        return task, tuple(index), lets

    def launch(self, name: str, task: Var, body: tuple[Stmt, ...], comment: str) -> Launch:
        """The finished kernel over its buffers."""
        kernel = Kernel(name, tuple(self._arrays.values()), task, body)
        return Launch(kernel, tuple(self._arrays), comment)
