"""Normalisation layers.

In: sizes and options. Out: modules with PyTorch's parameter and buffer names. Batch and instance norm in training attach
the update of their running statistics to their result; the mode is read when forward builds the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtype import dtype as dtype_of
from ..errors import ShapeError
from ..ir.location import here
from ..tensor import Tensor, attach_update
from . import functional
from .linear import check_sizes
from .module import Module
from .parameter import Buffer, Parameter


def _scale(module: Module, shape: Any, weight: bool, bias: bool, dtype: Any) -> None:
    """Parameters `weight` of ones and `bias` of zeros, where they are wanted."""
    check_sizes(shape if isinstance(shape, tuple) else (shape,))
    kind = dtype_of(dtype).numpy
    module.register_parameter("weight", Parameter(np.ones(shape, kind)) if weight else None)
    module.register_parameter("bias", Parameter(np.zeros(shape, kind)) if bias else None)


class _RunningNorm(Module):
    """What batch and instance norm share: scale, running statistics, momentum."""

    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = "float32",
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _scale(self, num_features, affine, affine and bias, dtype)
        kind = dtype_of(dtype).numpy
        self.register_buffer("running_mean", np.zeros(num_features, kind) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(num_features, kind) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", Buffer(np.int64(0)) if track_running_stats else None)

    def _check(self, input: Tensor, channels: int) -> None:
        if input.ndim not in self.ranks or channels != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}({self.num_features}): takes {' or '.join(map(str, self.ranks))} dimensions with "
                f"{self.num_features} channels in dimension 1, got {input.shape}",
                here(),
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
    def forward(self, input: Tensor) -> Tensor:
        self._check(input, input.shape[1] if input.ndim > 1 else 0)
        training = self.training or not self.track_running_stats
        momentum: float | Tensor = 0.0 if self.momentum is None else self.momentum
        counted = self.training and self.track_running_stats
        if counted and self.momentum is None:  # a plain average over all batches
            momentum = 1.0 / (self.num_batches_tracked + 1).float()
        mean, var = self.running_mean, self.running_var
        result = functional.batch_norm(input, mean, var, self.weight, self.bias, training, momentum, self.eps)
        if counted:
            result = attach_update(result, self.num_batches_tracked, self.num_batches_tracked + 1)
        return result


class BatchNorm1d(_BatchNorm):
    """Per channel of (N, C) or (N, C, L)."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Per channel of (N, C, H, W)."""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Per channel of (N, C, D, H, W)."""

    ranks = (5,)


class _InstanceNorm(_RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: Any = "float32",
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim == self.ranks[0] - 1:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        self._check(input, self.num_features if self.weight is None and input.ndim > 1 else input.size(1))
        use_input = self.training or not self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum
        mean, var = self.running_mean, self.running_var
        return functional.instance_norm(input, mean, var, self.weight, self.bias, use_input, momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Per sample and channel of (N, C, L)."""

    ranks = (3,)


class InstanceNorm2d(_InstanceNorm):
    """Per sample and channel of (N, C, H, W)."""

    ranks = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Per sample and channel of (N, C, D, H, W)."""

    ranks = (5,)


class LayerNorm(Module):
    """Over the last dimensions, which have `normalized_shape`."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        _scale(self, shape, elementwise_affine, elementwise_affine and bias, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Over the root mean square of the last dimensions."""

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True, dtype: Any = "float32"
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        kind = dtype_of(dtype).numpy
        self.register_parameter("weight", Parameter(np.ones(shape, kind)) if elementwise_affine else None)

    def forward(self, input: Tensor) -> Tensor:
        return functional.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Over groups of channels, for each sample."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: Any = "float32",
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes((num_groups, num_channels))
        if num_groups < 1 or num_channels % num_groups:
            raise ShapeError(f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups", here())
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        _scale(self, num_channels, affine, affine and bias, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class LocalResponseNorm(Module):
    """Over neighbouring channels."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return functional.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
