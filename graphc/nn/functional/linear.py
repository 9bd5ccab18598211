"""Linear maps as functions: linear and bilinear.

In: tensors with PyTorch's layouts (weights are out x in). Out: tensors; a shape that does not fit is explained with the
layer's name, where the input came from, and the layer that would fit.
"""

from __future__ import annotations

from math import prod

from ...errors import ShapeError
from ...ir.location import here
from ...tensor import Tensor, Variable, einsum
from ...tensor.core import cast_value, result_type
from ...tensor.products import dot


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, over the last dimension of x; weight is (out, in)."""
    if weight.ndim not in (1, 2):
        raise ShapeError(f"linear: the weight must be (out, in), got {weight.shape}", here())
    if not input.ndim or input.shape[-1] != weight.shape[-1]:
        raise ShapeError(_misfit(input, weight), here())
    kind = result_type((input, weight))
    a, b = cast_value(input.value, kind), cast_value(weight.value, kind)
    product = input.wrap(dot(a, b, ((input.ndim - 1,), (weight.ndim - 1,))))
    return product if bias is None else product + bias


def _misfit(x: Tensor, weight: Tensor) -> str:
    wanted, out = weight.shape[-1], weight.shape[0] if weight.ndim > 1 else 1
    name = f" ({weight.name})" if isinstance(weight, Variable) else ""
    made = f", made at {x.location}," if x.location else ""
    size = prod(x.shape[1:])
    message = (
        f"linear: the weight{name} of shape {weight.shape} takes {wanted} features, but the input{made} has shape {x.shape}"
    )
    source = x.value.operands[0] if x.value.op.name == "reshape" else None
    if x.ndim == 2 and source is not None and len(source.shape) > 2:
        features = " * ".join(str(n) for n in source.shape[1:])
        at = f" (made at {source.location})" if source.location else ""
        return f"{message}: it was flattened from {source.shape}{at}, {features} = {size} features; use Linear({size}, {out})"
    if x.ndim > 2 and size == wanted:
        return f"{message}; flatten it first: x.flatten(1), or nn.Flatten() before the layer"
    if x.ndim > 2:
        return (
            f"{message}, so {x.shape[-1]} in its last dimension; flattened by x.flatten(1) or nn.Flatten() it would have "
            f"{size}: use Linear({size}, {out}) after it"
        )
    last = x.shape[-1] if x.ndim else 1
    return f"{message}; use Linear({last}, {out}), or give the layer before it {wanted} outputs"


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1 weight[k] x2 for each output k."""
    result = einsum("...i,kij,...j->...k", input1, weight, input2)
    return result if bias is None else result + bias


__all__ = ["bilinear", "linear"]
