"""`conv_general`: convolution with named dimension roles, in any number of spatial dimensions.

In: a data value, a kernel value, and per spatial dimension stride, padding, and dilations of both. Out: the correlation
of the data with the kernel. Both gradients are convolutions again, so any order of differentiation stays inside the op.
A spec lists (batch or out-feature dimension, feature or in-feature dimension, spatial dimensions...). Only one of
`feature_groups` and `batch_groups` may exceed 1: feature groups split data features and out features, batch groups split
the data's batch and out features (what the kernel's gradient of a grouped convolution needs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtype import dtype
from ..errors import DTypeError, ShapeError
from ..ir.op import Axis, Contraction, ContractionSpec, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, full, make
from .geometry import Sweep, spread
from .shape import pad, reshape, reverse, slice_, transpose

Spec = tuple[int, ...]


def conv_general(
    x: Value,
    w: Value,
    *,
    strides: Sequence[int],
    padding: Sequence[Sequence[int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_groups: int = 1,
    batch_groups: int = 1,
    lhs_spec: Sequence[int] | None = None,
    rhs_spec: Sequence[int] | None = None,
    out_spec: Sequence[int] | None = None,
) -> Value:
    """Correlate `x` with `w`; dilations default to 1, specs to batch, feature, spatial dimensions in order.

    Definition: https://openxla.org/xla/operation_semantics#conv_convolution
    """
    ones, order = (1,) * len(strides), tuple(range(len(x.shape)))
    return make(
        "conv_general",
        x,
        w,
        strides=tuple(strides),
        padding=tuple((low, high) for low, high in padding),
        lhs_dilation=tuple(lhs_dilation or ones),
        rhs_dilation=tuple(rhs_dilation or ones),
        feature_groups=feature_groups,
        batch_groups=batch_groups,
        lhs_spec=tuple(lhs_spec or order),
        rhs_spec=tuple(rhs_spec or order),
        out_spec=tuple(out_spec or order),
    )


def _arranged(sizes: Sequence[int], spec: Spec) -> tuple[int, ...]:
    """(batch, feature, spatial...) placed where `spec` wants them."""
    return tuple(sizes[spec.index(d)] for d in range(len(spec)))


def sweeps(x: Sequence[int], w: Sequence[int], attrs: dict[str, Any]) -> list[Sweep]:
    """The geometry of each spatial dimension, from the shapes of data and kernel."""
    data, taps = attrs["lhs_spec"][2:], attrs["rhs_spec"][2:]
    rows = zip(data, taps, *(attrs[k] for k in ("strides", "padding", "rhs_dilation", "lhs_dilation")), strict=True)
    return [Sweep(x[i], w[j], stride, pads, dilation, spacing) for i, j, stride, pads, dilation, spacing in rows]


def _infer(x: TensorType, w: TensorType, **attrs: Any) -> TensorType:
    _check_roles(x, w, attrs)
    batch, features = (x.shape[d] for d in attrs["lhs_spec"][:2])
    outs, ins = (w.shape[d] for d in attrs["rhs_spec"][:2])
    groups, batches = attrs["feature_groups"], attrs["batch_groups"]
    if features != ins * groups:
        raise ShapeError(
            f"conv_general({x}, {w}): the data has {features} features, the kernel takes {ins} in each of {groups} "
            f"group(s); expected {ins * groups} data features"
        )
    if outs % (groups * batches) or batch % batches:
        raise ShapeError(
            f"conv_general({x}, {w}): {outs} out features must split into {groups * batches} group(s) and the batch "
            f"of {batch} into {batches}"
        )
    spatial = []
    for i, sweep in enumerate(sweeps(x.shape, w.shape, attrs)):
        if sweep.count == 0:
            raise ShapeError(
                f"conv_general({x}, {w}): in spatial dimension {i} the kernel spans {sweep.span} elements and the padded "
                f"data has {sweep.padded}; pad by at least {sweep.span - sweep.padded} more or shrink the kernel"
            )
        spatial.append(sweep.count)
    return x.with_shape(_arranged([batch // batches, outs, *spatial], attrs["out_spec"]))


def _check_roles(x: TensorType, w: TensorType, attrs: dict[str, Any]) -> None:
    if x.dtype is not w.dtype or x.dtype.is_bool:
        raise DTypeError(f"conv_general takes data and kernel of one numeric dtype, got {x} and {w}")
    if x.rank < 2 or x.rank != w.rank:
        raise ShapeError(f"conv_general({x}, {w}): data and kernel need one rank of at least 2: features and spatial dims")
    for name in ("lhs_spec", "rhs_spec", "out_spec"):
        if sorted(attrs[name]) != list(range(x.rank)):
            raise ShapeError(f"conv_general({x}, {w}): {name}={attrs[name]} must name each of {x.rank} dimensions once")
    for name in ("strides", "lhs_dilation", "rhs_dilation", "padding"):
        values = attrs[name]
        if len(values) != x.rank - 2 or (name != "padding" and min(values, default=1) < 1):
            raise ShapeError(f"conv_general({x}, {w}): {name}={values} needs {x.rank - 2} entries, one per spatial dimension"
                             f"{'' if name == 'padding' else ', each at least 1'}")  # fmt: skip
    groups, batches = attrs["feature_groups"], attrs["batch_groups"]
    if min(groups, batches) != 1:
        raise ShapeError(f"conv_general: feature_groups={groups}, batch_groups={batches}; both at least 1 and one of them 1")


def _reference(x: np.ndarray, w: np.ndarray, **attrs: Any) -> np.ndarray:
    wide = dtype(x.dtype).accumulator.numpy
    geometry = sweeps(x.shape, w.shape, attrs)
    data, kernel = x.transpose(attrs["lhs_spec"]).astype(wide), w.transpose(attrs["rhs_spec"]).astype(wide)
    groups, batches = attrs["feature_groups"], attrs["batch_groups"]
    axes = tuple(range(2, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(_padded(data, geometry), [s.span for s in geometry], axes)
    steps = [slice(None, None, s.stride) for s in geometry] + [slice(None, None, s.dilation) for s in geometry]
    windows = windows[(slice(None), slice(None), *steps)]  # batch, feature, positions..., taps...
    met = None if np.isfinite(kernel).all() and np.isfinite(data).all() else _meetings(geometry)
    axis, count = (0, batches) if batches > 1 else (1, groups)
    pieces = zip(np.split(windows, count, axis), np.split(kernel, count), strict=True)
    parts = [_correlate(part, taps, len(axes), met) for part, taps in pieces]
    result = np.concatenate(parts, axis=1)
    return np.ascontiguousarray(result.transpose(np.argsort(attrs["out_spec"]))).astype(x.dtype)


def _padded(data: np.ndarray, geometry: list[Sweep]) -> np.ndarray:
    """Spread the spatial dimensions of (batch, feature, spatial...), then pad with zeros or crop."""
    full_shape = [spread(s.size, s.spacing) for s in geometry]
    dilated = np.zeros((*data.shape[:2], *full_shape), data.dtype)
    dilated[(slice(None), slice(None), *(slice(None, None, s.spacing) for s in geometry))] = data
    grown = np.pad(dilated, [(0, 0), (0, 0), *((max(low, 0), max(high, 0)) for low, high in (s.padding for s in geometry))])
    crops = [slice(max(-s.padding[0], 0), n - max(-s.padding[1], 0)) for s, n in zip(geometry, grown.shape[2:], strict=True)]
    return grown[(slice(None), slice(None), *crops)]


def _correlate(windows: np.ndarray, kernel: np.ndarray, spatial: int, met: np.ndarray | None) -> np.ndarray:
    """[n, i, positions..., taps...] with [o, i, taps...] -> [n, o, positions...]; only pairs that are `met`, if given. (Then
    without BLAS, for which a product with zero may be zero whatever the other number is.)"""
    taps = [1, *range(2 + spatial, 2 + 2 * spatial)]
    if met is None:
        return np.moveaxis(np.tensordot(windows, kernel, (taps, [1, *range(2, 2 + spatial)])), -1, 1)
    products = (
        np.where(met[(..., *tap, None)], np.einsum("ni...,oi->n...o", windows[(..., *tap)], kernel[(..., *tap)]), 0)
        for tap in np.ndindex(kernel.shape[2:])
    )
    return np.moveaxis(np.asarray(sum(products)), -1, 1)


def _meetings(geometry: list[Sweep]) -> np.ndarray:
    """[positions..., taps...]: whether they meet at an element, or at padding where one might be. Between the elements of
    dilated data there is nothing, not even a zero that would make NaN of an infinite tap (but where the window moves in
    larger steps, nothing is padded to zeros)."""
    met = np.array(True)
    for sweep in geometry:
        spot = np.arange(sweep.count)[:, None] * sweep.stride + np.arange(sweep.window) * sweep.dilation - sweep.padding[0]
        dense = sweep.stride == sweep.dilation == 1
        met = met[..., None, None] & ((spot % sweep.spacing == 0) if dense else np.full(spot.shape, True))
    rank = len(geometry)
    return met.transpose(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))


def _gradient(node: Value, ct: Value) -> list[Value]:
    """y = x * w      dx = ct spread by the strides * flipped w;  dw = x * (ct spread by the strides)."""
    x, w = node.operands
    return [
        _data_gradient(node, ct) if x.type.size else full(x.type, 0),
        _kernel_gradient(node, ct) if w.type.size else full(w.type, 0),
    ]


def _data_gradient(node: Value, ct: Value) -> Value:
    x, w = node.operands
    attrs = node.attrs
    batches, groups = attrs["batch_groups"], attrs["feature_groups"] * attrs["batch_groups"]
    outs, ins = attrs["rhs_spec"][:2]
    taps = reverse(_regroup(w, groups, outs, ins), attrs["rhs_spec"][2:])
    result = conv_general(
        ct,
        taps,
        strides=attrs["lhs_dilation"],
        padding=[s.input_padding for s in sweeps(x.shape, w.shape, attrs)],
        lhs_dilation=attrs["strides"],
        rhs_dilation=attrs["rhs_dilation"],
        feature_groups=groups,
        lhs_spec=attrs["out_spec"],
        rhs_spec=(ins, outs, *attrs["rhs_spec"][2:]),
        out_spec=attrs["lhs_spec"],
    )
    return _regroup(result, batches, *attrs["lhs_spec"][1::-1])


def _regroup(value: Value, groups: int, source: int, target: int) -> Value:
    """Move the outer factor `groups` of dimension `source` to be the outer factor of dimension `target`."""
    if groups == 1:
        return value
    shape = value.shape
    split = (*shape[:source], groups, shape[source] // groups, *shape[source + 1 :])
    moved = [d for d in range(len(split)) if d != source]
    at = moved.index(target + (target > source))
    moved.insert(at, source)
    merged = list(shape)
    merged[source], merged[target] = shape[source] // groups, shape[target] * groups
    return reshape(transpose(reshape(value, split), tuple(moved)), tuple(merged))


def _swapped(spec: Spec) -> Spec:
    return (spec[1], spec[0], *spec[2:])


def _kernel_gradient(node: Value, ct: Value) -> Value:
    x, w = node.operands
    attrs = node.attrs
    return conv_general(
        x,
        ct,
        strides=attrs["rhs_dilation"],
        padding=[s.tap_padding for s in sweeps(x.shape, w.shape, attrs)],
        lhs_dilation=attrs["lhs_dilation"],
        rhs_dilation=attrs["strides"],
        feature_groups=attrs["batch_groups"],
        batch_groups=attrs["feature_groups"],
        lhs_spec=_swapped(attrs["lhs_spec"]),
        rhs_spec=_swapped(attrs["out_spec"]),
        out_spec=_swapped(attrs["rhs_spec"]),
    )


def _expand(node: Value) -> Value | None:
    """Dilated data is taken phase by phase; padding becomes a `pad` of the data, and the convolution that remains reads
    inside it only."""
    x, w = node.operands
    attrs = node.attrs
    dense = zip(attrs["lhs_dilation"], attrs["strides"], attrs["rhs_dilation"], strict=True)
    for dim, (spacing, stride, dilation) in enumerate(dense):
        if spacing > 1 and stride == dilation == 1 and node.type.size:
            return _by_phases(node, dim)
    rank = len(x.shape)
    plain = {"padding": ((0, 0),) * (rank - 2), "lhs_dilation": (1,) * (rank - 2)}
    if all(attrs[name] == value for name, value in plain.items()):
        return None
    pads = ((0, 0), (0, 0), *attrs["padding"])
    low, high = (_arranged([p[side] for p in pads], attrs["lhs_spec"]) for side in (0, 1))
    interior = _arranged([0, 0, *(d - 1 for d in attrs["lhs_dilation"])], attrs["lhs_spec"])
    return conv_general(pad(x, low, high, interior, 0), w, **(attrs | plain))


def _by_phases(node: Value, dim: int) -> Value:
    """A convolution of data dilated in one spatial dimension multiplies mostly zeros. Its results at every so many positions
    are those of a convolution of the data as it is with every so many taps; their sum, spread out, is the whole."""
    x, w = node.operands
    attrs = node.attrs
    spacing, axis, taps = attrs["lhs_dilation"][dim], attrs["out_spec"][2 + dim], attrs["rhs_spec"][2 + dim]

    def replaced(name: str, entry: Any) -> tuple[Any, ...]:
        return (*attrs[name][:dim], entry, *attrs[name][dim + 1 :])

    def along(rank_entry: int, others: Sequence[int], at: int) -> tuple[int, ...]:
        return tuple(rank_entry if d == at else other for d, other in enumerate(others))

    zeros = (0,) * x.type.rank
    total = full(node.type, 0)
    for n, phase in enumerate(sweeps(x.shape, w.shape, attrs)[dim].phases):
        some = slice_(w, along(phase.tap, zeros, taps), w.shape, along(spacing, (1,) * x.type.rank, taps))
        plain = {"lhs_dilation": replaced("lhs_dilation", 1), "padding": replaced("padding", phase.padding)}
        part = conv_general(x, some, **(attrs | plain))
        after = node.shape[axis] - phase.first - spread(phase.count, spacing)
        low, high, between = (along(entry, zeros, axis) for entry in (phase.first, after, spacing - 1))
        part = pad(part, low, high, between, 0)
        total = total + part if n else part
    return total


def _spec(node: Value) -> ContractionSpec:
    """Kept axes follow the result's dimensions (a grouped feature dimension gives group, then feature within it)."""
    x, w = (v.type for v in node.operands)
    attrs = node.attrs
    xs, ws = [x.strides[d] for d in attrs["lhs_spec"]], [w.strides[d] for d in attrs["rhs_spec"]]
    outs, ins, *taps = (w.shape[d] for d in attrs["rhs_spec"])
    (batch, batch_out), (_, out), *spatial = ((node.shape[d], node.type.strides[d]) for d in attrs["out_spec"])
    groups = attrs["feature_groups"] * attrs["batch_groups"]
    data_step = batch * xs[0] if attrs["batch_groups"] > 1 else ins * xs[1]
    inner = outs // groups
    group = [Axis(groups, data_step, inner * ws[0], inner * out)] if groups > 1 else []
    moves = zip(spatial, attrs["strides"], xs[2:], strict=True)
    by_role = [
        [Axis(batch, xs[0], 0, batch_out)],
        [*group, Axis(inner, 0, ws[0], out)],
        *([Axis(n, stride * data, 0, stride_out)] for (n, stride_out), stride, data in moves),
    ]
    kept = tuple(axis for d in range(x.rank) for axis in by_role[attrs["out_spec"].index(d)])
    steps = zip(taps, attrs["rhs_dilation"], xs[2:], ws[2:], strict=True)
    reduced = [Axis(ins, xs[1], ws[1], 0)] + [Axis(n, d * data, kernel, 0) for n, d, data, kernel in steps]
    return ContractionSpec(kept, tuple(reduced))


