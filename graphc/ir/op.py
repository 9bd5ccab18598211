"""What an op is, whole in one record, and the registry of all ops.

In: records written in `graphc/ops`. Out: `OPS`, the one list that the builder, the interpreter, differentiation, the
lowering, the tests and the fuzzer read. A record says five things on adjacent lines: the type rule, the numpy reference
(the op's meaning), the gradient as graph, how its elements are computed as loops (`lower`), and sample inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..dtype import DType
from .expr import Expr
from .types import TensorType

if TYPE_CHECKING:
    from .values import Value

Index = tuple[Expr, ...]


class Reader(Protocol):
    """What a `Pointwise` rule may ask of the lowering while it computes one element of the result."""

    def read(self, operand: int, index: Index, guard: Expr | None = None) -> Expr:
        """Element `index` of operand number `operand`. Where `guard` (bool) is false nothing is loaded and the value is
        unspecified but harmless: select it away."""

    def reduce(self, combine: str, extents: Sequence[int], dtype: DType, term: Callable[[Index], Expr]) -> Expr:
        """Fold `term` over a small static box of loop indices with `combine` (a key of COMBINES)."""


class BlockReader(Protocol):
    """What a `Blocked` rule may ask."""

    def read(self, operand: int, index: Index) -> Expr:
        """Element `index` of operand number `operand`."""

    def name(self, value: Expr) -> Expr:
        """The value, computed here and once, however often it is used."""


@dataclass(frozen=True)
class Elementwise:
    """Result element i is `scalar(operand elements i ...)`; all operands have the result's shape.

    `scalar(*exprs, **attrs)` builds a kernel expression; its dtype is the result's.
    """

    scalar: Callable[..., Expr]
    heavy: int = 0  # how many functions of about ten multiplications, one of the other's result: keep, do not recompute


@dataclass(frozen=True)
class Pointwise:
    """Result element at `index` is `element(node, index, reader)`: views, gathers, windows, counters, random bits."""

    element: Callable[[Value, Index, Reader], Expr]
    view: bool = False  # only moves elements of its operands: costs nothing to recompute
    heavy: int = 0


@dataclass(frozen=True)
class Blocked:
    """The result in blocks whose elements share work. `block(node)`: how many elements of each dimension (one of the last,
    along which lanes run). `elements(node, start, reader)`: those of the block that begins at index `start`, row-major; of a
    block that sticks out of the result, elements beyond it are not used."""

    block: Callable[[Value], tuple[int, ...]]
    elements: Callable[[Value, Index, BlockReader], Iterable[Expr]]


@dataclass(frozen=True)
class Reduction:
    """Folds operand 0 over attribute `axes` with `combine` (a key of COMBINES); f16 and bf16 accumulate in f32."""

    combine: str


@dataclass(frozen=True)
class Axis:
    """One loop of a contraction. Operand strides are in elements of the row-major operand; 0 means "does not move it".
    `apart`: what belongs to one index is made and used together, before or after the next one's."""

    extent: int
    lhs: int
    rhs: int
    out: int  # ignored for reduced axes
    apart: bool = False


@dataclass(frozen=True)
class ContractionSpec:
    """out[kept] = sum over reduced of lhs[...] * rhs[...]; each index is affine in the axes, no padding, no bounds."""

    kept: tuple[Axis, ...]
    reduced: tuple[Axis, ...]


@dataclass(frozen=True)
class Contraction:
    """A sum of products of two operands; `spec(node)` describes every index as strides.

    Where indices leave the operands (a convolution with padding), `expand(node)` first returns an equal value whose
    contraction is plain; None means that the node is plain already, and only then `spec` may be asked.
    """

    spec: Callable[[Value], ContractionSpec]
    expand: Callable[[Value], Value | None] = lambda node: None


@dataclass(frozen=True)
class Loops:
    """A kernel of its own. `kernel(node)` returns a kernel.Kernel whose params are the operands, then the result."""

    kernel: Callable[[Value], Any]


@dataclass(frozen=True)
class Expand:
    """Said in other ops: `rule(node)` returns an equal value of the same type built from them."""

    rule: Callable[[Value], Value]


@dataclass(frozen=True)
class Source:
    """No computation: placeholders, variables, constants."""


@dataclass(frozen=True)
class Marker:
    """An annotation in the graph that a pass removes before lowering; its value is operand 0."""


Lowering = Elementwise | Pointwise | Blocked | Reduction | Contraction | Loops | Expand | Source | Marker
Gradient = Callable[["Value", "Value"], Sequence["Value | None"]]


@dataclass(frozen=True)
class Sample:
    """Operand arrays and attributes with which tests and the fuzzer exercise an op.

    Where `smooth`, the op is twice differentiable in a neighbourhood (1e-2) of its float operands, and gradients are
    compared with finite differences there; edge values, ties and wild samples say smooth=False.
    """

    arrays: tuple[np.ndarray, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True


@dataclass(frozen=True, eq=False)
class Op:
    """A primitive op.

    infer(*TensorType, **attrs) -> TensorType        raises ShapeError or DTypeError with what would fit
    reference(*ndarray, **attrs) -> ndarray          the meaning; exact result dtype and shape
    gradient(node, cotangent) -> one Value or None per operand, or a str: the reason why it is zero
                                                     everywhere (integer results, steps); autodiff cuts the path there
    """

    name: str
    infer: Callable[..., TensorType]
    reference: Callable[..., Any]
    gradient: Gradient | str
    lower: Lowering
    samples: Callable[[], Iterable[Sample]]
    doc: str = ""

    def __repr__(self) -> str:
        return f"<op {self.name}>"


OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Add `op` to the registry; names are unique."""
    assert op.name not in OPS, f"op {op.name} is registered twice"
    OPS[op.name] = op
    return op
