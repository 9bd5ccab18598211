"""Rules of ops that move elements: chains of them become one, those that move nothing vanish.

In and out: see graphc/ir/rewrite.py. Canonical forms: a broadcast repeats no dimension of extent 1 (a reshape drops it
first), a transpose that moves only extents of 1 is a reshape, and a view that all operands of an elementwise op share
comes after the op: what is repeated is computed once, and views meet and cancel.
"""

from __future__ import annotations

from graphc.ir.op import OPS, Elementwise
from graphc.ir.rewrite import Rule, op, rule, wild
from graphc.ir.values import Value, full, make, splat
from graphc.ops.shape import concat, pad, reshape, reverse, slice_, transpose

x = wild("x")
inner = "inner"
ELEMENTWISE = [name for name, record in OPS.items() if isinstance(record.lower, Elementwise)]


def _only(values: tuple[Value, ...]) -> Value:
    (value,) = values
    return value


# ----------------------------------------------------------------------------------------------- reshape and transpose


def _moves_ones_only(root: Value) -> bool:
    """Whether the dimensions with more than one element keep their order."""
    shape = root.operands[0].shape
    moved = [d for d in root.attrs["perm"] if shape[d] != 1]
    return moved == sorted(moved)


def _compose(outer: tuple[int, ...], inner: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(inner[d] for d in outer)


RESHAPES: list[Rule] = [
    rule("reshape(x) -> x, same shape", op("reshape", x), lambda x: x, when=lambda x, root: x.shape == root.shape),
    rule("reshape(reshape(x)) -> reshape(x)", op("reshape", op("reshape", x)), lambda x, root: reshape(x, root.shape)),
    rule(
        "transpose(x) -> reshape(x), only extents of 1 move",
        op("transpose", x),
        lambda x, root: reshape(x, root.shape),
        when=_moves_ones_only,
    ),
    rule(
        "transpose(transpose(x)) -> transpose(x)",
        op("transpose", op("transpose", x, perm=wild("first")), perm=wild("second")),
        lambda x, first, second: transpose(x, _compose(second, first)),
    ),
]

# ------------------------------------------------------------------------------------------------------------- broadcast


def _squeezed_broadcast(x: Value, root: Value) -> Value:
    """broadcast(x[.., 1, ..]) -> broadcast(reshape(x))"""
    kept = [i for i, n in enumerate(x.shape) if n != 1]
    squeezed = reshape(x, [x.shape[i] for i in kept])
    return make("broadcast", squeezed, shape=root.shape, dims=tuple(root.attrs["dims"][i] for i in kept))


def _transposed_broadcast(inner: Value, root: Value) -> Value:
    """transpose(broadcast(x, dims)) -> broadcast(transpose(x), places of dims)"""
    x, perm = _only(inner.operands), root.attrs["perm"]
    places = [perm.index(d) for d in inner.attrs["dims"]]
    order = sorted(range(len(places)), key=places.__getitem__)
    return make("broadcast", transpose(x, order), shape=root.shape, dims=tuple(sorted(places)))


def _sliced_broadcast(inner: Value, root: Value) -> Value:
    """slice(broadcast(x, dims)) -> broadcast(slice(x), dims)"""
    x, dims = _only(inner.operands), inner.attrs["dims"]
    start, stop, stride = (root.attrs[key] for key in ("start", "stop", "stride"))
    repeated = [n != inner.shape[d] for n, d in zip(x.shape, dims, strict=True)]
    low = tuple(0 if r else start[d] for r, d in zip(repeated, dims, strict=True))
    high = tuple(n if r else stop[d] for r, n, d in zip(repeated, x.shape, dims, strict=True))
    step = tuple(1 if r else stride[d] for r, d in zip(repeated, dims, strict=True))
    return make("broadcast", slice_(x, low, high, step), shape=root.shape, dims=dims)


def _reshaped_broadcast(x: Value, inner: Value, root: Value) -> Value | None:
    """reshape(broadcast(x, dims)) that only adds or drops extents of 1 -> broadcast(x, moved dims)"""
    if x.type.rank == 0:
        return make("broadcast", x, shape=root.shape, dims=())
    before = [i for i, n in enumerate(inner.shape) if n != 1]
    after = [i for i, n in enumerate(root.shape) if n != 1]
    if [inner.shape[i] for i in before] != [root.shape[i] for i in after] or 1 in x.shape:
        return None
    place = dict(zip(before, after, strict=True))
    return make("broadcast", x, shape=root.shape, dims=tuple(place[d] for d in inner.attrs["dims"]))


BROADCASTS: list[Rule] = [
    rule("broadcast(x) -> x, same shape", op("broadcast", x), lambda x: x, when=lambda x, root: x.shape == root.shape),
    rule(
        "broadcast(x) -> reshape(x), same size",
        op("broadcast", x),
        lambda x, root: reshape(x, root.shape),
        when=lambda x, root: x.type.size == root.type.size,
    ),
    rule(
        "broadcast(x[.., 1, ..]) -> broadcast(reshape(x))",
        op("broadcast", x),
        _squeezed_broadcast,
        when=lambda x: 1 in x.shape,
    ),
    rule(
        "broadcast(broadcast(x)) -> broadcast(x)",
        op("broadcast", op("broadcast", x, dims=wild("first")), dims=wild("second")),
        lambda x, first, second, root: make("broadcast", x, shape=root.shape, dims=_compose(first, second)),
    ),
    rule(
        "transpose(broadcast(x)) -> broadcast(transpose(x))",
        op("transpose", op("broadcast", ..., called=inner)),
        _transposed_broadcast,
    ),
    rule("slice(broadcast(x)) -> broadcast(slice(x))", op("slice", op("broadcast", ..., called=inner)), _sliced_broadcast),
    rule(
        "reshape(broadcast(x)) -> broadcast(x), extents of 1 come or go",
        op("reshape", op("broadcast", x, called=inner)),
        _reshaped_broadcast,
    ),
]


MOVING = ("broadcast", "reshape", "transpose")
Form = tuple[str, tuple[int, ...], tuple[tuple[str, object], ...]]


def _form(view: Value) -> Form:
    """How a view moves elements: its op, the shape it starts from, and its attributes."""
    return view.op.name, view.operands[0].shape, tuple(view.attrs.items())


def _shared_view(root: Value) -> Value | None:
    """op(view(a), view(b), number) -> view(op(a, b, number)), if all views move elements alike"""
    numbers = [splat(v) for v in root.operands]
    views = [v for v, number in zip(root.operands, numbers, strict=True) if number is None]
    if any(v.op.name not in MOVING for v in views) or len(set(map(_form, views))) > 1:
        return None
    if not views and root.shape == ():
        return None
    shape = views[0].operands[0].shape if views else ()
    below = (
        v.operands[0] if number is None else full(v.type.with_shape(shape), number)
        for v, number in zip(root.operands, numbers, strict=True)
    )
    result = make(root.op.name, *below, **root.attrs)
    return make(views[0].op.name, result, **views[0].attrs) if views else make("broadcast", result, shape=root.shape, dims=())


SHARED: list[Rule] = [
    rule("op(view(x), view(y)) -> view(op(x, y))", op(ELEMENTWISE, ...), _shared_view),
]

# ----------------------------------------------------------------------------------------------- slice, reverse, pad


def _slice_of_slice(x: Value, inner: Value, root: Value) -> Value:
    """(x[a:b:s])[c:d:t] -> x[a + c*s : .. : s*t]"""
    first, second = inner.attrs, root.attrs
    start = tuple(a + c * s for a, c, s in zip(first["start"], second["start"], first["stride"], strict=True))
    stride = tuple(s * t for s, t in zip(first["stride"], second["stride"], strict=True))
    stop = tuple(a + (n - 1) * s + 1 if n else a for a, n, s in zip(start, root.shape, stride, strict=True))
    low, high = ([min(place, n) for place, n in zip(places, x.shape, strict=True)] for places in (start, stop))
    return slice_(x, low, high, stride)


def _slice_of_concat(inner: Value, root: Value) -> Value | None:
    """slice(concat(x, y, ..)) -> slice(x), where it lies in one part"""
    axis, first = inner.attrs["axis"], 0
    start, stop, stride = (root.attrs[key] for key in ("start", "stop", "stride"))
    for part in inner.operands:
        last = first + part.shape[axis]
        if first <= start[axis] and stop[axis] <= last and start[axis] < stop[axis]:
            low, high = list(start), list(stop)
            low[axis], high[axis] = start[axis] - first, stop[axis] - first
            return slice_(part, low, high, stride)
        first = last
    return None


def _slice_of_pad(inner: Value, root: Value) -> Value | None:
    """slice(pad(x)) -> slice(x), where it lies inside and nothing was put between the elements"""
    x, low = _only(inner.operands), inner.attrs["low"]
    start = tuple(a - p for a, p in zip(root.attrs["start"], low, strict=True))
    stop = tuple(b - p for b, p in zip(root.attrs["stop"], low, strict=True))
    inside = all(0 <= a <= b <= n for a, b, n in zip(start, stop, x.shape, strict=True))
    return slice_(x, start, stop, root.attrs["stride"]) if inside and not any(inner.attrs["interior"]) else None


def _cropping(root: Value) -> Value | None:
    """pad(x) with no positive entry -> slice(x)"""
    x, low, high = _only(root.operands), root.attrs["low"], root.attrs["high"]
    if any(root.attrs["interior"]) or max((*low, *high)) > 0:
        return None
    return slice_(x, [-a for a in low], [n + b for n, b in zip(x.shape, high, strict=True)])


def _pad_of_pad(x: Value, inner: Value, root: Value) -> Value | None:
    """pad(pad(x, v), v) -> pad(x, v), both at the ends only and neither cropping"""
    first, second = inner.attrs, root.attrs
    if repr(first["value"]) != repr(second["value"]) or any(first["interior"]) or any(second["interior"]):
        return None
    low = [a + b for a, b in zip(first["low"], second["low"], strict=True)]
    high = [a + b for a, b in zip(first["high"], second["high"], strict=True)]
    crops = min((*first["low"], *first["high"], *second["low"], *second["high"])) < 0
    return None if crops else pad(x, low, high, None, first["value"])


SLICES: list[Rule] = [
    rule(
        "slice(x) -> x, all of it",
        op("slice", x),
        lambda x: x,
        when=lambda x, root: x.shape == root.shape,
    ),
    rule("slice(slice(x)) -> slice(x)", op("slice", op("slice", x, called=inner)), _slice_of_slice),
    rule("slice(concat(x, y)) -> slice(x)", op("slice", op("concat", ..., called=inner)), _slice_of_concat),
    rule("slice(pad(x)) -> slice(x)", op("slice", op("pad", ..., called=inner)), _slice_of_pad),
    rule("pad(x, 0, 0) -> x", op("pad", x), lambda x: x, when=lambda root: not _pads(root)),
    rule("pad(x, -a, -b) -> slice(x)", op("pad", x), lambda root: _cropping(root)),
    rule("pad(pad(x)) -> pad(x)", op("pad", op("pad", x, called=inner)), _pad_of_pad),
]


def _pads(root: Value) -> bool:
    return any(map(any, (root.attrs["low"], root.attrs["high"], root.attrs["interior"])))


# ---------------------------------------------------------------------------------------------------- reverse, concat


def _flatter_concat(root: Value) -> Value | None:
    """concat(x, concat(y, z)) -> concat(x, y, z); empty parts vanish"""
    axis = root.attrs["axis"]
    parts: list[Value] = []
    for part in root.operands:
        nested = part.op.name == "concat" and part.attrs["axis"] == axis
        parts.extend(v for v in (part.operands if nested else (part,)) if v.shape[axis])
    return concat(parts or root.operands[:1], axis) if parts != list(root.operands) else None


def _reshaped_concat(root: Value) -> Value | None:
    """concat(reshape(x), reshape(y)) -> reshape(concat(x, y)), where parts lie one after another in memory"""
    axis, parts = root.attrs["axis"], [part.operands[0] for part in root.operands if part.op.name == "reshape"]
    if len(parts) < len(root.operands) or any(n != 1 for n in root.shape[:axis]):
        return None
    if len({(x.type.rank, x.shape[1:]) for x in parts}) > 1 or parts[0].type.rank == 0:
        return None
    return reshape(concat(parts, 0), root.shape)


def _reversed_twice(x: Value, inner: Value, root: Value) -> Value:
    return reverse(x, sorted(set(inner.attrs["axes"]) ^ set(root.attrs["axes"])))


ORDERS: list[Rule] = [
    rule("reverse(x) -> x, along extents of 1", op("reverse", x), lambda root: _reverse_of_ones(root)),
    rule("reverse(reverse(x)) -> reverse(x)", op("reverse", op("reverse", x, called=inner)), _reversed_twice),
    rule("concat(x) -> x", op("concat", x), lambda x: x),
    rule("concat(x, concat(y, z)) -> concat(x, y, z)", op("concat", ...), _flatter_concat),
    rule("concat(reshape(x), reshape(y)) -> reshape(concat(x, y))", op("concat", ...), _reshaped_concat),
]


def _reverse_of_ones(root: Value) -> Value | None:
    (x,), axes = root.operands, root.attrs["axes"]
    moving = [axis for axis in axes if x.shape[axis] > 1]
    return reverse(x, moving) if len(moving) < len(axes) else None


VIEWS = [*RESHAPES, *BROADCASTS, *SHARED, *SLICES, *ORDERS]
