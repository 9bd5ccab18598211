"""Convolution with 3x3 taps by the minimal filtering algorithm of Winograd, in tiles of m x m results: three ops.

    V = winograd_points(x)        each n x n patch d of x, n = m + 2, as B^T d B       channels beside each other
    M = winograd_product(V, U)    sums over channels, for each of the n * n points; U = G g G^T for each kernel g
    y = winograd_result(M)        each tile as A^T M A, cut to its shape

Instead of 9 m^2 products of a tile there are (m + 2)^2, and rounding errors grow by a small factor. All is linear, and the
gradient of g goes the same way back: G^T (sum of V * Z over tiles) G, where Z = winograd_points(dy, of="cotangent") has each
tile of dy as A dy A^T. The matrices are in toom.py. Definition: Lavin and Gray, https://arxiv.org/abs/1509.09308.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np

from ..dtype import float32, float64
from ..errors import DTypeError, ShapeError
from ..ir.expr import Expr, as_index, call, const, ravel, unravel
from ..ir.op import Axis, Blocked, BlockReader, Contraction, ContractionSpec, Index, Op, Sample, register
from ..ir.types import TensorType
from ..ir.values import Value, constant, full, make
from .contract import dot_general
from .shape import pad, reshape, slice_, transpose
from .toom import TAPS, Matrix, Row, side, transforms


def _array(matrix: Matrix) -> np.ndarray:
    return np.array([[float(number) for number in row] for row in matrix])


# ------------------------------------------------------------------------------------------------------------ builders


def winograd_points(x: Value, *, tile: int, group: int, of: str = "data") -> Value:
    """[groups, points, group, channels] of x [batch, tile * rows + 2, tile * columns + 2, channels]: tiles are numbered by
    image, row and column, `group` of them lie together. Of a cotangent, tiles do not overlap, and there are no 2 more."""
    return make("winograd_points", x, tile=tile, group=group, of=of)


def winograd_kernel(w: Value, *, tile: int) -> Value:
    """[points, channels, features] of w [3, 3, channels, features]."""
    return dot_general(_both_sides_of(transforms(tile).kernel, w), w, contract=((1, 2), (0, 1)))


def winograd_taps(du: Value, *, tile: int, last: bool) -> Value:
    """The gradient of w from that of its points [points, *channels]: [*channels, 3, 3] with taps `last`, else [3, 3,
    *channels]."""
    points = _both_sides_of(transforms(tile).kernel, du)
    return dot_general(*((du, points) if last else (points, du)), contract=((0,), (0,)))


def winograd_product(v: Value, u: Value) -> Value:
    """[groups, points, group, features]: for each point, the matrix of data times that of the kernel."""
    return make("winograd_product", v, u)


def winograd_result(products: Value, *, tile: int, shape: Sequence[int]) -> Value:
    """[batch, rows, columns, features] of `shape`, whose last tiles may be cut."""
    return make("winograd_result", products, tile=tile, shape=tuple(shape))


def _both_sides_of(matrix: Matrix, like: Value) -> Value:
    """What a matrix does to both sides of a patch: [points, rows, columns of the patch]."""
    columns = len(matrix[0])
    return constant(np.kron(_array(matrix), _array(matrix)).reshape(-1, columns, columns).astype(like.dtype.numpy))


# ---------------------------------------------------------------------------------------------------------- type rules


def _check(op: str, x: TensorType, rank: int) -> None:
    if x.dtype not in (float32, float64):
        raise DTypeError(f"{op} of {x}: expected float32 or float64")
    if x.rank != rank:
        raise ShapeError(f"{op} of {x}: expected {rank} dimensions")


def _overlap(of: str) -> int:
    """How many rows and columns a patch has beyond those of its tile."""
    return TAPS - 1 if of == "data" else 0


def _tiles(shape: Sequence[int], tile: int, of: str) -> tuple[int, int, int]:
    """Images, and rows and columns of tiles."""
    return shape[0], (shape[1] - _overlap(of)) // tile, (shape[2] - _overlap(of)) // tile


def _covering(shape: Sequence[int], tile: int) -> tuple[int, int, int]:
    """Images, and rows and columns of tiles, of which the last may stick out, for results of a shape."""
    return shape[0], -(-shape[1] // tile), -(-shape[2] // tile)


def _infer_points(x: TensorType, *, tile: int, group: int, of: str) -> TensorType:
    _check("winograd_points", x, 4)
    if of not in ("data", "cotangent"):
        raise ShapeError(f"winograd_points of {of!r}; expected of='data' or of='cotangent'")
    more = _overlap(of)
    if min(x.shape[1:3]) <= more or any((n - more) % tile for n in x.shape[1:3]):
        raise ShapeError(f"winograd_points of {x}: rows and columns must be a multiple of {tile}, and {more} more")
    tiles = prod(_tiles(x.shape, tile, of))
    if group < 1 or tiles % group:
        raise ShapeError(f"winograd_points of {x}: {tiles} tiles in groups of {group}; the groups must come out even")
    return x.with_shape((tiles // group, side(tile) ** 2, group, x.shape[3]))


def _infer_product(v: TensorType, u: TensorType) -> TensorType:
    _check("winograd_product", v, 4)
    _check("winograd_product", u, 3)
    if v.dtype is not u.dtype or (v.shape[1], v.shape[3]) != u.shape[:2]:
        raise ShapeError(
            f"winograd_product of {v} and {u}: expected [groups, points, group, channels] and [points, channels, features]"
        )
    return v.with_shape((*v.shape[:3], u.shape[2]))


def _infer_result(products: TensorType, *, tile: int, shape: tuple[int, ...]) -> TensorType:
    _check("winograd_result", products, 4)
    groups, points, group, features = products.shape
    expected = prod(_covering(shape, tile))
    if (groups * group, points, features) != (expected, side(tile) ** 2, shape[3]):
        raise ShapeError(f"winograd_result of {products} to {list(shape)}: expected {expected} tiles of {tile} x {tile}")
    return products.with_shape(shape)


# ---------------------------------------------------------------------------------------------------------- references


def _times(matrix: Matrix, x: np.ndarray, axis: int) -> np.ndarray:
    """The matrix times the lines of x along an axis; what a coefficient is 0 for is not looked at."""
    lines = np.moveaxis(x, axis, 0)
    rows = [sum(float(number) * lines[k] for k, number in enumerate(row) if number) for row in matrix]
    return np.stack(rows, axis)


def on_patches(matrix: Matrix, x: np.ndarray, *, tile: int, group: int, of: str) -> np.ndarray:
    """matrix @ patch @ matrix^T for each patch, arranged as winograd_points says."""
    width = len(matrix[0])
    patches = np.lib.stride_tricks.sliding_window_view(x, (width, width), (1, 2))[:, ::tile, ::tile]
    found = _times(matrix, _times(matrix, patches.astype(np.float64), 4), 5)  # [batch, rows, columns, channels, points]
    return found.reshape(-1, group, x.shape[3], len(matrix) ** 2).transpose(0, 3, 1, 2).astype(x.dtype)


def on_points(matrix: Matrix, products: np.ndarray, *, tile: int, shape: Sequence[int]) -> np.ndarray:
    """matrix @ points @ matrix^T for each tile, arranged as winograd_result says."""
    _, rows, columns, features = shape
    batch, down, across = _covering(shape, tile)
    points = products.swapaxes(1, 2).reshape(batch, down, across, side(tile), side(tile), features).astype(np.float64)
    found = _times(matrix, _times(matrix, points, 3), 4).swapaxes(2, 3)
    return found.reshape(batch, down * tile, across * tile, features)[:, :rows, :columns].astype(products.dtype)


def _reference_points(x: np.ndarray, *, tile: int, group: int, of: str) -> np.ndarray:
    return on_patches(getattr(transforms(tile), of), x, tile=tile, group=group, of=of)


def _reference_product(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.asarray(np.matmul(v, u))


def _reference_result(products: np.ndarray, *, tile: int, shape: tuple[int, ...]) -> np.ndarray:
    return on_points(transforms(tile).result, products, tile=tile, shape=shape)


# ------------------------------------------------------------------------------------------------------------ elements

Name = Callable[[Expr], Expr]


def _combined(row: Sequence[Fraction], line: Sequence[Expr], name: Name) -> Expr:
    """The sum of coefficient * element, ones first."""
    terms = sorted(((c, x) for c, x in zip(row, line, strict=True) if c), key=lambda term: (term[0] != 1, abs(term[0]) != 1))
    (first, total), *rest = terms
    if first != 1:
        total = total * float(first)
    for factor, x in rest:
        total = (
            total + x if factor == 1 else total - x if factor == -1 else call("fma", x, const(float(factor), x.dtype), total)
        )
    return name(total)


def _mirrored(left: Row, right: Row) -> bool:
    """Whether two rows differ in the signs of all odd entries, and in nothing else."""
    return all(a == (b if k % 2 == 0 else -b) for k, (a, b) in enumerate(zip(left, right, strict=True)))


def _pairs(rows: Sequence[Row]) -> dict[int, int]:
    """Neighbours that are mirrored: the first one's number -> the second one's."""
    return {n: n + 1 for n in range(len(rows) - 1) if any(rows[n][1::2]) and _mirrored(rows[n], rows[n + 1])}


def _by_rows(matrix: Matrix, line: Sequence[Expr], name: Name) -> list[Expr]:
    """matrix @ line, where mirrored rows share their sums over even and over odd entries."""
    pairs = _pairs(matrix)
    found: dict[int, Expr] = {}
    for n, row in enumerate(matrix):
        if n in pairs:
            even, odd = (_combined(row[part::2], line[part::2], name) for part in (0, 1))
            found[n], found[pairs[n]] = name(even + odd), name(even - odd)
        elif n not in found:
            found[n] = _combined(row, line, name)
    return [found[n] for n in range(len(matrix))]


def _by_columns(matrix: Matrix, line: Sequence[Expr], name: Name) -> list[Expr]:
    """matrix @ line, where the elements of mirrored columns are added for even rows, and subtracted for odd ones."""
    columns = tuple(zip(*matrix, strict=True))
    pairs = _pairs(columns)
    alone = [n for n in range(len(columns)) if n not in pairs and n not in pairs.values()]
    sums = {n: (name(line[n] + line[m]), name(line[n] - line[m])) for n, m in pairs.items()}
    return [
        _combined([row[n] for n in (*alone, *pairs)], [*(line[n] for n in alone), *(sums[n][k % 2] for n in pairs)], name)
        for k, row in enumerate(matrix)
    ]


Side = Callable[[Matrix, Sequence[Expr], Name], list[Expr]]


def _both_sides(matrix: Matrix, by: Side, patch: Callable[[int, int], Expr], name: Name) -> Iterator[Expr]:
    """The elements of matrix @ patch @ matrix^T, row by row."""
    places = range(len(matrix[0]))
    columns = [by(matrix, [name(patch(i, j)) for i in places], name) for j in places]
    for row in zip(*columns, strict=True):
        yield from by(matrix, row, name)


def _elements_points(node: Value, start: Index, reader: BlockReader) -> Iterator[Expr]:
    tile, group, of = (node.attrs[name] for name in ("tile", "group", "of"))
    number = ravel((as_index(start[0]), as_index(start[2])), (node.shape[0], group))
    image, row, column = unravel(number, _tiles(node.operands[0].shape, tile, of))

    def patch(i: int, j: int) -> Expr:
        return reader.read(0, (image, row * tile + i, column * tile + j, start[3]))

    return _both_sides(getattr(transforms(tile), of), _by_rows, patch, reader.name)


def _elements_result(node: Value, start: Index, reader: BlockReader) -> Iterator[Expr]:
    tile, products = node.attrs["tile"], node.operands[0]
    at = (as_index(start[0]), as_index(start[1]) // tile, as_index(start[2]) // tile)
    number = ravel(at, _covering(node.shape, tile))
    group, place = unravel(number, (products.shape[0], products.shape[2]))

    def patch(i: int, j: int) -> Expr:
        return reader.read(0, (group, as_index(i * side(tile) + j), place, start[3]))

    return _both_sides(transforms(tile).result, _by_columns, patch, reader.name)


def _spec(node: Value) -> ContractionSpec:
    v, u = (operand.type for operand in node.operands)
    moves = zip(node.shape, v.strides, (0, u.strides[0], 0), node.type.strides, strict=False)
    first, *others = (Axis(*move) for move in moves)
    apart = Axis(first.extent, first.lhs, first.rhs, first.out, apart=True)
    features = Axis(u.shape[2], 0, u.strides[2], node.type.strides[3])
    return ContractionSpec((apart, *others, features), (Axis(u.shape[1], v.strides[3], u.strides[1], 0),))


# ----------------------------------------------------------------------------------------------------------- gradients


def _gradient_points(node: Value, ct: Value) -> list[Value | None]:
    """Each patch gets B ct B^T, and patches overlap."""
    (x,), tile, of = node.operands, node.attrs["tile"], node.attrs["of"]
    if of == "cotangent":
        return [winograd_result(ct, tile=tile, shape=x.shape)]
    batch, down, across = _tiles(x.shape, tile, of)
    spread = (batch, (down - 1) * tile + 1, (across - 1) * tile + 1, x.shape[3])
    patches = dot_general(_both_sides_of(transforms(tile).data, x), ct, contract=((0,), (1,)))  # [side, side, groups ...]
    total = full(x.type, 0)
    for i, j in product(range(side(tile)), repeat=2):
        high = tuple(n - a - b for n, a, b in zip(x.shape, (0, i, j, 0), spread, strict=True))
        part = slice_(patches, (i, j, 0, 0, 0), (i + 1, j + 1, *patches.shape[2:]), (1,) * 5)
        part = reshape(part, (batch, down, across, x.shape[3]))
        total = total + pad(part, (0, i, j, 0), high, (0, tile - 1, tile - 1, 0), 0)
    return [total]


def _gradient_product(node: Value, ct: Value) -> list[Value | None]:
    v, u = node.operands
    dv = dot_general(ct, u, contract=((3,), (2,)), batch=((1,), (0,)))  # [points, groups, group, channels]
    return [transpose(dv, (1, 0, 2, 3)), dot_general(v, ct, contract=((0, 2), (0, 2)), batch=((1,), (1,)))]


def _gradient_result(node: Value, ct: Value) -> list[Value | None]:
    """The points of a tile get A ct A^T."""
    tile, nothing = node.attrs["tile"], (0, 0, 0, 0)
    missing = (0, *(-n % tile for n in node.shape[1:3]), 0)
    whole = pad(ct, nothing, missing, nothing, 0) if any(missing) else ct
    return [winograd_points(whole, tile=tile, group=node.operands[0].shape[2], of="cotangent")]


# ------------------------------------------------------------------------------------------------------------- records


def _random(*shapes: tuple[int, ...], dtype: str = "float32") -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


register(
    Op(
        name="winograd_points",
        infer=_infer_points,
        reference=_reference_points,
        gradient=_gradient_points,
        lower=Blocked(lambda node: (1, node.shape[1], 1, 1), _elements_points),
        samples=lambda: [
            Sample(_random((2, 4 * 2 + 2, 4 + 2, 3)), {"tile": 4, "group": 2, "of": "data"}),
            Sample(_random((1, 3 + 2, 3 * 2 + 2, 5), dtype="float64"), {"tile": 3, "group": 1, "of": "data"}),
            Sample(_random((3, 2 * 2 + 2, 2 * 3 + 2, 2)), {"tile": 2, "group": 9, "of": "data"}),
            Sample(_random((2, 4 * 2, 4, 3)), {"tile": 4, "group": 2, "of": "cotangent"}),
            Sample(_random((1, 3, 3 * 2, 2), dtype="float64"), {"tile": 3, "group": 2, "of": "cotangent"}),
        ],
        doc="Patches of data, or tiles of cotangents, at the points of Winograd's algorithm.",
    )
)
register(
    Op(
        name="winograd_product",
        infer=_infer_product,
        reference=_reference_product,
        gradient=_gradient_product,
        lower=Contraction(_spec),
        samples=lambda: [
            Sample(_random((2, 4, 3, 5), (4, 5, 2))),
            Sample(_random((1, 9, 2, 3), (9, 3, 4), dtype="float64")),
        ],
        doc="Products of data and kernels at the points of Winograd's algorithm.",
    )
)
register(
    Op(
        name="winograd_result",
        infer=_infer_result,
        reference=_reference_result,
        gradient=_gradient_result,
        lower=Blocked(lambda node: (1, node.attrs["tile"], node.attrs["tile"], 1), _elements_result),
        samples=lambda: [
            Sample(_random((2, 36, 4, 3)), {"tile": 4, "shape": (2, 7, 5, 3)}),
            Sample(_random((1, 25, 2, 5), dtype="float64"), {"tile": 3, "shape": (1, 3, 6, 5)}),
            Sample(_random((3, 16, 4, 2)), {"tile": 2, "shape": (1, 5, 8, 2)}),
        ],
        doc="Results of a convolution from the points of Winograd's algorithm.",
    )
)
