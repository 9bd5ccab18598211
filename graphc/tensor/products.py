"""Products of tensors: matmul, einsum, outer and inner products.

In: tensors of floats or integers. Out: one `dot_general` each, with dimension roles instead of copies: transposes of
operands become roles, and only the order of the result may need a transpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ShapeError
from ..ir.location import here
from ..ir.values import Value, make
from .core import broadcast_shapes, broadcast_value, cast_value, origins, result_type
from .reductions import Reductions

if TYPE_CHECKING:
    from .tensor import Tensor


class Products(Reductions):
    """Methods that sum products."""

    def matmul(self, other: Any) -> Tensor:
        """The matrix product of the last two dimensions; the others broadcast. Vectors are rows (left), columns (right)."""
        other = self.lift(other)
        if not self.ndim or not other.ndim:
            raise ShapeError(f"matmul: takes at least 1 dimension, got {self.shape} and {other.shape}; use * for 0-d", here())
        inner = other.shape[-2] if other.ndim > 1 else other.shape[0]
        outer = broadcast_shapes(self.shape[:-2], other.shape[:-2])
        if self.shape[-1] != inner or outer is None:
            raise ShapeError(_matmul_misfit(self, other, inner), here())
        kind = result_type((self, other))
        a, b = cast_value(self.value, kind), cast_value(other.value, kind)
        if len(b.shape) <= 2:
            return self.wrap(dot(a, b, ((len(a.shape) - 1,), (0,))))
        if len(a.shape) == 1:
            return self.unsqueeze(0).matmul(other).squeeze(-2)
        a, b = (broadcast_value(v, outer + v.shape[-2:]) for v in (a, b))
        n = len(outer)
        return self.wrap(dot(a, b, ((n + 1,), (n,)), (tuple(range(n)), tuple(range(n)))))

    __matmul__ = matmul

    def __rmatmul__(self, other: Any) -> Tensor:
        return self.lift(other).matmul(self)

    def mm(self, other: Tensor) -> Tensor:
        """The product of two matrices."""
        return self._ranked("mm", other, 2, 2).matmul(other)

    def bmm(self, other: Tensor) -> Tensor:
        """The products of two batches of matrices."""
        return self._ranked("bmm", other, 3, 3).matmul(other)

    def mv(self, other: Tensor) -> Tensor:
        """A matrix times a vector."""
        return self._ranked("mv", other, 2, 1).matmul(other)

    def dot(self, other: Tensor) -> Tensor:
        """The sum of products of two vectors."""
        return self._ranked("dot", other, 1, 1).matmul(other)

    def outer(self, other: Tensor) -> Tensor:
        """All products of the elements of two vectors."""
        return self._ranked("outer", other, 1, 1).unsqueeze(1) * other

    def _ranked(self, name: str, other: Any, *ranks: int) -> Products:
        if (self.ndim, other.ndim) != ranks:
            raise ShapeError(f"{name}: takes {ranks[0]} and {ranks[1]} dimensions, got {self.shape} and {other.shape}", here())
        return self


def dot(a: Value, b: Value, contract: Any, batch: Any = ((), ())) -> Value:
    """The sum over contracted dimensions of products: batch dimensions, the rest of a, the rest of b."""
    return make("dot_general", a, b, contract=contract, batch=batch)


def _matmul_misfit(a: Products, b: Products, inner: int) -> str:
    made = origins((a, b))
    if a.shape[-1] != inner:
        fix = ""
        if b.ndim > 1 and b.shape[-1] == a.shape[-1]:
            fix = "; the second operand transposed (.mT) would fit"
        elif a.ndim > 1 and a.shape[-2] == inner:
            fix = "; the first operand transposed (.mT) would fit"
        return f"matmul: {a.shape} @ {b.shape}: the last extent of the first, {a.shape[-1]}, must equal {inner}{made}{fix}"
    return f"matmul: {a.shape} @ {b.shape}: the leading dimensions do not broadcast{made}"


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products in Einstein's notation, as torch.einsum: letters name dimensions, `...` the broadcast rest."""
    anchor = next((x for x in operands if isinstance(x, Products)), None)
    if anchor is None:
        raise ShapeError("einsum: none of the operands is a tensor; use numpy.einsum, or gc.constant", here())
    flat = operands[0] if len(operands) == 1 and isinstance(operands[0], tuple | list) else operands
    tensors = [anchor.lift(x) for x in flat]
    terms, result = _parse(equation, tensors)
    _check_extents(equation, terms, tensors)
    kind = result_type(tensors)
    work = [_diagonals(t.to(kind), term) for t, term in zip(tensors, terms, strict=True)]
    left, names = work[0]
    for i, (right, other) in enumerate(work[1:], 2):
        later = set(result).union(*(n for _, n in work[i:]))
        left, names = _contract(left, names, right, other, later)
    left, names = _sum_out(left, names, set(result))
    return left.permute([names.index(c) for c in result]) if names != result else left


