"""Methods that only differ in name from others, or make tensors like this one.

In: tensors. Out: what PyTorch's (or numpy's) method of that name gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ShapeError
from ..ir.location import here
from ..ir.types import TensorType
from ..ir.values import full
from .algebra import Algebra
from .core import Core, as_number, broadcast_shapes, sizes

if TYPE_CHECKING:
    from .tensor import Tensor


class Compositions(Algebra):
    """Short names."""

    __hash__ = Core.__hash__

    # Shapes.
    def ravel(self) -> Tensor:
        """The elements as a vector."""
        return self.flatten()

    def expand_dims(self, axis: int) -> Tensor:
        """unsqueeze, as numpy calls it."""
        return self.unsqueeze(axis)

    def swapdims(self, dim0: int, dim1: int) -> Tensor:
        """Two dimensions exchanged."""
        return self.transpose(dim0, dim1)

    def tile(self, *dims: Any) -> Tensor:
        """repeat, with counts of 1 for dimensions in front that are not named."""
        counts = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
        return self.repeat((1,) * (self.ndim - len(counts)) + counts)

    def fliplr(self) -> Tensor:
        """The columns in reverse order."""
        return self.flip(1)

    def flipud(self) -> Tensor:
        """The rows in reverse order."""
        return self.flip(0)

    def sum_to_size(self, *size: Any) -> Tensor:
        """The sum over all dimensions that broadcasting from `size` would have added or stretched."""
        shape = sizes(size, "sum_to_size")
        if broadcast_shapes(shape, self.shape) != self.shape:
            raise ShapeError(f"sum_to_size: {shape} does not broadcast to {self.shape}", here())
        added = self.ndim - len(shape)
        gone = tuple(range(added)) + tuple(added + i for i, n in enumerate(shape) if n == 1)
        return (self.sum(gone) if gone else self).reshape(shape)

    # numpy's names.
    power, mod, rint, invert = Algebra.__pow__, Algebra.__mod__, Algebra.round, Algebra.__invert__
    degrees, radians, take_along_axis = Algebra.rad2deg, Algebra.deg2rad, Algebra.take_along_dim

    # Tensors like this one.
    def new_full(self, size: Any, fill_value: Any, dtype: Any = None) -> Tensor:
        """A tensor of one number, with this dtype unless another is given."""
        kind = self.dtype if dtype is None else self.to(dtype).dtype
        return self.wrap(full(TensorType(kind, sizes((size,), "new_full")), as_number(fill_value)))

    def new_zeros(self, *size: Any, dtype: Any = None) -> Tensor:
        """Zeros, with this dtype unless another is given."""
        return self.new_full(sizes(size, "new_zeros"), 0, dtype)

    new_empty = new_zeros

    def new_ones(self, *size: Any, dtype: Any = None) -> Tensor:
        """Ones, with this dtype unless another is given."""
        return self.new_full(sizes(size, "new_ones"), 1, dtype)

    def fill(self, value: Any) -> Tensor:
        """A tensor of this shape and dtype with one value everywhere."""
        return self.lift(value).to(self.dtype).broadcast_to(self.shape)
