"""Normalisation as functions: batch, layer, group and instance norm.

In: tensors (N, C, ...), statistics as variables. Out: normalised tensors. In training, batch norm attaches the update of
its running statistics to the value it returns: every function that reaches it applies them.
"""

from __future__ import annotations

from math import prod

from ...dtype import DType, float64
from ...errors import GraphError, ShapeError
from ...ir.location import here
from ...ir.values import make
from ...tensor import Tensor, Variable, attach_update
from ...tensor.core import result_type
from ...tensor.precision import rounded_once, widened


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias per channel (dimension 1)."""
    if not input.numel():
        return input
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: takes (N, C, ...), got {input.shape}", here())
    if not training:
        if running_mean is None or running_var is None:
            raise GraphError("batch_norm: without training=True it needs running_mean and running_var", here())
        return _scaled(input, _per_channel(input, running_mean), _per_channel(input, running_var), weight, bias, eps)
    dims = (0, *range(2, input.ndim))
    count = prod(input.shape[d] for d in dims)
    if count == 1:
        raise ShapeError(f"batch_norm: in training each channel needs more than one value, got {input.shape}", here())
    x = widened(input)
    mean, _, var = _moments(x, dims)
    result = _scaled(x, mean, var, weight, bias, eps).to(_met(input, weight, bias))
    for running, batch in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
        if isinstance(running, Variable):
            new = running + momentum * (batch.detach().reshape(running.shape) - running)
            result = attach_update(result, running, new)
    return result


def _moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The mean over some dimensions, the distances from it, and their mean square."""
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    return mean, centred, (centred * centred).mean(dims, keepdim=True)


def _per_channel(x: Tensor, statistic: Tensor) -> Tensor:
    if statistic.shape != (x.shape[1],):
        name = f" {statistic.name}" if isinstance(statistic, Variable) else ""
        raise ShapeError(f"normalisation: the input {x.shape} has {x.shape[1]} channels,{name} has {statistic.shape}", here())
    return statistic.reshape((1, -1) + (1,) * (x.ndim - 2))


def _met(x: Tensor, *params: Tensor | None) -> DType:
    """The dtype of what is normalised."""
    return result_type([x, *(p for p in params if p is not None)])


@rounded_once
def _scaled(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * _per_channel(x, weight)
    result = (x - mean) * scale
    return result if bias is None else result + _per_channel(x, bias)


@rounded_once
def layer_norm(
    input: Tensor,
    normalized_shape: tuple[int, ...] | int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalised over the last dimensions, which have `normalized_shape`."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if input.shape[input.ndim - len(shape) :] != shape:
        raise ShapeError(f"layer_norm: the last dimensions of the input {input.shape} are not {shape}", here())
    dims = tuple(range(input.ndim - len(shape), input.ndim))
    result = _normalized(input, dims, eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def _normalized(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    _, centred, var = _moments(x, dims)
    return centred * (var + eps).rsqrt()


@rounded_once
def rms_norm(
    input: Tensor, normalized_shape: tuple[int, ...] | int, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x over the root of its mean square over the last dimensions."""
    rank = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    dims = tuple(range(input.ndim - rank, input.ndim))
    small = 2.0 ** (-52 if input.dtype is float64 else -23) if eps is None else eps
    result = input * ((input * input).mean(dims, keepdim=True) + small).rsqrt()
    return result if weight is None else result * weight


@rounded_once
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalised over groups of channels, for each sample."""
    if input.ndim < 2 or input.shape[1] % num_groups:
        raise ShapeError(f"group_norm: the channels of {input.shape} do not divide into {num_groups} groups", here())
    grouped = input.reshape((input.shape[0], num_groups, prod(input.shape[1:]) // num_groups))
    result = _normalized(grouped, (2,), eps).reshape(input.shape)
    result = result if weight is None else result * _per_channel(input, weight)
    return result if bias is None else result + _per_channel(input, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalised per sample and channel of (N, C, ...); running statistics average those of the samples."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.ndim < 3 or prod(input.shape[2:]) < 2:
        raise ShapeError(f"instance_norm: each channel needs more than one value, got {input.shape}", here())
    dims = tuple(range(2, input.ndim))
    count = prod(input.shape[2:])
    x = widened(input)
    mean, centred, var = _moments(x, dims)
    result = centred * (var + eps).rsqrt()
    result = result if weight is None else result * _per_channel(x, weight)
    result = (result if bias is None else result + _per_channel(x, bias)).to(_met(input, weight, bias))
    for running, each in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
        if isinstance(running, Variable):
            batch = each.detach().mean(0).reshape(running.shape)
            result = attach_update(result, running, running + momentum * (batch - running))
    return result


@rounded_once
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x over (k + alpha times the mean square of `size` neighbouring channels)^beta."""
    if input.ndim < 3:
        raise ShapeError(f"local_response_norm: takes (N, C, ...) of at least 3 dimensions, got {input.shape}", here())
    rest = (1,) * (input.ndim - 2)
    if not input.numel():
        return input
    total = make(
        "reduce_window",
        (input * input).value,
        window=(1, size, *rest),
        strides=(1,) * input.ndim,
        padding=((0, 0), (size // 2, (size - 1) // 2)) + ((0, 0),) * len(rest),
        dilation=(1,) * input.ndim,
        kind="sum",
    )
    return input / (input.wrap(total) * (alpha / size) + k) ** beta


__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "rms_norm"]
