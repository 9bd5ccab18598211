"""Normalisation as functions: batch, layer, group and instance norm.

In: tensors (N, C, ...), statistics as variables. Out: normalised tensors. In training, batch norm attaches the update of
its running statistics to the value it returns: every function that reaches it applies them.
"""

from __future__ import annotations

from math import prod

from ...errors import GraphError, ShapeError
from ...ir.location import here
from ...tensor import Tensor, Variable, attach_update


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias per channel (dimension 1)."""
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: takes (N, C, ...), got {x.shape}", here())
    if not training:
        if running_mean is None or running_var is None:
            raise GraphError("batch_norm: without training=True it needs running_mean and running_var", here())
        return _scaled(x, _per_channel(x, running_mean), _per_channel(x, running_var), weight, bias, eps)
    dims = (0, *range(2, x.ndim))
    count = prod(x.shape[d] for d in dims)
    if count < 2:
        raise ShapeError(f"batch_norm: in training each channel needs more than one value, got {x.shape}", here())
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    var = (centred * centred).mean(dims, keepdim=True)
    result = _scaled(x, mean, var, weight, bias, eps)
    for running, batch in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
        if isinstance(running, Variable):
            new = running + momentum * (batch.detach().reshape(running.shape) - running)
            result = attach_update(result, running, new)
    return result


def _per_channel(x: Tensor, statistic: Tensor) -> Tensor:
    if statistic.shape != (x.shape[1],):
        name = f" {statistic.name}" if isinstance(statistic, Variable) else ""
        raise ShapeError(f"normalisation: the input {x.shape} has {x.shape[1]} channels,{name} has {statistic.shape}", here())
    return statistic.reshape((1, -1) + (1,) * (x.ndim - 2))


def _scaled(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * _per_channel(x, weight)
    result = (x - mean) * scale
    return result if bias is None else result + _per_channel(x, bias)


def layer_norm(
    x: Tensor,
    normalized_shape: tuple[int, ...] | int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalised over the last dimensions, which have `normalized_shape`."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if x.shape[x.ndim - len(shape) :] != shape:
        raise ShapeError(f"layer_norm: the last dimensions of the input {x.shape} are not {shape}", here())
    dims = tuple(range(x.ndim - len(shape), x.ndim))
    result = _normalized(x, dims, eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def _normalized(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * ((centred * centred).mean(dims, keepdim=True) + eps).rsqrt()


def rms_norm(
    x: Tensor, normalized_shape: tuple[int, ...] | int, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x over the root of its mean square over the last dimensions."""
    rank = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    dims = tuple(range(x.ndim - rank, x.ndim))
    small = 2.0 ** -{"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}[x.dtype.name] if eps is None else eps
    result = x * ((x * x).mean(dims, keepdim=True) + small).rsqrt()
    return result if weight is None else result * weight


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalised over groups of channels, for each sample."""
    if x.ndim < 2 or x.shape[1] % num_groups:
        raise ShapeError(f"group_norm: the channels of {x.shape} do not divide into {num_groups} groups", here())
    grouped = x.reshape((x.shape[0], num_groups, -1))
    result = _normalized(grouped, (2,), eps).reshape(x.shape)
    result = result if weight is None else result * _per_channel(x, weight)
    return result if bias is None else result + _per_channel(x, bias)


def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalised per sample and channel."""
    return group_norm(x, x.shape[1], weight, bias, eps)


__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]
