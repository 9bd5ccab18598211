"""Reductions, softmax, products and shapes against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import call, compare, normal, torch

import graphc as gc

DIMS: list[Any] = [None, 0, -1, (0, 2)]


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "var", "std", "norm", "logsumexp"])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("keepdim", [False, True])
def test_reductions(name: str, dim: Any, keepdim: bool) -> None:
    chosen = (0, 1, 2) if dim is None and name in ("logsumexp", "amax", "amin") else dim
    compare(
        lambda x: getattr(x, name)(dim=dim, keepdim=keepdim),
        lambda x: getattr(x, name)(dim=chosen, keepdim=keepdim),
        normal(3, 4, 5),
    )


@pytest.mark.parametrize("p", [1, 2, 3, float("inf"), float("-inf"), 0])
def test_norms(p: float) -> None:
    compare(lambda x: x.norm(p, dim=1), lambda x: torch.linalg.vector_norm(x, p, dim=1), normal(3, 4))


def test_norm_at_zero_has_gradient_zero() -> None:
    compare(lambda x: x.norm(), lambda x: x.norm(), np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["max", "min", "sort"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_values_with_indices(name: str, dim: int) -> None:
    compare(lambda x: tuple(getattr(x, name)(dim)), lambda x: tuple(getattr(x, name)(dim)), normal(3, 4))


def test_max_of_everything_and_of_two() -> None:
    compare(
        lambda x: (x.max(), x.min(), x.argmax(), x.argmin()), lambda x: (x.max(), x.min(), x.argmax(), x.argmin()), normal(3, 4)
    )
    compare(lambda x, y: x.max(y), lambda x, y: x.max(y), normal(3), normal(3, seed=1))


@pytest.mark.parametrize("keepdim", [False, True])
def test_argmax(keepdim: bool) -> None:
    def indices(x: Any) -> Any:
        return x.argmax(1, keepdim=keepdim), x.argmin(0, keepdim=keepdim)

    compare(indices, indices, normal(3, 4))


def test_any_all_count() -> None:
    x = np.array([[0, 1, 2], [0, 0, 0]])
    compare(
        lambda v: (v.any(), v.all(1), v.any(0), v.count_nonzero()),
        lambda v: (v.any(), v.all(1), v.any(0), v.count_nonzero()),
        x,
    )


def test_integer_sums_widen() -> None:
    def sums(v: Any) -> Any:
        return v.sum(), v.prod(), v.sum(0), v.cumsum(0)

    compare(sums, sums, np.array([[100, 100], [100, 27]], np.int8))
    compare(sums, sums, np.array([True, True, False]))


def test_prod_and_its_gradient_with_a_zero() -> None:
    compare(lambda x: x.prod(1), lambda x: x.prod(1), np.array([[2.0, 3, 4], [0, 5, 6], [0, 0, 7]]))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("scale", [1, 1000])
def test_softmax(name: str, scale: float) -> None:
    compare(lambda x: getattr(x, name)(1), lambda x: getattr(x, name)(1), scale * normal(3, 5))


def test_logsumexp_of_infinities() -> None:
    x = np.array([[-np.inf, -np.inf], [np.inf, 1], [1000, 1000]])
    v = gc.placeholder(x.shape, "float64")
    np.testing.assert_allclose(call([v.logsumexp(1)], [v], [x])[0], torch.logsumexp(torch.tensor(x), 1).numpy())


@pytest.mark.parametrize("k", [0, 2, 4])
@pytest.mark.parametrize("largest", [True, False])
def test_topk(k: int, largest: bool) -> None:
    compare(lambda x: tuple(x.topk(k, 1, largest)), lambda x: tuple(x.topk(k, 1, largest)), normal(3, 4))


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("dim", [0, 1])
def test_topk_and_kthvalue_of_long_lines(k: int, dim: int) -> None:
    x = np.random.default_rng(k).permutation(130 * 150).reshape(130, 150).astype(np.float64)
    compare(
        lambda x: (*x.topk(k, dim), *x.topk(k, dim, False), *x.kthvalue(k, dim)),
        lambda x: (*x.topk(k, dim), *x.topk(k, dim, False), *x.kthvalue(k, dim)),
        x,
    )


def test_sort_is_stable_and_descends() -> None:
    x = np.array([3.0, 1, 3, 1, 2])
    compare(
        lambda v: (*v.sort(0), v.argsort(0, descending=True)),
        lambda v: (*v.sort(dim=0, stable=True), v.argsort(dim=0, descending=True, stable=True)),
        x,
    )


@pytest.mark.parametrize(
    "a, b",
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)),
     ((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4))],
)  # fmt: skip
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    compare(lambda x, y: x @ y, lambda x, y: x @ y, normal(*a), normal(*b, seed=1))


EQUATIONS = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]),
    ("bij,bkj->ikb", [(5, 2, 3), (5, 4, 3)]),
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("iij->j", [(3, 3, 2)]),
    ("i,j->ij", [(2,), (3,)]),
    ("ij,ij->", [(2, 3), (2, 3)]),
    ("ij,k->ik", [(2, 3), (4,)]),
    ("...ij,...jk->...ik", [(5, 2, 3), (5, 3, 4)]),
    ("b...i,ij->b...j", [(5, 2, 3), (3, 4)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("ij,j->i", [(2, 3), (3,)]),
]


@pytest.mark.parametrize("equation, shapes", EQUATIONS, ids=[e for e, _ in EQUATIONS])
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    compare(lambda *x: gc.einsum(equation, *x), lambda *x: torch.einsum(equation, *x), *arrays)


def test_other_products() -> None:
    m, v = normal(3, 3), normal(3, seed=1)
    compare(
        lambda a, b: (a.mv(b), b.dot(b), b.outer(b), a.mm(a), a.trace(), a.diagonal(), a.addmm(a, a, beta=2, alpha=3)),
        lambda a, b: (a.mv(b), b.dot(b), b.outer(b), a.mm(a), a.trace(), a.diagonal(), a.addmm(a, a, beta=2, alpha=3)),
        m,
        v,
    )
    compare(lambda a: (a.bmm(a), a.diagonal(0, 1, 2)), lambda a: (a.bmm(a), a.diagonal(0, 1, 2)), normal(2, 3, 3))


SHAPES: dict[str, Callable[[Any], Any]] = {
    "reshape": lambda x: (x.reshape(4, -1), x.reshape((-1,)), x.view(2, 2, 6)),
    "flatten": lambda x: (x.flatten(), x.flatten(1), x.flatten(0, 1), x.unflatten(2, (2, -1))),
    "permute": lambda x: (x.permute(2, 0, 1), x.transpose(0, -1), x.mT, x.movedim(0, 2), x.swapaxes(0, 1)),
    "squeeze": lambda x: (x.unsqueeze(0).squeeze(0), x.unsqueeze(-1).squeeze(), x.unsqueeze(2).squeeze(0)),
    "expand": lambda x: (x.unsqueeze(1).expand(2, 5, 3, 4), x[:, :1].expand(-1, 3, -1), x.broadcast_to(2, 2, 3, 4)),
    "repeat": lambda x: (x.repeat(2, 1, 1, 3), x.repeat_interleave(2, 1), x.repeat_interleave(3)),
    "flip": lambda x: (x.flip(0), x.flip((1, 2)), x.roll(1, 2), x.roll(-2, 1), x.roll(0, 0)),
    "split": lambda x: (*x.split(2, 2), *x.split([1, 2], 1), *x.chunk(3, 2), *x.unbind(1), x.narrow(2, 1, 2)),
    "triangles": lambda x: (x.tril(), x.triu(1), x.tril(-1), x.triu(-2)),
    "cumsum": lambda x: (x.cumsum(0), x.cumsum(-1)),
    "index": lambda x: (x[0], x[-1, 1:], x[..., 0], x[:, None, 1], x[:, :, ::2], x[1:, ..., 1:3], x[:, 5:], x[None]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    compare(SHAPES[name], SHAPES[name], normal(2, 3, 4))


def test_negative_steps_follow_numpy() -> None:
    a = normal(7, 5)
    x = gc.placeholder(a.shape, "float64")
    for key in (np.s_[::-1], np.s_[5:1:-2], np.s_[:, ::-3], np.s_[-2::-1, 1], np.s_[1:5:-1]):
        np.testing.assert_array_equal(call([x[key]], [x], [a])[0], a[key])


INDEX_KEYS = [
    np.s_[[2, 0, 2]],
    np.s_[:, [1, -1]],
    np.s_[[0, 1], [2, 3]],
    np.s_[[[0], [1]], [2, 3]],
    np.s_[[0, 1], :, [1, 2]],
    np.s_[1, [0, 2], ::2],
    np.s_[::-1, np.array([0, 2, 1]), None],
]


@pytest.mark.parametrize("key", INDEX_KEYS, ids=str)
def test_arrays_as_indices(key: Any) -> None:
    a = normal(3, 4, 5)
    x = gc.placeholder(a.shape, "float64")
    np.testing.assert_array_equal(call([x[key]], [x], [a])[0], a[key])


def test_tensors_as_indices_and_their_gradient() -> None:
    index = np.array([[0, 2], [-1, 2]])
    compare(lambda x, i: x[i], lambda x, i: x[i], normal(4, 3), index)
    compare(lambda x, i: x[:, i, 0], lambda x, i: x[:, i, 0], normal(2, 4, 3), index)
    compare(lambda x, i: x.index_select(1, i), lambda x, i: x.index_select(1, i), normal(3, 4), np.array([3, 0, 3]))


def test_gather_and_scatter() -> None:
    index = np.array([[0, 1, 2], [2, 0, 1]])
    compare(lambda x, i: x.gather(0, i), lambda x, i: x.gather(0, i), normal(3, 4), index)
    compare(lambda x, i: x.gather(1, i), lambda x, i: x.gather(1, i), normal(3, 4), index)
    compare(lambda x, s, i: x.scatter(0, i, s), lambda x, s, i: x.scatter(0, i, s), normal(3, 3), normal(2, 3), index)
    compare(lambda x, s, i: x.scatter_add(1, i, s), lambda x, s, i: x.scatter_add(1, i, s), normal(3, 3), normal(2, 3), index)
    compare(lambda x, i: x.scatter(0, i, 0.5), lambda x, i: x.scatter(0, i, 0.5), normal(3, 3), index)


ROWS: dict[str, Any] = {
    "index_add": lambda x, i, s, d: x.index_add(d, i, s, alpha=2),
    "index_fill": lambda x, i, s, d: x.index_fill(d, i, 0.5) + s.sum(),
    "index_reduce": lambda x, i, s, d: x.index_reduce(d, i, s, "amax"),
    "index_select": lambda x, i, s, d: x.index_select(d, i) * s,
    "select_scatter": lambda x, i, s, d: x.select_scatter(s.select(d, 0), d, 3),
    "slice_scatter": lambda x, i, s, d: x.slice_scatter(s, d, 1, 11, 2),
}


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("name", ROWS)
def test_rows_along_any_dimension(name: str, dim: int) -> None:
    """Rows wide enough for vectors, in ranges and behind others, several to one place."""
    shape, index = [12, 13, 14], np.array([3, 0, 3, 7, 11])
    few = (*shape[:dim], 5, *shape[dim + 1 :])
    compare(
        lambda x, s, i: ROWS[name](x, i, s, dim), lambda x, s, i: ROWS[name](x, i, s, dim), normal(*shape), normal(*few), index
    )


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_rows_are_replaced_by_the_last(dim: int) -> None:
    x, index = normal(12, 13, 14), np.array([3, -1, 3, 7])
    new = normal(*(4 if d == dim else n for d, n in enumerate(x.shape)), seed=1)
    expected = x.copy()
    np.moveaxis(expected, dim, 0)[[-1, 3, 7]] = np.moveaxis(new, dim, 0)[1:]
    a, b, i = (gc.placeholder(v.shape, v.dtype) for v in (x, new, index))
    np.testing.assert_array_equal(call([a.index_copy(dim, i, b)], [a, b, i], [x, new, index])[0], expected)


def test_rows_out_of_range_are_dropped() -> None:
    x, index = normal(3, 40), np.array([3, -4, 2])
    a, i = gc.placeholder(x.shape, x.dtype), gc.placeholder(index.shape, index.dtype)
    filled, added = call([a.index_fill(0, i, 0.0), a.index_add(0, i, gc.ones(3, 40))], [a, i], [x, index])
    np.testing.assert_array_equal(filled, [*x[:2], np.zeros(40)])
    np.testing.assert_array_equal(added, [*x[:2], x[2] + 1])


@pytest.mark.parametrize("accumulate", [False, True])
def test_rows_at_several_indices(accumulate: bool) -> None:
    i, j = np.array([[0, 2], [1, 3]]), np.array([1, 4])
    compare(
        lambda x, s, i, j: x.index_put((i, j), s, accumulate),
        lambda x, s, i, j: x.index_put((i, j), s, accumulate),
        normal(4, 5, 20), normal(2, 1, 20), i, j,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["amax", "amin"])
def test_scatter_extremes(mode: str) -> None:
    index = np.array([[0, 1, 0], [2, 0, 0]])
    x, s = np.arange(9.0).reshape(3, 3), np.arange(6.0).reshape(2, 3)[::-1] * 2.5
    a, b, i = gc.placeholder(x.shape, "float64"), gc.placeholder(s.shape, "float64"), gc.placeholder(index.shape, "int64")
    found = call([a.scatter_reduce(0, i, b, mode)], [a, b, i], [x, s, index])[0]
    expected = torch.tensor(x).scatter_reduce(0, torch.tensor(index), torch.tensor(s.copy()), mode)
    np.testing.assert_array_equal(found, expected.numpy())


def test_joining() -> None:
    a, b = normal(2, 3), normal(2, 3, seed=1)
    compare(lambda x, y: (gc.cat([x, y]), gc.stack([x, y], 1)), lambda x, y: (torch.cat([x, y]), torch.stack([x, y], 1)), a, b)
    compare(lambda x, y: gc.cat([x, y], -1), lambda x, y: torch.cat([x, y], -1), a, b.astype(np.float32))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pads", [(1, 2), (2, 1, 0, 1), (0, 2)])
def test_pad(mode: str, pads: tuple[int, ...]) -> None:
    x = normal(2, 3, 4, 5) if len(pads) == 4 else normal(2, 3, 5)
    compare(lambda x: gc.nn.functional.pad(x, pads, mode), lambda x: torch.nn.functional.pad(x, pads, mode), x)


def test_creation() -> None:
    pairs = [
        (gc.arange(5), torch.arange(5)),
        (gc.arange(2, 9, 3), torch.arange(2, 9, 3)),
        (gc.arange(5, 0, -2), torch.arange(5, 0, -2)),
        (gc.arange(0, 1, 0.25), torch.arange(0, 1, 0.25)),
        (gc.linspace(0, 1, 7), torch.linspace(0, 1, 7)),
        (gc.linspace(-3, 5, 1), torch.linspace(-3, 5, 1)),
        (gc.eye(3), torch.eye(3)),
        (gc.eye(2, 4), torch.eye(2, 4)),
        (gc.full((2, 3), 7), torch.full((2, 3), 7)),
        (gc.zeros(2, 3), torch.zeros(2, 3)),
        (gc.ones((4,), dtype="int64"), torch.ones(4, dtype=torch.int64)),
        (gc.one_hot(gc.constant([2, 0]), 3), torch.nn.functional.one_hot(torch.tensor([2, 0]), 3)),
        (gc.constant([[1, 2.5]]), torch.tensor([[1, 2.5]])),
        (gc.constant([True, False]), torch.tensor([True, False])),
        *zip(
            gc.meshgrid(gc.arange(2), gc.arange(3)),
            torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij"),
            strict=True,
        ),
    ]
    for ours, theirs in pairs:
        value = call([ours], [], [])[0]
        np.testing.assert_array_equal(value, theirs.numpy())
        assert value.dtype == theirs.numpy().dtype


def test_negative_constant_pad() -> None:
    compare(
        lambda x: gc.nn.functional.pad(x, (-1, 2), value=3.0),
        lambda x: torch.nn.functional.pad(x, (-1, 2), value=3.0),
        normal(2, 5),
    )
