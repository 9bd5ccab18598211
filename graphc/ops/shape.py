"""Ops that move elements without computing: reshape, transpose, broadcast, reverse, iota, after; slice, pad and concat are
imported from pieces.

In: values and static attributes. Out: records, and builders that return their operand itself when nothing would change.
Element rules say from which operand index an element comes, so a view costs nothing once fused. Attributes are
normalised tuples (no negative axes, no None); the builders and Tensor methods take the friendlier forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from ..dtype import DTYPES, DType
from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, as_index, ravel, unravel
from ..ir.op import Index, Op, Pointwise, Reader, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .convert import convert, convert_expr
from .pieces import check_axis, check_entries, concat, each, pad, slice_

__all__ = ["after", "broadcast", "concat", "expand_dims", "iota", "pad", "reshape", "reverse", "slice_", "transpose"]

# ------------------------------------------------------------------------------------------------------------ builders


def reshape(x: Value, shape: Sequence[int]) -> Value:
    """The same elements in row-major order, in another shape."""
    return x if tuple(shape) == x.shape else make("reshape", x, shape=tuple(shape))


def transpose(x: Value, perm: Sequence[int]) -> Value:
    """Result dimension i is operand dimension perm[i]."""
    return x if tuple(perm) == tuple(range(x.type.rank)) else make("transpose", x, perm=tuple(perm))


def broadcast(x: Value, shape: Sequence[int], dims: Sequence[int]) -> Value:
    """Operand dimension i becomes result dimension dims[i]; extents of 1 and missing dimensions are repeated."""
    return x if tuple(shape) == x.shape else make("broadcast", x, shape=tuple(shape), dims=tuple(dims))


def reverse(x: Value, axes: Sequence[int]) -> Value:
    """`x` with the order along `axes` turned round."""
    axes = tuple(sorted(axis for axis in axes if not 0 <= axis < x.type.rank or x.shape[axis] != 1))
    return make("reverse", x, axes=axes) if axes else x


def iota(dtype: DType, shape: Sequence[int], axis: int) -> Value:
    """Each element is its own position along `axis`."""
    return make("iota", dtype=dtype, shape=tuple(shape), axis=axis)


def after(x: Value, event: Value) -> Value:
    """`x`, from which nothing is computed before `event` has been."""
    return make("after", x, event)


def expand_dims(x: Value, axes: Sequence[int]) -> Value:
    """`x` with extents of 1 at the places `axes` of the result."""
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in axes else next(rest) for i in range(x.type.rank + len(axes))))


# ---------------------------------------------------------------------------------------------------------- type rules


def _nonnegative(op: str, shape: Sequence[int]) -> None:
    if any(extent < 0 for extent in shape):
        raise ShapeError(f"{op} to the shape {tuple(shape)}, which has a negative extent")


def _infer_reshape(x: TensorType, *, shape: tuple[int, ...]) -> TensorType:
    _nonnegative("reshape", shape)
    if prod(shape) != x.size:
        raise ShapeError(f"cannot reshape {x} with {x.size} elements to {list(shape)} with {prod(shape)}; they must be equal")
    return x.with_shape(shape)


def _infer_transpose(x: TensorType, *, perm: tuple[int, ...]) -> TensorType:
    if sorted(perm) != list(range(x.rank)):
        raise ShapeError(f"transpose of {x} by {perm}: expected each of the dimensions {tuple(range(x.rank))} once")
    return x.with_shape(tuple(x.shape[i] for i in perm))


def _infer_broadcast(x: TensorType, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> TensorType:
    _nonnegative("broadcast", shape)
    check_entries("broadcast", x, dims=dims)
    if any(not 0 <= d < len(shape) for d in dims) or any(a >= b for a, b in pairwise(dims)):
        raise ShapeError(f"broadcast of {x} to {list(shape)}: dims {dims} must increase within 0..{len(shape) - 1}")
    for i, d in enumerate(dims):
        if x.shape[i] not in (1, shape[d]):
            raise ShapeError(
                f"cannot broadcast {x} to {list(shape)}: dimension {i} has extent {x.shape[i]}, expected 1 or {shape[d]}"
            )
    return x.with_shape(shape)


def _infer_reverse(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    for axis in axes:
        check_axis("reverse", x.rank, axis)
    return x


def _infer_iota(*, dtype: DType, shape: tuple[int, ...], axis: int) -> TensorType:
    if dtype.is_bool:
        raise DTypeError("iota counts; it has no bool form")
    _nonnegative("iota", shape)
    check_axis("iota", len(shape), axis)
    return TensorType(dtype, shape)


# ------------------------------------------------------------------------------------------------- elements, references


def _element_reshape(node: Value, index: Index, reader: Reader) -> Expr:
    return reader.read(0, unravel(ravel(map(as_index, index), node.shape), node.operands[0].shape))


def _element_transpose(node: Value, index: Index, reader: Reader) -> Expr:
    source = dict(zip(node.attrs["perm"], index, strict=True))
    return reader.read(0, tuple(source[i] for i in range(len(index))))


def _element_broadcast(node: Value, index: Index, reader: Reader) -> Expr:
    extents = node.operands[0].shape
    return reader.read(0, tuple(as_index(0) if n == 1 else index[d] for n, d in zip(extents, node.attrs["dims"], strict=True)))


def _element_reverse(node: Value, index: Index, reader: Reader) -> Expr:
    axes = node.attrs["axes"]
    return reader.read(0, tuple(node.shape[i] - 1 - as_index(x) if i in axes else x for i, x in enumerate(index)))


def _element_iota(node: Value, index: Index, reader: Reader) -> Expr:
    return convert_expr(index[node.attrs["axis"]], node.dtype)


def _broadcast(x: np.ndarray, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> np.ndarray:
    aligned = x.reshape([x.shape[dims.index(d)] if d in dims else 1 for d in range(len(shape))])
    return np.broadcast_to(aligned, shape)


def _iota(*, dtype: DType, shape: tuple[int, ...], axis: int) -> np.ndarray:
    places = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(convert(places, dtype), shape)


# ----------------------------------------------------------------------------------------------------------- gradients


def _gradient_transpose(node: Value, ct: Value) -> list[Value | None]:
    perm = node.attrs["perm"]
    return [transpose(ct, tuple(perm.index(i) for i in range(len(perm))))]


def _gradient_broadcast(node: Value, ct: Value) -> list[Value | None]:
    (x,), dims = node.operands, node.attrs["dims"]
    same = {d for n, d in zip(x.shape, dims, strict=True) if n == node.shape[d]}
    axes = tuple(d for d in range(len(node.shape)) if d not in same)
    return [reshape(make("reduce_sum", ct, axes=axes) if axes else ct, x.shape)]


# ------------------------------------------------------------------------------------------------------------- records


register(
    Op(
        "reshape",
        infer=_infer_reshape,
        reference=lambda x, *, shape: x.reshape(shape),
        gradient=lambda node, ct: [reshape(ct, node.operands[0].shape)],
        lower=Pointwise(_element_reshape, view=True),
        samples=lambda: each({"shape": (4, 6)}, {"shape": (24,)}, {"shape": (3, 1, 2, 2, 2)}, {"shape": (8, 3)}),
        doc="The same elements in row-major order, in another shape.",
    )
)
register(
    Op(
        "transpose",
        infer=_infer_transpose,
        reference=lambda x, *, perm: x.transpose(perm),
        gradient=_gradient_transpose,
        lower=Pointwise(_element_transpose, view=True),
        samples=lambda: each({"perm": (2, 0, 1)}, {"perm": (1, 0, 2)}, {"perm": (0, 1, 2)}),
        doc="Result dimension i is operand dimension perm[i].",
    )
)
register(
    Op(
        "broadcast",
        infer=_infer_broadcast,
        reference=_broadcast,
        gradient=_gradient_broadcast,
        lower=Pointwise(_element_broadcast, view=True),
        samples=lambda: [
            *each({"shape": (2, 3, 4), "dims": (0, 1)}, {"shape": (5, 2, 3), "dims": (1, 2)}, shape=(2, 3)),
            *each({"shape": (4, 3, 2), "dims": (1, 2)}, {"shape": (3, 2), "dims": (0, 1)}, shape=(3, 1)),
            *each({"shape": (2, 3), "dims": ()}, shape=()),
        ],
        doc="Operand dimension i becomes result dimension dims[i]; extents of 1 and missing dimensions are repeated.",
    )
)
register(
    Op(
        "reverse",
        infer=_infer_reverse,
        reference=lambda x, *, axes: np.flip(x, axes),
        gradient=lambda node, ct: [reverse(ct, node.attrs["axes"])],
        lower=Pointwise(_element_reverse, view=True),
        samples=lambda: each({"axes": (0,)}, {"axes": (0, 2)}, {"axes": (1, 2)}),
        doc="The order along `axes` turned round.",
    )
)
register(
    Op(
        "after",
        infer=lambda x, event: x,
        reference=lambda x, event: x,
        gradient=lambda node, ct: [ct, None],
        lower=Pointwise(lambda node, index, reader: reader.read(0, index), view=True),
        samples=lambda: [Sample((np.arange(6, dtype=np.float64).reshape(2, 3), np.ones((4,), np.float64)))],
        doc="The first operand, from which nothing is computed before the second: memory is not needed until then.",
    )
)
register(
    Op(
        "iota",
        infer=_infer_iota,
        reference=_iota,
        gradient="it has no operands",
        lower=Pointwise(_element_iota, view=True),
        samples=lambda: [Sample((), {"dtype": d, "shape": (3, 4, 2), "axis": axis}) for d in DTYPES[1:] for axis in (0, 1)],
        doc="Each element is its own position along `axis`, in the element type's own arithmetic (small integers wrap).",
    )
)
