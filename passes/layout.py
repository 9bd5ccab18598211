"""Memory layouts: convolutions compute with the channels last, or where these are few, with the pictures of a batch last.

In: a graph whose convolutions are plain, and how many lanes the machine has. Out: an equal graph in which the results of
such convolutions, and all that follows from them index by index, have the order (batch, spatial..., channels), in which lanes
of channels lie side by side; or, in a graph where no convolution has channels enough for that, (channels, spatial..., batch).
Only the order of dimensions changes: ops take attributes for the new order, and where an op has no such rule, or the
caller looks, a transpose restores the old one. Weights keep their order, which packing hides. Simplification comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, prod

from graphc.ir.graph import Graph
from graphc.ir.location import located
from graphc.ir.op import Elementwise, Reduction
from graphc.ir.values import Value, make, topological
from graphc.ops.shape import reshape, transpose

MANY_CHANNELS = 32  # of data or result, from which lanes along channels are full
FEW_CHANNELS = 16  # of the result, below which most lanes would be empty
FULL_LANES = 0.75  # of the lanes that a batch takes: the part that is used

Order = tuple[int, ...]  # the dimension of the value at each dimension of what is held


def layout(graph: Graph, lanes: int = 1) -> Graph:
    """Put channels or pictures last where that pays; the identical graph where it pays nowhere."""
    values = graph.values()
    pictures = partial(prefers_batch_last, lanes=lanes)
    if any(map(prefers_channels_last, values)):
        held = _Held(prefers_channels_last, batch_last=False)
    elif any(map(pictures, values)):
        held = _Held(pictures, batch_last=True)
    else:
        return graph
    for value in topological(graph.roots):
        with located(value.location):
            held.add(value)
    return graph.with_roots(tuple(held.natural(root) for root in graph.roots))


def prefers_channels_last(value: Value) -> bool:
    """Whether the value is a convolution over pixels with enough channels."""
    if not over_pixels(value):
        return False
    outs: int = value.shape[value.attrs["out_spec"][1]]
    ins: int = value.operands[0].shape[value.attrs["lhs_spec"][1]]
    return outs >= FEW_CHANNELS and max(outs, ins) >= MANY_CHANNELS


def prefers_batch_last(value: Value, lanes: int) -> bool:
    """Whether the value is a convolution over pixels with enough pictures to fill the lanes."""
    if lanes == 1 or not over_pixels(value):
        return False
    pictures: int = value.shape[value.attrs["out_spec"][0]]
    return pictures >= FULL_LANES * lanes * ceil(pictures / lanes)


def over_pixels(value: Value) -> bool:
    """Whether the value is a convolution of pictures. In the gradient of a kernel, the taps are the pixels: it stays as it
    is."""
    if value.op.name != "conv_general" or value.type.rank < 3 or value.type.size == 0:
        return False
    pixels: int = prod(value.shape[d] for d in value.attrs["out_spec"][2:])
    taps: int = prod(value.operands[1].shape[d] for d in value.attrs["rhs_spec"][2:])
    return pixels >= taps


class _Held:
    """Values of the old graph as values of the new one: `value` is held as transpose(value, order). Convolutions that are
    `preferred` choose the order: batch or channels last."""

    def __init__(self, preferred: Callable[[Value], bool], batch_last: bool) -> None:
        self.preferred, self.batch_last = preferred, batch_last
        self.held: dict[Value, tuple[Value, Order]] = {}

    def add(self, value: Value) -> None:
        """Compute `value` from what is held."""
        rule = _RULES.get(value.op.name) or _BY_LOWERING.get(type(value.op.lower))
        self.held[value] = (rule and rule(self, value)) or self._unmoved(value)

    def preferred_order(self, spec: tuple[int, ...]) -> Order:
        """That of a value whose batch, channels and pixels are these dimensions."""
        batch, channels, *pixels = spec
        return (channels, *pixels, batch) if self.batch_last else (batch, *pixels, channels)

    def ordered(self, value: Value, order: Order) -> Value:
        """transpose(value, order)"""
        new, now = self.held[value]
        return transpose(new, tuple(now.index(d) for d in order))

    def natural(self, value: Value) -> Value:
        """The value itself."""
        return self.ordered(value, tuple(range(value.type.rank)))

    def moved(self, values: tuple[Value, ...]) -> Order:
        """The order in which values of one rank are held: not the natural one, if any is held otherwise."""
        orders = [self.held[value][1] for value in values]
        return next((order for order in orders if list(order) != sorted(order)), orders[0])

    def _unmoved(self, value: Value) -> tuple[Value, Order]:
        new = make(value.op.name, *map(self.natural, value.operands), **value.attrs)
        return new, tuple(range(value.type.rank))


Moved = tuple[Value, Order] | None


def _elementwise(held: _Held, value: Value) -> Moved:
    order = held.moved(value.operands)
    return make(value.op.name, *(held.ordered(v, order) for v in value.operands), **value.attrs), order


def _reduction(held: _Held, value: Value) -> Moved:
    x, order = held.held[value.operands[0]]
    axes = value.attrs["axes"]
    left = [d for d in order if d not in axes]
    return make(value.op.name, x, axes=tuple(sorted(map(order.index, axes)))), tuple(map(sorted(left).index, left))


def _transpose(held: _Held, value: Value) -> Moved:
    x, order = held.held[value.operands[0]]
    return x, tuple(map(value.attrs["perm"].index, order))


def _convolution(held: _Held, value: Value) -> Moved:
    """Operands are read in the order in which they are; the result has its channels last or stays. With pictures last, or where
    lanes are channels of the data, too, these come in the same order: from here on they are held in it, in which the gradient
    of the kernel finds them. So do lines of samples, whose channels would lie far apart."""
    attrs = dict(value.attrs)
    order = tuple(range(value.type.rank))
    if held.preferred(value):
        order = held.preferred_order(attrs["out_spec"])
        data, (_, channels, *spatial) = value.operands[0], attrs["lhs_spec"]
        summed = value.operands[1].shape[attrs["rhs_spec"][1]]
        if held.batch_last or (data.shape[channels] >= FEW_CHANNELS and (summed == 1 or len(spatial) == 1)):
            now = held.preferred_order(attrs["lhs_spec"])
            held.held[data] = held.ordered(data, now), now
    operands = []
    for operand, role in zip(value.operands, ("lhs_spec", "rhs_spec"), strict=True):
        new, now = held.held[operand]
        operands.append(new)
        attrs[role] = tuple(map(now.index, attrs[role]))
    attrs["out_spec"] = tuple(map(order.index, attrs["out_spec"]))
    return make("conv_general", *operands, **attrs), order


def _per_dimension(*names: str) -> Callable[[_Held, Value], Moved]:
    """For ops whose attributes `names` have an entry for each dimension of operands and result."""

    def rule(held: _Held, value: Value) -> Moved:
        order = held.moved(value.operands)
        attrs = value.attrs | {name: tuple(value.attrs[name][d] for d in order) for name in names}
        return make(value.op.name, *(held.ordered(v, order) for v in value.operands), **attrs), order

    return rule


def _window(*names: str) -> Callable[[_Held, Value], Moved]:
    """The same for windows, inside which elements are numbered in the order of dimensions: it must not change."""
    rule = _per_dimension("window", "strides", "padding", "dilation", *names)

    def checked(held: _Held, value: Value) -> Moved:
        wide = [d for d in held.moved(value.operands) if value.attrs["window"][d] > 1]
        return rule(held, value) if wide == sorted(wide) else None

    return checked


def _concat(held: _Held, value: Value) -> Moved:
    order = held.moved(value.operands)
    return make("concat", *(held.ordered(v, order) for v in value.operands), axis=order.index(value.attrs["axis"])), order


def _reshape(held: _Held, value: Value) -> Moved:
    """Pictures that stay last, while their dimensions are told apart differently."""
    x, order = held.held[value.operands[0]]
    last = (*range(1, value.type.rank), 0)
    if len(order) < 2 or order != (*range(1, len(order)), 0) or value.shape[:1] != value.operands[0].shape[:1]:
        return None
    return reshape(x, tuple(value.shape[d] for d in last)), last


def _reverse(held: _Held, value: Value) -> Moved:
    x, order = held.held[value.operands[0]]
    return make("reverse", x, axes=tuple(sorted(map(order.index, value.attrs["axes"])))), order


_RULES: dict[str, Callable[[_Held, Value], Moved]] = {
    "concat": _concat,
    "conv_general": _convolution,
    "pad": _per_dimension("low", "high", "interior"),
    "reduce_window": _window(),
    "reshape": _reshape,
    "reverse": _reverse,
    "slice": _per_dimension("start", "stop", "stride"),
    "transpose": _transpose,
    "window_argmax": _window(),
    "window_gather": _window(),
    "window_scatter": _window("shape"),
    "window_spread": _per_dimension("window", "strides", "padding", "dilation", "shape"),
}
_BY_LOWERING: dict[type, Callable[[_Held, Value], Moved]] = {Elementwise: _elementwise, Reduction: _reduction}
