"""Sums of products: `dot_general`, the product of two tensors over named dimensions.

In: two values of one numeric dtype and the roles of their dimensions. Out: the value whose dimensions are the shared
batch dimensions, then what is left of a, then what is left of b. Its gradients are products of the same kind, so any
order of differentiation stays inside the op. Convolutions, the other contraction, live in convolve.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import numpy as np

from ..dtype import dtype
from ..errors import DTypeError, ShapeError
from ..ir.op import Axis, Contraction, ContractionSpec, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, make
from .convolve import conv_general
from .shape import transpose

Dims = tuple[tuple[int, ...], tuple[int, ...]]


def dot_general(a: Value, b: Value, *, contract: Sequence[Iterable[int]], batch: Sequence[Iterable[int]] = ((), ())) -> Value:
    """Sum of products of `a` and `b` over the paired dimensions `contract`, for each index of the paired `batch`.

    [batch, a's other dimensions, b's other dimensions]; definition: https://openxla.org/xla/operation_semantics#dotgeneral
    """
    return make("dot_general", a, b, contract=_pair(contract), batch=_pair(batch))


def _pair(dims: Sequence[Iterable[int]]) -> Dims:
    left, right = dims
    return tuple(map(int, left)), tuple(map(int, right))


def _free(rank: int, *taken: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions that are in none of `taken`, in order."""
    return tuple(d for d in range(rank) if not any(d in dims for dims in taken))


def _infer(a: TensorType, b: TensorType, *, contract: Dims, batch: Dims) -> TensorType:
    if a.dtype is not b.dtype or a.dtype.is_bool:
        raise DTypeError(f"dot_general takes two operands of one numeric dtype, got {a} and {b}")
    for side, type_ in enumerate((a, b)):
        named = batch[side] + contract[side]
        if len(set(named)) != len(named) or not all(0 <= d < type_.rank for d in named):
            raise ShapeError(
                f"dot_general({a}, {b}): dimensions batch={batch[side]} and contract={contract[side]} of operand {side} "
                f"must be distinct and in 0..{type_.rank - 1}"
            )
    for what, (left, right) in (("contract", contract), ("batch", batch)):
        if tuple(a.shape[d] for d in left) != tuple(b.shape[d] for d in right):
            raise ShapeError(
                f"dot_general({a}, {b}): {what} dimensions {left} of the first have sizes {[a.shape[d] for d in left]}, "
                f"dimensions {right} of the second {[b.shape[d] for d in right if d < b.rank]}; they must be equal"
            )
    free_a = _free(a.rank, contract[0], batch[0])
    free_b = _free(b.rank, contract[1], batch[1])
    shape = [a.shape[d] for d in batch[0] + free_a] + [b.shape[d] for d in free_b]
    return a.with_shape(tuple(shape))


def _reference(a: np.ndarray, b: np.ndarray, *, contract: Dims, batch: Dims) -> np.ndarray:
    free_a, free_b = _free(a.ndim, contract[0], batch[0]), _free(b.ndim, contract[1], batch[1])
    shape = [a.shape[d] for d in batch[0] + free_a] + [b.shape[d] for d in free_b]
    batches, rows = prod(shape[: len(batch[0])]), prod(a.shape[d] for d in free_a)
    columns = prod(b.shape[d] for d in free_b)
    depth = prod(a.shape[d] for d in contract[0])
    wide = dtype(a.dtype).accumulator.numpy
    left = a.transpose(batch[0] + free_a + contract[0]).reshape(batches, rows, depth).astype(wide)
    right = b.transpose(batch[1] + contract[1] + free_b).reshape(batches, depth, columns).astype(wide)
    return np.asarray(np.matmul(left, right).reshape(shape).astype(a.dtype))


def _gradient(node: Value, ct: Value) -> list[Value]:
    """y = a . b      da = ct . b and db = ct . a, each over the dimensions that the other one brought."""
    a, b = node.operands
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    n, rows = len(batch[0]), len(_free(len(a.shape), contract[0], batch[0]))
    from_a, from_b = range(n, n + rows), range(n + rows, len(node.shape))
    da = _cotangent(ct, b, from_b, (contract[1], contract[0]), (batch[1], batch[0]), len(a.shape))
    db = _cotangent(ct, a, from_a, contract, batch, len(b.shape))
    return [da, db]


def _cotangent(ct: Value, other: Value, brought: Iterable[int], contract: Dims, batch: Dims, rank: int) -> Value:
    """The cotangent of the operand that stands opposite of `other`; dims are (of other, of the wanted operand)."""
    brought_dims = _free(len(other.shape), contract[0], batch[0])
    product = dot_general(ct, other, contract=(brought, brought_dims), batch=(range(len(batch[0])), batch[0]))
    partner = dict(zip(contract[0], contract[1], strict=True))
    order = batch[1] + _free(rank, contract[1], batch[1]) + tuple(partner[d] for d in sorted(partner))
    return transpose(product, tuple(order.index(d) for d in range(rank)))


def _spec(node: Value) -> ContractionSpec:
    a, b = (v.type for v in node.operands)
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    free_a, free_b = _free(a.rank, contract[0], batch[0]), _free(b.rank, contract[1], batch[1])
    strides = [(a.strides[i], b.strides[j]) for i, j in zip(*batch, strict=True)]
    strides += [(a.strides[i], 0) for i in free_a] + [(0, b.strides[j]) for j in free_b]
    kept = tuple(Axis(n, *s, out) for n, s, out in zip(node.shape, strides, node.type.strides, strict=True))
    pairs = zip(*contract, strict=True)
    return ContractionSpec(kept, tuple(Axis(a.shape[i], a.strides[i], b.strides[j], 0) for i, j in pairs))


_CASES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], Dims, Dims], ...] = (
    ("float64", (3, 4), (4, 5), ((1,), (0,)), ((), ())),
    ("float32", (2, 3, 4), (2, 5, 4), ((2,), (2,)), ((0,), (0,))),
    ("float32", (4, 2, 3, 5), (3, 5, 4, 2), ((3, 0), (1, 2)), ((1,), (3,))),
    ("float32", (3,), (3,), ((0,), (0,)), ((), ())),
    ("float32", (2, 3), (4,), ((), ()), ((), ())),
    ("float16", (2, 7), (3, 7), ((1,), (1,)), ((), ())),
    ("bfloat16", (7, 2), (7, 3), ((0,), (0,)), ((), ())),
    ("int32", (2, 3), (3, 4), ((1,), (0,)), ((), ())),
    ("float32", (2, 0), (0, 3), ((1,), (0,)), ((), ())),
)


def _samples() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for name, left, right, contract, batch in _CASES:
        arrays = ((3 * rng.standard_normal(shape)).astype(dtype(name).numpy) for shape in (left, right))
        yield Sample(tuple(arrays), {"contract": contract, "batch": batch})


register(
    Op(
        name="dot_general",
        infer=_infer,
        reference=_reference,
        gradient=_gradient,
        lower=Contraction(_spec),
        samples=_samples,
        doc="Sum of products over paired dimensions.",
    )
)

__all__ = ["conv_general", "dot_general"]
