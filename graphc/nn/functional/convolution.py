"""Convolutions as functions, with PyTorch's layouts: input (N, C, spatial...), weight (out, in / groups, spatial...).

In: tensors and static strides, padding, dilation, groups. Out: one `conv_general` and the bias. The transposed
convolution is the same op with a dilated input and a flipped weight.
"""

from __future__ import annotations

from typing import Any

from ...errors import ShapeError
from ...ir.location import here
from ...ir.values import make
from ...tensor import Tensor, Variable
from ...tensor.core import cast_value, result_type
from .ranks import Size, for_ranks, per_axis


def conv(
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """The cross-correlation of (N, C, {space}), or without N, with a weight (out, C / groups, kernel...).

    stride, padding and dilation are an int or {rank} ints; padding may be "same" (for stride 1) or "valid".
    """
    name = f"conv{rank}d"
    if input.ndim == rank + 1:
        return conv(rank, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    _check(name, rank, input, weight, groups)
    strides, dilations = per_axis(stride, rank, f"{name}: stride"), per_axis(dilation, rank, f"{name}: dilation")
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, weight.shape[2:], strict=True)]
    pads = _padding(name, rank, padding, strides, spans)
    for i, (n, pad, span) in enumerate(zip(input.shape[2:], pads, spans, strict=True)):
        if n + sum(pad) < span:
            raise ShapeError(
                f"{name}: the kernel{_named(weight)} spans {span} in spatial dimension {i}, but the input {input.shape} with "
                f"padding {pad} has {n + sum(pad)}; use a smaller kernel, more padding, or larger images",
                here(),
            )
    return _with_bias(_conv(input, weight, strides, pads, (1,) * rank, dilations, groups), bias)


def _conv(x: Tensor, weight: Tensor, strides: Any, pads: Any, lhs_dilation: Any, rhs_dilation: Any, groups: int) -> Tensor:
    kind = result_type((x, weight))
    spec = tuple(range(x.ndim))
    value = make(
        "conv_general",
        cast_value(x.value, kind),
        cast_value(weight.value, kind),
        strides=tuple(strides),
        padding=tuple(pads),
        lhs_dilation=tuple(lhs_dilation),
        rhs_dilation=tuple(rhs_dilation),
        feature_groups=groups,
        batch_groups=1,
        lhs_spec=spec,
        rhs_spec=spec,
        out_spec=spec,
    )
    return x.wrap(value)


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias.reshape((1, -1) + (1,) * (x.ndim - 2))


def _named(weight: Tensor) -> str:
    return f" ({weight.name})" if isinstance(weight, Variable) else ""


def _check(name: str, rank: int, x: Tensor, weight: Tensor, groups: int) -> None:
    made = f", made at {x.location}," if x.location else ""
    if x.ndim != rank + 2 or weight.ndim != rank + 2:
        layout = "(N, C, " + ", ".join("DHW"[3 - rank :]) + ")"
        raise ShapeError(
            f"{name}: takes an input {layout}, got {x.shape}{made} with weight{_named(weight)} {weight.shape}", here()
        )
    if groups < 1 or weight.shape[0] % groups:
        raise ShapeError(f"{name}: {weight.shape[0]} output channels do not divide into {groups} groups", here())
    if x.shape[1] != weight.shape[1] * groups:
        raise ShapeError(
            f"{name}: the weight{_named(weight)} of shape {weight.shape} with groups={groups} takes {weight.shape[1] * groups} "
            f"channels, but the input{made} has shape {x.shape}: {x.shape[1]} channels; use in_channels={x.shape[1]}",
            here(),
        )


def _padding(name: str, rank: int, padding: Any, strides: tuple[int, ...], spans: list[int]) -> list[tuple[int, int]]:
    if padding == "valid":
        return [(0, 0)] * rank
    if padding == "same":
        if max(strides) != 1:
            raise ShapeError(f"{name}: padding='same' is defined for stride 1 only, not {strides}", here())
        return [((span - 1) // 2, span - 1 - (span - 1) // 2) for span in spans]
    return [(p, p) for p in per_axis(padding, rank, f"{name}: padding")]


def conv_transpose(
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The transpose (gradient) of conv{rank}d of (N, in, {space}), or without N, and a weight (in, out / groups, kernel...)."""
    name, x = f"conv_transpose{rank}d", input
    if x.ndim == rank + 1:
        lifted = x.unsqueeze(0)
        return conv_transpose(rank, lifted, weight, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    if x.ndim != rank + 2 or weight.ndim != rank + 2 or x.shape[1] != weight.shape[0] or x.shape[1] % groups:
        raise ShapeError(
            f"{name}: the weight{_named(weight)} of shape {weight.shape} takes {weight.shape[0]} channels in {groups} groups; "
            f"the input has shape {x.shape}",
            here(),
        )
    strides, dilations = per_axis(stride, rank, f"{name}: stride"), per_axis(dilation, rank, f"{name}: dilation")
    pads, more = per_axis(padding, rank, f"{name}: padding"), per_axis(output_padding, rank, f"{name}: output_padding")
    spans = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)]
    borders = [(span - p, span - p + e) for span, p, e in zip(spans, pads, more, strict=True)]
    flipped = weight.flip(*range(2, rank + 2))
    if groups == 1:
        kernel = flipped.transpose(0, 1)
    else:  # (in, out / groups, ...) -> (out, in / groups, ...), group by group
        parts = [part.transpose(0, 1) for part in flipped.chunk(groups, 0)]
        kernel = x.wrap(make("concat", *(p.value for p in parts), axis=0))
    return _with_bias(_conv(x, kernel, (1,) * rank, borders, strides, dilations, groups), bias)


conv1d, conv2d, conv3d = for_ranks(conv)
conv_transpose1d, conv_transpose2d, conv_transpose3d = for_ranks(conv_transpose)

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