# x shape, w shape, then the attributes that differ from stride 1, no padding, dilation 1, one group, default specs.
_CASES: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 3, 7), (4, 3, 3), {}),
    ((2, 3, 8), (4, 3, 3), {"strides": (3,), "padding": ((1, 0),)}),
    ((2, 3, 6, 5), (4, 3, 3, 2), {"strides": (2, 1), "padding": ((1, 2), (0, 1))}),
    ((1, 2, 7, 8), (3, 2, 2, 3), {"rhs_dilation": (3, 2), "padding": ((-1, 1), (2, -1))}),
    ((2, 2, 3, 4), (3, 2, 3, 2), {"lhs_dilation": (2, 3), "strides": (1, 2), "padding": ((1, 0), (-2, 2))}),
    ((2, 6, 5, 4), (4, 3, 2, 3), {"feature_groups": 2, "padding": ((1, 1), (1, 1))}),
    ((1, 3, 5, 6), (6, 1, 3, 3), {"feature_groups": 3, "strides": (2, 2), "padding": ((1, 1), (1, 1))}),
    ((4, 3, 5, 4), (6, 3, 2, 2), {"batch_groups": 2, "strides": (2, 1)}),
    ((2, 5, 6, 3), (3, 2, 3, 4), {"lhs_spec": (0, 3, 1, 2), "rhs_spec": (3, 2, 0, 1), "out_spec": (0, 3, 1, 2)}),
    ((5, 4, 2, 6), (3, 2, 4, 2), {"lhs_spec": (2, 1, 3, 0), "rhs_spec": (2, 3, 1, 0), "out_spec": (3, 0, 2, 1),
                                  "feature_groups": 2, "padding": ((0, 1), (2, 0))}),
    ((1, 2, 4, 3, 5), (3, 2, 2, 3, 2), {"strides": (1, 2, 2), "padding": ((0, 1), (1, 1), (0, 0))}),
    ((3, 2), (4, 2), {}),
)  # fmt: skip


def _samples() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for i, (x, w, given) in enumerate(_CASES):
        ones, order = (1,) * (len(x) - 2), tuple(range(len(x)))
        attrs: dict[str, Any] = {"strides": ones, "padding": ((0, 0),) * len(ones), "lhs_dilation": ones, "rhs_dilation": ones}
        attrs |= {"feature_groups": 1, "batch_groups": 1, "lhs_spec": order, "rhs_spec": order, "out_spec": order}
        for name in ("float32", "float64", "float16", "int32") if i == 2 else ("float32",):
            arrays = ((3 * rng.standard_normal(shape)).astype(dtype(name).numpy) for shape in (x, w))
            yield Sample(tuple(arrays), attrs | given)


register(
    Op(
        name="conv_general",
        infer=_infer,
        reference=_reference,
        gradient=_gradient,
        lower=Contraction(_spec, _expand),
        samples=_samples,
        doc="Correlation over named spatial dimensions.",
    )
)