def _parse(equation: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    """Letters of each operand and of the result; `...` becomes capital Greek letters, aligned at the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ShapeError(f"einsum: {equation!r} names {len(terms)} operands, got {len(tensors)}{origins(tensors)}", here())
    widest = ""
    for i, (term, tensor) in enumerate(zip(terms, tensors, strict=True)):
        letters = term.replace("...", "")
        rest = tensor.ndim - len(letters)
        if not all(c.isascii() and c.isalpha() for c in letters) or rest < 0 or (rest and "..." not in term):
            wrong = f"{term!r} in {equation!r} does not describe an operand of {tensor.ndim} dimensions"
            raise ShapeError(f"einsum: {wrong}{origins((tensor,))}", here())
        dots = "".join(chr(0x0391 + d) for d in reversed(range(rest)))
        widest = max(widest, dots, key=len)
        terms[i] = term.replace("...", dots)
    every = "".join(terms)
    if arrow:
        result = right.replace("...", widest)
    else:
        result = widest + "".join(sorted(c for c in set(every) if every.count(c) == 1 and c not in widest))
    if len(set(result)) != len(result) or not set(result) <= set(every):
        raise ShapeError(f"einsum: the result {right!r} in {equation!r} must name letters of the operands, each once", here())
    return terms, result


def _check_extents(equation: str, terms: list[str], tensors: Sequence[Tensor]) -> None:
    extents: dict[str, int] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        for letter, n in zip(term, tensor.shape, strict=True):
            if extents.setdefault(letter, n) != n:
                shapes = ", ".join(str(t.shape) for t in tensors)
                clash = f"{letter!r} is both {extents[letter]} and {n} in shapes {shapes}"
                raise ShapeError(f"einsum: in {equation!r} {clash}{origins(tensors)}", here())


def _diagonals(x: Tensor, names: str) -> tuple[Tensor, str]:
    """A letter that occurs twice picks the diagonal, which becomes the last dimension."""
    for letter in dict.fromkeys(names):
        while names.count(letter) > 1:
            a, b = names.index(letter), names.rindex(letter)
            x = x.diagonal(0, a, b)
            names = names[:a] + names[a + 1 : b] + names[b + 1 :] + letter
    return x, names


def _sum_out(x: Tensor, names: str, kept: set[str]) -> tuple[Tensor, str]:
    gone = tuple(d for d, letter in enumerate(names) if letter not in kept)
    return (x.sum(gone, dtype=x.dtype) if gone else x), "".join(c for c in names if c in kept)


def _contract(a: Tensor, names: str, b: Tensor, other: str, later: set[str]) -> tuple[Tensor, str]:
    """One dot_general: shared letters that are needed later are batch dimensions, the rest is contracted."""
    a, names = _sum_out(a, names, later | set(other))
    b, other = _sum_out(b, other, later | set(names))
    shared = [c for c in names if c in other]
    batch, summed = [c for c in shared if c in later], [c for c in shared if c not in later]
    roles = [(tuple(names.index(c) for c in cs), tuple(other.index(c) for c in cs)) for cs in (summed, batch)]
    result = "".join(batch) + "".join(c for c in names if c not in shared) + "".join(c for c in other if c not in shared)
    return a.wrap(dot(a.value, b.value, *roles)), result
